#!/bin/sh
# Runs a command in the surroundings the tests need:
#
#     tests/session.sh TARGET_DIR COMMAND [ARG]...
#
# As root: in a mount namespace of its own, with an /etc of its own, in which an ordinary user
# `tester` is in the passwd file, a /home in memory that shows the test images, drivers and programs
# where everybody can reach them, and file systems with odd mount flags. All of it is gone when
# COMMAND ends; nothing outside is touched.
#
# As an ordinary user: as that user, on the machine as it is; what then cannot be tested must be
# declared (HRUN_TEST_LACKS=root).
set -eu
umask 022

target=$(realpath "$1")
shift
export HRUN_TEST_TARGET="$target"

# Signals that are ignored stay so in every command: nohup leaves SIGHUP, a shell that starts a job
# in the background SIGINT and SIGQUIT, other programs others.
as_started_by_hand="env --default-signal"

if [ "$(id -u)" != 0 ]; then
    export HRUN_TEST_IMAGES="$target/images" HRUN_TEST_DRIVERS="$target/drivers"
    export HRUN_TEST_PROGRAMS="$target/programs"
    exec $as_started_by_hand "$@"
fi

if [ -z "${HRUN_TEST_SESSION:-}" ]; then
    export HRUN_TEST_SESSION=1
    exec unshare --mount --propagation private "$0" "$target" "$@"
fi

mount -t tmpfs -o mode=755 home /home
mkdir -p /home/tester /home/other /home/images /home/drivers /home/programs /home/etc \
    /home/nosuid /home/noexec

# Two users: one who runs the tests, one to whom things belong that tester must not touch.
# In an /etc of the session: a bind on a file of the machine's disappears as soon as another process
# renames a new one into its place, as useradd does.
mount -t tmpfs -o mode=755 etc /home/etc
copied=
for _ in 1 2 3 4 5; do
    # A file that vanishes meanwhile, a lock of useradd's for one, fails one attempt.
    ! cp -a /etc/. /home/etc 2> /home/copy || { copied=1 && break; }
done
[ -n "$copied" ] || { cat /home/copy >&2 && exit 1; }
rm -f /home/copy
for file in passwd group; do
    grep -vE '^(tester|other|project[ab]):' "/etc/$file" > "/home/etc/$file"
done
cat >> /home/etc/passwd <<EOF
tester:x:20001:20001:Test User,Room 1:/home/tester:/bin/bash
other:x:20002:20002::/home/other:/bin/sh
EOF
cat >> /home/etc/group <<EOF
tester:x:20001:
other:x:20002:
projecta:x:20101:tester
projectb:x:20102:tester
EOF
mount --move /home/etc /etc
rmdir /home/etc
chown 20001:20001 /home/tester
chown 20002:20002 /home/other
chmod 700 /home/tester /home/other

mount --bind "$target/images" /home/images
mount --bind "$target/programs" /home/programs
# Neither the demonstration nor the benchmark needs any.
[ ! -d "$target/drivers" ] || mount --bind "$target/drivers" /home/drivers
mount -t tmpfs -o nosuid,nodev,mode=1777 nosuid /home/nosuid
# MPI libraries leave files there when they are killed.
mount -t tmpfs -o nosuid,nodev,mode=1777 shm /dev/shm
mount -t tmpfs -o noexec,mode=1777 noexec /home/noexec
# As udev makes it on any other machine; what is done without it has a test of its own.
mknod -m 666 /home/fuse c 10 229
mount --bind /home/fuse /dev/fuse

export HRUN_TEST_IMAGES=/home/images HRUN_TEST_DRIVERS=/home/drivers
export HRUN_TEST_PROGRAMS=/home/programs
exec $as_started_by_hand "$@"
