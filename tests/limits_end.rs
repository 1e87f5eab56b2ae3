//! However a run with limits ends, nothing of it is left: no group, no process.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::support::groups::{Delegated, watchers};
use super::support::live::until;
use super::support::mark::{marked, with_mark};
use super::support::run::probe_arguments;
use super::support::{Image, Live, command, lacks, probe, real};

/// The processes that watch over the groups of runs with a mark.
fn watching(mark: u64) -> Vec<Pid> {
    let processes = marked(mark).into_iter().filter(|(_, name)| name == "hrun-limits");
    processes.map(|(pid, _)| pid).collect()
}

/// A mark that no other run has.
fn new_mark() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    // Below the limit that all have (mq_overview(7)), and apart from those of other suites.
    u64::from(std::process::id() % 800) << 10 | NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// A run with limits, and its mark.
struct Limited {
    run: Live,
    mark: u64,
}

impl Deref for Limited {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.run
    }
}

impl DerefMut for Limited {
    fn deref_mut(&mut self) -> &mut Live {
        &mut self.run
    }
}

impl Limited {
    /// The process that watches over its groups.
    #[track_caller]
    fn watcher(&self) -> Pid {
        until("somebody watches", || watching(self.mark).first().copied())
    }
}

/// A run that waits until its standard input ends, and says so when it has begun.
fn waiting(groups: &Delegated, options: &[&str], script: &str) -> Limited {
    let mark = new_mark();
    let mut run = command([groups.option()]);
    run.args(options).arg(real("bookworm")).args(["sh", "-c", script]);
    let run = Live::start(&mut with_mark(&run, mark));
    assert_eq!(run.next_line(), "up");
    Limited { run, mark }
}

#[test]
fn who_watches_has_nothing_of_the_job() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    for (option, holds) in [("--cpus=1", vec![]), ("--memory=1g", vec!["2"])] {
        let mut run = waiting(&groups, &[option], "echo up; cat");
        let watcher = run.watcher();
        let process = |file: &str| Path::new("/proc").join(watcher.to_string()).join(file);
        let held = || {
            let names = fs::read_dir(process("fd")).unwrap().map(|e| e.unwrap().file_name());
            let names = names.map(|name| name.into_string().unwrap()).filter(|name| {
                let link = fs::read_link(process("fd").join(name)).unwrap_or_default();
                let link = link.to_string_lossy();
                !link.contains("pidfd") && link != "/dev/null"
            });
            names.collect::<Vec<String>>()
        };
        until("it has let go of everything else", || (held() == holds).then_some(()));
        assert_eq!(fs::read_link(process("cwd")).unwrap(), Path::new("/"));
        let own = fs::read_to_string(process("cgroup")).unwrap();
        assert!(!own.contains("hrun-"), "{own}");
        assert_eq!(nix::unistd::getsid(Some(watcher)).unwrap(), watcher_session(watcher));
        let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        assert_ne!(namespace(watcher), namespace(run.pid()));
        // What ends a job does not end it before its work is done.
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            kill(watcher, signal).unwrap();
        }
        assert_eq!(groups.made().len(), 1);
        run.say("");
        assert!(matches!(run.wait(), WaitStatus::Exited(_, 0)));
        groups.are_empty_in_time();
        until("it ends", || {
            (!watchers().contains(&watcher.as_raw().cast_unsigned())).then_some(())
        });
    }
}

/// The session that a process has: not that of the tests.
fn watcher_session(watcher: Pid) -> Pid {
    let session = nix::unistd::getsid(Some(watcher)).unwrap();
    assert_ne!(session, nix::unistd::getsid(None).unwrap());
    session
}

#[test]
fn a_group_lives_as_long_as_a_process_in_it() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let script = "exec 3<&0; sh -c 'read line' <&3 > /dev/null & echo up; echo $!";
    let mut run = waiting(&groups, &["--cpus=1"], script);
    let child = run.next_line();
    assert!(matches!(run.wait(), WaitStatus::Exited(_, 0)));
    assert_eq!(groups.members("cpu"), [child]);
    run.say("end\n");
    groups.are_empty_in_time();
}

#[test]
fn a_group_is_gone_after_kill_9() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let mut run = waiting(&groups, &["--cpus=1", "--pids-limit=50"], "echo up; exec cat");
    run.send(Signal::SIGKILL);
    assert!(matches!(run.wait(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    groups.are_empty_in_time();
}

#[test]
fn a_group_nobody_watches_is_removed_by_the_next_start() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let mut run = waiting(&groups, &["--cpus=1"], "echo up; cat");
    kill(run.watcher(), Signal::SIGKILL).unwrap();
    run.say("");
    assert!(matches!(run.wait(), WaitStatus::Exited(_, 0)));
    assert_eq!(groups.made().len(), 1, "there was nobody to remove it");
    let image = Image::tiny();
    probe(image.path(), &[&groups.option(), "--cpus=1"], "cwd").ok();
    groups.are_empty_in_time();
}

#[test]
fn a_start_that_fails_leaves_no_group() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let image = Image::tiny();
    let missing = command([
        groups.option().as_ref(),
        "--cpus=1".as_ref(),
        image.path().as_os_str(),
        "/bin/nothing".as_ref(),
    ])
    .output()
    .unwrap();
    assert_eq!(missing.status.code(), Some(127));
    groups.are_empty_in_time();
}

/// Kills hrun, who watches, or both, after random times.
fn kill_at_random(starts: u64) {
    let (groups, image) = (Delegated::new(), Image::tiny());
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let (parent, mark) = (groups.option(), new_mark());
    let options = [parent.as_str(), "--cpus=1", "--memory=64m", "--pids-limit=20"];
    let start = |words| {
        let run = command(probe_arguments(image.path(), &options, words));
        with_mark(&run, mark).spawn().unwrap()
    };
    for _ in 0..starts {
        let mut run = start("sleep 30");
        sleep(Duration::from_micros(random(12_000)));
        if random(3) == 0 {
            for watcher in watching(mark) {
                let _ = kill(watcher, Signal::SIGKILL);
            }
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    assert!(start("exit 0").wait().unwrap().success());
    groups.are_empty_in_time();
    until("nobody watches any more", || watching(mark).is_empty().then_some(()));
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.contains("hrun"), "{sockets}");
}

#[test]
fn starts_killed_at_random_leave_nothing() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    kill_at_random(20);
}

#[test]
#[ignore = "takes half a minute: make test-full"]
fn two_hundred_starts_killed_at_random_leave_nothing() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    kill_at_random(200);
}
