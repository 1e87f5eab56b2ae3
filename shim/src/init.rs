//! The first process of a PID namespace.
//!
//! It is the parent of all that others leave, and the kernel ends every process of the namespace with
//! it. It stays as long as somebody watches over a command in it: each of those has hold of its line, which the
//! kernel lets go of however they went. It runs nobody's command, so no signal that a command should get is
//! lost on it (pid_namespaces(7)).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2, read, write};
use runtime::sys::helper::{self, Helper, Root, Signals};
use runtime::sys::line::Line;
use runtime::sys::{MountFlags, mount, process};

/// Makes a PID namespace for the children of this process, and its init; `/proc` shows it. It ends when nobody
/// has hold of the line.
///
/// # Errors
///
/// The errno of unshare(2), of fork(2), or of mounting `/proc`: `EPERM` where that of the host is
/// not wholly visible.
pub fn start(alone: process::Alone, line: Line) -> Result<Pid, Errno> {
    process::unshare_pids()?;
    let (kept, signals) = ([line.descriptor()], Signals::Blocked);
    let init = Helper { name: "hrun-init", kept: &kept, signals };
    report_of(alone, init, |report| {
        let mounted = mount_proc();
        process::leave_children_to_kernel();
        say(report, mounted.and_then(|()| helper::settle(Root::Kept)));
        line.wait();
    })
}

/// Has `/proc` show the PID namespace of this process's children, which others have made.
///
/// # Errors
///
/// As [`start`]; `ENOMEM` if its init has ended.
pub fn show(alone: process::Alone) -> Result<(), Errno> {
    let brief = Helper { name: "hrun-init", kept: &[], signals: Signals::OfGroup };
    let child = report_of(alone, brief, |report| say(report, mount_proc()))?;
    // It leaves no status where the caller has SIGCHLD ignored.
    let _ = waitpid(child, None);
    Ok(())
}

/// Starts a child, and waits until it says how its work went.
fn report_of(
    alone: process::Alone,
    helper: Helper,
    work: impl FnOnce(&OwnedFd),
) -> Result<Pid, Errno> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let kept: Vec<i32> = helper.kept.iter().copied().chain([writer.as_raw_fd()]).collect();
    let child = Helper { kept: &kept, ..helper }.start(alone, || work(&writer))?;
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
