//! `himage import`: images that lie on this machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use images::local::{self, Opening};
use images::pack::{self, Form};
use images::progress::Progress;
use images::reference::Reference;
use images::source::Source;
use runtime::error::{Error, Result};
use runtime::text::quoted;

use crate::{packing, progress, store, usage};

/// The words of `himage import`.
pub fn command() -> Command {
    Command::new("import")
        .about("Takes an image from an archive, a layout or a root directory")
        .long_about(
            "Takes an image from a file or a directory; what is in it tells what it is: an archive \
             of docker save or podman save, an OCI archive, an OCI layout, a tar archive of a root \
             directory, or a root directory as debootstrap makes it. Archives may be compressed by \
             gzip, zstd, xz or bzip2. The image is kept in the store under NAME, or written to DEST, \
             which hrun runs as well: a directory, or a squashfs file where DEST ends with .sqfs.",
        )
        .arg(usage::word("SOURCE", "A file, a directory, or - for standard input").required(true))
        .arg(usage::word(
            "NAME|DEST",
            "What to call it, or what to make: it begins with / or ./, or ends with .sqfs",
        ))
        .arg(
            Arg::new("image")
                .long("image")
                .value_name("NAME")
                .help("Which image, if there are several in SOURCE"),
        )
        .args(packing::words())
}

/// Runs it.
///
/// # Errors
///
/// Fails if SOURCE is no image, or cannot be stored.
pub fn run(words: &ArgMatches) -> Result<()> {
    let path = words.get_one::<OsString>("SOURCE").map(PathBuf::from).unwrap_or_default();
    let wanted = words.get_one::<OsString>("NAME|DEST");
    match wanted.filter(|wanted| is_path(wanted)) {
        Some(dest) => store::write(words, "import", Path::new(dest), |store, progress| {
            open(words, &path, &store.scratch(), progress)
        }),
        None => keep(words, &path, usage::text(words, "NAME|DEST")?),
    }
}

/// A path begins like one, or ends like a file of an image; names of images do not.
fn is_path(word: &OsStr) -> bool {
    if pack::form_by_name(Path::new(word)).0 != Form::Directory {
        return true;
    }
    let word = word.as_bytes();
    // Which himage does not write, and says so; a name that ends so was meant as a file.
    let lower = word.to_ascii_lowercase();
    lower.ends_with(b".sif")
        || lower.ends_with(b".simg")
        || word.starts_with(b"/")
        || word == b"."
        || word == b".."
        || word.starts_with(b"./")
        || word.starts_with(b"../")
}

/// Keeps an image in the store.
fn keep(words: &ArgMatches, path: &Path, name: Option<&str>) -> Result<()> {
    let asked = name.map(Reference::parse).transpose()?;
    let store = store::open(words)?;
    let progress = progress::wanted(words);
    let source = open(words, path, &store.scratch(), progress.as_ref())?;
    drop(progress);
    let name = match asked {
        Some(name) => name,
        None => name_of(source.as_ref(), path)?,
    };
    store::add(words, source.as_ref(), Some(&name))
}

fn open(
    words: &ArgMatches,
    path: &Path,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Box<dyn Source>> {
    let image = words.get_one::<String>("image").map(String::as_str);
    local::open(&Opening { path, image, scratch, progress })
}

/// What an image is called that was given no name: as it calls itself, or as its file is called.
fn name_of(source: &dyn Source, path: &Path) -> Result<Reference> {
    let own = source.image()?.name;
    let full = own.as_deref().filter(|own| own.contains([':', '/']));
    let of_file = || {
        let file = local::name_of_file(path)?;
        let tag = own.iter().map(|tag| format!(":{tag}")).collect::<String>();
        Some(format!("{}{tag}", file.to_lowercase()))
    };
    let name = full.map(str::to_owned).or_else(of_file).unwrap_or_default();
    Reference::parse(&name).map_err(|_| {
        let hint = format!("himage import {} NAME", quoted(path));
        Error::new("name the image", "neither it nor its file says what it is called").hint(hint)
    })
}
