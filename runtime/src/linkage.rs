//! Which libraries a program is linked with, found as its loader would find them (ld.so(8)).

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::elf::{Abi, NeededVersion, Object, SearchPath, Symbols};
use crate::ldcache::Cache;
use crate::look::files::{self, Kind, OpenFiles};
use crate::paths::{below, parent};

/// Where loaders look at last; Debian's directories, then Red Hat's.
#[cfg(target_arch = "x86_64")]
pub const DIRECTORIES: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
#[cfg(not(target_arch = "x86_64"))]
pub const DIRECTORIES: [&str; 6] = [
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// The loader's own file.
const CACHE: &str = "/etc/ld.so.cache";

/// No program has so many libraries; every name counts once.
const LIMIT: usize = 4096;

/// What `$LIB` in a list stands for: Debian's loader, Red Hat's, and others.
const LIB: [&str; 4] = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"];

/// What every program is linked with, and what is linked with nothing of interest itself.
const LEAVES: [&str; 10] = [
    "ld-linux",
    "libc.",
    "libdl.",
    "libgcc_s.",
    "libm.",
    "libpthread.",
    "libresolv.",
    "librt.",
    "libstdc++.",
    "libutil.",
];

/// A loader in a tree of files.
pub struct Loader<'a> {
    files: &'a dyn OpenFiles,
    /// What its cache has of each name.
    cache: OnceCell<FxHashMap<OsString, Vec<PathBuf>>>,
    /// `LD_LIBRARY_PATH`.
    library_path: Vec<PathBuf>,
    /// Each object is read once; nothing: no program here can use it.
    known: RefCell<FxHashMap<PathBuf, Option<Rc<Facts>>>>,
}

/// What an object says of itself.
#[derive(Debug, Default)]
struct Facts {
    needed: Vec<OsString>,
    list: Option<SearchPath>,
    versions: Vec<NeededVersion>,
}

/// A library or a program, as a loader has found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// What others ask for it by.
    pub name: OsString,
    /// Where it is; nothing if it is not found.
    pub found: Option<Found>,
    /// What it is linked with itself.
    pub needed: Vec<OsString>,
    paths: Paths,
}

/// Where a loader has found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As the loader opens it.
    pub at: PathBuf,
    /// The file, without symbolic links.
    pub path: PathBuf,
    /// It was found by a list of directories, before the loader asked its cache.
    pub is_listed: bool,
}

/// The lists an object brings, with `$ORIGIN` replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Paths {
    /// Its own `DT_RPATH` and those of whoever has loaded it, for what it has loaded too.
    rpath: Vec<PathBuf>,
    /// Its `DT_RUNPATH`, with which the others do not count for itself.
    runpath: Option<Vec<PathBuf>>,
}

impl<'a> Loader<'a> {
    /// Makes a loader with an `LD_LIBRARY_PATH`.
    pub fn new(files: &'a dyn OpenFiles, library_path: &OsStr) -> Self {
        let library_path = std::env::split_paths(library_path);
        let library_path = library_path.filter(|path| path.is_absolute()).collect();
        Loader { files, cache: OnceCell::new(), library_path, known: RefCell::default() }
    }

    /// Programs and libraries, and everything they are linked with, each once, in the order in which
    /// they are loaded.
    pub fn load(&self, files: &[PathBuf]) -> Vec<Linked> {
        let mut seen: FxHashSet<OsString> = FxHashSet::default();
        let mut loaded: Vec<Linked> = Vec::new();
        for file in files {
            if seen.insert(file.into()) {
                loaded.push(self.linked(file.into(), self.sound(file, true), &[]));
            }
        }
        let mut next = 0;
        while let Some(by) = loaded.get(next).cloned() {
            for name in &by.needed {
                if loaded.len() < LIMIT && seen.insert(name.clone()) {
                    loaded.push(self.linked(
                        name.clone(),
                        self.find(name, &by.paths),
                        &by.paths.rpath,
                    ));
                }
            }
            next += 1;
        }
        loaded
    }

