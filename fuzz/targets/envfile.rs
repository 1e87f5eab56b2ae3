//! Environment files and scripts: what is read can be written and read again, and a line of a
//! script counts only if a shell would make the same of it.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use runtime::envfile::exports;
use runtime::envfile::{Assignment, Fault, Value, parse, parse_literal, parse_records, render};

fn unset(_: &OsStr) -> Option<OsString> {
    None
}

fn set(name: &OsStr) -> Option<OsString> {
    Some([OsStr::new("the value of "), name].map(OsStr::as_bytes).concat()).map(from_bytes)
}

fn from_bytes(bytes: Vec<u8>) -> OsString {
    OsStr::from_bytes(&bytes).to_owned()
}

/// Names and values, without the lines they were read on.
fn parts(read: &[Assignment]) -> Vec<(&OsStr, &Value)> {
    read.iter().map(|read| (read.name.as_os_str(), &read.value)).collect()
}

/// Checks lines and names of what was read, and that it survives being written.
fn check_file(file: &[u8], read: &Result<Vec<Assignment>, Fault>) {
    let lines = file.split(|byte| *byte == b'\n').count();
    let read = match read {
        Ok(read) => read,
        Err(Fault { line, reason }) => {
            return assert!((1..=lines).contains(line) && !reason.is_empty(), "{line}: {reason}");
        }
    };
    assert!(read.iter().all(|read| (1..=lines).contains(&read.line) && !read.name.is_empty()));
    assert!(read.is_sorted_by(|one, other| one.line < other.line));
    let again = parse(&render(read)).expect("reads what it wrote");
    assert_eq!(parts(&again), parts(read));
    for read in read {
        for lookup in [unset, set] {
            assert!(!read.value.expand(&lookup).as_bytes().contains(&0));
        }
    }
}

/// Checks that values are what they are, whatever variables there are.
fn check_literals(read: &[Assignment]) {
    for Assignment { value, .. } in read {
        let expanded = value.expand(&unset);
        assert_eq!((&value.expand(&set), value), (&expanded, &Value::literal(expanded.as_bytes())));
    }
}

fn check_records(file: &[u8]) {
    let Ok(read) = parse_records(file) else { return };
    check_literals(&read);
    let record = |read: &Assignment| {
        [read.name.as_bytes(), b"=", read.value.expand(&unset).as_bytes(), b"\0"].concat()
    };
    let records: Vec<u8> = read.iter().flat_map(record).collect();
    let again = parse_records(&records).expect("reads what it read");
    assert_eq!(parts(&again), parts(&read));
}

/// What a shell makes of the words after `export`.
#[derive(Debug)]
enum Word {
    /// One word, without its quotes.
    Plain(Vec<u8>),
    /// One that goes on with the value of a variable.
    WithVariable,
    /// Not one word, or one that takes commands, patterns or the state of a shell.
    More,
}

/// Reads a word as POSIX has it in "Shell Command Language", 2.2 to 2.6.
fn shell_word(text: &[u8]) -> Word {
    let mut word = Vec::new();
    let mut quote = 0;
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        let next = text.get(at + 1).copied();
        at += 1;
        match (quote, byte) {
            (b'\'', b'\'') | (b'"', b'"') => quote = 0,
            (0, b'\'' | b'"') => quote = byte,
            (b'\'', _) => word.push(byte),
            (_, b'$') => {
                let name = if next == Some(b'{') { text.get(at + 1).copied() } else { next };
                let is_name = name.is_some_and(|name| name.is_ascii_alphabetic() || name == b'_');
                let is_itself = match next {
                    None => true,
                    Some(next) if quote == 0 => !b"'\"({?$!#*@-".contains(&next),
                    Some(next) => !b"({?$!#*@-".contains(&next),
                };
                match (is_name, is_itself && !next.is_some_and(|next| next.is_ascii_digit())) {
                    (true, _) => return Word::WithVariable,
                    (false, true) => word.push(b'$'),
                    (false, false) => return Word::More,
                }
            }
            (_, b'`') => return Word::More,
            (_, b'\\') => {
                let Some(next) = next else { return Word::More };
                if quote == b'"' && !b"$`\"\\".contains(&next) {
                    word.push(b'\\');
                }
                word.push(next);
                at += 1;
            }
            (0, b' ' | b'\t') => {
                let next = text[at..].iter().find(|byte| !b" \t".contains(byte));
                return if matches!(next, None | Some(b'#')) {
                    Word::Plain(word)
                } else {
                    Word::More
                };
            }
            (0, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')') => return Word::More,
            (0, b'~') if matches!(text.get(at.wrapping_sub(2)), Some(b'=' | b':')) => {
                return Word::More;
            }
            _ => word.push(byte),
        }
    }
    if quote == 0 { Word::Plain(word) } else { Word::More }
}

/// Checks a line that counts as plain against what a shell makes of it.
fn check_line(line: &[u8]) {
    let exports = exports::read(line);
    let [Assignment { name, value, .. }] = &exports.assignments[..] else { return };
    let line = line.trim_ascii_start();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = line.strip_prefix(b"export").expect("only such lines count").trim_ascii_start();
    assert!(!name.as_bytes()[0].is_ascii_digit(), "no shell takes the name {name:?}");
    match shell_word(text) {
        Word::Plain(word) => {
            let read = [name.as_bytes(), b"=", value.expand(&unset).as_bytes()].concat();
            assert_eq!(from_bytes(read), from_bytes(word));
        }
        Word::WithVariable => assert!(text.starts_with(name.as_bytes())),
        Word::More => {
            panic!("{:?} is more than an assignment: {exports:?}", OsStr::from_bytes(line))
        }
    }
}

fn check_script(script: &[u8]) {
    // A backslash at the very end would join what is appended.
    let end = script.iter().rposition(|byte| *byte != b'\\').map_or(0, |last| last + 1);
    let script = &script[..end];
    let exports = exports::read(script);
    let lines = script.split(|byte| *byte == b'\n').count();
    assert!(exports.assignments.len() + exports.skipped.len() <= lines);
    let longer = exports::read(&[script, b"\n\nexport LAST=1\n"].concat());
    assert!(longer.assignments.starts_with(&exports.assignments));
    assert!(longer.skipped.starts_with(&exports.skipped));
}

/// Checks an option's value, and one of Charliecloud's file: without `$` they are literal.
fn check_options(text: &[u8]) {
    let charliecloud = Value::charliecloud(text);
    let expandable = Value::expandable(text);
    if !text.contains(&b'$') {
        assert_eq!((&charliecloud, expandable), (&Value::literal(text), Ok(charliecloud.clone())));
        assert_eq!(charliecloud.expand(&set).as_bytes(), text);
    }
}

fuzz_target!(|file: &[u8]| {
    check_file(file, &parse(file));
    let literal = parse_literal(file);
    check_file(file, &literal);
    check_literals(&literal.unwrap_or_default());
    check_records(file);
    check_options(file);
    check_script(file);
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.ends_with(b"\\")) {
        check_line(line);
    }
});
