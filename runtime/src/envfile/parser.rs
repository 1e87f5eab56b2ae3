//! Reads the grammar of environment files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::value::{Form, Value};
use super::{Assignment, Fault};

/// What surrounds the text being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Where a word ends: at the end of its line, or at the `}` of a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Line,
    Brace,
}

/// What is special in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What people write in environment files.
    File,
    /// The same, but `$` means itself.
    Literal,
    /// What a shell reads: a backslash takes the meaning of any character, but in double quotes,
    /// where `\n` is two characters.
    Shell,
}

/// How deep references may stand in one another; the limit keeps hostile files off the stack.
const MAX_DEPTH: usize = 32;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Walks the bytes of a file and counts lines.
pub(super) struct Parser {
    bytes: Vec<u8>,
    position: usize,
    line: usize,
    depth: usize,
    dialect: Dialect,
}

impl Parser {
    /// Drops a byte order mark and the CR of every line end.
    pub(super) fn new(file: &[u8]) -> Self {
        let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
        let mut bytes = Vec::with_capacity(file.len());
        for (index, byte) in file.iter().enumerate() {
            let ends_line = matches!(file.get(index + 1), None | Some(b'\n'));
            if !(*byte == b'\r' && ends_line) {
                bytes.push(*byte);
            }
        }
        Parser::verbatim(bytes)
    }

    /// Takes every byte as it is.
    pub(super) fn verbatim(bytes: Vec<u8>) -> Self {
        Parser { bytes, position: 0, line: 1, depth: 0, dialect: Dialect::File }
    }

    /// Reads another dialect.
    pub(super) fn in_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Reads all lines.
    pub(super) fn assignments(mut self) -> Result<Vec<Assignment>, Fault> {
        let mut assignments = Vec::new();
        while let Some(assignment) = self.next_assignment()? {
            assignments.push(assignment);
        }
        Ok(assignments)
    }

