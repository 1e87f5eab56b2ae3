//! The variables of an environment, and the changes that lead to them.
//!
//! Most are made while deciding. Where scripts of the image set variables, what comes after these is
//! made when they have run, from the same list ([`crate::plan::Action::Execute`]).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::env::split_paths;
use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use crate::envfile::Value;
use crate::origin::Origin;
use crate::plan::Variable;
use crate::sys::glob_matches;
use crate::text::Text;

/// What PATH is when neither image nor user sets it, and where a command is looked for when it is unset.
pub const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many bytes references to variables may stand for in all: more than the kernel gives any
/// program, and less than lines take that each double the one before.
const ROOM: usize = 64 << 20;

/// Who the caller is, which no image can say.
const CALLERS: [&str; 3] = ["HOME", "USER", "LOGNAME"];

/// What a shell says of itself.
const SHELLS: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

/// One change of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Sets a variable; the value may refer to others, as they are then.
    Set {
        /// The name.
        name: Text,
        /// The value.
        value: Value,
        /// Who sets it.
        origin: Origin,
    },
    /// Adds to a list of directories those that are not in it.
    Append {
        /// The name.
        name: Text,
        /// The directories.
        directories: Vec<Text>,
    },
    /// Takes a variable away.
    Remove {
        /// The name.
        name: Text,
    },
    /// Takes away all variables whose names fit.
    Unset {
        /// The pattern.
        glob: Text,
    },
    /// Sets once more what the image sets.
    Image,
}

/// References stand for more than any program is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// An environment while it changes.
pub struct Variables {
    variables: BTreeMap<OsString, (OsString, Origin)>,
    of_image: Vec<Variable>,
    /// What is left of [`ROOM`]; nothing if it was not enough.
    room: Cell<Option<usize>>,
}

impl Default for Variables {
    fn default() -> Self {
        let room = Cell::new(Some(ROOM));
        Variables { variables: BTreeMap::new(), of_image: Vec::new(), room }
    }
}

impl Variables {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(|(value, _)| value.as_os_str())
    }

    /// Sets a variable unless it is set.
    pub fn add(&mut self, name: &OsStr, value: &OsStr, origin: &Origin) {
        let entry = self.variables.entry(name.to_owned());
        entry.or_insert_with(|| (value.to_owned(), origin.clone()));
    }

    /// Sets what the image sets, but for what it cannot know; all of it is remembered.
    pub fn set_image(&mut self, variables: impl IntoIterator<Item = (OsString, OsString, Origin)>) {
        let is_one_of = |names: &[&str], name: &OsStr| names.iter().any(|known| name == *known);
        let known = variables
            .into_iter()
            .filter(|(name, ..)| !is_one_of(&CALLERS, name) && !is_one_of(&SHELLS, name));
        let variable = |(name, value, origin): (OsString, OsString, Origin)| Variable {
            name: name.into(),
            value: value.into(),
            origin,
        };
        self.of_image = known.map(variable).collect();
        self.restore_image();
    }

    /// Makes a change.
    ///
    /// # Errors
    ///
    /// Fails if references stand for more than 64 MiB in all.
    pub fn change(&mut self, change: &Change) -> Result<(), TooLong> {
        match change {
            Change::Set { name, value, origin } => {
                let value = self.expand(value)?;
                self.variables.insert(name.as_os_str().to_owned(), (value, origin.clone()));
            }
            Change::Append { name, directories } => self.append(name.as_os_str(), directories),
            Change::Remove { name } => drop(self.variables.remove(name.as_os_str())),
            Change::Unset { glob } => {
                self.variables.retain(|name, _| !glob_matches(glob.as_os_str(), name));
            }
            Change::Image => self.restore_image(),
        }
        Ok(())
    }

    /// Puts the values of variables in place of their names.
    ///
    /// # Errors
    ///
    /// As [`Variables::change`].
    pub fn expand(&self, value: &Value) -> Result<OsString, TooLong> {
        let expanded = value.expand(&|name| {
            let (value, _) = self.variables.get(name)?;
            self.room.set(self.room.get().and_then(|room| room.checked_sub(value.len())));
            self.room.get().map(|_| value.clone())
        });
        self.room.get().map(|_| expanded).ok_or(TooLong)
    }

    /// All variables, by name.
    pub fn list(&self) -> Vec<Variable> {
        let variables = self.variables.iter();
        let variable = |(name, (value, origin)): (&OsString, &(OsString, Origin))| Variable {
            name: name.clone().into(),
            value: value.clone().into(),
            origin: origin.clone(),
        };
        variables.map(variable).collect()
    }

    fn restore_image(&mut self) {
        for Variable { name, value, origin } in &self.of_image {
            let value = (value.as_os_str().to_owned(), origin.clone());
            self.variables.insert(name.as_os_str().to_owned(), value);
        }
    }

    fn append(&mut self, name: &OsStr, directories: &[Text]) {
        for directory in directories {
            let entry = self.variables.entry(name.to_owned());
            let (list, _) = entry.or_insert_with(|| (OsString::new(), Origin::Default));
            if list.is_empty() {
                list.push(directory.as_os_str());
            } else if !split_paths(&list).any(|known| known == directory.as_path()) {
                list.push(":");
                list.push(directory.as_os_str());
            }
        }
    }
}

