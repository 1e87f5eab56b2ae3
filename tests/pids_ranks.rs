//! `--pid` in a step: its ranks on a node share one PID namespace, whenever they come and go.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::packed::Packed;
use super::packed_life::{none_is_left, one_server};
use super::pids::{isolated, number, processes_named};
use super::support::live::{outcome_in_time, until};
use super::support::rank::step;
use super::support::run::{as_tester, shell};
use super::support::slurm::cluster;
use super::support::{
    Image, Live, Outcome, Scratch, Way, bind, in_every_way, lacks, program, real,
};

/// A rank of a step that stays until its input ends.
fn rank(step: &str, options: &[&str], script: &str) -> Live {
    let mut command = isolated(options, &["sh", "-c", script]);
    Live::start(command.envs([("SLURM_JOB_ID", step), ("SLURM_STEP_ID", "0")]))
}

#[test]
fn ranks_of_a_step_share_a_namespace_and_the_first_may_end_early() {
    let step = format!("pids-{}", std::process::id());
    let script = "readlink /proc/self/ns/pid; ls -d /proc/[0-9]* | wc -l; read line; \
                  cat /proc/1/comm; readlink /proc/self/ns/pid";
    let start = || rank(&step, &["--pid"], script);
    let mut ranks = [start(), start(), start()];
    let namespaces = ranks.each_ref().map(Live::next_line);
    let counts = ranks.each_ref().map(|rank| rank.next_line().parse::<u32>().unwrap());
    assert!(namespaces.iter().all(|namespace| *namespace == namespaces[0]), "{namespaces:?}");
    assert!(counts.iter().any(|count| *count > 5), "they see each other: {counts:?}");
    let [first, rest @ ..] = &mut ranks;
    first.say("\n");
    assert_eq!(first.next_line(), "hrun-init");
    assert_eq!(first.wait(), WaitStatus::Exited(first.pid(), 0));
    // One that comes then joins those that are left; and one is killed.
    let mut late = start();
    assert_eq!(late.next_line(), namespaces[0]);
    late.next_line();
    rest[0].send(Signal::SIGKILL);
    rest[0].wait();
    for rank in [&mut rest[1], &mut late] {
        rank.say("\n");
        assert_eq!(rank.next_line(), "hrun-init");
        assert_eq!(rank.next_line(), namespaces[0]);
        assert_eq!(rank.wait(), WaitStatus::Exited(rank.pid(), 0));
    }
    // All have ended, and so has their init: the next one begins anew.
    let mut next = start();
    assert_ne!(next.next_line(), namespaces[0]);
    next.say("\n");
    next.wait();
    // A rank without the option is in no such namespace.
    let mut plain = rank(&step, &[], script);
    assert_eq!(
        plain.next_line(),
        fs::read_link("/proc/self/ns/pid").unwrap().display().to_string()
    );
    plain.say("\n");
    plain.wait();
}

/// Ranks of MPI know each other by their numbers, and read each other's memory by them.
#[test]
fn mpi_works_in_a_namespace_that_ranks_share() {
    let launchers: [(&str, &[&str], &str); 2] = [
        ("/usr/bin/mpiexec.hydra", &["-np", "3"], "mpich"),
        (
            "/usr/bin/mpirun.openmpi",
            &["--mca", "plm", "isolated", "--oversubscribe", "-np", "3"],
            "openmpi",
        ),
    ];
    for (launcher, words, family) in launchers {
        let mut command = as_tester(Path::new(launcher));
        command.args(words).arg(program("hrun")).arg("--pid").arg(real("mpi"));
        command.arg(format!("/usr/local/bin/ring.{family}"));
        let outcome = outcome_in_time(&mut command);
        assert_eq!(outcome.status, Some(0), "{family}: {outcome:?}");
        assert!(outcome.stdout.lines().any(|line| line == "3 ranks"), "{family}: {outcome:?}");
    }
}

/// A rank that stays until its input ends, in a way; it says in which PID namespace it is, and how many
/// processes it sees once it is told to look.
fn in_a_way(way: Way, test: &str, image: &Path, options: &[&str]) -> Live {
    let options = [&["--pid"], options].concat();
    let words = options.iter().copied().chain([image.to_str().unwrap(), "sh", "-c"]);
    let script = "set -- $(ls -Li /proc/self/ns/pid); echo $1; read line; \
                  set -- /proc/[0-9]*; echo $#; \
                  cat /proc/1/comm; read line; exit 4";
    let mut command = way.command(words.chain([script]));
    Live::start(command.envs(step(test)).stderr(Stdio::inherit()))
}

