#!/bin/sh
# Runs a script in a virtual machine with a stock Debian kernel and control groups of version 2:
#
#     tests/vm.sh TARGET_DIR PACKAGE PAYLOAD_DIR [IMAGE_DIR]
#
# PAYLOAD_DIR/test.sh is run by root with busybox, in PAYLOAD_DIR; what it prints is printed, and its
# status is the status. PACKAGE is the kernel's, without its version: linux-image-cloud-amd64. With
# IMAGE_DIR, an image of Debian with systemd, that is the machine's, and the script a service of it.
#
# Everything is emulated, so it needs neither rights nor /dev/kvm, and takes some seconds. The
# machine has two CPUs and no disk. `tester` has the group /user, with the controllers cpu, cpuset,
# memory and pids that docs/limits.md wants; processes start in /user/login.
set -eu
umask 022

cd "$(dirname "$0")/.."
target=$(realpath "$1")
package=$2
payload=$(realpath "$3")
image=${4:+$(realpath "$4")}
kernels=$target/kernels
mkdir -p "$kernels"

# The kernel of the package, unpacked once.
if [ ! -d "$kernels/$package" ]; then
    real=$(apt-cache depends "$package" | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
    part=$(mktemp -d "$kernels/part.XXXXXX")
    (cd "$part" && apt-get download --quiet "$real" > /dev/null 2>&1 && dpkg -x ./*.deb tree)
    mv "$part/tree" "$kernels/$package" 2> /dev/null || :
    rm -rf "$part"
fi
kernel=$(ls "$kernels/$package"/boot/vmlinuz-*)

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
exec /busybox switch_root /new $init
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
mount -t cgroup2 cgroup /sys/fs/cgroup
printf 'root:x:0:0::/root:/bin/sh\ntester:x:1001:1001::/home/tester:/bin/sh\n' > /etc/passwd
printf 'root:x:0:\ntester:x:1001:\n' > /etc/group
chown 1001:1001 /home/tester
ifconfig lo up
groups=/sys/fs/cgroup
echo "+cpu +cpuset +memory +pids" > $groups/cgroup.subtree_control
mkdir $groups/user $groups/user/login
chown 1001:1001 $groups/user $groups/user/cgroup.procs $groups/user/cgroup.subtree_control
chown -R 1001:1001 $groups/user/login
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

timeout -k 5 "${VM_SECONDS:-120}" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1536 \
    -nographic -nodefaults -no-reboot -serial stdio -kernel "$kernel" -initrd "$work/initramfs" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0 systemd.mask=serial-getty@ttyS0.service" \
    < /dev/null > "$work/console" 2>&1 || echo "status $?" >> "$work/console"
tr -d '\r' < "$work/console" | grep -av '^status [0-9]*$' || :
status=$(tr -d '\r' < "$work/console" | sed -n 's/^status \([0-9]*\)$/\1/p' | tail -n 1)
exit "${status:-99}"
