//! Help, and the wording of mistakes on the command line: clap, built from the table of options.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use runtime::Error;
use runtime::options::{OPTIONS, Row, Takes};

/// Makes clap's command of the table.
pub fn command() -> Command {
    let arguments = OPTIONS.iter().map(argument);
    Command::new("hrun")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs a command in a container image, as an ordinary user")
        .override_usage("hrun [OPTION]... IMAGE [--] [COMMAND [ARG]...]")
        .after_help(AFTER_HELP)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .args(arguments)
        .arg(image())
        .arg(command_words())
}

const AFTER_HELP: &str = "\
Options end at IMAGE: what follows belongs to COMMAND. Without COMMAND the image's own runs.
Every option can also be set by a variable (HRUN_BIND for --bind) and in the files
~/.config/hrun/config.toml and /etc/hrun/config.toml (bind = [\"/scratch\"]).
Exit status: COMMAND's own; 125 if hrun fails, 126 if COMMAND cannot be run, 127 if there is none.";

fn image() -> Arg {
    Arg::new("IMAGE")
        .help("The root directory of an image, a squashfs or SIF file, or a name: debian:12")
        .value_parser(ValueParser::os_string())
}

fn command_words() -> Arg {
    Arg::new("COMMAND")
        .help("The command and its arguments")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .value_parser(ValueParser::os_string())
}

fn argument(row: &Row) -> Arg {
    let argument = Arg::new(row.long)
        .long(row.long)
        .visible_aliases(row.aliases.iter().copied())
        .visible_short_aliases(row.short_aliases.iter().copied())
        .help(row.help)
        .help_heading(row.section.title());
    let argument = match row.short {
        Some(short) => argument.short(short),
        None => argument,
    };
    let argument = argument.long_help(long_help(row));
    match row.takes {
        Takes::Nothing => argument.action(ArgAction::Count),
        Takes::Value(name) => value(argument, name).num_args(1),
        Takes::OptionalValue(name) => value(argument, name).num_args(0..=1).require_equals(true),
    }
}

/// The help, the manual's sentences and the other names, as one paragraph.
fn long_help(row: &Row) -> String {
    let mut text = format!("{}.", row.help);
    if !row.manual.is_empty() {
        text = format!("{text} {}", row.manual);
    }
    let shorts = row.short_aliases.iter().map(|short| format!("-{short}"));
    let longs = row.aliases.iter().map(|long| format!("--{long}"));
    let aliases: Vec<String> = shorts.chain(longs).collect();
    if !aliases.is_empty() {
        text = format!("{text} Also written {}.", aliases.join(" or "));
    }
    text
}

fn value(argument: Arg, name: &'static str) -> Arg {
    argument.value_name(name).value_parser(ValueParser::os_string()).action(ArgAction::Append)
}

/// Words what is wrong with options that [`crate::args`] could not read.
pub fn mistake(option_words: &[OsString]) -> Error {
    let program = std::iter::once(OsString::from("hrun"));
    let words = program.chain(option_words.iter().cloned());
    let Err(error) = command().try_get_matches_from(words) else {
        return Error::new("read the command line", "an option is written wrongly").hint(SEE_HELP);
    };
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    // clap marks a flag that may be repeated.
    let written = context(ContextKind::InvalidArg).unwrap_or_default().replace("...", "");
    let reason = match error.kind() {
        ErrorKind::UnknownArgument => "there is no such option".to_owned(),
        ErrorKind::NoEquals => "its value must be attached with '='".to_owned(),
        ErrorKind::TooManyValues => "it takes no value".to_owned(),
        ErrorKind::InvalidValue => "its value is missing".to_owned(),
        kind => kind.as_str().unwrap_or("it is written wrongly").to_owned(),
    };
    let hint = match context(ContextKind::SuggestedArg) {
        Some(similar) => format!("did you mean {similar}?"),
        None => SEE_HELP.to_owned(),
    };
    Error::new(format!("use option {written}"), reason).hint(hint)
}

const SEE_HELP: &str = "hrun --help lists all options";
