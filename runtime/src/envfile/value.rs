//! Values before expansion, and their expansion.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::parser::Parser;
use crate::text::Text;

/// A value before expansion: literal text and references to variables.
///
/// Neighbouring texts are always joined and empty ones left out, so equal values compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Value(Vec<Piece>);

/// One part of a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(Vec<u8>),
    Variable { name: OsString, form: Form },
}

/// How a reference treats a variable that is unset or empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// `${NAME}`: its value, or nothing.
    Plain,
    /// `${NAME:-word}`: its value, or the word.
    Default(Value),
    /// `${NAME:+word}`: the word, or nothing.
    Alternative(Value),
}

impl Value {
    /// Makes a value that stands for exactly these bytes.
    pub fn literal(bytes: &[u8]) -> Self {
        let mut value = Value::default();
        value.push_text(bytes);
        value
    }

    /// Makes a value that is a variable's own, or else exactly these bytes.
    pub(super) fn with_default(name: &OsStr, bytes: &[u8]) -> Self {
        let mut value = Value::default();
        value.push_variable(name.as_bytes(), Form::Default(Value::literal(bytes)));
        value
    }

    /// Makes a value of Charliecloud's `/ch/environment`: between colons, an item that starts
    /// with `$` names a variable by all of its rest, and nothing else is special.
    pub fn charliecloud(bytes: &[u8]) -> Self {
        let mut value = Value::default();
        for (index, item) in bytes.split(|byte| *byte == b':').enumerate() {
            if index > 0 {
                value.push_text(b":");
            }
            match item.strip_prefix(b"$") {
                Some(name) if !name.is_empty() => value.push_variable(name, Form::Plain),
                _ => value.push_text(item),
            }
        }
        value
    }

    /// Puts the values of variables in place of their names.
    ///
    /// An item of a colon list that holds a reference and comes out empty disappears with its
    /// colon; a colon inside a variable's value separates nothing.
    pub fn expand(&self, lookup: &dyn Fn(&OsStr) -> Option<OsString>) -> OsString {
        let mut items = vec![Item::default()];
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    let mut parts = text.split(|byte| *byte == b':');
                    push_to_last(&mut items, parts.next().unwrap_or_default());
                    items.extend(parts.map(Item::text));
                }
                Piece::Variable { name, form } => {
                    let value = lookup(name).filter(|value| !value.is_empty());
                    let bytes = match (form, value) {
                        (Form::Plain, value) => value.unwrap_or_default(),
                        (Form::Default(word), None) => word.expand(lookup),
                        (Form::Default(_), Some(value)) => value,
                        (Form::Alternative(_), None) => OsString::new(),
                        (Form::Alternative(word), Some(_)) => word.expand(lookup),
                    };
                    push_to_last(&mut items, bytes.as_bytes());
                    if let Some(item) = items.last_mut() {
                        item.has_reference = true;
                    }
                }
            }
        }
        let kept: Vec<Vec<u8>> = items
            .into_iter()
            .filter(|item| !(item.has_reference && item.bytes.is_empty()))
            .map(|item| item.bytes)
            .collect();
        OsString::from_vec(kept.join(&b':'))
    }

    /// Whether a NUL byte stands in it, which no program can be given.
    pub fn has_nul(&self) -> bool {
        let has_nul = |bytes: &[u8]| bytes.contains(&0);
        self.0.iter().any(|piece| match piece {
            Piece::Text(text) => has_nul(text),
            Piece::Variable { name, form } => {
                has_nul(name.as_bytes())
                    || match form {
                        Form::Plain => false,
                        Form::Default(word) | Form::Alternative(word) => word.has_nul(),
                    }
            }
        })
    }

    /// The first variable that is put in as it is and that nobody has set.
    pub fn first_unset(&self, lookup: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<&OsStr> {
        self.0.iter().find_map(|piece| match piece {
            Piece::Variable { name, form: Form::Plain } if lookup(name).is_none() => {
                Some(name.as_os_str())
            }
            Piece::Variable { .. } | Piece::Text(_) => None,
        })
    }

    pub(super) fn push_text(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.extend_from_slice(bytes),
            _ => self.0.push(Piece::Text(bytes.to_vec())),
        }
    }

    pub(super) fn push_variable(&mut self, name: &[u8], form: Form) {
        self.0.push(Piece::Variable { name: OsString::from_vec(name.to_vec()), form });
    }

    pub(super) fn render(&self, file: &mut Vec<u8>) {
        file.push(b'"');
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => text.iter().for_each(|byte| render_byte(*byte, file)),
                Piece::Variable { name, form } => {
                    file.extend_from_slice(b"${");
                    file.extend_from_slice(name.as_bytes());
                    match form {
                        Form::Plain => {}
                        Form::Default(word) => {
                            file.extend_from_slice(b":-");
                            word.render(file);
                        }
                        Form::Alternative(word) => {
                            file.extend_from_slice(b":+");
                            word.render(file);
                        }
                    }
                    file.push(b'}');
                }
            }
        }
        file.push(b'"');
    }
}

/// As it would stand in an environment file.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = Vec::new();
        self.render(&mut written);
        Text::from(OsString::from_vec(written)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Text::deserialize(deserializer)?;
        let line = [b"VALUE=", written.as_bytes()].concat();
        let read = Parser::new(&line).assignments();
        let read = read.map_err(|fault| D::Error::custom(fault.reason))?;
        match <[_; 1]>::try_from(read) {
            Ok([assignment]) => Ok(assignment.value),
            Err(_) => Err(D::Error::custom("a value has one line")),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = Vec::new();
        self.render(&mut written);
        String::from_utf8_lossy(&written).fmt(f)
    }
}

fn render_byte(byte: u8, file: &mut Vec<u8>) {
    match byte {
        b'\n' => file.extend_from_slice(b"\\n"),
        b'\r' => file.extend_from_slice(b"\\r"),
        b'\\' | b'"' | b'$' | b'`' => file.extend_from_slice(&[b'\\', byte]),
        _ => file.push(byte),
    }
}

/// One item of a colon list during expansion.
#[derive(Default)]
struct Item {
    bytes: Vec<u8>,
    has_reference: bool,
}

impl Item {
    fn text(bytes: &[u8]) -> Self {
        Item { bytes: bytes.to_vec(), has_reference: false }
    }
}

fn push_to_last(items: &mut [Item], bytes: &[u8]) {
    if let Some(item) = items.last_mut() {
        item.bytes.extend_from_slice(bytes);
    }
}
