//! Makes the image's loader find libraries of the host.
//!
//! The libraries stay where they are: their directories are shown inside, out of every search
//! path, and one directory of links gives those that are wanted their names. The image's
//! `ld.so.cache` is shown with these names in front (docs/decisions/0010), so they are found by
//! dlopen(3), by `ldconfig -p` and by programs that ignore `LD_LIBRARY_PATH`, and win over what the
//! image may have itself.

use std::ffi::{OsStr, OsString};
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
use crate::paths::{below, inner, is_in, parent};
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
    if named.libraries.is_empty() && named.programs.is_empty() {
        return;
    }
    let mut seen = FxHashSet::default();
    named.libraries.retain(|library| seen.insert(library.name.clone()));
    let mut shown = Shown::new(request, image, &named);
    let (links, entries) = shown.libraries();
    let programs = shown.programs();
    shown.mount_directories(edits);
    if let Some(first) = named.libraries.first() {
        let directory = directory(request);
        shown.teach(image, &directory, &entries, &first.origin, edits);
        edits.mount(Content::Links { links }, directory, &first.origin);
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
    /// The image has a loader that reads `ld.so.cache`.
    has_glibc: bool,
    /// The image has a loader that has a search path only.
    has_musl: bool,
}

/// Names, and what each leads to.
type Links = Vec<(OsString, PathBuf)>;

impl<'a> Shown<'a> {
    fn new(request: &Request, image: &Image, named: &'a Named) -> Self {
        let directories = Vec::new();
        let has_glibc = image.files.holds(Path::new(GLIBC));
        let has_musl = image.files.holds(Path::new(MUSL.0));
        Shown { base: base(request), directories, named, has_glibc, has_musl }
    }

    /// The links that are made, and where the loader finds each name.
    ///
    /// Compilers look for what programs are linked with in the directory of links; everything else
    /// a cache can name where it is.
    fn libraries(&mut self) -> (Links, Links) {
        let files = &self.named.libraries;
        let known = files.iter().filter_map(|library| match &library.means {
            Meaning::Name(known) => Some(known.as_os_str()),
            Meaning::File(_) => None,
        });
        let known: FxHashSet<&OsStr> = known.collect();
        let needs_all = self.has_musl || !self.has_glibc;
        let directory = self.base.join("lib");
        let (mut links, mut entries) = (Vec::with_capacity(files.len()), Vec::new());
        for NamedFile { name, means, origin } in files {
            let target = match means {
                Meaning::Name(known) => PathBuf::from(known),
                Meaning::File(path) => {
                    let (number, file) = self.inside(path, origin);
                    if !needs_all && !known.contains(name.as_os_str()) {
                        entries.push((name.clone(), below(&self.shown_at(number), file)));
                        continue;
                    }
                    below(Path::new(&format!("../{number}")), file)
                }
            };
            entries.push((name.clone(), below(&directory, Path::new(name))));
            links.push((name.clone(), target));
        }
        (links, entries)
    }

    fn programs(&mut self) -> Links {
        let files = self.named.programs.iter();
        let links = files.filter_map(|program| {
            let Meaning::File(path) = &program.means else { return None };
            let (number, file) = self.inside(path, &program.origin);
            Some((program.name.clone(), below(Path::new(&format!("../{number}")), file)))
        });
        links.collect()
    }

    /// Where a directory of the host is shown.
    fn shown_at(&self, number: usize) -> PathBuf {
        below(&self.base, Path::new(&number.to_string()))
    }

    /// The number of a directory that is shown and holds a file, and the file's path in it.
    fn inside<'f>(&mut self, path: &'f Path, origin: &'a Origin) -> (usize, &'f Path) {
        let inside =
            |(number, known): (usize, &(PathBuf, _))| Some((number, inner(path, &known.0)?));
        if let Some(found) = self.directories.iter().enumerate().find_map(inside) {
            return found;
        }
        let directory = parent(path).unwrap_or(Path::new("/"));
        self.directories.push((directory.to_path_buf(), origin));
        (self.directories.len() - 1, inner(path, directory).unwrap_or(path))
    }

    fn mount_directories(&self, edits: &mut Edits) {
        for (number, (directory, origin)) in self.directories.iter().enumerate() {
            edits.show(directory.clone(), self.shown_at(number), origin);
        }
    }

    /// Tells the image's loaders where the libraries are.
    fn teach(
        &self,
        image: &Image,
        directory: &Path,
        entries: &Links,
        origin: &Origin,
        edits: &mut Edits,
    ) {
        if self.has_glibc {
            let contents = self.cache(image, entries, edits);
            edits.replace_file(PathBuf::from(CACHE), contents, origin);
        }
        if self.has_musl {
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
        } else if !self.has_glibc {
            leftovers::cover(image, None, self.named, edits);
            let preferred = self.named.preferred.iter().filter_map(|(_, path)| parent(path));
            edits.library_path.extend(preferred.take(1).map(Path::to_path_buf));
            edits.library_path.push(directory.to_path_buf());
        }
    }

    /// The image's cache with the libraries in front; what the image has of their names is covered.
    fn cache(&self, image: &Image, entries: &Links, edits: &mut Edits) -> Vec<u8> {
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
        let own: Vec<OwnEntry> = self
            .named
            .preferred
            .iter()
            .chain(entries)
            .map(|(name, path)| OwnEntry {
                flags,
                name: name.as_bytes(),
                path: path.as_os_str().as_bytes(),
            })
            .collect();
        extended(known, &own)
    }
}
