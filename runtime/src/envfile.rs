//! Environment files as people write them: quotes, comments, `export`, `$NAME`.
//!
//! The grammar is DESIGN §5 and the section ENVIRONMENT FILES of the manual. Parsing gives
//! [`Assignment`]s whose values are still unexpanded, because a value sees the container's
//! environment as it stands when its line is reached.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

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

/// A value before expansion: literal text and references to variables.
///
/// Neighbouring texts are always joined and empty ones left out, so equal values compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value(Vec<Piece>);

/// One part of a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Variable { name: OsString, form: Form },
}

/// How a reference treats a variable that is unset or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// `${NAME}`: its value, or nothing.
    Plain,
    /// `${NAME:-word}`: its value, or the word.
    Default(Value),
    /// `${NAME:+word}`: the word, or nothing.
    Alternative(Value),
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a whole file.
///
/// # Errors
///
/// Fails on a line without `=`, an empty or impossible name, an unclosed quote or `${`, an
/// unknown `${}` operator, and a NUL byte.
pub fn parse(file: &[u8]) -> Result<Vec<Assignment>, Fault> {
    Parser::new(file).assignments()
}

/// Reads a whole file in which `$` means itself (`--env-no-expand`).
///
/// # Errors
///
/// As [`parse`].
pub fn parse_literal(file: &[u8]) -> Result<Vec<Assignment>, Fault> {
    let mut parser = Parser::new(file);
    parser.expands = false;
    parser.assignments()
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

impl Value {
    /// Makes a value that stands for exactly these bytes.
    pub fn literal(bytes: &[u8]) -> Self {
        let mut value = Value::default();
        value.push_text(bytes);
        value
    }

    /// Reads a value in which only `$` is special: an option's, whose quotes the shell has taken.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a `${}` that is unclosed or has an unknown operator.
    pub fn expandable(bytes: &[u8]) -> Result<Self, String> {
        let mut parser = Parser::new(bytes);
        let mut value = Value::default();
        while let Some(byte) = parser.peek() {
            if byte == b'$' {
                parser.reference(&mut value).map_err(|fault| fault.reason)?;
            } else {
                parser.bump();
                value.push_text(&[byte]);
            }
        }
        Ok(value)
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

    fn push_text(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.extend_from_slice(bytes),
            _ => self.0.push(Piece::Text(bytes.to_vec())),
        }
    }

    fn push_variable(&mut self, name: &[u8], form: Form) {
        self.0.push(Piece::Variable { name: OsString::from_vec(name.to_vec()), form });
    }

    fn render(&self, file: &mut Vec<u8>) {
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

/// Walks the bytes of a file and counts lines.
struct Parser {
    bytes: Vec<u8>,
    position: usize,
    line: usize,
    expands: bool,
}

impl Parser {
    /// Drops a byte order mark and the CR of every line end.
    fn new(file: &[u8]) -> Self {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let mut bytes = Vec::with_capacity(file.len());
        for (index, byte) in file.iter().enumerate() {
            let ends_line = matches!(file.get(index + 1), None | Some(b'\n'));
            if !(*byte == b'\r' && ends_line) {
                bytes.push(*byte);
            }
        }
        Parser { bytes, position: 0, line: 1, expands: true }
    }

    fn assignments(mut self) -> Result<Vec<Assignment>, Fault> {
        let mut assignments = Vec::new();
        while let Some(assignment) = self.next_assignment()? {
            assignments.push(assignment);
        }
        Ok(assignments)
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
        let mut name = line[..equals].trim_ascii();
        if let Some(rest) = name.strip_prefix(b"export")
            && rest.first().is_some_and(u8::is_ascii_whitespace)
        {
            name = rest.trim_ascii();
        }
        if name.is_empty() {
            return self.fault("empty name before '='");
        }
        let impossible = |byte: &u8| byte.is_ascii_whitespace() || b"'\"$\\\0".contains(byte);
        if name.iter().any(impossible) {
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
            (Quote::None | Quote::Double, b'$') if self.expands => return self.reference(value),
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
            (Quote::Double, b'`') => &[byte],
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
                let word = self.word(End::Brace)?;
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
