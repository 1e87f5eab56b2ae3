//! The built-in profile `fakeroot`: calls that change ids seem to succeed, and change nothing.
//!
//! A user namespace of an ordinary user has one user and one group, so package managers, which give
//! files to others, would fail at every turn.

use super::{Architecture, CALLS, Comparison, Condition, Filter, Rule, Verdict};

/// What the option calls it.
pub const NAME: &str = "fakeroot";

/// Owners of files; ids and groups of processes. On 32-bit machines each has a second call.
///
/// capset(2) is none of them: root has all capabilities of its namespace, and may give them up.
const CALLS_FAKED: &[&str] = &[
    "chown",
    "chown32",
    "fchown",
    "fchown32",
    "fchownat",
    "lchown",
    "lchown32",
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setgid",
    "setgid32",
    "setgroups",
    "setgroups32",
    "setregid",
    "setregid32",
    "setresgid",
    "setresgid32",
    "setresuid",
    "setresuid32",
    "setreuid",
    "setreuid32",
    "setuid",
    "setuid32",
];

/// The kind of file in a mode, and the two that nobody but the host's root makes (inode(7)).
const KIND: u64 = 0o170_000;
const DEVICES: [u64; 2] = [0o020_000, 0o060_000];

/// The filter.
///
/// # Errors
///
/// As [`Filter::new`].
pub fn filter() -> Result<Filter, String> {
    let rule = |calls: &[&str], when| {
        let calls = calls.iter().map(|name| (*name).to_owned()).collect();
        Rule { calls, when, verdict: Verdict::Errno(0) }
    };
    let mut rules = vec![rule(CALLS_FAKED, Vec::new())];
    for (call, argument) in [("mknod", 1), ("mknodat", 2)] {
        rules.extend(DEVICES.map(|value| {
            rule(&[call], vec![Condition { argument, is: Comparison::Masked(KIND), value }])
        }));
    }
    let architectures: Vec<&Architecture> = CALLS.iter().collect();
    Filter::new(Verdict::Allow, Vec::new(), &architectures, rules)
}
