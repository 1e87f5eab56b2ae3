//! hrun on kernels and control groups that this machine does not have, in virtual machines
//! (`tests/vm.sh`): `make test-kernels`.

mod rows;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::support::live::outcome_within;
use super::support::{Scratch, lacks, program, real};

/// One machine at a time: they are slow, and some of what they do is measured.
static MACHINE: Mutex<()> = Mutex::new(());

/// Boots the kernel of a release, with variables of `tests/vm.sh` and perhaps the systemd of an
/// image, and runs a payload's `test.sh` as root; what it prints.
#[track_caller]
fn boot(
    suite: &str,
    variables: &[(&str, &str)],
    payload: &Scratch,
    systemd: Option<&Path>,
) -> String {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("HRUN_TEST_TARGET").expect("run `make test-kernels`");
    let mut machine = Command::new(root.join("tests/vm.sh"));
    machine.arg(target).arg(suite).arg(payload.path()).args(systemd);
    // A kernel may have to be fetched first.
    let seen = outcome_within(machine.envs(variables.iter().copied()), Duration::from_secs(600));
    assert_eq!(seen.status, Some(0), "{seen:?}");
    seen.stdout
}

/// What a script has printed, by the titles it has given (`== TITLE`).
struct Report(BTreeMap<String, String>);

impl Report {
    #[track_caller]
    fn of(&self, title: &str) -> &str {
        self.0.get(title).unwrap_or_else(|| panic!("no {title} in {:#?}", self.0))
    }
}

/// Runs a script on bookworm's kernel, beside `hrun` and an image of the probe.
#[track_caller]
fn report(systemd: Option<&Path>, script: &str) -> Report {
    let payload = Scratch::new();
    let copy = |name: &str, to: &str| fs::copy(program(name), payload.join(to)).unwrap();
    payload.directory("image/bin");
    copy("hrun", "hrun");
    copy("probe", "image/bin/probe");
    copy("busybox", "image/bin/busybox");
    payload.file("test.sh", script);
    let text = boot("bookworm", &[], &payload, systemd);
    let sections = text.split("== ").skip(1).filter_map(|part| part.split_once('\n'));
    let sections = sections.map(|(title, text)| (title.to_owned(), text.to_owned()));
    Report(sections.collect())
}

/// Asserts that the middle one of several shares is half a CPU: an emulated machine stands still at
/// times, and what runs on it then seems to have run on.
#[track_caller]
fn assert_half_a_cpu(shares: &str) {
    let mut sorted: Vec<f64> = shares.lines().map(|share| share.parse().unwrap()).collect();
    sorted.sort_by(f64::total_cmp);
    println!("{sorted:?} CPUs");
    assert!((0.45..=0.55).contains(&sorted[sorted.len() / 2]), "{sorted:?} CPUs");
}

/// A shell's functions: `as COMMAND` runs it as the tester, in a group of version 2.
const SHELL: &str = r#"
groups=/sys/fs/cgroup
in_group() { sh -c "echo \$\$ > $groups/$1/cgroup.procs; exec su tester -c \"$2\""; }
as() { in_group user/login "$*"; }
gone() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -z "$(ls -d $groups/user/hrun-* 2> /dev/null)" ] && echo gone && return
        usleep 100000
    done
    ls -d $groups/user/hrun-*
}
busybox='./image /bin/busybox'
"#;

