//! A tree of files in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::look::files::{Files, Kind};

enum Entry {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
    Locked,
}

/// Files, links and directories by their paths; `Locked` ones may not be read.
pub struct Tree(BTreeMap<PathBuf, Entry>);

impl Tree {
    pub fn new() -> Self {
        Tree(BTreeMap::from([(PathBuf::from("/"), Entry::Directory)]))
    }

    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.with(path, Entry::File(contents.as_ref().to_vec()))
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.with(path, Entry::Link(target.into()))
    }

    pub fn directory(self, path: &str) -> Self {
        self.with(path, Entry::Directory)
    }

    pub fn locked(self, path: &str) -> Self {
        self.with(path, Entry::Locked)
    }

    fn with(mut self, path: &str, entry: Entry) -> Self {
        for above in Path::new(path).ancestors().skip(1) {
            self.0.entry(above.into()).or_insert(Entry::Directory);
        }
        self.0.insert(path.into(), entry);
        self
    }
}

impl Files for Tree {
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno> {
        Ok(self.0.get(path).map(|entry| match entry {
            Entry::Directory => Kind::Directory,
            Entry::Link(_) => Kind::Link,
            Entry::File(_) | Entry::Locked => Kind::File,
        }))
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        match self.0.get(path) {
            Some(Entry::Link(target)) => Ok(target.clone()),
            Some(_) => Err(Errno::EINVAL),
            None => Err(Errno::ENOENT),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno> {
        let inside = self.0.keys().filter(|entry| entry.parent() == Some(path));
        inside
            .map(|entry| Ok((entry.file_name().unwrap().into(), self.kind(entry)?.unwrap())))
            .collect()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        match self.0.get(path) {
            Some(Entry::File(contents)) => Ok(contents.clone()),
            Some(Entry::Link(_)) => Err(Errno::ELOOP),
            Some(Entry::Directory) => Err(Errno::EISDIR),
            Some(Entry::Locked) => Err(Errno::EACCES),
            None => Err(Errno::ENOENT),
        }
    }

    fn mode(&self, _: &Path) -> Result<u32, Errno> {
        Ok(0o644)
    }
}
