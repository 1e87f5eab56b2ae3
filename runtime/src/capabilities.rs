//! Capabilities by name, and sets of them (capabilities(7)).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::nearest;

/// By number, as linux/capability.h has them.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of capabilities; in JSON a list of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct Set(u64);

impl Set {
    /// None.
    pub const NONE: Set = Set(0);
    /// All that have a name here.
    pub const ALL: Set = Set((1 << NAMES.len()) - 1);

    /// Reads names, with or without `CAP_` and in any case, separated by commas; `all` is all.
    ///
    /// # Errors
    ///
    /// Says which name is none, and which one it resembles.
    pub fn parse(list: &str) -> Result<Self, String> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let set = names.map(named).try_fold(Set::NONE, |set, one| Ok(set.with(one?)));
        match set {
            Ok(Set::NONE) => Err("it names no capability".to_owned()),
            set => set,
        }
    }

    /// These and those.
    #[must_use]
    pub fn with(self, other: Set) -> Self {
        Set(self.0 | other.0)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, other: Set) -> Self {
        Set(self.0 & !other.0)
    }

    /// Whether all of those are among these.
    pub fn holds(self, other: Set) -> bool {
        other.without(self) == Set::NONE
    }

    /// A bit for each, by number.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The names, in the order of the numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let is_in = move |number: &usize| self.0 >> number & 1 == 1;
        (0..NAMES.len()).filter(is_in).map(|number| NAMES[number])
    }
}

/// The set of one name, or of `all`.
fn named(name: &str) -> Result<Set, String> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(Set::ALL);
    }
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let shorts = || NAMES.iter().map(|name| &name["CAP_".len()..]);
    if let Some(number) = shorts().position(|known| known == short) {
        return Ok(Set(1 << number));
    }
    Err(match nearest(short, shorts()) {
        Some(similar) => format!("'{name}' is no capability; did you mean CAP_{similar}?"),
        None => format!("'{name}' is no capability; capabilities(7) lists them"),
    })
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(&names.join(", "))
    }
}

impl From<Set> for Vec<String> {
    fn from(set: Set) -> Self {
        set.names().map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for Set {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.iter().try_fold(Set::NONE, |set, name| Ok(set.with(named(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names() {
        let chown = Set::parse("CAP_CHOWN").unwrap();
        assert_eq!(chown.bits(), 1);
        for list in ["chown", "Cap_Chown", " chown ,", "chown,CHOWN"] {
            assert_eq!(Set::parse(list), Ok(chown), "{list}");
        }
        assert_eq!(Set::parse("net_raw,sys_admin").unwrap().bits(), 1 << 13 | 1 << 21);
        assert_eq!(Set::parse("ALL"), Ok(Set::ALL));
        assert_eq!(Set::parse("checkpoint_restore").unwrap().bits(), 1 << 40);
    }

    #[test]
    fn a_wrong_name_brings_the_nearest_to_mind() {
        let refused = |list: &str| Set::parse(list).unwrap_err();
        assert_eq!(
            refused("chown,sys_adnim"),
            "'sys_adnim' is no capability; did you mean CAP_SYS_ADMIN?"
        );
        assert_eq!(refused("xyzzy"), "'xyzzy' is no capability; capabilities(7) lists them");
        assert_eq!(refused(","), "it names no capability");
    }

    #[test]
    fn is_a_list_of_names_in_json() {
        let set = Set::parse("kill,chown").unwrap();
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, r#"["CAP_CHOWN","CAP_KILL"]"#);
        assert_eq!(serde_json::from_str::<Set>(&json).unwrap(), set);
        assert!(serde_json::from_str::<Set>(r#"["CAP_CHOW"]"#).is_err());
    }
}
