#!/bin/sh
# Runs a script in a virtual machine with a stock Debian kernel:
#
#     tests/vm.sh TARGET_DIR SUITE PAYLOAD_DIR [IMAGE_DIR]
#
# PAYLOAD_DIR/test.sh is run by root with busybox, in PAYLOAD_DIR; what it prints is printed, and its
# status is the status. The kernel is that of a release of Debian. With IMAGE_DIR, an image of
# Debian with systemd, that is the machine's, and the script a service of it.
#
# Everything is emulated, so it needs neither rights nor /dev/kvm, and takes some seconds. The
# machine has two CPUs and no disk. With control groups of version 2, `tester` has the group /user,
# with the controllers cpu, cpuset, memory and pids that docs/limits.md wants; processes start in
# /user/login. With VM_GROUPS=1 they are of version 1, as docs/limits.md wants those. With
# VM_ROOT=overlay the root directory is not one in memory, and there is /dev/fuse.
set -eu
umask 022

cd "$(dirname "$0")/.."
target=$(realpath "$1")
suite=$2
payload=$(realpath "$3")
image=${4:+$(realpath "$4")}
kernels=$target/kernels
mkdir -p "$kernels"

# The release's own apt, which leaves this machine's alone. A mirror may be weeks behind.
apt() { # COMMAND [ARG]...
    command=$1
    shift
    "$command" -o Dir::Etc::SourceList="$part/sources" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$part/lists" -o Dir::Cache="$part/cache" -o APT::Sandbox::User= \
        -o Acquire::Check-Valid-Until=false "$@"
}

# The packages with the parts of a kernel that another one wants.
parts_of() { # PACKAGE
    apt apt-cache depends "$1" |
        sed -n 's/.*Depends: \(linux-\(image\|binary\|modules\|base\)-[0-9][^ ]*\)$/\1/p'
}

# A module of the kernel as insmod takes it, unless it is built in.
module() { # NAME
    file=$(find "$part/tree" -name "$1.ko*" | head -n 1)
    case $file in
    '') ;;
    *.xz) xz -dc "$file" > "$part/kernel/$1.ko" ;;
    *.zst) zstd -dc "$file" > "$part/kernel/$1.ko" ;;
    *) cp "$file" "$part/kernel/$1.ko" ;;
    esac
}

