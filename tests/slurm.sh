#!/bin/sh
# A Slurm of three nodes on this machine, for the tests:
#
#     tests/slurm.sh DIR PORT TRACKING
#
# As root. DIR is made and removed; clients set SLURM_CONF=DIR/slurm.conf. TRACKING is how processes
# of a step are known, `linuxproc` or `cgroup` (proctrack plugins). Writes `ready` when jobs can be
# submitted, and runs until its standard input ends; then nothing of it is left.
#
# Nothing outside of DIR is touched, and everything listens on 127.0.0.1 alone, from PORT on. Each
# node has a host name, a /dev/shm, a /tmp and a spool directory of its own, as nodes have: ranks of
# two of them cannot share memory by accident.
set -eu
umask 022

dir=$1
port=$2
tracking=$3
# Names of control groups, too.
case $tracking in
    linuxproc) node=n ;;
    *) node=c ;;
esac
nodes=3
here=$(hostname)
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF="$dir/slurm.conf"
# A shell that starts a job in the background has it ignore SIGINT and SIGQUIT, and so would every rank.
by_hand="env --default-signal"
daemons=
# The nodes' host names as the kernel knows them (namespaces(7)).
names=

# Processes on the nodes: those with a host name of theirs.
on_nodes() {
    for process in /proc/[0-9]*; do
        name=$(readlink "$process/ns/uts" 2> /dev/null) || continue
        case " $names " in *" $name "*) echo "${process#/proc/}" ;; esac
    done
}

stop() {
    trap - EXIT
    scancel --user=tester > /dev/null 2>&1 || :
    for _ in $(seq 30); do
        [ -n "$(squeue --noheader 2> /dev/null)" ] || break
        sleep 0.1
    done
    scontrol shutdown > /dev/null 2>&1 || :
    for step in TERM KILL; do
        # Three seconds to go by themselves, or by what was asked before.
        for _ in $(seq 30); do
            alive=
            for pid in $daemons; do
                if kill -0 "$pid" 2> /dev/null; then alive=1; fi
            done
            [ -n "$alive" ] || break
            sleep 0.1
        done
        for pid in $daemons; do kill -$step "$pid" 2> /dev/null || :; done
    done
    # What a step was not ended with.
    for pid in $(on_nodes); do kill -KILL "$pid" 2> /dev/null || :; done
    wait
    find /sys/fs/cgroup -mindepth 2 -maxdepth 2 -type d -name "slurm_$node[1-$nodes]" 2> /dev/null |
        while read -r group; do find "$group" -depth -type d -exec rmdir {} + || :; done
    rm -rf "$dir"
}

run() { # COMMAND...
    $by_hand "$@" < /dev/null > /dev/null 2>> "$dir/log/errors" &
    daemons="$daemons $!"
}

install -d -m 755 "$dir" "$dir/log" "$dir/state" "$dir/run" "$dir/dev"
trap stop EXIT
install -d -o munge -g munge -m 755 "$dir/munge"
(umask 077 && head -c 128 /dev/urandom > "$dir/munge/key")
chown munge:munge "$dir/munge/key"
run setpriv --reuid=munge --regid=munge --clear-groups munged --foreground \
    --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"

# Nodes that anybody can open, for GPUs that nobody has.
for gpu in 0 1; do
    mknod -m 666 "$dir/dev/gpu$gpu" c 1 3
done
printf 'AutoDetect=off\nName=gpu File=%s/dev/gpu[0-1]\n' "$dir" > "$dir/gres.conf"

task=none
if [ "$tracking" = cgroup ]; then
    task=cgroup
    cat > "$dir/cgroup.conf" << EOF
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=yes
EOF
fi
cat > "$dir/slurm.conf" << EOF
ClusterName=hrun-$node
SlurmctldHost=$here(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SrunPortRange=$((port + 100))-$((port + 600))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
CommunicationParameters=NoAddrCache,NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=/var/spool/slurmd
TmpFS=/tmp
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/$tracking
TaskPlugin=task/$task
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
KillWait=5
MessageTimeout=30
InactiveLimit=0
PropagateResourceLimits=NONE
GresTypes=gpu
NodeName=$node[1-$nodes] NodeAddr=127.0.0.1 Port=[$((port + 11))-$((port + 10 + nodes))] CPUs=64 RealMemory=1000 State=UNKNOWN Gres=gpu:2
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
EOF

# What docs/slurm.md tells administrators to write, with hrun where the tests have it.
sed -n '/^    RunTime/s/^    //p' docs/slurm.md | sed "s|/usr/local/bin/hrun|$HRUN_TEST_PROGRAMS/hrun|" \
    > "$dir/oci.conf"

run slurmctld -D -c -f "$SLURM_CONF"
{
    printf '127.0.0.1 localhost %s' "$here"
    for number in $(seq $nodes); do printf ' %s%s' $node "$number"; done
    echo
} > "$dir/hosts"
for number in $(seq $nodes); do
    run unshare --uts --ipc --mount --propagation private sh -euc '
        hostname "$1"
        mount --bind "$2/hosts" /etc/hosts
        mount -t tmpfs -o mode=1777 shm /dev/shm
        mount -t tmpfs -o mode=1777 tmp /tmp
        mount -t tmpfs -o mode=755 spool /var/spool
        mkdir /var/spool/slurmd
        # It comes back here after each task.
        cd /
        exec slurmd -D -c -N "$1" -f "$2/slurm.conf"' node "$node$number" "$dir"
done

for _ in $(seq 200); do
    idle=$(sinfo --noheader --Node --format=%T 2> /dev/null | grep -c '^idle$') || :
    [ "$idle" = $nodes ] && break
    sleep 0.1
done
if [ "$idle" != $nodes ]; then
    sinfo --Node --long >&2 || :
    tail -n 20 "$dir"/log/* >&2
    exit 1
fi
own=$(readlink /proc/self/ns/uts)
for pid in $daemons; do
    name=$(readlink "/proc/$pid/ns/uts")
    [ "$name" = "$own" ] || names="$names $name"
done
echo ready
cat > /dev/null
