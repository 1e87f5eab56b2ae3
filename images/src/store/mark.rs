//! What makes a directory a store: a file of its own, and nothing else than a store has.
//!
//! A directory without the file becomes a store if it is empty, or if an older himage made it: then
//! every name in it is one that himage gives, as others would be removed some day.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use runtime::error::{Error, Result};
use runtime::text::quoted;

use super::PARTS;
use crate::digest::Digest;
use crate::failure::failed;
use crate::own;

/// The file's name.
pub(super) const NAME: &str = "hrun-store";

/// The file's first line.
const TEXT: &str = "himage keeps images here, version 1\n";

/// The line of a store that others may read.
const SHARED: &str = "shared\n";

/// What a store's directory turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not a store yet, and nothing else.
    Nothing,
    /// A store that has no mark, as it was made before there were any.
    Unmarked,
    /// A store; whether others may read it.
    Store { is_shared: bool },
}

/// Looks at what a directory is.
///
/// # Errors
///
/// Fails if it is something else than a store.
pub(super) fn look(directory: &Path) -> Result<Found> {
    let path = directory.join(NAME);
    match own::read(&path) {
        // Another himage is about to write it.
        Ok(text) if text.is_empty() => {}
        Ok(text) => return read(directory, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &path, &error)),
    }
    let names =
        own::names(directory).map_err(|error| failed("open the store", directory, &error))?;
    if names.iter().all(|name| name == NAME) {
        return Ok(Found::Nothing);
    }
    match stranger(directory).map_err(|error| failed("open the store", directory, &error))? {
        None => Ok(Found::Unmarked),
        // Which may have been made a store meanwhile.
        Some(_) if own::read(&path).is_ok_and(|text| !text.is_empty()) => look(directory),
        Some(stranger) => Err(refused(directory, &stranger)),
    }
}

fn read(directory: &Path, text: &[u8]) -> Result<Found> {
    match text.strip_prefix(TEXT.as_bytes()) {
        Some(b"") => Ok(Found::Store { is_shared: false }),
        Some(rest) if rest == SHARED.as_bytes() => Ok(Found::Store { is_shared: true }),
        _ => {
            let reason = format!("its file {NAME} is not of this version of himage");
            Err(Error::new(format!("use {} as a store", quoted(directory)), reason)
                .hint("use the himage that made it, or choose another one: --store DIR"))
        }
    }
}

fn refused(directory: &Path, stranger: &Path) -> Error {
    let attempt = format!("use {} as a store", quoted(directory));
    let reason = format!("it is a directory with other files in it: {}", quoted(stranger));
    Error::new(attempt, reason)
        .hint(format!("choose another one: --store {}", quoted(&directory.join("hrun"))))
}

/// Makes a directory a store.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub(super) fn write(directory: &Path, is_shared: bool) -> Result<()> {
    let path = directory.join(NAME);
    let text = [TEXT, if is_shared { SHARED } else { "" }].concat();
    let written = own::open(&path).and_then(|mut file| {
        file.set_len(0)?;
        file.write_all(text.as_bytes())
    });
    written.map_err(|error| failed("make the store", &path, &error))
}

/// Something in a directory that no himage has made; nothing if it may be a store.
fn stranger(directory: &Path) -> io::Result<Option<PathBuf>> {
    let is_known = |name: &OsStr| {
        ["blobs", "trees", "names", "tmp", "lock", NAME].iter().any(|known| name == *known)
    };
    if let Some(name) = own::names(directory)?.into_iter().find(|name| !is_known(name)) {
        return Ok(Some(directory.join(name)));
    }
    let lock = directory.join("lock");
    if lock.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(Some(lock));
    }
    let mut has_something = false;
    for (part, fits) in [
        ("blobs", (|path| path.ends_with("sha256") && is_directory(path)) as fn(&Path) -> bool),
        ("blobs/sha256", is_blob),
        ("trees", is_tree),
        ("tmp", is_unfinished),
    ] {
        let path = directory.join(part);
        for name in names_if_there(&path)? {
            if !fits(&path.join(&name)) {
                return Ok(Some(path.join(name)));
            }
            has_something |= part != "blobs";
        }
    }
    let names = directory.join("names");
    let mut todo = vec![names.clone()];
    while let Some(path) = todo.pop() {
        for name in names_if_there(&path)? {
            let path = path.join(name);
            has_something = true;
            match path.symlink_metadata()?.is_dir() {
                true => todo.push(path),
                false if super::names::target(&path).is_some() => {}
                false => return Ok(Some(path)),
            }
        }
    }
    // They are made before anything is put into them.
    let missing = PARTS.iter().find(|part| !is_directory(&directory.join(part)));
    match (has_something, missing) {
        (true, Some(_)) => Ok(Some(directory.to_owned())),
        _ => Ok(None),
    }
}

fn names_if_there(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    match directory.symlink_metadata() {
        Ok(found) if found.is_dir() => own::names(directory),
        Ok(_) => Err(io::Error::other(format!("{} is no directory", quoted(directory)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn is_blob(path: &Path) -> bool {
    digest_of(path).is_some() && path.symlink_metadata().is_ok_and(|found| found.is_file())
}

fn is_tree(path: &Path) -> bool {
    digest_of(path).is_some() && is_directory(path)
}

fn digest_of(path: &Path) -> Option<Digest> {
    Digest::from_hex(path.file_name()?.to_str()?)
}

/// Whether a name in `tmp` is one that himage gives: by digest, `HOST-PID-NUMBER`, or
/// `spool-PID-NUMBER`.
pub(super) fn is_unfinished(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    let Some((stem, kind)) = name.split_once('.').filter(|(stem, _)| stem.len() == 64) else {
        // A host's name may have points.
        let Some((stem, kind)) = name.rsplit_once('.') else { return false };
        let mut parts = stem.rsplitn(3, '-');
        let mut is_number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok());
        let fits = is_number() && is_number() && parts.next().is_some();
        return fits && ["part", "tree", "link", "lock"].contains(&kind);
    };
    Digest::from_hex(stem).is_some() && ["part", "tree", "lock", "tree.lock"].contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn himage_knows_the_names_it_gives() {
        let digest = "ab".repeat(32);
        for name in [
            &format!("{digest}.part"),
            &format!("{digest}.tree.lock"),
            "node1.cluster-17-0.part",
            "my-node-17-3.tree",
            "spool-9-0.part",
        ] {
            assert!(is_unfinished(Path::new(name)), "{name}");
        }
        for name in [
            &format!("{digest}.txt"),
            &format!("{digest}x.part"),
            "film.part",
            "notes",
            "a-b-c.part",
            "17-0.part",
        ] {
            assert!(!is_unfinished(Path::new(name)), "{name}");
        }
    }
}
