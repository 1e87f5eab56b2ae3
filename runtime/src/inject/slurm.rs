//! What a Slurm job step needs to talk to its launcher: spool, configuration, munge.

use crate::edits::Edits;
use crate::error::Result;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::request::Request;

pub(super) const NAME: &str = "slurm";

/// Where Slurm keeps what it shares with job steps, by its documentation (slurm.conf(5),
/// `SlurmdSpoolDir`) and by Debian's and Red Hat's packages.
const DIRECTORIES: [&str; 5] =
    ["/etc/slurm", "/etc/slurm-llnl", "/var/spool/slurmd", "/var/spool/slurm", "/run/munge"];

pub(super) fn find(_: &Request, host: &Host, _: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    if host.variable("SLURM_JOB_ID").is_none() {
        return Ok(edits);
    }
    let origin = Origin::injector(NAME);
    for directory in DIRECTORIES {
        edits.bind_optional(directory, &origin);
    }
    if let Some(file) = host.path_variable("SLURM_CONF") {
        edits.bind_optional(file, &origin);
    }
    Ok(edits)
}
