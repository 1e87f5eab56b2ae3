//! A tree of files below a root directory, which nothing in an archive can lead out of.
//!
//! Every path is resolved with the tree's root as `/` (openat2(2) with `RESOLVE_IN_ROOT`, or what
//! `pathrs` does where that is missing); what is made or removed is then one name in a directory
//! that is open, and a symbolic link of that name is never followed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use pathrs::Root;
use pathrs::error::ErrorKind;
use runtime::error::Cause;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::fs::{mkdirat, openat, readlinkat, statat, unlinkat, utimensat};

/// More directories than these are in each other in no image, and no removal keeps more open.
const DEPTH_LIMIT: usize = 512;

/// Symbolic links that lead to what is missing, one after another (path_resolution(7)).
const LINKS_LIMIT: usize = 40;

/// What directories are opened with.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory of a tree.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) fd: Rc<OwnedFd>,
    /// Where it is in the tree, without symbolic links; empty for the root.
    pub(super) path: Rc<PathBuf>,
}

/// A tree.
pub(super) struct Tree {
    root: Root,
    /// Where the kernel says that the root is.
    top: PathBuf,
    /// The directory that was asked for last, as long as nothing was removed since.
    last: Option<(PathBuf, Directory)>,
}

/// An error number of this crate's calls as it is shown.
pub(super) fn cause(errno: rustix::io::Errno) -> Cause {
    Cause::Errno(Errno::from_raw(errno.raw_os_error()))
}

impl Tree {
    /// Opens the root.
    pub(super) fn open(root: &Path) -> Result<Self, Cause> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let fd = openat(CWD, root, flags, Mode::empty()).map_err(cause)?;
        let top = real_path(&fd)?;
        Ok(Tree { root: Root::from_fd(fd), top, last: None })
    }

    /// The directory at a path, wherever links lead in the tree; nothing if there is none.
    pub(super) fn find(&mut self, path: &Path) -> Result<Option<Directory>, Cause> {
        match self.resolve(path) {
            Err(Cause::Errno(Errno::ENOENT)) => Ok(None),
            Err(Cause::Errno(errno)) => Err(in_the_way(errno)),
            resolved => resolved.map(Some),
        }
    }

    /// As [`Tree::find`], for what is to be gone: nothing is below a file, or at the end of links that
    /// lead nowhere.
    pub(super) fn find_to_remove(&mut self, path: &Path) -> Result<Option<Directory>, Cause> {
        match self.resolve(path) {
            Err(Cause::Errno(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)) => Ok(None),
            resolved => resolved.map(Some),
        }
    }

    fn resolve(&mut self, path: &Path) -> Result<Directory, Cause> {
        if let Some((_, directory)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(directory.clone());
        }
        // pathrs takes no empty path.
        let wanted = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let handle = self.root.resolve(wanted).map_err(|error| match error.kind() {
            ErrorKind::OsError(Some(errno)) => Cause::Errno(Errno::from_raw(errno)),
            _ => error.to_string().into(),
        })?;
        let fd = openat(OwnedFd::from(handle), ".", DIRECTORY, Mode::empty()).map_err(cause)?;
        let path_in_tree = self.in_tree(&fd)?;
        let directory = Directory { fd: Rc::new(fd), path: Rc::new(path_in_tree) };
        self.last = Some((path.to_path_buf(), directory.clone()));
        Ok(directory)
    }

    /// The directory at a path, which is made if it is missing, and those above it; where a
    /// symbolic link leads to what is missing, that is made.
    pub(super) fn make(&mut self, path: &Path) -> Result<Directory, Cause> {
        self.make_followed(path, LINKS_LIMIT)
    }

    fn make_followed(&mut self, path: &Path, links: usize) -> Result<Directory, Cause> {
        if let Some(directory) = self.find(path)? {
            return Ok(directory);
        }
        let (Some(parent), Some(Component::Normal(name))) =
            (path.parent(), path.components().next_back())
        else {
            return Err("a symbolic link leads through what is missing".into());
        };
        let parent = self.make_followed(parent, links)?;
        match mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => parent.within_depth(name)?,
            Err(rustix::io::Errno::EXIST) => {
                let target = readlinkat(&parent.fd, name, Vec::new()).map_err(cause)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                let left = links.checked_sub(1).ok_or(Cause::Errno(Errno::ELOOP))?;
                let target = match target.strip_prefix("/") {
                    Ok(target) => target.to_path_buf(),
                    Err(_) => parent.path.join(target),
                };
                return self.make_followed(&target, left);
            }
            Err(errno) => return Err(cause(errno)),
        }
        self.find(path)?.ok_or(Cause::Errno(Errno::ENOENT))
    }

    /// Where an open directory is in the tree.
    fn in_tree(&self, fd: &OwnedFd) -> Result<PathBuf, Cause> {
        let path = real_path(fd)?;
        let inner = path.strip_prefix(&self.top).map(Path::to_path_buf);
        inner.map_err(|_| "a path leads out of the image's directory".into())
    }

    /// Removes a file, or a directory with all that is in it.
    pub(super) fn remove(&mut self, directory: &Directory, name: &OsStr) -> Result<(), Cause> {
        self.last = None;
        remove(&directory.fd, name).map_err(cause)
    }
}

