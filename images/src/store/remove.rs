//! Images are removed, and what nobody needs any more.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use runtime::error::{Error, Result};

use super::lock::{Lock, Presence};
use super::{Kept, Store};
use crate::digest::Digest;
use crate::failure::failed;
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
    pub fn remove(&self, wanted: &str) -> Result<Removed> {
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
        self.remove_unless_named(&kept.digest, &mut removed)?;
        self.sweep(&mut removed)?;
        Ok(removed)
    }

    /// Removes the images that have no name, and what no image needs.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be removed.
    pub fn remove_unnamed(&self) -> Result<Removed> {
        let mut removed = Removed::default();
        for kept in self.images()?.iter().filter(|kept| kept.names.is_empty()) {
            self.remove_unless_named(&kept.digest, &mut removed)?;
        }
        self.sweep(&mut removed)?;
        Ok(removed)
    }

    /// Somebody may give it a name at the same time, and has its lock then.
    fn remove_unless_named(&self, digest: &Digest, removed: &mut Removed) -> Result<()> {
        let _lock = Lock::take(&self.unfinished(digest, "tree.lock"), &|_| {})?;
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
        let list = fs::read_dir(&blobs).map_err(|error| failed("list", &blobs, &error))?;
        for entry in list.flatten() {
            let name = entry.file_name();
            let digest = name.to_str().and_then(Digest::from_hex);
            if digest.is_some_and(|digest| used.contains(&digest)) {
                continue;
            }
            removed.bytes += entry.metadata().map_or(0, |blob| blob.len());
            let path = entry.path();
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
        let Ok(list) = fs::read_dir(self.directory.join("tmp")) else { return };
        for entry in list.flatten() {
            let path = entry.path();
            let is_old = entry.metadata().and_then(|found| found.modified()).is_ok_and(|time| {
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
    let result = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).or_else(|_| {
            open_directories(path);
            fs::remove_dir_all(path)
        }),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error).hint_if_some(busy(path)))
        }
        _ => Ok(()),
    }
}

/// Files of a running container can be removed, but not on NFS, which renames them.
fn busy(path: &Path) -> Option<String> {
    path.is_dir().then(|| "a container may still use it: hrun --ps; then try again".to_owned())
}

fn open_directories(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    let Ok(list) = fs::read_dir(directory) else { return };
    for entry in list.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_directories(&entry.path());
        }
    }
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
