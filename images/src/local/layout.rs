//! OCI image layouts: blobs by digest, and an index of images; in a directory or an archive.

use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use runtime::error::{Error, Result};
use runtime::reference::Reference;
use runtime::text::quoted;

use super::parts::Files;
use super::platform;
use crate::digest::{self, Digest};
use crate::source::{Described, Source};

/// Where a layout and docker write what an image is called.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// How deep an index may lie in another one.
const DEPTH: usize = 4;

/// A layout.
pub struct Layout {
    files: Box<dyn Files>,
    path: PathBuf,
    /// The image's descriptor, of all there are.
    chosen: Descriptor,
}

impl Layout {
    /// Finds the image in a layout.
    ///
    /// # Errors
    ///
    /// Fails if there is none for this machine, or several and none was named.
    pub fn open(files: Box<dyn Files>, path: &Path, wanted: Option<&str>) -> Result<Self> {
        let index: ImageIndex = json(&files.read("index.json")?, "index.json")?;
        let chosen = choose(index.manifests(), path, wanted)?.clone();
        Ok(Layout { files, path: path.to_owned(), chosen })
    }

    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        let digest = Digest::wanted(blob)?;
        let bytes = self.files.read(&name(&digest))?;
        digest::verify(&format!("blob {digest}"), blob, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }
}

impl Source for Layout {
    fn image(&self) -> Result<Described> {
        let mut image = self.chosen.clone();
        let mut manifest_bytes = self.read(&image)?;
        for _ in 0..DEPTH {
            if !is_index(&image, &manifest_bytes) {
                let manifest: ImageManifest = json(&manifest_bytes, "the image's manifest")?;
                let config = self.read(manifest.config())?;
                let name = annotation(&self.chosen).map(str::to_owned);
                return Ok(Described { manifest_bytes, manifest, config, name });
            }
            let index: ImageIndex = json(&manifest_bytes, "an index of images")?;
            image = choose(index.manifests(), &self.path, None)?.clone();
            manifest_bytes = self.read(&image)?;
        }
        Err(Error::new(attempt(&self.path), "its indexes lie in one another without end"))
    }

    fn blob(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let digest = Digest::wanted(blob)?;
        match self.files.open(&name(&digest))? {
            Some(part) => Ok(Box::new(part.from(from))),
            None => {
                let reason = format!("layer {digest} is missing in {}", quoted(&self.path));
                Err(Error::new("import the image", reason).hint("make or copy it again"))
            }
        }
    }
}

/// Where a layout has a blob.
fn name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn attempt(path: &Path) -> String {
    format!("import {}", quoted(path))
}

fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T> {
    let read = serde_json::from_slice(bytes);
    read.map_err(|error| Error::new(format!("read {what}"), error.to_string()))
}

fn is_index(image: &Descriptor, bytes: &[u8]) -> bool {
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    match image.media_type() {
        MediaType::ImageIndex => true,
        MediaType::ImageManifest => false,
        MediaType::Other(other) if other == DOCKER => true,
        _ => serde_json::from_slice::<ImageIndex>(bytes).is_ok(),
    }
}

fn annotation(image: &Descriptor) -> Option<&str> {
    let annotations = image.annotations().as_ref()?;
    NAMES.iter().find_map(|key| annotations.get(*key)).map(String::as_str)
}

/// The one image that was named and runs here.
fn choose<'a>(
    images: &'a [Descriptor],
    path: &Path,
    wanted: Option<&str>,
) -> Result<&'a Descriptor> {
    let is_image = |image: &&Descriptor| {
        // What buildkit keeps beside images: statements about them, for no platform.
        platform::named(image).as_deref() != Some("unknown/unknown")
    };
    let all: Vec<&Descriptor> = images.iter().filter(is_image).collect();
    let named: Vec<&Descriptor> = match wanted {
        Some(wanted) => all.iter().copied().filter(|image| is_called(image, wanted)).collect(),
        None => all.clone(),
    };
    let fitting: Vec<&Descriptor> =
        named.iter().copied().filter(|image| platform::fits(image)).collect();
    let one = fitting.first().filter(|first| {
        fitting.iter().all(|image| image.digest() == first.digest())
            || fitting.iter().all(|image| image.platform().is_some())
                && fitting.iter().all(|image| annotation(image) == annotation(first))
    });
    one.copied().ok_or_else(|| no_choice(&all, &named, &fitting, path, wanted))
}

/// Whether an image has a name: in full, as people write it, its tag or its digest.
fn is_called(image: &Descriptor, wanted: &str) -> bool {
    let same = |name: &str| {
        name == wanted
            || Reference::parse(name).is_ok_and(|name| {
                Reference::parse(wanted).is_ok_and(|wanted| wanted == name)
                    || name.tag.as_deref() == Some(wanted)
            })
    };
    annotation(image).is_some_and(same) || image.digest().to_string() == wanted
}

fn no_choice(
    all: &[&Descriptor],
    named: &[&Descriptor],
    fitting: &[&Descriptor],
    path: &Path,
    wanted: Option<&str>,
) -> Error {
    let call = |image: &&Descriptor| match annotation(image) {
        Some(name) => name.to_owned(),
        None => image.digest().to_string(),
    };
    let list = |images: &[&Descriptor]| images.iter().map(call).collect::<Vec<_>>().join(" ");
    if all.is_empty() {
        return Error::new(attempt(path), "there is no image in it");
    }
    if named.is_empty() {
        let reason = format!("no image in it is called {}", wanted.unwrap_or_default());
        return Error::new(attempt(path), reason).hint(format!("it has: {}", list(all)));
    }
    if fitting.is_empty() {
        let platforms: Vec<String> =
            named.iter().filter_map(|image| platform::named(image)).collect();
        let reason = format!("it has no image for linux/{}", platform::architecture());
        return Error::new(attempt(path), reason)
            .hint(format!("it is for: {}", platforms.join(" ")));
    }
    Error::new(attempt(path), "there are several images in it")
        .hint(format!("choose one: --image NAME, of {}", list(fitting)))
}