impl Directory {
    /// What is at a name in it; a symbolic link is not followed.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Option<Stat>, Cause> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(cause(errno)),
        }
    }

    /// Opens a directory in it.
    pub(super) fn open(&self, name: &OsStr) -> Result<Directory, Cause> {
        let fd = openat(&self.fd, name, DIRECTORY, Mode::empty()).map_err(cause)?;
        Ok(Directory { fd: Rc::new(fd), path: Rc::new(self.path.join(name)) })
    }

    /// The names in it.
    pub(super) fn names(&self) -> Result<Vec<OsString>, Cause> {
        names(&self.fd).map_err(cause)
    }

    /// Refuses a directory that is too deep in the tree.
    pub(super) fn within_depth(&self, name: &OsStr) -> Result<(), Cause> {
        match self.path.components().count() < DEPTH_LIMIT {
            true => Ok(()),
            false => {
                unlinkat(&self.fd, name, AtFlags::REMOVEDIR).map_err(cause)?;
                Err("it lies in more than 512 directories".into())
            }
        }
    }

    /// Sets the time of the last change of a file in it, or of itself (`.`).
    pub(super) fn set_time(&self, name: &OsStr, modified: (i64, u32)) -> Result<(), Cause> {
        let times = times(modified);
        utimensat(&self.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(cause)
    }
}

/// Times for utimensat(2): that of the last change, and the same for the last access.
pub(super) fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Whether something is a directory.
pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What the kernel calls an open directory.
fn real_path(fd: &OwnedFd) -> Result<PathBuf, Cause> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::read_link(link).map_err(|error| super::from_io(&error))
}

/// Says in words what it means that a directory of a path is none.
fn in_the_way(errno: Errno) -> Cause {
    match errno {
        Errno::ENOTDIR => "a file is where a directory should be".into(),
        Errno::ELOOP => "its path leads through symbolic links without end".into(),
        errno => errno.into(),
    }
}

fn names(fd: &OwnedFd) -> Result<Vec<OsString>, rustix::io::Errno> {
    let entries = Dir::read_from(fd)?;
    let names = entries.filter_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => Some(Ok(OsString::from_vec(entry.file_name().to_bytes().to_vec()))),
        Err(errno) => Some(Err(errno)),
    });
    names.collect()
}

fn remove(directory: &OwnedFd, name: &OsStr) -> Result<(), rustix::io::Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        done => return done,
    }
    let inner = openat(directory, name, DIRECTORY, Mode::empty())?;
    for name in names(&inner)? {
        remove(&inner, &name)?;
    }
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}
