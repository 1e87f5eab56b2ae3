//! Images that lie on this machine: archives, layouts, root directories; told apart by what is in them.

mod docker;
mod form;
mod layout;
mod parts;
mod root;
mod tarball;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime::error::{Error, Result};
use runtime::look::magic::Magic;
use runtime::look::remedy;
use runtime::text::quoted;

use self::docker::DockerArchive;
use self::form::{Form, Kind, Names};
use self::layout::Layout;
use self::parts::{Archive, Directory, Files, Within};
use self::root::{DirectoryImage, RootArchive};
use crate::compression::{self, Compression};
use crate::failure::failed;
use crate::own;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::said;
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
    let files: Box<dyn Files> = Box::new(Directory::new(directory));
    match form_of_directory(directory)? {
        Form { kind: Kind::Root, has_system, .. } => {
            // Where himage has made the directory, the system is below.
            let has_system = has_system || directory.join("rootfs").is_dir();
            note_root(opening, has_system, "");
            Ok(Box::new(DirectoryImage::open(opening)?))
        }
        form => open_files(opening, files, &form),
    }
}

fn open_file(opening: &Opening, mut file: File) -> Result<Box<dyn Source>> {
    let fail = |error: io::Error| failed("read", opening.path, &error);
    let mut start = Vec::new();
    file.by_ref().take(START).read_to_end(&mut start).map_err(fail)?;
    file.rewind().map_err(fail)?;
    let compression = Compression::of(&start);
    if compression == Compression::None {
        is_archive(opening.path, &start)?;
        let archive = Archive::index(file, opening.path)?;
        let form = form_of_names(archive.names());
        if form.kind == Kind::Root {
            note_root(opening, form.has_system, &form.inside);
            return Ok(Box::new(RootArchive::plain(opening, archive.into_file())?));
        }
        return open_files(opening, Box::new(archive), &form);
    }
    let scanned = tarball::scan(opening, &file)?;
    if scanned.form.kind == Kind::Root {
        note_root(opening, scanned.form.has_system, &scanned.form.inside);
        return Ok(Box::new(RootArchive::compressed(opening, file, compression, &scanned)?));
    }
    file.rewind().map_err(fail)?;
    let (_, mut decoder) = compression::decoder(file).map_err(fail)?;
    let plain = spool(opening, &quoted(opening.path), &mut decoder)?;
    open_files(opening, Box::new(Archive::index(plain, opening.path)?), &scanned.form)
}

/// Opens layers, in an archive or a directory.
fn open_files(
    opening: &Opening,
    mut files: Box<dyn Files>,
    form: &Form,
) -> Result<Box<dyn Source>> {
    if !form.inside.is_empty() {
        files = Box::new(Within { files, directory: form.inside.clone() });
    }
    let (path, wanted) = (opening.path, opening.image);
    let has_list = |files: &dyn Files| files.open("manifest.json").is_ok_and(|list| list.is_some());
    let source: Box<dyn Source> = match form.kind {
        Kind::Oci => {
            let images = said::index(&files.read("index.json")?)?;
            // Docker 25.0 wrote an index of nothing beside its own list.
            match images.is_empty() && has_list(files.as_ref()) {
                true => Box::new(DockerArchive::open(files, path, wanted)?),
                false => Box::new(Layout::open(files, &images, path, wanted)?),
            }
        }
        Kind::Docker => {
            let json = files.read("manifest.json")?;
            match said::listed(&json).is_err() && said::manifest(&json).is_ok() {
                true => Box::new(Layout::of_one(files, path)?),
                false => Box::new(DockerArchive::open(files, path, wanted)?),
            }
        }
        Kind::OldDocker | Kind::Root => return Err(old_docker(path)),
    };
    note_platform(opening, source.as_ref())?;
    Ok(source)
}

fn old_docker(path: &Path) -> Error {
    let reason = "it is an archive of Docker before 1.10, without manifest.json";
    Error::new(format!("import {}", quoted(path)), reason)
        .hint("have it written again: docker load -i FILE, then docker save IMAGE -o FILE")
}

/// What a directory is by its names.
fn form_of_directory(directory: &Path) -> Result<Form> {
    let fail = |error: io::Error| failed("read", directory, &error);
    let mut names = Names::default();
    for name in own::names(directory).map_err(fail)? {
        names.see(&name.to_string_lossy());
    }
    let form = names.form();
    // An application may have a file of that name, too.
    let is_list = |name: &str| directory.join(name).is_file();
    Ok(match form.kind {
        Kind::Oci if is_list("index.json") => form,
        Kind::Docker if is_manifest(&directory.join("manifest.json")) => form,
        Kind::OldDocker if is_list("repositories") => form,
        _ => Form { kind: Kind::Root, inside: String::new(), ..form },
    })
}

