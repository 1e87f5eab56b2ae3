//! The grammar as a table, and the round trip of random files.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use super::value::Form;
use super::*;

/// A file, the environment before it, and what it sets, or the line and reason it is refused.
type Vector =
    (&'static [u8], &'static [&'static str], Result<&'static [&'static str], &'static str>);

#[rustfmt::skip]
const VECTORS: &[Vector] = &[
    // Lines.
    (b"", &[], Ok(&[])),
    (b"A=1\n", &[], Ok(&["A=1"])),
    (b"A=1", &[], Ok(&["A=1"])),
    (b"A=1\nB=2\n", &[], Ok(&["A=1", "B=2"])),
    (b"A=1\r\nB=2\r\n", &[], Ok(&["A=1", "B=2"])),
    (b"A=1\r\nB=2\r", &[], Ok(&["A=1", "B=2"])),
    (b"A=a\rb\n", &[], Ok(&["A=a\rb"])),
    (b"\xef\xbb\xbfA=1\n", &[], Ok(&["A=1"])),
    (b"\n\n  \t\nA=1\n\n", &[], Ok(&["A=1"])),
    (b"# comment\n  # indented=comment\n#B=2\nA=1\n", &[], Ok(&["A=1"])),
    (b"A=1\nA=2\n", &[], Ok(&["A=2"])),
    (b"A=new\n", &["A=old"], Ok(&["A=new"])),
    // Names.
    (b"export A=1\n", &[], Ok(&["A=1"])),
    (b"export\tA=1\n", &[], Ok(&["A=1"])),
    (b"export=1\nexported=2\n", &[], Ok(&["export=1", "exported=2"])),
    (b"  A = 1\n\tB\t=\t2\n", &[], Ok(&["A=1", "B=2"])),
    (b"my.name=1\nmy-name=2\n1st=3\n", &[], Ok(&["my.name=1", "my-name=2", "1st=3"])),
    (b"A#B=1\n", &[], Ok(&["A#B=1"])),
    (b"BASH_FUNC_f%%=() { :; }\n", &[], Ok(&["BASH_FUNC_f%%=() { :; }"])),
    (b"caf\xc3\xa9=1\n\xff=2\n", &[], Ok(&["caf\u{c3}\u{a9}=1", "\u{ff}=2"])),
    // Plain values.
    (b"A=\nB= \n", &[], Ok(&["A=", "B="])),
    (b"A= one two \t\n", &[], Ok(&["A=one two"])),
    (b"A=b=c==\n", &[], Ok(&["A=b=c=="])),
    (b"A=x # comment\nB=x\t# comment\n", &[], Ok(&["A=x", "B=x"])),
    (b"A=x#y\nB=#x\nC=http://h/#top\n", &[], Ok(&["A=x#y", "B=#x", "C=http://h/#top"])),
    (b"A= # comment\n", &[], Ok(&["A="])),
    (b"A=\xff\xfe\n", &[], Ok(&["A=\u{ff}\u{fe}"])),
    (b"A={\"a\": [1, 2]}\n", &[], Ok(&["A={a: [1, 2]}"])),
    // Single quotes.
    (b"A='$HOME \\n \"x\" # y'\n", &["HOME=/h"], Ok(&["A=$HOME \\n \"x\" # y"])),
    (b"A=''\n", &[], Ok(&["A="])),
    (b"A=' x '  \n", &[], Ok(&["A= x "])),
    (b"A='x'  # comment\n", &[], Ok(&["A=x"])),
    (b"A='it'\\''s'\n", &[], Ok(&["A=it's"])),
    // Double quotes.
    (b"A=\"x # y\"\n", &[], Ok(&["A=x # y"])),
    (b"A=\" x \"\n", &[], Ok(&["A= x "])),
    (b"A=\"a\\nb\\rc\\td\"\n", &[], Ok(&["A=a\nb\rc\td"])),
    (b"A=\"\\\"q\\\" \\\\ \\$X \\`c\\`\"\n", &[], Ok(&["A=\"q\" \\ $X `c`"])),
    (b"A=\"C:\\dir\\q\"\n", &[], Ok(&["A=C:\\dir\\q"])),
    (b"A=\"it's\"\n", &[], Ok(&["A=it's"])),
    (b"A=\"$HOME/x\"\n", &["HOME=/h"], Ok(&["A=/h/x"])),
    // Quotes side by side.
    (b"A='a'\"b\"c\n", &[], Ok(&["A=abc"])),
    (b"A='a' \"b\"  c\n", &[], Ok(&["A=a b  c"])),
    (b"A=x\"y z\"'$w'#\n", &[], Ok(&["A=xy z$w#"])),
    // Backslashes.
    (b"A=a\\ b\\#c\n", &[], Ok(&["A=a b#c"])),
    (b"A=x\\ \n", &[], Ok(&["A=x "])),
    (b"A=\\'x\\\"\n", &[], Ok(&["A='x\""])),
    (b"A=C:\\temp\\new\n", &[], Ok(&["A=C:\\temp\\new"])),
    (b"A=x\\", &[], Ok(&["A=x\\"])),
    (b"A=a\\\nb\nC=1\n", &[], Ok(&["A=ab", "C=1"])),
    (b"A=a\\\r\nb\r\nC=1\r\n", &[], Ok(&["A=ab", "C=1"])),
    (b"A=\"a \\\n  b\"\n", &[], Ok(&["A=a   b"])),
    (b"A=\"a\\\r\nb\"\n", &[], Ok(&["A=ab"])),
    // References.
    (b"A=$HOME/x\n", &["HOME=/h"], Ok(&["A=/h/x"])),
    (b"A=${HOME}x\n", &["HOME=/h"], Ok(&["A=/hx"])),
    (b"A=x${B}y$C\n", &["B=1", "C=2"], Ok(&["A=x1y2"])),
    (b"A=$B.c-$B\n", &["B=1", "B.c=2"], Ok(&["A=1.c-1"])),
    (b"A=$B\n", &["B=$C\\n'\"", "C=3"], Ok(&["A=$C\\n'\""])),
    (b"A=$B\n", &["B=  x  "], Ok(&["A=  x  "])),
    (b"A=1\nB=$A$A\nA=${B}0\n", &[], Ok(&["A=110", "B=11"])),
    (b"A=$A:more\n", &["A=some"], Ok(&["A=some:more"])),
    (b"A=$$ \\$B '$B' \"\\$B\"\n", &["B=1"], Ok(&["A=$ $B $B $B"])),
    (b"A=$1 $ $\n", &[], Ok(&["A=$1 $ $"])),
    (b"A=cost$\nB=$-$:$/\n", &[], Ok(&["A=cost$", "B=$-$:$/"])),
    // Defaults and alternatives.
    (b"A=${B:-x}\nC=${D:-y}\n", &["B=1"], Ok(&["A=1", "C=y"])),
    (b"A=${B:-x}\n", &["B="], Ok(&["A=x"])),
    (b"A=${B:-}\n", &[], Ok(&["A="])),
    (b"A=${B:-one two # three}\n", &[], Ok(&["A=one two # three"])),
    (b"A=${B:-$C/y}\n", &["C=1"], Ok(&["A=1/y"])),
    (b"A=${B:-${C:-${D:-deep}}}\n", &[], Ok(&["A=deep"])),
    (b"A=${B:-${C:-x}}\n", &["C=1"], Ok(&["A=1"])),
    (b"A=${B:-'$C }'}\n", &["C=1"], Ok(&["A=$C }"])),
    (b"A=${B:-a\\}b}\n", &[], Ok(&["A=a}b"])),
    (b"export LANG=\"${LANG:-\"C.UTF-8\"}\"\n", &[], Ok(&["LANG=C.UTF-8"])),
    (b"export LANG=\"${LANG:-\"C.UTF-8\"}\"\n", &["LANG=de"], Ok(&["LANG=de"])),
    (b"A=${B:+alt}\nC=${D:+alt}\n", &["B=1"], Ok(&["A=alt", "C="])),
    (b"A=/a${B:+:$B}\n", &["B=/b"], Ok(&["A=/a:/b"])),
    (b"A=/a${B:+:$B}\n", &[], Ok(&["A=/a"])),
    // Colon lists.
    (b"PYTHONPATH=/a:$PYTHONPATH\n", &["PYTHONPATH=/p"], Ok(&["PYTHONPATH=/a:/p"])),
    (b"PYTHONPATH=/a:$PYTHONPATH\n", &[], Ok(&["PYTHONPATH=/a"])),
    (b"PYTHONPATH=/a:$PYTHONPATH\n", &["PYTHONPATH="], Ok(&["PYTHONPATH=/a"])),
    (b"A=$NO:/a\n", &[], Ok(&["A=/a"])),
    (b"A=/a:$NO:/b\n", &[], Ok(&["A=/a:/b"])),
    (b"A=$NO\nB=$NO:${NO}\n", &[], Ok(&["A=", "B="])),
    (b"A=\"/a:${NO}:/b:$NO\"\n", &[], Ok(&["A=/a:/b"])),
    (b"A=/a:$NO$NO:/b\n", &[], Ok(&["A=/a:/b"])),
    (b"A=/a:$NO/x:/b\n", &[], Ok(&["A=/a:/x:/b"])),
    (b"A=/a:${NO:+x}:/b\n", &[], Ok(&["A=/a:/b"])),
    (b"A=/a:${NO:-/d:/e}:/b\n", &[], Ok(&["A=/a:/d:/e:/b"])),
    (b"A=/a:$B:/b\n", &["B=:/x::"], Ok(&["A=/a::/x:::/b"])),
    (b"A=:/a::/b:\n", &[], Ok(&["A=:/a::/b:"])),
    (b"A=:$NO\nB=::$NO:\n", &[], Ok(&["A=", "B=::"])),
    (b"PYTHONPATH=.:/home/u:/home/u/lib\n", &[], Ok(&["PYTHONPATH=.:/home/u:/home/u/lib"])),
    (b"URL=http://$HOST:8080/\n", &["HOST=h"], Ok(&["URL=http://h:8080/"])),
    // Refusals.
    (b"A=1\nB\n", &[], Err("2: line without '='")),
    (b"export A\n", &[], Err("1: line without '='")),
    (b"\n# c\n=1\n", &[], Err("3: empty name before '='")),
    (b"export=1\nexport =1\n", &[], Err("2: empty name before '='")),
    (b"A B=1\n", &[], Err("1: 'A B' is not a variable name")),
    (b"'A'=1\n", &[], Err("1: ''A'' is not a variable name")),
    (b"A=1\n$B=1\n", &[], Err("2: '$B' is not a variable name")),
    (b"export #A=1\n", &[], Err("1: '#A' is not a variable name")),
    (b"A=1\n\xef\xbb\xbfB=1\n", &[], Err("2: '\u{feff}B' is not a variable name")),
    (b"A=1\nB='x\nC=1'\n", &[], Err("2: unclosed single quote")),
    (b"A=\"x\n", &[], Err("1: unclosed double quote")),
    (b"A=\"x\\\ny\nB=\"\n", &[], Err("2: unclosed double quote")),
    (b"A=1\nB=2\nC=${D\n", &[], Err("3: '${' without '}'")),
    (b"A=${B:-x\n", &[], Err("1: '${' without '}'")),
    (b"A=\"${B:-x\"\n", &[], Err("1: unclosed double quote")),
    (b"A=${}\n", &[], Err("1: '${' without a variable name")),
    (b"A=${1}\n", &[], Err("1: '${' without a variable name")),
    (b"A=${X%y}\n", &[], Err("1: '${X' must go on with '}', ':-default}' or ':+alternative}'")),
    (b"A=${X-y}\n", &[], Err("1: '${X' must go on with '}', ':-default}' or ':+alternative}'")),
    (b"A=1\nB=x\0y\n", &[], Err("2: NUL byte in the value")),
    (b"A=\"x\0\"\n", &[], Err("1: NUL byte in the value")),
    (b"A\0B=1\n", &[], Err("1: 'A\0B' is not a variable name")),
];

#[test]
fn reads_files_as_people_write_them() {
    for (file, before, expected) in VECTORS {
        let found = set_by(file, before);
        let expected = match expected {
            Ok(variables) => {
                Ok(variables.iter().map(|variable| shown(&latin1(variable))).collect())
            }
            Err(fault) => Err((*fault).to_owned()),
        };
        assert_eq!(found, expected, "file: {}", file.escape_ascii());
    }
}

#[test]
fn numbers_assignments_by_the_line_they_start_on() {
    let assignments = parse(b"# c\nA=\\\n1\n\nB=2\n").expect("parses");
    assert_eq!(assignments.iter().map(|read| read.line).collect::<Vec<_>>(), [2, 5]);
}

#[test]
fn without_expansion_a_dollar_means_itself() {
    let file = b"A=$HOME/${X%y} '$B' \"$C\" # comment\n";
    let assignments = parse_literal(file).expect("parses");
    assert_eq!(assignments[0].value, Value::literal(b"$HOME/${X%y} $B $C"));
}

#[test]
fn records_are_taken_as_they_are() {
    let read = parse_records(b"A=$x 'y'\n#\0B=\0\0C==\\\0").expect("parses");
    let read: Vec<_> = read.iter().map(|read| (read.name.as_bytes(), &read.value)).collect();
    let value = |bytes: &[u8]| Value::literal(bytes);
    assert_eq!(
        read,
        [(&b"A"[..], &value(b"$x 'y'\n#")), (&b"B"[..], &value(b"")), (&b"C"[..], &value(b"=\\"))]
    );
    let fault = |file: &[u8]| parse_records(file).expect_err("is refused");
    assert_eq!(fault(b"A=1\0B\0").line, 2);
    assert_eq!(fault(b"=1").reason, "empty name before '='");
}

#[test]
fn in_an_option_only_the_dollar_is_special() {
    let lookup = |name: &OsStr| (name == "HOME").then(|| OsString::from("/h"));
    let expanded = |text: &[u8]| Value::expandable(text).map(|value| value.expand(&lookup));
    assert_eq!(expanded(b"'$HOME' \\\"#\n\r\n \r"), Ok("'/h' \\\"#\n\r\n \r".into()));
    assert_eq!(expanded(b"\xef\xbb\xbf$NO:/x:$$HOME"), Ok("\u{feff}:/x:$HOME".into()));
    assert!(expanded(b"${HOME").is_err());
}

#[test]
fn charliecloud_expands_whole_items_only() {
    let lookup = |name: &OsStr| match name.to_str() {
        Some("HOME") => Some(OsString::from("/h")),
        Some("HOME/x") => Some(OsString::from("odd")),
        _ => None,
    };
    for (text, expected) in [
        ("$HOME:/x", "/h:/x"),
        ("$HOME/x", "odd"),
        ("a$HOME:$NO:z", "a$HOME:z"),
        ("$NO", ""),
        ("$:${HOME}", "$"),
    ] {
        let value = Value::charliecloud(text.as_bytes());
        assert_eq!(value.expand(&lookup), expected, "{text}");
    }
}

#[test]
fn hostile_nesting_is_refused() {
    let nested = |depth: usize| {
        let file = ["A=", &"${B:-".repeat(depth), &"}".repeat(depth)].concat();
        parse(file.as_bytes()).map(drop).map_err(|fault| fault.reason)
    };
    assert_eq!(nested(32), Ok(()));
    assert_eq!(nested(33), Err("'${' more than 32 deep".to_owned()));
    assert!(nested(1_000_000).is_err());
}

/// The variables a file sets, in the order they are first set, or its fault.
fn set_by(file: &[u8], before: &[&str]) -> Result<Vec<String>, String> {
    let assignments = parse(file).map_err(|fault| format!("{}: {}", fault.line, fault.reason))?;
    let split = |variable: &&str| {
        let (name, value) = variable.split_once('=').expect("NAME=value");
        (OsString::from(name), OsString::from(value))
    };
    let mut variables: BTreeMap<OsString, OsString> = before.iter().map(split).collect();
    let mut names: Vec<OsString> = Vec::new();
    for Assignment { name, value, .. } in assignments {
        let value = value.expand(&|name| variables.get(name).cloned());
        variables.insert(name.clone(), value);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let written = |name: &OsString| [name.as_bytes(), variables[name].as_bytes()].join(&b'=');
    Ok(names.iter().map(|name| shown(&written(name))).collect())
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Bytes of a table's entry, one for each character.
fn latin1(text: &str) -> Vec<u8> {
    let byte = |character| u8::try_from(u32::from(character)).expect("no character above U+00FF");
    text.chars().map(byte).collect()
}

mod random {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 6] = ["A", "B", "_c", "PATH", "x9", "LD_LIBRARY_PATH"];

    /// Any name that is one: `=` ends it, and blanks, quotes, `\`, `$` and NUL cannot be in it.
    fn assigned_name() -> impl Strategy<Value = OsString> {
        let odd = vec(any::<u8>(), 1..8).prop_map(OsString::from_vec);
        let odd = odd.prop_filter("is no name", |name| is_name(name.as_bytes()));
        prop_oneof![3 => proptest::sample::select(&NAMES[..]).prop_map(OsString::from), 2 => odd]
    }

    fn is_name(bytes: &[u8]) -> bool {
        let impossible = |byte: &u8| byte.is_ascii_whitespace() || b"='\"$\\\0".contains(byte);
        !bytes.starts_with(b"#")
            && !bytes.starts_with(b"\xef\xbb\xbf")
            && !bytes.iter().any(impossible)
    }

    /// Any bytes but NUL, more often those that mean something.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let special = proptest::sample::select(&b" \t\r\n\\'\"$`#:{}-+=an"[..]);
        vec(prop_oneof![special, 1..=u8::MAX], 0..6)
    }

    /// Texts, references, defaults and alternatives, in one another up to three deep.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = text().prop_map(|text| Value::literal(&text));
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = proptest::sample::select(&NAMES[..]);
            let part = (text(), name, 0..3, inner);
            vec(part, 0..4).prop_map(|parts| {
                let mut value = Value::default();
                for (text, name, form, word) in parts {
                    value.push_text(&text);
                    value.push_variable(
                        name.as_bytes(),
                        match form {
                            0 => Form::Plain,
                            1 => Form::Default(word),
                            _ => Form::Alternative(word),
                        },
                    );
                }
                value
            })
        })
    }

    fn assignments() -> impl Strategy<Value = Vec<Assignment>> {
        let assignment = (assigned_name(), value());
        let assignment = assignment.prop_map(|(name, value)| Assignment { name, value, line: 0 });
        vec(assignment, 0..6)
    }

    fn environment() -> impl Strategy<Value = BTreeMap<OsString, OsString>> {
        let name = proptest::sample::select(&NAMES[..]).prop_map(OsString::from);
        btree_map(name, text().prop_map(OsString::from_vec), 0..5)
    }

    proptest! {
        #[test]
        fn rendered_files_mean_the_same(written in assignments(), before in environment()) {
            let file = render(&written);
            let mut read = parse(&file).expect("reads what it wrote");
            for (index, assignment) in read.iter_mut().enumerate() {
                prop_assert_eq!(assignment.line, index + 1);
                assignment.line = 0;
            }
            prop_assert_eq!(&read, &written);
            let lookup = |name: &OsStr| before.get(name).cloned();
            for (read, written) in read.iter().zip(&written) {
                prop_assert_eq!(read.value.expand(&lookup), written.value.expand(&lookup));
            }
        }

        #[test]
        fn what_is_read_is_rendered_so_that_it_reads_the_same(bytes in file()) {
            if let Ok(read) = parse(&bytes) {
                let again = parse(&render(&read)).expect("reads what it wrote");
                let parts = |read: &[Assignment]| -> Vec<_> {
                    read.iter().map(|read| (read.name.clone(), read.value.clone())).collect()
                };
                prop_assert_eq!(parts(&read), parts(&again));
            }
        }

        #[test]
        fn literals_mean_themselves(text in text(), before in environment()) {
            let expanded = Value::literal(&text).expand(&|name| before.get(name).cloned());
            prop_assert_eq!(expanded.as_bytes(), &text[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = (parse(&bytes), parse_literal(&bytes), parse_records(&bytes));
            let _ = Value::expandable(&bytes);
        }
    }

    /// Bytes that often are a file.
    fn file() -> impl Strategy<Value = Vec<u8>> {
        let parts: &[&[u8]] = &[
            b"A",
            b"B1",
            b"=",
            b"=",
            b"A=",
            b"B=",
            b"export ",
            b"\n",
            b"\n",
            b"\r\n",
            b" ",
            b"#",
            b"'",
            b"\"",
            b"\\",
            b"$",
            b"${",
            b"}",
            b":",
            b":-",
            b":+",
            b"x",
            b"\0",
            b"\xef\xbb\xbf",
        ];
        vec(proptest::sample::select(parts), 0..30).prop_map(|parts| parts.concat())
    }
}
