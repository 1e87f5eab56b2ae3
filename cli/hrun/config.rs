//! Configuration files and `HRUN_*` variables, read from the table of options.
//!
//! Weakest first: `/etc/hrun/config.toml`, `$XDG_CONFIG_HOME/hrun/config.toml`, variables.

// himage reads the same files, by this file.
#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime::envfile::Value;
use runtime::look::host::Host;
use runtime::options::{self, OPTIONS, Row, Section, Takes, Times, Where};
use runtime::origin::Layer;
use runtime::request::{Given, Setting};
use runtime::{Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The site's file.
const SITE: &str = "/etc/hrun/config.toml";

/// Reads all layers below the command line, weakest first.
///
/// # Errors
///
/// Fails on a file that cannot be read, with its line, and on a variable that does not fit.
pub fn read(host: &Host) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for path in files(host) {
        settings.extend(read_file(host, &path)?);
    }
    settings.extend(read_variables(host)?);
    Ok(settings)
}

/// The configuration files there may be, weakest first.
pub fn files(host: &Host) -> Vec<PathBuf> {
    let home = host.path_variable("HOME").map(|home| home.join(".config"));
    let user = host.path_variable("XDG_CONFIG_HOME").or(home);
    let user = user.map(|directory| directory.join("hrun/config.toml"));
    [PathBuf::from(SITE)].into_iter().chain(user).collect()
}

fn read_file(host: &Host, path: &Path) -> Result<Vec<Setting>> {
    let attempt = || format!("read configuration file {}", path.display());
    let bytes = match host.read_named(path) {
        Ok(bytes) => bytes,
        // A home directory that is closed or gone holds no configuration.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => return Ok(Vec::new()),
        Err(errno) => return Err(Error::new(attempt(), errno)),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::new(attempt(), "it is not UTF-8"))?;
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        let attempt = format!("read configuration file {}:{line}", path.display());
        Error::new(attempt, error.message().to_owned())
    })?;
    let mut settings = Vec::new();
    // The table is sorted by key; environment options count in the order they are written.
    let mut keys: Vec<_> = table.get_ref().iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let at = |position| Layer::Config { file: path.into(), line: line_at(text, position) };
        settings.extend(read_key(host, key, value, &at)?);
    }
    Ok(settings)
}

fn line_at(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count() + 1
}

fn read_key(
    host: &Host,
    key: &Spanned<Cow<str>>,
    value: &Spanned<DeValue>,
    at: &dyn Fn(usize) -> Layer,
) -> Result<Vec<Setting>> {
    let refuse = |layer: &Layer, reason: String| {
        Error::new(format!("use key '{}' of {layer}", key.get_ref()), reason)
    };
    let row = options::by_long(key.get_ref()).filter(|row| row.place == Where::Everywhere);
    let Some(row) = row else {
        let hint = "keys are the long names of options, without dashes: hrun --help";
        return Err(refuse(&at(key.span().start), "no such key".to_owned()).hint(hint));
    };
    let values = match (value.get_ref(), row.times) {
        (DeValue::Array(items), Times::Many) => items.iter().collect(),
        _ => vec![value],
    };
    let mut settings = Vec::new();
    for value in values {
        let layer = at(value.span().start);
        let refuse = |reason| refuse(&layer, reason);
        let given = match (value.get_ref(), row.takes) {
            (DeValue::Boolean(true), Takes::Nothing | Takes::OptionalValue(_)) => Given::On,
            (DeValue::Boolean(false), _) => Given::Off,
            (DeValue::String(text), Takes::Value(_) | Takes::OptionalValue(_)) => {
                Given::Value(expanded(host, row, text).map_err(refuse)?)
            }
            (DeValue::Integer(number), Takes::Value(_)) => {
                Given::Value(OsString::from(number.to_string()))
            }
            _ => return Err(refuse(format!("{} does not fit it", value.get_ref().type_str()))),
        };
        // Switched off: a value has nothing to say.
        if !(given == Given::Off && matches!(row.takes, Takes::Value(_))) {
            settings.push(Setting { name: row.name, given, layer: layer.clone() });
        }
    }
    Ok(settings)
}

/// Puts variables of the host in place of `$NAME`, as in `bind = "/scratch/$USER"`; a path from
/// which one that is not set just vanished would be another path.
///
/// Values of environment options are left alone: theirs see the container's environment.
fn expanded(host: &Host, row: &Row, text: &str) -> std::result::Result<OsString, String> {
    if row.section == Section::Environment {
        return Ok(OsString::from(text));
    }
    let value = Value::expandable(text.as_bytes())?;
    let lookup = |name: &OsStr| host.variable(name.to_str()?).map(OsStr::to_owned);
    if let Some(name) = value.first_unset(&lookup) {
        let name = name.display();
        return Err(format!("${name} is not set; if it may be unset, write ${{{name}:-default}}"));
    }
    Ok(value.expand(&lookup))
}

fn read_variables(host: &Host) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    if !host.variables.iter().any(|(name, _)| name.as_bytes().starts_with(b"HRUN_")) {
        return Ok(settings);
    }
    // In the order of the table: that of the environment is nobody's choice.
    for row in OPTIONS.iter().filter(|row| row.place == Where::Everywhere) {
        let name = row.variable();
        let Some(value) = host.variable(&name) else { continue };
        let layer = Layer::Variable(name);
        for given in variable_values(row, value, &layer)? {
            settings.push(Setting { name: row.name, given, layer: layer.clone() });
        }
    }
    Ok(settings)
}

/// A repeatable option takes a line of the variable's value each time.
fn variable_values(row: &Row, value: &OsStr, layer: &Layer) -> Result<Vec<Given>> {
    let switch = match value.as_bytes() {
        b"" => return Ok(Vec::new()),
        b"1" | b"true" | b"yes" | b"on" => Some(Given::On),
        b"0" | b"false" | b"no" | b"off" => Some(Given::Off),
        _ => None,
    };
    match (row.takes, row.times, switch) {
        (Takes::Nothing, _, Some(given)) => Ok(vec![given]),
        (Takes::OptionalValue(_), Times::Once, Some(given)) => Ok(vec![given]),
        (Takes::Nothing, _, None) => {
            let attempt = format!("use {layer}");
            Err(Error::new(attempt, format!("'{}' is neither 1 nor 0", value.display())))
        }
        (_, Times::Once, _) => Ok(vec![Given::Value(value.to_owned())]),
        (_, Times::Many, _) => {
            let lines = value.as_bytes().split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.is_empty());
            Ok(lines.map(|line| Given::Value(OsString::from_vec(line.to_vec()))).collect())
        }
    }
}
