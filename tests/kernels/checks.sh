# What an ordinary user does with hrun: checks.sh CONFIGURATION all|affinity|refused. Each check is a
# function, and what it prints becomes one line.
configuration=$1
export HOME=/home/tester USER=tester
work=$(mktemp -d /tmp/checks.XXXXXX)

check() { # NAME
    said=$($1 2>&1 < /dev/null)
    # Lines are parted by bars, and hrun's own are told without their indentation.
    said=$(printf '%s' "$said" | sed 's/^ *//' | tr '\n\t' '| ')
    printf '%s\t%s\t%s\n' "$configuration" "$1" "$said"
}

status() { echo "status $?"; }

# The kind of file system that is the root directory inside.
kind='awk "\$5 == \"/\" { for (i = 7; \$i != \"-\"; i++); kind = \$(i + 1) } END { print kind }" /proc/self/mountinfo'

# Destinations that the image lacks, at its top and deeper.
binds='--bind /payload/data:/data/new --bind /payload/data:/etc/new:ro'
see="cat /data/new/note /etc/new/note && hello > /dev/null && ! touch /etc/new/file 2> /dev/null && $kind"

directory() { ./hrun $binds image sh -c "$see"; status; }

packed() {
    ./hrun $binds image.sqfs sh -c "$see; sha1sum < /bin/busybox > $work/inside"
    status
    sha1sum < image/bin/busybox | cmp - $work/inside && echo same
}

