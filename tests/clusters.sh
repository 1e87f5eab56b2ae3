#!/bin/sh
# Makes nodes of clusters with an MPI of their own, for tests that decide plans, each once, beside
# the machines of tests/drivers.sh: tests/clusters.sh TARGET_DIR [NAME]...
#
# Each is a tree that stands for /. Libraries are real objects with the names, the links to each
# other and the symbols that count; nobody can run them.
set -eu
umask 022

target=$1
shift
clusters=$target/drivers
mkdir -p "$clusters"
clusters=$(realpath "$clusters")
fakes=$(realpath "$(dirname "$0")/fakes")

# A library at a path below the root, under its full name, and the link ldconfig makes. What it is
# linked with is found beside it or in directories that were named before.
library() ( # PATH SONAME KIND [NEEDED]...
    directory=$root/$(dirname "$1") file=$root/$1 soname=$2 kind=$3
    shift 3
    mkdir -p "$directory"
    set -- $(printf -- '-l:%s ' "$@" | sed 's/-l: $//')
    case $kind in
    mpich) set -- -DVERSION='"4.1.2"' "$fakes/mpi.c" "$@" ;;
    old-mpich) set -- -DVERSION='"3.1"' -DOLD "$fakes/mpi.c" "$@" ;;
    openmpi) set -- -DOPENMPI "$fakes/mpi.c" "$@" ;;
    plain) set -- -DVERSION='"1"' "$fakes/plain.c" "$@" ;;
    esac
    gcc -O1 -shared -fPIC -nostdlib -fno-stack-protector -o "$file" -Wl,-soname="$soname" \
        -L"$directory" $(find "$root" -type d -name 'lib*' -printf '-L%p ') \
        -Wl,--no-as-needed,--allow-shlib-undefined "$@"
    [ "$soname" = "$(basename "$file")" ] || ln -sf "$(basename "$file")" "$directory/$soname"
)

system() (
    mkdir -p "$root/usr/lib64" "$root/usr/bin" "$root/etc/ld.so.conf.d" "$root/dev" "$root/proc" \
        "$root/sys/module/overlay" "$root/tmp" "$root/home/alice" "$root/srv"
    for name in bin lib64; do ln -s "usr/$name" "$root/$name"; done
    echo 'root:x:0:0:root:/root:/bin/bash' > "$root/etc/passwd"
    echo 'root:x:0:' > "$root/etc/group"
)

cache() ( # DIRECTORY...
    printf '%s\n' "$@" > "$root/etc/ld.so.conf"
    /sbin/ldconfig -X -r "$root"
    rm -rf "$root/var/cache"
)

# Cray's MPICH on Slingshot, started by PALS: everything in a directory of its own, and the library
# with MPICH's interface apart.
cray() (
    system
    library usr/lib64/libcxi.so.1.5.0 libcxi.so.1 plain
    library opt/cray/libfabric/1.15.2.0/lib64/libfabric.so.1.18.1 libfabric.so.1 plain libcxi.so.1
    library opt/cray/pals/1.2.12/lib/libpals.so.0.0.0 libpals.so.0 plain
    library opt/cray/pe/pmi/6.1.13/lib/libpmi.so.0.6.0 libpmi.so.0 plain libpals.so.0
    library opt/cray/pe/pmi/6.1.13/lib/libpmi2.so.0.6.0 libpmi2.so.0 plain libpals.so.0
    library opt/cray/xpmem/2.6.2/lib64/libxpmem.so.0.0.0 libxpmem.so.0 plain
    mpich=opt/cray/pe/mpich/8.1.28/ofi/gnu/12.3
    library $mpich/lib/libmpi_gnu_123.so.12.0.0 libmpi_gnu_123.so.12 mpich \
        libfabric.so.1 libpmi.so.0 libpmi2.so.0 libxpmem.so.0
    library $mpich/lib-abi-mpich/libmpi.so.12.0.0 libmpi.so.12 mpich \
        libfabric.so.1 libpmi.so.0 libpmi2.so.0 libxpmem.so.0
    cache /opt/cray/pe/pmi/6.1.13/lib /opt/cray/pals/1.2.12/lib /opt/cray/xpmem/2.6.2/lib64
    mkdir -p "$root/var/run/palsd/a1b2"
    touch "$root/dev/cxi0" "$root/dev/xpmem"
)