#[test]
#[ignore = "boots virtual machines: make test-kernels"]
fn limits_with_control_groups_of_version_2() {
    if lacks("qemu") {
        return;
    }
    let script = r#"
echo "== occupied"; sleep 100 & echo $! > $groups/user/cgroup.procs
as ./hrun --memory 1g ./image /bin/probe cwd; kill $!; wait
echo "== doctor"; as ./hrun --doctor | grep limits
echo "== cpus"
for attempt in 1 2 3 4 5; do as ./hrun --cpus 0.5 ./image /bin/probe spin 4 5; done
echo "== threads"; as ./hrun --cpus 1 ./image /bin/probe env OMP_NUM_THREADS
echo "== cpuset"; as ./hrun --limits=require --cpuset 0 $busybox nproc
echo "== memory"; as ./hrun --memory 64M $busybox dd if=/dev/zero of=/dev/null bs=200M count=1
echo "status $? "; gone
echo "== pids"; as "./hrun --pids-limit 20 $busybox sh -c 'bomb() { bomb & bomb; }; bomb'" 2>&1 | grep -c fork
gone
echo "== all"; as ./hrun -v --limits=require --cpus 0.5 --cpuset 1 --memory 64M --pids-limit 9 ./image /bin/probe cat /proc/self/cgroup
gone
echo "== kill"; as ./hrun --cpus 1 ./image /bin/probe sleep 100 &
while ! grep -q . $groups/user/hrun-*/cgroup.procs 2> /dev/null; do usleep 10000; done
kill -9 $(cat $groups/user/hrun-*/cgroup.procs); gone
wait
echo "== step"
step="SLURM_JOB_ID=7 SLURM_STEP_ID=0 ./hrun --cpus 1 ./image /bin/probe"
as "$step sleep 1" & as "$step sleep 1" &
while [ "$(cat $groups/user/hrun-*/cgroup.procs 2> /dev/null | wc -l)" != 2 ]; do usleep 10000; done
ls $groups/user | grep hrun; wait; gone
echo "== foreign"; mkdir $groups/other; in_group other "./hrun --cpus 1 $busybox nproc"
echo "== limited"; mkdir $groups/user/small; chown -R tester $groups/user/small
echo 100M > $groups/user/small/memory.max
in_group user/small "./hrun --limits=require --cpus 1 ./image /bin/probe cwd"; echo "status $? "
echo "== end"; ps | grep '[h]run-limits'
echo "== off"
"#;
    let seen = report(None, &format!("{SHELL}{script}"));
    let doctor = seen.of("doctor");
    assert!(doctor.ends_with("cpu, cpuset, memory, pids by control groups\n"), "{doctor}");
    assert_half_a_cpu(seen.of("cpus"));
    assert_eq!(seen.of("threads"), "1\n");
    assert_eq!(seen.of("cpuset"), "1\n");
    let memory = seen.of("memory");
    assert!(memory.contains("status 137 \n") && memory.ends_with("gone\n"), "{memory}");
    assert!(memory.contains("hrun: warning: the memory limit of 64M was reached"), "{memory}");
    let pids = seen.of("pids");
    assert!(!pids.starts_with("0\n") && pids.ends_with("gone\n"), "{pids}");
    let all = seen.of("all");
    assert!(all.contains("limits: 0.5 CPUs, the CPUs 1, 64M of memory, 9 processes by a"), "{all}");
    assert!(all.contains("0::/user/hrun-1001-") && all.ends_with("gone\n"), "{all}");
    assert!(seen.of("kill").ends_with("gone\n"), "{}", seen.of("kill"));
    let step: Vec<&str> = seen.of("step").lines().collect();
    assert!(step[0].starts_with("hrun-1001-slurm-7.0-") && step[1..] == ["gone"], "{step:?}");
    let occupied = seen.of("occupied");
    assert!(
        occupied.contains("/sys/fs/cgroup/user is yours, and has processes in it"),
        "{occupied}"
    );
    let foreign = seen.of("foreign");
    assert!(foreign.contains("limits: 1 CPU by affinity") && foreign.ends_with("1\n"), "{foreign}");
    let limited = seen.of("limited");
    assert!(limited.contains("outside of limits this process has"), "{limited}");
    assert!(limited.ends_with("status 125 \n"), "{limited}");
    assert_eq!(seen.of("end"), "", "nobody is left");
}

#[test]
#[ignore = "boots virtual machines: make test-kernels"]
fn limits_by_the_systemd_of_the_user() {
    if lacks("qemu") {
        return;
    }
    let script = r#"
systemctl start user@1001.service
as() {
    setpriv --reuid 1001 --regid 1001 --clear-groups \
        env -i HOME=/home/tester PATH=/usr/bin:/bin XDG_RUNTIME_DIR=/run/user/1001 "$@"
}
echo "== verbose"; as ./hrun -v --cpus 0.5 --memory 64M --pids-limit 9 ./image /bin/probe cat /proc/self/cgroup
echo "== cpus"
for attempt in 1 2 3; do as ./hrun --cpus 0.5 ./image /bin/probe spin 4 5; done
echo "== memory"; as ./hrun --memory 64M ./image /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1
echo "status $? "
echo "== status"; as ./hrun --cpus 1 ./image /bin/probe exit 7; echo "status $? "
echo "== job"; as env SLURM_JOB_ID=7 ./hrun --cpus 1 ./image /bin/probe cat /proc/self/cgroup
echo "== left"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$(find /sys/fs/cgroup -name 'hrun-*')" ] || break
    sleep 0.2
done
find /sys/fs/cgroup -name 'hrun-*'
echo "== off"
"#;
    let seen = report(Some(&real("systemd")), script);
    let verbose = seen.of("verbose");
    let says = "hrun: note: limits: 0.5 CPUs, 64M of memory, 9 processes by your systemd\n";
    assert_eq!(verbose.matches(says).count(), 1, "{verbose}");
    let group = verbose.lines().last().unwrap();
    let (manager, scope) = ("0::/user.slice/user-1001.slice/user@1001.service/", "/hrun-");
    assert!(group.starts_with(manager) && group.contains(scope), "{group}");
    assert_half_a_cpu(seen.of("cpus"));
    assert!(seen.of("memory").ends_with("status 137 \n"), "{}", seen.of("memory"));
    assert_eq!(seen.of("status"), "status 7 \n");
    let job = seen.of("job");
    assert!(job.starts_with("hrun: warning: limits: 1 CPU by affinity"), "{job}");
    assert!(job.ends_with("0::/system.slice/test.service\n"), "a job is not left: {job}");
    assert_eq!(seen.of("left"), "", "systemd removes its scopes");
}
