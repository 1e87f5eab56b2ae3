//! Whichever process of a run is killed, at whatever moment, nothing of the run is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::packed::Packed;
use super::support::groups::Delegated;
use super::support::live::until;
use super::support::mark::{marked, with_mark};
use super::support::run::probe_arguments;
use super::support::{Image, command, lacks};

const LIMITS: [&str; 3] = ["--cpus=1", "--memory=64m", "--pids-limit=20"];

/// Numbers that are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Waits for some part of the time that a start takes, and a bit.
    fn wait(&mut self) {
        sleep(Duration::from_micros(self.below(40_000) as u64));
    }
}

/// Starts a command, kills one of its processes after a while, and then hrun; waits until none is left.
/// Gives back the name of the first.
fn killed(image: &Path, options: &[&str], mark: u64, random: &mut Random) -> Option<String> {
    let run = command(probe_arguments(image, options, "sleep 30"));
    let mut run = with_mark(&run, mark).stderr(Stdio::null()).spawn().unwrap();
    random.wait();
    let processes = marked(mark);
    // First a name: there may be one server, and many who run.
    let names: BTreeSet<&String> = processes.iter().map(|(_, name)| name).collect();
    let index = random.below(names.len().max(1));
    let name = names.into_iter().nth(index).cloned();
    let victims: Vec<Pid> =
        processes.iter().filter(|it| Some(&it.1) == name.as_ref()).map(|it| it.0).collect();
    if !victims.is_empty() {
        // It may have ended meanwhile.
        let _ = kill(victims[random.below(victims.len())], Signal::SIGKILL);
    }
    random.wait();
    let _ = kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGKILL);
    run.wait().unwrap();
    until(&format!("nothing is left after {name:?} was killed, {options:?}"), || {
        marked(mark).is_empty().then_some(())
    });
    name
}

/// So many starts in each way to have more processes than the command; says who was killed.
fn kill_at_random(starts: usize) -> BTreeMap<String, usize> {
    let (image, packed) = (Image::tiny(), Packed::tiny());
    let groups = (!lacks("root") && !lacks("limit-cgroups")).then(Delegated::new);
    let parent = groups.as_ref().map(Delegated::option);
    let limits: Vec<&str> = parent.iter().map(String::as_str).chain(LIMITS).collect();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut victims = BTreeMap::new();
    for path in [image.path(), &packed.path] {
        for pid in [&[][..], &["--pid"]] {
            for limits in [&[][..], &limits] {
                // The process that was started becomes the command.
                let is_alone = pid.is_empty() && limits.is_empty() && path == image.path();
                if is_alone || (!limits.is_empty() && groups.is_none()) {
                    continue;
                }
                let options = [limits, pid].concat();
                for _ in 0..starts {
                    let mark =
                        u64::from(std::process::id() % 800) << 10 | random.below(1 << 10) as u64;
                    let name = killed(path, &options, mark, &mut random);
                    *victims.entry(name.unwrap_or_default()).or_insert(0) += 1;
                }
            }
        }
    }
    if let Some(groups) = groups {
        // Where the one who removes it was killed, the next start does.
        let words = probe_arguments(image.path(), &limits, "exit 0");
        assert!(command(words).status().unwrap().success());
        groups.are_empty_in_time();
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.contains("hrun"), "{sockets}");
    println!("killed: {victims:?}");
    victims
}

#[test]
fn processes_killed_at_random_leave_nothing() {
    kill_at_random(6);
}

#[test]
#[ignore = "takes minutes: make test-full"]
fn two_hundred_starts_of_each_kind_killed_at_random_leave_nothing() {
    let victims = kill_at_random(200);
    let mut kinds = vec!["hrun", "hrun-init", "hrun-ear", "hrun-image", "probe"];
    if !lacks("root") && !lacks("limit-cgroups") {
        kinds.push("hrun-limits");
    }
    for kind in kinds {
        assert!(victims.get(kind).is_some_and(|count| *count > 10), "{kind}: {victims:?}");
    }
}
