//! The first process of a PID namespace.
//!
//! It is the parent of all that others leave, and the kernel ends every process of the namespace with
//! it. It stays as long as somebody watches over a command in it: each of those has the writing end
//! of a pipe open, whose reading end hangs up when all are gone, however they went. It runs nobody's
//! command, so no signal that a command should get is lost on it (pid_namespaces(7)).

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
use runtime::sys::{MountFlags, detached, mount, process};

/// What `ps` shows.
const NAME: &str = "hrun-init";

/// Makes a PID namespace for the children of this process, and its init; `/proc` shows it.
///
/// # Errors
///
/// The errno of unshare(2), of fork(2), or of mounting `/proc`: `EPERM` where that of the host is
/// not wholly visible.
pub fn start(alone: process::Alone) -> Result<Init, Errno> {
    process::unshare_pids()?;
    let (line, kept) = pipe2(OFlag::O_CLOEXEC)?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let child = alone.start(|| {
        let mounted = mount_proc().err().unwrap_or(Errno::UnknownErrno);
        // The parent notices a report that does not arrive.
        let _ = write(&writer, &(mounted as i32).to_ne_bytes());
        detached::become_nobodys(&[line.as_raw_fd()], NAME);
        // Where ranks that come later find it.
        let _ = dup2_stdin(&line);
        let _ = process::drop_capabilities();
        // Nobody could be told.
        let _ = reap_until_hangup(&line);
    })?;
    drop(writer);
    let mut report = [0; 4];
    if read(&reader, &mut report)? != report.len() {
        return Err(Errno::ECHILD);
    }
    match i32::from_ne_bytes(report) {
        0 => Ok(Init { line: kept, child: Some(child) }),
        errno => Err(Errno::from_raw(errno)),
    }
}

fn mount_proc() -> Result<(), Errno> {
    let flags = MountFlags::MS_NOSUID | MountFlags::MS_NODEV | MountFlags::MS_NOEXEC;
    mount::mount_filesystem("proc", Path::new("/proc"), flags, Path::new(""))
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
