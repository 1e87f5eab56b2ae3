# Runs the checks of checks.sh as an ordinary user, in every configuration that this boot can have. A
# line for each: configuration, check, and what came of it, separated by tabs.
groups=/sys/fs/cgroup

# In the group that a user's processes start in.
as_tester() { # COMMAND
    if [ -d $groups/user ]; then
        sh -c "echo \$\$ > $groups/user/login/cgroup.procs; exec su tester -c '$1'"
    else
        HRUN_CGROUP_PARENT=/hrun su tester -c "$1"
    fi
}

say() { printf '%s\t%s\t%s\n' "$configuration" "$1" "$2"; }

# Processes, groups, mounts and files that a run has left behind; who removes them may still be at it.
left() {
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        found="$(ps -o user,comm | grep '^tester')
            $(find $groups -type d -name 'hrun-*' 2> /dev/null)
            $(grep -E 'hrun|squashfs' /proc/mounts)
            $(ls -A /srv /mnt /home/tester | grep -v '^/\|^$\|^outside$')"
        found=$(echo $found)
        [ -n "$found" ] || break
        usleep 200000
    done
    say left "${found:-nothing}"
}

# All checks with a configuration. COMMAND, if there is one, runs hrun.
in_configuration() { # NAME SCRIPT [COMMAND]
    configuration=$1
    as_tester "exec $3 sh ./checks.sh $1 $2"
    [ $2 = refused ] || su tester -c "exec $3 sh ./checks.sh $1 affinity"
    left
}

# An image that belongs to somebody else, and one that is the user's.
chown -R 0:0 .
cp -a image own
chown -R tester:tester own
# What attempts to get out are made on.
echo "of the host" > /home/tester/outside
echo "of somebody else" > foreign
chown 20002:20002 foreign
chmod 600 foreign
mkdir locked
mount -o bind locked locked
mount -o remount,bind,ro,nosuid,nodev,noexec locked

# What the firmware has printed ends without a line end.
echo
configuration=machine
say release "$(uname -r)"
say root "$(stat -f -c %t /)"
say groups "$(ls -d $groups/cpu $groups/cpuset $groups/memory $groups/pids 2> /dev/null | sed 's|.*/||' | xargs)"

if [ ! -d $groups/user ]; then
    in_configuration v1 all
    exit
fi
in_configuration v2 all
in_configuration old all ./old
mount -o remount,hidepid=2 /proc
configuration=machine
say hidden "$(su tester -c '[ -d /proc/1 ] || echo yes')"
in_configuration hidepid all
mount -o remount,hidepid=0 /proc

off=/proc/sys/user/max_user_namespaces
before=$(cat $off)
echo 0 > $off
in_configuration none refused
echo $before > $off

knob=/proc/sys/kernel/unprivileged_userns_clone
configuration=clone
if [ -e $knob ]; then
    echo 0 > $knob
    in_configuration clone refused
    echo 1 > $knob
else
    say knob absent
fi
