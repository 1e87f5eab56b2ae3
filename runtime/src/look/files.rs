//! A tree of files that can be asked about: the host's, an image's, or a container's to be.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::packed::PackedFile;
use crate::elf::Source;
use crate::paths::{Names, below, names};
use crate::sys::file::File;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Other,
}

/// Answers questions about a tree of files.
///
/// Paths are absolute within the tree, and all of their components but the last are real
/// directories; [`resolve`] finds such paths.
pub trait Files {
    /// What is at `path`; a symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// The errno of lstat(2), except that what does not exist is `None`.
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno>;

    /// What the symbolic link at `path` points to.
    ///
    /// # Errors
    ///
    /// The errno of readlink(2).
    fn link(&self, path: &Path) -> Result<PathBuf, Errno>;

    /// The names in the directory at `path`, sorted, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// The errno of opendir(3).
    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno>;

    /// The contents of the regular file at `path`.
    ///
    /// # Errors
    ///
    /// The errno of open(2) or read(2); `ELOOP` for a symbolic link.
    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno>;

    /// The permission bits of what is at `path`.
    ///
    /// # Errors
    ///
    /// The errno of lstat(2).
    fn mode(&self, path: &Path) -> Result<u32, Errno>;
}

/// A tree whose files can be read in parts.
pub trait OpenFiles: Files {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    ///
    /// The errno of open(2).
    fn open_file(&self, path: &Path) -> Result<Opened, Errno>;
}

/// A regular file that is open.
pub enum Opened {
    /// A file of the host.
    Host(File),
    /// One in a squashfs image.
    Packed(PackedFile),
}

impl Source for Opened {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Opened::Host(file) => file.read_at(offset, buffer),
            Opened::Packed(file) => file.read_at(offset, buffer),
        }
    }
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To something that exists.
    Found {
        /// The path without symbolic links.
        path: PathBuf,
        /// What is there; never [`Kind::Link`].
        kind: Kind,
    },
    /// To a directory that lacks an entry.
    Missing {
        /// The directory, without symbolic links.
        parent: PathBuf,
        /// What would have to be made in it; relative, not empty.
        rest: PathBuf,
    },
}

/// The number of symbolic links the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

const UP: &str = "..";

/// Follows a path to its end within a tree.
///
/// The root of the tree is the root of every absolute symbolic link, and `..` stops there, as
/// with `RESOLVE_IN_ROOT` of openat2(2).
///
/// # Errors
///
/// `ELOOP` after 40 symbolic links, `ENOTDIR` for a path through something that is no directory,
/// and what the tree answers.
pub fn resolve(files: &dyn Files, path: &Path) -> Result<Resolved, Errno> {
    let mut path = Cow::Borrowed(path);
    // Longer than most paths, so that it seldom has to move.
    let mut here = PathBuf::with_capacity(64);
    here.push("/");
    let mut kind = Kind::Directory;
    let mut links = 0;
    'link: loop {
        let mut names = names(&path);
        while let Some(name) = names.next() {
            if kind != Kind::Directory {
                return Err(Errno::ENOTDIR);
            }
            if name == UP {
                here.pop();
                continue;
            }
            here.push(name);
            match files.kind(&here)? {
                None => {
                    here.pop();
                    return Ok(Resolved::Missing { parent: here, rest: rest(name, names)? });
                }
                Some(Kind::Link) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    let target = files.link(&here)?;
                    match target.is_absolute() {
                        true => here.push("/"),
                        false => drop(here.pop()),
                    }
                    path = Cow::Owned(target.join(names.rest()));
                    continue 'link;
                }
                Some(found) => kind = found,
            }
        }
        return Ok(Resolved::Found { path: here, kind });
    }
}

/// Finds what exists at a path, following symbolic links; `None` if nothing does.
///
/// # Errors
///
/// As [`resolve`].
pub fn find(files: &dyn Files, path: &Path) -> Result<Option<(PathBuf, Kind)>, Errno> {
    match resolve(files, path) {
        Ok(Resolved::Found { path, kind }) => Ok(Some((path, kind))),
        Ok(Resolved::Missing { .. }) | Err(Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Reads what is at a path, following symbolic links; `None` if nothing is.
///
/// # Errors
///
/// As [`resolve`], and the errno of reading.
pub fn read(files: &dyn Files, path: &Path) -> Result<Option<Vec<u8>>, Errno> {
    let Some((directory, name)) = path.parent().zip(path.file_name()) else {
        return Err(Errno::EISDIR);
    };
    let Some((directory, Kind::Directory)) = find(files, directory)? else { return Ok(None) };
    match files.read(&below(&directory, Path::new(name))) {
        Ok(contents) => Ok(Some(contents)),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP) => match find(files, path)? {
            Some((path, _)) => files.read(&path).map(Some),
            None => Ok(None),
        },
        Err(errno) => Err(errno),
    }
}

/// What is left of a path from its first missing component on.
fn rest(first: &OsStr, others: Names) -> Result<PathBuf, Errno> {
    let mut rest = PathBuf::from(first);
    for name in others {
        if name == UP {
            // There is no way up from what does not exist.
            return Err(Errno::ENOENT);
        }
        rest.push(name);
    }
    Ok(rest)
}
