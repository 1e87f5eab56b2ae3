//! The image's scripts that set variables, run as its own shell runs them.
//!
//! A child sources them inside, under all the restrictions of the command, and then becomes a shell
//! that stops: by then the kernel has the environment that any other program would have got, and
//! nothing is printed, quoted or read back (docs/decisions/0030).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use super::assignment;
use crate::origin::Origin;
use crate::plan::Variable;
use crate::sys::process::{Alone, ExecImage};
use crate::text::Text;
use crate::variables::{Change, Variables};

/// Sources its arguments. `source` is bash's word, which many scripts use.
const SCRIPT: &str = "\
command -v source >/dev/null || eval 'source() { . \"$@\"; }'
for HRUN_SCRIPT; do
    [ ! -f \"$HRUN_SCRIPT\" ] || . \"$HRUN_SCRIPT\"
done
unset HRUN_SCRIPT
HRUN_SOURCED=1 exec /bin/sh -c 'kill -s STOP $$'";

/// What the environment of the last shell has, and that of the first has not.
pub const MARK: &[u8] = b"HRUN_SOURCED=1";

/// What scripts have set.
pub type Set = Vec<(OsString, OsString)>;

/// Starts a program, and gives back its environment when it has stopped with [`MARK`] in it.
type Start = fn(Alone, &Path, &ExecImage) -> Result<Vec<u8>, Errno>;

/// Has a shell source scripts.
///
/// # Errors
///
/// `ECANCELED` if the shell ends before they are through; the errno of
/// making a process.
pub(super) fn run(
    start: Start,
    alone: Alone,
    shell: &Text,
    scripts: &[Text],
    environment: &[Variable],
) -> Result<Set, Errno> {
    let name = shell.as_path().file_name().unwrap_or(OsStr::new("sh"));
    let words = [name, OsStr::new("-c"), OsStr::new(SCRIPT), name];
    let words = words.into_iter().chain(scripts.iter().map(Text::as_os_str));
    let environment: Vec<OsString> = environment.iter().map(assignment).collect();
    let image = ExecImage::new(words, environment.iter().map(OsString::as_os_str))?;
    let entries = start(alone, shell.as_path(), &image)?;
    let entries = entries.split(|byte| *byte == 0).filter(|entry| *entry != MARK);
    let split = |entry: &[u8]| {
        // A name has at least one letter; bash exports functions with odd ones.
        let equals = entry.iter().skip(1).position(|byte| *byte == b'=')? + 1;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((text(&entry[..equals]), text(&entry[equals + 1..])))
    };
    Ok(entries.filter_map(split).collect())
}

/// The environment of the command: what the scripts have set, what the host sets besides, and what
/// comes after both.
///
/// # Errors
///
/// `E2BIG` if variables that stand for others are too long.
pub(super) fn finish(
    set: Set,
    host: &[Variable],
    changes: &[Change],
) -> Result<Vec<Variable>, Errno> {
    let mut variables = Variables::default();
    let origin = Origin::Default;
    variables.set_image(set.into_iter().map(|(name, value)| (name, value, origin.clone())));
    for Variable { name, value, origin } in host {
        variables.add(name.as_os_str(), value.as_os_str(), origin);
    }
    for change in changes {
        variables.change(change).map_err(|_| Errno::E2BIG)?;
    }
    Ok(variables.list())
}