/// Waits until ranks run: in one namespace.
#[track_caller]
fn share_one(ranks: &[Live]) {
    let namespaces: BTreeSet<String> = ranks.iter().map(Live::next_line).collect();
    assert_eq!(namespaces.len(), 1, "{namespaces:?}");
}

/// Their commands see each other.
#[track_caller]
fn see_each_other(ranks: &mut [Live]) {
    let seen = ranks.iter_mut().map(|rank| {
        rank.ask("look\n");
        let seen: usize = rank.next_line().parse().unwrap();
        assert_eq!(rank.next_line(), "hrun-init");
        seen
    });
    let least = seen.min().unwrap();
    // With an ear each, and an init.
    assert!(least > 2 * ranks.len(), "{least} processes");
    for rank in ranks {
        rank.say("\n");
        assert_eq!(rank.wait(), WaitStatus::Exited(rank.pid(), 4));
    }
}

#[test]
fn every_way_and_a_packed_image_have_them() {
    let (image, packed) = (Image::tiny(), Packed::tiny());
    in_every_way(|way| {
        for path in [image.path(), &packed.path] {
            let words = |script| ["--pid", path.to_str().unwrap(), "sh", "-c", script];
            let seen = way.hrun(words("cat /proc/1/comm; echo $$; exit 7"));
            assert_eq!((seen.status, seen.stderr.as_str()), (Some(7), ""));
            let lines: Vec<&str> = seen.stdout.lines().collect();
            assert_eq!((lines[0], lines[1].len()), ("hrun-init", 1), "{lines:?}");
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                let mut live = Live::start(&mut way.command(words("echo up; read line")));
                assert_eq!(live.next_line(), "up");
                live.send(signal);
                assert_eq!(live.wait(), WaitStatus::Signaled(live.pid(), signal, false));
            }
            let test = format!("ways-{}", way.0.join(""));
            let mut ranks = [(); 4].map(|()| in_a_way(way, &test, path, &[]));
            share_one(&ranks);
            see_each_other(&mut ranks);
        }
        none_is_left(&packed.path);
    });
}

/// MPI knows ranks by their numbers.
#[test]
fn ranks_with_other_mounts_are_in_the_same_namespace() {
    let (image, other, data) = (Image::tiny(), Image::tiny(), Scratch::new());
    let option = bind(data.path(), ":/data");
    in_every_way(|way| {
        let start = |image: &Image, options: &[&str]| {
            in_a_way(way, &format!("mixed-{}", way.0.join("")), image.path(), options)
        };
        let mut ranks =
            [start(&image, &[]), start(&image, &[&option]), start(&other, &[]), start(&image, &[])];
        share_one(&ranks);
        see_each_other(&mut ranks);
    });
}

#[test]
fn a_step_of_slurm_on_a_packed_image_shares_one() {
    if lacks("root") {
        return;
    }
    let packed = Packed::debian();
    let script = "readlink /proc/self/ns/pid; cat /proc/1/comm; sha256sum /usr/bin/perl; exit 0";
    let (hrun, image) = (program("hrun"), packed.path.to_str().unwrap());
    let words = ["--overcommit", "-N1", "-n4", hrun.to_str().unwrap(), "--pid", image];
    let outcome = cluster().srun(&[&words[..], &["sh", "-c", script]].concat());
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    let lines: BTreeSet<&str> = outcome.stdout.lines().collect();
    assert_eq!((outcome.stdout.lines().count(), lines.len()), (12, 3), "{}", outcome.stdout);
    none_is_left(&packed.path);
}

#[test]
fn ranks_on_a_packed_image_share_one_and_its_server() {
    let packed = Packed::debian();
    let test = "pids-packed";
    let mut ranks = [(); 4].map(|()| in_a_way(Way(&[]), test, &packed.path, &[]));
    share_one(&ranks);
    one_server(&packed.path);
    see_each_other(&mut ranks);
    none_is_left(&packed.path);
}

/// The descriptors of a process.
fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or(0)
}

