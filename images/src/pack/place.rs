//! The place an image is written to: filled under another name, and taken as a whole.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use runtime::error::{Error, Result};
use runtime::text::quoted;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::scratch::{self, Scratch};
use super::{Form, Options};
use crate::failure::failed;
use crate::own;

/// Where what is to be replaced waits, on file systems that cannot exchange two names.
const REPLACED: &str = "replaced";

/// A place that something is made for.
///
/// It is made in a directory of its own beside the place, which goes when this is dropped.
#[derive(Debug)]
pub struct Place {
    dest: PathBuf,
    is_directory: bool,
    replaces: bool,
    beside: Scratch,
    /// For what is needed on the way only, if that is to be somewhere else.
    elsewhere: Option<Scratch>,
}

impl Place {
    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// Fails if there is something in the place that may not be replaced.
    pub fn beside(dest: &Path, form: Form, options: &Options) -> Result<Self> {
        let attempt = || format!("write {}", quoted(dest));
        let name = dest.file_name().ok_or_else(|| {
            Error::new(attempt(), "it has no name").hint("name what is to be made: ./NAME")
        })?;
        let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let (is_directory, replaces) = (form.is_directory(), options.replaces);
        // A killed command may have taken away what it was about to replace.
        let put_back = |left: &Path| {
            let _ = renameat_with(CWD, left.join(REPLACED), CWD, dest, RenameFlags::NOREPLACE);
        };
        scratch::sweep(parent, name, &put_back);
        look(dest, is_directory, replaces)?;
        let beside = Scratch::new(parent, name);
        let beside = beside.map_err(|error| unwritable(dest, parent, &error))?;
        let wanted = options.scratch.as_deref().filter(|_| form != Form::Directory);
        let elsewhere = wanted.map(|wanted| {
            scratch::sweep(wanted, name, &|_| {});
            Scratch::new(wanted, name).map_err(|error| {
                failed("use the directory for temporary files", wanted, &error)
                    .hint("name another one (TMPDIR, or --tmpdir DIR), or unset TMPDIR")
            })
        });
        Ok(Place {
            dest: dest.to_path_buf(),
            is_directory,
            replaces,
            beside,
            elsewhere: elsewhere.transpose()?,
        })
    }

    /// What will be in the place; still to be made.
    pub fn product(&self) -> PathBuf {
        self.beside.path().join("product")
    }

    /// A directory for what else is needed; for a directory, on the same file system.
    pub fn scratch(&self) -> &Path {
        self.elsewhere.as_ref().unwrap_or(&self.beside).path()
    }

    /// Takes what was made in the directory under another name as what will be in the place.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, or not in this file system.
    pub fn take(&self, made: &Path) -> Result<()> {
        let product = self.product();
        std::fs::rename(made, &product).map_err(|error| failed("make", &product, &error))
    }

    /// The place itself.
    pub fn dest(&self) -> &Path {
        &self.dest
    }

    /// The name of the place without its ending.
    pub fn stem(&self) -> String {
        let name = self.dest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let point = name.char_indices().skip(1).find(|(_, letter)| *letter == '.');
        name[..point.map_or(name.len(), |(at, _)| at)].to_owned()
    }

    /// Puts the product in its place.
    ///
    /// # Errors
    ///
    /// Fails if something has come to be in the place that may not be replaced.
    pub fn finish(self) -> Result<()> {
        let product = self.product();
        let fail = |error: Errno| failed("write", &self.dest, &error.into());
        match renameat_with(CWD, &product, CWD, &self.dest, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {}
            done => return done.map_err(fail),
        }
        // Something is there, or the file system does not know the flag, such as NFS.
        match look(&self.dest, self.is_directory, self.replaces)? {
            // An empty directory is replaced as long as it is empty.
            There::Nothing | There::Empty => rustix::fs::rename(&product, &self.dest),
            There::Image => self.replace(&product),
        }
        .map_err(fail)
    }

    /// Takes the place of what is there, at once where the file system can; that goes afterwards.
    fn replace(&self, product: &Path) -> rustix::io::Result<()> {
        match renameat_with(CWD, product, CWD, &self.dest, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) if self.is_directory => {
                let replaced = self.beside.path().join(REPLACED);
                rustix::fs::rename(&self.dest, &replaced)?;
                rustix::fs::rename(product, &self.dest).inspect_err(|_| {
                    let _ = rustix::fs::rename(&replaced, &self.dest);
                })
            }
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(product, &self.dest),
            done => done,
        }
    }
}

/// What may be in a place that something is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// An empty directory.
    Empty,
    /// What is replaced by what was asked for.
    Image,
}

