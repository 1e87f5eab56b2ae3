//! What a launcher gives a rank is what the command in the container has, and all of it.

use std::fs::{self, File};
use std::path::Path;

use nix::sys::wait::WaitStatus;

use super::support::launcher::{LAUNCHERS, Launcher};
use super::support::live::outcome_in_time;
use super::support::slurm::{Tracking, cluster, tracked};
use super::support::terminal::Terminal;
use super::support::{Scratch, lacks, program, real};

/// What a process is to its launcher and to the kernel, as a shell tells it of itself.
const LOOK: &str = r#"
tell() {
    grep -E '^(Umask|Pid|PPid|Uid|Gid|Threads|Cpus_allowed|Mems_allowed):' /proc/$$/status
    # The shell blocks signals while it starts a command, which has its mask again.
    grep -E '^Sig(Blk|Ign):' /proc/self/status
    # Process group, session, terminal and its foreground, priority, niceness, kind of scheduling.
    cut -d ' ' -f 5-8,18,19,40,41 /proc/$$/stat
    cat /proc/$$/limits /proc/$$/cgroup /proc/$$/oom_score_adj /proc/$$/timerslack_ns
    cat /proc/$$/coredump_filter /proc/$$/personality
    ionice -p $$
    for name in cgroup ipc net pid time uts; do readlink /proc/$$/ns/$name; done
    for path in /proc/$$/fd/*; do
        number=${path##*/}
        # Where this goes, and what the shell had open to find it.
        [ $number != 1 ] && [ $number -lt 10 ] && [ -L $path ] || continue
        echo $number
        readlink $path
    done
    [ -z "$PMI_FD" ] || readlink /proc/$$/fd/$PMI_FD
    env | grep -E '^(FLUX|HYD|I_MPI|MPI|OMPI|PALS|PMI|PRTE|SLURM)' | grep -v '^PMIX_PREFIX=' | sort
}
look() {
    tell > "$here/rank-$$.$1"
    # Under Hydra that of other ranks never ends.
    [ "${PMIX_RANK:-${PMI_RANK:-$SLURM_PROCID}}" != 0 ] || { read line; echo $line > $here/$1.input; }
}
"#;

/// What a rank does: it looks at itself, becomes hrun, and looks again. The first one takes a line of
/// its standard input each time.
fn rank(scratch: &Scratch, hrun: &str) -> String {
    scratch.file("look.sh", LOOK);
    let ready = format!("here={}; . $here/look.sh", scratch.path().display());
    format!(
        "{ready}; umask 027; ulimit -n 300 -c 0; exec 7< $here/look.sh
        export PALS_RANKID=3 FLUX_TASK_RANK=4 HYDRA_ANY=5
        look bare; exec {hrun} sh -c '{ready}; look inside'"
    )
}

/// Compares what the ranks of a run have seen; gives back how many there were.
#[track_caller]
fn compare(scratch: &Scratch) -> usize {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|_| panic!("no {path:?}"));
    let entries = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
    let bare: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|part| part == "bare")).collect();
    for path in &bare {
        let (bare, inside) = (read(path), read(&path.with_extension("inside")));
        assert!(bare.contains("PALS_RANKID=3\n") && bare.contains("\n7\n/"), "{bare}");
        pretty_eq(&bare, &inside);
    }
    let inputs = ["bare.input", "inside.input"].map(|name| read(&scratch.join(name)));
    assert_eq!(inputs, ["one\n", "two\n"]);
    bare.len()
}

/// What one of the ranks has seen.
fn seen(scratch: &Scratch, kind: &str) -> String {
    let mut names = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = names.find(|path| path.extension().is_some_and(|part| part == kind));
    fs::read_to_string(path.unwrap()).unwrap()
}

/// Says which lines differ.
#[track_caller]
fn pretty_eq(bare: &str, inside: &str) {
    let lines = |text: &str, other: &str| -> Vec<String> {
        text.lines().filter(|line| !other.lines().any(|o| o == *line)).map(str::to_owned).collect()
    };
    assert_eq!(lines(bare, inside), lines(inside, bare), "bare and inside");
    assert_eq!(bare, inside);
}

