//! A tree of files below a directory of the host.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{lstat, mode_t};
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::files::{Files, Kind, OpenFiles, Opened};
use crate::paths::{below, parent};
use crate::sys::file::{self, Directory};

/// What is at a path: something, nothing, or the reason nobody knows.
type Answer = Result<Option<Kind>, Errno>;

/// How many answers a start takes, so that the table does not have to grow.
const KNOWN: usize = 56;

/// Answers questions about a directory of the host, and remembers every answer.
///
/// Answers are kept by the bytes of their path: those cost a tenth of what paths cost.
#[derive(Debug)]
pub struct DirectoryTree {
    root: PathBuf,
    open: OnceCell<Directory>,
    known: RefCell<FxHashMap<OsString, Answer>>,
    links: RefCell<BTreeMap<OsString, PathBuf>>,
    listed: RefCell<BTreeSet<OsString>>,
}

impl DirectoryTree {
    /// Makes a tree of what lies below `root`; looks at nothing yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        DirectoryTree {
            root: root.into(),
            open: OnceCell::new(),
            known: RefCell::new(FxHashMap::with_capacity_and_hasher(KNOWN, FxBuildHasher)),
            links: RefCell::default(),
            listed: RefCell::default(),
        }
    }

    /// Opens a directory, finds its path without symbolic links and reads its names.
    ///
    /// # Errors
    ///
    /// The errno of open(2), readlink(2) or getdents64(2).
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let (directory, root) = match Directory::open_known(path) {
            Some(directory) => (directory, path.to_path_buf()),
            None => {
                let directory = Directory::open(path)?;
                // Where /proc is not mounted, the longer way.
                let longer = |_| path.canonicalize().map_err(|error| errno(&error));
                let root = directory.path().or_else(longer)?;
                (directory, root)
            }
        };
        let tree = DirectoryTree::new(root);
        tree.remember_entries(Path::new("/"), &directory.entries()?)?;
        // Nobody else can have set it.
        let _ = tree.open.set(directory);
        Ok(tree)
    }

    /// The root directory on the host.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path on the host.
    pub fn outside(&self, path: &Path) -> PathBuf {
        below(&self.root, path)
    }

    /// Remembers that `path` and all directories above it are real directories.
    pub fn learn_directory(&self, path: &Path) {
        let mut known = self.known.borrow_mut();
        for directory in path.ancestors() {
            known.insert(directory.into(), Ok(Some(Kind::Directory)));
        }
    }

    /// The names in a directory that fit, without remembering any: there may be thousands.
    ///
    /// # Errors
    ///
    /// The errno of open(2) or getdents64(2).
    pub fn names(
        &self,
        path: &Path,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<BTreeSet<OsString>, Errno> {
        Ok(self.entries(path, fits)?.into_keys().collect())
    }

    /// The same, with what each is.
    ///
    /// # Errors
    ///
    /// As [`DirectoryTree::names`], and as [`Files::kind`].
    pub fn entries(
        &self,
        path: &Path,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<BTreeMap<OsString, Kind>, Errno> {
        let entries = Directory::open(&self.outside(path))?.entries_that(fits)?;
        let kind = |(name, kind): file::DirectoryEntry| {
            let kind = self.entry_kind(kind, || below(path, Path::new(&name)))?;
            Ok((name, kind))
        };
        entries.into_iter().map(kind).collect()
    }

    /// What an entry of a directory is; some file systems leave it to lstat(2).
    fn entry_kind(&self, kind: u8, path: impl Fn() -> PathBuf) -> Result<Kind, Errno> {
        Ok(match kind {
            libc::DT_DIR => Kind::Directory,
            libc::DT_REG => Kind::File,
            libc::DT_LNK => Kind::Link,
            libc::DT_UNKNOWN => self.kind(&path())?.unwrap_or(Kind::Other),
            _ => Kind::Other,
        })
    }

    /// Looks at all directories of a path at once, where they are real ones.
    pub fn look_along(&self, path: &Path) {
        if file::is_plain_directory(&self.outside(path)) {
            self.learn_directory(path);
        }
    }

    /// Whether something exists at a path, wherever symbolic links lead within the tree.
    pub fn holds(&self, path: &Path) -> bool {
        if let Some(directory) = self.open.get()
            && let Ok(holds) = directory.holds(path)
        {
            return holds;
        }
        matches!(super::files::find(self, path), Ok(Some(_)))
    }

    fn remembered(&self, path: &Path) -> Option<Answer> {
        if let Some(answer) = self.known.borrow().get(path.as_os_str()) {
            return Some(*answer);
        }
        let parent = parent(path)?;
        self.listed.borrow().contains(parent.as_os_str()).then_some(Ok(None))
    }

    fn remember(&self, path: &Path, answer: Answer) {
        self.known.borrow_mut().insert(path.into(), answer);
    }

    fn remember_entries(
        &self,
        path: &Path,
        entries: &[file::DirectoryEntry],
    ) -> Result<Vec<Kind>, Errno> {
        let mut kinds = Vec::with_capacity(entries.len());
        for (name, kind) in entries {
            let child = below(path, Path::new(name));
            let kind = self.entry_kind(*kind, || child.clone())?;
            self.known.borrow_mut().insert(child.into(), Ok(Some(kind)));
            kinds.push(kind);
        }
        self.listed.borrow_mut().insert(path.into());
        Ok(kinds)
    }
}

impl OpenFiles for DirectoryTree {
    fn open_file(&self, path: &Path) -> Result<Opened, Errno> {
        file::File::open_regular(&self.outside(path)).map(Opened::Host)
    }
}

impl Files for DirectoryTree {
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno> {
        if let Some(answer) = self.remembered(path) {
            return answer;
        }
        let answer = match lstat(&self.outside(path)) {
            Ok(status) => Ok(Some(Kind::from(status.st_mode))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        };
        self.remember(path, answer);
        answer
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        if let Some(target) = self.links.borrow().get(path.as_os_str()) {
            return Ok(target.clone());
        }
        let target = fs::read_link(self.outside(path)).map_err(|error| errno(&error));
        match &target {
            Ok(target) => {
                self.remember(path, Ok(Some(Kind::Link)));
                self.links.borrow_mut().insert(path.into(), target.clone());
            }
            Err(Errno::ENOENT) => self.remember(path, Ok(None)),
            Err(_) => {}
        }
        target
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno> {
        let entries = Directory::open(&self.outside(path))?.entries()?;
        let kinds = self.remember_entries(path, &entries)?;
        let mut named: Vec<_> = entries.into_iter().map(|(name, _)| name).zip(kinds).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(named)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        if self.remembered(path) == Some(Ok(None)) {
            return Err(Errno::ENOENT);
        }
        let contents = file::read_file(&self.outside(path));
        match contents {
            Ok(_) => self.remember(path, Ok(Some(Kind::File))),
            Err(Errno::ENOENT) => self.remember(path, Ok(None)),
            Err(_) => {}
        }
        contents
    }

    fn mode(&self, path: &Path) -> Result<u32, Errno> {
        Ok(lstat(&self.outside(path))?.st_mode & 0o7777)
    }
}

impl From<mode_t> for Kind {
    /// Reads the file type of `st_mode` (inode(7)).
    fn from(mode: mode_t) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFREG => Kind::File,
            libc::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        }
    }
}

/// The kernel's number of an error of the standard library.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
