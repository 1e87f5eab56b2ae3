//! Makes the image's loader find libraries of the host.
//!
//! The libraries stay where they are: their directories are shown inside, out of every search
//! path, and one directory of links gives those that are wanted their names. The image's
//! `ld.so.cache` is shown with these names in front (docs/decisions/0010), so they are found by
//! dlopen(3), by `ldconfig -p` and by programs that ignore `LD_LIBRARY_PATH`, and win over what the
//! image may have itself.

use std::ffi::OsString;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use super::leftovers;
use crate::edits::{Content, Edits, Meaning, Named, NamedFile};
use crate::elf::Abi;
use crate::ldcache::{Cache, OwnEntry, extended, flags_of};
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

/// Where images have libraries.
#[cfg(target_arch = "x86_64")]
pub(super) const LIBRARY_DIRECTORIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const LIBRARY_DIRECTORIES: [&str; 2] = ["/usr/lib/aarch64-linux-gnu", "/usr/lib64"];

/// Where musl looks when nobody says otherwise (musl, `ldso/dynlink.c`).
const MUSL_DEFAULT: &str = "/lib:/usr/local/lib:/usr/lib";

const CACHE: &str = "/etc/ld.so.cache";

/// Asks for everything that injectors gave names to be found inside.
pub(super) fn finish(request: &Request, image: &Image, edits: &mut Edits) {
    let mut named = mem::take(&mut edits.named);
    let mut seen = FxHashSet::default();
    named.libraries.retain(|library| seen.insert(library.name.clone()));
    if named.libraries.is_empty() && named.programs.is_empty() {
        return;
    }
    let mut shown = Shown { base: base(request), directories: Vec::new(), named: &named };
    let libraries = shown.links(&named.libraries);
    let programs = shown.links(&named.programs);
    shown.mount_directories(edits);
    if let Some(first) = named.libraries.first() {
        let directory = directory(request);
        shown.teach(image, &directory, &first.origin, edits);
        edits.mount(Content::Links { links: libraries }, directory, &first.origin);
    }
    if let Some(first) = named.programs.first() {
        let directory = shown.base.join("bin");
        let links = Content::Links { links: programs };
        edits.mount(links, directory.clone(), &first.origin);
        edits.path.push(directory);
    }
}

/// The directory of the libraries' names, inside.
pub(super) fn directory(request: &Request) -> PathBuf {
    base(request).join("lib")
}

/// The directory inside that holds everything.
fn base(request: &Request) -> PathBuf {
    let is_covered = |base: &&&str| {
        let mut targets = request.binds.iter().map(|bind| match &bind.value.target {
            Some(target) => target,
            None => &bind.value.source,
        });
        targets.any(|target| is_in(Path::new(base), target))
    };
    PathBuf::from(BASES.iter().find(|base| !is_covered(base)).unwrap_or(&BASES[2]))
}

/// Named files on their way to be mounts.
struct Shown<'a> {
    base: PathBuf,
    /// The host's directories that are shown, each at a number below the base, and who wants it.
    directories: Vec<(PathBuf, &'a Origin)>,
    named: &'a Named,
}

impl<'a> Shown<'a> {
    /// What each name becomes a link to.
    fn links(&mut self, files: &'a [NamedFile]) -> Vec<(OsString, PathBuf)> {
        let link = |file: &'a NamedFile| {
            let target = match &file.means {
                Meaning::File(path) => self.inside(path, &file.origin),
                Meaning::Name(known) => PathBuf::from(known),
            };
            (file.name.clone(), target)
        };
        files.iter().map(link).collect()
    }

    /// Where a link leads so that it finds a file of the host.
    fn inside(&mut self, path: &Path, origin: &'a Origin) -> PathBuf {
        let directory = parent(path).unwrap_or(Path::new("/"));
        let is_it = |known: &(PathBuf, _)| known.0.as_os_str() == directory.as_os_str();
        let known = self.directories.iter().position(is_it);
        let number = known.unwrap_or_else(|| {
            self.directories.push((directory.to_path_buf(), origin));
            self.directories.len() - 1
        });
        let name = path.file_name().unwrap_or_default();
        below(Path::new(&format!("../{number}")), Path::new(name))
    }

    fn mount_directories(&self, edits: &mut Edits) {
        for (number, (directory, origin)) in self.directories.iter().enumerate() {
            let content = Content::Bind {
                source: directory.clone(),
                recursive: false,
                read_only: true,
                optional: false,
            };
            edits.mount(content, self.base.join(number.to_string()), origin);
        }
    }

    /// Tells the image's loaders of the directory with the libraries.
    fn teach(&self, image: &Image, directory: &Path, origin: &Origin, edits: &mut Edits) {
        let has_glibc = image.files.holds(Path::new(GLIBC));
        if has_glibc {
            let contents = self.cache(image, directory, edits);
            edits.replace_file(PathBuf::from(CACHE), contents, origin);
        }
        if image.files.holds(Path::new(MUSL.0)) {
            let path = files::read(&image.files, Path::new(MUSL.1)).ok().flatten();
            let mut contents = path.unwrap_or_else(|| MUSL_DEFAULT.into());
            contents.truncate(contents.trim_ascii_end().len());
            contents.push(b'\n');
            contents.extend_from_slice(directory.as_os_str().as_bytes());
            contents.push(b'\n');
            edits.replace_file(PathBuf::from(MUSL.1), contents, origin);
            edits.notes.push(Note::warning(
                "the image is built on musl, and the GPU libraries on glibc: they can be found, \
                 but most programs cannot load them"
                    .to_owned(),
            ));
        } else if !has_glibc {
            leftovers::cover(image, None, self.named, edits);
            let preferred = self.named.preferred.iter().filter_map(|(_, path)| parent(path));
            edits.library_path.extend(preferred.take(1).map(Path::to_path_buf));
            edits.library_path.push(directory.to_path_buf());
        }
    }

    /// The image's cache with the libraries in front; what the image has of their names is covered.
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
        leftovers::cover(image, known, self.named, edits);
        let Some(flags) = flags_of(Abi::NATIVE, known) else { return Vec::new() };
        let libraries = self.named.libraries.iter().map(|library| &library.name);
        let ours = libraries.map(|name| (name, below(directory, Path::new(name))));
        let preferred = self.named.preferred.iter().map(|(name, path)| (name, path.clone()));
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
}
