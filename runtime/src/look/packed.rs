//! A tree of files in a squashfs image, which is read where it is, without being mounted.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::Hasher;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use rustc_hash::FxHasher;
use squashfs::{Budget, Flaw, Inode, Part, Squashfs};

use super::files::{Files, Kind, OpenFiles, Opened};
use crate::elf::Source;
use crate::paths::names;
use crate::sys::{file, helper};

/// No file that is read as a whole is larger.
const SIZE_LIMIT: u64 = 64 << 20;

/// What is kept of an image, by whoever serves it too: the kernel keeps what was read, so this is for
/// what is read in pieces. A plan is made of a hundredth of it.
const BUDGET: Budget = Budget { metadata: 16 << 20, data: 32 << 20 };

/// The same under a limit of memory.
const LITTLE: Budget = Budget { metadata: 1 << 20, data: 4 << 20 };

/// What is read of an image's two ends, in bytes, to tell it from others.
const PIECE: usize = 64 << 10;

/// Answers questions about a squashfs image.
#[derive(Clone)]
pub struct PackedTree {
    path: PathBuf,
    offset: u64,
    image: Arc<Squashfs>,
    /// What the image is read from.
    descriptor: RawFd,
}

/// A regular file of an image.
pub struct PackedFile {
    image: Arc<Squashfs>,
    inode: Inode,
}

impl squashfs::Source for file::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        Source::read_at(self, offset, buffer)
    }
}

impl PackedTree {
    /// Opens the image that starts at a byte of a file.
    ///
    /// # Errors
    ///
    /// Says why it is none that can be read.
    pub fn open(path: &Path, source: file::File, offset: u64) -> Result<Self, Flaw> {
        let descriptor = source.as_fd().as_raw_fd();
        let budget = if helper::memory_limit().is_some() { LITTLE } else { BUDGET };
        let image = Squashfs::open(Box::new(Part { source, offset }), budget)?;
        image.root()?;
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        Ok(PackedTree { path, offset, image: Arc::new(image), descriptor })
    }

    /// The image's file, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The byte of the file that the image starts at.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The image, with what was read of it.
    pub fn image(&self) -> &Arc<Squashfs> {
        &self.image
    }

    /// What it is read from; open as long as the image is.
    pub fn descriptor(&self) -> RawFd {
        self.descriptor
    }

    /// What tells the image from any other of this machine, and from itself before it was changed:
    /// its file, and a number for what stands in front and at the end, the superblock and most of
    /// the tables.
    ///
    /// # Errors
    ///
    /// The errno of open(2) or read(2).
    pub fn identity(&self) -> Result<String, Errno> {
        let file = file::File::open_regular(&self.path)?;
        let status = file.status()?;
        let end = self.offset.saturating_add(self.image.superblock().size);
        let mut hasher = FxHasher::default();
        let mut piece = vec![0; PIECE];
        for at in [self.offset, end.saturating_sub(PIECE as u64).max(self.offset)] {
            let count = Source::read_at(&file, at, &mut piece)?;
            hasher.write(&piece[..count]);
        }
        Ok(format!(
            "{:x}:{:x} {} {}.{:09} {} {:016x}",
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime,
            status.st_mtime_nsec,
            self.offset,
            hasher.finish()
        ))
    }

    /// The names in a directory that fit.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ENOTDIR`, or `EIO` if the image is damaged.
    pub fn names(
        &self,
        path: &Path,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<BTreeSet<OsString>, Errno> {
        let names = self.list(path)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| fits(name.as_encoded_bytes())).collect())
    }

    /// What is at a path without symbolic links.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ENOTDIR`, or `EIO` if the image is damaged.
    pub fn inode(&self, path: &Path) -> Result<Inode, Errno> {
        let mut inode = self.image.root().map_err(Flaw::errno)?;
        for name in names(path) {
            let entry = self.image.lookup(&inode, name).map_err(Flaw::errno)?;
            let entry = entry.ok_or(Errno::ENOENT)?;
            inode = self.image.inode(entry.reference).map_err(Flaw::errno)?;
        }
        Ok(inode)
    }

    /// The regular file at a path.
    fn file(&self, path: &Path) -> Result<PackedFile, Errno> {
        let inode = self.inode(path)?;
        match inode.kind {
            squashfs::Kind::File => Ok(PackedFile { image: self.image.clone(), inode }),
            squashfs::Kind::Symlink => Err(Errno::ELOOP),
            squashfs::Kind::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::ENXIO),
        }
    }
}

impl From<squashfs::Kind> for Kind {
    fn from(kind: squashfs::Kind) -> Self {
        match kind {
            squashfs::Kind::Directory => Kind::Directory,
            squashfs::Kind::File => Kind::File,
            squashfs::Kind::Symlink => Kind::Link,
            _ => Kind::Other,
        }
    }
}

impl Files for PackedTree {
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno> {
        match self.inode(path) {
            Ok(inode) => Ok(Some(inode.kind.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        let target = self.image.target(&self.inode(path)?).map_err(Flaw::errno)?;
        Ok(PathBuf::from(target))
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno> {
        let directory = self.inode(path)?;
        let entries = self.image.entries(&directory, 0).map_err(Flaw::errno)?;
        let named = entries.map(|entry| entry.map(|entry| (entry.name, entry.kind.into())));
        let mut named: Vec<_> = named.collect::<Result<_, Flaw>>().map_err(Flaw::errno)?;
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(named)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let file = self.file(path)?;
        if file.inode.size > SIZE_LIMIT {
            return Err(Errno::EFBIG);
        }
        let mut contents = vec![0; file.inode.size as usize];
        let count = file.read_at(0, &mut contents)?;
        contents.truncate(count);
        Ok(contents)
    }

    fn mode(&self, path: &Path) -> Result<u32, Errno> {
        Ok(self.inode(path)?.permissions.into())
    }
}

impl OpenFiles for PackedTree {
    fn open_file(&self, path: &Path) -> Result<Opened, Errno> {
        self.file(path).map(Opened::Packed)
    }
}

impl Source for PackedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.image.read(&self.inode, offset, buffer).map_err(Flaw::errno)
    }
}
