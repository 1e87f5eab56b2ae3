//! Whether the MPI of the command understands its launcher.
//!
//! A launcher tells a rank who it is by PMIx or by PMI, and most libraries speak one of them. A
//! library that hears nothing believes it is alone: every rank does all of the work as rank 0 of
//! 1, and all end with success. Nobody else says so. What each combination comes to, as it was
//! tried: docs/mpi-matrix.md.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::basis::Basis;
use super::linked::{Files, Loaded};
use super::tree::Tree;
use super::value;
use crate::look::host::Host;
use crate::paths::{below, parent};
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

/// Says that the ranks will not know of each other, where that can be foreseen; the first rank
/// speaks for all.
pub(super) fn note(basis: Basis, tree: &Tree, start: &Path, execute: &Action) -> Option<Note> {
    let offered = offered(basis.host)?;
    let Action::Execute { arguments, search, environment } = execute else { return None };
    let command = arguments.first()?.as_path();
    let search = search.iter().map(|directory| directory.as_path());
    let files = Files::new(basis, tree, value(environment, "LD_LIBRARY_PATH"));
    let program = files.program(command, search, start)?;
    let is_mpi = |name: &OsStr| SONAMES.iter().any(|soname| name == *soname);
    let (soname, library) = files.library(program, is_mpi)?;
    let family = family(&soname, &library, &files);
    let spoken = spoken(family, &library, &files, environment, basis.host);
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

/// What the launcher of this rank speaks; nothing where this is no rank, or not the one to say so.
fn offered(host: &Host) -> Option<Vec<Wire>> {
    let number = |names: &[&str]| -> Option<u64> {
        names.iter().find_map(|name| host.variable(name)?.to_str()?.parse().ok())
    };
    let is_first = number(&["PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]) == Some(0);
    let sizes = ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];
    if !is_first || number(&sizes) == Some(1) {
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

/// What a library is, by what it is linked with and lies beside; the names are those of several.
fn family(soname: &OsStr, library: &Loaded, files: &Files) -> Family {
    let needs =
        |part: &str| library.needed.iter().any(|name| name.as_bytes().starts_with(part.as_bytes()));
    if needs("libopen-rte.so") {
        Family::OldOpenMpi
    } else if needs("libopen-pal.so") || soname == "libmpi.so.40" || soname == "libmpi.so.20" {
        Family::OpenMpi
    } else if has_beside(library, &INTEL_PARTS, files) {
        Family::Intel
    } else {
        Family::Mpich
    }
}

/// What a library speaks.
fn spoken(
    family: Family,
    library: &Loaded,
    files: &Files,
    environment: &[Variable],
    host: &Host,
) -> Vec<Wire> {
    match family {
        Family::OldOpenMpi | Family::OpenMpi if has_beside(library, &PMI_PARTS, files) => {
            vec![Wire::Pmix, Wire::Pmi]
        }
        Family::OldOpenMpi | Family::OpenMpi => vec![Wire::Pmix],
        Family::Mpich if library.needed.iter().any(|name| is_pmix(name)) => {
            vec![Wire::Pmi, Wire::Pmix]
        }
        Family::Mpich => vec![Wire::Pmi],
        Family::Intel => intel_speaks(library, files, environment, host),
    }
}

/// What Intel MPI speaks, as it was tried: its launcher and its library settle PMI between them,
/// whatever the library is told; others are taken for what the library is told.
fn intel_speaks(
    library: &Loaded,
    files: &Files,
    environment: &[Variable],
    host: &Host,
) -> Vec<Wire> {
    let has = |name| host.variable(name).is_some();
    let told = value(environment, "I_MPI_PMI_LIBRARY").and_then(|path| Path::new(path).file_name());
    match told {
        Some(name) if !is_pmix(name) => vec![Wire::Pmi],
        Some(_) if !has("I_MPI_HYDRA_UUID") => vec![Wire::Pmix],
        Some(_) => vec![Wire::Pmi, Wire::Pmix],
        // In a step of srun's it opens this by itself.
        None if has("SLURM_STEP_ID") && files.find(OsStr::new("libpmix.so"), library).is_some() => {
            vec![Wire::Pmi, Wire::Pmix]
        }
        None => vec![Wire::Pmi],
    }
}

/// Whether a library is the client of PMIx.
fn is_pmix(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"libpmix.so")
}

/// Whether one of some files is beside a library, where it was found or where it is.
fn has_beside(library: &Loaded, parts: &[&str], files: &Files) -> bool {
    let real = files.file(&library.path);
    let places = [Some(library.path.as_path()), real.as_deref()];
    places.into_iter().flatten().filter_map(parent).any(|directory| {
        let mut parts = parts.iter().map(|part| below(directory, Path::new(part)));
        parts.any(|part| files.file(&part).is_some())
    })
}