# Two ranks of a step: the second looks into the memory of the first.
ranks() { together; }
ranks_pid() { together --pid; }
together() {
    export SLURM_JOB_ID=7 SLURM_STEP_ID=0
    rm -f $work/*
    mkfifo $work/go
    names='for name in user mnt pid; do readlink /proc/self/ns/$name; done'
    ./hrun "$@" image sh -c "$names; echo \$\$ > $work/first; cat $work/go; exit 3" > $work/one &
    until [ -s $work/first ]; do usleep 10000; done
    ./hrun "$@" image sh -c "$names; : < /proc/\$(cat $work/first)/mem && echo reads > $work/read" > $work/two
    echo > $work/go
    wait $!
    status
    head -n 3 $work/one | cmp - $work/two && echo shared
    cat $work/read
    [ $(readlink /proc/self/ns/user) != $(head -n 1 $work/one) ] && echo contained
    unset SLURM_JOB_ID SLURM_STEP_ID
}

# An init, the command's status, and a signal that comes once.
pid() {
    ./hrun --pid image sh -c 'cat /proc/1/comm; exit 7'
    status
    ./hrun --pid image sh -c 'kill -KILL $$'
    status
    rm -f $work/out
    ./hrun --pid image sh -c \
        'trap "echo caught; kill %1; exit 3" TERM; sleep 100 & echo up; wait' > $work/out &
    until grep -qs up $work/out; do usleep 10000; done
    kill -TERM $!
    wait $!
    status
    cat $work/out
}

# What is in force, as the kernel has it for the command.
limits() {
    cat > $work/limits << 'SCRIPT'
groups=/sys/fs/cgroup
of() { # CONTROLLER FILE
    if [ -e $groups/cgroup.controllers ]; then
        group=$groups$(sed -n 's/^0:://p' /proc/self/cgroup)
        cat $group/$1.$2
    elif [ -d $groups/$1 ]; then
        cat $groups/$1$(sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup)/$1.$3
    fi
}
for limit in cpu:max:cfs_quota_us memory:max:limit_in_bytes pids:max:max cpuset:cpus:cpus; do
    value=$(of $(echo $limit | tr : ' ') 2> /dev/null)
    echo ${limit%%:*} $value
done
echo nproc $(nproc)
SCRIPT
    ./hrun --limits=require --cpus 0.5 --pids-limit 20 image sh $work/limits
    status
}
limits_more() {
    ./hrun --limits=require --cpuset 0 --memory 64M image sh $work/limits
    status
    # Who says that comes when it can.
    { ./hrun --memory 64M image dd if=/dev/zero of=/dev/null bs=200M count=1 status=none; status; } 2>&1 | sort
}

# Where no group is one's own.
affinity() { ./hrun --cpus 1 image nproc; }

seccomp() {
    ./hrun --seccomp=docker-seccomp.json image calls $calls | cut -d' ' -f2,9-
    status
}
calls='getpid mount keyctl clone3 pidfd_open'

# Whom files seem to be given to, and what root may do in a container.
fakeroot() {
    give='touch /tmp/file && chown 12:34 /tmp/file && chown 0:0 /tmp/file && echo given'
    ./hrun --root --private-tmp image sh -c "$give"
    ./hrun --root --private-tmp --seccomp=fakeroot image sh -c "$give"
}

root() {
    ./hrun --root image sh -c 'id -u && mount -t tmpfs tmpfs /tmp && echo x > /tmp/x && umount /tmp && echo mounted'
    status
}

# A container that is listed, and joined by its number.
joined() {
    rm -f $work/go $work/first
    mkfifo $work/go
    ./hrun "$@" --env=WHO=first --cd /etc image sh -c "echo \$\$ > $work/first; cat $work/go" &
    until [ -s $work/first ]; do usleep 10000; done
    pid=$(./hrun --ps | sed -n 's/^ *\([0-9]*\) .*image$/\1/p')
    ./hrun --ps | sed -n 's/^ *[0-9]* *\([0-9]*\) .*\(image\)$/listed \1 \2/p'
    ./hrun --join-pid=$pid -- sh -c "echo \$WHO \$(pwd); readlink /proc/self/ns/mnt > $work/inside"
    status
    readlink /proc/$pid/ns/mnt | cmp - $work/inside && echo same
    echo > $work/go
    wait
    ./hrun --ps | tail -n +2
}
join() { joined; }
join_pid() { joined --pid; }

# What it says of the kernel; what is fine everywhere is left out.
doctor() {
    ./hrun --doctor > $work/said
    status=$(status)
    fine='you home temporary shared configuration private bind read-only giving NVIDIA'
    tr -s ' ' < $work/said | grep -vE "^hrun .* on Linux|^ok ($(echo $fine | tr ' ' '|')) "
    echo $status
}

write_fake() {
    ./hrun --write-fake own sh -c 'echo x > /bin/new && rm /bin/hello && cat /bin/new && ! ls /bin/hello 2> /dev/null'
    status
}

overlay() {
    mkdir $work/layer
    ./hrun --overlay=$work/layer/kept own sh -c 'echo kept > /bin/new'
    ./hrun --overlay=$work/layer/kept own cat /bin/new
    status
    rm -rf $work/layer
}

# Attempts to get out, as tests/escapes.rs makes them; those are named that no error has met.
escapes() {
    export OUTSIDE=/home/tester/outside FOREIGN=/payload/foreign LOCKED=/payload/locked
    rm -f $work/go $work/ready
    mkfifo $work/go
    image/bin/escapes hold < $work/go > $work/ready &
    export OUTSIDE_PID=$!
    exec 9> $work/go
    until [ -s $work/ready ]; do usleep 10000; done
    met() { grep -v ' E[A-Z0-9]*$' | cut -d' ' -f1; }
    image/bin/escapes list | grep 'everywhere$' | cut -f2 > $work/everywhere
    image/bin/escapes try | met | grep -Fxf $work/everywhere | sed 's/^/bare /'
    for more in "" --root --cap-keep=all; do
        ./hrun --no-home --no-cwd --bind=$LOCKED,$FOREIGN $more image escapes try > $work/tried
        met < $work/tried | sed "s/^/inside $more /" | tr -s ' '
        [ $(wc -l < $work/tried) = $(image/bin/escapes list | wc -l) ] && echo "all made"
    done
    # It may have been stopped.
    kill -KILL $OUTSIDE_PID
    exec 9>&-
}

# Every kind of start, where none may be made.
refusal() { # NAME [OPTION]... IMAGE
    name=$1
    shift
    eval "$name() { ./hrun $* true; status; }"
    check $name
}
refused() {
    refusal directory $binds image
    refusal packed image.sqfs
    export SLURM_JOB_ID=7 SLURM_STEP_ID=0
    refusal ranks image
    refusal ranks_pid --pid image
    unset SLURM_JOB_ID SLURM_STEP_ID
    refusal pid --pid image
    refusal limits --cpus 0.5 --pids-limit 20 image
    refusal limits_more --cpuset 0 --memory 64M image
    refusal affinity --cpus 1 image
    refusal seccomp --seccomp=docker-seccomp.json image
    refusal fakeroot --root --seccomp=fakeroot image
    refusal root --root image
    refusal write_fake --write-fake own
    refusal overlay --overlay=$work/layer own
    check doctor
}

case $2 in
all)
    for name in directory packed ranks ranks_pid pid limits limits_more seccomp fakeroot root join \
        join_pid write_fake overlay escapes doctor; do
        check $name
    done
    ;;
affinity) check affinity ;;
refused) refused ;;
esac
rm -rf $work
# Meetings of steps stay until the next one.
rm -rf /dev/shm/hrun-*
