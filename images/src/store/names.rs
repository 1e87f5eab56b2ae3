//! Names of images: links to their trees, replaced at once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use runtime::error::Result;

use super::Store;
use crate::digest::Digest;
use crate::failure::failed;
use crate::own;
use crate::reference::Reference;

impl Store {
    /// Gives an image a name; another image that had it loses it.
    ///
    /// # Errors
    ///
    /// Fails if the link cannot be made.
    pub fn link(&self, name: &Reference, digest: &Digest) -> Result<()> {
        let link = self.names().join(name.path());
        let fail = |error: io::Error| failed("name the image by", &link, &error);
        let depth = name.path().components().count();
        let target = PathBuf::from("../".repeat(depth)).join("trees").join(digest.hex());
        let passing = self.passing("link");
        // Who removes a name at the same time removes empty directories, too.
        for _ in 0..16 {
            let parent = link.parent().unwrap_or(&self.directory);
            own::make_directories(parent).map_err(fail)?;
            let _ = fs::remove_file(&passing);
            symlink(&target, &passing).map_err(fail)?;
            match fs::rename(&passing, &link) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => return renamed.map_err(fail),
            }
        }
        Err(fail(io::Error::from(io::ErrorKind::NotFound)))
    }

    /// All names, and the images they stand for.
    ///
    /// # Errors
    ///
    /// Fails if a directory of names cannot be read.
    pub fn named(&self) -> Result<BTreeMap<Reference, Digest>> {
        let mut named = BTreeMap::new();
        let names = self.names();
        let mut todo = vec![names.clone()];
        while let Some(directory) = todo.pop() {
            let fail = |error: io::Error| failed("list", &directory, &error);
            let list = match own::names(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                list => list.map_err(fail)?,
            };
            for name in list {
                let path = directory.join(name);
                let found = match path.symlink_metadata() {
                    // It was removed meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    found => found.map_err(fail)?,
                };
                if found.is_dir() {
                    todo.push(path);
                } else if let Some(reference) = reference(&names, &path)
                    && let Some(digest) = target(&path)
                {
                    named.insert(reference, digest);
                }
            }
        }
        Ok(named)
    }

    /// Takes a name away, and directories of names that are empty then.
    pub(super) fn unlink(&self, name: &Reference) -> Result<()> {
        let names = self.names();
        let link = names.join(name.path());
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &link, &error));
            }
            _ => {}
        }
        for parent in link.ancestors().skip(1).take_while(|parent| *parent != names) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn names(&self) -> PathBuf {
        self.directory.join("names")
    }
}

fn reference(names: &Path, link: &Path) -> Option<Reference> {
    Reference::parse(link.strip_prefix(names).ok()?.to_str()?).ok()
}

/// The image that a link stands for, if it is one that himage made.
pub(super) fn target(link: &Path) -> Option<Digest> {
    let target = fs::read_link(link).ok()?;
    let trees = target.parent()?.strip_prefix("..").ok()?;
    let is_ours = trees.file_name()? == "trees" && target.is_relative();
    Digest::from_hex(target.file_name()?.to_str()?).filter(|_| is_ours)
}
