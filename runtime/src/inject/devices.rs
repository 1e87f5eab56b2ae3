//! What all kinds of GPUs have in common: nodes, variables that choose, hosts that have none.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::edits::Edits;
use crate::error::{Error, Result};
use crate::look::directory::DirectoryTree;
use crate::look::files::{Files, Kind};
use crate::look::host::Host;
use crate::origin::Origin;
use crate::paths::below;
use crate::plan::Note;
use crate::request::{Asked, EnvEdit, Request, Wanted};

/// By these a job is known that was given GPUs (slurm.conf(5), gres.conf(5)).
const GRANTS: [&str; 3] = ["SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE"];

/// Why there is nothing to show, and what to do about it.
pub(super) struct Lack {
    /// The end of a sentence about the host.
    pub(super) reason: String,
    /// What to do.
    pub(super) hint: String,
    /// The host has the devices, and something is wrong with them.
    pub(super) is_broken: bool,
}

/// Shows nodes of a tree of its own, by its root on the host; those of the host are there already.
///
/// What does not open, for this user or this job's control group, is not shown.
pub(super) fn show_nodes(
    files: &DirectoryTree,
    root: &Path,
    host: &Host,
    is_node: &dyn Fn(&[u8]) -> bool,
    edits: &mut Edits,
    origin: &Origin,
) {
    for name in files.names(Path::new("/dev"), is_node).unwrap_or_default() {
        let path = Path::new("/dev").join(name);
        let is_directory = files.kind(&path) == Ok(Some(Kind::Directory));
        if is_directory || host.can_use(&files.outside(&path)) {
            edits.bind(below(root, &path), path, origin);
        }
    }
}

/// The host's value of a variable, set to nothing or not.
pub(super) fn raw_variable<'a>(host: &'a Host, name: &str) -> Option<&'a OsStr> {
    let mut found = host.variables.iter().filter(|(key, _)| key == name);
    found.next().map(|(_, value)| value.as_os_str())
}

/// The value that the user gave a variable, by option or in the environment hrun was started in,
/// and how; what an image says of it is not asked for.
pub(super) fn asked_variable(
    name: &str,
    request: &Request,
    host: &Host,
) -> Option<(OsString, Origin)> {
    let options = request.env.iter().rev();
    let mut assigned = options.filter_map(|asked| match &asked.value {
        EnvEdit::Assign { name: own, value, .. } if own == name => {
            Some((value.clone(), asked.origin.clone()))
        }
        _ => None,
    });
    assigned.next().or_else(|| Some((host.variable(name)?.to_owned(), Origin::Host)))
}

/// Passes on the variables by which launchers choose devices; an image has no say in them.
pub(super) fn pass_choices(names: &[&str], host: &Host, edits: &mut Edits) {
    for name in names {
        if let Some(value) = raw_variable(host, name) {
            edits.set(name, value, &Origin::Host);
        }
    }
}

/// An error where devices were surely expected, else a note.
pub(super) fn without(
    lack: Lack,
    asked: &Asked<Wanted>,
    host: &Host,
    choices: &[&str],
) -> Result<Option<Note>> {
    let Lack { reason, hint, is_broken } = lack;
    let is_granted = GRANTS.iter().chain(choices).any(|name| host.variable(name).is_some());
    match asked.value {
        Wanted::Needed if is_granted || is_broken => {
            Err(Error::new("show the GPUs", reason).asked_by(&asked.origin).hint(hint))
        }
        Wanted::Needed => Ok(Some(Note::warning(format!("no GPUs: {reason} ({})", asked.origin)))),
        Wanted::Optional => Ok(Some(Note::info(format!("no GPUs: {reason} ({})", asked.origin)))),
    }
}
