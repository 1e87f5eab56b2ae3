//! Unpacked copies of images: trees of the caller's files, and who uses them.
//!
//! A copy has a lock file beside it, which is held by its users, and says in its last line that the
//! copy is whole.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::meeting::{Hold, Locked, names};

/// What the name of a lock file ends with.
const LOCK: &str = ".lock";

/// The lock file of a copy.
pub fn lock_of(tree: &Path) -> PathBuf {
    let mut path = tree.as_os_str().to_owned();
    path.push(LOCK);
    path.into()
}

/// The copies in a directory that have a lock file.
pub fn copies(directory: &Path) -> Vec<PathBuf> {
    let names = names(directory).into_iter();
    let copies = names.filter_map(|name| Some(directory.join(name.to_str()?.strip_suffix(LOCK)?)));
    copies.collect()
}

/// What the kernel calls this time that the machine runs: nothing is known to be whole of what was
/// written before. Empty where `/proc` is not mounted.
pub fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_end().to_owned()
}

/// Removes a copy and its lock file, unless others use it.
pub fn let_go(held: Locked, tree: &Path) {
    if held.try_hold(Hold::Alone) == Ok(true) && !is_in_use(tree) {
        remove_all(&held, tree);
    }
}

/// Removes a copy that is held alone, its lock file, and the directory around them if it is empty.
///
/// What cannot be removed is tried again by the next start, as long as there is a lock file.
pub fn remove_all(held: &Locked, tree: &Path) {
    let lock = lock_of(tree);
    // Another process may have come here first; then what is there may be somebody's new copy.
    if held.is_still(&lock) && remove(tree).is_ok() {
        held.remove(&lock);
        if let Some(directory) = tree.parent() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Whether a process of the caller sees a copy, though nobody holds its lock: who did was killed.
fn is_in_use(tree: &Path) -> bool {
    let Some(name) = tree.file_name().and_then(|name| name.to_str()) else { return false };
    let processes = names(Path::new("/proc"));
    let processes = processes.iter().filter_map(|name| name.to_str()?.parse::<u32>().ok());
    // Letters of such a name stand in the list as they are.
    let mut lists = processes.map(|pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")));
    lists.any(|list| list.is_ok_and(|list| list.contains(name)))
}

/// Removes a tree of files of the caller's, whatever their modes; one that is not there is fine.
///
/// # Errors
///
/// The errno of unlink(2) or open(2).
pub fn remove(tree: &Path) -> Result<(), Errno> {
    match remove_in(AT_FDCWD, tree) {
        Err(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

fn remove_in(directory: impl std::os::fd::AsFd, name: &Path) -> Result<(), Errno> {
    match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => {}
        result => return result,
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inner = openat(&directory, name, flags, Mode::empty())?;
    fchmod(&inner, Mode::S_IRWXU)?;
    for name in names_in(&inner)? {
        remove_in(&inner, &name)?;
    }
    unlinkat(&directory, name, UnlinkatFlags::RemoveDir)
}

fn names_in(directory: &OwnedFd) -> Result<Vec<PathBuf>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?.iter() {
        use std::os::unix::ffi::OsStrExt;
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(names)
}

/// Hears when a file system is mounted nowhere any more.
///
/// It keeps nothing mounted by that, whoever has it.
#[derive(Debug)]
pub struct LastUnmount(Inotify);

impl LastUnmount {
    /// Makes one that hears of nothing yet.
    ///
    /// # Errors
    ///
    /// The errno of inotify_init(2): `EMFILE` if the caller has too many.
    pub fn new() -> Result<Self, Errno> {
        Inotify::init(InitFlags::IN_CLOEXEC).map(LastUnmount)
    }

    /// Has it hear of the file system that a directory is on.
    ///
    /// # Errors
    ///
    /// The errno of inotify_add_watch(2).
    pub fn expect(&self, directory: &Path) -> Result<(), Errno> {
        self.0.add_watch(directory, AddWatchFlags::IN_UNMOUNT).map(drop)
    }

    /// Waits for it.
    pub fn wait(&self) {
        loop {
            match self.0.read_events() {
                Err(Errno::EINTR) => {}
                // An inode of the file system tells of its own end, and that is the end of all.
                _ => return,
            }
        }
    }

    /// The descriptor by which it is heard, here and in children.
    pub fn descriptor(&self) -> i32 {
        std::os::fd::AsFd::as_fd(&self.0).as_raw_fd()
    }
}
