//! The directory in which images are kept, by digest and by name.
//!
//! ```text
//! blobs/sha256/HEX              layers, configurations and manifests, as they came
//! trees/HEX/rootfs/             an image, unpacked; HEX is the digest of its manifest
//! trees/HEX/image.json          its configuration, which hrun reads
//! trees/HEX/manifest.json       its manifest
//! trees/HEX/files               its files: sizes and digests, for `himage verify`
//! names/REGISTRY/REPOSITORY:TAG a relative link to a tree
//! tmp/                          what is unfinished, with a lock beside it
//! hrun-store                    says that this is a store
//! lock                          shared by who adds, alone with who sweeps
//! ```
//!
//! What has its final name is complete: it was made in `tmp` and renamed (docs/decisions/0020).

mod fetch;
mod files;
mod kept;
mod lock;
mod mark;
mod names;
mod outside;
mod remove;
mod tree;
mod verify;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use oci_spec::image::ImageConfiguration;
use runtime::error::{Error, Result};
use runtime::text::quoted;

pub use self::files::WRITABLE;
pub use self::kept::{Contents, Kept};
pub use self::lock::Lock;
use self::lock::Presence;
use self::mark::Found;
pub use self::outside::Outside;
pub use self::remove::Removed;
pub use self::verify::Verified;
use crate::digest::{self, Digest};
use crate::failure::failed;
use crate::own;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::said;
use crate::source::{Described, Source};
use crate::unpack::Allowance;

/// A directory in which images are kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    is_shared: bool,
    notes: Vec<String>,
    /// How large images may become that are unpacked in it.
    allowance: Allowance,
}

/// An image that is in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its directory: `hrun` takes it as an image.
    pub tree: PathBuf,
    /// What was left out when it was unpacked.
    pub skipped: Vec<String>,
    /// Whether it was there before.
    pub was_there: bool,
}

/// The directories of a store, each after the one it lies in.
const PARTS: [&str; 5] = ["blobs", "blobs/sha256", "trees", "names", "tmp"];

impl Store {
    /// A store that is only read; it need not be there, and has no images then.
    pub fn at(directory: &Path) -> Self {
        Store {
            directory: directory.to_owned(),
            is_shared: false,
            notes: Vec::new(),
            allowance: Allowance::default(),
        }
    }

    /// Opens a store to add to it or to take from it; makes it if it is not there.
    ///
    /// Nobody but its owner may write to it then, and every name in it was made by himage.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be made, holds something else, or belongs to another user.
    pub fn open(directory: &Path) -> Result<Self> {
        own::make_directories(directory)
            .map_err(|error| failed("make the store", directory, &error))?;
        // The store as a whole may be a link, to another file system for example.
        let real = fs::canonicalize(directory)
            .map_err(|error| failed("open the store", directory, &error))?;
        let mut store = Store::at(directory);
        // First of all what it is: the directory may be of some other use.
        let found = mark::look(directory)?;
        store.close(&real)?;
        if found == Found::Nothing {
            mark::write(directory, false)?;
        }
        store.is_shared = found == Found::Store { is_shared: true };
        if store.is_shared {
            // Whatever the caller's is: others read what is made from now on.
            umask(Mode::S_IWGRP | Mode::S_IWOTH);
        }
        for part in PARTS {
            let part = directory.join(part);
            match part.symlink_metadata() {
                Ok(_) => store.close(&part)?,
                Err(_) => own::make_directories(&part)
                    .map_err(|error| failed("make the store", &part, &error))?,
            }
        }
        if found == Found::Unmarked {
            store.adopt()?;
        }
        Ok(store)
    }

    /// The same store, for images that may become so large.
    pub fn allowing(self, allowance: Allowance) -> Self {
        Store { allowance, ..self }
    }

    /// Takes the right to write to a directory of the store from others.
    fn close(&mut self, directory: &Path) -> Result<()> {
        match own::close_directory(directory) {
            Ok(None) => Ok(()),
            Ok(Some(mode)) => {
                let name = quoted(directory);
                let note = format!("{name} could be written by others (mode {mode:o}), no longer");
                self.notes.push(note);
                Ok(())
            }
            Err(error) if error.raw_os_error().is_none() => {
                let attempt = format!("use {} in a store", quoted(directory));
                Err(Error::new(attempt, error.to_string()).hint(
                    "a store is written by its owner only; others read it: hrun --store DIR NAME\n\
                     keep your own images in another one: himage --store DIR",
                ))
            }
            Err(error) => Err(failed("open the store", directory, &error)),
        }
    }

    /// Makes a store of one that was made before stores had a mark, when files of images could be
    /// written by others if the images said so.
    fn adopt(&self) -> Result<()> {
        let trees = self.directory.join("trees");
        own::change_modes(&trees, &|mode| mode & !own::OTHERS_WRITE)
            .map_err(|error| failed("close to others", &trees, &error))?;
        mark::write(&self.directory, false)
    }

