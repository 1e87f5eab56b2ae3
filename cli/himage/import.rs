//! `himage import`: images that lie on this machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use images::local::{self, Opening};
use images::pack::Place;
use images::reference::Reference;
use images::source::Source;
use images::store::Store;
use runtime::error::{Error, Result};
use runtime::text::quoted;

use crate::{progress, report, store, usage};

/// The words of `himage import`.
pub fn command() -> Command {
    Command::new("import")
        .about("Takes an image from an archive, a layout or a root directory")
        .long_about(
            "Takes an image from a file or a directory; what is in it tells what it is: an archive \
             of docker save or podman save, an OCI archive, an OCI layout, a tar archive of a root \
             directory, or a root directory as debootstrap makes it. Archives may be compressed by \
             gzip, zstd, xz or bzip2. The image is kept in the store under NAME, or unpacked to \
             DEST, which hrun runs as well.",
        )
        .arg(usage::word("SOURCE", "A file, a directory, or - for standard input").required(true))
        .arg(usage::word(
            "NAME|DEST",
            "What to call it, or a directory to make, which begins with / or ./",
        ))
        .arg(
            Arg::new("image")
                .long("image")
                .value_name("NAME")
                .help("Which image, if there are several in SOURCE"),
        )
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
        Some(dest) => unpack(words, &path, Path::new(dest)),
        None => keep(words, &path, usage::text(words, "NAME|DEST")?),
    }
}

/// A path begins like one; names of images do not.
fn is_path(word: &OsStr) -> bool {
    let word = word.as_bytes();
    word.starts_with(b"/")
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
    progress: &dyn images::progress::Progress,
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

/// Unpacks an image to a directory of its own, by a store beside it that is gone afterwards.
fn unpack(words: &ArgMatches, path: &Path, dest: &Path) -> Result<()> {
    if dest.symlink_metadata().is_ok() {
        let attempt = format!("import to {}", quoted(dest));
        return Err(Error::new(attempt, "it is there already")
            .hint(format!("remove it, or choose another place: rm -r {}", quoted(dest))));
    }
    let place = Place::beside(dest, false)?;
    let store = Store::open(&place.scratch().join("store"))?;
    let progress = progress::wanted(words);
    let source = open(words, path, &store.scratch(), progress.as_ref())?;
    let stored = store.add(source.as_ref(), None, progress.as_ref())?;
    drop(progress);
    store.hand_over(&stored.digest, &place.product())?;
    place.finish()?;
    store::say_skipped(words, &stored.skipped);
    report::print(&format!("{} {}\n", quoted(dest), stored.digest))
}
