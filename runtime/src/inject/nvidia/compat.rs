//! CUDA forward compatibility: an image may bring the libraries of a newer driver.
//!
//! The rule is that of NVIDIA's `enable-cuda-compat` hook: a note in the library names the drivers
//! it works with; without one, a newer major version counts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::elf::{Abi, Object};
use crate::look::files::{self, Files, Kind, OpenFiles};
use crate::look::image::Image;

/// Where the packages `cuda-compat-*` put it.
pub const DIRECTORY: &str = "/usr/local/cuda/compat";

/// The libraries of a newer driver: sonames and their files inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compat {
    /// The version: `590.44.01`.
    pub version: String,
    /// The soname of each library, and the library.
    pub libraries: Vec<(OsString, PathBuf)>,
}

/// What the note in the library says; unknown fields are for later versions of it.
#[derive(serde::Deserialize)]
struct CompatNote {
    /// Major versions of the drivers it works with.
    #[serde(rename = "Driver", default)]
    drivers: Vec<u64>,
}

/// Finds the libraries an image brings, if they are to be used with a driver of the host.
pub fn find(image: &Image, directory: &Path, host_version: &str) -> Option<Compat> {
    let Ok(Some((directory, Kind::Directory))) = files::find(&image.files, directory) else {
        return None;
    };
    let names = image.files.list(&directory).ok()?;
    let named = names.iter().filter(|(_, kind)| *kind == Kind::File).map(|(name, _)| name);
    let versions: Vec<&str> = named
        .clone()
        .filter_map(|name| name.to_str()?.strip_prefix("libcuda.so."))
        .filter(|version| version.contains('.'))
        .collect();
    let [version] = versions.as_slice() else { return None };
    let libcuda = directory.join(format!("libcuda.so.{version}"));
    if !is_for(image, &libcuda, version, host_version) {
        return None;
    }
    let suffix = format!(".so.{version}");
    let libraries = named.filter(|name| name.as_bytes().ends_with(suffix.as_bytes()));
    let libraries = libraries.filter_map(|name| {
        let path = directory.join(name);
        Some((soname(image, &path)?, path))
    });
    Some(Compat { version: (*version).to_owned(), libraries: libraries.collect() })
}

/// Whether a libcuda is for hosts with a driver of some version.
fn is_for(image: &Image, libcuda: &Path, version: &str, host_version: &str) -> bool {
    let (own, hosts) = (numbers(version), numbers(host_version));
    let Some(major) = hosts.first() else { return false };
    let note = image.files.open_file(libcuda).ok().and_then(|file| {
        let json = Object::read(&file).ok()?.forward_compatibility().ok()??;
        serde_json::from_slice::<CompatNote>(&json).ok()
    });
    match note {
        Some(note) => note.drivers.contains(major) && own > hosts,
        None => own.first() > Some(major),
    }
}

fn soname(image: &Image, path: &Path) -> Option<OsString> {
    let file = image.files.open_file(path).ok()?;
    let object = Object::read(&file).ok().filter(|object| object.abi == Abi::NATIVE)?;
    object.soname.or_else(|| path.file_name().map(OsStr::to_owned))
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}
