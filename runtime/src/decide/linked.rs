//! Which libraries a program will load, found as the loader of its image finds them (ld.so(8)).

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::basis::Basis;
use super::tree::Tree;
use crate::elf::{Object, SearchPath};
use crate::ldcache::Cache;
use crate::look::files::{self, Kind};
use crate::paths::{below, parent};

/// Where loaders look at last: glibc's as distributions build it, and musl's.
const STANDARD: [&str; 9] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

/// What `$LIB` in a search path stands for: Debian's loader, Red Hat's, and others.
const LIB: [&str; 4] = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"];

/// What every program loads, and what leads nowhere.
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

/// More libraries than any sound program has, and fewer than a hostile image could.
const LIMIT: usize = 500;

/// Files as the command will see them.
pub(super) struct Files<'a> {
    basis: Basis<'a>,
    tree: &'a Tree<'a>,
    /// `LD_LIBRARY_PATH` inside.
    library_path: Vec<PathBuf>,
    cache: OnceCell<Option<Vec<u8>>>,
}

/// A program or a library, as it is loaded.
pub(super) struct Loaded {
    /// Where the loader found it.
    pub path: PathBuf,
    /// What it is linked with.
    pub needed: Vec<OsString>,
    /// Directories that come before `LD_LIBRARY_PATH`: its own, and those of what led to it.
    before: Vec<PathBuf>,
    /// Directories that come after it. An object that has such has none before.
    after: Option<Vec<PathBuf>>,
}

impl<'a> Files<'a> {
    /// Files of a container, for a command with an `LD_LIBRARY_PATH`.
    pub fn new(basis: Basis<'a>, tree: &'a Tree<'a>, library_path: Option<&OsStr>) -> Self {
        let library_path = library_path.map(|path| std::env::split_paths(path).collect());
        let library_path = library_path.unwrap_or_default();
        Files { basis, tree, library_path, cache: OnceCell::new() }
    }

    /// The file that a command will be.
    pub fn program<'p>(
        &self,
        command: &Path,
        search: impl Iterator<Item = &'p Path>,
        start: &Path,
    ) -> Option<PathBuf> {
        if command.as_os_str().as_bytes().contains(&b'/') {
            return self.file(&start.join(command));
        }
        let mut paths = search.map(|directory| start.join(directory).join(command));
        paths.find_map(|path| self.file(&path))
    }

    /// The first library a program loads, itself or through others, that is called one of some
    /// names, and that name.
    pub fn library(
        &self,
        program: PathBuf,
        is_wanted: impl Fn(&OsStr) -> bool,
    ) -> Option<(OsString, Loaded)> {
        let mut seen: Vec<OsString> = Vec::new();
        let mut todo = VecDeque::from([self.load(program, &[])?]);
        while let Some(object) = todo.pop_front() {
            if let Some(name) = object.needed.iter().find(|name| is_wanted(name)) {
                let path = self.find(name, &object)?;
                return Some((name.clone(), self.load(path, &object.before)?));
            }
            for name in &object.needed {
                let is_leaf =
                    LEAVES.iter().any(|leaf| name.as_bytes().starts_with(leaf.as_bytes()));
                if is_leaf || seen.contains(name) || seen.len() == LIMIT {
                    continue;
                }
                seen.push(name.clone());
                let path = self.find(name, &object);
                todo.extend(path.and_then(|path| self.load(path, &object.before)));
            }
        }
        None
    }

    /// A path inside without symbolic links, if a file is there.
    pub fn file(&self, path: &Path) -> Option<PathBuf> {
        let (path, kind) = self.tree.find(path)?;
        (kind == Kind::File).then_some(path)
    }

    /// Where the loader finds what an object is linked with, or opens.
    pub fn find(&self, name: &OsStr, object: &Loaded) -> Option<PathBuf> {
        if name.as_bytes().contains(&b'/') {
            return Some(PathBuf::from(name));
        }
        let in_directories = |directories: &mut dyn Iterator<Item = &Path>| {
            let mut paths = directories.map(|directory| below(directory, Path::new(name)));
            paths.find(|path| path.is_absolute() && self.file(path).is_some())
        };
        let before = if object.after.is_some() { [].iter() } else { object.before.iter() };
        let after = object.after.iter().flatten();
        let asked = before.chain(&self.library_path).chain(after);
        in_directories(&mut asked.map(PathBuf::as_path))
            .or_else(|| self.cached(name))
            .or_else(|| in_directories(&mut STANDARD.iter().map(Path::new)))
    }

    /// Where the loader's cache has a library.
    fn cached(&self, name: &OsStr) -> Option<PathBuf> {
        let read = || files::read(self.tree, Path::new("/etc/ld.so.cache")).ok().flatten();
        let cache = Cache::parse(self.cache.get_or_init(read).as_deref()?).ok()?;
        let path = cache.find(name.as_bytes()).first()?.path;
        Some(PathBuf::from(OsStr::from_bytes(path)))
    }

    /// Reads what a loader reads of a file.
    fn load(&self, path: PathBuf, before: &[PathBuf]) -> Option<Loaded> {
        let real = self.file(&path)?;
        let on_host = self.tree.on_host(&real);
        let on_host = on_host.unwrap_or_else(|| self.basis.image.outside(&real));
        let file = self.basis.host.files.open_file(&on_host).ok()?;
        let object = Object::read(&file).ok()?;
        let needed = object.needed().ok()?;
        let mut loaded = Loaded { path, needed, before: Vec::new(), after: None };
        let origin = parent(&loaded.path).unwrap_or(Path::new("/"));
        match object.search_path().ok()? {
            Some(SearchPath::First(path)) => loaded.before = directories(&path, origin),
            Some(SearchPath::Second(path)) => loaded.after = Some(directories(&path, origin)),
            None => {}
        }
        loaded.before.extend_from_slice(before);
        Some(loaded)
    }
}

/// The directories of a search path; `$ORIGIN` is the object's own.
fn directories(path: &OsStr, origin: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for directory in std::env::split_paths(path) {
        let directory = replace(directory.as_os_str().as_bytes(), "ORIGIN", origin.as_os_str());
        let with_lib = LIB.map(|lib| replace(&directory, "LIB", OsStr::new(lib)));
        let is_one = with_lib[0] == with_lib[1];
        let kinds = if is_one { &with_lib[..1] } else { &with_lib[..] };
        directories
            .extend(kinds.iter().map(|path| PathBuf::from(OsString::from_vec(path.clone()))));
    }
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
    fn tokens_of_search_paths_are_replaced() {
        let read = |path: &str| directories(OsStr::new(path), Path::new("/opt/mpi/lib"));
        assert_eq!(read("$ORIGIN:/a"), [Path::new("/opt/mpi/lib"), Path::new("/a")]);
        assert_eq!(read("${ORIGIN}/../x"), [Path::new("/opt/mpi/lib/../x")]);
        assert!(read("/usr/$LIB/mpi").contains(&"/usr/lib64/mpi".into()));
        assert_eq!(read("/usr/$OTHER"), [Path::new("/usr/$OTHER")]);
    }
}
