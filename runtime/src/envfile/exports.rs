//! The plain `export NAME=value` lines of a shell script: what can be known of it before a shell of the
//! image has sourced it.

use std::ffi::OsString;
use std::mem;
use std::os::unix::ffi::OsStringExt;

use super::parser::{Dialect, Parser};
use super::{Assignment, Value};

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
        // What ends it may be an escaped blank.
        let line = line.trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let assignment = default_export(line).or_else(|| plain_export(line));
        match assignment.filter(|_| depth == 0) {
            Some(assignment) => exports.assignments.push(assignment),
            None => {
                let line = line.trim_ascii_end();
                depth = depth_after(line, depth);
                exports.skipped.push(String::from_utf8_lossy(line).into_owned());
            }
        }
    }
    exports
}

/// What a shell knows of a byte by those before it in its line.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The quote it stands in, or 0.
    quote: u8,
    /// It stands after a backslash that takes its meaning.
    is_escaped: bool,
    /// It does not start a word.
    is_in_word: bool,
    /// It stands after a `#` that started a word.
    is_comment: bool,
}

impl Place {
    /// The place behind a byte at this place.
    fn after(self, byte: u8) -> Place {
        let is_plain = self.quote == 0 && !self.is_escaped;
        let is_comment = self.is_comment || is_plain && byte == b'#' && !self.is_in_word;
        let takes_escapes = self.quote != b'\'' && !is_comment;
        Place {
            quote: match (self.quote, byte) {
                _ if self.is_escaped => self.quote,
                (b'\'', b'\'') | (b'"', b'"') => 0,
                (0, b'\'' | b'"') => byte,
                (quote, _) => quote,
            },
            is_escaped: byte == b'\\' && takes_escapes && !self.is_escaped,
            is_in_word: !(is_plain && b" \t;&|()<>".contains(&byte)),
            is_comment,
        }
    }
}

/// The lines of a script, those joined that a backslash joins: none in a comment, none in single
/// quotes, and none that is itself escaped.
fn joined_lines(script: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut place = Place::default();
    for byte in script.iter().copied() {
        if byte != b'\n' {
            line.push(byte);
            place = place.after(byte);
        } else if place.is_escaped {
            line.pop();
            place.is_escaped = false;
        } else {
            lines.push(mem::take(&mut line));
            place = Place::default();
        }
    }
    lines.push(line);
    lines
}

/// What Apptainer writes for each variable of a Docker image: `export NAME="${NAME:-"value"}"`, where
/// backslashes stand before all that would mean anything in double quotes.
fn default_export(line: &[u8]) -> Option<Assignment> {
    let rest = line.strip_prefix(b"export ")?;
    let name = &rest[..rest.iter().position(|byte| *byte == b'=')?];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let start = [name, b"=\"${", name, b":-\""].concat();
    let text = rest.strip_prefix(&start[..])?.strip_suffix(b"\"}\"")?;
    if name.is_empty() || !name.iter().all(is_name) {
        return None;
    }
    let mut value = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next()? {
                byte @ (b'"' | b'\\' | b'$' | b'`') => value.push(byte),
                byte => value.extend([b'\\', byte]),
            },
            b'"' | b'$' | b'`' => return None,
            byte => value.push(byte),
        }
    }
    let name = OsString::from_vec(name.to_vec());
    let value = Value::with_default(&name, &value);
    Some(Assignment { name, value, line: 0 })
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
    let is_name = is_name && !name[0].is_ascii_digit();
    is_name.then(|| assignment.clone())
}

/// Whether only a shell knows what stands after `export`.
fn takes_a_shell(text: &[u8]) -> bool {
    let text = text.strip_suffix(b"\r").unwrap_or(text).trim_ascii_start();
    let mut place = Place::default();
    let mut previous = b'=';
    for (index, byte) in text.iter().copied().enumerate() {
        let (here, rest) = (place, &text[index + 1..]);
        place = here.after(byte);
        if place.is_comment {
            return false;
        }
        let is_special = match (here.quote, byte) {
            _ if here.is_escaped => false,
            (b'\'', _) => false,
            (_, b'`') => true,
            (quote, b'$') => is_special_after_dollar(rest, quote),
            (0, b'~') => matches!(previous, b'=' | b':'),
            (0, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')') => true,
            (0, b' ' | b'\t') => {
                let word = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
                !matches!(word, None | Some(b'#'))
            }
            // Blanks to the parser, but not to a shell.
            (0, b'\r' | b'\x0c') => true,
            _ => false,
        };
        if is_special {
            return true;
        }
        previous = byte;
    }
    // A backslash at the end takes the carriage return for a letter.
    place.is_escaped
}

