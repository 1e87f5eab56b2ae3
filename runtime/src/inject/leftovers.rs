//! Files of the image that have the names of the host's libraries.
//!
//! Images that were saved from a running container have some, empty or of another driver. The
//! loader finds ours before them, except in directories that `LD_LIBRARY_PATH` names; and programs
//! may know the others by their paths. So they are covered by the host's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::loader::LIBRARY_DIRECTORIES;
use crate::edits::{Content, Edits, Meaning, Named, NamedFile};
use crate::ldcache::Cache;
use crate::look::files::{self, Files, Kind};
use crate::look::image::Image;
use crate::paths::{below, parent};

/// An image that has anything of a driver has one of these.
const SIGNPOSTS: [&str; 2] = ["libcuda.so.1", "libnvidia-ml.so.1"];

/// Covers the image's files of the names, in every directory that matters.
pub(super) fn cover(image: &Image, cache: Option<&Cache>, named: &Named, edits: &mut Edits) {
    let directories = directories(image, cache, named);
    if directories.is_empty() {
        return;
    }
    let libraries: BTreeMap<&OsStr, &NamedFile> =
        named.libraries.iter().map(|library| (library.name.as_os_str(), library)).collect();
    for directory in directories {
        let is_ours = |name: &[u8]| libraries.contains_key(OsStr::from_bytes(name));
        for name in image.files.names(&directory, &is_ours).unwrap_or_default() {
            let Some(source) = file(&libraries, &name) else { continue };
            let path = below(&directory, Path::new(&name));
            // A link that leads nowhere is in nobody's way.
            if let Ok(Some((_, Kind::File))) = files::find(&image.files, &path) {
                let (recursive, read_only, optional) = (false, true, true);
                let source = source.to_path_buf();
                let content = Content::Bind { source, recursive, read_only, optional };
                edits.mount(content, path, &libraries[name.as_os_str()].origin);
            }
        }
    }
}

/// The host's file that a name means.
fn file<'a>(libraries: &BTreeMap<&OsStr, &'a NamedFile>, name: &OsStr) -> Option<&'a Path> {
    match &libraries.get(name)?.means {
        Meaning::File(path) => Some(path),
        Meaning::Name(known) => match &libraries.get(known.as_os_str())?.means {
            Meaning::File(path) => Some(path),
            Meaning::Name(_) => None,
        },
    }
}

/// Directories of the image that may have such files, without symbolic links, each once; not those
/// whose libraries are preferred.
fn directories(image: &Image, cache: Option<&Cache>, named: &Named) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    let is_preferred = |directory: &Path| {
        named.preferred.iter().any(|(_, path)| parent(path).is_some_and(|own| own == directory))
    };
    let mut add = |directory: &Path| {
        if let Ok(Some((path, Kind::Directory))) = files::find(&image.files, directory)
            && !directories.contains(&path)
            && !is_preferred(&path)
        {
            directories.push(path);
        }
    };
    let search_path = library_path(image);
    for directory in std::env::split_paths(&search_path).filter(|path| path.is_absolute()) {
        add(&directory);
    }
    for directory in LIBRARY_DIRECTORIES.map(Path::new) {
        let has = |name: &&str| {
            let file = below(directory, Path::new(name));
            matches!(image.files.kind(&file), Ok(Some(_)))
        };
        if SIGNPOSTS.iter().any(has) {
            add(directory);
        }
    }
    for entry in cache.iter().flat_map(|cache| SIGNPOSTS.map(|name| cache.find(name.as_bytes()))) {
        for entry in entry {
            parent(Path::new(OsStr::from_bytes(entry.path))).into_iter().for_each(&mut add);
        }
    }
    directories
}

/// What the image itself sets `LD_LIBRARY_PATH` to.
fn library_path(image: &Image) -> OsString {
    let mut environment = image.config.environment.iter();
    let set = environment.rfind(|assignment| assignment.name == "LD_LIBRARY_PATH");
    set.map(|assignment| assignment.value.expand(&|_| None)).unwrap_or_default()
}
