//! Filters of system calls (seccomp(2)): profiles as Docker, podman and the OCI write them, and
//! the built-in one that makes calls which change ids seem to succeed.
//!
//! A profile is read ([`profile`]), resolved to a [`Filter`] for this machine and the command's
//! capabilities, and compiled ([`compile`]). All of it is pure.

mod architecture;
mod compile;
#[cfg(test)]
mod emulator;
pub mod fakeroot;
mod multiplexer;
pub mod profile;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::architecture::{Architecture, CALLS};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It is made, and the kernel logs it.
    Log,
    /// It is not made, and fails with this error number; with 0 it seems to succeed.
    Errno(u16),
    /// It is not made, and the thread gets SIGSYS.
    Trap,
    /// It is left to a tracer, who is told this number; without one it fails with `ENOSYS`.
    Trace(u16),
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
}

/// How an argument is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// It is the value.
    Equal,
    /// It is not the value.
    NotEqual,
    /// It is less.
    Less,
    /// It is not greater.
    LessOrEqual,
    /// It is greater.
    Greater,
    /// It is not less.
    GreaterOrEqual,
    /// Its bits under this mask are the value.
    Masked(u64),
}

/// A condition on one argument of a call; arguments are unsigned numbers of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The argument, 0 to 5.
    pub argument: u8,
    /// The comparison.
    pub is: Comparison,
    /// What it is compared with.
    pub value: u64,
}

/// What happens to some calls, if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The calls, by name.
    pub calls: Vec<String>,
    /// The conditions.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub when: Vec<Condition>,
    /// What happens.
    pub verdict: Verdict,
}

/// A flag with which a filter is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// `SECCOMP_FILTER_FLAG_LOG`: everything but allowed calls is logged.
    Log,
    /// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: the processor's mitigations stay as they are.
    SpecAllow,
}

/// A filter of system calls: what is meant, and the same for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// What happens to calls that no rule is about.
    pub default: Verdict,
    /// How it is loaded.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub flags: Vec<Flag>,
    /// The machines whose calls the rules are about, as the OCI calls them; calls of others are
    /// not there (`ENOSYS`).
    pub architectures: Vec<String>,
    /// The rules. One without conditions outweighs those with, else the first that fits counts.
    pub rules: Vec<Rule>,
    /// Instructions for the kernel, one a number ([`Instruction`]).
    pub program: Vec<Instruction>,
}

/// An instruction of classic BPF, as linux/filter.h has it: the code in the upper 16 bits, two
/// jumps of 8 bits, and a number of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instruction(pub u64);

impl Instruction {
    /// Puts one together.
    pub fn new(code: u16, if_true: u8, if_false: u8, k: u32) -> Self {
        let word = u64::from(code) << 48 | u64::from(if_true) << 40 | u64::from(if_false) << 32;
        Instruction(word | u64::from(k))
    }

    /// The code, the jumps if true and if false, and the number.
    pub fn parts(self) -> (u16, u8, u8, u32) {
        ((self.0 >> 48) as u16, (self.0 >> 40) as u8, (self.0 >> 32) as u8, self.0 as u32)
    }
}

impl Filter {
    /// Compiles rules for machines whose calls are known here.
    ///
    /// # Errors
    ///
    /// Says that there are more rules than the kernel takes.
    pub fn new(
        default: Verdict,
        flags: Vec<Flag>,
        architectures: &[&Architecture],
        rules: Vec<Rule>,
    ) -> Result<Self, String> {
        let program = compile::compile(default, architectures, &rules)?;
        let architectures = architectures.iter().map(|known| known.name.to_owned()).collect();
        Ok(Filter { default, flags, architectures, rules, program })
    }

    /// Whether a call is never made, whatever its arguments are.
    pub fn forbids(&self, call: &str) -> bool {
        let rules = about(call, &self.rules);
        let is_certain = rules.first().is_some_and(|rule| rule.when.is_empty());
        let is_made_by_rule = rules.iter().any(|rule| rule.verdict.is_made());
        !is_made_by_rule && (is_certain || !self.default.is_made())
    }

    /// Calls that are made by way of another although arguments of theirs would forbid them, and
    /// the call that carries them.
    pub fn unseen(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let carried = multiplexer::ALL.iter().map(|multiplexer| {
            (multiplexer.name, multiplexer.carries_unseen(self.default, &self.rules))
        });
        carried.filter(|(_, carried)| !carried.is_empty()).collect()
    }
}

/// The rules that count for a call: the first without conditions, else all, in order.
fn about<'a>(call: &str, rules: &'a [Rule]) -> Vec<&'a Rule> {
    let mut about: Vec<&Rule> =
        rules.iter().filter(|rule| rule.calls.iter().any(|name| name == call)).collect();
    if let Some(always) = about.iter().position(|rule| rule.when.is_empty()) {
        about = vec![about[always]];
    }
    about
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Allow => f.write_str("allow"),
            Verdict::Log => f.write_str("log"),
            Verdict::Errno(0) => f.write_str("pretend success"),
            Verdict::Errno(errno) => {
                write!(f, "fail with {:?}", nix::errno::Errno::from_raw(i32::from(*errno)))
            }
            Verdict::Trap => f.write_str("trap"),
            Verdict::Trace(number) => write!(f, "trace ({number})"),
            Verdict::KillThread => f.write_str("kill the thread"),
            Verdict::KillProcess => f.write_str("kill the process"),
        }
    }
}
