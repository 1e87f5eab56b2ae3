//! Every launcher with every MPI of images of three releases: what works, and what hrun says where
//! nothing can.
//!
//! Launchers are started by the lines of docs/mpi.md, word for word. What all combinations came to
//! is docs/mpi-matrix.md: `HRUN_UPDATE=1 make test-full` writes it anew.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::support::launcher::{LAUNCHERS, Launcher, names, typed};
use super::support::live::outcome_in_time;
use super::support::run::as_tester;
use super::support::{Outcome, Scratch, lacks, program, real};

/// An MPI that an image may have.
#[derive(Clone, Copy, Debug)]
struct Mpi {
    name: &'static str,
    /// The program linked with it.
    program: &'static str,
    /// Rows of the guide with the options it takes.
    options: &'static [&'static str],
}

const fn mpi(name: &'static str, program: &'static str, options: &'static [&'static str]) -> Mpi {
    Mpi { name, program, options }
}

/// In a directory that loaders do not know.
const ELSEWHERE: &str = "in a directory that its loader does not know";

const MPIS: [Mpi; 8] = [
    mpi("Debian's Open MPI", "openmpi", &[]),
    mpi("Debian's MPICH", "mpich", &[]),
    mpi("Open MPI 5.0.11", "openmpi5", &[]),
    mpi("MPICH 5.0.2", "mpich5", &[]),
    mpi("Intel MPI 2021.18", "mpich5", &[ELSEWHERE]),
    mpi("Intel MPI 2021.18 with PMIx", "mpich5", &[ELSEWHERE, "Intel MPI, started by PMIx"]),
    mpi("standard ABI of MPICH 5.0.2", "abi", &[]),
    mpi("standard ABI of Intel MPI 2021.18", "abi", &[ELSEWHERE]),
];

/// Releases of Debian, and their own Open MPI and MPICH.
const SUITES: [(&str, &str); 3] = [
    ("bullseye", "Open MPI 4.1.0 and MPICH 3.4.1"),
    ("bookworm", "Open MPI 4.1.4 and MPICH 4.0.2"),
    ("trixie", "Open MPI 5.0.7 and MPICH 4.2.1"),
];

/// What the program prints that all is well.
const WELL: &str = "2 ranks, sum 2, 33554431 bytes to and fro, memory read";

/// What Intel MPI says of a library of PMIx 4.0, as Debian 11 has it.
const OLD_PMIX: &str = "Could not auto detect PMI version";

/// What came of a combination.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Works,
    /// Every rank is alone and ends with success, and hrun has said so before.
    Alone(String),
    /// The ranks fail, and hrun has said so before, or the library does.
    Fails(String),
    /// The ranks fail, and those of the same launcher with the same library without hrun fail too.
    AsBare,
}

/// What a cell of the document says where a machine cannot run a combination at all.
const AS_BARE: &str = "fails as on the bare host";

/// The MPIs of the images below `/opt`, in another place, for ranks without a container.
struct Bare {
    opt: PathBuf,
    _scratch: Scratch,
}

impl Bare {
    fn new() -> Self {
        let scratch = Scratch::new();
        let opt = scratch.join("opt");
        let copy = as_tester(Path::new("cp"))
            .arg("-r")
            .args([&real("mpi-bookworm").join("opt"), &opt])
            .status();
        assert!(copy.unwrap().success());
        Bare { opt, _scratch: scratch }
    }

    /// Runs an MPI's program as the guide says, but for hrun. Debian's own libraries are the host's.
    fn run(&self, launcher: Launcher, mpi: Mpi) -> Outcome {
        let opt = self.opt.to_str().unwrap();
        let mut words = vec![OsString::from("env")];
        // A launcher hands out where its own library is, which may not be the program's.
        let handed_out = ["LD_LIBRARY_PATH", "OPAL_PREFIX", "PMIX_PREFIX", "PRTE_PREFIX"];
        words.extend(handed_out.map(|name| format!("--unset={name}").into()));
        let directory = match mpi.program {
            "openmpi5" => Some("openmpi"),
            "mpich5" | "abi" => Some("mpich"),
            _ => None,
        };
        // Where the program's own search path leads to in the image.
        if let Some(directory) = directory {
            words.push(format!("LD_LIBRARY_PATH={opt}/{directory}/lib").into());
        }
        if mpi.program == "openmpi5" {
            let prefixes = ["OPAL", "PMIX", "PRTE"];
            words.extend(prefixes.map(|name| format!("{name}_PREFIX={opt}/openmpi").into()));
        }
        for option in mpi.options.iter().flat_map(|row| typed(row)) {
            let variable = option.strip_prefix("--set-env=").expect("options are variables");
            words.push(variable.replace("/opt/", &format!("{opt}/")).into());
        }
        let programs = real("mpi-bookworm").join("usr/local/bin");
        words.push(programs.join(format!("matrix.{}", mpi.program)).into());
        outcome_in_time(&mut launcher.command(words))
    }
}

