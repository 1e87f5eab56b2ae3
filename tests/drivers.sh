#!/bin/sh
# Makes machines with GPUs for the tests, each once: tests/drivers.sh TARGET_DIR [NAME]...
#
# Each is a tree that stands for / where hrun looks for drivers. Libraries and programs are real
# objects (tests/fakes); the nodes in /dev are the null device's if root makes them, else empty
# files. All trees are made anew when their sources have changed; images that hold stand-ins are not.
set -eu
umask 022

target=$1
shift
drivers=$target/drivers
mkdir -p "$drivers"
drivers=$(realpath "$drivers")
. "$(dirname "$0")/fakes/build.sh"

version=580.159.04
older=570.133.20
multiarch=usr/lib/x86_64-linux-gnu
# The GPUs of a machine in the order of the bus, each with the minor of its node.
model='NVIDIA H100 80GB HBM3'
gpus='0000:19:00.0=0 0000:3b:00.0=1 0000:4c:00.0=2 0000:9b:00.0=3'

# The machines. `root` is the tree in the making.

# Four GPUs, Debian's directories, NVIDIA's own packages; and what must not be mistaken for it.
h100() {
    system "$multiarch"
    all_libraries "$version"
    other_libraries
    cache /usr/local/lib "/$multiarch" /usr/lib/i386-linux-gnu
    broken_libraries
    programs usr/bin
    configuration usr/share etc etc
    for name in gsp_ga10x.bin gsp_tu10x.bin; do
        echo firmware > "$root/usr/lib/firmware/nvidia/$version/$name"
    done
    (cd "$root/run/nvidia-persistenced" && perl -MSocket -e '
        socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die $!;
        bind($socket, pack_sockaddr_un("socket")) or die $!;
        chmod(0666, "socket") or die $!')
    nvidia_nodes
    nvidia_proc
    module nvidia "$version"
}

# The same driver where Red Hat has it.
rhel() {
    copy_of h100
    rm -r "$root/usr/lib/i386-linux-gnu" "$root/usr/lib/aarch64-linux-gnu"
    mv "$root/$multiarch" "$root/usr/lib64.new"
    rm -r "$root/usr/lib64"
    mv "$root/usr/lib64.new" "$root/usr/lib64"
    mkdir -p "$root/usr/share/vulkan"
    mv "$root/etc/vulkan/icd.d" "$root/etc/vulkan/implicit_layer.d" "$root/usr/share/vulkan"
    mv "$root/usr/share/vulkan/icd.d/nvidia_icd.json" \
        "$root/usr/share/vulkan/icd.d/nvidia_icd.x86_64.json"
    cache /usr/lib64
}

# The same driver as Debian packages it: whatever has a soname is reached by two alternatives.
alternatives() {
    copy_of h100
    current=$multiarch/nvidia/current
    mkdir -p "$root/$current" "$root/usr/lib/nvidia/current" "$root/etc/alternatives"
    for soname in $(sonames_apart); do
        file=$(readlink "$root/$multiarch/$soname")
        mv "$root/$multiarch/$file" "$root/$multiarch/$soname" "$root/$current"
        alternative "$multiarch" "$soname" nvidia
    done
    for name in nvidia-smi nvidia-debugdump; do
        mv "$root/usr/bin/$name" "$root/usr/lib/nvidia/current"
        link "$root/usr/bin/$name" "/etc/alternatives/nvidia--$name"
        link "$root/etc/alternatives/nvidia--$name" "/usr/lib/nvidia/current/$name"
    done
    cache "/$multiarch" /usr/lib/i386-linux-gnu
}

# A driver the loader's cache does not know.
nocache() {
    copy_of h100
    rm "$root/etc/ld.so.cache"
}

# Two drivers installed, the newer one linked; the kernel has the older one.
two() {
    copy_of h100
    all_libraries "$older"
    all_libraries "$version"
    cache "/$multiarch" /usr/lib/i386-linux-gnu
    loaded "$older"
}

# A kernel module none of the libraries belongs to: updated, and not started anew.
mismatch() {
    copy_of h100
    loaded 590.44.01
}

# A driver with one library that wants a newer C library than anybody has.
newglibc() {
    copy_of h100
    file=$root/$multiarch/libnvidia-ngx.so.$version
    rm "$file"
    mkdir "$root/libc"
    library "$root/libc/libc.so.6" libc.so.6 future "$version" \
        -nostdlib -DIS_LIBC -Wl,--version-script="$fakes/future.map"
    library "$file" libnvidia-ngx.so.1 future "$version" -nostdlib "$root/libc/libc.so.6"
    rm -r "$root/libc"
}

# The first GPU shared: one GPU instance with one compute instance.
mig() {
    copy_of h100
    capabilities=$root/proc/driver/nvidia/capabilities/gpu0/mig
    capability "$capabilities/gi1/access" 12
    capability "$capabilities/gi1/ci0/access" 13
}

# Four GPUs whose driver a site put where it likes: all below /usr/local, unknown to the loader's
# cache. It has as many libraries as any driver ever had: sixty in one directory.
in_usr_local() {
    directory=usr/local/nvidia/lib64
    mkdir -p "$root/usr/local/bin" "$root/dev" "$root/proc" "$root/sys"
    all_libraries "$version" "$directory"
    libraries "$root/$directory" "$version" older
    programs usr/local/bin
    configuration usr/local/share usr/local/share usr/local/etc
    nvidia_nodes
    nvidia_proc
    module nvidia "$version"
}

# Eight GPUs: the bus has them in another order than their nodes, and one node went with its GPU.
a100() {
    copy_of h100
    rm -r "$root/dev" "$root/proc" "$root/sys/bus"
    mkdir "$root/dev" "$root/proc"
    model='NVIDIA A100-SXM4-80GB'
    gpus='0000:07:00.0=2 0000:0f:00.0=3 0000:47:00.0=0 0000:4e:00.0=1'
    gpus="$gpus 0000:87:00.0=7 0000:90:00.0=8 0000:b7:00.0=5 0000:bd:00.0=6"
    nvidia_nodes
    nvidia_proc
    for name in cuda nvml; do
        table "$version" | while read -r file soname source _; do
            [ "$source" = "$name" ] || continue
            rm "$root/$multiarch/$file"
            library "$root/$multiarch/$file" "$soname" "$source" "$version" \
                -DGPU_NAME="\"$model\"" -DBUS_ORDER=2,3,0,1,7,8,5,6
        done
    done
}

# GPUs that reach those of other machines (IMEX) and read from disks by themselves (GPUDirect
# Storage).
gds() {
    copy_of h100
    for number in 0 1 2 3; do node "nvidia-caps-imex-channels/channel$number"; done
    for number in $(seq 0 15); do node "nvidia-fs$number"; done
    for name in nvidia-imex nvidia-imex-ctl; do
        program "$root/usr/bin/$name" program "$version"
    done
    echo '{ "logging": { "level": "ERROR" }, "properties": { "allow_compat_mode": true } }' \
        > "$root/etc/cufile.json"
    mkdir -p "$root/run/udev/data"
    printf 'S:disk/by-id/nvme-one\nE:ID_MODEL=one\n' > "$root/run/udev/data/b259:0"
    character_devices '240 nvidia-fs' '507 nvidia-caps-imex-channels'
}

# Two GPUs of AMD; its user space comes with the image.
rocm() {
    mkdir -p "$root/dev" "$root/etc"
    node kfd
    dri 0000:43:00.0 0 128 0x1002
    dri 0000:83:00.0 1 129 0x1002
    module amdgpu 6.12.12
    topology=$root/sys/devices/virtual/kfd/kfd/topology
    kfd_node 0 0 'cpu_cores_count 64' 'simd_count 0' 'drm_render_minor 0'
    kfd_node 1 51110 'cpu_cores_count 0' 'simd_count 1216' 'gfx_target_version 90402' \
        'unique_id 11601452037582390212' 'drm_render_minor 128'
    kfd_node 2 28851 'cpu_cores_count 0' 'simd_count 1216' 'gfx_target_version 90402' \
        'unique_id 4231098712340981123' 'drm_render_minor 129'
    echo 2 > "$topology/generation_id"
    link "$root/sys/class/kfd/kfd" ../../devices/virtual/kfd/kfd
}

# Two GPUs of Intel; its user space comes with the image.
intel() {
    mkdir -p "$root/dev" "$root/etc"
    dri 0000:29:00.0 0 128 0x8086
    dri 0000:3a:00.0 1 129 0x8086
    module xe ''
}

# Their parts.

# The directories of a system where /lib is /usr/lib, and a loader's configuration.
system() { # LIBRARY_DIRECTORY
    mkdir -p "$root/$1" "$root/usr/bin" "$root/usr/local/lib" "$root/usr/lib64" "$root/var" \
        "$root/usr/lib/firmware/nvidia/$version" "$root/run/nvidia-persistenced" \
        "$root/etc/ld.so.conf.d" "$root/dev" "$root/proc" "$root/sys" "$root/tmp"
    for name in bin lib lib64; do link "$root/$name" "usr/$name"; done
    link "$root/var/run" ../run
    echo 'include /etc/ld.so.conf.d/*.conf' > "$root/etc/ld.so.conf"
}

# All libraries of a driver, made once for all trees; their links replace those of another one.
all_libraries() { # VERSION [DIRECTORY]
    mkdir -p "$root/${2:-$multiarch}"
    made=$drivers/.libraries/$1
    if [ ! -e "$made" ]; then
        rm -rf "$made.part"
        libraries "$made.part" "$1"
        mv "$made.part" "$made"
    fi
    cp -alf "$made/." "$root/${2:-$multiarch}"
}

# The names of libraries that are not the names of their files, in the directory itself.
sonames_apart() {
    table "$version" | while read -r file soname _; do
        case $file in
        "$soname" | */*) ;;
        *) echo "$soname" ;;
        esac
    done
}

# Debian's chain of links: the library's name, glx--NAME, its name for this vendor, VENDOR--NAME,
# the file.
alternative() { # DIRECTORY NAME VENDOR
    link "$root/$1/$2" "/etc/alternatives/glx--$2-x86_64-linux-gnu"
    link "$root/etc/alternatives/glx--$2-x86_64-linux-gnu" "/$1/$3/$2"
    link "$root/$1/$3/$2" "/etc/alternatives/$3--$2-x86_64-linux-gnu"
    link "$root/etc/alternatives/$3--$2-x86_64-linux-gnu" "/$1/$3/current/$2"
}

# Sound libraries that are not this driver's: left over from another version, of another
# architecture, of NVIDIA but not of the driver, of everybody.
other_libraries() {
    here=$root/$multiarch i386=$root/usr/lib/i386-linux-gnu
    library "$here/libcuda.so.470.00.00" libcuda.so.1 cuda 470.00.00
    for name in libnvidia-container.so.1.17.8 libGL.so.1.7.0 libEGL.so.1.1.0 libOpenCL.so.1.0.0; do
        library "$here/$name" "${name%.*.*}" plain "$version"
        link "$here/${name%.*.*}" "$name"
    done
    mkdir -p "$i386" "$root/libc"
    # ldconfig knows a library of this architecture by the C library it needs.
    library "$root/libc/libc.so.6" libc.so.6 plain "$version" -m32 -nostdlib
    for name in libcuda libnvidia-ml; do
        library "$i386/$name.so.$version" "$name.so.1" plain "$version" \
            -m32 -nostdlib -Wl,--no-as-needed "$root/libc/libc.so.6"
        link "$i386/$name.so.1" "$name.so.$version"
    done
    rm -r "$root/libc"
}

# Files named like the driver's libraries that are none.
broken_libraries() {
    here=$root/$multiarch aarch64=$root/usr/lib/aarch64-linux-gnu
    echo 'not a library' > "$here/libnvidia-foo.so.$version"
    : > "$here/libnvidia-empty.so.$version"
    ln -s libnvidia-gone.so.0 "$here/libnvidia-dangling.so.$version"
    mkdir -p "$aarch64"
    cp "$here/libcuda.so.$version" "$aarch64"
    # e_machine: EM_AARCH64.
    printf '\267\000' | dd of="$aarch64/libcuda.so.$version" bs=1 seek=18 conv=notrunc status=none
    link "$aarch64/libcuda.so.1" "libcuda.so.$version"
    cp "$aarch64/libcuda.so.$version" "$here/libnvidia-foreign.so.$version"
}

# The loader's configuration and cache, by the machine's ldconfig; it makes no links.
cache() { # DIRECTORY...
    rm -f "$root"/etc/ld.so.conf.d/* "$root/etc/ld.so.cache"
    printf '%s\n' "$@" > "$root/etc/ld.so.conf.d/libraries.conf"
    /sbin/ldconfig -X -r "$root" 2> "$root/complaints" || { cat "$root/complaints" >&2; return 1; }
    # It names the broken libraries there.
    rm -rf "$root/complaints" "$root/var/cache"
}

# nvidia-modprobe is set-user-ID on a real machine; there is nothing here that should be.
programs() { # DIRECTORY
    program "$root/$1/nvidia-smi" smi "$version"
    for name in nvidia-debugdump nvidia-persistenced nvidia-cuda-mps-control \
        nvidia-cuda-mps-server nvidia-modprobe nvidia-settings; do
        program "$root/$1/$name" program "$version"
    done
}

# The files by which loaders of graphics and OpenCL find the driver.
configuration() { # SHARE VULKAN OPENCL
    share=$root/$1 vulkan=$root/$2/vulkan opencl=$root/$3/OpenCL
    vendor_file "$share/glvnd/egl_vendor.d/10_nvidia.json" libEGL_nvidia.so.0
    platforms=$share/egl/egl_external_platform.d
    vendor_file "$platforms/09_nvidia_wayland2.json" libnvidia-egl-wayland2.so.1
    vendor_file "$platforms/10_nvidia_wayland.json" libnvidia-egl-wayland.so.1
    vendor_file "$platforms/15_nvidia_gbm.json" libnvidia-egl-gbm.so.1
    vendor_file "$platforms/20_nvidia_xcb.json" libnvidia-egl-xcb.so.1
    vendor_file "$platforms/20_nvidia_xlib.json" libnvidia-egl-xlib.so.1
    vendor_file "$vulkan/icd.d/nvidia_icd.json" libGLX_nvidia.so.0
    vendor_file "$vulkan/implicit_layer.d/nvidia_layers.json" libGLX_nvidia.so.0
    mkdir -p "$opencl/vendors" "$share/nvidia"
    echo libnvidia-opencl.so.1 > "$opencl/vendors/nvidia.icd"
    echo optix > "$share/nvidia/nvoptix.bin"
}

vendor_file() { # FILE LIBRARY
    mkdir -p "$(dirname "$1")"
    printf '{ "file_format_version": "1.0.0", "ICD": { "library_path": "%s" } }\n' "$2" > "$1"
}

nvidia_nodes() {
    node nvidiactl nvidia-modeset nvidia-uvm nvidia-uvm-tools
    for gpu in $gpus; do
        minor=${gpu#*=}
        node "nvidia$minor"
        dri "${gpu%=*}" "$minor" $((128 + minor)) 0x10de
    done
}

# A node everybody can open: the null device under another name.
node() { # NAME...
    for name in "$@"; do
        mkdir -p "$(dirname "$root/dev/$name")"
        if [ "$(id -u)" = 0 ]; then
            mknod -m 666 "$root/dev/$name" c 1 3
        else
            : > "$root/dev/$name"
        fi
    done
}

# A card and a render node of a PCI device, with the links udev makes.
dri() { # BUS_ID CARD RENDER VENDOR
    node "dri/card$2" "dri/renderD$3"
    link "$root/dev/dri/by-path/pci-$1-card" "../card$2"
    link "$root/dev/dri/by-path/pci-$1-render" "../renderD$3"
    mkdir -p "$root/sys/bus/pci/devices/$1/drm/card$2" "$root/sys/bus/pci/devices/$1/drm/renderD$3"
    echo "$4" > "$root/sys/bus/pci/devices/$1/vendor"
}

nvidia_proc() {
    proc=$root/proc/driver/nvidia
    mkdir -p "$proc" "$root/proc/driver/nvidia-caps"
    write_version "$version"
    printf '%s\n' 'ResmanDebugLevel: 4294967295' 'ModifyDeviceFiles: 1' 'DeviceFileUID: 0' \
        'DeviceFileGID: 0' 'DeviceFileMode: 438' 'RegistryDwords: ""' > "$proc/params"
    echo 'Binary: ""' > "$proc/registry"
    character_devices
    last=0
    for gpu in $gpus; do
        minor=${gpu#*=}
        gpu_information "${gpu%=*}" "$minor"
        [ "$minor" -le "$last" ] || last=$minor
    done
    mig_minors "$last" > "$root/proc/driver/nvidia-caps/mig-minors"
    capability "$proc/capabilities/mig/config" 1
    capability "$proc/capabilities/mig/monitor" 2
}

# The kernel's list of drivers, by major number.
character_devices() { # [LINE]...
    rm -f "$root/proc/devices"
    printf '%s\n' 'Character devices:' '  1 mem' '195 nvidia' '195 nvidiactl' '234 nvidia-caps' \
        "$@" '508 nvidia-uvm' > "$root/proc/devices"
}

# The UUID is that of tests/fakes/gpus.h.
gpu_information() { # BUS_ID MINOR
    mkdir -p "$proc/gpus/$1"
    {
        printf 'Model: \t\t %s\n' "$model"
        printf 'IRQ:   \t\t %d\n' $((100 + $2))
        printf 'GPU UUID: \t GPU-%02x5f3a7c-91d2-4b6e-8c04-6a1e2d9b7f30\n' "$2"
        printf 'Video BIOS: \t 96.00.99.00.01\n'
        printf 'Bus Type: \t PCIe\n'
        printf 'DMA Size: \t 52 bits\n'
        printf 'DMA Mask: \t 0xfffffffffffff\n'
        printf 'Bus Location: \t %s\n' "$1"
        printf 'Device Minor: \t %d\n' "$2"
        printf 'GPU Firmware: \t %s\n' "$version"
        printf 'GPU Excluded:\t No\n'
    } > "$proc/gpus/$1/information"
}

# The kernel's table of capabilities: 15 GPU instances of 8 compute instances for each GPU.
mig_minors() { # LAST_MINOR
    echo 'config 1'
    echo 'monitor 2'
    awk -v last="$1" 'BEGIN {
        for (gpu = 0; gpu <= last; gpu++)
            for (gi = 0; gi < 15; gi++) {
                minor = 3 + 135 * gpu + 9 * gi
                printf "gpu%d/gi%d/access %d\n", gpu, gi, minor
                for (ci = 0; ci < 8; ci++)
                    printf "gpu%d/gi%d/ci%d/access %d\n", gpu, gi, ci, minor + 1 + ci
            }
    }'
}

# A file of /proc that names a capability's node, and the node.
capability() { # FILE MINOR
    mkdir -p "$(dirname "$1")"
    printf 'DeviceFileMinor: %d\nDeviceFileMode: 292\nDeviceFileModify: 1\n' "$2" > "$1"
    node "nvidia-caps/nvidia-cap$2"
}

# A loaded kernel module; those of the kernel itself have no version.
module() { # NAME VERSION
    mkdir -p "$root/sys/module/$1"
    [ -z "$2" ] || echo "$2" > "$root/sys/module/$1/version"
}

# Puts another version of the kernel module in a copied tree.
loaded() { # VERSION
    rm "$root/sys/module/nvidia/version" "$root/proc/driver/nvidia/version"
    module nvidia "$1"
    write_version "$1"
}

write_version() { # VERSION
    printf 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  %s  Release Build  %s\n%s\n' \
        "$1" '(builder@example)  Tue Mar  3 10:12:41 UTC 2026' \
        'GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)' > "$root/proc/driver/nvidia/version"
}

kfd_node() { # NUMBER GPU_ID PROPERTY...
    directory=$topology/nodes/$1
    mkdir -p "$directory"
    echo "$2" > "$directory/gpu_id"
    shift 2
    printf '%s\n' "$@" > "$directory/properties"
}

# Another tree again; files are shared, so whoever changes one removes it first.
copy_of() { # NAME
    make_tree "$1"
    cp -al "$drivers/$1" "$root"
}

make_tree() ( # NAME
    [ -e "$drivers/$1" ] && exit
    root=$drivers/$1.part
    rm -rf "$root"
    case $1 in
    h100 | rhel | alternatives | nocache | two | mismatch | newglibc | mig | a100 | gds | rocm | \
        intel) "$1" ;;
    # No function can have that name.
    local) in_usr_local ;;
    *) echo "unknown driver $1" >&2; exit 2 ;;
    esac
    mv "$root" "$drivers/$1"
    echo "made $drivers/$1"
)

sources=$(cat "$0" "$fakes"/* | cksum)
if [ "$sources" != "$(cat "$drivers/.sources" 2>/dev/null)" ]; then
    rm -rf "$drivers"
    mkdir "$drivers"
    echo "$sources" > "$drivers/.sources"
fi

for name in "$@"; do
    make_tree "$name"
done
