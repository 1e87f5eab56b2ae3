//! The plain `export NAME=value` lines of a shell script, which is all of it that hrun applies:
//! it runs no code of an image before the command.

use super::Assignment;
use super::parser::{Dialect, Parser};

/// What a shell script sets, and what of it was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Its plain lines, in order.
    pub assignments: Vec<Assignment>,
    /// All others, but for comments and blank lines.
    pub skipped: Vec<String>,
}

/// Reads a shell script line by line.
///
/// A line counts if it is `export NAME=value` and nothing else, stands outside of all blocks,
/// and its value takes no shell to know: no command, no `~`, no second word. After a line that
/// opens a quote or a here document nothing is certain any more, and nothing counts.
pub fn read(script: &[u8]) -> Exports {
    let mut exports = Exports::default();
    let mut depth = 0_usize;
    for line in joined_lines(script) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match plain_export(line).filter(|_| depth == 0) {
            Some(assignment) => exports.assignments.push(assignment),
            None => {
                depth = depth_after(line, depth);
                exports.skipped.push(String::from_utf8_lossy(line).into_owned());
            }
        }
    }
    exports
}

/// The lines of a script, those joined where a backslash ends one.
fn joined_lines(script: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut goes_on = false;
    for line in script.split(|byte| *byte == b'\n') {
        let joins = line.ends_with(b"\\");
        let text = if joins { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.extend_from_slice(text),
            None => lines.push(text.to_vec()),
        }
        goes_on = joins;
    }
    lines
}

fn plain_export(line: &[u8]) -> Option<Assignment> {
    let rest = line.strip_prefix(b"export")?;
    let is_word = rest.first().is_some_and(u8::is_ascii_whitespace);
    if !is_word || takes_a_shell(rest) {
        return None;
    }
    let assignments = Parser::new(line).in_dialect(Dialect::Shell).assignments().ok()?;
    let [assignment] = assignments.as_slice() else { return None };
    let name = assignment.name.as_encoded_bytes();
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then(|| assignment.clone())
}

/// Whether only a shell knows what stands after `export`.
fn takes_a_shell(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let mut quote = 0;
    let mut previous = b'=';
    for (index, byte) in text.iter().enumerate() {
        let is_special = match (quote, byte) {
            (b'\'', b'\'') | (b'"', b'"') => {
                quote = 0;
                false
            }
            (0, b'\'' | b'"') => {
                quote = *byte;
                false
            }
            // A comment goes to the end of the line.
            (0, b'#') if previous.is_ascii_whitespace() => return false,
            (0, b' ' | b'\t') => !text[index..].trim_ascii_start().starts_with(b"#"),
            (0, b'~') => matches!(previous, b'=' | b':'),
            (0, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')') => true,
            (0 | b'"', b'`') => true,
            (b'"', b'(') => previous == b'$',
            _ => false,
        };
        if is_special && previous != b'\\' {
            return true;
        }
        previous = *byte;
    }
    false
}

/// How many blocks are open after a line.
fn depth_after(line: &[u8], depth: usize) -> usize {
    /// More than any script closes: from here on nothing counts.
    const LOST: usize = usize::MAX / 2;
    let has_open_quote = |quote: u8| line.iter().filter(|byte| **byte == quote).count() % 2 == 1;
    if has_open_quote(b'"') || has_open_quote(b'\'') || line.windows(2).any(|two| two == b"<<") {
        return LOST;
    }
    let words = line.split(|byte| byte.is_ascii_whitespace() || *byte == b';');
    words.fold(depth, |depth, word| match word {
        b"if" | b"case" | b"for" | b"while" | b"until" | b"select" | b"{" | b"(" => depth + 1,
        b"fi" | b"esac" | b"done" | b"}" | b")" => depth.saturating_sub(1),
        _ => depth,
    })
}