    /// Lets others read the store: what it has, and what will come.
    ///
    /// # Errors
    ///
    /// Fails if a mode cannot be changed.
    pub fn share(&self, progress: &dyn Progress) -> Result<()> {
        let _present = self.present(progress)?;
        let fail = |error: io::Error| failed("open to others", &self.directory, &error);
        mark::write(&self.directory, true)?;
        own::change_modes(&self.directory, &own::readable).map_err(fail)
    }

    /// What the user should know of how the store was found.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waits until nobody sweeps the store.
    fn present(&self, progress: &dyn Progress) -> Result<Presence> {
        let wait = |holder: &str| {
            progress.note(&format!("waiting for {holder}, which removes images of the store"));
        };
        Presence::shared(&self.directory.join("lock"), &wait)
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Fetches an image, unpacks it, and gives it a name.
    ///
    /// # Errors
    ///
    /// Fails as the source fails, and if what it gives is not what its manifest says.
    pub fn add(
        &self,
        source: &dyn Source,
        name: Option<&Reference>,
        progress: &dyn Progress,
    ) -> Result<Stored> {
        let _present = self.present(progress)?;
        self.sweep_old();
        let image = source.image()?;
        let config = checked(&image)?;
        let digest = Digest::of(&image.manifest_bytes);
        let mut stored =
            Stored { digest, tree: self.tree(&digest), skipped: Vec::new(), was_there: true };
        let wait =
            |holder: &str| progress.note(&format!("waiting for {holder}, which is at this image"));
        let _lock = Lock::take(&self.unfinished(&digest, "tree.lock"), &wait)?;
        if !self.has_tree(&digest) {
            stored.skipped = self.fetch_and_unpack(source, &image, &config, progress)?;
            stored.was_there = false;
        }
        if let Some(name) = name {
            self.link(name, &digest)?;
        }
        Ok(stored)
    }

    fn fetch_and_unpack(
        &self,
        source: &dyn Source,
        image: &Described,
        config: &ImageConfiguration,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        self.put_blob(&image.manifest_bytes)?;
        self.put_blob(&image.config)?;
        let layers = image.manifest.layers();
        fetch::all(self, source, layers, progress, |arrivals| {
            tree::make(self, image, config.rootfs().diff_ids(), progress, &|index| {
                arrivals.wait_for(index)
            })
        })
    }

    /// Where an image is unpacked.
    pub fn tree(&self, digest: &Digest) -> PathBuf {
        self.directory.join("trees").join(digest.hex())
    }

    /// Whether it is unpacked.
    fn has_tree(&self, digest: &Digest) -> bool {
        self.tree(digest).symlink_metadata().is_ok_and(|found| found.is_dir())
    }

    /// Where a blob is kept.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        let found = self.blob(digest).symlink_metadata();
        found.is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// A directory for files without a name.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Gives an image's directory away, to a place where nothing is.
    ///
    /// # Errors
    ///
    /// Fails if something is there, or on another file system.
    pub fn hand_over(&self, digest: &Digest, dest: &Path) -> Result<()> {
        let made = fs::rename(self.tree(digest), dest);
        made.map_err(|error| failed("make", dest, &error))
    }

    /// A file for what is unfinished.
    fn unfinished(&self, digest: &Digest, kind: &str) -> PathBuf {
        self.directory.join("tmp").join(format!("{}.{kind}", digest.hex()))
    }

    /// A name in `tmp` that nobody else uses.
    fn passing(&self, kind: &str) -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host = nix::unistd::gethostname().unwrap_or_default();
        let name = format!("{}-{}-{number}.{kind}", host.display(), std::process::id());
        self.directory.join("tmp").join(name)
    }

    /// Keeps a small blob that is in memory.
    fn put_blob(&self, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        if self.has_blob(&digest, bytes.len() as u64) {
            return Ok(());
        }
        let part = self.passing("part");
        write(&part, bytes)?;
        self.keep_blob(&part, &digest)
    }

    /// Gives a blob that was verified its name. It may replace one: an equal one, or one whose size was wrong.
    fn keep_blob(&self, part: &Path, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        let kept = fs::rename(part, &path);
        // Not before: whoever takes up an unfinished one has to write to it.
        let closed = kept.and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o444)));
        closed.map_err(|error| failed("write", &path, &error))
    }
}

/// Writes a file that is only complete if it is there after a crash of the machine as well.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // What an earlier process of this number has left.
    let _ = fs::remove_file(path);
    let written = own::create(path).and_then(|mut file| {
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        failed("write", path, &error)
    })
}

/// Compares what a source says of an image with itself; gives back the configuration.
fn checked(image: &Described) -> Result<ImageConfiguration> {
    let manifest = &image.manifest;
    let found = Digest::of(&image.config);
    let size = image.config.len() as u64;
    digest::verify("the image's configuration", manifest.config(), found, size)?;
    let config = said::configuration(&image.config)?;
    let (layers, diffs) = (manifest.layers().len(), config.rootfs().diff_ids().len());
    if layers != diffs {
        let reason = format!("its manifest has {layers} layers, its configuration {diffs}");
        return Err(Error::new("use the image", reason));
    }
    Ok(config)
}
