//! The command line, read from the table of options.
//!
//! Options end at IMAGE: everything behind it belongs to the command. clap reads the same table
//! for help, and for the wording when something is wrong ([`crate::help`]); the happy path is
//! read here because building clap's command costs more than the whole rest of the planning
//! (docs/decisions/0002).

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use runtime::options::{self, Row, Takes};
use runtime::origin::Layer;
use runtime::request::{Given, Setting};

/// What stands on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The options, in order.
    pub settings: Vec<Setting>,
    /// The words that were read as options and their values.
    pub option_words: Vec<OsString>,
    /// IMAGE.
    pub image: Option<OsString>,
    /// `--` stood before IMAGE.
    pub is_separated: bool,
    /// COMMAND and its arguments.
    pub command: Vec<OsString>,
    /// The options could not be read to their end.
    pub is_faulty: bool,
}

/// Reads the words after the program's name.
pub fn read(words: impl Iterator<Item = OsString>) -> Invocation {
    let mut invocation = Invocation::default();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            invocation.image = words.next();
            invocation.is_separated = true;
            break;
        }
        if bytes == b"-" || !bytes.starts_with(b"-") {
            invocation.image = Some(word);
            break;
        }
        invocation.option_words.push(word.clone());
        let mut next = || {
            let value = words.next();
            invocation.option_words.extend(value.clone());
            value
        };
        let read = match bytes.strip_prefix(b"--") {
            Some(long) => read_long(long, &mut next),
            None => read_short(&bytes[1..], &mut next),
        };
        match read {
            Some(settings) => invocation.settings.extend(settings),
            None => {
                invocation.is_faulty = true;
                invocation.option_words.extend(words.by_ref());
            }
        }
    }
    invocation.command = words.collect();
    if invocation.command.first().is_some_and(|word| word == "--") {
        invocation.command.remove(0);
    }
    invocation
}

type Next<'a> = &'a mut dyn FnMut() -> Option<OsString>;

/// Reads what stands after `--`; `None` if it fits no row of the table.
fn read_long(bytes: &[u8], next: Next) -> Option<Vec<Setting>> {
    let mut parts = bytes.splitn(2, |byte| *byte == b'=');
    let long = std::str::from_utf8(parts.next()?).ok()?;
    let attached = parts.next();
    let row = options::by_long(long)?;
    let given = match (row.takes, attached) {
        (Takes::Nothing, None) | (Takes::OptionalValue(_), None) => Given::On,
        (Takes::Nothing, Some(_)) => return None,
        (_, Some(value)) => Given::Value(OsString::from_vec(value.to_vec())),
        (Takes::Value(_), None) => Given::Value(value_word(next)?),
    };
    Some(vec![setting(row, given)])
}

/// Reads what stands after `-`: flags together, the last with a value.
fn read_short(bytes: &[u8], next: Next) -> Option<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let row = options::by_short(char::from(*first))?;
        let attached = tail.strip_prefix(b"=");
        let given = match (row.takes, attached) {
            (Takes::Nothing, _) => Given::On,
            (Takes::OptionalValue(_), None) => Given::On,
            (_, Some(value)) => Given::Value(OsStr::from_bytes(value).to_owned()),
            (Takes::Value(_), None) if tail.is_empty() => Given::Value(value_word(next)?),
            (Takes::Value(_), None) => Given::Value(OsStr::from_bytes(tail).to_owned()),
        };
        let has_value = matches!(given, Given::Value(_));
        settings.push(setting(row, given));
        if has_value {
            break;
        }
        rest = tail;
    }
    Some(settings)
}

/// The next word as a value; one that looks like an option was meant as one.
fn value_word(next: Next) -> Option<OsString> {
    next().filter(|word| word == "-" || !word.as_bytes().starts_with(b"-"))
}

fn setting(row: &Row, given: Given) -> Setting {
    Setting { name: row.name, given, layer: Layer::CommandLine }
}
