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

/// How often a process is looked at where the kernel cannot tell of its end (before Linux 5.3).
const GLANCE: Duration = Duration::from_millis(100);

/// What a process may have open without asking for more, on most machines.
const USUAL_DESCRIPTORS: i32 = 1024;

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

fn is_zombie(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Lets go of all that this process has from those it comes from: every descriptor but some, the
/// session, the current directory, and signals.
pub fn become_nobodys(kept: &[i32], name: &str) {
    close_all_but(kept);
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    // SIGKILL is the one that comes through.
    let _ = nix::sys::signal::SigSet::all().thread_block();
    take_name(name);
}

/// What `ps` calls this process from now on; 15 letters count.
pub fn take_name(name: &str) {
    if let Ok(name) = super::c_string(name.as_ref()) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Lets go of every descriptor but some.
pub fn close_all_but(kept: &[i32]) {
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
fn close_range(first: i32, last: i32) {
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

/// Writes a line to standard error; nobody can be told that it is closed.
pub fn say(line: &str) {
    // SAFETY: the descriptor is borrowed for one write; if it is closed, the kernel says so.
    let stream = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
    let _ = write(stream, line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;
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