static BARE: LazyLock<Bare> = LazyLock::new(Bare::new);

fn is_well(outcome: &Outcome) -> bool {
    outcome.status == Some(0) && outcome.stdout.lines().eq([WELL])
}

/// Says what came of a combination; what works has no warning, and what does not has one, or comes to
/// the same without a container.
#[track_caller]
fn judge(outcome: &Outcome, bare: Option<&Outcome>) -> Verdict {
    let said: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.starts_with("hrun: ")).collect();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let works = is_well(outcome);
    if works && said.is_empty() {
        return Verdict::Works;
    }
    if said.is_empty() && outcome.status != Some(0) && outcome.stdout.contains(OLD_PMIX) {
        return Verdict::Fails(format!("Intel MPI, which says: {OLD_PMIX}"));
    }
    if said.is_empty() && bare.is_some_and(|bare| !is_well(bare)) {
        return Verdict::AsBare;
    }
    assert!(!works && said.len() == 1, "the warning is false or missing: {outcome:?}; {bare:?}");
    let worked = bare.is_some_and(is_well);
    assert!(!worked, "it works without a container: {outcome:?}");
    // Without the name of the program.
    let message = said[0].split_once(" is linked with ").expect("it is about MPI").1.to_owned();
    let sizes: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once(" ranks, ")).map(|line| line.0).collect();
    match outcome.status {
        Some(0) if sizes == ["1", "1"] => Verdict::Alone(message),
        Some(status) if status != 0 && sizes.is_empty() => Verdict::Fails(message),
        _ => panic!("neither alone nor together: {outcome:?}"),
    }
}

/// Whether the same library can run without a container: those of the Python index run anywhere, and
/// Debian's on their own release, which is this machine's.
fn runs_bare(suite: &str, mpi: Mpi) -> bool {
    suite == "bookworm" || !["openmpi", "mpich"].contains(&mpi.program)
}

/// Runs an MPI of an image as the guide says, and then without hrun.
#[track_caller]
fn run(launcher: Launcher, suite: &str, mpi: Mpi) -> Verdict {
    let mut words = vec![program("hrun").into_os_string()];
    words.extend(mpi.options.iter().flat_map(|row| typed(row)).map(OsString::from));
    words.push(real(&format!("mpi-{suite}")).into());
    words.push(format!("matrix.{}", mpi.program).into());
    let outcome = outcome_in_time(&mut launcher.command(words));
    let bare = runs_bare(suite, mpi).then(|| BARE.run(launcher, mpi));
    eprintln!("{} with {} of {suite}: {outcome:?}; bare: {bare:?}", launcher.name, mpi.name);
    judge(&outcome, bare.as_ref())
}

#[test]
fn every_line_of_the_guide_works() {
    assert_eq!(names(), LAUNCHERS.map(|launcher| launcher.name));
    for launcher in LAUNCHERS {
        if launcher.is_srun() && lacks("root") {
            continue;
        }
        let mpis = if launcher.speaks_pmix() { [MPIS[2], MPIS[5]] } else { [MPIS[1], MPIS[4]] };
        for mpi in mpis {
            let verdict = run(launcher, "bookworm", mpi);
            // A machine may be one on which a library takes a node for several, with hrun and without.
            assert!(matches!(verdict, Verdict::Works | Verdict::AsBare), "{launcher:?}, {mpi:?}");
        }
    }
}

