//! Whether the image's C library has what the host's MPI needs, and the host's in its place.
//!
//! A newer glibc runs what was made for an older one, never the other way round.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::edits::Edits;
use crate::linkage::{Loader, glibc_number, newest_glibc};
use crate::look::files::{self, Kind};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;

#[cfg(target_arch = "x86_64")]
const INTERPRETER: &str = "ld-linux-x86-64.so.2";
#[cfg(not(target_arch = "x86_64"))]
const INTERPRETER: &str = "ld-linux-aarch64.so.1";

/// Files of glibc: all of one release, or none.
const LIBRARIES: [&str; 16] = [
    INTERPRETER,
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "libanl.so.1",
    "libnsl.so.1",
    "libnss_files.so.2",
    "libnss_dns.so.2",
    "libnss_compat.so.2",
    "libBrokenLocale.so.1",
    "libthread_db.so.1",
];

/// Where glibc has the modules that convert between character sets, beside itself.
const CONVERSIONS: &str = "gconv";

/// What a library of the host needs and the image's glibc lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// The library.
    pub library: OsString,
    /// The symbol version: `GLIBC_2.34`.
    pub version: OsString,
    /// What should define it: `libc.so.6`.
    pub file: OsString,
    /// The image's glibc, if it is known: `2.31`.
    pub image: Option<String>,
    /// The host's.
    pub host: Option<String>,
}

/// Whether a library is a part of glibc.
pub fn is_part(name: &OsStr) -> bool {
    LIBRARIES.iter().any(|part| name == *part) || name.as_bytes().starts_with(b"libnss_")
}

/// The image's glibc, as libraries of the host ask for it.
pub struct Libc<'a> {
    outside: &'a Loader<'a>,
    inside: &'a Loader<'a>,
    /// The versions each part of it defines.
    defined: RefCell<BTreeMap<OsString, Vec<OsString>>>,
}

impl<'a> Libc<'a> {
    /// Looks at nothing yet.
    pub fn new(outside: &'a Loader<'a>, inside: &'a Loader<'a>) -> Self {
        Libc { outside, inside, defined: RefCell::default() }
    }

    /// The newest symbol version that a library of the host needs and the image does not define.
    pub fn lack(&self, library: &Path) -> Option<TooOld> {
        let needs = self.outside.needed_versions(library).into_iter();
        let lacking = needs.filter(|need| !need.is_weak && is_part(&need.file)).filter(|need| {
            let mut defined = self.defined.borrow_mut();
            let known = defined
                .entry(need.file.clone())
                .or_insert_with(|| versions(self.inside, &need.file).unwrap_or_default());
            !known.contains(&need.version)
        });
        let newest = lacking.max_by_key(|need| glibc_number(&need.version))?;
        Some(TooOld {
            library: library.file_name().unwrap_or_default().to_owned(),
            version: newest.version,
            file: newest.file,
            image: release(self.inside),
            host: release(self.outside),
        })
    }
}

/// Covers the image's glibc with the host's.
pub fn replace(
    image: &Image,
    host: &Host,
    outside: &Loader,
    inside: &Loader,
    origin: &Origin,
    edits: &mut Edits,
) {
    let mut cover = |source, target| edits.show(source, target, origin);
    let mut new = Vec::new();
    for name in LIBRARIES.map(OsStr::new) {
        let Some(source) = outside.find_name(name) else { continue };
        match inside.find_name(name) {
            Some(found) => cover(source.path, found.path),
            None => new.push((name, source.path)),
        }
    }
    let modules = |loader: &Loader, files: &dyn files::Files| {
        let place = loader.find_name(OsStr::new("libc.so.6"))?;
        let place = place.path.with_file_name(CONVERSIONS);
        match files::find(files, &place) {
            Ok(Some((path, Kind::Directory))) => Some(path),
            _ => None,
        }
    };
    if let (Some(source), Some(target)) =
        (modules(outside, &host.files), modules(inside, &image.files))
    {
        cover(source, target);
    }
    for (name, path) in new {
        edits.named.library(name, path, origin);
    }
}

impl TooOld {
    /// The symbol version as numbers, to be compared.
    pub fn number(&self) -> Vec<u32> {
        glibc_number(&self.version).unwrap_or_default()
    }
}

/// The newest symbol version of a loader's glibc: `2.36`.
fn release(loader: &Loader) -> Option<String> {
    newest_glibc(&versions(loader, OsStr::new("libc.so.6"))?).map(|(_, written)| written)
}

fn versions(loader: &Loader, name: &OsStr) -> Option<Vec<OsString>> {
    Some(loader.defined_versions(&loader.find_name(name)?.path))
}
