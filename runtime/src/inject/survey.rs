//! What the injectors of devices would show of a host, and what keeps them from showing more.

use std::path::PathBuf;

use super::{amd, cdi, intel, nvidia};
use crate::look::directory::DirectoryTree;
use crate::look::host::Host;

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `NVIDIA driver`.
    pub subject: &'static str,
    /// Nothing is wrong with it.
    pub is_fine: bool,
    /// What was found.
    pub found: String,
    /// More of it, an item each.
    pub details: Vec<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// A host whose devices are looked at.
pub(super) struct Surveyed<'a> {
    pub(super) host: &'a Host,
    /// The files of the drivers: the host's, or those of a tree that stands for its root.
    pub(super) files: &'a DirectoryTree,
    /// More directories of descriptions of devices.
    pub(super) descriptions: &'a [PathBuf],
}

/// Looks at all devices of a host that injectors know of.
pub fn look(host: &Host, driver_root: Option<&PathBuf>, descriptions: &[PathBuf]) -> Vec<Finding> {
    let files = host.driver_files(driver_root.map(PathBuf::as_path));
    let surveyed = Surveyed { host, files: &files, descriptions };
    let mut findings = nvidia::survey(&surveyed);
    findings.extend(amd::survey(&surveyed));
    findings.extend(intel::survey(&surveyed));
    findings.extend(cdi::survey(&surveyed));
    findings
}

impl Finding {
    /// Something that is as it should be.
    pub(crate) fn fine(subject: &'static str, found: impl Into<String>) -> Self {
        let found = found.into();
        Finding { subject, is_fine: true, found, details: Vec::new(), remedy: None }
    }

    /// Something that is not.
    pub(super) fn wrong(subject: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned());
        Finding { is_fine: false, remedy, ..Finding::fine(subject, found) }
    }

    /// With more of it.
    pub(super) fn with_details(self, details: Vec<String>) -> Self {
        Finding { details, ..self }
    }
}
