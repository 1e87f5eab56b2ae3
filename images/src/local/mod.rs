//! Images that lie on this machine: archives, layouts, root directories; told apart by what is in them.

mod docker;
mod layout;
mod parts;
mod platform;
mod root;
mod tarball;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime::error::{Error, Result};
use runtime::text::quoted;

use self::docker::DockerArchive;
use self::layout::Layout;
use self::parts::{Archive, Directory, Files};
use self::root::{DirectoryImage, RootArchive};
use crate::compression::{self, Compression};
use crate::failure::failed;
use crate::progress::Progress;
use crate::source::Source;

/// What an image is taken from, and how.
pub struct Opening<'a> {
    /// A file, a directory, or `-` for standard input.
    pub path: &'a Path,
    /// Which of several images is meant.
    pub image: Option<&'a str>,
    /// A directory for what has to be unpacked on the way; nothing is seen in it.
    pub scratch: &'a Path,
    /// Is told how far it is.
    pub progress: &'a dyn Progress,
}

/// What an archive turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Oci,
    Docker,
    Root,
}

/// Opens an image that lies on this machine, or comes on standard input.
///
/// # Errors
///
/// Fails if there is none, or it is of no known form; the error says what it is.
pub fn open(opening: &Opening) -> Result<Box<dyn Source>> {
    if opening.path == Path::new("-") {
        let file = spool(opening, "standard input", &mut io::stdin().lock())?;
        return open_file(opening, file);
    }
    let fail = |error: io::Error| failed("read", opening.path, &error);
    let found = opening.path.metadata().map_err(fail)?;
    if found.is_dir() {
        return open_directory(opening);
    }
    let mut file = File::open(opening.path).map_err(fail)?;
    if !found.is_file() {
        // A pipe can be read once only.
        file = spool(opening, &quoted(opening.path), &mut file)?;
    }
    open_file(opening, file)
}

fn open_directory(opening: &Opening) -> Result<Box<dyn Source>> {
    let directory = opening.path;
    if directory.join("oci-layout").is_file() && directory.join("index.json").is_file() {
        let files = Directory::new(directory);
        return Ok(Box::new(Layout::open(Box::new(files), directory, opening.image)?));
    }
    Ok(Box::new(DirectoryImage::open(opening)?))
}

fn open_file(opening: &Opening, mut file: File) -> Result<Box<dyn Source>> {
    let fail = |error: io::Error| failed("read", opening.path, &error);
    let mut start = Vec::new();
    file.by_ref().take(512).read_to_end(&mut start).map_err(fail)?;
    file.rewind().map_err(fail)?;
    let compression = Compression::of(&start);
    if compression == Compression::None {
        is_archive(opening.path, &start)?;
        let archive = Archive::index(file, opening.path)?;
        let found = kind(&mut archive.names());
        return match found {
            Kind::Root => Ok(Box::new(RootArchive::plain(opening, archive.into_file())?)),
            kind => open_archive(opening, archive, kind),
        };
    }
    let scanned = tarball::scan(opening, &file)?;
    match scanned.kind {
        Kind::Root => Ok(Box::new(RootArchive::compressed(opening, file, compression, &scanned)?)),
        kind => {
            file.rewind().map_err(fail)?;
            let (_, mut decoder) = compression::decoder(file).map_err(fail)?;
            let plain = spool(opening, &quoted(opening.path), &mut decoder)?;
            open_archive(opening, Archive::index(plain, opening.path)?, kind)
        }
    }
}

fn open_archive(opening: &Opening, archive: Archive, kind: Kind) -> Result<Box<dyn Source>> {
    let files: Box<dyn Files> = Box::new(archive);
    match kind {
        Kind::Docker => Ok(Box::new(DockerArchive::open(files, opening.path, opening.image)?)),
        _ => Ok(Box::new(Layout::open(files, opening.path, opening.image)?)),
    }
}

