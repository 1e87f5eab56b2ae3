//! A layer is written to by one run at a time: the kernel says nothing of two overlays on one layer, and
//! both lose files.
//!
//! The command must not inherit a lock, and other processes of its container may outlive it. So it is
//! held by a process that stays behind until the overlay is mounted nowhere any more, as the copies of
//! packed images are.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::sys::copy::LastUnmount;
use crate::sys::detached::Link;
use crate::sys::meeting::{self, Hold, Locked, Tell};
use crate::sys::{group, process};

/// Starts the process that holds a file until a file system is mounted nowhere any more. It lets go of
/// the stage, and then waits for being told that the file system will be heard of.
pub type Keep = fn(&Path, Locked, &LastUnmount) -> Result<Link, Errno>;

/// So long it may take the kernel to take a container apart.
const ENDING: Duration = Duration::from_secs(2);

/// After so long it is looked again.
const NAP: Duration = Duration::from_millis(2);

/// A layer that is held.
#[derive(Debug)]
pub(super) struct Layer {
    unmount: LastUnmount,
    link: Link,
}

/// Holds the layer of a file, and waits for it if somebody is told of that.
///
/// # Errors
///
/// `EBUSY` if another run holds it; the errno of flock(2) or of making a process.
pub(super) fn hold(
    keep: Keep,
    file: &Path,
    stage: &Path,
    waits: Option<Tell>,
) -> Result<Option<Layer>, Errno> {
    let held = match waits {
        Some(tell) => Locked::make(file, Hold::Alone, tell)?,
        None => try_hold(file)?.ok_or(Errno::EBUSY)?,
    };
    let pid = std::process::id();
    let words = format!("{pid} {} {}\n", meeting::start_time(pid)?, process::host_name());
    held.shorten(words.as_bytes())?;
    let unmount = LastUnmount::new()?;
    let link = keep(stage, held, &unmount)?;
    link.hear()?;
    Ok(Some(Layer { unmount, link }))
}

/// Holds a file unless a run has it; nothing if one does.
///
/// The kernel takes a container apart after its last process has ended, and only then the file is let
/// go: one run after another must not find it held by the one before.
fn try_hold(file: &Path) -> Result<Option<Locked>, Errno> {
    let started = Instant::now();
    loop {
        let held = Locked::try_make(file, Hold::Alone)?;
        if held.is_some()
            || started.elapsed() > ENDING
            || Run::of(file).is_some_and(|run| run.lives())
        {
            return Ok(held);
        }
        thread::sleep(NAP);
    }
}

impl Layer {
    /// Has it be held until the overlay that is mounted on a directory has ended.
    ///
    /// # Errors
    ///
    /// The errno of inotify_add_watch(2), or `EPIPE` if the process that holds it is gone.
    pub(super) fn ends_with(self, target: &Path) -> Result<(), Errno> {
        self.unmount.expect(target)?;
        self.link.tell(Ok(()))
    }
}

/// The run that holds a layer, as its file says.
struct Run {
    pid: u32,
    started: u64,
    host: String,
}

impl Run {
    fn of(file: &Path) -> Option<Self> {
        let text = String::from_utf8(Locked::look(file)?).ok()?;
        let mut words = text.split_ascii_whitespace();
        let (pid, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Run { pid, started, host: words.next()?.to_owned() })
    }

    fn is_elsewhere(&self) -> bool {
        self.host != process::host_name()
    }

    /// Whether its command runs, as far as that is known; one on another machine may.
    fn lives(&self) -> bool {
        let is_it = || meeting::start_time(self.pid) == Ok(self.started);
        self.is_elsewhere() || is_it() && !group::is_zombie(self.pid)
    }
}

/// The run that holds a layer, in words.
pub(super) fn holder(file: &Path) -> Option<String> {
    let run = Run::of(file)?;
    let pid = run.pid;
    if run.is_elsewhere() {
        return Some(format!("process {pid} on {}", printable(&run.host)));
    }
    if !run.lives() {
        return Some(format!("what process {pid} has started, and which lives longer than it,"));
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    Some(format!("process {pid} ({})", printable(line.trim_end())))
}

/// So many letters are shown of a command.
const LETTERS: usize = 60;

fn printable(text: &str) -> String {
    let letters = text.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    letters.take(LETTERS).collect()
}
