//! OCI image layouts: blobs by digest, and an index of images; in a directory or an archive.
//!
//! skopeo's `dir:` is one without an index: one manifest, and blobs beside it.

use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use runtime::error::{Error, Result};
use runtime::reference::Reference;
use runtime::text::quoted;

use super::choice_hint;
use super::docker::descriptor;
use super::parts::Files;
use crate::digest::{self, Digest};
use crate::platform::{self, Platform};
use crate::said;
use crate::source::{Described, Source};

/// Where a layout and docker write what an image is called.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// How deep an index may lie in another one.
const DEPTH: usize = 4;

/// Digits of a digest that are shown, and the fewest that stand for it.
const SHOWN: usize = 12;
const ENOUGH: usize = 6;

/// A layout.
pub struct Layout {
    files: Box<dyn Files>,
    path: PathBuf,
    /// The directory of blobs, with a slash; nothing if they lie at the top.
    blobs: &'static str,
    /// The image's descriptor, of all there are.
    chosen: Descriptor,
}

impl Layout {
    /// Finds the image in a layout.
    ///
    /// # Errors
    ///
    /// Fails if there is none for this machine, or several and none was named.
    pub fn open(
        files: Box<dyn Files>,
        images: &[Descriptor],
        path: &Path,
        wanted: Option<&str>,
    ) -> Result<Self> {
        let blobs = "blobs/sha256/";
        let is_image = |image: &Descriptor| is_image(files.as_ref(), blobs, image);
        let chosen = Choice { images, path, is_image: &is_image }.choose(wanted)?;
        Ok(Layout { files, path: path.to_owned(), blobs, chosen })
    }

    /// The one image of a directory that skopeo writes as `dir:`.
    ///
    /// # Errors
    ///
    /// Fails if its manifest cannot be read.
    pub fn of_one(files: Box<dyn Files>, path: &Path) -> Result<Self> {
        let manifest = files.read("manifest.json")?;
        let kind = MediaType::Other(UNTOLD.to_owned());
        let chosen = descriptor(kind, manifest.len() as u64, &Digest::of(&manifest))?;
        let files = Box::new(OfOne(files, name("", &Digest::of(&manifest))));
        Ok(Layout { files, path: path.to_owned(), blobs: "", chosen })
    }

    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        let digest = Digest::wanted(blob)?;
        let bytes = self.files.read(&name(self.blobs, &digest))?;
        digest::verify(&format!("blob {digest}"), blob, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }
}

/// The type of a manifest of which only its bytes say what it is.
const UNTOLD: &str = "application/octet-stream";

/// The files of skopeo's `dir:`, in which the manifest has a name of its own.
struct OfOne(Box<dyn Files>, String);

impl Files for OfOne {
    fn open(&self, name: &str) -> Result<Option<super::parts::Part>> {
        self.0.open(if name == self.1 { "manifest.json" } else { name })
    }
}

impl Source for Layout {
    fn image(&self) -> Result<Described> {
        let mut image = self.chosen.clone();
        let mut manifest_bytes = self.read(&image)?;
        for _ in 0..DEPTH {
            if !is_index(&image, &manifest_bytes) {
                let manifest = said::manifest(&manifest_bytes)?;
                if let Some(what) = artifact(&manifest) {
                    let reason = format!("it is no image of a container, but {what}");
                    return Err(Error::new(attempt(&self.path), reason));
                }
                let config = self.read(manifest.config())?;
                let name = annotation(&self.chosen).map(str::to_owned);
                return Ok(Described { manifest_bytes, manifest, config, name });
            }
            let images = said::index(&manifest_bytes)?;
            let is_image = |image: &Descriptor| is_image(self.files.as_ref(), self.blobs, image);
            let choice = Choice { images: &images, path: &self.path, is_image: &is_image };
            image = choice.choose(None)?;
            manifest_bytes = self.read(&image)?;
        }
        Err(Error::new(attempt(&self.path), "its indexes lie in one another without end"))
    }

    fn blob(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let digest = Digest::wanted(blob)?;
        match self.files.open(&name(self.blobs, &digest))? {
            Some(part) => Ok(Box::new(part.from(from))),
            None => {
                let reason = format!("layer {digest} is missing in {}", quoted(&self.path));
                Err(Error::new("import the image", reason).hint("make or copy it again"))
            }
        }
    }
}

/// Where a layout has a blob.
fn name(blobs: &str, digest: &Digest) -> String {
    format!("{blobs}{}", digest.hex())
}

fn attempt(path: &Path) -> String {
    format!("import {}", quoted(path))
}

fn is_index(image: &Descriptor, bytes: &[u8]) -> bool {
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    match image.media_type() {
        MediaType::ImageIndex => true,
        MediaType::ImageManifest => false,
        MediaType::Other(other) if other == DOCKER => true,
        _ => said::is_index(bytes),
    }
}

/// What a manifest describes, if it is not the files of a container: a signature, a list of parts.
fn artifact(manifest: &ImageManifest) -> Option<String> {
    if let Some(kind) = manifest.artifact_type() {
        return Some(kind.to_string().escape_debug().to_string());
    }
    let types =
        [manifest.config()].into_iter().chain(manifest.layers()).map(Descriptor::media_type);
    let mut types = types.map(ToString::to_string);
    let config = types.next().unwrap_or_default();
    let is_config = ["oci.image.config", "docker.container.image", UNTOLD];
    let other = match is_config.iter().any(|known| config.contains(known)) {
        false => Some(config),
        // Every type of a layer names its archive, or is one of registries' first years.
        true => types.find(|kind| !kind.contains("tar") && kind != UNTOLD),
    };
    other.map(|kind| kind.escape_debug().to_string())
}

