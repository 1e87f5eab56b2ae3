//! What ranks need of their launcher: the directories of its PMIx server; and what MPI needs to know
//! where ranks cannot read each other's memory.
//!
//! Most libraries try it once and abort or hang when it is refused (Open MPI 4.1 with large
//! messages, MPICH 4 and 5); all can be told not to try.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::edits::Edits;
use crate::error::Result;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::ranks;
use crate::request::{Join, Request};

pub(super) const NAME: &str = "ranks";

/// Variables that switch reading of other processes' memory off, by library.
const SWITCHES: [(&str, &str); 9] = [
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ("OMPI_MCA_smsc", "^cma"),
    ("UCX_POSIX_USE_PROC_LINK", "n"),
    ("UCX_TLS", "^cma"),
    ("MPIR_CVAR_CH4_CMA_ENABLE", "0"),
    ("FI_SHM_DISABLE_CMA", "1"),
    ("PSM2_KASSIST_MODE", "none"),
    ("PSM3_KASSIST_MODE", "none"),
    ("MV2_SMP_USE_CMA", "0"),
];

pub(super) fn find(request: &Request, host: &Host, _: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let origin = Origin::injector(NAME);
    for directory in pmix_directories(host) {
        edits.bind_optional(directory, &origin);
    }
    let is_alone = request.join.as_ref().is_some_and(|asked| asked.value == Join::Nobody);
    if is_alone && ranks::is_rank(host) {
        for (name, value) in SWITCHES {
            if host.variable(name).is_none() {
                edits.set(name, value, &origin);
            }
        }
    }
    Ok(edits)
}

/// What the PMIx server, or Cray's PALS, and the ranks share; under a private `/tmp` it must still be there, or
/// MPI_Init fails.
fn pmix_directories(host: &Host) -> Vec<PathBuf> {
    let named = ["PMIX_SERVER_TMPDIR", "OMPI_MCA_orte_top_session_dir", "PALS_SPOOL_DIR"];
    let mut directories: Vec<PathBuf> =
        named.iter().filter_map(|name| host.path_variable(name)).collect();
    // Slurm's plugin tells Open MPI by PMIx alone (mpi/pmix, `pmixp_info_cli_tmpdir`).
    if let (Some(_), Some(job), Some(step)) = (
        host.variable("PMIX_NAMESPACE"),
        host.variable("SLURM_JOB_ID").and_then(OsStr::to_str),
        host.variable("SLURM_STEP_ID").and_then(OsStr::to_str),
    ) {
        directories.push(format!("/tmp/spmix_appdir_{}_{job}.{step}", host.uid).into());
    }
    directories
}
