//! Environment files as people write them: quotes, comments, `export`, `$NAME`.
//!
//! The grammar is DESIGN §5 and the section ENVIRONMENT FILES of the manual. Parsing gives
//! [`Assignment`]s whose values are still unexpanded, because a value sees the container's
//! environment as it stands when its line is reached.

pub mod exports;
mod parser;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use self::parser::{Dialect, Parser};
pub use self::value::Value;

/// One `NAME=value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name; never empty.
    pub name: OsString,
    /// The value, before expansion.
    pub value: Value,
    /// The line it starts on, counted from 1.
    pub line: usize,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Value {
    /// Reads a value in which only `$` is special: an option's, whose quotes the shell has taken.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a `${}`.
    pub fn expandable(bytes: &[u8]) -> Result<Self, String> {
        Parser::verbatim(bytes.to_vec()).references().map_err(|fault| fault.reason)
    }
}

/// Reads a whole file.
///
/// # Errors
///
/// Fails on a line without `=`, an empty or impossible name, an unclosed quote or `${`, an
/// unknown `${}` operator, references nested too deep, and a NUL byte.
pub fn parse(file: &[u8]) -> Result<Vec<Assignment>, Fault> {
    Parser::new(file).assignments()
}

/// Reads a whole file in which `$` means itself (`--env-no-expand`).
///
/// # Errors
///
/// As [`parse`].
pub fn parse_literal(file: &[u8]) -> Result<Vec<Assignment>, Fault> {
    Parser::new(file).in_dialect(Dialect::Literal).assignments()
}

/// Reads NUL-separated `NAME=value` records, taken verbatim (`--set-env0`).
///
/// The `line` of an assignment is the number of its record.
///
/// # Errors
///
/// Fails on a record without `=` or with an empty name.
pub fn parse_records(file: &[u8]) -> Result<Vec<Assignment>, Fault> {
    let mut assignments = Vec::new();
    for (index, record) in file.split(|byte| *byte == 0).enumerate() {
        let line = index + 1;
        if record.is_empty() {
            continue;
        }
        let Some(equals) = record.iter().position(|byte| *byte == b'=') else {
            return Err(Fault { line, reason: "record without '='".to_owned() });
        };
        if equals == 0 {
            return Err(Fault { line, reason: "empty name before '='".to_owned() });
        }
        let name = OsString::from_vec(record[..equals].to_vec());
        assignments.push(Assignment { name, value: Value::literal(&record[equals + 1..]), line });
    }
    Ok(assignments)
}

/// Writes assignments so that [`parse`] gives them back.
///
/// Lines are numbered anew: one assignment, one line.
pub fn render(assignments: &[Assignment]) -> Vec<u8> {
    let mut file = Vec::new();
    for assignment in assignments {
        file.extend_from_slice(assignment.name.as_bytes());
        file.push(b'=');
        assignment.value.render(&mut file);
        file.push(b'\n');
    }
    file
}
