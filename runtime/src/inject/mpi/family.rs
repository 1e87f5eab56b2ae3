//! Kinds of MPI libraries: those of one kind can take each other's place.

use std::ffi::OsStr;
use std::path::Path;

use crate::elf::Symbols;
use crate::linkage::Loader;

/// Libraries of one binary interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Open MPI from 3 on.
    OpenMpi,
    /// MPICH from 3.1 on, and what agreed with it: Intel MPI, MVAPICH, Cray MPICH.
    Mpich,
    /// The interface that MPI 5.0 standardises.
    Standard,
}

/// What one library is called by those that are linked with it, by different packagers: one
/// interface each. The first of a family is the one for C.
///
/// Sonames alone say nothing: Open MPI 1.10 had `libmpi.so.12` too.
pub const LIBRARIES: [(Family, &[&str]); 11] = [
    (Family::OpenMpi, &["libmpi.so.40"]),
    (Family::OpenMpi, &["libmpi_mpifh.so.40"]),
    (Family::OpenMpi, &["libmpi_usempif08.so.40"]),
    (Family::OpenMpi, &["libmpi_usempi_ignore_tkr.so.40"]),
    (Family::OpenMpi, &["libmpi_cxx.so.40"]),
    (Family::OpenMpi, &["liboshmem.so.40"]),
    // The second names are Debian's.
    (Family::Mpich, &["libmpi.so.12", "libmpich.so.12"]),
    (Family::Mpich, &["libmpifort.so.12", "libmpichfort.so.12"]),
    (Family::Mpich, &["libmpicxx.so.12", "libmpichcxx.so.12"]),
    (Family::Standard, &["libmpi_abi.so.1"]),
    (Family::Standard, &["libmpifort_abi.so.1"]),
];

/// Every family.
pub const ALL: [Family; 3] = [Family::OpenMpi, Family::Mpich, Family::Standard];

/// How names begin that only MPI has, in C and in Fortran.
const PREFIXES: [&[u8]; 10] = [
    b"MPI_", b"PMPI_", b"MPIX_", b"PMPIX_", b"MPIO_", b"ompi_", b"OMPI_", b"mpi_", b"pmpi_",
    b"mpix_",
];

impl Family {
    /// The names of its libraries; those of one library lie together.
    pub fn libraries(self) -> impl Iterator<Item = &'static [&'static str]> {
        LIBRARIES.iter().filter(move |(family, _)| *family == self).map(|(_, names)| *names)
    }

    /// The names of its library for C.
    pub fn names(self) -> &'static [&'static str] {
        self.libraries().next().unwrap_or_default()
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Family::OpenMpi => "Open MPI",
            Family::Mpich => "an MPI library of MPICH's family",
            Family::Standard => "the standard interface of MPI 5",
        }
    }

    /// The family a library for C belongs to.
    pub fn of_library(symbols: &Symbols, name: &OsStr) -> Option<Self> {
        let (mut has_init, mut has_handles) = (false, false);
        for symbol in symbols.defined() {
            has_init |= symbol == b"MPI_Init";
            has_handles |= symbol == b"ompi_mpi_comm_world";
        }
        let is_standard = Family::Standard.names().iter().any(|own| name == *own);
        match (has_init, has_handles) {
            (false, _) => None,
            (true, true) => Some(Family::OpenMpi),
            (true, false) if is_standard => Some(Family::Standard),
            (true, false) => Some(Family::Mpich),
        }
    }

    /// The family a program wants that is linked with a library for C: Open MPI's handles are
    /// objects with names, those of the others are numbers.
    pub fn of_program(symbols: &Symbols, name: &OsStr) -> Option<Self> {
        if symbols.wanted().any(|symbol| symbol.starts_with(b"ompi_mpi_")) {
            return Some(Family::OpenMpi);
        }
        let known = LIBRARIES.iter().find(|(_, names)| names.iter().any(|known| name == *known));
        known.map(|(family, _)| *family)
    }
}

/// Whether a name is one of a library of MPI.
pub fn is_mpi(name: &OsStr) -> bool {
    LIBRARIES.iter().any(|(_, names)| names.iter().any(|known| name == *known))
}

/// Whether a symbol is one of MPI.
pub fn is_symbol(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A library in words: `libmpich.so.12.2.2 (MPICH 4.0.2)`; only MPICH's, and some that were made of
/// it, say of which version they are.
pub fn describe(loader: &Loader, family: Family, path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    let version = loader.object(path, |object| {
        let symbols = object.symbols().ok()?;
        object.text(&symbols, "MPII_Version_string").ok()?
    });
    match (family, version) {
        (_, Some(version)) => format!("{name} (MPICH {version})"),
        (Family::OpenMpi, None) => format!("{name} (Open MPI)"),
        (Family::Mpich, None) => format!("{name} (MPICH's family)"),
        (Family::Standard, None) => format!("{name} (MPI 5)"),
    }
}
