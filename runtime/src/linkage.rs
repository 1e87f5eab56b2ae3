//! Which libraries a program is linked with, found as its loader would find them (ld.so(8)).

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::elf::{Abi, NeededVersion, Object, SearchPaths, Symbols};
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

/// A loader in a tree of files.
pub struct Loader<'a> {
    files: &'a dyn OpenFiles,
    /// What its cache has of each name.
    cache: FxHashMap<OsString, Vec<PathBuf>>,
    /// `LD_LIBRARY_PATH`.
    library_path: Vec<PathBuf>,
    /// Each object is read once; nothing: no program here can use it.
    known: RefCell<FxHashMap<PathBuf, Option<Rc<Facts>>>>,
}

/// What an object says of itself.
#[derive(Debug, Default)]
struct Facts {
    needed: Vec<OsString>,
    lists: SearchPaths,
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
    /// Its own `DT_RPATH` and those of whoever has loaded it.
    rpath: Vec<PathBuf>,
    runpath: Vec<PathBuf>,
}

impl<'a> Loader<'a> {
    /// Makes a loader with an `LD_LIBRARY_PATH`.
    pub fn new(files: &'a dyn OpenFiles, library_path: &OsStr) -> Self {
        let mut cache: FxHashMap<OsString, Vec<PathBuf>> = FxHashMap::default();
        let bytes = files::read(files, Path::new(CACHE)).ok().flatten().unwrap_or_default();
        for entry in Cache::parse(&bytes).iter().flat_map(Cache::entries) {
            let (name, path) = (OsStr::from_bytes(entry.name), OsStr::from_bytes(entry.path));
            cache.entry(name.to_owned()).or_default().push(path.into());
        }
        let library_path = std::env::split_paths(library_path);
        let library_path = library_path.filter(|path| path.is_absolute()).collect();
        Loader { files, cache, library_path, known: RefCell::default() }
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
                lists: object.search_paths().ok()?,
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
        let lists = [&by.rpath, &self.library_path, &by.runpath];
        let listed = lists.into_iter().find_map(|list| self.find_in(list, name));
        listed.or_else(|| self.cached(name)).or_else(|| {
            let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
            places.find_map(|place| self.sound(&place, false))
        })
    }

    /// Where the cache has a library; entries for newer processors lead to the same interface.
    fn cached(&self, name: &OsStr) -> Option<Found> {
        self.cache.get(name)?.iter().find_map(|path| self.sound(path, false))
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
        let paths = Paths::new(&facts.lists, origin.unwrap_or(Path::new("/")), inherited);
        Linked { name, found, needed, paths }
    }
}

impl Linked {
    /// The directories that it wants looked through before the cache is asked.
    pub fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.rpath.iter().chain(&self.paths.runpath)
    }
}

impl Paths {
    fn new(lists: &SearchPaths, origin: &Path, inherited: &[PathBuf]) -> Self {
        let split = |list: &Option<OsString>| -> Vec<PathBuf> {
            let list = list.as_deref().unwrap_or_default();
            let listed = std::env::split_paths(list).map(|directory| expand(&directory, origin));
            listed.filter(|directory| directory.is_absolute()).collect()
        };
        let runpath = split(&lists.runpath);
        let mut rpath = if runpath.is_empty() { split(&lists.rpath) } else { Vec::new() };
        rpath.extend_from_slice(inherited);
        Paths { rpath, runpath }
    }
}

/// Replaces `$ORIGIN` and `${ORIGIN}` at the start of a directory; nobody writes it elsewhere.
fn expand(directory: &Path, origin: &Path) -> PathBuf {
    let rest = ["$ORIGIN", "${ORIGIN}"]
        .iter()
        .find_map(|word| directory.as_os_str().as_bytes().strip_prefix(word.as_bytes()));
    match rest {
        Some(rest) => {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            below(origin, Path::new(OsStr::from_bytes(rest)))
        }
        None => directory.to_path_buf(),
    }
}
