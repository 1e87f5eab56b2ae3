//! Real MPI over ranks that hrun starts: Debian's Open MPI and MPICH, under their own launchers.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use nix::sys::wait::WaitStatus;

use super::support::live::outcome_in_time;
use super::support::run::as_tester;
use super::support::{Live, Scratch, command, program, real};

/// How many ranks: twice as many as there are processors, where tests run.
const RANKS: &str = "4";

/// A launcher, as an ordinary user starts it on one node.
fn launcher(family: &str) -> Command {
    let mut command = as_tester(Path::new(match family {
        "openmpi" => "/usr/bin/mpirun.openmpi",
        _ => "/usr/bin/mpiexec.hydra",
    }));
    if family == "openmpi" {
        // One node, no ssh, and more ranks than processors.
        command.args(["--mca", "plm", "isolated", "--oversubscribe"]);
    }
    command.args(["-np", RANKS]);
    command
}

/// The user namespaces that the ranks of one run were in; every message was right.
#[track_caller]
fn ring(family: &str, options: &[&str]) -> BTreeSet<String> {
    ring_by(launcher(family), family, options)
}

/// The same with a command that starts the ranks.
#[track_caller]
fn ring_by(mut command: Command, family: &str, options: &[&str]) -> BTreeSet<String> {
    if options.contains(&"--no-join") {
        // MPICH 4.0 often hangs in MPI_Finalize when UCX may use everything but CMA, on the bare
        // host as well (docs/mpi.md).
        command.env("UCX_TLS", "posix,self");
    }
    command.arg(program("hrun")).args(options).arg(real("mpi"));
    command.arg(format!("/usr/local/bin/ring.{family}"));
    let outcome = outcome_in_time(&mut command);
    assert_eq!(outcome.status, Some(0), "{family}: {outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines.contains(&"4 ranks"), "{family}: {outcome:?}");
    let namespaces = lines.iter().filter_map(|line| line.strip_prefix("in "));
    namespaces.map(str::to_owned).collect()
}

/// One after the other: ranks that wait use all of the processors.
#[test]
fn ranks_exchange_messages_of_all_sizes() {
    for family in ["openmpi", "mpich"] {
        assert_eq!(ring(family, &[]).len(), 1, "{family}: one set of namespaces");
        assert_eq!(ring(family, &["--contain"]).len(), 1, "{family}");
        assert_eq!(ring(family, &["--private-tmp"]).len(), 1, "{family}");
        assert_eq!(ring(family, &["--no-join"]).len(), 4, "{family}: each for itself");
    }
}

#[test]
fn ranks_of_a_script_between_launcher_and_hrun_meet() {
    for family in ["openmpi", "mpich"] {
        let mut command = launcher(family);
        // hrun is not its last command: the shell stays between them.
        command.args(["sh", "-c", "\"$@\"; exit $?", "wrapper"]);
        assert_eq!(ring_by(command, family, &[]).len(), 1, "{family}");
    }
}

/// A file that all ranks wait for, and what each prints before.
const WAITS: &str = "readlink /proc/self/ns/user; until [ -e $0 ]; do sleep 0.02; done";

#[test]
fn runs_of_mpirun_at_the_same_time_are_apart() {
    let scratch = Scratch::new();
    let (image, go) = (real("mpi"), scratch.join("go"));
    let bind = format!("--bind={}", scratch.path().display());
    for family in ["openmpi", "mpich"] {
        let start = || {
            let mut command = launcher(family);
            command.arg(program("hrun")).args(["-q", &bind]).arg(&image);
            Live::start(command.args(["sh", "-c", WAITS]).arg(&go))
        };
        let runs = [start(), start()];
        let ranks: usize = RANKS.parse().unwrap();
        let seen = runs
            .each_ref()
            .map(|run| -> BTreeSet<String> { (0..ranks).map(|_| run.next_line()).collect() });
        assert_eq!(seen.each_ref().map(BTreeSet::len), [1, 1], "{family}: {seen:?}");
        assert_ne!(seen[0], seen[1], "{family}");
        std::fs::write(&go, "").unwrap();
        for mut run in runs {
            assert!(matches!(run.wait(), WaitStatus::Exited(_, 0)), "{family}");
        }
        std::fs::remove_file(&go).unwrap();
    }
}

#[test]
fn a_library_that_does_not_understand_the_launcher_is_told_of() {
    for (launched, linked, wire) in [("openmpi", "mpich", "PMIx"), ("mpich", "openmpi", "PMI")] {
        let mut command = launcher(launched);
        command.arg(program("hrun")).arg(real("mpi"));
        command.arg(format!("/usr/local/bin/ring.{linked}"));
        let outcome = outcome_in_time(&mut command);
        let warning = format!("the launcher speaks {wire}, which that does not understand");
        assert_eq!(outcome.stderr.matches(&warning).count(), 1, "{outcome:?}");
        // And it is so; Open MPI alone even wants a program of its own that the image lacks.
        let is_alone = outcome.stdout.contains("1 ranks") || outcome.stderr.contains("singleton");
        assert!(is_alone, "{outcome:?}");
    }
}

/// A program that knows of MPI by a library of its own alone, in directories no loader knows.
#[test]
fn a_library_behind_another_is_found_as_the_loader_does() {
    let home = Scratch::new();
    let [bin, lib, other] = ["bin", "lib", "other"].map(|name| home.directory(name));
    let build = |arguments: &[&str]| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-nostdlib", "-Wl,--no-as-needed"]).args(arguments).args([
            "-x",
            "c",
            "/dev/null",
        ]);
        assert!(gcc.current_dir(home.path()).status().unwrap().success(), "{arguments:?}");
    };
    let mpi = ["-shared", "-Wl,-soname,libmpi.so.12", "-o", "other/libmpi.so.12"];
    build(&mpi);
    let wrapper = ["-shared", "-Wl,-soname,libsolver.so", "-o", "lib/libsolver.so"];
    build(&[&wrapper[..], &["-Lother", "-l:libmpi.so.12"]].concat());
    // RPATH is for what a library needs as well, RUNPATH for the program's own needs.
    let program_of = |name: &str, flags: &[&str]| {
        let output = format!("bin/{name}");
        let common = ["-Wl,-e,0", "-Llib", "-Lother", "-lsolver", "-Wl,--allow-shlib-undefined"];
        build(&[&["-o", &output], flags, &common].concat());
    };
    let path = "-Wl,-rpath,$ORIGIN/../lib:$ORIGIN/../other";
    program_of("rpath", &["-Wl,--disable-new-dtags", path]);
    program_of("runpath", &["-Wl,--enable-new-dtags", path]);
    program_of("plain", &[]);
    let warned = |name: &str, libraries: &str| {
        let mut command = command(["--dry-run", &format!("--set-env=LD_LIBRARY_PATH={libraries}")]);
        command.arg(real("bookworm")).arg(bin.join(name));
        let launched = [("PMIX_NAMESPACE", "a"), ("PMIX_RANK", "0"), ("PMI_SIZE", "2")];
        let outcome = outcome_in_time(command.envs(launched));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        outcome.stderr.contains("linked with an MPI library of MPICH's family")
    };
    let (lib, other) = (lib.to_str().unwrap(), other.to_str().unwrap());
    assert!(warned("rpath", ""), "DT_RPATH");
    assert!(!warned("runpath", ""), "DT_RUNPATH is not the library's");
    assert!(warned("runpath", other));
    assert!(!warned("plain", ""));
    assert!(!warned("plain", lib));
    assert!(warned("plain", &format!("{lib}:{other}")));
}
