//! Images are removed, and what nobody needs any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use runtime::error::{Error, Result};

use super::lock::{Lock, Presence};
use super::{Kept, Store, mark};
use crate::digest::Digest;
use crate::failure::failed;
use crate::own;
use crate::progress::Progress;
use crate::reference::Reference;

/// After this time nobody comes back for the part of a blob.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a removal did.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Names that are gone.
    pub names: Vec<Reference>,
    /// Images whose trees are gone.
    pub trees: Vec<Digest>,
    /// Bytes of layers that are gone.
    pub bytes: u64,
    /// Somebody is at work in the store: blobs nobody needs were left for the next removal.
    pub is_partial: bool,
}

impl Store {
    /// Removes a name, or an image with all its names; its tree with the last name; and the blobs no
    /// other image has.
    ///
    /// # Errors
    ///
    /// Fails if there is no such image, or something cannot be removed.
    pub fn remove(&self, wanted: &str, progress: &dyn Progress) -> Result<Removed> {
        let kept = self.find(wanted)?;
        let named = match Reference::parse(wanted) {
            Ok(name) if kept.names.contains(&name) => vec![name],
            _ => kept.names,
        };
        let mut removed = Removed::default();
        for name in named {
            self.unlink(&name)?;
            removed.names.push(name);
        }
        self.remove_unless_named(&kept.digest, &mut removed, progress)?;
        self.sweep(&mut removed)?;
        Ok(removed)
    }

    /// Removes the images that have no name, and what no image needs.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be removed.
    pub fn remove_unnamed(&self, progress: &dyn Progress) -> Result<Removed> {
        let mut removed = Removed::default();
        for kept in self.images()?.iter().filter(|kept| kept.names.is_empty()) {
            self.remove_unless_named(&kept.digest, &mut removed, progress)?;
        }
        self.sweep(&mut removed)?;
        Ok(removed)
    }

    /// Somebody may give it a name at the same time, and has its lock then.
    fn remove_unless_named(
        &self,
        digest: &Digest,
        removed: &mut Removed,
        progress: &dyn Progress,
    ) -> Result<()> {
        let wait =
            |holder: &str| progress.note(&format!("waiting for {holder}, which is at this image"));
        let _lock = Lock::take(&self.unfinished(digest, "tree.lock"), &wait)?;
        if !self.named()?.values().any(|named| named == digest) {
            self.remove_tree(digest)?;
            removed.trees.push(*digest);
        }
        Ok(())
    }

    /// First the name goes, at once, then the files.
    fn remove_tree(&self, digest: &Digest) -> Result<()> {
        let (tree, gone) = (self.tree(digest), self.passing("tree"));
        match fs::rename(&tree, &gone) {
            Ok(()) => self::tree(&gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", &tree, &error)),
        }
    }

    /// Removes blobs that no image has, and what is unfinished, if nobody is at work here.
    fn sweep(&self, removed: &mut Removed) -> Result<()> {
        let Some(_alone) = Presence::alone(&self.directory.join("lock"))? else {
            removed.is_partial = true;
            return Ok(());
        };
        let images = self.images()?;
        let used: BTreeSet<Digest> = images.iter().flat_map(Kept::blobs).collect();
        let blobs = self.directory.join("blobs/sha256");
        let list = own::names(&blobs).map_err(|error| failed("list", &blobs, &error))?;
        for name in list {
            // What has another name is none of himage's.
            let Some(digest) = name.to_str().and_then(Digest::from_hex) else { continue };
            if used.contains(&digest) {
                continue;
            }
            let path = self.blob(&digest);
            removed.bytes += path.symlink_metadata().map_or(0, |blob| blob.len());
            fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        }
        self.sweep_unfinished(Duration::ZERO);
        Ok(())
    }

    /// Removes what commands left that were killed long ago; what cannot be removed stays.
    pub(super) fn sweep_old(&self) {
        self.sweep_unfinished(OLD);
    }

    fn sweep_unfinished(&self, age: Duration) {
        let directory = self.directory.join("tmp");
        let Ok(list) = own::names(&directory) else { return };
        for path in list.iter().map(|name| directory.join(name)) {
            if !mark::is_unfinished(&path) {
                continue;
            }
            let modified = path.symlink_metadata().and_then(|found| found.modified());
            let is_old = modified.is_ok_and(|time| {
                // A clock that is ahead makes nothing older.
                time.elapsed().unwrap_or_default() >= age
            });
            let lock = match path.extension().and_then(|extension| extension.to_str()) {
                // One without what it locked goes by being taken.
                Some("lock") => path.clone(),
                Some("tree") => path.with_extension("tree.lock"),
                _ => path.with_extension("lock"),
            };
            if is_old && let Ok(Some(_lock)) = Lock::try_take(&lock) {
                let _ = tree(&path);
            }
        }
    }
}

/// Removes a file or a tree, with directories its owner has closed to himself; it may be missing.
///
/// # Errors
///
/// Fails if something is left.
pub fn tree(path: &Path) -> Result<()> {
    let removed = own::remove(path);
    removed.map_err(|error| failed("remove", path, &error).hint_if_some(busy(path)))
}

/// Files of a running container can be removed, but not on NFS, which renames them.
fn busy(path: &Path) -> Option<String> {
    path.is_dir().then(|| "a container may still use it: hrun --ps; then try again".to_owned())
}

impl Removed {
    /// Whether anything was removed.
    pub fn is_nothing(&self) -> bool {
        self.names.is_empty() && self.trees.is_empty() && self.bytes == 0
    }
}

/// The error of a name nobody has given.
pub(super) fn unknown(store: &Store, wanted: &str, near: Option<String>) -> Error {
    let attempt = format!("find {wanted}");
    let reason = format!("there is no such image in {}", store.directory.display());
    let hint = match near {
        Some(near) => format!("did you mean {near}?"),
        None => {
            "himage list shows what there is; himage pull and himage import add to it".to_owned()
        }
    };
    Error::new(attempt, reason).hint(hint)
}