/// Looks at what is in a place: a directory takes the place of an image's directory, and a file that of a
/// file, if that was asked for; nothing else is ever taken away.
fn look(dest: &Path, is_directory: bool, replaces: bool) -> Result<There> {
    let refuse = |reason: &str, hint: &str| {
        Err(Error::new(format!("write {}", quoted(dest)), reason.to_owned()).hint(hint))
    };
    let found = match dest.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(failed("write", dest, &error)),
    };
    const ANOTHER: &str = "choose another name";
    match (is_directory, kind(&found)) {
        (true, Kind::Directory) if is_empty(dest) => Ok(There::Empty),
        (true, Kind::Directory) if !is_image(dest) => {
            refuse("it is a directory that is no image, and is never replaced", ANOTHER)
        }
        (false, Kind::Directory) => {
            refuse("it is a directory, of which a file never takes the place", ANOTHER)
        }
        (true, Kind::File) => {
            refuse("it is a file, of which a directory never takes the place", ANOTHER)
        }
        (_, Kind::Other) => refuse("it is neither a file nor a directory", ANOTHER),
        _ if !replaces => refuse(
            "it is there already",
            "choose another name, or replace it: himage convert --force",
        ),
        _ => Ok(There::Image),
    }
}

enum Kind {
    File,
    Directory,
    Other,
}

fn kind(found: &Metadata) -> Kind {
    match (found.is_dir(), found.is_file()) {
        (true, _) => Kind::Directory,
        (_, true) => Kind::File,
        _ => Kind::Other,
    }
}

fn is_empty(directory: &Path) -> bool {
    own::names(directory).is_ok_and(|names| names.is_empty())
}

/// Whether a directory is an image and nothing else: one that himage has made, an OCI layout, or a
/// root directory.
fn is_image(directory: &Path) -> bool {
    let Ok(names) = own::names(directory) else { return false };
    let has = |name: &str| names.iter().any(|found| found == name);
    let has_directory =
        |name: &str| directory.join(name).symlink_metadata().is_ok_and(|found| found.is_dir());
    let has_only = |known: &[&str]| names.iter().all(|name| known.iter().any(|k| name == *k));
    let is_bundle = has_directory("rootfs")
        && has("image.json")
        && has_only(&["rootfs", "image.json", "manifest.json", "files"]);
    let is_layout = has_directory("blobs")
        && has("oci-layout")
        && has_only(&["blobs", "oci-layout", "index.json"]);
    // Where programs are installed there may be bin, etc and lib, too.
    let is_whole = || ["dev", "proc", "sys"].into_iter().all(has_directory);
    let is_root = has_directory("etc")
        && (has_directory("usr") || is_whole())
        && ["bin", "sbin", "lib"].into_iter().any(has)
        // Nor somebody's work that has an image's directories.
        && !has(".git");
    is_bundle || is_layout || is_root
}

fn unwritable(dest: &Path, parent: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => Some(format!("make its directory: mkdir -p {}", quoted(parent))),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("choose a directory you may write to".to_owned())
        }
        _ => None,
    };
    failed("write", dest, error).hint_if_some(hint)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_image_is_never_replaced() {
        let place = std::env::temp_dir().join(format!("himage-place-{}", std::process::id()));
        let make = |name: &str, inner: &[&str]| {
            let directory = place.join(name);
            fs::create_dir_all(&directory).unwrap();
            for inner in inner {
                match inner.strip_suffix('/') {
                    Some(inner) => fs::create_dir_all(directory.join(inner)).unwrap(),
                    None => fs::write(directory.join(inner), "x").unwrap(),
                }
            }
            directory
        };
        for (name, inner, image) in [
            ("bundle", &["rootfs/", "image.json"][..], true),
            ("bundle-and-notes", &["rootfs/", "image.json", "notes"], false),
            ("layout", &["blobs/", "oci-layout", "index.json"], true),
            ("blobs", &["blobs/", "index.json"], false),
            ("root", &["etc/", "usr/", "bin/", "workspace/"], true),
            ("small-root", &["etc/", "bin/", "dev/", "proc/", "sys/"], true),
            ("installed", &["bin/", "etc/", "lib/", "share/"], false),
            ("home", &["bin/", "etc/", "src/"], false),
            ("package", &["etc/", "usr/", "bin/", ".git/"], false),
            ("file", &["x"], false),
        ] {
            let directory = make(name, inner);
            assert_eq!(is_image(&directory), image, "{name}");
            let replaced = look(&directory, true, true);
            assert_eq!(replaced.is_ok(), image, "{name}");
            assert!(look(&directory, true, false).is_err(), "{name}");
            assert!(look(&directory, false, true).is_err(), "{name}");
        }
        let empty = make("empty", &[]);
        assert_eq!(look(&empty, true, false).unwrap(), There::Empty);
        assert!(look(&empty, false, true).is_err());
        let file = place.join("file/x");
        assert_eq!(look(&file, false, true).unwrap(), There::Image);
        assert!(look(&file, true, true).is_err());
        fs::remove_dir_all(place).unwrap();
    }
}
