//! Root directories, as they are and in archives: images of one layer that say nothing of themselves.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::sync::Arc;

use nix::errno::Errno;
use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageConfigurationBuilder, Os, RootFsBuilder,
};
use runtime::error::{Cause, Error, Result};
use runtime::text::quoted;

use super::docker::{described, descriptor, layer_type};
use super::parts::Part;
use super::tarball::Scanned;
use super::{Opening, nameless, spool};
use crate::compression::{self, Compression};
use crate::digest::{Digest, Hashing};
use crate::failure::failed;
use crate::pack;
use crate::platform::Platform;
use crate::said;
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
            .architecture(Arch::from(&*Platform::here().architecture))
            .os(Os::Linux)
            .rootfs(rootfs)
            .build()
            .map_err(|error| fail(error.to_string()))?,
    };
    // Sorted: the same directory has the same digest.
    let sorted = serde_json::to_value(&made).and_then(|value| serde_json::to_vec(&value));
    sorted.map_err(|error| fail(error.to_string()))
}

/// A root directory: debootstrap's, or the one below a directory that `himage` has made.
pub struct DirectoryImage(RootArchive);

impl DirectoryImage {
    /// Packs a directory into a layer.
    ///
    /// # Errors
    ///
    /// Fails if it is empty, or cannot be read.
    pub(super) fn open(opening: &Opening) -> Result<Self> {
        let beside = opening.path.join("image.json");
        let (root, said) = match fs::read(&beside) {
            Ok(json) if opening.path.join("rootfs").is_dir() => {
                let said = said::configuration(&json).map_err(|error| Error {
                    attempt: format!("read {}", quoted(&beside)),
                    ..error
                })?;
                (opening.path.join("rootfs"), Some(said))
            }
            _ => (opening.path.to_owned(), None),
        };
        let _task = opening.progress.begin(&format!("pack {}", quoted(&root)), None);
        let mut file = nameless(opening.scratch)?;
        let write = |error: io::Error| failed("write to", opening.scratch, &error);
        let encoder = zstd::Encoder::new(Hashing::new(&mut file), LEVEL).map_err(write)?;
        let mut sink = BufWriter::with_capacity(1 << 18, Hashing::new(encoder));
        pack::archive(&root, &mut sink).map_err(|error| match error.cause {
            Cause::Errno(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => write(errno.into()),
            _ => error,
        })?;
        let sink = sink.into_inner().map_err(|error| write(error.into_error()))?;
        let (encoder, plain, _) = sink.into_parts();
        let (digest, size) = encoder.finish().map_err(write)?.finish();
        let layer = Part::whole(file).map_err(write)?;
        let layers = vec![descriptor(layer_type(Compression::Zstd), size, &digest)?];
        let image = described(configuration(said, &plain)?, layers, None)?;
        Ok(DirectoryImage(RootArchive { layer, image }))
    }
}

impl Source for DirectoryImage {
    fn image(&self) -> Result<Described> {
        self.0.image()
    }

    fn blob(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        self.0.blob(blob, from)
    }
}
