//! Several commands of one rank are no ranks: each has what it asked for to itself.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use super::support::groups::Delegated;
use super::support::live::until;
use super::support::rank::{Waiting, file, rank, step};
use super::support::run::{probe_arguments, shell};
use super::support::{Image, Live, Outcome, Scratch, command, lacks, outcome, real, tester};

/// Variables by which launchers tell a rank its number.
const NUMBERS: [&str; 6] = [
    "SLURM_PROCID",
    "PMIX_RANK",
    "PMI_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PALS_RANKID",
    "FLUX_TASK_RANK",
];

#[test]
fn six_commands_of_one_task_have_six_private_directories() {
    let (image, home) = (real("bookworm"), Scratch::new());
    // Each waits until all are there, and then looks.
    let script = "seq 6 | xargs -P6 -I{} $hrun -q $option --bind=$meet $image sh -c '\
         echo {} > /tmp/mine; mkdir -p ~; echo {} >> ~/mine; touch $meet/{}; \
         while test $(ls $meet | wc -l) -lt 6; do sleep 0.01; done; \
         echo $(cat /tmp/mine) $(cat ~/mine) $(readlink /proc/self/ns/user)'";
    for (option, number) in [("--contain", "SLURM_PROCID"), ("--contain", "PMI_RANK")] {
        let meet = home.join(format!("meet-{number}"));
        fs::create_dir(&meet).unwrap();
        fs::set_permissions(&meet, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let mut shell = shell(&image, script);
        shell.env("option", option).env("meet", &meet).envs(step(number)).env(number, "0");
        let lines = outcome(&mut shell).lines();
        let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let own: BTreeSet<&str> = words.iter().map(|words| words[0]).collect();
        assert_eq!(own.len(), 6, "each sees what it wrote: {lines:?}");
        assert!(words.iter().all(|words| words[0] == words[1]), "{lines:?}");
        let users: BTreeSet<&str> = words.iter().map(|words| words[2]).collect();
        assert_eq!(users.len(), 1, "one user namespace, so that memory can be read: {lines:?}");
    }
}

#[test]
fn a_number_of_any_launcher_tells_ranks_from_commands() {
    let (image, home) = (real("bookworm"), Scratch::new());
    for name in NUMBERS {
        let test = format!("number-{name}");
        let start = |number: &str| {
            // Of what starts the launcher itself, all ranks have the same.
            let outer = if name == "SLURM_PROCID" { "SLURM_NODEID" } else { "SLURM_PROCID" };
            Waiting::with(&[(name, number), (outer, "0")], &test, &image, &["-t"], &home)
        };
        let (first, second) = (start("0"), start("1"));
        assert_eq!(first.namespaces(), second.namespaces(), "{name}");
        let command = start("1");
        assert_eq!(command.namespaces()[0], first.namespaces()[0], "{name}");
        assert_ne!(command.namespaces()[1], first.namespaces()[1], "{name}");
        // While that lives the number stays taken; then the rank's next command takes its place.
        second.end();
        let still = start("1");
        assert_ne!(still.namespaces()[1], command.namespaces()[1], "{name}");
        assert_ne!(still.namespaces()[1], first.namespaces()[1], "{name}");
        [command, still].into_iter().for_each(Waiting::end);
        let next = start("1");
        assert_eq!(next.namespaces(), first.namespaces(), "{name}");
        [first, next].into_iter().for_each(Waiting::end);
    }
}

#[test]
fn what_is_asked_for_is_shared_by_commands_too() {
    let (image, home) = (real("bookworm"), Scratch::new());
    for option in ["--join", "--join-tag=commands"] {
        let start =
            || Waiting::with(&[("SLURM_PROCID", "0")], "asked", &image, &["-t", option], &home);
        let (first, second) = (start(), start());
        assert_eq!(first.namespaces(), second.namespaces(), "{option}");
        [first, second].into_iter().for_each(Waiting::end);
    }
}

#[test]
fn many_ranks_and_their_commands_at_once_are_told_apart() {
    let image = real("bookworm");
    // Whoever comes first of a number is the rank.
    let (ranks, commands) = (4, 4);
    for round in 0..5 {
        let script = "echo $(readlink /proc/self/ns/user /proc/self/ns/mnt); read end";
        let start = |number: usize| {
            let mut command = rank(&format!("at-once-{round}"), &image, &["-q", "-t"], script);
            command.env("SLURM_PROCID", (number % ranks).to_string());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..ranks * commands).map(start).collect();
        let mut children: Vec<Live> = children
            .into_iter()
            .map(|mut child| {
                let output = child.stdout.take().unwrap();
                Live::watch(child, output)
            })
            .collect();
        let lines: Vec<String> = children.iter().map(Live::next_line).collect();
        let seen: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let users: BTreeSet<&str> = seen.iter().map(|words| words[0]).collect();
        assert_eq!(users.len(), 1, "{lines:?}");
        // One of each number shares with the other ranks, and all others are for themselves.
        let mounts: BTreeSet<&str> = seen.iter().map(|words| words[1]).collect();
        assert_eq!(mounts.len(), 1 + ranks * (commands - 1), "round {round}: {lines:?}");
        let sharing = |mount: &str| seen.iter().filter(|words| words[1] == mount).count();
        assert!(mounts.iter().any(|mount| sharing(mount) == ranks), "round {round}: {lines:?}");
        children.iter_mut().for_each(|child| child.say("\n"));
        for child in &mut children {
            child.wait();
        }
    }
}

#[test]
fn a_command_of_a_rank_has_limits_of_its_own() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let (groups, image) = (Delegated::new(), Image::tiny());
    let parent = groups.option();
    let options = [parent.as_str(), "--pids-limit=9"];
    let start = |number: &str| {
        let mut rank = command(probe_arguments(image.path(), &options, "stdin"));
        rank.envs(step("own-limits")).env("SLURM_PROCID", number);
        let rank = Live::start(&mut rank);
        until("the rank runs its command", || {
            let link = fs::read_link(format!("/proc/{}/exe", rank.pid())).ok()?;
            link.ends_with("probe").then_some(())
        });
        rank
    };
    let group = |rank: &Live| {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", rank.pid())).unwrap();
        groups.lines().find(|line| line.contains(":pids:")).unwrap().to_owned()
    };
    let (first, second, command) = (start("0"), start("1"), start("0"));
    assert_eq!(group(&first), group(&second));
    assert_ne!(group(&first), group(&command));
    for mut rank in [first, second, command] {
        rank.say("");
        rank.wait();
    }
    groups.are_empty_in_time();
}

#[test]
fn a_long_wait_says_for_what_and_for_which_process() {
    let image = real("bookworm");
    outcome(&mut rank("held", &image, &[], "true")).ok();
    // flock(1) stands for a rank that was stopped while it made its mounts.
    let mut holder = super::support::run::as_tester("/usr/bin/flock".as_ref());
    holder.arg(file("held")).args(["sh", "-c", "echo held; read end"]);
    let mut holder = Live::start(&mut holder);
    assert_eq!(holder.next_line(), "held");
    let start = |options: &[&str]| {
        let mut command: Command = rank("held", &image, options, "true");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut loud = start(&[]);
    let errors = loud.stderr.take().unwrap();
    let quiet = start(&["-q"]);
    let told = Live::watch(loud, errors);
    let line = told.next_line();
    let place = file("held");
    let named = format!("waiting for other ranks of this step: {} is held by", place.display());
    assert!(line.contains(&named), "{line}");
    assert!(line.contains(&format!("process {} (flock)", holder.pid())), "{line}");
    assert!(place.starts_with(format!("/dev/shm/hrun-{}", tester().uid)));
    holder.say("\n");
    holder.wait();
    Outcome::new(quiet.wait_with_output().unwrap()).ok();
    drop(told);
}