    /// Reads everything as one value in which only `$` is special.
    pub(super) fn references(mut self) -> Result<Value, Fault> {
        let mut value = Value::default();
        while let Some(byte) = self.peek() {
            match byte {
                b'$' => self.reference(&mut value)?,
                _ => self.take(&mut value, byte),
            }
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn peek_at(&self, offset: usize) -> Option<u8> {
        self.bytes.get(self.position + offset).copied()
    }

    fn bump(&mut self) {
        if self.peek() == Some(b'\n') {
            self.line += 1;
        }
        self.position += 1;
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.bump();
        }
    }

    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: self.line, reason: reason.into() })
    }

    fn next_assignment(&mut self) -> Result<Option<Assignment>, Fault> {
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return Ok(None),
                Some(b'\n') => self.bump(),
                Some(b'#') => self.skip_line(),
                Some(_) => break,
            }
        }
        let line = self.line;
        let name = self.name()?;
        let value = self.word(End::Line)?;
        Ok(Some(Assignment { name, value, line }))
    }

    fn skip_line(&mut self) {
        while !matches!(self.peek(), None | Some(b'\n')) {
            self.bump();
        }
    }

    /// Reads `export`, the name and the `=`.
    fn name(&mut self) -> Result<OsString, Fault> {
        let rest = &self.bytes[self.position..];
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            return self.fault("line without '='");
        };
        let mut name = &line[..equals];
        if let Some(rest) = name.strip_prefix(b"export")
            && rest.first().is_some_and(u8::is_ascii_whitespace)
        {
            name = rest;
        }
        let name = name.trim_ascii();
        if name.is_empty() {
            return self.fault("empty name before '='");
        }
        // What would be a comment at the start of a line, and what would vanish at that of a file.
        let starts_wrong = name.starts_with(b"#") || name.starts_with(BYTE_ORDER_MARK);
        let impossible = |byte: &u8| byte.is_ascii_whitespace() || b"'\"$\\\0".contains(byte);
        if starts_wrong || name.iter().any(impossible) {
            let name = String::from_utf8_lossy(name).into_owned();
            return self.fault(format!("'{name}' is not a variable name"));
        }
        let name = OsString::from_vec(name.to_vec());
        self.position += equals + 1;
        Ok(name)
    }

    /// Reads a word: up to the end of the line (or a comment), or up to the closing brace.
    fn word(&mut self, end: End) -> Result<Value, Fault> {
        let mut value = Value::default();
        let mut quote = Quote::None;
        // Blanks count only between two other parts of the line.
        let mut blanks: Vec<u8> = Vec::new();
        let mut started = false;
        loop {
            let Some(byte) = self.peek().filter(|byte| *byte != b'\n') else {
                return self.end_of_line(quote, end).map(|()| value);
            };
            match (quote, end, byte) {
                (Quote::None, End::Brace, b'}') => return Ok(value),
                (Quote::None, End::Line, b' ' | b'\t') => {
                    blanks.push(byte);
                    self.bump();
                    continue;
                }
                (Quote::None, End::Line, b'#') if !blanks.is_empty() => {
                    self.skip_line();
                    return Ok(value);
                }
                (_, _, 0) => return self.fault("NUL byte in the value"),
                _ => {}
            }
            if started {
                value.push_text(&blanks);
            }
            blanks.clear();
            started = true;
            self.part(byte, &mut quote, &mut value)?;
        }
    }

    /// Reads the word of a `${NAME:-word}`.
    fn nested_word(&mut self) -> Result<Value, Fault> {
        if self.depth == MAX_DEPTH {
            return self.fault(format!("'${{' more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let word = self.word(End::Brace)?;
        self.depth -= 1;
        Ok(word)
    }

    fn end_of_line(&self, quote: Quote, end: End) -> Result<(), Fault> {
        match (quote, end) {
            (Quote::None, End::Line) => Ok(()),
            (Quote::None, End::Brace) => self.fault("'${' without '}'"),
            (Quote::Single, _) => self.fault("unclosed single quote"),
            (Quote::Double, _) => self.fault("unclosed double quote"),
        }
    }

    /// Reads one byte of a word, or one quote, escape or reference.
    fn part(&mut self, byte: u8, quote: &mut Quote, value: &mut Value) -> Result<(), Fault> {
        let next = match (*quote, byte) {
            (Quote::Single, b'\'') | (Quote::Double, b'"') => Quote::None,
            (Quote::None, b'\'') => Quote::Single,
            (Quote::None, b'"') => Quote::Double,
            (Quote::None | Quote::Double, b'\\') => {
                self.escape(value, *quote);
                return Ok(());
            }
            (Quote::None | Quote::Double, b'$') if self.dialect != Dialect::Literal => {
                return self.reference(value);
            }
            _ => {
                self.take(value, byte);
                return Ok(());
            }
        };
        *quote = next;
        self.bump();
        Ok(())
    }

    fn take(&mut self, value: &mut Value, byte: u8) {
        value.push_text(&[byte]);
        self.bump();
    }

    /// Reads a backslash outside single quotes; before a newline it joins the lines.
    fn escape(&mut self, value: &mut Value, quote: Quote) {
        self.bump();
        let Some(byte) = self.peek() else {
            return value.push_text(b"\\");
        };
        let text: &[u8] = match (quote, byte) {
            (_, b'\n') => b"",
            (_, b'\\' | b'"' | b'$') => &[byte],
            (Quote::None, b'\'' | b'#' | b' ' | b'}') => &[byte],
            (Quote::None, 1..) if self.dialect == Dialect::Shell => &[byte],
            (Quote::Double, b'`') => &[byte],
            (Quote::Double, b'n' | b'r' | b't') if self.dialect == Dialect::Shell => {
                return value.push_text(b"\\");
            }
            (Quote::Double, b'n') => b"\n",
            (Quote::Double, b'r') => b"\r",
            (Quote::Double, b't') => b"\t",
            _ => return value.push_text(b"\\"),
        };
        value.push_text(text);
        self.bump();
    }

    /// Reads what starts with `$`: a reference, `$$`, or a dollar that means itself.
    fn reference(&mut self, value: &mut Value) -> Result<(), Fault> {
        self.bump();
        match self.peek() {
            Some(b'$') => self.take(value, b'$'),
            Some(b'{') => {
                self.bump();
                self.braced(value)?;
            }
            Some(byte) if starts_name(byte) => {
                let name = self.variable_name();
                value.push_variable(&name, Form::Plain);
            }
            _ => value.push_text(b"$"),
        }
        Ok(())
    }

    fn variable_name(&mut self) -> Vec<u8> {
        let start = self.position;
        while self.peek().is_some_and(|byte| starts_name(byte) || byte.is_ascii_digit()) {
            self.bump();
        }
        self.bytes[start..self.position].to_vec()
    }

    fn braced(&mut self, value: &mut Value) -> Result<(), Fault> {
        if !self.peek().is_some_and(starts_name) {
            return self.fault("'${' without a variable name");
        }
        let name = self.variable_name();
        let form = match (self.peek(), self.peek_at(1)) {
            (Some(b'}'), _) => Form::Plain,
            (Some(b':'), Some(operator @ (b'-' | b'+'))) => {
                self.bump();
                self.bump();
                let word = self.nested_word()?;
                if operator == b'-' { Form::Default(word) } else { Form::Alternative(word) }
            }
            (None | Some(b'\n'), _) => return self.fault("'${' without '}'"),
            _ => {
                let name = String::from_utf8_lossy(&name).into_owned();
                return self.fault(format!(
                    "'${{{name}' must go on with '}}', ':-default}}' or ':+alternative}}'"
                ));
            }
        };
        self.bump();
        value.push_variable(&name, form);
        Ok(())
    }
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}
