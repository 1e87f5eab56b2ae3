//! The MPI libraries of the host.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::family::Family;
use crate::linkage::{Found, Loader};
use crate::look::files::{self, Kind};
use crate::look::host::Host;
use crate::paths::{below, parent};
use crate::request::Request;

/// Variables in which modules and MPI's own scripts say where it is.
const ROOTS: [&str; 8] = [
    "I_MPI_ROOT",
    "CRAY_MPICH_DIR",
    "MPICH_DIR",
    "MPI_HOME",
    "MPI_ROOT",
    "MPI_DIR",
    "OPAL_PREFIX",
    "EBROOTOPENMPI",
];

/// Where libraries are below such a directory; Cray has those of MPICH's interface apart.
const BELOW: [&str; 5] = ["lib-abi-mpich", "lib", "lib64", "lib/release", ""];

/// Directories of distributions that their loaders do not know: Red Hat's and SUSE's.
const USUAL: [&str; 5] = [
    "/usr/lib64/openmpi/lib",
    "/usr/lib64/mpich/lib",
    "/usr/lib64/mvapich2/lib",
    "/usr/lib64/mpi/gcc/openmpi4/lib64",
    "/usr/lib64/mpi/gcc/mpich/lib64",
];

/// Programs that are in a directory beside that of their libraries.
const PROGRAMS: [&str; 3] = ["mpirun", "mpiexec.hydra", "mpiexec"];

/// An MPI library of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its interface.
    pub family: Family,
    /// The library for C.
    pub library: Found,
}

impl Installed {
    /// The directory of its libraries, as the loader would enter it.
    pub fn directory(&self) -> &Path {
        parent(&self.library.at).unwrap_or(Path::new("/"))
    }
}

/// The directories that come before what the host's loader knows, the likeliest first.
pub fn directories(request: &Request, host: &Host) -> Vec<PathBuf> {
    let below_root = |root: PathBuf| BELOW.iter().map(move |name| below(&root, Path::new(name)));
    if let Some(root) = &request.mpi_root {
        return below_root(root.value.clone()).collect();
    }
    let path = host.variable("LD_LIBRARY_PATH").unwrap_or_default();
    let listed = std::env::split_paths(path).filter(|path| path.is_absolute());
    let roots = ROOTS.iter().filter_map(|name| host.path_variable(name));
    let path = host.variable("PATH").unwrap_or_default();
    let launchers = std::env::split_paths(path).filter_map(|directory| root_of(host, &directory));
    let found = listed.chain(roots.chain(launchers).flat_map(below_root));
    found
        .filter(|directory| matches!(host.find(directory), Ok(Some((_, Kind::Directory)))))
        .collect()
}

/// The directory that MPI was installed in, if its programs are in a directory of `PATH`; not that
/// of the system, which the loader knows.
fn root_of(host: &Host, directory: &Path) -> Option<PathBuf> {
    let program = PROGRAMS.iter().find_map(|name| {
        let path = below(directory, Path::new(name));
        files::find(&host.files, &path).ok()?
    });
    let (program, _) = program?;
    let root = parent(parent(&program)?)?;
    (root != Path::new("/usr") && root != Path::new("/")).then(|| root.to_path_buf())
}

/// The MPI of a family that the host would use; who names a directory wants no other.
pub fn find(family: Family, request: &Request, host: &Host, loader: &Loader) -> Option<Installed> {
    let known = |name: &OsStr, library: Found| {
        let symbols = loader.symbols(&library.path)?;
        let is_of = Family::of_library(&symbols, name) == Some(family);
        is_of.then_some(Installed { family, library })
    };
    let names = || family.names().iter().map(OsStr::new);
    for directory in directories(request, host) {
        let one = [directory];
        let found = names().find_map(|name| known(name, loader.find_in(&one, name)?));
        if found.is_some() {
            return found;
        }
    }
    if request.mpi_root.is_some() {
        return None;
    }
    let by_loader = names().find_map(|name| known(name, loader.find_name(name)?));
    by_loader.or_else(|| {
        let usual = USUAL.map(PathBuf::from);
        names().find_map(|name| known(name, loader.find_in(&usual, name)?))
    })
}
