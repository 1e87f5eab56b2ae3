//! The files of an image, of whichever form it is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::directory::DirectoryTree;
use super::files::{self, Files, Kind, OpenFiles, Opened};
use super::packed::PackedTree;

/// The files of an image; the same questions, whatever holds them.
pub enum Contents {
    /// They are unpacked in a directory of the host.
    Directory(DirectoryTree),
    /// They are in a squashfs image.
    Packed(PackedTree),
}

impl Contents {
    /// The image's squashfs file, if it is one.
    pub fn packed(&self) -> Option<&PackedTree> {
        match self {
            Contents::Directory(_) => None,
            Contents::Packed(tree) => Some(tree),
        }
    }

    /// The names in a directory that fit.
    ///
    /// # Errors
    ///
    /// As [`DirectoryTree::names`].
    pub fn names(
        &self,
        path: &Path,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<BTreeSet<OsString>, Errno> {
        match self {
            Contents::Directory(tree) => tree.names(path, fits),
            Contents::Packed(tree) => tree.names(path, fits),
        }
    }

    /// Whether something exists at a path, wherever symbolic links lead within the tree.
    pub fn holds(&self, path: &Path) -> bool {
        match self {
            Contents::Directory(tree) => tree.holds(path),
            Contents::Packed(tree) => matches!(files::find(tree, path), Ok(Some(_))),
        }
    }

    fn files(&self) -> &dyn OpenFiles {
        match self {
            Contents::Directory(tree) => tree,
            Contents::Packed(tree) => tree,
        }
    }
}

impl Files for Contents {
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno> {
        self.files().kind(path)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        self.files().link(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno> {
        self.files().list(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        self.files().read(path)
    }

    fn mode(&self, path: &Path) -> Result<u32, Errno> {
        self.files().mode(path)
    }
}

impl OpenFiles for Contents {
    fn open_file(&self, path: &Path) -> Result<Opened, Errno> {
        self.files().open_file(path)
    }
}
