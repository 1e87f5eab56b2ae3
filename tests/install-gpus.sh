#!/bin/sh
# Makes this machine look as if the driver and the GPUs of a tree of tests/drivers.sh had been
# installed on it:
#
#     tests/install-gpus.sh TREE
#
# For root, in a mount namespace of its own whose mounts are private: nothing outside is touched.
# Of the kernel, /proc/driver is the tree's, and /sys stays this machine's.
set -eu

tree=$(realpath "$1")
# Mounts are made ready here and then moved, so that nobody sees them half made.
stage=/media

# Without notes of its own in /run.
mount() { command mount --no-mtab "$@"; }

# Shows what is mounted below a directory below another one as well.
keep_mounts() { # FROM TO
    # The fifth field of proc_pid_mountinfo(5), with blanks and the like in octal; inner mounts come
    # with the outer one.
    cut -d ' ' -f 5 /proc/self/mountinfo | sort -u |
        awk -v from="$1/" 'index($0, from) == 1 && (last == "" || index($0, last "/") != 1) {
            print last = $0
        }' |
        while read -r escaped; do
            place=$(printf '%b' "$escaped")
            # What is mounted may itself be covered by another mount.
            [ ! -e "$2${place#"$1"}" ] || mount --rbind "$place" "$2${place#"$1"}"
        done
}

# A copy with the tree's nodes, and in the place of the original: not a mount more than before.
add_nodes() {
    mount -t tmpfs -o mode=755 dev "$stage"
    cp -ax /dev/. "$stage"
    keep_mounts /dev "$stage"
    cp -a "$tree/dev/." "$stage"
    if mountpoint -q /dev; then umount --lazy /dev; fi
    mount --move "$stage" /dev
}

# The tree's files before the machine's.
merge() { # DIRECTORY
    mount -t overlay -o "ro,lowerdir=$tree$1:$1" driver "$stage"
    # What only the tree has is shown itself: files open several times as slowly in an overlay.
    for directory in "$tree$1"/*/; do
        name=$(basename "$directory")
        [ ! -d "$directory" ] || [ -e "$1/$name" ] || mount --bind -o ro "$directory" "$stage/$name"
    done
    keep_mounts "$1" "$stage"
    mount --move "$stage" "$1"
}

# A user namespace may mount a /proc of its own only where it sees a whole one; that is at $stage.
cover_proc() {
    mount --rbind "$tree/proc/driver" /proc/driver
    mount -t proc proc "$stage"
}

add_nodes
for directory in /usr/lib /usr/bin /usr/share /etc /run /usr/local; do
    [ ! -d "$tree$directory" ] || merge "$directory"
done
cover_proc
