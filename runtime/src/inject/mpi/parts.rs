//! What MPI libraries load and read by themselves: plugins, configuration, help texts.
//!
//! All of it is shown where it is on the host: most of these paths are compiled into the libraries.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::look::directory::DirectoryTree;
use crate::look::files::{self, Files, Kind};
use crate::look::host::Host;
use crate::paths::{below, depth, is_in, parent};

/// Directories of plugins, by the library beside which they are.
const PLUGINS: [(&str, &str); 10] = [
    ("libmpi.so.40", "openmpi"),
    ("libopen-pal.so", "openmpi"),
    ("libopen-pal.so", "openmpi3"),
    ("libpmix.so", "pmix"),
    ("libpmix.so", "pmix2"),
    ("libucs.so", "ucx"),
    ("libfabric.so", "libfabric"),
    // Intel's.
    ("libfabric.so", "prov"),
    ("libibverbs.so", "libibverbs"),
    ("libhwloc.so", "hwloc"),
];

/// Configuration and data of the system's packages: Debian's, Red Hat's, Cray's.
const DATA: [&str; 14] = [
    "/etc/openmpi",
    "/etc/openmpi-x86_64",
    "/etc/pmix",
    "/etc/pmix-mca-params.conf",
    "/etc/ucx",
    "/etc/libibverbs.d",
    "/etc/rdma",
    "/etc/dat.conf",
    "/etc/libnl",
    "/etc/cray-mpich",
    "/usr/share/openmpi",
    "/usr/share/pmix",
    "/usr/share/pmix2",
    "/usr/share/ucx",
];

/// Variables that name directories of plugins, or that of everything.
pub const VARIABLES: [&str; 11] = [
    "OPAL_PREFIX",
    "OPAL_LIBDIR",
    "OPAL_PKGLIBDIR",
    "OPAL_PKGDATADIR",
    "OPAL_SYSCONFDIR",
    "PMIX_PREFIX",
    "PMIX_INSTALL_PREFIX",
    "PRTE_PREFIX",
    "I_MPI_ROOT",
    "FI_PROVIDER_PATH",
    "UCX_MODULE_DIR",
];

/// How deep plugins lie: `openmpi/lib/openmpi3/*.so` is Debian's.
const DEPTH: usize = 3;

/// What is shown at its own path, and the plugins in it.
#[derive(Debug, Default)]
pub struct Parts {
    /// Directories and files.
    pub paths: Vec<PathBuf>,
    /// Libraries that others load by their paths.
    pub plugins: Vec<PathBuf>,
}

/// What belongs to libraries of the host.
pub fn find<'a>(host: &Host, libraries: impl Iterator<Item = &'a Path>) -> Parts {
    let mut parts = Parts::default();
    for library in libraries {
        let Some(directory) = parent(library) else { continue };
        if let Some(root) = root_of(host, directory) {
            parts.add(&host.files, root);
        }
        let name = library.file_name().unwrap_or_default();
        let is_beside =
            |(beside, _): &&(&str, &str)| name.as_bytes().starts_with(beside.as_bytes());
        for (_, plugins) in PLUGINS.iter().filter(is_beside) {
            // Debian has the library of PMIx below the directory of its plugins.
            for above in directory.ancestors().take(3) {
                let place = below(above, Path::new(plugins));
                if parts.add(&host.files, &place) {
                    parts.take_plugins(&host.files, &place, DEPTH);
                }
            }
        }
    }
    for path in DATA {
        parts.add(&host.files, Path::new(path));
    }
    for path in VARIABLES.iter().filter_map(|name| host.path_variable(name)) {
        if depth(&path) > 1 && path != Path::new("/usr/local") {
            parts.add(&host.files, &path);
        }
    }
    parts.paths.sort();
    let outer: Vec<PathBuf> = parts.paths.clone();
    let is_outer = |path: &PathBuf| !outer.iter().any(|other| other != path && is_in(path, other));
    parts.paths.retain(is_outer);
    parts
}

/// The directory that something was installed in, if it has one of its own.
fn root_of<'a>(host: &Host, directory: &'a Path) -> Option<&'a Path> {
    let is_of_libraries = |name: &OsStr| name.as_bytes().starts_with(b"lib") || name == "release";
    let mut above = directory;
    while above.file_name().is_some_and(is_of_libraries) {
        above = parent(above)?;
    }
    let is_multiarch =
        above.file_name().is_some_and(|name| name.as_bytes().ends_with(b"-linux-gnu"));
    let is_home = host.path_variable("HOME").is_some_and(|home| above == home);
    let is_wide = depth(above) < 2 || above == Path::new("/usr/local");
    (!is_wide && !is_multiarch && !is_home).then_some(above)
}

/// `mca_pml_ucx.so`, or `libuct_ib.so.0.0.0`, to which a link of the other form leads.
fn is_object(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}

impl Parts {
    /// Adds what is there and not yet known; says whether it is a directory that was added.
    fn add(&mut self, files: &DirectoryTree, path: &Path) -> bool {
        if self.paths.iter().any(|known| known == path) {
            return false;
        }
        let Ok(Some((_, kind))) = files::find(files, path) else { return false };
        self.paths.push(path.to_path_buf());
        kind == Kind::Directory
    }

    fn take_plugins(&mut self, files: &DirectoryTree, directory: &Path, depth: usize) {
        let Ok(Some((directory, Kind::Directory))) = files::find(files, directory) else { return };
        for (name, kind) in files.list(&directory).unwrap_or_default() {
            let path = below(&directory, Path::new(&name));
            match kind {
                Kind::Directory if depth > 1 => self.take_plugins(files, &path, depth - 1),
                Kind::File if is_object(&name) => self.plugins.push(path),
                _ => {}
            }
        }
    }
}