/// Whether a file is docker's list of images, or the manifest of one.
fn is_manifest(path: &Path) -> bool {
    const LIMIT: u64 = 4 << 20;
    let is_small = path.metadata().is_ok_and(|at| at.is_file() && at.len() <= LIMIT);
    is_small
        && std::fs::read(path)
            .is_ok_and(|json| said::listed(&json).is_ok() || said::manifest(&json).is_ok())
}

fn form_of_names<'a>(names: impl Iterator<Item = &'a str>) -> Form {
    let mut seen = Names::default();
    names.for_each(|name| seen.see(name));
    seen.form()
}

/// Whether a directory or an archive has layers, and no files of a root directory: the same answer for
/// all that takes images. What is broken has none; unpacking says more about it.
///
/// # Errors
///
/// Fails if it cannot be read.
pub fn has_layers(path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(form_of_directory(path)?.kind != Kind::Root);
    }
    let fail = |error: io::Error| failed("read", path, &error);
    let mut file = File::open(path).map_err(fail)?;
    let mut start = Vec::new();
    file.by_ref().take(START).read_to_end(&mut start).map_err(fail)?;
    file.rewind().map_err(fail)?;
    if Compression::of(&start) == Compression::None {
        let names = Archive::index(file, path);
        return Ok(names.is_ok_and(|archive| form_of_names(archive.names()).kind != Kind::Root));
    }
    let (_, decoder) = compression::decoder(file).map_err(fail)?;
    let mut archive = tar::Archive::new(decoder);
    let mut names = Names::default();
    for entry in archive.entries().map_err(fail)? {
        let Ok(entry) = entry else { return Ok(false) };
        parts::plain(&entry.path_bytes()).iter().for_each(|name| names.see(name));
        if names.is_decided() {
            return Ok(false);
        }
    }
    Ok(names.form().kind != Kind::Root)
}

/// Says of a root directory that it looks like none.
fn note_root(opening: &Opening, has_system: bool, inside: &str) {
    if has_system {
        return;
    }
    let name = quoted(opening.path);
    let perhaps = match inside {
        "" => String::new(),
        inside => format!("; all of it is in {}", quoted(Path::new(inside))),
    };
    opening.progress.note(&format!(
        "{name} has no bin, etc, usr or lib at its top: it is taken for a root directory all the \
         same{perhaps}"
    ));
}

/// Says of an image that it is for another machine.
fn note_platform(opening: &Opening, source: &dyn Source) -> Result<()> {
    let config = said::configuration(&source.image()?.config)?;
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    let here = Platform::here();
    if !os.is_empty() && !architecture.is_empty() && !here.fits(&os, &architecture) {
        let there = format!("{os}/{architecture}");
        opening.progress.note(&format!(
            "the image in {} is for {}; this machine is {here}",
            quoted(opening.path),
            there.escape_debug()
        ));
    }
    Ok(())
}

/// How one of several images is chosen, whatever was to be done with it.
fn choice_hint(path: &Path, names: &str) -> String {
    format!("choose one: himage import {} --image NAME, of {names}", quoted(path))
}

/// What is read of a file to know what it is.
const START: u64 = 2048;

/// Whether hrun takes a file as it is: a squashfs or SIF image.
///
/// # Errors
///
/// Fails if it cannot be read.
pub fn runs_as_it_is(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START).read_to_end(&mut start));
    read.map_err(|error| failed("read", path, &error))?;
    Ok(matches!(Magic::of(&start), Some(Magic::Squashfs(_) | Magic::Sif)))
}

/// Says what a file is that is no archive.
fn is_archive(path: &Path, start: &[u8]) -> Result<()> {
    let name = quoted(path);
    let runs =
        || format!("hrun runs it as it is: hrun {name}; himage convert {name} DIR unpacks it");
    let (reason, hint) = if let Some(magic) = Magic::of(start) {
        match magic {
            Magic::Squashfs(_) => ("it is a squashfs image", runs()),
            Magic::Sif => ("it is a SIF image", runs()),
            Magic::Ext(at) => (remedy::EXT, remedy::ext(path, at)),
        }
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