/// The directories a command is looked for in: those of `PATH`, and the usual ones if it is unset or
/// empty. An empty item is none, where execvp(3) takes the current directory (docs/decisions/0029).
pub fn search(environment: &[Variable]) -> Vec<Text> {
    let path = environment.iter().find(|variable| variable.name.as_bytes() == b"PATH");
    let path = path.map(|path| path.value.as_os_str()).filter(|path| !path.is_empty());
    let named = split_paths(path.unwrap_or(OsStr::new(STANDARD_PATH)));
    let named = named.filter(|directory| !directory.as_os_str().is_empty());
    named.map(|directory| Text::from(directory.as_path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Change {
        let value = Value::expandable(value.as_bytes()).expect("is a value");
        Change::Set { name: name.into(), value, origin: Origin::Default }
    }

    fn after(host: &[(&str, &str)], image: &[(&str, &str)], changes: &[Change]) -> Vec<String> {
        let mut variables = Variables::default();
        let owned = |(name, value): &(&str, &str)| {
            (OsString::from(*name), OsString::from(*value), Origin::Default)
        };
        variables.set_image(image.iter().map(owned));
        for (name, value) in host {
            variables.add(OsStr::new(name), OsStr::new(value), &Origin::Host);
        }
        for change in changes {
            variables.change(change).expect("has room");
        }
        let shown = |variable: Variable| format!("{}={}", variable.name, variable.value);
        variables.list().into_iter().map(shown).collect()
    }

    #[test]
    fn the_image_comes_before_the_host_and_changes_after_both() {
        let changes = [set("B", "$A:$B"), Change::Remove { name: "C".into() }];
        let host = [("A", "host"), ("B", "host"), ("C", "host")];
        let image = [("A", "image"), ("HOME", "/root"), ("SHLVL", "1")];
        assert_eq!(after(&host, &image, &changes), ["A=image", "B=image:host"]);
    }

    #[test]
    fn what_the_image_sets_can_be_had_again() {
        let changes = [set("A", "mine"), Change::Unset { glob: "*".into() }, Change::Image];
        assert_eq!(after(&[("B", "host")], &[("A", "image")], &changes), ["A=image"]);
    }

    #[test]
    fn a_directory_is_in_a_list_once() {
        let directories = vec!["/bin".into(), "/opt".into()];
        let changes = [Change::Append { name: "P".into(), directories }];
        assert_eq!(after(&[("P", "/usr:/bin/")], &[], &changes), ["P=/usr:/bin/:/opt"]);
        assert_eq!(after(&[], &[], &changes), ["P=/bin:/opt"]);
    }

    #[test]
    fn changes_survive_json() {
        let value = "a\"b\\n\n$A:${B:-x y}${C:+d}$$";
        let changes = vec![set("A", value), Change::Image];
        let json = serde_json::to_string(&changes).expect("serialises");
        assert_eq!(serde_json::from_str::<Vec<Change>>(&json).expect("reads back"), changes);
    }

    #[test]
    fn a_path_that_is_unset_or_empty_is_the_usual_one() {
        let path = |value: &str| Variable {
            name: "PATH".into(),
            value: value.into(),
            origin: Origin::Default,
        };
        let usual: Vec<Text> = STANDARD_PATH.split(':').map(Text::from).collect();
        assert_eq!(search(&[]), usual);
        assert_eq!(search(&[path("")]), usual);
        assert_eq!(search(&[path("/a::b")]), ["/a", "b"].map(Text::from));
    }
}
