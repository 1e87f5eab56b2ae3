//! Makes the image's loader find libraries of the host.
//!
//! The libraries stay where they are: their directories are shown inside, out of every search
//! path, and one directory of links gives those that are wanted their names. The image's
//! `ld.so.cache` is shown with these names in front (docs/decisions/0010), so they are found by
//! dlopen(3), by `ldconfig -p` and by programs that ignore `LD_LIBRARY_PATH`, and win over what the
//! image may have itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::edits::{Content, Edits, Mount, Rank};
use crate::elf::Abi;
use crate::ldcache::{Cache, OwnEntry, extended, flags_of};
use crate::look::directory::DirectoryTree;
use crate::look::files;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::{below, is_in, parent};
use crate::plan::Note;
use crate::request::Request;

/// Where a directory of hrun's own may stand inside; the first that no bind of the user covers.
const BASES: [&str; 3] = ["/run/hrun", "/var/lib/hrun", "/.hrun"];

#[cfg(target_arch = "x86_64")]
const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";
#[cfg(not(target_arch = "x86_64"))]
const GLIBC: &str = "/lib/ld-linux-aarch64.so.1";
#[cfg(target_arch = "x86_64")]
const MUSL: (&str, &str) = ("/lib/ld-musl-x86_64.so.1", "/etc/ld-musl-x86_64.path");
#[cfg(not(target_arch = "x86_64"))]
const MUSL: (&str, &str) = ("/lib/ld-musl-aarch64.so.1", "/etc/ld-musl-aarch64.path");

/// Where musl looks when nobody says otherwise (musl, `ldso/dynlink.c`).
const MUSL_DEFAULT: &str = "/lib:/usr/local/lib:/usr/lib";

const CACHE: &str = "/etc/ld.so.cache";

/// Files of the host that get names inside.
pub struct Shown<'a> {
    /// The host's files.
    files: &'a DirectoryTree,
    /// The directory inside that holds everything.
    base: PathBuf,
    /// The host's directories that are shown, each at a number below the base.
    directories: Vec<PathBuf>,
    libraries: Vec<(OsString, PathBuf)>,
    /// Libraries of the image that come before the host's, by soname.
    preferred: Vec<(OsString, PathBuf)>,
    programs: Vec<(OsString, PathBuf)>,
    origin: Origin,
}

impl<'a> Shown<'a> {
    /// Starts with nothing.
    pub fn new(request: &Request, files: &'a DirectoryTree, origin: &Origin) -> Self {
        let is_covered = |base: &&&str| {
            let mut targets = request.binds.iter().map(|bind| match &bind.value.target {
                Some(target) => target,
                None => &bind.value.source,
            });
            targets.any(|target| is_in(Path::new(base), target))
        };
        let free = BASES.iter().find(|base| !is_covered(base)).unwrap_or(&BASES[2]);
        Shown {
            files,
            base: PathBuf::from(free),
            directories: Vec::new(),
            libraries: Vec::new(),
            preferred: Vec::new(),
            programs: Vec::new(),
            origin: origin.clone(),
        }
    }

    /// Gives a library of the host a name.
    pub fn library(&mut self, name: &OsStr, path: &Path) {
        let target = self.inside(path);
        self.libraries.push((name.to_owned(), target));
    }

    /// Gives another library that was named another name.
    pub fn library_link(&mut self, name: &OsStr, known: &OsStr) {
        if self.libraries.iter().all(|(taken, _)| taken != name) {
            self.libraries.push((name.to_owned(), PathBuf::from(known)));
        }
    }

    /// Puts libraries of the image before the host's of the same names.
    pub fn prefer(&mut self, libraries: Vec<(OsString, PathBuf)>) {
        self.preferred = libraries;
    }

    /// Gives a program of the host a name.
    pub fn program(&mut self, name: &OsStr, path: &Path) {
        let target = self.inside(path);
        self.programs.push((name.to_owned(), target));
    }

