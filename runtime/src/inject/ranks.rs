//! What MPI needs to know where ranks cannot read each other's memory.
//!
//! Most libraries try it once and abort or hang when it is refused (Open MPI 4.1 with large
//! messages, MPICH 4 and 5); all can be told not to try.

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
    let is_alone = request.join.as_ref().is_some_and(|asked| asked.value == Join::Nobody);
    if is_alone && ranks::is_rank(host) {
        let origin = Origin::injector(NAME);
        for (name, value) in SWITCHES {
            if host.variable(name).is_none() {
                edits.set(name, value, &origin);
            }
        }
    }
    Ok(edits)
}
