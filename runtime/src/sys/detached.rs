//! What processes that stay behind are made with: a talk with them, and letting go of what this one has.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd;

/// What a process may have open without asking for more, on most machines.
const USUAL_DESCRIPTORS: i32 = 1024;

/// One end of the talk between a process and the one it has detached. The other end notices when
/// it is gone.
#[derive(Debug)]
pub struct Link {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Link {
    pub(super) fn pair() -> Result<[Link; 2], Errno> {
        let (reader, other_writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (other_reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok([Link { reader, writer }, Link { reader: other_reader, writer: other_writer }])
    }

    /// Says how it went.
    ///
    /// # Errors
    ///
    /// The errno of write(2).
    pub fn tell(&self, result: Result<(), Errno>) -> Result<(), Errno> {
        let errno = result.err().map_or(0, |errno| errno as i32);
        unistd::write(&self.writer, &errno.to_ne_bytes()).map(drop)
    }

    /// Waits for what the other end says.
    ///
    /// # Errors
    ///
    /// What it says; `ECHILD` if it is gone.
    pub fn hear(&self) -> Result<(), Errno> {
        let mut errno = [0; 4];
        if unistd::read(&self.reader, &mut errno)? != errno.len() {
            return Err(Errno::ECHILD);
        }
        match i32::from_ne_bytes(errno) {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno)),
        }
    }

    /// Whether the other end is still there.
    pub fn is_whole(&self) -> bool {
        let mut waits = [PollFd::new(self.reader.as_fd(), PollFlags::empty())];
        // What hangs up is told without being asked for.
        !matches!(poll(&mut waits, PollTimeout::ZERO), Ok(1..))
    }

    pub(super) fn descriptors(&self) -> [RawFd; 2] {
        [self.reader.as_raw_fd(), self.writer.as_raw_fd()]
    }
}

/// Lets go of every descriptor but some.
pub(super) fn close_all_but(kept: &[i32]) {
    let mut first = 0;
    let mut kept: Vec<i32> = kept.to_vec();
    kept.sort_unstable();
    for kept in kept {
        close_range(first, kept - 1);
        first = kept + 1;
    }
    close_range(first, i32::MAX);
}

/// Closes descriptors from one to another.
pub(super) fn close_range(first: i32, last: i32) {
    if first > last {
        return;
    }
    // SAFETY: the descriptors are this process's, and nothing uses them any more.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return;
    }
    // Before Linux 5.9 there is no such call.
    close_listed(first, last);
}

/// The same, one by one; there is no list where /proc is of other processes.
fn close_listed(first: i32, last: i32) {
    let names = super::meeting::names(Path::new("/proc/self/fd"));
    let listed: Vec<i32> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    let numbers = if listed.is_empty() { (0..USUAL_DESCRIPTORS).collect() } else { listed };
    for number in numbers.into_iter().filter(|number| (first..=last).contains(number)) {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
}

/// Ignores every signal that can be, but for those that tell of a fault in the program itself.
pub(super) fn ignore_signals() {
    const FAULTS: [libc::c_int; 5] =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !FAULTS.contains(signal)) {
        // SAFETY: no handler is set; a signal that cannot be ignored is refused.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Makes a mount namespace, with copies of all mounts.
///
/// # Errors
///
/// The errno of unshare(2).
pub fn unshare_mounts() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn without_close_range_descriptors_are_closed_one_by_one() {
        let file = fs::File::open("/").unwrap().into_raw_fd();
        let link = format!("/proc/self/fd/{file}");
        assert!(fs::symlink_metadata(&link).is_ok());
        close_listed(file, file);
        // Another thread may have been given the number meanwhile, for something else.
        assert!(!fs::read_link(&link).is_ok_and(|path| path == Path::new("/")));
    }
}
