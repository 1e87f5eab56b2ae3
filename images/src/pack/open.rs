//! An image of any form, as a tree of files.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use oci_spec::image::Descriptor;
use runtime::error::{Cause, Error, Result};
use runtime::look::magic::{self, Magic};
use runtime::look::{remedy, sif};
use runtime::sys::file;
use runtime::text::quoted;
use squashfs::{Budget, Flaw, Manner, Part, Squashfs};

use super::walk::walk;
use super::{Place, config};
use crate::compression;
use crate::digest::{self, Digest, Hashing};
use crate::failure::{cause, failed};
use crate::local::{self, Opening};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::said;
use crate::source::Source;
use crate::unpack::{self, Allowance, Form, Limits, Report};

/// An image's tree and what it says of itself.
#[derive(Clone, Debug)]
pub struct Image {
    root: PathBuf,
    config: Option<Vec<u8>>,
    left_out: Vec<String>,
    is_own: bool,
}

impl Image {
    /// An image whose tree is there already.
    pub fn of(tree: &Path, config: Option<&[u8]>) -> Self {
        Image {
            root: tree.to_path_buf(),
            config: config.map(<[u8]>::to_vec),
            left_out: Vec::new(),
            is_own: false,
        }
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its OCI configuration, if it has one.
    pub fn config(&self) -> Option<&[u8]> {
        self.config.as_deref()
    }

    /// What could not be made when it was unpacked.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Whether the tree was unpacked for this, and is nobody's otherwise.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }
}

/// Opens an image: a directory as it is; anything else is unpacked beside the place that something
/// is made for.
///
/// # Errors
///
/// Fails if it is no image, or cannot be read or unpacked.
pub fn open(
    from: &Path,
    place: &Place,
    allowance: Allowance,
    progress: &dyn Progress,
) -> Result<Image> {
    let metadata = from.metadata().map_err(|error| failed("read", from, &error))?;
    let kind = match metadata.is_dir() {
        true if local::has_layers(from)? => Kind::Layers,
        true => return config::of_directory(from),
        false => kind(from, progress)?,
    };
    let root = place.scratch().join("tree");
    fs::create_dir(&root).map_err(|error| failed("make", &root, &error))?;
    let left_out = match kind {
        Kind::Squashfs(offset) => {
            unpack_squashfs(from, offset, Limits::stored(metadata.len(), allowance), &root)?
        }
        Kind::Archive => unpack_archive(from, Limits::stored(metadata.len(), allowance), &root)?,
        Kind::Layers => {
            let opening = Opening { path: from, image: None, scratch: place.scratch(), progress };
            return unpack_source(local::open(&opening)?.as_ref(), &root, allowance);
        }
    };
    let config = config::take_inner(&root)?;
    Ok(Image { root, config, left_out, is_own: true })
}

/// What a file is, by its first bytes.
enum Kind {
    /// A squashfs file, or one inside of it from a byte on.
    Squashfs(u64),
    /// An archive of a tree, compressed or not, or none at all.
    Archive,
    /// An archive or a layout of layers.
    Layers,
}

fn kind(path: &Path, progress: &dyn Progress) -> Result<Kind> {
    let mut start = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(magic::SIZE as u64).read_to_end(&mut start));
    read.map_err(|error| failed("read", path, &error))?;
    let attempt = || format!("read the image {}", quoted(path));
    match Magic::of(&start) {
        Some(Magic::Squashfs(at)) => Ok(Kind::Squashfs(at)),
        Some(Magic::Ext(at)) => Err(Error::new(attempt(), remedy::EXT).hint(remedy::ext(path, at))),
        Some(Magic::Sif) => {
            let file =
                file::File::open_regular(path).map_err(|errno| unreadable(path, errno.into()))?;
            let partition = sif::find(&file).map_err(|flaw| {
                Error::new(attempt(), flaw.to_string()).hint(remedy::sif(&flaw, path))
            })?;
            if let Some(other) = partition.architecture.filter(|other| !other.runs_here()) {
                let here = Platform::here();
                progress.note(&format!(
                    "{} is for {}; this machine is {here}",
                    quoted(path),
                    other.name
                ));
            }
            Ok(Kind::Squashfs(partition.offset))
        }
        None if local::has_layers(path)? => Ok(Kind::Layers),
        None => Ok(Kind::Archive),
    }
}

