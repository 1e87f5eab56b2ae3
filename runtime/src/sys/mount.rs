//! mount(2) and its family, pivot_root(2), chroot(2).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{self, AccessFlags, access};

use super::c_string;

/// Flags of mount(2).
pub type MountFlags = MsFlags;

/// Mounts a file system of a type.
///
/// # Errors
///
/// The errno of mount(2).
pub fn mount_filesystem(
    kind: &str,
    target: &Path,
    flags: MsFlags,
    data: &Path,
) -> Result<(), Errno> {
    mount(Some(kind), target, Some(kind), flags, Some(data))
}

/// Shows `source` at `target`.
///
/// # Errors
///
/// The errno of mount(2).
pub fn bind(source: &Path, target: &Path, recursive: bool) -> Result<(), Errno> {
    let recursive = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | recursive, None::<&str>)
}

/// Moves the mount at `source` to `target`.
///
/// # Errors
///
/// The errno of mount(2).
pub fn move_mount(source: &Path, target: &Path) -> Result<(), Errno> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
}

/// Makes one mount read-only, keeping its other flags: those of the host's mounts are locked, and
/// the kernel refuses a remount that would clear one (mount_namespaces(7)).
///
/// # Errors
///
/// The errno of statvfs(3) or mount(2).
pub fn remount_read_only(target: &Path) -> Result<(), Errno> {
    const KEPT: [(FsFlags, MsFlags); 6] = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let has = statvfs(target)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    for (flag, kept) in KEPT {
        flags.set(kept, has.contains(flag));
    }
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
}

/// Opens a directory as a place only, without following a link at its end; nothing if there is none, or
/// something else.
///
/// # Errors
///
/// The errno of open(2).
pub fn find_directory(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether a path leads anywhere for this process (access(2)).
pub fn is_in_reach(path: &Path) -> bool {
    access(path, AccessFlags::F_OK).is_ok()
}

/// Makes a mount read-only by mount_setattr(2), with all mounts below it if `recursive`.
///
/// # Errors
///
/// The errno of mount_setattr(2).
pub fn set_read_only(target: &Path, recursive: bool) -> Result<(), Errno> {
    let target = c_string(target.as_os_str())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated, and the size is that of the structure pointed to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    Errno::result(result).map(drop)
}

/// Whether there is mount_setattr(2): a kernel without it says so, and so does a filter of system calls
/// that does not know it.
pub fn has_set_attributes() -> bool {
    let nothing: *const libc::mount_attr = std::ptr::null();
    // SAFETY: a structure of no size is refused before it is looked at, and nothing else is done.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, c"".as_ptr(), 0, nothing, 0_usize)
    };
    Errno::result(result) == Err(Errno::EINVAL)
}

/// Takes away the mount at `target`, even if it is in use.
///
/// # Errors
///
/// The errno of umount2(2).
pub fn detach(target: &Path) -> Result<(), Errno> {
    umount2(target, MntFlags::MNT_DETACH)
}

/// Opens a directory only to come back to it.
///
/// # Errors
///
/// The errno of open(2).
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Makes an open directory the current one.
///
/// # Errors
///
/// The errno of fchdir(2).
pub fn change_directory_to(directory: impl AsFd) -> Result<(), Errno> {
    unistd::fchdir(directory)
}

/// Makes a directory the current one.
///
/// # Errors
///
/// The errno of chdir(2).
pub fn change_directory(path: &Path) -> Result<(), Errno> {
    unistd::chdir(path)
}

/// Makes the mount at a directory the root, with the old root on top of it.
///
/// The two names may be the same directory (pivot_root(2), NOTES).
///
/// # Errors
///
/// The errno of pivot_root(2).
pub fn pivot_root(root: &Path) -> Result<(), Errno> {
    unistd::pivot_root(root, root)
}

/// Makes the current directory the root of this process.
///
/// # Errors
///
/// The errno of chroot(2).
pub fn chroot_here() -> Result<(), Errno> {
    unistd::chroot(".")
}