/// Whether a `$` starts a command, one of a shell's own parameters (`$1`, `$$`) or bash's `$'..'`.
fn is_special_after_dollar(rest: &[u8], quote: u8) -> bool {
    match rest.first() {
        Some(b'(' | b'0'..=b'9' | b'$' | b'?' | b'!' | b'#' | b'*' | b'@' | b'-') => true,
        Some(b'\'' | b'"') => quote == 0,
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a script sets, as `NAME=value`; variables are unset.
    fn set_by(script: &str) -> Vec<String> {
        let text = |read: &Assignment| {
            let value = read.value.expand(&|_| None);
            format!("{}={}", read.name.display(), value.display())
        };
        read(script.as_bytes()).assignments.iter().map(text).collect()
    }

    #[test]
    fn a_backslash_means_what_it_means_to_a_shell() {
        for (line, expected) in [
            (r"export A=a\\b\;c\~\ d\'", r"A=a\b;c~ d'"),
            (r"export A=\a", r"A=a"),
            (r#"export A="\a\$\'""#, r"A=\a$\'"),
            (r"export A=x\ ", r"A=x "),
            (r"export A=x\ #y", r"A=x #y"),
            (r"export A='\'\' # it''s", r"A=\'"),
        ] {
            assert_eq!(set_by(line), [expected], "{line}");
        }
        assert_eq!(set_by("export A=a\\\\\r\n"), [r"A=a\"]);
        assert!(set_by("export A=a\\\r\n").is_empty(), "it takes the carriage return for a letter");
        for line in [r"export A=a\\;reboot", r#"export A=\";reboot"#, r"export A=\';reboot"] {
            assert!(set_by(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn what_apptainer_writes_is_read_whatever_the_value() {
        for (value, expected) in [
            ("two words; a|b < c > (d) & e", "two words; a|b < c > (d) & e"),
            (r#"{\"a\": \"b\"}"#, r#"{"a": "b"}"#),
            (r"\$HOME \`date\` a\\b it's #1", r"$HOME `date` a\b it's #1"),
            ("", ""),
        ] {
            let line = format!("export A=\"${{A:-\"{value}\"}}\"");
            assert_eq!(set_by(&line), [format!("A={expected}")], "{line}");
        }
        for line in [r#"export A="${A:-"$(date)"}""#, r#"export A="${A:-"a" b "c"}"; reboot"#] {
            assert!(set_by(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_line_is_joined_where_a_shell_joins_it() {
        assert_eq!(set_by("export A=/a:\\\n/b\n"), ["A=/a:/b"]);
        assert_eq!(set_by("# see \\\nexport A=1\n"), ["A=1"]);
        assert_eq!(set_by("export A=1 # see \\\nexport B=2\n"), ["A=1", "B=2"]);
        assert_eq!(set_by("export A=a\\\\\nexport B=2\n"), ["A=a\\", "B=2"]);
        assert!(set_by("export A='a\\\nb'\n").is_empty(), "the value has two lines");
    }

    #[test]
    fn what_only_a_shell_knows_is_left_out() {
        for value in
            ["/tmp/$$", "$1", "\"$0\"", "$?", "$@", "$'a\\n'", "$\"a\"", "$(date)", "`date`"]
        {
            assert!(set_by(&format!("export A={value}")).is_empty(), "{value}");
        }
        for line in
            ["export 1A=x", "export A=1\r\nexport B", "export A=1 \u{c}B=2", "export A= \r # c"]
        {
            assert!(!set_by(line).iter().any(|read| read != "A=1"), "{line}");
        }
        assert_eq!(set_by("export A='$1' B"), [""; 0]);
        assert_eq!(
            set_by("export A='$1$$'\nexport B=5$\nexport C=\"$\"\r\n"),
            ["A=$1$$", "B=5$", "C=$"]
        );
    }
}