    /// The first library a program loads, itself or through others, that has a wanted name;
    /// nothing if it is not found.
    pub fn first(&self, program: &Path, is_wanted: impl Fn(&OsStr) -> bool) -> Option<Linked> {
        let mut seen: FxHashSet<OsString> = FxHashSet::default();
        let found = self.sound(program, true);
        let mut todo = VecDeque::from([self.linked(program.into(), found, &[])]);
        while let Some(by) = todo.pop_front() {
            let load = |name: &OsString| {
                self.linked(name.clone(), self.find(name, &by.paths), &by.paths.rpath)
            };
            if let Some(name) = by.needed.iter().find(|name| is_wanted(name)) {
                return Some(load(name)).filter(|library| library.found.is_some());
            }
            for name in &by.needed {
                let is_leaf =
                    LEAVES.iter().any(|leaf| name.as_bytes().starts_with(leaf.as_bytes()));
                if !is_leaf && seen.len() < LIMIT && seen.insert(name.clone()) {
                    todo.push_back(load(name));
                }
            }
        }
        None
    }

    /// Finds a library that an object opens by name.
    pub fn find_for(&self, name: &OsStr, object: &Linked) -> Option<Found> {
        self.find(name, &object.paths)
    }

    /// Whether a file is beside a library, where it was found or where it is.
    pub fn has_beside(&self, library: &Found, name: &str) -> bool {
        [&library.at, &library.path].into_iter().filter_map(|path| parent(path)).any(|directory| {
            let path = below(directory, Path::new(name));
            matches!(files::find(self.files, &path), Ok(Some((_, Kind::File))))
        })
    }

    /// Finds a library by name, as dlopen(3) would for a program that brings no lists.
    pub fn find_name(&self, name: &OsStr) -> Option<Found> {
        self.find(name, &Paths::default())
    }

    /// The first of several directories that has a library.
    pub fn find_in(&self, directories: &[PathBuf], name: &OsStr) -> Option<Found> {
        let places = directories.iter().map(|directory| below(directory, Path::new(name)));
        places.into_iter().find_map(|place| self.sound(&place, true))
    }

    /// The object in a file.
    pub fn object<T>(&self, path: &Path, ask: impl FnOnce(&Object) -> Option<T>) -> Option<T> {
        let file = self.files.open_file(path).ok()?;
        ask(&Object::read(&file).ok()?)
    }

    /// The symbols of the object in a file.
    pub fn symbols(&self, path: &Path) -> Option<Symbols> {
        self.object(path, |object| object.symbols().ok())
    }

    /// The versions the object in a file defines.
    pub fn defined_versions(&self, path: &Path) -> Vec<OsString> {
        self.object(path, |object| object.defined_versions().ok()).unwrap_or_default()
    }

    /// The versions the object in a file needs of its libraries.
    pub fn needed_versions(&self, path: &Path) -> Vec<NeededVersion> {
        self.facts(path).map(|facts| facts.versions.clone()).unwrap_or_default()
    }

    /// What an object says of itself, if this machine's programs can be linked with it.
    fn facts(&self, path: &Path) -> Option<Rc<Facts>> {
        if let Some(known) = self.known.borrow().get(path) {
            return known.clone();
        }
        let facts = self.object(path, |object| {
            (object.abi == Abi::NATIVE).then_some(())?;
            Some(Rc::new(Facts {
                needed: object.needed().ok()?,
                list: object.search_path().ok()?,
                versions: object.needed_versions().ok()?,
            }))
        });
        self.known.borrow_mut().insert(path.to_path_buf(), facts.clone());
        facts
    }

    fn find(&self, name: &OsStr, by: &Paths) -> Option<Found> {
        if name.as_bytes().contains(&b'/') {
            return self.sound(Path::new(name), true);
        }
        let lists: [&[PathBuf]; 3] = match &by.runpath {
            Some(runpath) => [&[], &self.library_path, runpath],
            None => [&by.rpath, &self.library_path, &[]],
        };
        let listed = lists.into_iter().find_map(|list| self.find_in(list, name));
        listed.or_else(|| self.cached(name)).or_else(|| {
            let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
            places.find_map(|place| self.sound(&place, false))
        })
    }

    /// Where the cache has a library; entries for newer processors lead to the same interface.
    fn cached(&self, name: &OsStr) -> Option<Found> {
        let cache = self.cache.get_or_init(|| read_cache(self.files));
        cache.get(name)?.iter().find_map(|path| self.sound(path, false))
    }

    /// A file, if this machine's programs can be linked with it; loaders pass over others.
    fn sound(&self, at: &Path, is_listed: bool) -> Option<Found> {
        let (path, kind) = files::find(self.files, at).ok()??;
        let is_sound = kind == Kind::File && self.facts(&path).is_some();
        is_sound.then(|| Found { at: at.to_path_buf(), path, is_listed })
    }

