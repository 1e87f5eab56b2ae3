//! An image of any form, as a tree of files.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::image::{Descriptor, ImageConfiguration};
use runtime::error::{Cause, Error, Result};
use runtime::look::sif;
use runtime::sys::file;
use runtime::text::quoted;
use squashfs::{Budget, Flaw, Part, Squashfs};

use super::{Place, config};
use crate::compression;
use crate::digest::{self, Digest, Hashing};
use crate::failure::{cause, failed};
use crate::source::Source;
use crate::unpack::{self, Form, Limits, Report};

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
    _progress: &dyn crate::progress::Progress,
) -> Result<Image> {
    let metadata = from.metadata().map_err(|error| failed("read", from, &error))?;
    let kind = match metadata.is_dir() {
        true if from.join("oci-layout").is_file() => Kind::Layers,
        true => return config::of_directory(from),
        false => kind(from)?,
    };
    let root = place.scratch().join("tree");
    fs::create_dir(&root).map_err(|error| failed("make", &root, &error))?;
    let left_out = match kind {
        Kind::Squashfs(offset) => unpack_squashfs(from, offset, &root)?,
        Kind::Archive => unpack_archive(from, metadata.len(), &root)?,
        Kind::Layers => {
            let hint = "import it into a store: himage import";
            let attempt = format!("convert {}", quoted(from));
            return Err(Error::new(attempt, "its layers are not read here yet").hint(hint));
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

fn kind(path: &Path) -> Result<Kind> {
    let fail = |error: io::Error| failed("read", path, &error);
    let mut start = Vec::new();
    let mut file = File::open(path).map_err(fail)?;
    file.by_ref().take(64).read_to_end(&mut start).map_err(fail)?;
    if start.starts_with(&squashfs::MAGIC) {
        return Ok(Kind::Squashfs(0));
    }
    if start.get(sif::MAGIC_AT..).is_some_and(|rest| rest.starts_with(sif::MAGIC)) {
        let file =
            file::File::open_regular(path).map_err(|errno| unreadable(path, errno.into()))?;
        let partition = sif::find(&file);
        let partition = partition.map_err(|flaw| unreadable(path, flaw.to_string().into()))?;
        return Ok(Kind::Squashfs(partition.offset));
    }
    file.rewind().map_err(fail)?;
    let (_, mut stream) = compression::decoder(file).map_err(fail)?;
    let mut start = Vec::new();
    // A stream that is broken is told when it is unpacked.
    let _ = stream.by_ref().take(START).read_to_end(&mut start);
    Ok(if has_layers(&start) { Kind::Layers } else { Kind::Archive })
}

/// What is read of an archive to know what it holds: its first headers.
const START: u64 = 8 << 10;

/// Whether an archive begins as those of layers do: with what no root directory has.
fn has_layers(start: &[u8]) -> bool {
    let mut archive = tar::Archive::new(start);
    let Ok(mut entries) = archive.entries() else { return false };
    let first = entries.find_map(|entry| {
        let name = entry.ok()?.path_bytes().into_owned();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        let top = name.split(|byte| *byte == b'/').next()?;
        (!top.is_empty()).then(|| String::from_utf8_lossy(top).into_owned())
    });
    first.is_some_and(|name| {
        let digits = name.trim_end_matches(".json").trim_end_matches(".tar");
        let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        const NAMES: [&str; 5] =
            ["blobs", "oci-layout", "index.json", "manifest.json", "repositories"];
        is_digest || NAMES.contains(&name.as_str())
    })
}

fn unpack_squashfs(path: &Path, offset: u64, root: &Path) -> Result<Vec<String>> {
    let source = file::File::open_regular(path).map_err(|errno| unreadable(path, errno.into()))?;
    let flawed = |flaw: Flaw| unreadable(path, flaw.to_string().into());
    let image =
        Squashfs::open(Box::new(Part { source, offset }), Budget::default()).map_err(flawed)?;
    let into = File::open(root).map_err(|error| failed("open", root, &error))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let manner = squashfs::Manner { threads, keeps_set_ids: false, goes_on: &|_| true };
    let left_out = image.extract(into.as_fd(), manner);
    let left_out = left_out.map_err(|stop| unreadable(path, stop.to_string().into()))?;
    let devices = left_out.devices.iter().map(|path| format!("{path:?} (a device)"));
    Ok(devices.collect())
}

fn unpack_archive(path: &Path, size: u64, root: &Path) -> Result<Vec<String>> {
    let file = File::open(path).map_err(|error| failed("read", path, &error))?;
    let (_, mut stream) =
        compression::decoder(file).map_err(|error| failed("read", path, &error))?;
    let mut report = Report::within(Limits::stored(size));
    unpack::archive(&mut stream, Form::Plain, root, &mut report)?;
    unpack::finish(root, &mut report)?;
    Ok(report.skipped)
}

/// Unpacks the layers of an image into a directory that is empty, and compares their digests.
///
/// # Errors
///
/// Fails if a layer is not what the manifest or the configuration says, or cannot be unpacked.
pub fn unpack_source(source: &dyn Source, root: &Path) -> Result<Image> {
    let image = source.image()?;
    let layers = image.manifest.layers();
    let config: ImageConfiguration = serde_json::from_slice(&image.config)
        .map_err(|error| Error::new("read the image's configuration", error.to_string()))?;
    let diffs = config.rootfs().diff_ids();
    if diffs.len() != layers.len() {
        let reason = format!("it has {} layers, and names {}", layers.len(), diffs.len());
        return Err(Error::new("unpack the image", reason));
    }
    let mut report = Report::within(Limits::stored(layers.iter().map(Descriptor::size).sum()));
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
        config: Some(image.config),
        left_out: report.skipped,
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
