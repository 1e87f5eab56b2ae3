//! Limits of ranks: shared by a step, or for each its own.

use std::process::Command;

use nix::sys::wait::WaitStatus;

use super::support::groups::Delegated;
use super::support::live::{outcome_in_time, until};
use super::support::run::probe_arguments;
use super::support::slurm::cluster;
use super::support::{Image, Live, command, lacks, program, real};

/// A rank of a step that waits until its standard input ends.
fn rank(number: usize, options: &[&str], image: &Image) -> Command {
    let mut rank = command(probe_arguments(image.path(), options, "stdin"));
    rank.env("SLURM_JOB_ID", format!("limits-{}", std::process::id()));
    rank.env("SLURM_STEP_ID", "0").env("SLURM_LOCALID", number.to_string());
    rank
}

/// The groups a process is in with a controller.
fn group(rank: &Live, controller: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", rank.pid())).unwrap();
    let line = groups.lines().find(|line| line.contains(&format!(":{controller}:"))).unwrap();
    line.split(':').nth(2).unwrap().to_owned()
}

/// Waits until a rank runs its command; before, it is no member of anything.
fn started(rank: &Live) {
    until("the rank runs its command", || {
        let link = std::fs::read_link(format!("/proc/{}/exe", rank.pid())).ok()?;
        link.ends_with("probe").then_some(())
    });
}

fn end(mut rank: Live) {
    rank.say("");
    assert!(matches!(rank.wait(), WaitStatus::Exited(_, 0)));
}

#[test]
fn ranks_of_a_step_share_one_group_until_the_last_has_ended() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let (groups, image) = (Delegated::new(), Image::tiny());
    let parent = groups.option();
    let options = [parent.as_str(), "--cpus=1", "--memory=64m"];
    let start = |number| {
        let rank = Live::start(&mut rank(number, &options, &image));
        started(&rank);
        rank
    };
    let (first, second) = (start(0), start(1));
    assert_eq!(group(&first, "cpu"), group(&second, "cpu"));
    assert_eq!(group(&first, "memory"), group(&second, "memory"));
    assert_eq!(groups.made().len(), 2, "{:?}", groups.made());
    end(first);
    assert_eq!(groups.members("cpu"), [second.pid().to_string()], "the first may end early");
    let third = start(2);
    assert_eq!(groups.members("cpu").len(), 2);
    end(second);
    end(third);
    groups.are_empty_in_time();
}

#[test]
fn every_rank_has_a_group_if_asked_for() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let (groups, image) = (Delegated::new(), Image::tiny());
    let parent = groups.option();
    let options = [parent.as_str(), "--pids-limit=9", "--limits-per-rank"];
    let ranks = [0, 1].map(|number| Live::start(&mut rank(number, &options, &image)));
    ranks.iter().for_each(started);
    assert_ne!(group(&ranks[0], "pids"), group(&ranks[1], "pids"));
    ranks.into_iter().for_each(end);
    groups.are_empty_in_time();
}

#[test]
fn many_ranks_at_once_find_one_group() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let (groups, image) = (Delegated::new(), Image::tiny());
    let parent = groups.option();
    // They end at once as well, so that the group is removed and made again between them.
    for _ in 0..4 {
        let options = [parent.as_str(), "--cpus=1", "--memory=256m", "--pids-limit=200"];
        let ranks: Vec<Live> =
            (0..24).map(|number| Live::start(&mut rank(number, &options, &image))).collect();
        ranks.into_iter().for_each(end);
        groups.are_empty_in_time();
    }
}

#[test]
fn ranks_take_cpus_of_their_own_unless_the_launcher_has_bound_them() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let image = Image::tiny();
    let allowed = |number: usize, options: &[&str], bound: Option<&str>| {
        let options = [&["--quiet", "--cpus=1"], options].concat();
        let words = probe_arguments(image.path(), &options, "status Cpus_allowed_list");
        let mut rank = match bound {
            None => command(words),
            Some(cpus) => {
                let mut taskset = super::support::as_tester("taskset".as_ref());
                taskset.args(["-c", cpus]).arg(program("hrun")).args(words);
                taskset
            }
        };
        rank.env("SLURM_JOB_ID", "7").env("SLURM_STEP_ID", "0");
        outcome_in_time(rank.env("SLURM_LOCALID", number.to_string())).ok()
    };
    let own = ["--limits-per-rank"];
    assert_eq!(allowed(0, &own, None), "Cpus_allowed_list:0\n");
    if cpus > 1 {
        assert_eq!(allowed(1, &own, None), "Cpus_allowed_list:1\n");
        assert_eq!(allowed(1, &[], None), "Cpus_allowed_list:0\n", "they share what they have");
        assert_eq!(allowed(0, &own, Some("1")), "Cpus_allowed_list:1\n");
        assert_eq!(allowed(1, &own, Some("0")), "Cpus_allowed_list:0\n");
    }
}

#[test]
fn launchers_do_not_wait_for_who_watches() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let groups = Delegated::new();
    let (parent, image, hrun) = (groups.option(), real("mpi"), program("hrun"));
    // It outlives the ranks by far, and holds nothing of theirs; so it is with who waits for it.
    let script = "(for file in /proc/self/fd/*; do eval \"exec ${file##*/}>&-\"; done 2> /dev/null
        exec setsid sleep 60) & echo $!";
    let rank =
        [hrun.to_str().unwrap(), &parent, "--cpus=1", "--memory=512m", image.to_str().unwrap()];
    let hydra = ["/usr/bin/mpiexec.hydra", "-n", "2"];
    let mut launched = super::support::as_tester(hydra[0].as_ref());
    launched.args(&hydra[1..]).args(rank).args(["bash", "-c", script]);
    let seen = outcome_in_time(&mut launched);
    let sleepers: Vec<&str> = seen.stdout.lines().collect();
    assert_eq!((seen.status, sleepers.len()), (Some(0), 2), "{seen:?}");
    assert_eq!(groups.members("cpu").len(), 2, "the sleepers are still limited");
    let srun =
        cluster().srun(&[&["-N1", "-n4", "--overcommit"], &rank[..], &["echo", "x"]].concat());
    assert_eq!((srun.status, srun.stdout.as_str()), (Some(0), "x\nx\nx\nx\n"), "{srun:?}");
    for sleeper in sleepers {
        let pid = nix::unistd::Pid::from_raw(sleeper.parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    groups.are_empty_in_time();
}
