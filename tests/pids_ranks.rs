//! `--pid` in a step: its ranks on a node share one PID namespace, whenever they come and go.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::pids::isolated;
use super::support::live::outcome_in_time;
use super::support::{Live, as_tester, program, real};

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
