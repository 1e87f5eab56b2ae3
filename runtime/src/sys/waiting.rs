//! Waiting for a lock, with a word about it where that takes long.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::fstat;

/// So many seconds are waited in silence.
const PATIENCE: libc::time_t = 3;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Ranks of a step that make or join namespaces.
    Ranks,
    /// A process that unpacks an image.
    Copy,
    /// A run that has the layer over its image.
    Layer,
    /// A run that chooses CPUs.
    Cpus,
}

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// What it is called, in letters that can be shown.
    pub name: String,
    /// Whether it is stopped.
    pub is_stopped: bool,
}

/// Says what is waited for, at which file, and which process holds that, where this is known.
pub type Say = fn(Purpose, &Path, Option<&Holder>);

/// Who is told of a long wait.
#[derive(Clone, Copy, Debug)]
pub struct Tell {
    /// What is waited for.
    pub purpose: Purpose,
    /// How it is said; nothing: not at all.
    pub say: Option<Say>,
}

/// Waits for a lock of flock(2).
pub(super) fn lock(file: &OwnedFd, how: libc::c_int, path: &Path, tell: Tell) -> Result<(), Errno> {
    match flock(file, how | libc::LOCK_NB) {
        Err(Errno::EWOULDBLOCK) => {}
        result => return result,
    }
    let Some(say) = tell.say else { return flock_patiently(file, how) };
    let Ok(alarm) = Alarm::set() else { return flock_patiently(file, how) };
    let result = flock(file, how);
    drop(alarm);
    match result {
        // If another signal has come this is said somewhat early.
        Err(Errno::EINTR) => {
            say(tell.purpose, path, holder(file).as_ref());
            flock_patiently(file, how)
        }
        result => result,
    }
}

/// Tries once.
pub(super) fn flock(file: &OwnedFd, how: libc::c_int) -> Result<(), Errno> {
    // SAFETY: flock takes numbers only.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), how) }).map(drop)
}

fn flock_patiently(file: &OwnedFd, how: libc::c_int) -> Result<(), Errno> {
    loop {
        match flock(file, how) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Interrupts system calls when patience ends, and every second from then on: the first may come
/// between two calls.
struct Alarm {
    timer: libc::timer_t,
    before: libc::sigaction,
    mask: libc::sigset_t,
}

extern "C" fn interrupt(_: libc::c_int) {}

impl Alarm {
    /// The signal: a timer's own, so that an alarm(2) that the command has inherited stays.
    fn signal() -> libc::c_int {
        libc::SIGRTMAX()
    }

    fn set() -> Result<Self, Errno> {
        // SAFETY: all structures are this function's, valid as zeros, and filled by the calls; the
        // handler does nothing. What is changed is put back when this is dropped.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupt as *const () as usize;
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = Self::signal();
            let mut timer: libc::timer_t = ptr::null_mut();
            let clock = libc::CLOCK_MONOTONIC;
            Errno::result(libc::timer_create(clock, &raw mut event, &raw mut timer))?;
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(Self::signal(), &raw const action, &raw mut before);
            let (mut own, mut mask): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigemptyset(&raw mut own);
            libc::sigaddset(&raw mut own, Self::signal());
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const own, &raw mut mask);
            let seconds = |count| libc::timespec { tv_sec: count, tv_nsec: 0 };
            let times = libc::itimerspec { it_interval: seconds(1), it_value: seconds(PATIENCE) };
            let alarm = Alarm { timer, before, mask };
            Errno::result(libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()))?;
            Ok(alarm)
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: as above; the timer goes first, so that no signal comes without a handler.
        unsafe {
            libc::timer_delete(self.timer);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut());
            libc::sigaction(Self::signal(), &raw const self.before, ptr::null_mut());
        }
    }
}

/// The process that holds a file which this one waits for.
pub fn holder(file: &OwnedFd) -> Option<Holder> {
    let status = fstat(file).ok()?;
    let (device, inode) = (status.st_dev, status.st_ino);
    let (major, minor) = (libc::major(device), libc::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // Who waits has an arrow in front (proc(5)).
    let mut lines = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words.get(1) != Some(&"->") && words.get(5) == Some(&&*place))?;
    let pid = line.get(4)?.parse().ok().filter(|pid| *pid > 0)?;
    let text = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let name = String::from_utf8_lossy(&text("comm")).trim_end().to_owned();
    let name = name.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    let status = String::from_utf8_lossy(&text("status")).into_owned();
    let is_stopped = status.lines().any(|line| {
        line.strip_prefix("State:").is_some_and(|state| state.trim_start().starts_with(['T', 't']))
    });
    Some(Holder { pid, name, is_stopped })
}
