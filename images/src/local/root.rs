//! Root directories, as they are and in archives: images of one layer that say nothing of themselves.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::{
    Descriptor, ImageConfiguration, ImageConfigurationBuilder, Os, RootFsBuilder,
};
use runtime::error::{Error, Result};

use super::docker::{described, descriptor, layer_type};
use super::parts::Part;
use super::tarball::Scanned;
use super::{Opening, platform, spool};
use crate::compression::{self, Compression};
use crate::digest::{Digest, Hashing};
use crate::failure::failed;
use crate::source::{Described, Source};

/// Quick, and a third of the size.
const LEVEL: i32 = 1;

/// An archive of a root directory, which becomes a layer as it is.
pub struct RootArchive {
    layer: Part,
    image: Described,
}

impl RootArchive {
    /// An archive that is not compressed.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub(super) fn plain(opening: &Opening, file: Arc<File>) -> Result<Self> {
        let fail = |error: io::Error| failed("read", opening.path, &error);
        let file = file.try_clone().map_err(fail)?;
        let layer = Part::whole(file).map_err(fail)?;
        let mut hashing = Hashing::new(layer.clone());
        io::copy(&mut hashing, &mut io::sink()).map_err(fail)?;
        let (digest, size) = hashing.finish();
        RootArchive::new(layer, Compression::None, &digest, size, &digest)
    }

    /// A compressed archive; layers are compressed by gzip or zstd only.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, or compressed anew.
    pub(super) fn compressed(
        opening: &Opening,
        mut file: File,
        compression: Compression,
        scanned: &Scanned,
    ) -> Result<Self> {
        let fail = |error: io::Error| failed("read", opening.path, &error);
        if matches!(compression, Compression::Gzip | Compression::Zstd) {
            let layer = Part::whole(file).map_err(fail)?;
            let (packed, size) = (&scanned.packed, scanned.size);
            return RootArchive::new(layer, compression, packed, size, &scanned.plain);
        }
        io::Seek::rewind(&mut file).map_err(fail)?;
        let (_, decoder) = compression::decoder(file).map_err(fail)?;
        let encoder = zstd::stream::read::Encoder::new(decoder, LEVEL).map_err(fail)?;
        let mut packed = Hashing::new(encoder);
        let file = spool(opening, "it again, to compress it by zstd", &mut packed)?;
        let (digest, size) = packed.finish();
        let layer = Part::whole(file).map_err(fail)?;
        RootArchive::new(layer, Compression::Zstd, &digest, size, &scanned.plain)
    }

    fn new(
        layer: Part,
        compression: Compression,
        packed: &Digest,
        size: u64,
        plain: &Digest,
    ) -> Result<Self> {
        let layers = vec![descriptor(layer_type(compression), size, packed)?];
        let image = described(configuration(None, plain)?, layers, None)?;
        Ok(RootArchive { layer, image })
    }
}

impl Source for RootArchive {
    fn image(&self) -> Result<Described> {
        Ok(self.image.clone())
    }

    fn blob(&self, _: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.layer.clone().from(from)))
    }
}

/// What an image of one layer says of itself: nothing, but what the directory beside its tree said.
fn configuration(said: Option<ImageConfiguration>, layer: &Digest) -> Result<Vec<u8>> {
    let fail = |reason: String| Error::new("make the image's configuration", reason);
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![layer.to_string()]);
    let rootfs = rootfs.build().map_err(|error| fail(error.to_string()))?;
    let made = match said {
        Some(mut said) => {
            said.set_rootfs(rootfs).set_history(None);
            said
        }
        None => ImageConfigurationBuilder::default()
            .architecture(platform::architecture())
            .os(Os::Linux)
            .rootfs(rootfs)
            .build()
            .map_err(|error| fail(error.to_string()))?,
    };
    // Sorted: the same directory has the same digest.
    let sorted = serde_json::to_value(&made).and_then(|value| serde_json::to_vec(&value));
    sorted.map_err(|error| fail(error.to_string()))
}
