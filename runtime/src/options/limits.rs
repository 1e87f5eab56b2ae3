//! The rows about limits.

use super::table::FLAG;
use super::{Name, Row, Section, Takes};

/// Identifies a row about limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is documented by its row's help text")]
pub enum Limit {
    Cpus,
    Cpuset,
    Memory,
    Pids,
    Mode,
    PerRank,
    Parent,
}

pub(super) const CPUS: Row = Row {
    name: Name::Limit(Limit::Cpus),
    long: "cpus",
    takes: Takes::Value("N"),
    section: Section::Limits,
    help: "Lets the command use as much as N CPUs, such as 2 or 0.5, at any time",
    manual: "Ranks of a step on a node share the limit. Without a control group, the command is \
             kept to N of the CPUs it may use. none takes away what a weaker layer has set, as \
             for all limits.",
    ..FLAG
};

pub(super) const CPUSET: Row = Row {
    name: Name::Limit(Limit::Cpuset),
    long: "cpuset",
    aliases: &["cpuset-cpus"],
    takes: Takes::Value("LIST"),
    section: Section::Limits,
    help: "Keeps the command to these CPUs, such as 0-3,8",
    manual: "Only CPUs that the job has can be among them.",
    ..FLAG
};

pub(super) const MEMORY: Row = Row {
    name: Name::Limit(Limit::Memory),
    long: "memory",
    takes: Takes::Value("SIZE"),
    section: Section::Limits,
    help: "Lets the command use SIZE of memory (512m, 2g); who takes more is killed",
    ..FLAG
};

pub(super) const PIDS: Row = Row {
    name: Name::Limit(Limit::Pids),
    long: "pids-limit",
    takes: Takes::Value("N"),
    section: Section::Limits,
    help: "Lets the command have N processes and threads",
    ..FLAG
};

pub(super) const LIMITS: Row = Row {
    name: Name::Limit(Limit::Mode),
    long: "limits",
    takes: Takes::Value("require|best-effort"),
    section: Section::Limits,
    help: "Says what becomes of a limit that cannot be had: an error, or a warning (the default)",
    ..FLAG
};

pub(super) const PER_RANK: Row = Row {
    name: Name::Limit(Limit::PerRank),
    long: "limits-per-rank",
    section: Section::Limits,
    help: "Gives every rank of a step limits of its own, instead of sharing them",
    ..FLAG
};

pub(super) const PARENT: Row = Row {
    name: Name::Limit(Limit::Parent),
    long: "cgroup-parent",
    takes: Takes::Value("GROUP"),
    section: Section::Limits,
    help: "Names the control group in which hrun may make groups",
    manual: "A path below the place where control groups are mounted, or a whole path. Without \
             it, groups are made around the caller's own group, where that is allowed.",
    ..FLAG
};