# The kernel of the release, unpacked once.
if [ ! -d "$kernels/$suite" ]; then
    part=$(mktemp -d "$kernels/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    mkdir -p "$part/lists/partial" "$part/cache/archives/partial" "$part/debs" "$part/kernel"
    echo "deb http://deb.debian.org/debian $suite main" > "$part/sources"
    apt apt-get update -qq
    named=$(parts_of linux-image-cloud-amd64)
    (cd "$part/debs" && apt apt-get download -qq $named $(parts_of "$named"))
    for package in "$part"/debs/*.deb; do dpkg -x "$package" "$part/tree"; done
    cp "$(find "$part/tree" -name 'vmlinuz*' -type f | head -n 1)" "$part/kernel/vmlinuz"
    module fuse
    module overlay
    mv -T "$part/kernel" "$kernels/$suite" 2> /dev/null || :
    rm -rf "$part"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
if [ -n "$image" ]; then
    tar -C "$image" --exclude=./dev --exclude=./usr/share/doc --exclude=./usr/share/locale \
        --exclude=./usr/share/zoneinfo --exclude='./usr/*/perl*' --exclude=./var/cache \
        --exclude=./var/lib/apt -cf - . | tar -C "$work/root" -xf -
    echo 'tester:x:1001:1001::/home/tester:/bin/sh' >> "$work/root/etc/passwd"
    echo 'tester:x:1001:' >> "$work/root/etc/group"
    echo 'tester:*:19000:0:99999:7:::' >> "$work/root/etc/shadow"
    install -d -o 1001 -g 1001 "$work/root/home/tester"
    system=$work/root/etc/systemd/system
    # What docs/limits.md tells administrators to write.
    mkdir -p "$system/user@.service.d" "$system/multi-user.target.wants"
    sed -n '/^    \[Service\]/,/^    Delegate/s/^    //p' docs/limits.md > "$system/user@.service.d/delegate.conf"
    ln -s ../test.service "$system/multi-user.target.wants/"
    cat > "$system/test.service" << 'UNIT'
[Unit]
Wants=dbus.socket
After=dbus.socket systemd-logind.service systemd-user-sessions.service
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
WorkingDirectory=/payload
ExecStart=/bin/sh -c 'dmesg -n 1; sh ./test.sh; echo "status $$?"'
ExecStopPost=/bin/systemctl poweroff -ff
UNIT
fi
cp /bin/busybox "$work/root/busybox"
cp -a "$payload" "$work/root/payload"
mkdir "$work/root/modules"
find "$kernels/$suite" -name '*.ko' -exec cp {} "$work/root/modules/" \;
# What docs/limits.md tells administrators to write.
sed -n '/^    for controller/,/^    for file/s/^    //p' docs/limits.md > "$work/root/groups-of-v1"
cat > "$work/root/init" << 'INIT'
#!/busybox sh
# No root can be pivoted from the initial ramfs, and no user namespace be made in it.
/busybox mkdir -p /new /proc
/busybox mount -t tmpfs -o mode=755,size=80% root /new
for name in /*; do
    case $name in /new | /proc) ;; *) /busybox cp -a "$name" /new/ ;; esac
done
/busybox mkdir -p /new/bin /new/proc /new/sys /new/dev /new/run
init=/init2
[ ! -e /lib/systemd/systemd ] || init=/lib/systemd/systemd
[ "$vm_root" = overlay ] || exec /busybox switch_root /new $init
for module in /modules/*; do /busybox insmod "$module"; done
/busybox mkdir /above
/busybox mount -t tmpfs -o mode=755,size=20% above /above
/busybox mkdir /above/all /above/upper /above/work
/busybox mount -t overlay -o lowerdir=/new,upperdir=/above/upper,workdir=/above/work root /above/all
# Layers over layers have an end, and what is tried has one of its own.
/busybox mount -o bind /new/payload /above/all/payload
exec /busybox switch_root /above/all $init
INIT
cat > "$work/root/init2" << 'INIT'
#!/busybox sh
/busybox --install -s /bin
export PATH=/bin HOME=/root
cd /
mkdir -p proc sys dev tmp etc root run srv mnt var/tmp home/tester
chmod 1777 tmp var/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
printf 'root:x:0:0::/root:/bin/sh\ntester:x:1001:1001::/home/tester:/bin/sh\n' > /etc/passwd
printf 'root:x:0:\ntester:x:1001:\n' > /etc/group
chown 1001:1001 /home/tester
ifconfig lo up
groups=/sys/fs/cgroup
if [ "$vm_groups" = 1 ]; then
    mount -t tmpfs cgroup $groups
    for controller in cpu cpuset memory pids; do
        mkdir $groups/$controller
        mount -t cgroup -o $controller cgroup $groups/$controller || rmdir $groups/$controller
    done
    sh /groups-of-v1
else
    mount -t cgroup2 cgroup $groups
    echo "+cpu +cpuset +memory +pids" > $groups/cgroup.subtree_control
    mkdir $groups/user $groups/user/login
    chown 1001:1001 $groups/user $groups/user/cgroup.procs $groups/user/cgroup.subtree_control
    chown -R 1001:1001 $groups/user/login
fi
if [ "$vm_root" = overlay ]; then
    mount -t tmpfs -o mode=1777 tmp /tmp
    # As udev does it.
    chmod 666 /dev/fuse
fi
# What the kernel says is not part of what the script says.
dmesg -n 1
cd /payload
sh ./test.sh 2>&1
echo "status $?"
sync
poweroff -f
INIT
chmod 755 "$work/root/init" "$work/root/init2"
(cd "$work/root" && find . | cpio --quiet -o -H newc) | gzip -1 > "$work/initramfs"

# Without cmpxchg16b, whose flags qemu 7.2 mixes up where an interrupt comes: 6.12 died of it in kmalloc.
timeout -k 5 "${VM_SECONDS:-120}" qemu-system-x86_64 -accel tcg -cpu max,-cx16 -smp 2 -m 1536 \
    -nographic -nodefaults -no-reboot -serial stdio -kernel "$kernels/$suite/vmlinuz" -initrd "$work/initramfs" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0 \
systemd.mask=serial-getty@ttyS0.service vm_groups=${VM_GROUPS:-2} vm_root=${VM_ROOT:-memory}" \
    < /dev/null > "$work/console" 2>&1 || echo "status $?" >> "$work/console"
tr -d '\r' < "$work/console" | grep -av '^status [0-9]*$' || :
status=$(tr -d '\r' < "$work/console" | sed -n 's/^status \([0-9]*\)$/\1/p' | tail -n 1)
exit "${status:-99}"
