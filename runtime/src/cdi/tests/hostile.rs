//! Specs that nobody should have written.

use std::time::{Duration, Instant};

use super::*;

const HEAD: &str = "cdiVersion: 0.6.0\nkind: v.com/c\n";

/// A spec in YAML with one device that has these edits.
fn with_edits(edits: &str) -> String {
    format!("{HEAD}devices:\n- name: d\n  containerEdits: {edits}\n")
}

#[test]
fn hostile_specs_are_refused_with_a_reason() {
    for (spec, reason) in [
        ("".to_owned(), "it is empty"),
        (" \n\n".to_owned(), "it is empty"),
        ("---\n".to_owned(), "line "),
        ("# nothing\n".to_owned(), "line "),
        ("just text".to_owned(), "line "),
        ("[]".to_owned(), "line "),
        ("kind: v.com/c".to_owned(), "cdiVersion"),
        ("cdiVersion: 0.6.0".to_owned(), "kind"),
        (format!("{HEAD}{HEAD}"), "duplicate"),
        (format!("{HEAD}---\n{HEAD}"), "line "),
        (format!("{HEAD}devices: 7"), "line "),
        (format!("{HEAD}devices: [{{}}]"), "name"),
        (format!("{HEAD}devices: [{{name: d}}, {{name: d}}]"), "it has two devices d"),
        (format!("{HEAD}devices: [{{name: a/b}}]"), "the device name \"a/b\" has a '/'"),
        (HEAD.replace("v.com/c", "../c"), "the vendor \"..\" begins with a \".\""),
        (HEAD.replace("v.com/c", "gpu"), "the kind \"gpu\" is not of the form"),
        (with_edits("{env: [NOTHING]}"), "device d: the variable \"NOTHING\" is not of the form"),
        (with_edits("{env: [=x]}"), "the variable \"=x\" is not of the form"),
        (with_edits("{env: [\"A=\\0\"]}"), "the variable \"A=\\0\" is not of the form"),
        (with_edits("{env: {A: B}}"), "line "),
        (with_edits("{deviceNodes: [{path: dev/x}]}"), "\"dev/x\" is not absolute"),
        (with_edits("{deviceNodes: [{path: /dev/../etc}]}"), "\"/dev/../etc\" has '..' in it"),
        (with_edits("{deviceNodes: [{path: /dev/x, hostPath: /a/..}]}"), "has '..' in it"),
        (with_edits("{deviceNodes: [{path: \"/dev/\\0\"}]}"), "has a NUL byte"),
        (with_edits("{deviceNodes: [{path: /}]}"), "root directory"),
        (with_edits("{deviceNodes: [{path: /dev/x, type: d}]}"), "/dev/x is of no known type"),
        (with_edits("{deviceNodes: [{path: /dev/x, major: -1}]}"), "line "),
        (with_edits("{deviceNodes: [{path: /dev/x, major: 99999999999999999999999}]}"), "line "),
        (with_edits("{deviceNodes: [{path: /dev/x, minor: 1e400}]}"), "line "),
        (with_edits("{deviceNodes: [{path: [/dev/x]}]}"), "line "),
        (with_edits("{additionalGids: [4294967296]}"), "line "),
        (with_edits("{mounts: [{hostPath: /h, containerPath: /.}]}"), "root directory"),
        (with_edits("{mounts: [{hostPath: h, containerPath: /c}]}"), "\"h\" is not absolute"),
        (with_edits("{mounts: [{hostPath: /h}]}"), "containerPath"),
        (with_edits("{hooks: [{hookName: poststop}]}"), "path"),
        (with_edits("&self {env: *self}"), "line "),
        (with_edits("*nobody"), "line "),
        (format!("{HEAD}\tdevices: []"), "line "),
        (format!("{HEAD}devices: [{{name: 'd}}]"), "line "),
    ] {
        let fault = fault(&spec);
        assert!(fault.contains(reason), "{spec}\n{fault}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let specs = [&b"\xff\xfec\0d\0i\0"[..], b"cdiVersion: \xff", b"{\"kind\": \"\xc3(\"}"];
    for (spec, format) in specs.iter().zip([Format::Yaml, Format::Yaml, Format::Json]) {
        assert_eq!(Spec::parse(spec, format), Err("it is not UTF-8 text".to_owned()));
    }
}

#[test]
fn bombs_do_not_go_off() {
    let laughs = |width: usize| {
        let mut bomb = format!("{HEAD}x0: &x0 [{}]\n", vec!["lol"; width].join(", "));
        for level in 1..12 {
            let before = vec![format!("*x{}", level - 1); width].join(", ");
            bomb.push_str(&format!("x{level}: &x{level} [{before}]\n"));
        }
        bomb
    };
    let nested = |open: &str, depth: usize| format!("{HEAD}x: {}", open.repeat(depth));
    let bombs = [
        laughs(9),
        laughs(9) + "annotations: {a: *x11}\n",
        nested("[", 100_000),
        nested("{a: ", 100_000),
        nested("[", 1000) + &"]".repeat(1000),
        with_edits("{env: *x}").replace("devices", "x: &x [*x, *x]\ndevices"),
        format!("{HEAD}x: {}", "- ".repeat(50_000)),
        format!("{HEAD}{}", "? ".repeat(50_000)),
        format!("{HEAD}x: \"{}\"", "a".repeat(5 << 20)),
    ];
    for bomb in bombs {
        let start = Instant::now();
        let fault = fault(&bomb);
        let shown = &bomb[..60];
        assert!(start.elapsed() < Duration::from_secs(20), "{shown}: {:?}", start.elapsed());
        assert!(!fault.is_empty() && fault.len() < 1000, "{shown}: {fault}");
    }
    for field in ["x", "annotations"] {
        let nested = format!("{{\"{field}\": {}", "{\"a\": ".repeat(100_000));
        assert!(Spec::parse(nested.as_bytes(), Format::Json).is_err());
    }
}

#[test]
fn what_a_liberal_reader_takes() {
    let spec = format!(
        "{HEAD}newField: {{a: [1, 2]}}\nannotations: null\ncontainerEdits: ~\ndevices:\n\
         - name: 0\n  other: true\n  containerEdits:\n    env:\n    hooks: []\n    \
         deviceNodes: [{{path: /dev/x, fileMode: 0o666, uid: -1, permissions: none, gid: null}}]\n"
    );
    let spec = Spec::parse(spec.as_bytes(), Format::Yaml).unwrap();
    assert_eq!((spec.devices[0].name.as_str(), spec.devices.len()), ("0", 1));
    let json = "{\"cdiVersion\": \"0.3.0\", \"kind\": \"v.com/c\", \"devices\": null}";
    assert!(Spec::parse(json.as_bytes(), Format::Json).unwrap().devices.is_empty());
    // JSON is YAML.
    assert_eq!(
        Spec::parse(AMD.as_bytes(), Format::Yaml),
        Spec::parse(AMD.as_bytes(), Format::Json)
    );
}
