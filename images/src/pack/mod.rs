//! Images in other forms: a directory, a squashfs file, a tar archive, an OCI layout.
//!
//! Whatever an image comes from, it is a tree of files first, and what it says of itself; each form
//! is then written from these. The configuration lies beside a directory (`image.json` and
//! `rootfs`), in an OCI layout as its configuration, and in a squashfs file or a tar archive as
//! `/.hrun/image.json`.

mod config;
mod copy;
mod held;
mod holes;
mod machine;
mod oci;
mod open;
mod place;
mod scratch;
mod squashfs;
mod tar;
mod walk;

use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use runtime::error::{Error, Result};
use runtime::text::quoted;

pub use self::held::held_config;
pub use self::open::{Image, open, unpack_source};
pub use self::place::Place;
pub use self::scratch::abandon;
use crate::failure::failed;
use crate::own;

/// Where an image that is one file has its configuration.
pub const INNER_CONFIG: &str = ".hrun/image.json";

/// What an image is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A directory: the tree, or a bundle of `rootfs` and `image.json`.
    Directory,
    /// A squashfs file.
    Squashfs,
    /// An archive of the tree.
    Tar,
    /// An OCI image layout, a directory.
    Oci,
    /// What `docker load` reads.
    DockerArchive,
}

/// What bytes are compressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// lz4; squashfs files only.
    Lz4,
    /// Nothing.
    None,
}

impl Form {
    /// Whether it is a directory, and no file.
    pub fn is_directory(self) -> bool {
        matches!(self, Form::Directory | Form::Oci)
    }
}

/// How an image is written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What it is compressed by, where the form is not compressed by something of its own choice.
    pub compressor: Option<Compressor>,
    /// Whether what is in its place is replaced.
    pub replaces: bool,
    /// Where what is needed on the way is put, if not beside the place; a directory never is.
    pub scratch: Option<PathBuf>,
    /// How many processors `mksquashfs` takes; those this process may use, if nothing is said.
    pub processors: Option<usize>,
    /// How much memory `mksquashfs` takes for what it reads and writes, in bytes.
    pub memory: Option<u64>,
    /// Hears what the user should know.
    pub note: Option<fn(&str)>,
}

impl Options {
    fn note(&self, text: &str) {
        if let Some(note) = self.note {
            note(text);
        }
    }
}

/// The mode that a directory has in an image, if everybody may write to it there (`/tmp`). On disk it
/// is closed to others as all else is, and its sticky bit tells what it was.
fn everybodys(metadata: &Metadata) -> Option<u32> {
    const STICKY: u32 = 0o1000;
    let mode = metadata.mode() & 0o7777;
    (metadata.is_dir() && mode & STICKY != 0).then_some(mode | 0o777)
}

/// The words that name forms and compressors, and what they name.
pub const FORMS: &[(&str, Form)] = &[
    ("dir", Form::Directory),
    ("squashfs", Form::Squashfs),
    ("tar", Form::Tar),
    ("oci", Form::Oci),
    ("docker-archive", Form::DockerArchive),
];
/// See [`FORMS`].
pub const COMPRESSORS: &[(&str, Compressor)] = &[
    ("zstd", Compressor::Zstd),
    ("gzip", Compressor::Gzip),
    ("xz", Compressor::Xz),
    ("lz4", Compressor::Lz4),
    ("none", Compressor::None),
];

/// What the ending of a file's name says of its form, and of its compression.
const ENDINGS: &[(&str, Form, Option<Compressor>)] = &[
    (".sqfs", Form::Squashfs, None),
    (".squashfs", Form::Squashfs, None),
    (".sqsh", Form::Squashfs, None),
    (".sfs", Form::Squashfs, None),
    (".oci", Form::Oci, None),
    (".tar", Form::Tar, Some(Compressor::None)),
    (".tar.gz", Form::Tar, Some(Compressor::Gzip)),
    (".tgz", Form::Tar, Some(Compressor::Gzip)),
    (".tar.zst", Form::Tar, Some(Compressor::Zstd)),
    (".tzst", Form::Tar, Some(Compressor::Zstd)),
    (".tar.xz", Form::Tar, Some(Compressor::Xz)),
    (".txz", Form::Tar, Some(Compressor::Xz)),
];

/// What a name that was given says of form and compression: a directory, if it has no ending that
/// is known.
pub fn form_by_name(path: &Path) -> (Form, Option<Compressor>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let known = ENDINGS.iter().find(|(ending, ..)| name.ends_with(ending) && name != *ending);
    known.map_or((Form::Directory, None), |(_, form, compressor)| (*form, *compressor))
}

