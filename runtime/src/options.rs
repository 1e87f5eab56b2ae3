//! The table of options: one row feeds the command line, `HRUN_*` variables, configuration files,
//! help, manual page and shell completions.
//!
//! A new option is a row here and an arm in [`crate::request::Request::set`]. The table says
//! nothing about meaning beyond its help text, and reading it does no I/O.

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
    DryRun,
    Plan,
    Doctor,
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
    Environment,
    Identity,
    Diagnosis,
    General,
}

impl Section {
    /// The heading in help and manual.
    pub fn title(self) -> &'static str {
        match self {
            Section::Files => "File system",
            Section::Environment => "Environment variables",
            Section::Identity => "Identity",
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

/// What most rows have in common.
const FLAG: Row = Row {
    name: Name::Help,
    long: "",
    short: None,
    aliases: &[],
    short_aliases: &[],
    takes: Takes::Nothing,
    times: Times::Once,
    place: Where::Everywhere,
    section: Section::General,
    help: "",
    manual: "",
};

/// All options, in the order of help and manual.
pub const OPTIONS: &[Row] = &[
    Row {
        name: Name::Bind,
        long: "bind",
        short: Some('b'),
        aliases: &["volume"],
        short_aliases: &['B'],
        takes: Takes::Value("SRC[:DST[:OPT,...]]"),
        times: Times::Many,
        section: Section::Files,
        help: "Shows the host's SRC, a file or directory, at DST (default: the same path)",
        manual: "DST is created if the image lacks it; nothing is written to the image or the host. \
                 OPT is ro, rw, optional (a missing SRC is passed over) or norec (without what is \
                 mounted below SRC). Several binds may stand in one value, separated by commas. \
                 A DST below another bind works in any order of options. What hrun would show \
                 below DST by itself gives way.",
        ..FLAG
    },
    Row {
        name: Name::Mount,
        long: "mount",
        takes: Takes::Value("type=bind,src=SRC,dst=DST[,OPT...]"),
        times: Times::Many,
        section: Section::Files,
        help: "The same as --bind, as docker and podman write it",
        manual: "Understands src, source, dst, destination, target, ro, readonly, rw, optional and \
                 norec; paths may hold colons.",
        ..FLAG
    },
    Row {
        name: Name::Cd,
        long: "cd",
        short: Some('c'),
        aliases: &["workdir", "pwd"],
        takes: Takes::Value("DIR"),
        section: Section::Files,
        help: "Starts the command in DIR",
        manual: "Without it the command starts in the current directory if that is visible inside, \
                 else in the image's WORKDIR, else in the home directory, else in /.",
        ..FLAG
    },
    Row {
        name: Name::Home,
        long: "home",
        section: Section::Files,
        help: "Shows the home directory at its own path (the default)",
        ..FLAG
    },
    Row {
        name: Name::NoHome,
        long: "no-home",
        section: Section::Files,
        help: "Leaves the home directory out",
        ..FLAG
    },
    Row {
        name: Name::NoCwd,
        long: "no-cwd",
        section: Section::Files,
        help: "Leaves the current directory out",
        ..FLAG
    },
    Row {
        name: Name::PrivateTmp,
        long: "private-tmp",
        short: Some('t'),
        takes: Takes::OptionalValue("SIZE"),
        section: Section::Files,
        help: "Gives the command an empty /tmp in memory, SIZE (512m, 2g, 10%) at most",
        ..FLAG
    },
    Row {
        name: Name::Contain,
        long: "contain",
        section: Section::Files,
        help: "Hides home, current directory and /tmp; the home directory and /tmp are empty",
        manual: "The empty directories live in memory. Binds asked for by option, variable or \
                 configuration are still made.",
        ..FLAG
    },
    Row {
        name: Name::Write,
        long: "write",
        short: Some('w'),
        section: Section::Files,
        help: "Lets the command write to the image",
        manual: "Missing mount points are then created in the image.",
        ..FLAG
    },
    Row {
        name: Name::WriteFake,
        long: "write-fake",
        short: Some('W'),
        aliases: &["writable-tmpfs"],
        takes: Takes::OptionalValue("SIZE"),
        section: Section::Files,
        help: "Lets the command write to a layer in memory that is thrown away, SIZE at most",
        ..FLAG
    },
    Row {
        name: Name::Overlay,
        long: "overlay",
        takes: Takes::Value("DIR"),
        section: Section::Files,
        help: "Keeps what the command writes in DIR, for the next run",
        manual: "DIR is created if its parent exists. It must be on a local file system, and only \
                 one run at a time may use it.",
        ..FLAG
    },
    Row {
        name: Name::SetEnv,
        long: "set-env",
        aliases: &["env-file"],
        takes: Takes::OptionalValue("FILE|NAME=VALUE"),
        times: Times::Many,
        section: Section::Environment,
        help: "Sets variables from FILE, or one variable; $NAME is expanded",
        manual: "Without a value the image's own variables are applied once more. The file's \
                 syntax is in section ENVIRONMENT FILES. All environment options count in the \
                 order they are given.",
        ..FLAG
    },
    Row {
        name: Name::SetEnv0,
        long: "set-env0",
        takes: Takes::Value("FILE"),
        times: Times::Many,
        section: Section::Environment,
        help: "Sets variables from NUL-separated records in FILE, taken as they are",
        ..FLAG
    },
    Row {
        name: Name::UnsetEnv,
        long: "unset-env",
        takes: Takes::Value("GLOB"),
        times: Times::Many,
        section: Section::Environment,
        help: "Removes the variables whose names match GLOB",
        manual: "GLOB is a shell pattern; the extended forms, !(A*|B*) and the like, work too.",
        ..FLAG
    },
    Row {
        name: Name::EnvNoExpand,
        long: "env-no-expand",
        times: Times::Many,
        section: Section::Environment,
        help: "Takes $ literally in the --set-env options that follow",
        ..FLAG
    },
    Row {
        name: Name::Env,
        long: "env",
        short: Some('e'),
        takes: Takes::Value("NAME[=VALUE]"),
        times: Times::Many,
        section: Section::Environment,
        help: "Sets one variable, literally; without a value takes the host's",
        ..FLAG
    },
    Row {
        name: Name::CleanEnv,
        long: "clean-env",
        aliases: &["cleanenv"],
        section: Section::Environment,
        help: "Starts from an empty environment instead of the host's",
        manual: "HOME, USER, LOGNAME, TERM, TZ and LANG stay, and so do the variables by which job \
                 launchers tell a rank what it is and which GPUs it has; --keep-env keeps more.",
        ..FLAG
    },
    Row {
        name: Name::KeepEnv,
        long: "keep-env",
        takes: Takes::Value("GLOB"),
        times: Times::Many,
        section: Section::Environment,
        help: "Keeps host variables that --clean-env or --drop-env would remove",
        ..FLAG
    },
    Row {
        name: Name::DropEnv,
        long: "drop-env",
        takes: Takes::Value("GLOB"),
        times: Times::Many,
        section: Section::Environment,
        help: "Replaces the list of host variables that are not taken into the container",
        manual: "The list is by default LD_LIBRARY_PATH, LD_PRELOAD, LD_AUDIT, PYTHONHOME, \
                 PERL5LIB, GCONV_PATH and LOCPATH: they name files of the host. The strongest \
                 layer that gives the option decides the whole list.",
        ..FLAG
    },
    Row {
        name: Name::Uid,
        long: "uid",
        short: Some('u'),
        takes: Takes::Value("N"),
        section: Section::Identity,
        help: "Shows the user as user id N inside",
        ..FLAG
    },
    Row {
        name: Name::Gid,
        long: "gid",
        short: Some('g'),
        takes: Takes::Value("N"),
        section: Section::Identity,
        help: "Shows the user's group as group id N inside",
        ..FLAG
    },
    Row {
        name: Name::Root,
        long: "root",
        aliases: &["fakeroot"],
        section: Section::Identity,
        help: "Shows the user as root inside, with capabilities over the container only",
        ..FLAG
    },
    Row {
        name: Name::DryRun,
        long: "dry-run",
        takes: Takes::OptionalValue("text|json|oci"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Prints what would be done, and who asked for it, and does nothing",
        manual: "json is what --plan reads; oci is a configuration for an OCI runtime.",
        ..FLAG
    },
    Row {
        name: Name::Plan,
        long: "plan",
        takes: Takes::Value("FILE"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Carries out a plan written by --dry-run=json; no IMAGE is given",
        ..FLAG
    },
    Row {
        name: Name::Doctor,
        long: "doctor",
        takes: Takes::OptionalValue("text|json"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Tries everything hrun needs from this machine and explains what fails",
        ..FLAG
    },
    Row {
        name: Name::AssumeMissing,
        long: "assume-missing",
        takes: Takes::Value("FEATURE,..."),
        section: Section::Diagnosis,
        help: "Does without a kernel feature: overlay, mount-setattr, pivot-root",
        manual: "For kernels that offer a feature and get it wrong, and for tests.",
        ..FLAG
    },
    Row {
        name: Name::NoConfig,
        long: "no-config",
        place: Where::CommandLine,
        section: Section::General,
        help: "Reads neither configuration files nor HRUN_* variables",
        ..FLAG
    },
    Row {
        name: Name::Verbose,
        long: "verbose",
        short: Some('v'),
        section: Section::General,
        help: "Says what hrun found and left out",
        ..FLAG
    },
    Row {
        name: Name::Quiet,
        long: "quiet",
        short: Some('q'),
        section: Section::General,
        help: "Prints no warnings; the command's own output is never touched",
        ..FLAG
    },
    Row {
        name: Name::Version,
        long: "version",
        short: Some('V'),
        place: Where::CommandLine,
        help: "Prints the version",
        ..FLAG
    },
    Row {
        name: Name::Help,
        long: "help",
        short: Some('h'),
        place: Where::CommandLine,
        help: "Prints this help",
        ..FLAG
    },
];

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
