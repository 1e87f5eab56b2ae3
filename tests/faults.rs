//! Every system call of a start, and of an import, fails in seven ways and is where a process is killed.
//!
//! Whatever fails, a command runs with all its restrictions or not at all, an error is told in words,
//! nothing hangs, and nothing is left. `make test-faults` runs it; docs/faults.md is what it found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use nix::errno::Errno;

use super::packed::Packed;
use super::support::keep::{Made, Store};
use super::support::live::until;
use super::support::run::{as_tester, outcome};
use super::support::scratch::fingerprint;
use super::support::{Image, Outcome, Scratch, bind, command, program, tester};

/// Errors that kernels, file systems and filters of system calls give.
const ERRORS: [Errno; 7] = [
    Errno::EPERM,
    Errno::EACCES,
    Errno::ENOMEM,
    Errno::ENOSPC,
    Errno::EIO,
    Errno::EINTR,
    Errno::ENOSYS,
];

/// A run that has not ended by then hangs, in seconds; all wait for no clock but that of a busy machine.
const PATIENCE: &str = "20";

/// So many numbers in a row at which there is no call any more are the end: processes that run side by
/// side do not always make the same number.
const BEYOND: u64 = 3;

/// What came of the run of which one call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// As without the fault.
    Same,
    /// The command ran, and something is missing in its container, which hrun has said.
    Said,
    /// The same, and hrun has not said it: what is missing is no restriction, and the command is where it
    /// would have been.
    Less,
    /// hrun or the command failed, and there is a message.
    Refused,
    /// The process that failed was killed, and its end was seen.
    Killed,
}

/// What a fault must never lead to.
#[derive(Debug)]
struct Flaw(String);

/// Where a fault was put, and what came of it.
struct Run {
    /// The system call; none if there were fewer.
    call: Option<u32>,
    /// How the program ended: `exit 0`, `signal 9`, `hang`.
    end: String,
    outcome: Outcome,
}

/// Runs words as the tester with a fault at a call.
fn run(words: &[String], scratch: &Path, processes: &str, number: u64, fault: &str) -> Run {
    let report = scratch.join("report");
    let mut injector = as_tester(&program("faults"));
    injector.arg(&report).args([processes, &number.to_string(), fault, PATIENCE]).args(words);
    injector.env("HRUN_TEST_FAULTS", "1");
    let outcome = outcome(&mut injector);
    let line = fs::read_to_string(&report).unwrap();
    let (call, end) = line.trim_end().split_once(' ').expect("the injector reports");
    Run { call: call.parse().ok(), end: end.to_owned(), outcome }
}

/// Judges a run of hrun by what the command would have printed.
fn judge(run: &Run, fault: &str, usual: &str) -> Result<Verdict, Flaw> {
    let Outcome { stdout, stderr, .. } = &run.outcome;
    let end: Vec<&str> = run.end.split(' ').collect();
    let is_worded = !stderr.trim().is_empty();
    match (end[0], end.get(1).copied().unwrap_or_default()) {
        ("exit", "0") if stdout == usual => Ok(Verdict::Same),
        ("exit", "0") if !is_weaker(usual, stdout, false) => match stderr.contains("hrun: ") {
            true => Ok(Verdict::Said),
            false => Ok(Verdict::Less),
        },
        ("exit", "0") if stderr.contains("hrun: ") && !is_weaker(usual, stdout, true) => {
            Ok(Verdict::Said)
        }
        ("exit", "0") => {
            Err(Flaw(format!("other than usual, in silence:\n{}", differences(usual, stdout))))
        }
        ("exit", "101" | "134") => Err(Flaw("a panic".to_owned())),
        ("exit", _) if is_worded => Ok(Verdict::Refused),
        ("exit", _) => Err(Flaw("a failure without a word".to_owned())),
        ("signal", "9") if fault == "kill" => Ok(Verdict::Killed),
        // The command's own end, of memory that its image's server could not fill.
        ("signal", "7") if is_worded || fault == "kill" => Ok(Verdict::Refused),
        _ => Err(Flaw("a hang or a crash".to_owned())),
    }
}

/// Whether a container gives more than the usual one, or has the command start elsewhere.
fn is_weaker(usual: &str, seen: &str, may_start_elsewhere: bool) -> bool {
    let new = seen.lines().filter(|line| !usual.lines().any(|other| other == *line));
    let (state, rest): (Vec<&str>, Vec<&str>) = new.partition(|line| !line.starts_with('/'));
    // Variables but the one that says where the command is.
    let is_start = |line: &str| line.starts_with("PWD=") || line.starts_with("in ");
    let is_variable = |line: &&str| match is_start(line) {
        true => may_start_elsewhere,
        false => line.contains('='),
    };
    // A place that cannot be written to, or a mount that is read-only.
    let is_less = |line: &&str| line.contains(" Err(") || line.contains(" ro,");
    !state.iter().all(is_variable) || !rest.iter().all(is_less)
}

