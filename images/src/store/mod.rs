//! The directory in which images are kept, by digest and by name.

use std::path::{Path, PathBuf};

use runtime::error::{Error, Result};

use crate::digest::Digest;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::source::Source;

/// A directory in which images are kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
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

impl Store {
    /// Opens a store; makes it if it is not there.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be made, or holds something else.
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Store { directory: directory.to_owned() })
    }

    /// Fetches an image, unpacks it, and gives it a name.
    ///
    /// # Errors
    ///
    /// Fails as the source fails, and if what it gives is not what its manifest says.
    pub fn add(
        &self,
        _source: &dyn Source,
        _name: Option<&Reference>,
        _progress: &dyn Progress,
    ) -> Result<Stored> {
        Err(Error::new(format!("add to {}", self.directory.display()), "not written yet"))
    }
}