fn unpack_squashfs(path: &Path, offset: u64, limits: Limits, root: &Path) -> Result<Vec<String>> {
    let source = file::File::open_regular(path).map_err(|errno| unreadable(path, errno.into()))?;
    let flawed = |flaw: Flaw| match flaw {
        Flaw::Unreadable(errno) => unreadable(path, errno.into()),
        flaw => Error::new(format!("read the image {}", quoted(path)), flaw.to_string())
            .hint(remedy::squashfs(flaw, path, offset)),
    };
    let source = Box::new(Part { source, offset });
    let image = Squashfs::open(source, Budget::default()).map_err(flawed)?;
    let into = File::open(root).map_err(|error| failed("open", root, &error))?;
    let limit = limits.bytes;
    let written = AtomicU64::new(0);
    let goes_on = |more| written.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= limit;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let manner = Manner { threads, keeps_set_ids: false, goes_on: &goes_on };
    let left_out = image.extract(into.as_fd(), manner).map_err(|stop| match stop.cause {
        squashfs::Cause::Unwanted => {
            unpack::too_large(format!("read the image {}", quoted(path)), &limits)
        }
        _ => unreadable(path, stop.to_string().into()),
    })?;
    // As layers are unpacked: their owner can remove them.
    walk(root, &mut |inner, metadata| {
        if !metadata.is_dir() || metadata.mode() & 0o200 != 0 {
            return Ok(());
        }
        let path = root.join(inner);
        let mode = Permissions::from_mode(metadata.mode() & 0o7777 | 0o200);
        fs::set_permissions(&path, mode).map_err(|error| failed("change", &path, &error))
    })?;
    let devices = left_out.devices.iter().map(|path| format!("{path:?} (a device)"));
    Ok(devices.collect())
}

fn unpack_archive(path: &Path, limits: Limits, root: &Path) -> Result<Vec<String>> {
    let file = File::open(path).map_err(|error| failed("read", path, &error))?;
    let (_, mut stream) =
        compression::decoder(file).map_err(|error| failed("read", path, &error))?;
    let mut report = Report::within(limits);
    unpack::archive(&mut stream, Form::Plain, root, &mut report)?;
    unpack::finish(root, &mut report)?;
    Ok(report.left_out())
}

/// Unpacks the layers of an image into a directory that is empty, and compares their digests.
///
/// # Errors
///
/// Fails if a layer is not what the manifest or the configuration says, or cannot be unpacked.
pub fn unpack_source(source: &dyn Source, root: &Path, allowance: Allowance) -> Result<Image> {
    let image = source.image()?;
    let layers = image.manifest.layers();
    let config = said::configuration(&image.config)?;
    let diffs = config.rootfs().diff_ids();
    if diffs.len() != layers.len() {
        let reason = format!("it has {} layers, and names {}", layers.len(), diffs.len());
        return Err(Error::new("unpack the image", reason));
    }
    let mut report =
        Report::within(Limits::stored(layers.iter().map(Descriptor::size).sum(), allowance));
    for (layer, diff) in layers.iter().zip(diffs) {
        let what = format!("layer {}", layer.digest());
        let fail = |error: io::Error| Error::new(format!("read {what}"), cause(&error));
        let mut stored = Hashing::new(source.blob(layer, 0)?);
        let (_, decoder) = compression::decoder(&mut stored).map_err(fail)?;
        let mut contents = Hashing::new(decoder);
        unpack::layer(&mut contents, root, &mut report)?;
        let found = contents.finish().0;
        io::copy(&mut stored, &mut io::sink()).map_err(fail)?;
        let (digest, size) = stored.finish();
        digest::verify(&what, layer, digest, size)?;
        if found != Digest::parse(diff)? {
            let reason = format!("unpacked, its digest is {found} and should be {diff}");
            return Err(Error::new(format!("use {what}"), reason));
        }
    }
    unpack::finish(root, &mut report)?;
    Ok(Image {
        root: root.to_path_buf(),
        config: Some(said::strict_configuration(&image.config)?),
        left_out: report.left_out(),
        is_own: true,
    })
}

fn unreadable(path: &Path, cause: Cause) -> Error {
    let hint = match cause {
        Cause::Errno(Errno::EACCES) => "ask its owner to let you read it",
        _ => "copy or make it again if it should be sound",
    };
    Error::new(format!("read the image {}", quoted(path)), cause).hint(hint)
}
