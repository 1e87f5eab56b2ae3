//! Ids, namespaces, capabilities, execve(2).

use std::ffi::{CString, OsStr};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd;

use super::c_string;

/// Whether the kernel gave this program rights its caller lacks (getauxval(3), `AT_SECURE`).
pub fn is_secure_execution() -> bool {
    auxiliary(libc::AT_SECURE) != 0
}

/// The effective user id at program start, without a system call.
pub fn effective_uid() -> u32 {
    auxiliary(libc::AT_EUID) as u32
}

/// The effective group id at program start, without a system call.
pub fn effective_gid() -> u32 {
    auxiliary(libc::AT_EGID) as u32
}

fn auxiliary(kind: libc::c_ulong) -> libc::c_ulong {
    // SAFETY: getauxval reads memory the kernel set up and has no preconditions.
    unsafe { libc::getauxval(kind) }
}

/// User and group id as they are now, in the namespace this process is in.
pub fn ids() -> (u32, u32) {
    (unistd::geteuid().as_raw(), unistd::getegid().as_raw())
}

/// The supplementary group ids, in one system call where 256 are enough.
///
/// # Errors
///
/// The errno of getgroups(2).
pub fn groups() -> Result<Vec<u32>, Errno> {
    let mut groups: [libc::gid_t; 256] = [0; 256];
    // SAFETY: the length is that of the array.
    let count = unsafe { libc::getgroups(256, groups.as_mut_ptr()) };
    match usize::try_from(count) {
        Ok(count) => Ok(groups[..count].to_vec()),
        Err(_) => Ok(unistd::getgroups()?.into_iter().map(unistd::Gid::as_raw).collect()),
    }
}

/// Makes a user namespace and a mount namespace in it, for a process of one thread.
///
/// # Errors
///
/// The errno of unshare(2); `EINVAL` if another thread exists.
pub fn unshare_user_and_mounts() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
}

/// Makes a directory; one that is there already is fine.
///
/// # Errors
///
/// The errno of mkdir(2).
pub fn make_directory(path: &Path, mode: u32) -> Result<(), Errno> {
    match unistd::mkdir(path, Mode::from_bits_truncate(mode)) {
        Err(Errno::EEXIST) if path.is_dir() => Ok(()),
        result => result,
    }
}

/// Makes a symbolic link.
///
/// # Errors
///
/// The errno of symlink(2).
pub fn make_link(target: &Path, path: &Path) -> Result<(), Errno> {
    unistd::symlinkat(target, nix::fcntl::AT_FDCWD, path)
}

/// Keeps execve(2) from ever granting a privilege (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
///
/// The errno of prctl(2).
pub fn set_no_new_privileges() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()
}

/// Gives up all capabilities of this process (capset(2)).
///
/// A program file with capabilities would keep them otherwise: with `no_new_privs` the kernel still
/// grants those that the process has already.
///
/// # Errors
///
/// The errno of capset(2).
pub fn drop_capabilities() -> Result<(), Errno> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h, and this process.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    /// Effective, permitted and inheritable, each in two words.
    const NONE: [u32; 6] = [0; 6];
    // SAFETY: both structures have the size that version 3 asks for.
    let result = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), NONE.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Drops every capability the kernel knows from the bounding set (capabilities(7)).
///
/// # Errors
///
/// The errno of prctl(2).
pub fn drop_bounding_set() -> Result<(), Errno> {
    for capability in 0..=libc::c_ulong::from(u8::MAX) {
        // SAFETY: prctl with PR_CAPBSET_DROP takes numbers only.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            // The first number past the last capability.
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Runs `body` in a child process and gives back the number it returned.
///
/// The child is a copy of this process with nothing else in it, so `body` may do what any code
/// may; it never comes back into the caller.
///
/// # Errors
///
/// The errno of fork(2) or pipe(2); `EINVAL` if this process has more than one thread, because
/// then the copy could hold locks nobody will release; `ECHILD` if the child died.
pub fn in_child(body: impl FnOnce() -> u64) -> Result<u64, Errno> {
    if count_threads() != 1 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread, so the child is a whole copy of it.
    match unsafe { unistd::fork() }? {
        unistd::ForkResult::Child => {
            let report = body().to_ne_bytes();
            // The parent notices a report that does not arrive.
            let _ = unistd::write(&writer, &report);
            // SAFETY: _exit has no preconditions; it leaves the parent's buffers unflushed.
            unsafe { libc::_exit(0) }
        }
        unistd::ForkResult::Parent { child } => {
            drop(writer);
            let mut report = [0; 8];
            let read = unistd::read(&reader, &mut report);
            waitpid(child, None)?;
            if read? == report.len() { Ok(u64::from_ne_bytes(report)) } else { Err(Errno::ECHILD) }
        }
    }
}

pub(super) fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0)
}

/// A program, its arguments and environment as execve(2) takes them.
#[derive(Debug)]
pub struct ExecImage {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl ExecImage {
    /// Lays out arguments and `NAME=value` strings.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one has a NUL byte inside.
    pub fn new<'a>(
        arguments: impl Iterator<Item = &'a OsStr>,
        environment: impl Iterator<Item = &'a OsStr>,
    ) -> Result<Self, Errno> {
        Ok(ExecImage {
            arguments: arguments.map(c_string).collect::<Result<_, _>>()?,
            environment: environment.map(c_string).collect::<Result<_, _>>()?,
        })
    }

    /// Becomes the program at `path`; comes back only with the reason it could not.
    pub fn execute(&self, path: &Path) -> Errno {
        match c_string(path.as_os_str()) {
            Ok(path) => match unistd::execve(&path, &self.arguments, &self.environment) {
                Err(errno) => errno,
            },
            Err(errno) => errno,
        }
    }
}
