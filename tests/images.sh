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

debian() { # NAME SUITE PACKAGES
    if [ "$(id -u)" = 0 ]; then
        mmdebstrap --quiet --variant=minbase --include="$3" "$2" "$images/$1.part"
    else
        mkdir "$images/$1.part"
        mmdebstrap --quiet --variant=minbase --include="$3" "$2" |
            tar -C "$images/$1.part" --exclude='./dev/*' -xf - || {
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
    torch) debian torch bookworm python3-torch ;;
    *.sqfs) mksquashfs "$images/${name%.sqfs}" "$images/$name.part" -comp zstd -all-root \
        -quiet -no-progress > /dev/null ;;
    *) echo "unknown image $name" >&2; exit 2 ;;
    esac
    mv "$images/$name.part" "$images/$name"
    echo "made $images/$name"
done