/// Whether another launcher has the same ways.
fn is_of_many(launcher: Launcher) -> bool {
    !["Open MPI 5's mpirun", "MPICH 4's mpiexec", "srun, PMIx"].contains(&launcher.name)
}

#[test]
fn a_rank_is_inside_what_its_launcher_made_it() {
    let (hrun, image) = (program("hrun"), real("bookworm"));
    for launcher in LAUNCHERS {
        if launcher.is_srun() && lacks("root") {
            continue;
        }
        let both = ["", "--contain --private-tmp"];
        for options in if is_of_many(launcher) { &both[..1] } else { &both } {
            let scratch = Scratch::new();
            let bind = scratch.path().display();
            let hrun = format!("{} {options} --bind={bind} {}", hrun.display(), image.display());
            let script = rank(&scratch, &hrun);
            let words = ["taskset", "-c", "0", "nice", "-n", "5", "sh", "-c", &script];
            let input = scratch.file("input", "one\ntwo\n");
            let mut command = launcher.command(words);
            let outcome = outcome_in_time(command.stdin(File::open(input).unwrap()));
            assert_eq!(outcome.status, Some(0), "{launcher:?} {options}: {outcome:?}");
            assert_eq!(compare(&scratch), 2, "{launcher:?} {options}");
        }
    }
}

#[test]
fn a_rank_on_a_terminal_has_it_inside() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    let (hrun, image) = (program("hrun"), real("bookworm"));
    let script = rank(&scratch, &format!("{} {}", hrun.display(), image.display()));
    let configuration = cluster().configuration();
    let words = [&configuration, "srun", "--quiet", "--pty", "sh", "-c", &script];
    let mut terminal = Terminal::start(Path::new("/usr/bin/env"), &words);
    terminal.press("one\ntwo\n");
    let end = terminal.leader.wait();
    assert!(matches!(end, WaitStatus::Exited(_, 0)), "{end:?}");
    assert_eq!(compare(&scratch), 1);
    let inside = seen(&scratch, "inside");
    assert!(inside.contains("\n0\n/dev/pts/"), "{inside}");
}

#[test]
fn a_task_that_control_groups_confine_is_confined_inside() {
    if lacks("root") || lacks("devices-cgroup") {
        return;
    }
    let scratch = Scratch::new();
    let (hrun, image) = (program("hrun"), real("bookworm"));
    let script = rank(&scratch, &format!("{} {}", hrun.display(), image.display()));
    let cluster = tracked(Tracking::Groups);
    let mut command = cluster.command("srun");
    command.args(["--quiet", "-n1", "-c1", "sh", "-c", &script]);
    let input = scratch.file("input", "one\ntwo\n");
    let outcome = outcome_in_time(command.stdin(File::open(input).unwrap()));
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(compare(&scratch), 1);
    let seen = seen(&scratch, "inside");
    assert!(seen.contains("/slurm_c1/uid_"), "{seen}");
}

/// Under the options that hide where they lie.
#[test]
fn pmix_finds_its_directories() {
    let (hrun, image) = (program("hrun"), real("mpi-bookworm"));
    let pmix =
        |launcher: &&Launcher| launcher.speaks_pmix() && !(launcher.is_srun() && lacks("root"));
    for launcher in LAUNCHERS.iter().filter(pmix) {
        for options in [["--private-tmp", "--no-cwd"], ["--contain", "--no-home"]] {
            let words = [hrun.to_str().unwrap(), options[0], options[1], image.to_str().unwrap()];
            let words = [&words[..], &["matrix.openmpi5"]].concat();
            let outcome = outcome_in_time(&mut launcher.command(words));
            let is_well = outcome.stdout.starts_with("2 ranks, ") && outcome.stderr.is_empty();
            assert!(is_well && outcome.status == Some(0), "{launcher:?} {options:?}: {outcome:?}");
        }
    }
}
