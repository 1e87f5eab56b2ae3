//! The container's files as they will be: the image, and everything mounted on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::iter::successors;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::look::files::{self, Files, Kind, OpenFiles, Opened, Resolved};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::paths::{below, inner, is_in, parent};

/// Answers questions about files inside before any mount is made.
pub struct Tree<'a> {
    host: &'a Host,
    image: &'a Image,
    mounts: BTreeMap<OsString, Mounted>,
    made: RefCell<BTreeMap<OsString, Made>>,
}

/// Something that hrun makes where there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// An empty directory.
    Directory,
    /// A file, and what is in it; usually nothing, for something to be mounted on.
    File(Vec<u8>),
    /// A symbolic link, and what it points to.
    Link(PathBuf),
}

impl Made {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Made::Directory => Kind::Directory,
            Made::File(_) => Kind::File,
            Made::Link(_) => Kind::Link,
        }
    }
}

/// What is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// A directory or something else.
    pub kind: Kind,
    /// Where its files come from.
    pub backing: Backing,
}

/// Where the files below a mount come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// The image.
    Image,
    /// A file or directory of the host, without symbolic links.
    Host {
        /// Its path on the host.
        source: PathBuf,
        /// Refuses writes.
        read_only: bool,
    },
    /// Memory, empty but for what hrun makes.
    Memory,
}

impl<'a> Tree<'a> {
    /// Starts with the image alone.
    pub fn new(host: &'a Host, image: &'a Image) -> Self {
        let root = Mounted { kind: Kind::Directory, backing: Backing::Image };
        let mounts = BTreeMap::from([(OsString::from("/"), root)]);
        Tree { host, image, mounts, made: RefCell::default() }
    }

    /// Adds a mount at a path without symbolic links.
    pub fn mount(&mut self, target: PathBuf, mounted: Mounted) {
        let is_below = |path: &OsString| is_in(Path::new(path), &target);
        self.made.borrow_mut().retain(|path, _| !is_below(path));
        self.mounts.retain(|path, _| !is_below(path));
        self.mounts.insert(target.into(), mounted);
    }

    /// Adds what hrun makes: `rest` below `parent`, directories but for the last.
    pub fn make(&self, parent: &Path, rest: &Path, last: Made) {
        let mut made = self.made.borrow_mut();
        let path = below(parent, rest);
        for directory in path.ancestors().skip(1).take_while(|path| *path != parent) {
            made.insert(directory.into(), Made::Directory);
        }
        made.insert(path.into(), last);
    }

    /// Where a path leads inside.
    ///
    /// # Errors
    ///
    /// As [`files::resolve`].
    pub fn resolve(&self, path: &Path) -> Result<Resolved, Errno> {
        files::resolve(self, path)
    }

    /// What exists at a path inside, by its path without symbolic links.
    pub fn find(&self, path: &Path) -> Option<(PathBuf, Kind)> {
        files::find(self, path).ok().flatten()
    }

    /// The innermost mount that holds a path without symbolic links.
    pub fn holder(&self, path: &Path) -> (&Path, &Mounted) {
        let mut ancestors = successors(Some(path), |path| parent(path));
        let held = ancestors.find_map(|above| self.mounts.get_key_value(above.as_os_str()));
        // The root is always mounted.
        held.map_or((Path::new("/"), &IMAGE), |(target, mounted)| (Path::new(target), mounted))
    }

    /// Whether something is mounted at a path or below it.
    pub fn has_mount_in(&self, path: &Path) -> bool {
        self.mounts.keys().any(|target| target != "/" && is_in(Path::new(target), path))
    }

    /// Whether the files at a path inside are the image's.
    pub fn is_of_image(&self, path: &Path) -> bool {
        matches!(self.holder(path).1.backing, Backing::Image)
    }

    /// The host path whose files are seen at a path inside, if they are the host's.
    pub fn on_host(&self, path: &Path) -> Option<PathBuf> {
        let (target, mounted) = self.holder(path);
        match &mounted.backing {
            Backing::Host { source, .. } => Some(below(source, inner(path, target)?)),
            Backing::Image | Backing::Memory => None,
        }
    }

    /// Asks the files behind a path, which is given as it is known there.
    fn ask<T>(
        &self,
        path: &Path,
        ask: impl Fn(&dyn Files, &Path) -> Result<T, Errno>,
    ) -> Option<Result<T, Errno>> {
        match &self.holder(path).1.backing {
            Backing::Image => Some(ask(&self.image.files, path)),
            Backing::Host { .. } => {
                let outside = self.on_host(path)?;
                Some(ask(&self.host.files, &outside))
            }
            Backing::Memory => None,
        }
    }
}

static IMAGE: Mounted = Mounted { kind: Kind::Directory, backing: Backing::Image };

impl OpenFiles for Tree<'_> {
    fn open_file(&self, path: &Path) -> Result<Opened, Errno> {
        match &self.holder(path).1.backing {
            Backing::Image => self.image.files.open_file(path),
            Backing::Host { .. } => {
                self.host.files.open_file(&self.on_host(path).ok_or(Errno::ENOENT)?)
            }
            Backing::Memory => Err(Errno::ENOENT),
        }
    }
}

impl Files for Tree<'_> {
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno> {
        if let Some(mounted) = self.mounts.get(path.as_os_str()) {
            return Ok(Some(mounted.kind));
        }
        if let Some(made) = self.made.borrow().get(path.as_os_str()) {
            return Ok(Some(made.kind()));
        }
        // What is made is empty but for what else is made.
        let is_made = |above: &Path| self.made.borrow().contains_key(above.as_os_str());
        if parent(path).is_some_and(is_made) {
            return Ok(None);
        }
        self.ask(path, |files, path| files.kind(path)).unwrap_or(Ok(None))
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        if let Some(Made::Link(target)) = self.made.borrow().get(path.as_os_str()) {
            return Ok(target.clone());
        }
        self.ask(path, |files, path| files.link(path)).unwrap_or(Err(Errno::EINVAL))
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno> {
        self.ask(path, |files, path| files.list(path)).unwrap_or(Ok(Vec::new()))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        self.ask(path, |files, path| files.read(path)).unwrap_or(Err(Errno::ENOENT))
    }

    fn mode(&self, path: &Path) -> Result<u32, Errno> {
        self.ask(path, |files, path| files.mode(path)).unwrap_or(Ok(0o755))
    }
}
