//! The table of options: one row feeds the command line, `HRUN_*` variables, configuration files,
//! help, manual page and shell completions.
//!
//! A new option is a row here and an arm where [`crate::request::Request::new`] merges settings. The table says
//! nothing about meaning beyond its help text, and reading it does no I/O.

mod limits;
mod ranks;
mod table;

pub use self::limits::Limit;
pub use self::table::OPTIONS;

/// Identifies a row; [`crate::request`] matches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is documented by its row's help text")]
pub enum Name {
    Bind,
    Mount,
    Cd,
    Home,
    NoHome,
    NoCwd,
    PrivateTmp,
    Contain,
    Write,
    WriteFake,
    Overlay,
    OverlayWait,
    Unpack,
    Store,
    Nv,
    Rocm,
    Intel,
    Gpus,
    Device,
    CdiDir,
    DriverRoot,
    Pid,
    Join,
    NoJoin,
    JoinTag,
    JoinPid,
    JoinCt,
    Mpi,
    MpiRoot,
    MpiGlibc,
    Limit(Limit),
    SetEnv,
    SetEnv0,
    UnsetEnv,
    EnvNoExpand,
    Env,
    CleanEnv,
    KeepEnv,
    DropEnv,
    Uid,
    Gid,
    Root,
    Seccomp,
    CapKeep,
    CapDrop,
    DryRun,
    Plan,
    Doctor,
    Ps,
    AssumeMissing,
    NoConfig,
    Verbose,
    Quiet,
    Version,
    Help,
}

/// Says whether an option takes a value, and how the value is called in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A flag.
    Nothing,
    /// A value, attached (`--cd=DIR`, `-cDIR`) or as the next word.
    Value(&'static str),
    /// A value that may be left out; it must be attached with `=`.
    OptionalValue(&'static str),
}

/// Says how often an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// A later one, or one of a stronger layer, replaces an earlier one.
    Once,
    /// Every one counts, weakest layer first.
    Many,
}

/// Says where an option may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Command line, variable and configuration files.
    Everywhere,
    /// The command line only.
    CommandLine,
}

/// Groups options in help and manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named by its title")]
pub enum Section {
    Files,
    Devices,
    Ranks,
    Limits,
    Environment,
    Identity,
    Rights,
    Diagnosis,
    General,
}

impl Section {
    /// The heading in help and manual.
    pub fn title(self) -> &'static str {
        match self {
            Section::Files => "File system",
            Section::Devices => "Devices",
            Section::Ranks => "Ranks of a job step",
            Section::Limits => "Limits",
            Section::Environment => "Environment variables",
            Section::Identity => "Identity",
            Section::Rights => "Rights",
            Section::Diagnosis => "Diagnosis",
            Section::General => "General",
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What the program calls it.
    pub name: Name,
    /// The long name, without dashes; also the key in configuration files.
    pub long: &'static str,
    /// The short name.
    pub short: Option<char>,
    /// Other long names, known from other runtimes.
    pub aliases: &'static [&'static str],
    /// Other short names.
    pub short_aliases: &'static [char],
    /// Whether it takes a value.
    pub takes: Takes,
    /// How often it may be given.
    pub times: Times,
    /// Where it may be set.
    pub place: Where,
    /// The section of help and manual.
    pub section: Section,
    /// One line of help.
    pub help: &'static str,
    /// More for the manual, or nothing.
    pub manual: &'static str,
}

impl Row {
    /// The environment variable: `HRUN_PRIVATE_TMP` for `--private-tmp`.
    pub fn variable(&self) -> String {
        format!("HRUN_{}", self.long.to_ascii_uppercase().replace('-', "_"))
    }

    /// The option as an error message shows it: `--bind /scratch`, `--set-env=a.env`.
    pub fn written(&self, value: Option<&str>) -> String {
        match (self.takes, value) {
            (_, None) => format!("--{}", self.long),
            (Takes::OptionalValue(_), Some(value)) => format!("--{}={value}", self.long),
            (_, Some(value)) => format!("--{} {value}", self.long),
        }
    }
}

/// Finds the row of a name.
pub fn row(name: Name) -> &'static Row {
    // Every name has a row; the test below walks them.
    OPTIONS.iter().find(|row| row.name == name).unwrap_or(&OPTIONS[0])
}

/// Finds the row of a long name or alias, without dashes.
pub fn by_long(long: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.long == long || row.aliases.contains(&long))
}

/// Finds the row of a short name.
pub fn by_short(short: char) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.short == Some(short) || row.short_aliases.contains(&short))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_used_twice() {
        let mut longs = BTreeSet::new();
        let mut shorts = BTreeSet::new();
        let mut names = BTreeSet::new();
        for option in OPTIONS {
            assert!(names.insert(option.name), "{:?}", option.name);
            assert_eq!(row(option.name).long, option.long);
            for long in [option.long].iter().chain(option.aliases) {
                assert!(longs.insert(*long), "--{long} twice");
            }
            for short in option.short.iter().chain(option.short_aliases) {
                assert!(shorts.insert(*short), "-{short} twice");
            }
        }
    }

    #[test]
    fn every_row_has_a_line_of_help() {
        for option in OPTIONS {
            assert!(!option.help.is_empty(), "--{}", option.long);
            assert!(!option.help.ends_with('.'), "--{}", option.long);
        }
    }

    #[test]
    fn variables_follow_the_long_name() {
        assert_eq!(row(Name::PrivateTmp).variable(), "HRUN_PRIVATE_TMP");
    }
}
