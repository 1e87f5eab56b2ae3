//! Images that are made outside of the store, of layers that are in it or come into it.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageManifest;
use runtime::error::Result;

use super::lock::{Lock, Presence};
use super::{Kept, Store, checked, fetch, remove, tree};
use crate::digest::Digest;
use crate::progress::Progress;
use crate::source::{Described, Source};

/// An image of which there is a tree, for as long as it is copied.
#[derive(Debug)]
pub struct Outside {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its directory, with `rootfs` and `image.json`: one that was made for it, or the store's.
    pub tree: PathBuf,
    /// Whether it was made for this.
    pub is_own: bool,
    /// What was left out when it was unpacked.
    pub skipped: Vec<String>,
    manifest: ImageManifest,
    present: Presence,
}

impl Store {
    /// Takes the lock of a place outside of the store, for commands that make the same thing at once.
    ///
    /// # Errors
    ///
    /// As [`Lock::take`].
    pub fn lock_place(&self, place: &Path, wait: &dyn Fn(&str)) -> Result<Lock> {
        // A name as those of all locks are: a digest, here of the place's name.
        let name = Digest::of(&[b"place ", place.as_os_str().as_bytes()].concat());
        Lock::take(&self.unfinished(&name, "lock"), wait)
    }

    /// Unpacks an image into a directory to be made, unless the store has it unpacked. Layers that the store
    /// has, or the part of one that an interrupted command has left there, are not fetched again.
    ///
    /// # Errors
    ///
    /// As [`Store::add`].
    pub fn unpack_outside(
        &self,
        source: &dyn Source,
        making: &Path,
        progress: &dyn Progress,
    ) -> Result<Outside> {
        let present = self.present(progress)?;
        self.sweep_old();
        let image: Described = source.image()?;
        let config = checked(&image)?;
        let digest = Digest::of(&image.manifest_bytes);
        let manifest = image.manifest.clone();
        let (tree, mut skipped) = (self.tree(&digest), Vec::new());
        if tree.is_dir() {
            return Ok(Outside { digest, tree, is_own: false, skipped, manifest, present });
        }
        self.put_blob(&image.manifest_bytes)?;
        self.put_blob(&image.config)?;
        let layers = image.manifest.layers();
        fetch::all(self, source, layers, progress, |arrivals| {
            let diffs = config.rootfs().diff_ids();
            let wait_for = |index| arrivals.wait_for(index);
            let report = tree::unpack(self, &image, diffs, making, progress, &wait_for)?;
            skipped = report.left_out();
            Ok(())
        })?;
        let tree = making.to_owned();
        Ok(Outside { digest, tree, is_own: true, skipped, manifest, present })
    }

    /// Removes what came for an image that is finished outside, but for what images of the store have. While
    /// others are at work in the store all of it stays, for the last one of them to remove.
    pub fn forget(&self, outside: Outside) {
        let Outside { digest, manifest, present, .. } = outside;
        drop(present);
        let Ok(Some(_alone)) = Presence::alone(&self.directory.join("lock")) else { return };
        let Ok(images) = self.images() else { return };
        let used: BTreeSet<Digest> = images.iter().flat_map(Kept::blobs).collect();
        let parts = [manifest.config()].into_iter().chain(manifest.layers());
        let parts = parts.filter_map(|blob| Digest::wanted(blob).ok()).chain([digest]);
        for blob in parts.filter(|blob| !used.contains(blob)) {
            // What stays is removed with the next image.
            let _ = remove::tree(&self.blob(&blob));
        }
    }
}