/// Whether something in an index is an image, or images for several machines; what cannot be read is
/// told when it is wanted.
fn is_image(files: &dyn Files, blobs: &str, image: &Descriptor) -> bool {
    let read = Digest::wanted(image).and_then(|digest| files.read(&name(blobs, &digest)));
    match read {
        Ok(bytes) if !is_index(image, &bytes) => {
            said::manifest(&bytes).is_ok_and(|manifest| artifact(&manifest).is_none())
        }
        _ => true,
    }
}

fn annotation(image: &Descriptor) -> Option<&str> {
    let annotations = image.annotations().as_ref()?;
    NAMES.iter().find_map(|key| annotations.get(*key)).map(String::as_str)
}

/// Whether an index says itself that something is kept beside images: buildkit's statements about
/// them, cosign's signatures, what refers to others.
fn is_beside(image: &Descriptor) -> bool {
    let said = |key: &str| image.annotations().as_ref().and_then(|said| said.get(key));
    let is_unknown =
        image.platform().as_ref().is_some_and(|found| found.os().to_string() == "unknown");
    let is_cosigns = said("kind").is_some_and(|kind| {
        kind.starts_with("dev.cosignproject.cosign/") && !kind.contains("/image")
    });
    is_unknown
        || is_cosigns
        || image.artifact_type().is_some()
        || said("vnd.docker.reference.type").is_some()
}

/// One image is chosen of those that an index has.
struct Choice<'a> {
    images: &'a [Descriptor],
    path: &'a Path,
    /// Reads what it is.
    is_image: &'a dyn Fn(&Descriptor) -> bool,
}

impl Choice<'_> {
    /// The one image that was named and runs here.
    fn choose(&self, wanted: Option<&str>) -> Result<Descriptor> {
        let mut all: Vec<&Descriptor> =
            self.images.iter().filter(|image| !is_beside(image)).collect();
        if all.len() > 1 {
            all.retain(|image| (self.is_image)(image));
        }
        if all.is_empty() {
            let reason = match self.images.len() {
                0 => "there is no image in it",
                _ => "there is no image of a container in it, only what is kept beside one",
            };
            return Err(Error::new(attempt(self.path), reason));
        }
        let named: Vec<Descriptor> = match wanted {
            Some(wanted) => {
                all.iter().filter(|image| is_called(image, wanted)).copied().cloned().collect()
            }
            None => all.iter().copied().cloned().collect(),
        };
        let Some(first) = named.first() else {
            let reason = format!("no image in it is called {}", wanted.unwrap_or_default());
            return Err(
                Error::new(attempt(self.path), reason).hint(format!("it has: {}", list(&all)))
            );
        };
        if named.iter().all(|image| image.digest() == first.digest()) && first.platform().is_none()
        {
            return Ok(first.clone());
        }
        let of_one_name = named.iter().all(|image| annotation(image) == annotation(first));
        let here = Platform::here();
        let several = |of: &[&Descriptor]| {
            Error::new(attempt(self.path), "there are several images in it")
                .hint(choice_hint(self.path, &list(of)))
        };
        match platform::choose(&named, &here) {
            Ok(chosen) if of_one_name => Ok(chosen.clone()),
            Err(platforms) if platforms.is_empty() => {
                Err(several(&named.iter().collect::<Vec<_>>()))
            }
            Err(platforms) => {
                let reason = format!("it has no image for {here}");
                Err(Error::new(attempt(self.path), reason)
                    .hint(format!("it is for: {}", platforms.join(" "))))
            }
            // Of several names, those that run here; one alone is meant.
            Ok(_) => self.one_that_runs(&named, &here).ok_or_else(|| several(&all)),
        }
    }

    fn one_that_runs(&self, named: &[Descriptor], here: &Platform) -> Option<Descriptor> {
        let runs = |image: &&Descriptor| {
            image.platform().as_ref().is_none_or(|found| {
                here.fits(&found.os().to_string(), &found.architecture().to_string())
            })
        };
        let mut fitting = named.iter().filter(runs);
        let first = fitting.next()?;
        fitting.all(|image| image.digest() == first.digest()).then(|| first.clone())
    }
}

/// Whether an image has a name: in full, as people write it, its tag, or its digest's first digits.
fn is_called(image: &Descriptor, wanted: &str) -> bool {
    let same = |name: &str| {
        name == wanted
            || Reference::parse(name).is_ok_and(|name| {
                Reference::parse(wanted).is_ok_and(|wanted| wanted == name)
                    || name.tag.as_deref() == Some(wanted)
            })
    };
    let (name, digest) = match wanted.split_once('@') {
        Some((name, digest)) => (Some(name), digest),
        None => (None, wanted),
    };
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    let is_digest = digits.len() >= ENOUGH && image.digest().digest().starts_with(digits);
    match name {
        Some(name) => is_digest && annotation(image).is_some_and(|own| own == name),
        None => is_digest || annotation(image).is_some_and(same),
    }
}

/// The images by their names; where a name is not one image's alone, with digits of their digests.
fn list(images: &[&Descriptor]) -> String {
    let call = |image: &&Descriptor| {
        let digits: String = image.digest().digest().chars().take(SHOWN).collect();
        let same = images.iter().filter(|other| annotation(other) == annotation(image)).count();
        match annotation(image) {
            Some(name) if same == 1 => name.to_owned(),
            Some(name) => format!("{name}@{digits}"),
            None => format!("sha256:{digits}"),
        }
    };
    images.iter().map(call).collect::<Vec<_>>().join(" ")
}
