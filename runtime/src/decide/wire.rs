//! Whether the MPI of the command understands its launcher.
//!
//! A launcher tells a rank who it is by PMIx or by PMI, and most libraries speak one of them. A
//! library that hears nothing believes it is alone: every rank does all of the work as rank 0 of
//! 1, and all end with success. Nobody else says so. What each combination comes to, as it was
//! tried: docs/mpi-matrix.md.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::tree::Tree;
use super::{program, value};
use crate::linkage::{Linked, Loader};
use crate::look::host::Host;
use crate::plan::{Action, Note, Variable};

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
    /// Up to version 4, which has a launcher's library of its own.
    OldOpenMpi,
    OpenMpi,
    Mpich,
    /// Of MPICH's family; it opens a library for PMIx if it is told to.
    Intel,
}

/// Names of MPI libraries, up to the version of their interface. Debian calls MPICH's by its name.
const SONAMES: [&str; 6] = [
    "libmpi.so.40",
    "libmpi.so.20",
    "libmpi.so.12",
    "libmpich.so.12",
    "libmpi_abi.so.1",
    "libmpi_abi.so.0",
];

/// Parts of Open MPI 4 with which it speaks PMI, and where they may be beside the library.
const PMI_PARTS: [&str; 4] = [
    "openmpi/mca_pmix_s1.so",
    "openmpi/mca_pmix_s2.so",
    "openmpi/lib/openmpi3/mca_pmix_s1.so",
    "openmpi/lib/openmpi3/mca_pmix_s2.so",
];

/// Libraries that lie beside Intel's own alone.
const INTEL_PARTS: [&str; 2] = ["libmpi_ilp64.so", "libmpi_shm_heap_proxy.so"];

/// The MPI library of a command, the image's or the host's.
pub(super) struct Listener<'a> {
    /// Where it was found, and what lies around it.
    pub loader: &'a Loader<'a>,
    /// The library.
    pub library: Linked,
}

/// Whether this is a rank that a launcher speaks to, and not the only one.
pub(super) fn has_launcher(host: &Host) -> bool {
    offered(host).is_some()
}