    fn linked(&self, name: OsString, found: Option<Found>, inherited: &[PathBuf]) -> Linked {
        let facts = found.as_ref().and_then(|found| self.facts(&found.path)).unwrap_or_default();
        let needed = facts.needed.clone();
        let origin = found.as_ref().and_then(|found| parent(&found.at));
        let paths = Paths::new(facts.list.as_ref(), origin.unwrap_or(Path::new("/")), inherited);
        Linked { name, found, needed, paths }
    }
}

impl Linked {
    /// The directories that it wants looked through before the cache is asked.
    pub fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.rpath.iter().chain(self.paths.runpath.iter().flatten())
    }
}

impl Paths {
    fn new(list: Option<&SearchPath>, origin: &Path, inherited: &[PathBuf]) -> Self {
        let mut paths = Paths::default();
        match list {
            Some(SearchPath::First(list)) => paths.rpath = directories(list, origin),
            Some(SearchPath::Second(list)) => paths.runpath = Some(directories(list, origin)),
            None => {}
        }
        paths.rpath.extend_from_slice(inherited);
        paths
    }
}

/// A symbol version of glibc as numbers: `GLIBC_2.34`.
pub fn glibc_number(version: &OsStr) -> Option<Vec<u32>> {
    let text = version.to_str()?.strip_prefix("GLIBC_")?;
    text.split('.').map(|part| part.parse().ok()).collect()
}

/// The newest of the versions that a C library defines, as numbers and as it is written: `2.36`.
pub fn newest_glibc(defined: &[OsString]) -> Option<(Vec<u32>, String)> {
    let numbered = defined.iter().filter_map(|version| {
        let written = version.to_str()?.strip_prefix("GLIBC_")?;
        Some((glibc_number(version)?, written.to_owned()))
    });
    numbered.max()
}

/// What a loader's cache has of each name.
fn read_cache(files: &dyn OpenFiles) -> FxHashMap<OsString, Vec<PathBuf>> {
    let mut known: FxHashMap<OsString, Vec<PathBuf>> = FxHashMap::default();
    let bytes = files::read(files, Path::new(CACHE)).ok().flatten().unwrap_or_default();
    for entry in Cache::parse(&bytes).iter().flat_map(Cache::entries) {
        let (name, path) = (OsStr::from_bytes(entry.name), OsStr::from_bytes(entry.path));
        known.entry(name.to_owned()).or_default().push(path.into());
    }
    known
}

/// The directories of a list; `$ORIGIN` is the object's own.
fn directories(list: &OsStr, origin: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for directory in std::env::split_paths(list) {
        let directory = replace(directory.as_os_str().as_bytes(), "ORIGIN", origin.as_os_str());
        let with_lib = LIB.map(|lib| replace(&directory, "LIB", OsStr::new(lib)));
        let is_one = with_lib[0] == with_lib[1];
        let kinds = if is_one { &with_lib[..1] } else { &with_lib[..] };
        directories.extend(kinds.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))));
    }
    directories.retain(|directory| directory.is_absolute());
    directories
}

/// Puts a value in place of `$NAME` and `${NAME}`.
fn replace(text: &[u8], name: &str, value: &OsStr) -> Vec<u8> {
    let forms = [format!("${{{name}}}"), format!("${name}")];
    let mut replaced = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let form = forms.iter().find(|form| rest.starts_with(form.as_bytes()));
        match form {
            Some(form) => {
                replaced.extend_from_slice(value.as_bytes());
                rest = &rest[form.len()..];
            }
            None => {
                replaced.push(*first);
                rest = after;
            }
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_lists_are_replaced() {
        let read = |list: &str| directories(OsStr::new(list), Path::new("/opt/mpi/lib"));
        assert_eq!(read("$ORIGIN:/a:"), [Path::new("/opt/mpi/lib"), Path::new("/a")]);
        assert_eq!(read("${ORIGIN}/../x"), [Path::new("/opt/mpi/lib/../x")]);
        assert!(read("/usr/$LIB/mpi").contains(&"/usr/lib64/mpi".into()));
        assert_eq!(read("/usr/$OTHER"), [Path::new("/usr/$OTHER")]);
    }
}
