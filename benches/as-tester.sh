#!/bin/sh
# Runs the benchmark as an ordinary user and brings its record out: the runner of `cargo bench`
# inside tests/session.sh.
#
#     HRUN_BENCH_RECORD=DIR benches/as-tester.sh PROGRAM [ARG]...
set -eu

mkdir -p "$HRUN_BENCH_RECORD"
HRUN_BENCH_RECORD=$(realpath "$HRUN_BENCH_RECORD")
# Of benches/apptainer.sh.
apptainer=$HRUN_TEST_PROGRAMS/apptainer/bin
if [ "$(id -u)" != 0 ]; then
    export HRUN_BENCH_RECORD PATH="$PATH:$apptainer"
    exec "$@"
fi

# crun and podman refuse a machine that shows both versions of control groups. Seen in this mount
# namespace only.
[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup || :

# podman needs user ids of its own for everything in a container.
for kind in uid gid; do
    [ ! -e /etc/sub$kind ] || echo tester:100000:65536 > /etc/sub$kind
done

# What --nv is measured with. All of it is in /usr/local and /dev: nobody else is slower by it.
tests/install-gpus.sh "$HRUN_TEST_DRIVERS/local"
# Apptainer looks for a driver in the loader's cache only; hrun finds this one without.
ldconfig -X -C /etc/ld.so.cache /usr/local/nvidia/lib64

# What only root can do for `make bench-packed`: the kernel's own mounts, in this mount namespace
# only, and cold caches, as often as they are asked for.
case " $* " in *" packed "*)
    mkdir -p /home/kernel/zstd /home/kernel/gzip
    mount -o loop,ro "$HRUN_TEST_IMAGES/python.sqfs" /home/kernel/zstd
    mount -o loop,ro "$HRUN_TEST_IMAGES/python.gzip.sqfs" /home/kernel/gzip
    HRUN_BENCH_COLD=/home/cold
    mkdir "$HRUN_BENCH_COLD"
    mkfifo -m 666 "$HRUN_BENCH_COLD/ask" "$HRUN_BENCH_COLD/done"
    while read -r _; do
        sync
        echo 3 > /proc/sys/vm/drop_caches
        echo
    done < "$HRUN_BENCH_COLD/ask" > "$HRUN_BENCH_COLD/done" &
    cold=$!
    trap 'kill $cold 2> /dev/null || :' EXIT
    ;;
esac

# Where the user can execute it, wherever the source tree is.
cp "$1" "$HRUN_TEST_PROGRAMS/bench"
shift

inside=/home/tester/$(basename "$HRUN_BENCH_RECORD")
status=0
setpriv --reuid tester --regid tester --init-groups --inh-caps=-all -- env -i \
    HOME=/home/tester USER=tester LOGNAME=tester SHELL=/bin/sh LANG=C.UTF-8 \
    PATH="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:$apptainer" \
    HRUN_TEST_IMAGES="$HRUN_TEST_IMAGES" HRUN_TEST_PROGRAMS="$HRUN_TEST_PROGRAMS" \
    HRUN_BENCH_RECORD="$inside" HRUN_BENCH_SOURCE="${HRUN_BENCH_SOURCE:-}" \
    ${HRUN_BENCH_QUICK:+HRUN_BENCH_QUICK=1} \
    ${HRUN_BENCH_COLD:+HRUN_BENCH_COLD="$HRUN_BENCH_COLD"} \
    "$HRUN_TEST_PROGRAMS/bench" "$@" || status=$?
rm "$HRUN_TEST_PROGRAMS/bench"
for file in README.md summary.md raw.csv; do
    [ ! -e "$inside/$file" ] || cat "$inside/$file" > "$HRUN_BENCH_RECORD/$file"
done
exit $status
