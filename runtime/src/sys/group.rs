//! Control groups, CPUs, and waiting for processes that are no children.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkdir, write};

use crate::text::lines_shown;

/// How often a process is looked at where the kernel cannot tell of its end (before Linux 5.3).
const GLANCE: Duration = Duration::from_millis(100);

/// Makes a control group; false if it is there.
///
/// # Errors
///
/// The errno of mkdir(2).
pub fn make(group: &Path) -> Result<bool, Errno> {
    match mkdir(group, Mode::from_bits_truncate(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Writes to a file of a control group.
///
/// # Errors
///
/// The errno of open(2) or write(2); `ENOENT` or `ENODEV` if the group is gone.
pub fn set(group: &Path, file: &str, value: &str) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = open(&group.join(file), flags, Mode::empty())?;
    // The kernel takes such a value whole or not at all.
    write(&file, value.as_bytes()).map(drop)
}

/// Reads a file of a control group.
pub fn read(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// Removes a control group and those in it, if no process is in them.
///
/// # Errors
///
/// The errno of rmdir(2); `EBUSY` if there is a process, `ENOENT` if the group is gone.
pub fn remove(group: &Path) -> Result<(), Errno> {
    for child in children(group) {
        match remove(&child) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    fs::remove_dir(group)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// The control groups in a group.
pub fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// A process in a control group or in one of those in it; 0 is one of another PID namespace.
pub fn member(group: &Path) -> Option<u32> {
    let own = read(group, "cgroup.procs").unwrap_or_default();
    let own = own.lines().find_map(|line| line.parse().ok());
    own.or_else(|| children(group).iter().find_map(|child| member(child)))
}

/// The control groups a process is in, as `/proc/PID/cgroup` lists them.
pub fn own_groups() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// Keeps this process to some CPUs.
///
/// # Errors
///
/// The errno of sched_setaffinity(2); `EINVAL` for a number beyond those of the C library.
pub fn set_affinity(cpus: impl Iterator<Item = u32>) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(cpu as usize)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// A process whose end can be waited for, whoever's child it is.
#[derive(Debug)]
pub enum Process {
    /// By pidfd_open(2).
    File(OwnedFd),
    /// By its number and the time it started.
    Number(u32, u64),
}

impl Process {
    /// Opens a process.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is none of this number.
    pub fn open(pid: u32) -> Result<Self, Errno> {
        // SAFETY: pidfd_open takes numbers only.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match Errno::result(result) {
            Ok(file) => {
                let file = i32::try_from(file).map_err(|_| Errno::EMFILE)?;
                // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
                Ok(Process::File(unsafe { OwnedFd::from_raw_fd(file) }))
            }
            Err(Errno::ESRCH) => Err(Errno::ESRCH),
            Err(_) => super::meeting::start_time(pid).map(|start| Process::Number(pid, start)),
        }
    }

    /// Waits until it has ended.
    pub fn wait(&self) {
        match self {
            Process::File(file) => wait_for(file),
            Process::Number(pid, start) => {
                while super::meeting::start_time(*pid) == Ok(*start) && !is_zombie(*pid) {
                    std::thread::sleep(GLANCE);
                }
            }
        }
    }

    /// The descriptor it is known by, if it is by one.
    pub fn descriptor(&self) -> Option<i32> {
        match self {
            Process::File(file) => Some(file.as_raw_fd()),
            Process::Number(..) => None,
        }
    }
}

/// Waits until a descriptor can be read, which is when its process has ended.
fn wait_for(file: &OwnedFd) {
    let mut poll = libc::pollfd { fd: file.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: there is one structure, and the count says so.
        let result = Errno::result(unsafe { libc::poll(&raw mut poll, 1, -1) });
        if result != Err(Errno::EINTR) {
            return;
        }
    }
}

/// Whether a process has ended and only waits for its parent to hear of it.
pub fn is_zombie(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Writes a line to standard error; nobody can be told that it is closed.
pub fn say(line: &str) {
    // SAFETY: the descriptor is borrowed for one write; if it is closed, the kernel says so.
    let stream = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
    let _ = write(stream, lines_shown(line).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn without_pidfds_a_process_is_waited_for_by_its_number() {
        let mut child = Command::new("sleep").arg("0.05").spawn().unwrap();
        let start = crate::sys::meeting::start_time(child.id()).unwrap();
        Process::Number(child.id(), start).wait();
        assert!(child.try_wait().unwrap().is_some(), "it has ended");
        Process::Number(child.id(), start).wait();
        assert_eq!(Process::open(child.id()).unwrap_err(), Errno::ESRCH);
    }
}
