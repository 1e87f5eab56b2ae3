//! Bytes that are usually text: paths, arguments and variables of a plan.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// Holds what the kernel takes as bytes, and survives JSON unchanged.
///
/// Valid UTF-8 is a JSON string; anything else is `{"bytes": [..]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(OsString);

impl Text {
    /// The bytes as they are handed to the kernel.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The bytes as an argument or a variable.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// The bytes as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl<T: Into<OsString>> From<T> for Text {
    fn from(value: T) -> Self {
        Text(value.into())
    }
}

impl AsRef<Path> for Text {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Raw { bytes: self.as_bytes().to_vec() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match StringOrRaw::deserialize(deserializer)? {
            StringOrRaw::String(text) => Text(OsString::from(text)),
            StringOrRaw::Raw(raw) => Text(OsString::from_vec(raw.bytes)),
        })
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    bytes: Vec<u8>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum StringOrRaw {
    String(String),
    Raw(Raw),
}

/// Text that others wrote, made fit for a line of a message or a table: what a terminal would obey
/// or what would begin a line of its own is written as `\x1b`.
///
/// Names of files, metadata of images, answers of registries and other processes' environments may
/// hold anything. Output for programs (JSON) stays as it is.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed, written)
}

/// The same for a whole message, whose lines stay.
pub fn lines_shown(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| is_obeyed(letter) && letter != '\n', written)
}

/// The same JSON without controls: its writer leaves those above ASCII's in strings as they are.
pub fn exact(json: &str) -> Cow<'_, str> {
    let is_left = |letter: char| letter.is_control() && letter != '\n';
    escaped(json, is_left, |letter| format!("\\u{:04x}", u32::from(letter)))
}

/// Whether a terminal does more with a letter than to show it: controls of either half, and those
/// that change the direction in which the rest is written.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// A letter as C and shells write it.
fn written(letter: char) -> String {
    match letter {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        '\0'..='\x7f' => format!("\\x{:02x}", u32::from(letter)),
        _ => format!("\\u{:04x}", u32::from(letter)),
    }
}

fn escaped(
    text: &str,
    is_hidden: impl Fn(char) -> bool,
    written: impl Fn(char) -> String,
) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_hidden(letter) {
            true => escaped.push_str(&written(letter)),
            false => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// Writes a path as a shell would take it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+:@%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    if text.contains(is_obeyed) {
        let text = text.replace('\\', "\\\\").replace('\'', "\\'");
        return format!("$'{}'", shown(&text));
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The known word a mistyped one is most like, if no more than a third of it is wrong.
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let close = |word: &&str| word.len().abs_diff(wanted.len()) * 3 <= wanted.len();
    let distances = known.filter(close).map(|word| (distance(wanted, word), word));
    let near = distances.filter(|(distance, _)| distance * 3 <= wanted.len());
    near.min().map(|(_, word)| word)
}

/// The number of letters to insert, delete or replace to make one word another (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, target) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != target);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json() {
        for bytes in [&b"plain"[..], b"caf\xc3\xa9", b"\xff\x00-\xfe", b"", b"{\"bytes\":[1]}"] {
            let text = Text(OsString::from_vec(bytes.to_vec()));
            let json = serde_json::to_string(&text).expect("serialises");
            assert_eq!(serde_json::from_str::<Text>(&json).expect("reads back"), text, "{json}");
        }
    }

    #[test]
    fn quotes_for_the_shell() {
        assert_eq!(quoted(Path::new("/a/b-1.sif")), "/a/b-1.sif");
        assert_eq!(quoted(Path::new("it's here")), "'it'\\''s here'");
        assert_eq!(quoted(Path::new("it's\\\n\x1b[m")), r"$'it\'s\\\n\x1b[m'");
    }

    #[test]
    fn no_terminal_obeys_what_is_shown() {
        for (text, line) in [
            (
                "plain, caf\u{e9}, \u{65e5}\u{672c}, C:\\x",
                "plain, caf\u{e9}, \u{65e5}\u{672c}, C:\\x",
            ),
            ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
            ("a\nhrun: forged\r\t\0\x7f", r"a\nhrun: forged\r\t\x00\x7f"),
            ("\u{9b}31m\u{202e}", r"\u009b31m\u202e"),
        ] {
            assert_eq!(shown(text), line);
        }
        assert_eq!(lines_shown("one\n\ttwo\x1b"), "one\n\\ttwo\\x1b");
        assert_eq!(exact("{\n \"a\": \"\u{9b}\x7f\"}"), "{\n \"a\": \"\\u009b\\u007f\"}");
        assert!(matches!(shown("plain"), Cow::Borrowed(_)));
    }
}