/// Tells archives apart by the names at their top; docker writes both forms into one archive, and
/// that of OCI says more.
fn kind(names: &mut dyn Iterator<Item = &str>) -> Kind {
    let mut found = [false; 4];
    for name in names {
        match name {
            "oci-layout" => found[0] = true,
            "index.json" => found[1] = true,
            "manifest.json" => found[2] = true,
            // What no archive of docker has.
            "bin" | "etc" | "usr" => found[3] = true,
            _ => {}
        }
    }
    match found {
        [true, true, _, false] => Kind::Oci,
        [_, _, true, false] => Kind::Docker,
        _ => Kind::Root,
    }
}

/// Whether hrun takes a file as it is: a squashfs or SIF image.
///
/// # Errors
///
/// Fails if it cannot be read.
pub fn runs_as_it_is(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
    read.map_err(|error| failed("read", path, &error))?;
    Ok(is_squashfs(&start) || is_sif(&start))
}

fn is_squashfs(start: &[u8]) -> bool {
    start.starts_with(b"hsqs")
}

fn is_sif(start: &[u8]) -> bool {
    start.get(32..42) == Some(b"SIF_MAGIC\0")
}

/// Says what a file is that is no archive.
fn is_archive(path: &Path, start: &[u8]) -> Result<()> {
    let name = quoted(path);
    let (reason, hint) = if is_squashfs(start) {
        ("it is a squashfs image", format!("hrun runs it as it is: hrun {name}"))
    } else if is_sif(start) {
        ("it is a SIF image", format!("hrun runs it as it is: hrun {name}"))
    } else if start.is_empty() {
        ("it is empty", "it should be an archive of an image, or of a root directory".to_owned())
    } else if start.get(257..262) != Some(b"ustar") && !is_old_header(start) {
        (
            "it is no archive",
            "known are: docker save, OCI archives and layouts, root directories and their tar \
             archives, compressed by gzip, zstd, xz, bzip2 or not"
                .to_owned(),
        )
    } else {
        return Ok(());
    };
    Err(Error::new(format!("import {name}"), reason).hint(hint))
}

/// Headers from before POSIX have a checksum all the same.
fn is_old_header(start: &[u8]) -> bool {
    let Some(field) = start.get(148..156) else { return false };
    let text = String::from_utf8_lossy(field);
    let wanted = u64::from_str_radix(text.trim_matches(['\0', ' ']), 8);
    let sum = start.iter().enumerate().map(|(index, byte)| match index {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    });
    wanted.is_ok_and(|wanted| wanted == sum.sum::<u64>())
}

/// Copies a stream to a file without a name, which is gone when the process is.
fn spool(opening: &Opening, what: &str, stream: &mut dyn io::Read) -> Result<File> {
    let task = opening.progress.begin(&format!("read {what}"), None);
    let mut file = nameless(opening.scratch)?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read", opening.path, &error)),
        };
        io::Write::write_all(&mut file, &buffer[..count])
            .map_err(|error| failed("write to", opening.scratch, &error))?;
        task.advance(count as u64);
    }
    file.rewind().map_err(|error| failed("read", opening.scratch, &error))?;
    Ok(file)
}

/// A file that has no name any more.
fn nameless(scratch: &Path) -> Result<File> {
    for number in 0.. {
        let path = scratch.join(format!("spool-{}-{number}.part", std::process::id()));
        let mut options = File::options();
        match options.read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                let _ = std::fs::remove_file(&path);
                return Ok(file);
            }
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
            Err(error) => return Err(failed("write to", scratch, &error)),
        }
    }
    Err(Error::new("make a file", "all names are taken"))
}

/// What an image is called that has no other name: its file's, without what says how it is packed.
pub fn name_of_file(path: &Path) -> Option<String> {
    let absolute: PathBuf = path.canonicalize().ok()?;
    let mut name = absolute.file_name()?.to_str()?;
    for ending in [".gz", ".zst", ".zstd", ".xz", ".bz2", ".tgz", ".txz", ".tar", ".oci"] {
        name = name.strip_suffix(ending).unwrap_or(name);
    }
    Some(name.to_owned())
}
