//! Where an image comes from: a registry, an archive, a layout, a tree.

use std::io::Read;

use oci_spec::image::{Descriptor, ImageManifest};
use runtime::error::Result;

/// An image as its source describes it; nothing of it is unpacked.
#[derive(Clone, Debug)]
pub struct Described {
    /// The manifest, byte for byte: its SHA-256 is the image's digest.
    pub manifest_bytes: Vec<u8>,
    /// The same, read.
    pub manifest: ImageManifest,
    /// The image's configuration (`application/vnd.oci.image.config.v1+json`), byte for byte.
    pub config: Vec<u8>,
    /// What the source itself calls the image: the tag in an archive, the reference of a registry.
    pub name: Option<String>,
}

/// Where an image comes from.
pub trait Source: Sync {
    /// The image for this machine: of several architectures, the one that runs here.
    ///
    /// # Errors
    ///
    /// Fails if there is no such image, if there are several and none was named, or if what is
    /// there does not have the digest or the size it should have.
    fn image(&self) -> Result<Described>;

    /// The bytes of a blob (a layer as it is stored, compressed or not), from an offset on.
    ///
    /// Who reads them compares size and digest; a source may give fewer bytes and end, as a
    /// connection does that is cut.
    ///
    /// # Errors
    ///
    /// Fails if the source does not have the blob.
    fn blob(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>>;
}