# NVIDIA's HPC-X on InfiniBand: Open MPI in /opt with plugins for UCX, whose own are in the system's
# directories, and so are the providers of verbs.
mofed() (
    system
    library usr/lib64/libibverbs.so.1.14.47.0 libibverbs.so.1 plain
    library usr/lib64/libmlx5.so.1.24.47.0 libmlx5.so.1 plain libibverbs.so.1
    library usr/lib64/libibverbs/libmlx5-rdmav47.so libmlx5-rdmav47.so plain libmlx5.so.1
    library usr/lib64/libucs.so.0.0.0 libucs.so.0 plain
    library usr/lib64/libuct.so.0.0.0 libuct.so.0 plain libucs.so.0
    library usr/lib64/libucp.so.0.0.0 libucp.so.0 plain libuct.so.0 libucs.so.0
    library usr/lib64/ucx/libuct_ib.so.0.0.0 libuct_ib.so.0 plain libibverbs.so.1 libmlx5.so.1
    ln -s libuct_ib.so.0.0.0 "$root/usr/lib64/ucx/libuct_ib.so"
    mkdir -p "$root/etc/libibverbs.d" "$root/dev/infiniband"
    echo 'driver mlx5' > "$root/etc/libibverbs.d/mlx5.driver"
    touch "$root/dev/infiniband/uverbs0"
    library opt/mellanox/hcoll/lib/libhcoll.so.1.0.8 libhcoll.so.1 plain libucp.so.0
    library opt/hpcx/ompi/lib/libopen-pal.so.40.30.5 libopen-pal.so.40 plain
    library opt/hpcx/ompi/lib/libmpi.so.40.30.5 libmpi.so.40 openmpi libopen-pal.so.40
    library opt/hpcx/ompi/lib/openmpi/mca_pml_ucx.so mca_pml_ucx.so plain libmpi.so.40 libucp.so.0
    library opt/hpcx/ompi/lib/openmpi/mca_coll_hcoll.so mca_coll_hcoll.so plain libhcoll.so.1
    # With this part, Open MPI 4 speaks PMI-2 too.
    library opt/hpcx/ompi/lib/openmpi/mca_pmix_s2.so mca_pmix_s2.so plain
    mkdir -p "$root/opt/hpcx/ompi/etc" "$root/opt/hpcx/ompi/bin"
    touch "$root/opt/hpcx/ompi/etc/openmpi-mca-params.conf" "$root/opt/hpcx/ompi/bin/mpirun"
    cache /usr/lib64 /opt/mellanox/hcoll/lib
)

# Red Hat's MPICH on Omni-Path, where no loader finds it; and one that is too old beside it.
omnipath() (
    system
    library usr/lib64/libnuma.so.1.0.0 libnuma.so.1 plain
    library usr/lib64/libpsm2.so.2.2 libpsm2.so.2 plain libnuma.so.1
    library usr/lib64/libfabric.so.1.20.0 libfabric.so.1 plain libpsm2.so.2
    library usr/lib64/mpich/lib/libmpi.so.12.3.1 libmpi.so.12 mpich libfabric.so.1
    library opt/mpich-3.1/lib/libmpi.so.12.0.1 libmpi.so.12 old-mpich
    touch "$root/dev/hfi1_0"
    cache /usr/lib64
)

sources=$(cat "$0" "$fakes/mpi.c" "$fakes/plain.c" | cksum)
for name in "$@"; do
    [ "$sources" != "$(cat "$clusters/$name.sources" 2> /dev/null)" ] || continue
    root=$clusters/$name.part
    rm -rf "$root" "${clusters:?}/$name"
    case $name in
    cray | mofed | omnipath) "$name" ;;
    *) echo "unknown cluster $name" >&2; exit 2 ;;
    esac
    mv "$root" "$clusters/$name"
    echo "$sources" > "$clusters/$name.sources"
    echo "made $clusters/$name"
done
