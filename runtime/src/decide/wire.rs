//! Whether the MPI of the command understands its launcher.
//!
//! A launcher tells a rank who it is by PMIx or by PMI, and most libraries speak one of them. A
//! library that hears nothing believes it is alone: every rank does all of the work as rank 0 of
//! 1, and all end with success. Nobody else says so.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::basis::Basis;
use super::tree::Tree;
use crate::elf::Object;
use crate::ldcache::Cache;
use crate::look::files::{self, Kind, OpenFiles};
use crate::look::host::Host;
use crate::paths::{below, parent};
use crate::plan::{Action, Note};

/// What a launcher may speak to its ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// PMIx, over a socket named in the environment.
    Pmix,
    /// PMI-1 or PMI-2, over an inherited descriptor.
    Pmi,
}

/// A kind of MPI library, as far as launchers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    OpenMpi,
    Mpich,
}

/// Sonames of libraries, up to the version of their interface.
const SONAMES: [(&str, Family); 4] = [
    ("libmpi.so.40", Family::OpenMpi),
    ("libmpi.so.20", Family::OpenMpi),
    ("libmpi.so.12", Family::Mpich),
    // As Debian calls it.
    ("libmpich.so.12", Family::Mpich),
];

/// Parts of Open MPI 4 with which it speaks PMI, and where they may be beside the library.
const PMI_PARTS: [&str; 4] = [
    "openmpi/mca_pmix_s1.so",
    "openmpi/mca_pmix_s2.so",
    "openmpi/lib/openmpi3/mca_pmix_s1.so",
    "openmpi/lib/openmpi3/mca_pmix_s2.so",
];

/// Whether this is a rank that a launcher speaks to.
pub(super) fn has_launcher(host: &Host) -> bool {
    offered(host).is_some()
}

/// Whether the command's MPI understands the launcher, as far as can be told.
pub(super) fn is_understood(basis: Basis, tree: &Tree, start: &Path, execute: &Action) -> bool {
    note(basis, tree, start, execute).is_none()
}

/// Says that the ranks will not know of each other, where that can be foreseen.
pub(super) fn note(basis: Basis, tree: &Tree, start: &Path, execute: &Action) -> Option<Note> {
    let offered = offered(basis.host)?;
    let Action::Execute { arguments, search, .. } = execute else { return None };
    let command = arguments.first()?.as_path();
    let search = search.iter().map(|directory| directory.as_path());
    let inside = Inside { basis, tree };
    let program = inside.program(command, search, start)?;
    let (soname, family) = inside.needed(&program)?.iter().find_map(|needed| {
        let known = SONAMES.iter().find(|(soname, _)| needed == soname)?;
        Some(*known)
    })?;
    let spoken = inside.spoken(family, soname);
    if offered.iter().any(|wire| spoken.contains(wire)) {
        return None;
    }
    let name = command.file_name().unwrap_or(command.as_os_str()).display();
    let (library, remedy) = match family {
        Family::OpenMpi => ("Open MPI", "srun --mpi=pmix, or mpirun of Open MPI"),
        Family::Mpich => {
            ("an MPI library of MPICH's family", "srun --mpi=pmi2, or its own mpiexec")
        }
    };
    let heard = match offered.as_slice() {
        [] => "srun was not told to speak any PMI",
        [Wire::Pmix, ..] => "the launcher speaks PMIx, which that does not understand",
        [Wire::Pmi, ..] => "the launcher speaks PMI, which that does not understand",
    };
    Some(Note::warning(format!(
        "{name} is linked with {library}, and {heard}: every rank will be rank 0 of 1; start it \
         with {remedy}"
    )))
}

/// Whether this rank speaks for all.
pub(super) fn is_first(host: &Host) -> bool {
    number(host, &["PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]) == Some(0)
}

fn number(host: &Host, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| host.variable(name)?.to_str()?.parse().ok())
}

/// What the launcher of this rank speaks; nothing where this is no rank, or the only one.
fn offered(host: &Host) -> Option<Vec<Wire>> {
    let sizes = ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];
    if number(host, &sizes) == Some(1) {
        return None;
    }
    let has = |names: &[&str]| names.iter().any(|name| host.variable(name).is_some());
    let mut offered = Vec::new();
    if has(&["PMIX_NAMESPACE"]) {
        offered.push(Wire::Pmix);
    }
    if has(&["PMI_FD", "PMI_RANK", "PMI_PORT"]) {
        offered.push(Wire::Pmi);
    }
    (!offered.is_empty() || has(&["SLURM_STEP_ID"])).then_some(offered)
}

/// Files as the command will see them.
struct Inside<'a> {
    basis: Basis<'a>,
    tree: &'a Tree<'a>,
}

impl Inside<'_> {
    /// The file that a command will be.
    fn program<'p>(
        &self,
        command: &Path,
        search: impl Iterator<Item = &'p Path>,
        start: &Path,
    ) -> Option<PathBuf> {
        if command.as_os_str().as_encoded_bytes().contains(&b'/') {
            return self.file(&start.join(command));
        }
        let mut paths = search.map(|directory| start.join(directory).join(command));
        paths.find_map(|path| self.file(&path))
    }

    /// A file, as the host can open it.
    fn file(&self, path: &Path) -> Option<PathBuf> {
        match self.tree.find(path)? {
            (path, Kind::File) => {
                let on_host = self.tree.on_host(&path);
                Some(on_host.unwrap_or_else(|| self.basis.image.outside(&path)))
            }
            _ => None,
        }
    }

    /// What a program or a library is linked with.
    fn needed(&self, path: &Path) -> Option<Vec<OsString>> {
        let file = self.basis.host.files.open_file(path).ok()?;
        Object::read(&file).ok()?.needed().ok()
    }

    /// What a library speaks.
    fn spoken(&self, family: Family, soname: &str) -> Vec<Wire> {
        let library = self.library(soname);
        match family {
            Family::OpenMpi => {
                let directory = library.as_deref().and_then(parent);
                let has = |part: &&str| {
                    directory.is_some_and(|directory| {
                        self.tree.find(&below(directory, Path::new(part))).is_some()
                    })
                };
                match PMI_PARTS.iter().any(has) {
                    true => vec![Wire::Pmix, Wire::Pmi],
                    false => vec![Wire::Pmix],
                }
            }
            Family::Mpich => {
                let needed = library.and_then(|path| self.needed(&self.file(&path)?));
                let has_pmix = needed.is_none_or(|needed| {
                    needed.iter().any(|name| name.as_encoded_bytes().starts_with(b"libpmix.so"))
                });
                match has_pmix {
                    true => vec![Wire::Pmi, Wire::Pmix],
                    false => vec![Wire::Pmi],
                }
            }
        }
    }

    /// Where the loader's cache has a library, inside.
    fn library(&self, soname: &str) -> Option<PathBuf> {
        let bytes = files::read(self.tree, Path::new("/etc/ld.so.cache")).ok().flatten()?;
        let cache = Cache::parse(&bytes).ok()?;
        let path = cache.find(soname.as_bytes()).first()?.path;
        Some(PathBuf::from(OsStr::from_bytes(path)))
    }
}
