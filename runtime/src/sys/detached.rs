//! A process that outlives this one and is nobody's child.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd;

use super::group::close_all_but;
use super::process::in_background;

/// One end of the talk between a process and the one it has detached. The other end notices when
/// it is gone.
#[derive(Debug)]
pub struct Link {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Link {
    fn pair() -> Result<[Link; 2], Errno> {
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

    fn descriptors(&self) -> [RawFd; 2] {
        [self.reader.as_raw_fd(), self.writer.as_raw_fd()]
    }
}

/// Runs `body` in a process of a session of its own whose parent is init, and comes back with the
/// end of a talk with it.
///
/// It keeps none of the descriptors of this process but those given: launchers of ranks wait for
/// whoever holds one of theirs (docs/decisions/0018).
///
/// # Errors
///
/// The errno of fork(2) or pipe(2); `EINVAL` if this process has more than one thread.
pub fn detached(kept: &OwnedFd, body: impl FnOnce(&Link)) -> Result<Link, Errno> {
    let [link, other] = Link::pair()?;
    in_background(|| {
        let _ = unistd::setsid();
        let [reader, writer] = other.descriptors();
        close_all_but(&[kept.as_raw_fd(), reader, writer]);
        open_nothing();
        body(&other);
    })?;
    Ok(link)
}

/// Puts the null device in the place of the standard descriptors: what is opened later, and perhaps
/// written to by mistake, has other numbers.
fn open_nothing() {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let Ok(null) = open(Path::new("/dev/null"), flags, Mode::empty()) else { return };
    for standard in 0..3 {
        // SAFETY: the numbers are not used by anything else of this process.
        let place = unsafe { BorrowedFd::borrow_raw(standard) };
        if place.as_raw_fd() != null.as_raw_fd() {
            // SAFETY: dup2 takes numbers only.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
    // It may be one of the standard ones itself.
    super::file::leave_open(null);
}

/// Ignores every signal that can be, but for those that tell of a fault in the program itself.
pub fn ignore_signals() {
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
