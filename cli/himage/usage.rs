//! The command line: one clap command, and the wording of mistakes in it.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use images::unpack::Allowance;
use runtime::error::{Error, Result};

use crate::{COMMANDS, report};

/// The whole command.
pub fn command() -> Command {
    Command::new("himage")
        .about("Gets, makes and looks after container images")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(COMMANDS.iter().map(|(command, _)| command()))
        .arg(
            Arg::new("store")
                .long("store")
                .value_name("DIR")
                .help("Keeps images in DIR")
                .long_help(
                    "Keeps images in DIR. Without it HRUN_STORE counts, then store = \"DIR\" in the \
                     configuration of hrun, then $XDG_DATA_HOME/hrun or ~/.local/share/hrun. Of several \
                     (DIR:DIR) the first is written, and all are read.",
                )
                .value_parser(ValueParser::path_buf())
                .global(true),
        )
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .short('q')
                .action(ArgAction::SetTrue)
                .help("Says nothing of progress")
                .global(true),
        )
        .arg(
            Arg::new("any-size")
                .long("any-size")
                .action(ArgAction::SetTrue)
                .help("Unpacks images of any size")
                .long_help(
                    "Unpacks images of any size. Without it an image that becomes more than 200 times as \
                     large as it is stored, and more than 4 GiB, is taken for one that was made to fill \
                     a disk. Zeros that become holes in files do not count.",
                )
                .global(true),
        )
        .arg(
            Arg::new("verbose")
                .long("verbose")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Says which files settings and logins come from")
                .global(true),
        )
}

/// How large images may become.
pub fn allowance(words: &ArgMatches) -> Allowance {
    match words.get_flag("any-size") {
        true => Allowance::Any,
        false => Allowance::Stored,
    }
}

const AFTER_HELP: &str = "\
hrun NAME -- COMMAND runs COMMAND in an image of the store.
Exit status: 0, or 125 if himage fails.";

/// A name, digest or path of an image.
pub fn word(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).help(help).value_parser(ValueParser::os_string())
}

/// The flag for output that programs read.
pub fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Writes JSON")
}

/// A word as text.
///
/// # Errors
///
/// Fails if it is no text: nothing is called like that.
pub fn text<'a>(words: &'a ArgMatches, name: &str) -> Result<Option<&'a str>> {
    let Some(word) = words.get_one::<OsString>(name) else { return Ok(None) };
    word.to_str().map(Some).ok_or_else(|| {
        Error::new(
            format!("find {}", word.display()),
            "it is not UTF-8, as all names of images are",
        )
    })
}

/// Reads the command line: the command's name and its words, or nothing if help was printed.
///
/// # Errors
///
/// Fails if it is written wrongly.
pub fn read(words: impl Iterator<Item = OsString>) -> Result<Option<(String, ArgMatches)>> {
    match command().try_get_matches_from(words) {
        Ok(mut matches) => Ok(matches.remove_subcommand()),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            report::print(&error.to_string()).map(|()| None)
        }
        Err(error) => Err(mistake(&error)),
    }
}

fn mistake(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let written = context(ContextKind::InvalidArg).unwrap_or_default();
    let (attempt, reason) = match error.kind() {
        ErrorKind::MissingSubcommand => ("start".to_owned(), "a command is missing".to_owned()),
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            (format!("do '{word}'"), "there is no such command".to_owned())
        }
        ErrorKind::MissingRequiredArgument => ("start".to_owned(), format!("{written} is missing")),
        ErrorKind::UnknownArgument if written.starts_with('-') => {
            (format!("use option {written}"), "there is no such option".to_owned())
        }
        ErrorKind::UnknownArgument => {
            (format!("use '{written}'"), "it is a word too many".to_owned())
        }
        ErrorKind::ArgumentConflict => {
            (format!("use {written}"), "it does not go with what else is asked for".to_owned())
        }
        ErrorKind::InvalidValue
            if context(ContextKind::InvalidValue).is_none_or(|v| v.is_empty()) =>
        {
            (format!("use option {written}"), "its value is missing".to_owned())
        }
        kind => {
            let reason = kind.as_str().unwrap_or("it is written wrongly").to_owned();
            (format!("use {written}"), reason)
        }
    };
    let similar = context(ContextKind::SuggestedArg).or(context(ContextKind::SuggestedSubcommand));
    let hint = match similar {
        Some(similar) => format!("did you mean {similar}?"),
        None => "himage --help lists the commands, himage COMMAND --help their options".to_owned(),
    };
    Error::new(attempt, reason).hint(hint)
}