/// Writes an image in a form.
///
/// It is made beside its place, under another name, and put there as a whole. Gives back what could not
/// be made, a line each.
///
/// # Errors
///
/// Fails if something is in its place, unless it is to be replaced, and as writing it fails.
pub fn write(image: &Image, form: Form, dest: &Path, options: &Options) -> Result<Vec<String>> {
    let place = Place::beside(dest, form, options)?;
    write_at(image, form, place, options)
}

/// As [`write()`], at a place that was made before.
///
/// # Errors
///
/// As [`write()`].
pub fn write_at(image: &Image, form: Form, place: Place, options: &Options) -> Result<Vec<String>> {
    refuse_own_tree(image, &place)?;
    let (root, config, product) = (image.root(), image.config(), place.product());
    let mut left_out = Vec::new();
    match form {
        Form::Directory => left_out = to_directory(image, &place)?,
        Form::Squashfs => squashfs::write(root, config, &product, options)?,
        Form::Tar => tar::write_file(root, config, &product, options.compressor)?,
        Form::Oci => oci::write_layout(root, config, &product, &place.stem(), options.compressor)?,
        Form::DockerArchive => {
            oci::write_archive(root, config, &product, &place.stem(), options.compressor)?
        }
    }
    if config.is_none() && matches!(form, Form::Oci | Form::DockerArchive) {
        left_out.extend(config::only_in_scripts(root)?);
    }
    place.finish().map(|()| left_out)
}

/// Writes a tree as a squashfs file, with its configuration in it.
///
/// # Errors
///
/// As [`write()`]; and if there is no `mksquashfs`.
pub fn to_squashfs(
    tree: &Path,
    config: Option<&[u8]>,
    dest: &Path,
    options: &Options,
) -> Result<()> {
    write(&Image::of(tree, config), Form::Squashfs, dest, options).map(drop)
}

/// Writes a tree as a tar archive, with its configuration in it.
///
/// # Errors
///
/// As [`write()`].
pub fn to_tar(tree: &Path, config: Option<&[u8]>, dest: &Path, options: &Options) -> Result<()> {
    write(&Image::of(tree, config), Form::Tar, dest, options).map(drop)
}

/// Writes a tree as an OCI layout of one layer.
///
/// # Errors
///
/// As [`write()`].
pub fn to_oci(tree: &Path, config: Option<&[u8]>, dest: &Path, options: &Options) -> Result<()> {
    write(&Image::of(tree, config), Form::Oci, dest, options).map(drop)
}

/// Packs a tree into an archive that is not compressed.
///
/// # Errors
///
/// Fails if the tree cannot be read, or the archive not be written.
pub fn archive(root: &Path, out: &mut dyn Write) -> Result<()> {
    tar::write(root, None, out)
}

/// Puts a tree that was unpacked for this in its place, or copies one that stays.
fn to_directory(image: &Image, place: &Place) -> Result<Vec<String>> {
    let product = place.product();
    let root = match image.config() {
        Some(config) => {
            fs::create_dir(&product).map_err(|error| failed("make", &product, &error))?;
            let file = product.join("image.json");
            own::write(&file, config).map_err(|error| failed("write", &file, &error))?;
            product.join("rootfs")
        }
        None => product,
    };
    if image.is_own() && image.root().starts_with(place.scratch()) {
        let moved = fs::rename(image.root(), &root);
        return moved.map(|()| Vec::new()).map_err(|error| failed("make", &root, &error));
    }
    copy::tree(image.root(), &root)
}

/// Refuses to write an image into the tree it is made of.
fn refuse_own_tree(image: &Image, place: &Place) -> Result<()> {
    let product = place.product();
    let beside = product.parent().unwrap_or(&product);
    let lies_in = match (image.root().canonicalize(), beside.canonicalize()) {
        (Ok(root), Ok(place)) => place.starts_with(&root),
        _ => false,
    };
    match lies_in {
        false => Ok(()),
        true => Err(Error::new(
            format!("write {}", quoted(place.dest())),
            format!("it lies in the image it is made of, {}", quoted(image.root())),
        )
        .hint("name a place outside of the image")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_the_form() {
        let form = |name: &str| form_by_name(Path::new(name));
        assert_eq!(form("a/x.sqfs"), (Form::Squashfs, None));
        assert_eq!(form("X.SQUASHFS"), (Form::Squashfs, None));
        assert_eq!(form("x.tar"), (Form::Tar, Some(Compressor::None)));
        assert_eq!(form("x.1.tar.gz"), (Form::Tar, Some(Compressor::Gzip)));
        assert_eq!(form("x.oci"), (Form::Oci, None));
        for name in ["x", "x.d/", "a.tar/x", ".tar", "debian-12.5"] {
            assert_eq!(form(name), (Form::Directory, None), "{name}");
        }
    }
}