    /// Where a link leads so that it finds a file of the host.
    fn inside(&mut self, path: &Path) -> PathBuf {
        let directory = parent(path).unwrap_or(Path::new("/"));
        let is_it = |known: &PathBuf| known.as_os_str() == directory.as_os_str();
        let known = self.directories.iter().position(is_it);
        let number = known.unwrap_or_else(|| {
            self.directories.push(directory.to_path_buf());
            self.directories.len() - 1
        });
        let name = path.file_name().unwrap_or_default();
        Path::new("..").join(number.to_string()).join(name)
    }

    /// Asks for everything that was named to be found inside.
    pub fn finish(self, image: &Image, edits: &mut Edits) {
        for (number, directory) in self.directories.iter().enumerate() {
            edits.mounts.push(self.mount(
                Content::Bind {
                    source: self.files.outside(directory),
                    recursive: false,
                    read_only: true,
                    optional: false,
                },
                self.base.join(number.to_string()),
            ));
        }
        let directory = self.base.join("lib");
        if !self.libraries.is_empty() {
            self.teach(image, &directory, edits);
            let links = Content::Links { links: self.libraries.clone() };
            edits.mounts.push(self.mount(links, directory));
        }
        if !self.programs.is_empty() {
            let directory = self.base.join("bin");
            let links = Content::Links { links: self.programs.clone() };
            edits.mounts.push(self.mount(links, directory.clone()));
            edits.path.push(directory);
        }
    }

    /// Tells the image's loaders of the directory with the libraries.
    fn teach(&self, image: &Image, directory: &Path, edits: &mut Edits) {
        let has_glibc = image.files.holds(Path::new(GLIBC));
        if has_glibc {
            let contents = self.cache(image, directory, edits);
            edits.mounts.push(self.mount(Content::File { contents }, PathBuf::from(CACHE)));
        }
        if image.files.holds(Path::new(MUSL.0)) {
            let path = files::read(&image.files, Path::new(MUSL.1)).ok().flatten();
            let mut contents = path.unwrap_or_else(|| MUSL_DEFAULT.into());
            contents.truncate(contents.trim_ascii_end().len());
            contents.push(b'\n');
            contents.extend_from_slice(directory.as_os_str().as_bytes());
            contents.push(b'\n');
            edits.mounts.push(self.mount(Content::File { contents }, PathBuf::from(MUSL.1)));
            edits.notes.push(Note::warning(
                "the image is built on musl, and the GPU libraries on glibc: they can be found, \
                 but most programs cannot load them"
                    .to_owned(),
            ));
        } else if !has_glibc {
            let preferred = self.preferred.iter().filter_map(|(_, path)| parent(path));
            edits.library_path.extend(preferred.take(1).map(Path::to_path_buf));
            edits.library_path.push(directory.to_path_buf());
        }
    }

    /// The image's cache with the libraries in front.
    fn cache(&self, image: &Image, directory: &Path, edits: &mut Edits) -> Vec<u8> {
        let bytes = files::read(&image.files, Path::new(CACHE)).ok().flatten();
        let parsed = bytes.as_deref().map(Cache::parse);
        let known = match &parsed {
            Some(Ok(cache)) => Some(cache),
            Some(Err(flaw)) => {
                edits.notes.push(Note::warning(format!(
                    "the image's {CACHE} cannot be read ({flaw}); libraries outside of its \
                     standard directories will not be found"
                )));
                None
            }
            None => None,
        };
        let Some(flags) = flags_of(Abi::NATIVE, known) else { return Vec::new() };
        let ours = self.libraries.iter().map(|(name, _)| (name, below(directory, Path::new(name))));
        let preferred = self.preferred.iter().map(|(name, path)| (name, path.clone()));
        let listed: Vec<(&OsString, PathBuf)> = preferred.chain(ours).collect();
        let own: Vec<OwnEntry> = listed
            .iter()
            .map(|(name, path)| OwnEntry {
                flags,
                name: name.as_bytes(),
                path: path.as_os_str().as_bytes(),
            })
            .collect();
        extended(known, &own)
    }

    fn mount(&self, content: Content, target: PathBuf) -> Mount {
        Mount { content, target, origin: self.origin.clone(), rank: Rank::Injected }
    }
}
