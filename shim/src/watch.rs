//! Removes control groups when all their processes have ended, however they did.
//!
//! The process that was started becomes the command, so another has to stay. It belongs to nobody:
//! it is no child of the command, is in no group with limits, in a session of its own, on no
//! directory, and holds no descriptor of the job, but standard error until the command ends where
//! it has something to say (docs/decisions/0015).

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use runtime::apply::limits::Made;
use runtime::sys::group::{self, Process};
use runtime::sys::helper::{self, Helper, Root, Signals};

/// A group that is busy without a process is left to the next start after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches over control groups, in a process of its own.
///
/// # Errors
///
/// The errno of fork(2).
pub fn start(made: &Made) -> Result<(), Errno> {
    // Opened here, where the number cannot be another's.
    let command = Process::open(std::process::id())?;
    let error = made.says.as_ref().map(|_| STANDARD_ERROR);
    let kept: Vec<i32> = error.into_iter().chain(command.descriptor()).collect();
    let watcher = Helper { name: "hrun-limits", kept: &kept, signals: Signals::Blocked };
    watcher.leave_alone(|| watch(made, &command, &watcher))
}

fn watch(made: &Made, command: &Process, watcher: &Helper) {
    // It has no rights, and its limits are those of hrun: groups are removed by their paths.
    let _ = helper::settle(Root::Kept);
    command.wait();
    if let Some(text) = made.says.as_ref().filter(|_| has_killed(&made.groups)) {
        group::say(&format!("hrun: warning: {text}\n"));
    }
    // Whoever reads what the command wrote now comes to the end of it.
    Helper { kept: &[], ..*watcher }.close_descriptors();
    made.groups.iter().for_each(|group| outlive(group));
}

/// The descriptor of standard error.
const STANDARD_ERROR: i32 = 2;

/// Whether the kernel has killed a process of the groups because it took too much memory.
fn has_killed(groups: &[PathBuf]) -> bool {
    let files = ["memory.events", "memory.oom_control"];
    let texts = groups.iter().flat_map(|group| files.map(|file| group::read(group, file)));
    let counts = texts.flatten().filter_map(|text| {
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
    });
    counts.into_iter().any(|count| count > 0)
}

/// Waits until nobody is in a group, and removes it.
fn outlive(group: &Path) {
    let mut since = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !matches!(group::remove(group), Ok(()) | Err(Errno::ENOENT)) {
        match group::member(group).map(Process::open) {
            Some(Ok(member)) => {
                member.wait();
                since = Instant::now();
                pause = Duration::from_millis(1);
            }
            // Its end is not yet known everywhere, or it is in another PID namespace.
            Some(Err(_)) => rest(&mut pause),
            None if since.elapsed() > PATIENCE => return,
            None => rest(&mut pause),
        }
    }
}

fn rest(pause: &mut Duration) {
    sleep(*pause);
    *pause = (*pause * 2).min(Duration::from_millis(200));
}