/// The last rank has let go of the init, and lingers; the init ends, and lingers too. Who comes then
/// must not be drawn in.
#[test]
fn a_rank_that_comes_while_the_last_one_goes_has_an_init_that_lives() {
    if lacks("strace") {
        return;
    }
    let (image, test) = (real("bookworm"), "going");
    let mut traced = as_tester(Path::new("strace"));
    traced.args(["-f", "-o", "/dev/null", "-e", "inject=exit_group:delay_enter=1500000"]);
    traced.arg(program("hrun")).arg("--pid").arg(&image);
    traced.args(["sh", "-c", "echo up; read line"]).envs(step(test));
    let mut first = Live::start(&mut traced);
    assert_eq!(first.next_line(), "up");
    let hrun = processes_named("hrun", number(&first))[0];
    let init = until("init has its name", || processes_named("hrun-init", hrun).first().copied());
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let of_first = namespace(init);
    first.say("\n");
    until("hrun has let go", || (descriptors(hrun) == 0).then_some(()));
    let script = "echo in; read line; echo still in; exit 3";
    let mut command = isolated(&["--pid"], &["sh", "-c", script]);
    let mut next = Live::start(command.envs(step(test)));
    assert_eq!(next.next_line(), "in");
    // The init has ended, or it has noticed that somebody came.
    let is_kept = namespace(processes_named("sh", number(&next))[0]) == of_first;
    until("the init of the first has ended", || {
        let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap_or_default();
        (is_kept || status.is_empty() || status.contains("\nState:\tZ")).then_some(())
    });
    next.say("\n");
    assert_eq!(next.next_line(), "still in");
    assert_eq!(next.wait(), WaitStatus::Exited(next.pid(), 3));
    first.wait();
}

/// Ranks that come and go all the time, so that one is often the last while another comes.
fn come_and_go(test: &str, image: &Path, at_once: usize, starts: usize) {
    let script = format!(
        "for n in $(seq {starts}); do \
             $hrun --pid $image sh -c 'exit 9'; status=$?; [ $status = 9 ] || echo failed: $status; \
         done 2>&1"
    );
    let start = |_| {
        let mut shell = shell(image, &script);
        shell.envs(step(test)).stdout(Stdio::piped()).spawn().unwrap()
    };
    let shells: Vec<_> = (0..at_once).map(start).collect();
    for shell in shells {
        let output = shell.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    }
}

#[test]
fn ranks_come_and_go() {
    come_and_go("come-and-go", Image::tiny().path(), 3, 40);
}

#[test]
#[ignore = "takes minutes: make test-full"]
fn ranks_come_and_go_for_long() {
    let packed = Packed::tiny();
    for (test, at_once) in [("two-go", 2), ("five-go", 5)] {
        come_and_go(test, Image::tiny().path(), at_once, 800);
        come_and_go(test, &packed.path, at_once, 200);
    }
    none_is_left(&packed.path);
}

/// Somebody who joins does not keep a container.
#[test]
fn who_joins_by_number_ends_with_the_container() {
    let step = format!("joined-{}", std::process::id());
    let mut first = rank(&step, &["--pid"], "echo up; read line");
    assert_eq!(first.next_line(), "up");
    let command = processes_named("sh", number(&first))[0];
    let mut join = as_tester(&program("hrun"));
    join.arg(format!("--join-pid={command}")).args(["--", "sh", "-c", "echo in; read line"]);
    let mut joined = Live::start(&mut join);
    assert_eq!(joined.next_line(), "in");
    first.say("\n");
    assert_eq!(first.wait(), WaitStatus::Exited(first.pid(), 0));
    assert_eq!(joined.wait(), WaitStatus::Signaled(joined.pid(), Signal::SIGKILL, false));
}

#[test]
fn a_container_that_ends_while_it_is_joined_is_no_riddle() {
    if lacks("strace") {
        return;
    }
    let mut first =
        rank(&format!("ending-{}", std::process::id()), &["--pid"], "echo up; read line");
    assert_eq!(first.next_line(), "up");
    let command = processes_named("sh", number(&first))[0];
    let namespace = |pid: u32, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
    let inside = namespace(command, "pid");
    let mut traced = as_tester(Path::new("strace"));
    traced.args(["-o", "/dev/null", "-e", "inject=clone,clone3,fork,vfork:delay_enter=1000000"]);
    traced.arg(program("hrun")).arg(format!("--join-pid={command}")).args(["--", "true"]);
    let joining = traced.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it is about to make a process there", || {
        let hrun = *processes_named("hrun", joining.id()).first()?;
        (namespace(hrun, "pid_for_children") == inside).then_some(())
    });
    first.say("\n");
    first.wait();
    let outcome = Outcome::new(joining.wait_with_output().unwrap());
    outcome.fails(&["cannot watch over the command", "has just ended", "start it again"]);
}
