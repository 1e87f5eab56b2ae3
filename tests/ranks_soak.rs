//! Meetings of hundreds of ranks, again and again: minutes of it, for `make test-full`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::support::live::until;
use super::support::{Live, Outcome, as_tester, command, real, tester};

/// A rank of a step that runs a command in an image.
fn rank(step: &str, image: &Path, words: &[&str]) -> Command {
    let mut command = command([image]);
    command.args(words).env("SLURM_JOB_ID", step).env("SLURM_STEP_ID", "0");
    command
}

/// A rank that keeps its step alive, and its user namespace.
fn keeper(step: &str, image: &Path) -> (Live, String) {
    let keeper = Live::start(&mut rank(step, image, &["sh", "-c", "echo up; cat"]));
    assert_eq!(keeper.next_line(), "up");
    let link = fs::read_link(format!("/proc/{}/ns/user", keeper.pid())).unwrap();
    (keeper, format!("{}\n", link.display()))
}

fn started(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The meeting files of steps whose names start so.
fn files(of: &str) -> usize {
    let directory = format!("/dev/shm/hrun-{}", tester().uid);
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().starts_with(&format!("slurm-{of}"))).count()
}

/// Numbers that look random; the same in every run.
fn numbers() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    }
}

/// What a rank says: when it began to run, in seconds of the kernel's clock, and where it is.
const BEGAN: &str = "read up idle < /proc/uptime; echo $up; exec readlink /proc/self/ns/user";

/// The kernel's clock, in hundredths of a second.
fn uptime() -> Duration {
    began(&fs::read_to_string("/proc/uptime").unwrap())
}

/// The time at the beginning of a text.
fn began(text: &str) -> Duration {
    let seconds = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("no time in {text}")))
}

/// Starts 256 at once; the longest that one took until it began to run, and where all of them are.
#[track_caller]
fn start_256(command: &mut Command) -> (Duration, BTreeSet<String>) {
    let children: Vec<(Duration, Child)> = (0..256).map(|_| (uptime(), started(command))).collect();
    let ends = children.into_iter().map(|(spawned, child)| {
        let seen = Outcome::new(child.wait_with_output().unwrap()).ok();
        let namespace = seen.lines().nth(1).unwrap().to_owned();
        (began(&seen).saturating_sub(spawned), namespace)
    });
    let (waits, namespaces): (Vec<_>, BTreeSet<_>) = ends.unzip();
    (waits.into_iter().max().unwrap(), namespaces)
}

/// What steps might leave: processes of theirs, and anything of hrun's in shared memory.
fn left(of: &str) -> (Vec<OsString>, Vec<OsString>) {
    let mark = format!("SLURM_JOB_ID={of}");
    let is_theirs = |process: &DirEntry| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|it| it.starts_with(mark.as_bytes()))
    };
    let names = |directory: &str, is_left: &dyn Fn(&DirEntry) -> bool| {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        entries.filter(is_left).map(|entry| entry.file_name()).collect()
    };
    let is_hruns = |entry: &DirEntry| entry.file_name().to_string_lossy().contains("hrun");
    (names("/proc", &is_theirs), names("/dev/shm", &is_hruns))
}

#[test]
#[ignore = "takes minutes: make test-full"]
fn two_hundred_times_256_ranks_at_once() {
    let image = real("bookworm");
    let (mut longest, mut longest_bare) = (Duration::ZERO, Duration::ZERO);
    for round in 0..200 {
        let step = format!("soak-{round}");
        // As many that do not meet, on the machine as it is now.
        let (bare, _) = start_256(as_tester(Path::new("/bin/sh")).args(["-c", BEGAN]));
        let (mut keeper, namespace) = keeper(&step, &image);
        let (waited, seen) = start_256(&mut rank(&step, &image, &["sh", "-c", BEGAN]));
        assert_eq!(seen, BTreeSet::from([namespace.trim_end().to_owned()]), "round {round}");
        assert!(waited < bare + Duration::from_secs(1), "{waited:?}, bare {bare:?}");
        (longest, longest_bare) = (longest.max(waited), longest_bare.max(bare));
        keeper.say("");
        keeper.wait();
        // And without one that keeps it: whoever comes first begins.
        let mut plain = rank(&format!("{step}-free"), &image, &["true"]);
        for child in (0..16).map(|_| started(&mut plain)).collect::<Vec<_>>() {
            Outcome::new(child.wait_with_output().unwrap()).ok();
        }
    }
    eprintln!(
        "of 256 at once the last began after {longest:?} at most, of bare ones {longest_bare:?}"
    );
    // Each new step looks at some of what is there.
    let mut later = 0;
    until("the files of dead steps are swept", || {
        later += 1;
        let mut next = rank(&format!("sweeper-{later}"), &image, &["true"]);
        Outcome::new(started(&mut next).wait_with_output().unwrap()).ok();
        (files("soak-") == 0).then_some(())
    });
    // The sweeper's own file is in the one directory there is.
    assert_eq!(left("soak-"), (vec![], vec![format!("hrun-{}", tester().uid).into()]));
}

#[test]
#[ignore = "takes minutes: make test-full"]
fn ranks_that_sleep_and_die_at_random_meet_all_the_same() {
    let image = real("bookworm");
    let mut random = numbers();
    for round in 0..50 {
        let step = format!("random-{round}");
        let (mut keeper, namespace) = keeper(&step, &image);
        let mut living = Vec::new();
        for _ in 0..64 {
            let script = format!(
                "readlink /proc/self/ns/user; sleep 0.{:03}; {}",
                random(300),
                ["exit 0", "exit 0", "kill -SEGV $$", "kill -KILL $$"][random(4) as usize]
            );
            let mut child = started(&mut rank(&step, &image, &["sh", "-c", &script]));
            if random(3) == 0 {
                sleep(Duration::from_micros(random(6000)));
                child.kill().unwrap();
                child.wait().unwrap();
            } else {
                living.push(child);
            }
        }
        for child in living {
            let seen = Outcome::new(child.wait_with_output().unwrap());
            assert_eq!((seen.stdout, seen.stderr), (namespace.clone(), String::new()));
        }
        keeper.say("");
        keeper.wait();
    }
}
