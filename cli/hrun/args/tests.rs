//! Command lines as a table, and agreement with clap, which reads the same table of options.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use runtime::options::{OPTIONS, Takes};

use super::*;
use crate::help;

/// What is read of some words: options as `long` or `long=value`, IMAGE, and COMMAND.
type Line = (&'static str, Result<(&'static [&'static str], &'static str, &'static str), ()>);

#[rustfmt::skip]
const LINES: &[Line] = &[
    ("", Ok((&[], "", ""))),
    ("img", Ok((&[], "img", ""))),
    ("img true", Ok((&[], "img", "true"))),
    ("img -- true", Ok((&[], "img", "true"))),
    ("-- img true", Ok((&[], "img", "true"))),
    ("-- img -- true", Ok((&[], "img", "true"))),
    ("-- -img true", Ok((&[], "-img", "true"))),
    ("img -- -- x", Ok((&[], "img", "-- x"))),
    ("img sh -c x -- y", Ok((&[], "img", "sh -c x -- y"))),
    ("img -v --bind /x", Ok((&[], "img", "-v --bind /x"))),
    ("- true", Ok((&[], "-", "true"))),
    // Values.
    ("--cd /x img", Ok((&["cd=/x"], "img", ""))),
    ("--cd=/x img", Ok((&["cd=/x"], "img", ""))),
    ("-c /x img", Ok((&["cd=/x"], "img", ""))),
    ("-c/x img", Ok((&["cd=/x"], "img", ""))),
    ("-c=/x img", Ok((&["cd=/x"], "img", ""))),
    ("--cd= img", Ok((&["cd="], "img", ""))),
    ("--env A=b=c img", Ok((&["env=A=b=c"], "img", ""))),
    ("--env=A=b=c img", Ok((&["env=A=b=c"], "img", ""))),
    ("-eA=b img", Ok((&["env=A=b"], "img", ""))),
    ("-e=A=b img", Ok((&["env=A=b"], "img", ""))),
    ("--cd - img", Ok((&["cd=-"], "img", ""))),
    ("--cd=-x img", Ok((&["cd=-x"], "img", ""))),
    ("-c-x img", Ok((&["cd=-x"], "img", ""))),
    // Values that may be left out are attached with `=`.
    ("--set-env x", Ok((&["set-env"], "x", ""))),
    ("--set-env=x img", Ok((&["set-env=x"], "img", ""))),
    ("--set-env=A=1 img", Ok((&["set-env=A=1"], "img", ""))),
    ("--set-env= img", Ok((&["set-env="], "img", ""))),
    ("-t img", Ok((&["private-tmp"], "img", ""))),
    ("-t=1g img", Ok((&["private-tmp=1g"], "img", ""))),
    ("-tW img", Ok((&["private-tmp", "write-fake"], "img", ""))),
    // Flags, together and with a value at the end; other names; order.
    ("-wv img", Ok((&["write", "verbose"], "img", ""))),
    ("-wvc/x img", Ok((&["write", "verbose", "cd=/x"], "img", ""))),
    ("-wc /x img", Ok((&["write", "cd=/x"], "img", ""))),
    ("-vtc=/x img", Ok((&["verbose", "private-tmp", "cd=/x"], "img", ""))),
    ("-B /x --volume=/y img", Ok((&["bind=/x", "bind=/y"], "img", ""))),
    ("--pwd /x --workdir /y img", Ok((&["cd=/x", "cd=/y"], "img", ""))),
    ("-v -v --root --fakeroot img", Ok((&["verbose", "verbose", "root", "root"], "img", ""))),
    ("-eA --unset-env=A -eA img", Ok((&["env=A", "unset-env=A", "env=A"], "img", ""))),
    // Mistakes.
    ("--bnd /x img", Err(())),
    ("--bin /x img", Err(())),
    ("--Bind /x img", Err(())),
    ("-x img", Err(())),
    ("-wx img", Err(())),
    ("-t1g img", Err(())),
    ("-w=1 img", Err(())),
    ("--write=1 img", Err(())),
    ("--write= img", Err(())),
    ("--bind", Err(())),
    ("-b", Err(())),
    ("-wb", Err(())),
    ("--bind -v img", Err(())),
    ("--bind --cd=/x img", Err(())),
    ("--bind -- img", Err(())),
    ("---bind=/x img", Err(())),
    ("--=x img", Err(())),
];

#[test]
fn reads_command_lines() {
    for (line, expected) in LINES {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let read = read(words.into_iter());
        assert_eq!(read.is_faulty, expected.is_err(), "{line}");
        let Ok((options, image, command)) = expected else { continue };
        let found: Vec<String> = read.settings.iter().map(written).collect();
        assert_eq!(found, *options, "{line}");
        assert_eq!(read.image.unwrap_or_default(), *image, "{line}");
        assert_eq!(read.command.join(OsStr::new(" ")), *command, "{line}");
    }
}

fn written(setting: &Setting) -> String {
    let long = options::row(setting.name).long;
    match &setting.given {
        Given::Value(value) => format!("{long}={}", value.display()),
        Given::On | Given::Off => long.to_owned(),
    }
}

#[test]
fn words_that_are_no_text_are_taken() {
    let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let words = [word(b"--cd=/\xff"), word(b"-c/\xfe"), word(b"img\xfd"), word(b"\xfc")];
    let read = read(words.into_iter());
    let values = [word(b"/\xff"), word(b"/\xfe")].map(Given::Value);
    assert_eq!(
        read.settings.iter().map(|setting| &setting.given).collect::<Vec<_>>(),
        [&values[0], &values[1]]
    );
    assert_eq!((read.image, read.command), (Some(word(b"img\xfd")), vec![word(b"\xfc")]));
}

/// What was given to each option, in order.
type Table = BTreeMap<&'static str, Vec<Option<OsString>>>;

fn ours(invocation: &Invocation) -> Table {
    let mut table = Table::new();
    for setting in &invocation.settings {
        let value = match &setting.given {
            Given::Value(value) => Some(value.clone()),
            Given::On | Given::Off => None,
        };
        table.entry(options::row(setting.name).long).or_default().push(value);
    }
    table
}

fn clap(option_words: &[OsString]) -> Result<Table, clap::Error> {
    let words = std::iter::once(OsString::from("hrun")).chain(option_words.iter().cloned());
    let matches = help::command().try_get_matches_from(words)?;
    let given = |row: &Row| -> Vec<Option<OsString>> {
        match row.takes {
            Takes::Nothing => vec![None; matches.get_count(row.long).into()],
            _ => {
                let each = matches.get_occurrences::<OsString>(row.long).into_iter().flatten();
                each.map(|mut values| values.next().cloned()).collect()
            }
        }
    };
    let rows = OPTIONS.iter().map(|row| (row.long, given(row)));
    Ok(rows.filter(|(_, given)| !given.is_empty()).collect())
}

fn glued(parts: &[&[u8]]) -> OsString {
    OsString::from_vec(parts.concat())
}

/// All names of an option; a short one also behind flags in the same word.
fn names(row: &Row) -> Vec<String> {
    let longs = [row.long].into_iter().chain(row.aliases.iter().copied());
    let shorts = row.short.iter().chain(row.short_aliases);
    let clusters = shorts.flat_map(|short| ["", "v", "wq", "tW"].map(|flags| (flags, short)));
    let clusters = clusters.map(|(flags, short)| format!("-{flags}{short}"));
    longs.map(|long| format!("--{long}")).chain(clusters).collect()
}

/// All ways to write an option, and its value if it takes one.
fn ways(row: &Row, name: &str, value: &[u8]) -> Vec<Vec<OsString>> {
    let name = name.as_bytes();
    let alone = vec![glued(&[name])];
    let attached = vec![glued(&[name, b"=", value])];
    let close = vec![glued(&[name, value])];
    let apart = vec![glued(&[name]), glued(&[value])];
    match row.takes {
        Takes::Nothing => vec![alone],
        Takes::OptionalValue(_) => vec![alone, attached],
        Takes::Value(_) => {
            let is_short = !name.starts_with(b"--");
            let may_be_close = is_short && !value.is_empty() && !value.starts_with(b"=");
            let may_be_apart = !value.starts_with(b"-") || value == b"-";
            let ways = [(attached, true), (close, may_be_close), (apart, may_be_apart)];
            ways.into_iter().filter_map(|(words, may)| may.then_some(words)).collect()
        }
    }
}

/// The words of one option.
fn option() -> impl Strategy<Value = Vec<OsString>> {
    let value = vec(prop_oneof![b'a'..=b'z', 1..=u8::MAX], 0..6);
    let parts = (select(OPTIONS), any::<Index>(), any::<Index>(), value);
    parts.prop_map(|(row, name, way, value)| {
        let names = names(&row);
        let name: &String = name.get(&names);
        way.get(&ways(&row, name, &value)).clone()
    })
}

/// A word that is often nearly an option.
fn word() -> impl Strategy<Value = OsString> {
    let longs = OPTIONS.iter().map(|row| row.long.as_bytes());
    let shorts: Vec<Vec<u8>> = OPTIONS
        .iter()
        .filter_map(|row| row.short)
        .map(|short| short.to_string().into_bytes())
        .collect();
    let others = [&b"-"[..], b"--", b"=", b"x", b"1", b"\xff", b"bnd", b"volume", b"-v"];
    let parts: Vec<Vec<u8>> = longs.chain(others).map(<[u8]>::to_vec).chain(shorts).collect();
    let tail = vec(select(parts), 0..4);
    (select(&["--", "-", "--", "-", ""][..]), tail)
        .prop_map(|(dashes, tail)| glued(&[dashes.as_bytes(), &tail.concat()]))
}

proptest! {
    #[test]
    fn clap_reads_the_same_options(options in vec(option(), 0..8)) {
        let words: Vec<OsString> = options.into_iter().flatten().collect();
        let read = read(words.iter().cloned());
        prop_assert!(!read.is_faulty, "{words:?}");
        prop_assert_eq!(&read.option_words, &words);
        let table = clap(&words).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(ours(&read), table, "{:?}", words);
    }

    #[test]
    fn clap_refuses_the_same_options(words in vec(word(), 0..5)) {
        let read = read(words.iter().cloned());
        match clap(&read.option_words) {
            Ok(table) => {
                prop_assert!(!read.is_faulty, "clap takes {words:?}");
                prop_assert_eq!(ours(&read), table, "{:?}", words);
            }
            Err(_) => prop_assert!(read.is_faulty, "clap refuses {words:?}"),
        }
    }
}