fn differences(usual: &str, seen: &str) -> String {
    let lacks = usual.lines().filter(|line| !seen.lines().any(|other| other == *line));
    let has = seen.lines().filter(|line| !usual.lines().any(|other| other == *line));
    let lacks = lacks.map(|line| format!("- {line}\n"));
    lacks.chain(has.map(|line| format!("+ {line}\n"))).collect()
}

/// What was counted of one kind of run.
#[derive(Default)]
struct Tally {
    calls: u64,
    verdicts: BTreeMap<Verdict, u64>,
    /// What must not be, in words.
    flaws: Vec<String>,
}

/// Puts every fault at every call.
fn exhaust(
    words: &[String],
    processes: &str,
    judge: impl Fn(&Run, &str) -> Result<Verdict, Flaw>,
) -> Tally {
    let scratch = Scratch::new();
    let mut tally = Tally::default();
    let faults = ERRORS.iter().map(|errno| (*errno as i32).to_string()).chain(["kill".to_owned()]);
    for fault in faults {
        let mut beyond = 0;
        let numbers = (1..).take_while(|number| {
            let run = run(words, scratch.path(), processes, *number, &fault);
            let Some(call) = run.call else {
                beyond += 1;
                return beyond < BEYOND;
            };
            beyond = 0;
            tally.calls = tally.calls.max(*number);
            match judge(&run, &fault) {
                Ok(verdict) => *tally.verdicts.entry(verdict).or_default() += 1,
                Err(Flaw(what)) => {
                    let (end, stderr) = (&run.end, &run.outcome.stderr);
                    let flaw = format!(
                        "call {number}, system call {call}, {fault}: {what}; {end}\n{stderr}"
                    );
                    eprintln!("{flaw}");
                    tally.flaws.push(flaw);
                }
            }
            true
        });
        numbers.for_each(drop);
    }
    tally
}

/// A kind of start.
struct Start {
    name: &'static str,
    options: Vec<String>,
    image: PathBuf,
    /// Which processes' calls fail.
    processes: &'static str,
}

/// All kinds of starts there are, on what a test made for them.
fn starts(tiny: &Image, packed: &Packed, scratch: &Scratch) -> Vec<Start> {
    let readable = bind(&scratch.directory("bound"), ":/opt/made/for/this:ro");
    let layer = format!("--overlay={}", scratch.directory("layer").display());
    let profile = format!("--seccomp={}", program("docker-seccomp.json").display());
    let directory = |name, options: &[&str]| Start {
        name,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        image: tiny.path().to_path_buf(),
        processes: "0",
    };
    let of_file = |name, options: &[&str]| Start {
        image: packed.path.clone(),
        processes: "all",
        ..directory(name, options)
    };
    let old = "--assume-missing=overlay,mount-setattr,pivot-root";
    vec![
        directory("a directory", &[]),
        directory("`--bind` to a place that the image lacks, read-only", &[&readable]),
        directory("the same on an old kernel", &[&readable, old]),
        directory("`--contain --write-fake`", &["--contain", "--write-fake", &readable]),
        directory(
            "`--private-tmp`, without overlay",
            &["--private-tmp", "--assume-missing=overlay"],
        ),
        directory("`--overlay`", &[&layer]),
        directory("`--root`", &["--root"]),
        directory("`--seccomp`, a capability kept", &[&profile, "--root", "--cap-keep=chown"]),
        directory("`--cpus` by affinity", &["--cpus=1", "--limits=best-effort"]),
        directory("the first rank of a step", &["--join-tag=first"]),
        directory("another rank of a step", &["--join-tag=faults"]),
        Start { processes: "all", ..directory("`--pid`", &["--pid"]) },
        of_file("a squashfs file", &[]),
        of_file("`--unpack`", &["--unpack"]),
        of_file("a squashfs file, `--pid --contain`", &["--pid", "--contain"]),
    ]
}

/// The tester's processes that are hrun's.
fn left() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        // Of a process that is closed to others only root is the owner.
        let status = fs::read_to_string(path.join("status")).ok()?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let is_testers = uid.split_whitespace().next() == Some(&tester().uid.to_string());
        (name.starts_with("hrun") && is_testers).then(|| name.trim_end().to_owned())
    });
    processes.collect()
}

/// What hrun may have left in a directory that all share; where ranks meet may stay.
fn names(directory: &str) -> Vec<String> {
    let meeting = format!("hrun-{}", tester().uid);
    let entries = fs::read_dir(directory).unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let is_testers = entry.metadata().ok()?.uid() == tester().uid;
        is_testers.then(|| entry.file_name().to_string_lossy().into_owned())
    });
    let mut names: Vec<String> =
        entries.filter(|name| name.contains("hrun") && !name.starts_with(&meeting)).collect();
    names.sort();
    names
}