/// Whether this rank speaks for all.
pub(super) fn is_first(host: &Host) -> bool {
    number(host, &["PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]) == Some(0)
}

/// Says that the ranks of a command will not know of each other, where that can be foreseen.
pub(super) fn note(host: &Host, tree: &Tree, start: &Path, execute: &Action) -> Option<Note> {
    offered(host)?;
    let Action::Execute { environment, .. } = execute else { return None };
    let program = program::find(tree, execute, start)?;
    let loader = Loader::new(tree, value(environment, "LD_LIBRARY_PATH").unwrap_or_default());
    let is_mpi = |name: &OsStr| SONAMES.iter().any(|soname| name == *soname);
    let library = loader.first(&program, is_mpi)?;
    warning(host, execute, &Listener { loader: &loader, library })
}

/// The same of a command that uses some library.
pub(super) fn warning(host: &Host, execute: &Action, listener: &Listener) -> Option<Note> {
    let offered = offered(host)?;
    let Action::Execute { arguments, environment, .. } = execute else { return None };
    let command = arguments.first()?.as_path();
    let family = listener.family();
    let spoken = listener.spoken(family, environment, host);
    let is_strange = family == Family::OldOpenMpi && is_newer_open_mpi(environment);
    if offered.iter().any(|wire| spoken.contains(wire)) && !is_strange {
        return None;
    }
    let heard = match offered.as_slice() {
        _ if is_strange => "the launcher is of Open MPI 5, which that does not understand",
        [] => "srun was not told to speak any PMI",
        [Wire::Pmix, ..] => "the launcher speaks PMIx, which that does not understand",
        [Wire::Pmi, ..] => "the launcher speaks PMI, which that does not understand",
    };
    let (linked, remedy) = match (family, offered.first()) {
        (Family::OldOpenMpi, _) => {
            ("Open MPI 4", "start it with srun --mpi=pmix, or mpirun of Open MPI 4")
        }
        (Family::OpenMpi, _) => {
            ("Open MPI", "start it with srun --mpi=pmix, or mpirun of Open MPI")
        }
        (Family::Mpich, _) => (
            "an MPI library of MPICH's family",
            "start it with srun --mpi=pmi2, or its own mpiexec",
        ),
        // It has been told to speak PMIx.
        (Family::Intel, Some(Wire::Pmi)) => ("Intel MPI", "leave I_MPI_PMI_LIBRARY out"),
        (Family::Intel, _) => (
            "Intel MPI",
            "start it with srun --mpi=pmi2, or its own mpiexec; or, if the image has PMIx 4.2 or \
             newer, with --set-env=I_MPI_PMI_LIBRARY=PATH/libpmix.so.2",
        ),
    };
    let name = command.file_name().unwrap_or(command.as_os_str()).display();
    Some(Note::warning(format!(
        "{name} is linked with {linked}, and {heard}: every rank will be rank 0 of 1, or fail; \
         {remedy}"
    )))
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
    // The last is of Cray's plugin for srun.
    if has(&["PMI_FD", "PMI_RANK", "PMI_PORT", "PMI_CONTROL_PORT"]) {
        offered.push(Wire::Pmi);
    }
    (!offered.is_empty() || has(&["SLURM_STEP_ID"])).then_some(offered)
}

/// Whether the launcher is Open MPI 5's and not within a step of srun's: then Open MPI 4 takes
/// itself to be alone, as it is told nothing of a daemon of its own (`orte/mca/schizo`).
fn is_newer_open_mpi(environment: &[Variable]) -> bool {
    let has = |name| value(environment, name).is_some();
    has("PRTE_LAUNCHED") && !has("OMPI_MCA_orte_local_daemon_uri") && !has("SLURM_STEP_ID")
}

fn number(host: &Host, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| host.variable(name)?.to_str()?.parse().ok())
}

impl Listener<'_> {
    /// What a library is, by what it is linked with and lies beside; the names are those of several.
    fn family(&self) -> Family {
        let Linked { name, needed, .. } = &self.library;
        let needs =
            |part: &str| needed.iter().any(|name| name.as_bytes().starts_with(part.as_bytes()));
        if needs("libopen-rte.so") {
            Family::OldOpenMpi
        } else if needs("libopen-pal.so") || name == "libmpi.so.40" || name == "libmpi.so.20" {
            Family::OpenMpi
        } else if self.has_beside(&INTEL_PARTS) {
            Family::Intel
        } else {
            Family::Mpich
        }
    }

    /// What a library speaks.
    fn spoken(&self, family: Family, environment: &[Variable], host: &Host) -> Vec<Wire> {
        match family {
            Family::OldOpenMpi | Family::OpenMpi if self.has_beside(&PMI_PARTS) => {
                vec![Wire::Pmix, Wire::Pmi]
            }
            Family::OldOpenMpi | Family::OpenMpi => vec![Wire::Pmix],
            Family::Mpich if self.library.needed.iter().any(|name| is_pmix(name)) => {
                vec![Wire::Pmi, Wire::Pmix]
            }
            Family::Mpich => vec![Wire::Pmi],
            Family::Intel => self.intel_speaks(environment, host),
        }
    }

    /// What Intel MPI speaks, as it was tried: its launcher and its library settle PMI between them,
    /// whatever the library is told; others are taken for what the library is told.
    fn intel_speaks(&self, environment: &[Variable], host: &Host) -> Vec<Wire> {
        let has = |name| host.variable(name).is_some();
        let told = value(environment, "I_MPI_PMI_LIBRARY");
        let opens_pmix = || self.loader.find_for(OsStr::new("libpmix.so"), &self.library).is_some();
        match told.and_then(|path| Path::new(path).file_name()) {
            Some(name) if !is_pmix(name) => vec![Wire::Pmi],
            Some(_) if !has("I_MPI_HYDRA_UUID") => vec![Wire::Pmix],
            Some(_) => vec![Wire::Pmi, Wire::Pmix],
            // In a step of srun's it opens this by itself.
            None if has("SLURM_STEP_ID") && opens_pmix() => vec![Wire::Pmi, Wire::Pmix],
            None => vec![Wire::Pmi],
        }
    }

    /// Whether one of some files is beside the library.
    fn has_beside(&self, parts: &[&str]) -> bool {
        let found = self.library.found.as_ref();
        found.is_some_and(|found| parts.iter().any(|part| self.loader.has_beside(found, part)))
    }
}

/// Whether a library is the client of PMIx.
fn is_pmix(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"libpmix.so")
}
