//! What a store has.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use oci_spec::image::{ImageConfiguration, ImageManifest};
use runtime::error::{Error, Result};
use runtime::text::{nearest, quoted};

use super::{Store, remove};
use crate::digest::Digest;
use crate::failure::failed;
use crate::own;
use crate::reference::Reference;
use crate::said;

/// An image of a store.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its names, in order.
    pub names: Vec<Reference>,
    /// Its directory.
    pub tree: PathBuf,
    /// What it says of itself, if that can be read.
    pub contents: Result<Contents>,
}

/// What an image says of itself.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Its manifest.
    pub manifest: ImageManifest,
    /// Its configuration.
    pub config: ImageConfiguration,
}

impl Kept {
    /// The blobs it is made of: manifest, configuration, layers.
    pub fn blobs(&self) -> Vec<Digest> {
        let manifest = self.contents.iter().map(|contents| &contents.manifest);
        let parts = manifest.flat_map(|manifest| {
            [manifest.config()].into_iter().chain(manifest.layers()).collect::<Vec<_>>()
        });
        let parts = parts.filter_map(|blob| Digest::wanted(blob).ok());
        [self.digest].into_iter().chain(parts).collect()
    }
}

impl Contents {
    /// The size of its layers as they are stored.
    pub fn size(&self) -> u64 {
        self.manifest.layers().iter().map(|layer| layer.size()).sum()
    }
}

impl Store {
    /// All images, those with a name first, by name.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub fn images(&self) -> Result<Vec<Kept>> {
        let trees = self.directory.join("trees");
        let list = match own::names(&trees) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            list => list.map_err(|error| failed("list", &trees, &error))?,
        };
        let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        for (name, digest) in self.named()? {
            names.entry(digest).or_default().push(name);
        }
        let mut images = Vec::new();
        for name in list {
            if let Some(digest) = name.to_str().and_then(Digest::from_hex) {
                let names = names.remove(&digest).unwrap_or_default();
                let (tree, contents) = (self.tree(&digest), self.contents(&digest));
                images.push(Kept { digest, names, tree, contents });
            }
        }
        // One that was removed meanwhile is no broken one.
        images.retain(|kept| kept.contents.is_ok() || kept.tree.is_dir());
        images
            .sort_by_key(|kept| (kept.names.is_empty(), kept.names.first().cloned(), kept.digest));
        Ok(images)
    }

    /// The image of a name, or of a digest or its first six digits or more.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or if the digits fit several.
    pub fn find(&self, wanted: &str) -> Result<Kept> {
        let images = self.images()?;
        let name = Reference::parse(wanted).ok();
        let is_named = |kept: &&Kept| name.as_ref().is_some_and(|name| kept.names.contains(name));
        if let Some(kept) = images.iter().find(is_named) {
            return Ok(kept.clone());
        }
        let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let fits = |kept: &&Kept| digits.len() >= 6 && kept.digest.hex().starts_with(digits);
        let mut found = images.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(kept), None) => Ok(kept.clone()),
            (Some(_), Some(_)) => {
                let reason = "several images have a digest that begins like this";
                Err(Error::new(format!("find {wanted}"), reason).hint("write more of its digits"))
            }
            (None, _) => {
                let names: Vec<String> =
                    images.iter().flat_map(|kept| &kept.names).map(Reference::familiar).collect();
                let near = nearest(wanted, names.iter().map(String::as_str));
                Err(remove::unknown(self, wanted, near.map(str::to_owned)))
            }
        }
    }

    fn contents(&self, digest: &Digest) -> Result<Contents> {
        let tree = self.tree(digest);
        let remedy = || format!("himage remove {}, and get the image anew", digest.short());
        let read = |name: &str| {
            let path = tree.join(name);
            own::read(&path).map_err(|error| match error.kind() {
                // Another user's, who has not shared it.
                io::ErrorKind::PermissionDenied => failed("read", &path, &error),
                _ => failed("read", &path, &error).hint(remedy()),
            })
        };
        let broken = |name: &str, error: Error| {
            Error::new(format!("read {}", quoted(&tree.join(name))), error.cause).hint(remedy())
        };
        let manifest = said::manifest(&read("manifest.json")?)
            .map_err(|error| broken("manifest.json", error))?;
        let config = said::configuration(&read("image.json")?)
            .map_err(|error| broken("image.json", error))?;
        Ok(Contents { manifest, config })
    }
}