#[test]
#[ignore = "thousands of runs: make test-faults"]
fn whatever_call_of_a_start_fails_the_command_is_restricted_or_does_not_run() {
    let (tiny, packed, scratch) = (Image::tiny(), Packed::tiny(), Scratch::new());
    let away = scratch.directory("away");
    // A rank that others find.
    let mut rank = command(["--join-tag=faults"]);
    rank.arg(tiny.path()).args(["/bin/probe", "sleep", "3600"]);
    let mut rank = rank.current_dir(&away).stderr(Stdio::null()).spawn().unwrap();
    let mut rows = Vec::new();
    let mut flaws = Vec::new();
    for start in starts(&tiny, &packed, &scratch) {
        let before = (names("/tmp"), names("/dev/shm"), fingerprint(tiny.path()));
        let quiet = left().len();
        let mut words = vec![program("hrun").to_str().unwrap().to_owned()];
        words.push("--no-config".to_owned());
        words.extend(start.options.iter().cloned());
        words.push(start.image.to_str().unwrap().to_owned());
        let home = tester().home.to_str().unwrap().to_owned();
        words
            .extend(["/bin/probe", "state", "/", "/etc", "/tmp", "/opt", &home].map(str::to_owned));
        let usual = run(&words, scratch.path(), start.processes, u64::MAX >> 2, "1");
        assert_eq!(usual.end, "exit 0", "{}: {}", start.name, usual.outcome.stderr);
        let tally =
            exhaust(&words, start.processes, |run, fault| judge(run, fault, &usual.outcome.stdout));
        until("nothing of it is left", || (left().len() <= quiet).then_some(()));
        let after = (names("/tmp"), names("/dev/shm"), fingerprint(tiny.path()));
        assert_eq!(before, after, "{}", start.name);
        flaws.extend(tally.flaws.iter().map(|flaw| format!("{}: {flaw}", start.name)));
        rows.push((start.name.to_owned(), tally));
    }
    rank.kill().unwrap();
    rank.wait().unwrap();
    record("Starts", &rows);
    assert!(flaws.is_empty(), "{} flaws:\n{}", flaws.len(), flaws.join("\n"));
}

#[test]
#[ignore = "thousands of runs: make test-faults"]
fn whatever_call_of_an_import_fails_the_store_is_sound() {
    let made = Made::new();
    let layout = made.path("layout").to_str().unwrap().to_owned();
    let store = Store::new();
    let himage = program("himage").to_str().unwrap().to_owned();
    let place = format!("--store={}", store.path().display());
    let words =
        [himage, "--quiet".to_owned(), place, "import".to_owned(), layout, "app".to_owned()];
    let tally = exhaust(&words, "all", |run, fault| {
        let verdict = match run.end.as_str() {
            "exit 0" => Ok(Verdict::Same),
            "signal 9" if fault == "kill" => Ok(Verdict::Killed),
            "exit 101" | "exit 134" => Err(Flaw("a panic".to_owned())),
            end if end.starts_with("exit") && !run.outcome.stderr.trim().is_empty() => {
                Ok(Verdict::Refused)
            }
            _ => Err(Flaw("a hang, a crash or a failure without a word".to_owned())),
        };
        // What is in the store then is whole, and the same command makes it so.
        if verdict.as_ref().is_ok_and(|verdict| *verdict != Verdict::Same) {
            let again = store.himage(&words[3..]);
            if again.status != Some(0) {
                return Err(Flaw(format!("not taken up again: {}", again.stderr)));
            }
        }
        let sound = store.himage(["verify"]);
        let removed = store.himage(["remove", "app"]);
        match (sound.status, removed.status) {
            (Some(0), Some(0)) => verdict,
            // Nothing was taken up again then, so there may be nothing to remove.
            (Some(0), _) if verdict.is_err() => verdict,
            _ => Err(Flaw(format!("not sound: {}{}", sound.stderr, removed.stderr))),
        }
    });
    let flaws = tally.flaws.join("\n");
    record("Imports", &[("`himage import` of a layout of two layers".to_owned(), tally)]);
    assert!(flaws.is_empty(), "{flaws}");
}

/// Writes one table of docs/faults.md anew if that is asked for; prints it otherwise.
fn record(title: &str, rows: &[(String, Tally)]) {
    let verdicts = [Verdict::Same, Verdict::Said, Verdict::Less, Verdict::Refused, Verdict::Killed];
    let mut table = format!(
        "## {title}\n\n| what | calls | faults | as usual | less, and said | less | refused | killed |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    let mut sum = 0;
    for (name, tally) in rows {
        let counts = verdicts.map(|verdict| tally.verdicts.get(&verdict).copied().unwrap_or(0));
        let faults: u64 = counts.iter().sum();
        sum += faults;
        let [same, said, less, refused, killed] = counts;
        let calls = tally.calls;
        writeln!(
            table,
            "| {name} | {calls} | {faults} | {same} | {said} | {less} | {refused} | {killed} |"
        )
        .unwrap();
    }
    writeln!(table, "\n{sum} faults.\n").unwrap();
    if std::env::var_os("HRUN_UPDATE").is_none() {
        return eprintln!("{table}");
    }
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let page = fs::read_to_string(&path).unwrap();
    let page = page.replace("\nNo record of the present code has been made yet.\n", "");
    let start = page.find(&format!("## {title}\n")).unwrap_or(page.len());
    let end = page[start..].find("\n## ").map_or(page.len(), |length| start + length + 1);
    fs::write(path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
}
