//! Whether the image's C library has what the driver's libraries need.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::driver::Library;
use crate::elf::Object;
use crate::linkage::{DIRECTORIES, newest_glibc};
use crate::look::files::{self, OpenFiles};
use crate::plan::Note;

/// Names libraries that the image's C library is too old for, one for each version it lacks.
pub fn too_new(libraries: &[Library], image: &dyn OpenFiles, host: &dyn OpenFiles) -> Vec<Note> {
    let mut wanted: BTreeMap<&OsStr, BTreeMap<&OsStr, &Library>> = BTreeMap::new();
    for library in libraries {
        for need in library.needs.iter().filter(|need| !need.is_weak) {
            wanted.entry(&need.file).or_default().entry(&need.version).or_insert(library);
        }
    }
    let mut notes = Vec::new();
    for (file, versions) in wanted {
        let Some(defined) = defined(image, file) else { continue };
        let defined: BTreeSet<OsString> = defined.into_iter().collect();
        for (version, library) in
            versions.iter().filter(|(version, _)| !defined.contains(**version))
        {
            let (name, file, version) = (library.name.display(), file.display(), version.display());
            let here = glibc(host).unwrap_or_else(|| "unknown".to_owned());
            let there = glibc(image).unwrap_or_else(|| "unknown".to_owned());
            notes.push(Note::warning(format!(
                "{name} needs {version} of {file}, which the image lacks (its glibc is {there}, \
                 the host's {here}): programs that use it will not start; an image with a newer \
                 glibc would do"
            )));
        }
    }
    notes
}

/// Whether an image's C library is older than the host's, as far as both are known.
pub fn is_older(image: &dyn OpenFiles, host: &dyn OpenFiles) -> bool {
    match (newest(image), newest(host)) {
        (Some((image, _)), Some((host, _))) => image < host,
        _ => true,
    }
}

/// The versions a library of a tree defines; nothing if it is not there.
fn defined(files: &dyn OpenFiles, name: &OsStr) -> Option<Vec<OsString>> {
    let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
    let (path, _) = places.find_map(|path| files::find(files, &path).ok().flatten())?;
    let file = files.open_file(&path).ok()?;
    Object::read(&file).ok()?.defined_versions().ok()
}

/// The version of a tree's glibc.
fn glibc(files: &dyn OpenFiles) -> Option<String> {
    newest(files).map(|(_, version)| version)
}

/// The newest version a tree's C library defines, as numbers and as it is written.
fn newest(files: &dyn OpenFiles) -> Option<(Vec<u32>, String)> {
    newest_glibc(&defined(files, OsStr::new("libc.so.6"))?)
}
