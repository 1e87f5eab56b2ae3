//! What the command may and may not do.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::Asked;
use crate::capabilities::Set;
use crate::options::Name;
use crate::origin::Origin;
use crate::seccomp::fakeroot;

/// Which system calls are filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// Those that change ids: they seem to succeed.
    Fakeroot,
    /// What a profile in this file says.
    Profile(PathBuf),
}

/// Capabilities and the filter of system calls.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// The filter.
    pub seccomp: Option<Asked<Seccomp>>,
    /// Somebody has said which, be it none.
    pub says_seccomp: bool,
    /// Capabilities to keep; the origin is that of the strongest layer.
    pub keep: Option<Asked<Set>>,
    /// Capabilities to take away from these.
    pub drop: Option<Asked<Set>>,
}

impl Rights {
    /// Adds one setting, stronger than all before it; the error says what is wrong with its value.
    pub(super) fn add(&mut self, name: Name, value: &OsStr, origin: &Origin) -> Result<(), String> {
        match name {
            Name::CapKeep => more(&mut self.keep, value, origin),
            Name::CapDrop => more(&mut self.drop, value, origin),
            _ => {
                self.says_seccomp = true;
                self.seccomp =
                    seccomp(value)?.map(|seccomp| Asked { value: seccomp, origin: origin.clone() });
                Ok(())
            }
        }
    }
}

/// Adds to a set of capabilities.
fn more(set: &mut Option<Asked<Set>>, value: &OsStr, origin: &Origin) -> Result<(), String> {
    let before = set.as_ref().map_or(Set::NONE, |before| before.value);
    let named = Set::parse(&value.to_string_lossy())?;
    *set = Some(Asked { value: before.with(named), origin: origin.clone() });
    Ok(())
}

/// Reads the name of a built-in filter, or of a file that has one.
fn seccomp(value: &OsStr) -> Result<Option<Seccomp>, String> {
    match value.to_str() {
        Some("") => Err("it names no profile".to_owned()),
        Some("unconfined") => Ok(None),
        Some(fakeroot::NAME) => Ok(Some(Seccomp::Fakeroot)),
        _ => Ok(Some(Seccomp::Profile(PathBuf::from(value)))),
    }
}
