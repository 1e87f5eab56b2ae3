//! The first process of a PID namespace.
//!
//! It is the parent of all that others leave, and the kernel ends every process of the namespace with
//! it. It stays as long as somebody watches over a command in it: each of those has the writing end
//! of a pipe open, whose reading end hangs up when all are gone, however they went. It runs nobody's
//! command, so no signal that a command should get is lost on it (pid_namespaces(7)).
//!
//! Ranks of a step may come when the last of those before goes. They come while they hold the file
//! of the meeting, and the init ends while it holds that alone: so it either knows of them, or they
//! find it gone.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, pipe2, read, write};
use runtime::apply::Init;
use runtime::sys::meeting::Locked;
use runtime::sys::{MountFlags, detached, mount, process};

/// What `ps` shows.
const NAME: &str = "hrun-init";

/// Makes a PID namespace for the children of this process, and its init; `/proc` shows it. The file
/// is that of a meeting from which others come to it.
///
/// # Errors
///
/// The errno of unshare(2), of fork(2), or of mounting `/proc`: `EPERM` where that of the host is
/// not wholly visible.
pub fn start(alone: process::Alone, meeting: Option<Locked>) -> Result<Init, Errno> {
    process::unshare_pids()?;
    let (line, kept) = pipe2(OFlag::O_CLOEXEC)?;
    let child = report_of(alone, |report| {
        let mounted = mount_proc();
        let own = [line.as_raw_fd(), report.as_raw_fd()];
        let own: Vec<i32> =
            own.into_iter().chain(meeting.as_ref().map(Locked::descriptor)).collect();
        detached::become_nobodys(&own, NAME);
        // Where ranks that come later find it: they may as soon as this is reported.
        let _ = dup2_stdin(&line);
        let _ = process::drop_capabilities();
        say(report, mounted);
        stay(&line, meeting.as_ref());
    })?;
    Ok(Init { line: kept, child: Some(child) })
}

/// Has `/proc` show the PID namespace of this process's children, which others have made.
///
/// # Errors
///
/// As [`start`]; `ENOMEM` if its init has ended.
pub fn show(alone: process::Alone) -> Result<(), Errno> {
    let child = report_of(alone, |report| say(report, mount_proc()))?;
    // It leaves no status where the caller has SIGCHLD ignored.
    let _ = waitpid(child, None);
    Ok(())
}

/// Starts a child, and waits until it says how its work went.
fn report_of(alone: process::Alone, work: impl FnOnce(&OwnedFd)) -> Result<Pid, Errno> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let child = alone.start(|| work(&writer))?;
    drop(writer);
    let mut report = [0; 4];
    if read(&reader, &mut report)? != report.len() {
        return Err(Errno::ECHILD);
    }
    match i32::from_ne_bytes(report) {
        0 => Ok(child),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// Says how it went; the parent notices a report that does not arrive.
fn say(report: &OwnedFd, result: Result<(), Errno>) {
    let errno = result.err().map_or(0, |errno| errno as i32);
    let _ = write(report, &errno.to_ne_bytes());
}

fn mount_proc() -> Result<(), Errno> {
    let flags = MountFlags::MS_NOSUID | MountFlags::MS_NODEV | MountFlags::MS_NOEXEC;
    mount::mount_filesystem("proc", Path::new("/proc"), flags, Path::new(""))
}

/// Stays until nobody watches over a command here, and nobody is about to.
fn stay(line: &OwnedFd, meeting: Option<&Locked>) {
    // Nobody could be told of an error.
    while reap_until_hangup(line).is_ok() {
        let Some(meeting) = meeting else { return };
        if meeting.hold_alone().is_err() || hangs_up(line) {
            return;
        }
        // Somebody came meanwhile.
        meeting.let_go();
    }
}

/// Whether nobody has the other end of a pipe.
fn hangs_up(line: &OwnedFd) -> bool {
    let mut waits = [PollFd::new(line.as_fd(), PollFlags::POLLIN)];
    poll(&mut waits, PollTimeout::ZERO) != Ok(0)
}

/// Waits for children that others have left, until the pipe hangs up.
fn reap_until_hangup(line: &OwnedFd) -> Result<(), Errno> {
    let children = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), SfdFlags::SFD_NONBLOCK)?;
    loop {
        let mut waits = [
            PollFd::new(line.as_fd(), PollFlags::POLLIN),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waits, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        if waits[0].any() == Some(true) {
            return Ok(());
        }
        while let Ok(Some(_)) = children.read_signal() {}
        reap();
    }
}

/// Waits for all children that have ended: several may have sent one signal.
fn reap() {
    let any = Pid::from_raw(-1);
    while !matches!(waitpid(any, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {
    }
}
