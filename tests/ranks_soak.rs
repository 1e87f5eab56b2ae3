//! Meetings of hundreds of ranks, again and again: minutes of it, for `make test-full`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::live::until;
use super::support::{Live, Outcome, command, real, tester};

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

#[test]
#[ignore = "takes minutes: make test-full"]
fn two_hundred_times_256_ranks_at_once() {
    let image = real("bookworm");
    let mut longest = Duration::ZERO;
    for round in 0..200 {
        let step = format!("soak-{round}");
        let (mut keeper, namespace) = keeper(&step, &image);
        let start = Instant::now();
        let mut readlink = rank(&step, &image, &["readlink", "/proc/self/ns/user"]);
        let ranks: Vec<Child> = (0..256).map(|_| started(&mut readlink)).collect();
        for child in ranks {
            let seen = Outcome::new(child.wait_with_output().unwrap()).ok();
            assert_eq!(seen, namespace, "round {round}");
        }
        longest = longest.max(start.elapsed());
        keeper.say("");
        keeper.wait();
        // And without one that keeps it: whoever comes first begins.
        let mut plain = rank(&format!("{step}-free"), &image, &["true"]);
        for child in (0..16).map(|_| started(&mut plain)).collect::<Vec<_>>() {
            Outcome::new(child.wait_with_output().unwrap()).ok();
        }
    }
    eprintln!("the longest round of 256 took {longest:?}");
    until("the files of dead steps are swept", || {
        Outcome::new(started(&mut rank("sweeper", &image, &["true"])).wait_with_output().unwrap())
            .ok();
        (files("soak-") == 0).then_some(())
    });
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
