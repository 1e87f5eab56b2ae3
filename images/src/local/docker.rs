//! Archives of `docker save` and `podman save`: layers as they are unpacked, and no manifest.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr as _;

use oci_spec::image::{Descriptor, ImageManifest, MediaType, Sha256Digest};
use runtime::error::{Error, Result};
use runtime::reference::Reference;
use runtime::text::quoted;

use super::choice_hint;
use super::parts::Files;
use crate::compression::Compression;
use crate::digest::{Digest, Hashing};
use crate::failure::failed;
use crate::said::{self, Listed};
use crate::source::{Described, Source};

/// An archive of docker's.
pub struct DockerArchive {
    files: Box<dyn Files>,
    image: Described,
    /// Where the layer of a digest is.
    layers: HashMap<Digest, String>,
}

impl DockerArchive {
    /// Finds the image in an archive, and makes the manifest it lacks.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or several and none was named.
    pub fn open(files: Box<dyn Files>, path: &Path, wanted: Option<&str>) -> Result<Self> {
        let listed = said::listed(&files.read("manifest.json")?)?;
        let listed = choose(&listed, path, wanted)?;
        let config = files.read(&listed.config)?;
        let read = said::configuration(&config)?;
        let diffs = read.rootfs().diff_ids();
        let mut layers = HashMap::new();
        let mut descriptors = Vec::new();
        for (index, name) in listed.layers.iter().enumerate() {
            let descriptor = describe(files.as_ref(), name, diffs.get(index), path)?;
            layers.insert(Digest::wanted(&descriptor)?, name.clone());
            descriptors.push(descriptor);
        }
        let image = described(config, descriptors, listed.repo_tags.first())?;
        Ok(DockerArchive { files, image, layers })
    }
}

impl Source for DockerArchive {
    fn image(&self) -> Result<Described> {
        Ok(self.image.clone())
    }

    fn blob(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let digest = Digest::wanted(blob)?;
        let part = match self.layers.get(&digest) {
            Some(name) => self.files.open(name)?,
            None => None,
        };
        match part {
            Some(part) => Ok(Box::new(part.from(from))),
            None => Err(Error::new(format!("find layer {digest}"), "the archive does not have it")),
        }
    }
}

/// An image with a manifest made for it.
///
/// # Errors
///
/// Fails if the manifest cannot be written.
pub fn described(
    config: Vec<u8>,
    layers: Vec<Descriptor>,
    name: Option<&String>,
) -> Result<Described> {
    let size = config.len() as u64;
    let config_descriptor = descriptor(MediaType::ImageConfig, size, &Digest::of(&config))?;
    let manifest: ImageManifest = oci_spec::image::ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(config_descriptor)
        .layers(layers)
        .build()
        .map_err(|error| Error::new("make a manifest", error.to_string()))?;
    let manifest_bytes = serde_json::to_vec(&manifest)
        .map_err(|error| Error::new("make a manifest", error.to_string()))?;
    Ok(Described { manifest_bytes, manifest, config, name: name.cloned() })
}

/// A descriptor of a blob.
///
/// # Errors
///
/// Never: a digest of ours is one of theirs.
pub fn descriptor(kind: MediaType, size: u64, digest: &Digest) -> Result<Descriptor> {
    let theirs = Sha256Digest::from_str(&digest.hex());
    let theirs = theirs.map_err(|error| Error::new("make a manifest", error.to_string()))?;
    Ok(Descriptor::new(kind, size, theirs))
}

/// The kind of a layer by its compression.
pub fn layer_type(compression: Compression) -> MediaType {
    match compression {
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
        _ => MediaType::ImageLayer,
    }
}

/// Describes a layer: by the digest the configuration has of it, if it is not compressed.
fn describe(
    files: &dyn Files,
    name: &str,
    diff: Option<&String>,
    path: &Path,
) -> Result<Descriptor> {
    let Some(part) = files.open(name)? else {
        return Err(Error::new(format!("import {}", quoted(path)), format!("{name} is missing"))
            .hint("the archive is not complete; make or copy it again"));
    };
    let size = part.size;
    let mut start = Vec::new();
    let fail = |error: io::Error| failed("read", path, &error);
    part.clone().take(6).read_to_end(&mut start).map_err(fail)?;
    let compression = Compression::of(&start);
    let digest = match (compression, diff) {
        (Compression::None, Some(diff)) => Digest::parse(diff)?,
        _ => {
            let mut hashing = Hashing::new(part);
            io::copy(&mut hashing, &mut io::sink()).map_err(fail)?;
            hashing.finish().0
        }
    };
    descriptor(layer_type(compression), size, &digest)
}

fn choose<'a>(listed: &'a [Listed], path: &Path, wanted: Option<&str>) -> Result<&'a Listed> {
    let attempt = || format!("import {}", quoted(path));
    // One without a name is known by its configuration, whose file is called by its digest.
    let names = |image: &Listed| match image.repo_tags.as_slice() {
        [] => vec![image.config.clone()],
        tags => tags.to_vec(),
    };
    let list = || listed.iter().flat_map(names).collect::<Vec<_>>().join(" ");
    let is_called = |image: &&Listed, wanted: &str| {
        let same = |name: &String| {
            let read = Reference::parse(name).ok();
            name == wanted || read.is_some() && read == Reference::parse(wanted).ok()
        };
        let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        image.repo_tags.iter().any(same)
            || image.config == wanted
            || digits.len() >= 6
                && image.config.rsplit(['/', ':']).any(|name| name.starts_with(digits))
    };
    match (wanted, listed) {
        (_, []) => Err(Error::new(attempt(), "there is no image in it")),
        (None, [one]) => Ok(one),
        (None, _) => Err(Error::new(attempt(), "there are several images in it")
            .hint(choice_hint(path, &list()))),
        (Some(wanted), _) => {
            listed.iter().find(|image| is_called(image, wanted)).ok_or_else(|| {
                Error::new(attempt(), format!("no image in it is called {wanted}"))
                    .hint(format!("it has: {}", list()))
            })
        }
    }
}