#[test]
fn a_library_that_would_not_hear_is_found_wherever_it_lies() {
    let [old, new, hydra, ..] = LAUNCHERS;
    // By the loader's cache, by a search path in the program, and by LD_LIBRARY_PATH.
    for (launcher, mpi, said) in [
        (old, MPIS[1], "MPICH's family, and the launcher speaks PMIx"),
        (hydra, MPIS[2], "Open MPI, and the launcher speaks PMI,"),
        (old, MPIS[4], "Intel MPI, and the launcher speaks PMIx"),
        (old, MPIS[7], "Intel MPI, and the launcher speaks PMIx"),
        (new, MPIS[0], "Open MPI 4, and the launcher is of Open MPI 5"),
    ] {
        match run(launcher, "bookworm", mpi) {
            Verdict::Alone(message) => assert!(message.contains(said), "{mpi:?}: {message}"),
            other => panic!("{launcher:?}, {mpi:?}: {other:?}"),
        }
    }
    // MPICH 5 finds out by itself, and says less.
    let verdict = run(old, "bookworm", MPIS[3]);
    assert!(matches!(verdict, Verdict::Fails(_)), "{verdict:?}");
}

#[test]
#[ignore = "168 runs in images of three releases: make test-full"]
fn the_matrix_is_as_it_is_documented() {
    if lacks("root") {
        return;
    }
    let written = document();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/mpi-matrix.md");
    if std::env::var_os("HRUN_UPDATE").is_some() {
        fs::write(path, written).unwrap();
        return;
    }
    let known = fs::read_to_string(path).unwrap();
    let is_known = |(written, known): (&str, &str)| written == known || written.trim() == AS_BARE;
    let cells = |text: &str| text.split('|').count();
    let same = written.split('|').zip(known.split('|')).all(is_known);
    assert!(same && cells(&written) == cells(&known), "HRUN_UPDATE=1 writes it anew:\n{written}");
}

/// Runs everything and writes the document.
fn document() -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut tables = String::new();
    for (suite, own) in SUITES {
        let header: String =
            LAUNCHERS.iter().map(|launcher| format!(" {} |", launcher.name)).collect();
        writeln!(tables, "## Debian {suite}: {own}\n\n| the image's MPI |{header}").unwrap();
        writeln!(tables, "|---|{}", "---|".repeat(LAUNCHERS.len())).unwrap();
        for mpi in MPIS {
            write!(tables, "| {} |", mpi.name).unwrap();
            for launcher in LAUNCHERS {
                let cell = match run(launcher, suite, mpi) {
                    Verdict::Works => "works".to_owned(),
                    Verdict::Alone(message) => {
                        format!("alone ({})", number(message, &mut messages))
                    }
                    Verdict::Fails(message) => {
                        format!("fails ({})", number(message, &mut messages))
                    }
                    Verdict::AsBare => AS_BARE.to_owned(),
                };
                write!(tables, " {cell} |").unwrap();
            }
            tables.push('\n');
        }
        tables.push('\n');
    }
    let mut text = START.to_owned() + &tables + "## What is said\n\n";
    for (index, message) in messages.iter().enumerate() {
        writeln!(text, "{}. app is linked with {message}", index + 1).unwrap();
    }
    text
}

/// The number of a message, from 1 on.
fn number(message: String, messages: &mut Vec<String>) -> usize {
    match messages.iter().position(|known| *known == message) {
        Some(index) => index + 1,
        None => {
            messages.push(message);
            messages.len()
        }
    }
}

const START: &str = "\
# Which launcher runs which MPI

Written by `tests/mpi_matrix.rs`, which runs every cell: two ranks of one node in hrun, started by the
lines of [mpi.md](mpi.md). The program checks its number of ranks, a ring, a sum, messages of 1 byte to
16 MiB to and fro, byte for byte, and that each rank can read the memory of the other
(`process_vm_readv`). Launchers are the host's: Debian 12's Open MPI 4.1.4, MPICH 4.0.2 and Slurm
22.05, and Open MPI 5.0.11, MPICH 5.0.2 and Intel MPI 2021.18 from the Python index. The image's MPIs are
its release's own, and the three from the Python index below `/opt`.

* **works**: all of that holds, and hrun says nothing.
* **alone**: every rank is rank 0 of 1 and ends with success; hrun has warned before, in the words of
  that number.
* **fails**: the library gives up; hrun has warned before, or the library says why.

";
