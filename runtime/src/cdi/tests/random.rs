//! Random specs and random bytes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Text with all that YAML might take for something else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ._/-]{0,12}",
        "[ -~]{0,12}",
        "\\PC{0,8}",
        prop::sample::select(vec![
            "null",
            "~",
            "true",
            "no",
            "1e3",
            "0x1f",
            "010",
            "1.0",
            "-",
            "- a",
            "#c",
            "a: b",
            "a #b",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "'",
            "\"",
            "\\",
            "\n",
            "a\nb",
            "\u{85}",
            "\u{feff}",
            "%A",
            "@",
            "`",
            "=",
            "<<",
            "2001-01-01",
            ".inf",
            "\t",
            " a ",
            "[a]",
            "{a}",
            ",",
            "?",
        ])
        .prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("/p{}", text.replace("..", "")))
}

fn edits() -> impl Strategy<Value = Value> {
    let node = (path(), option::of(path()), any::<u32>(), any::<u32>());
    let node = node.prop_map(|(path, host, major, minor)| {
        json!({"path": path, "hostPath": host, "major": major, "minor": minor, "type": "c"})
    });
    let mount = (path(), path(), vec(text(), 0..3));
    let mount = mount.prop_map(|(host, inside, options)| {
        json!({"hostPath": host, "containerPath": inside, "options": options})
    });
    let hook = (text(), text(), vec(text(), 0..4));
    let hook =
        hook.prop_map(|(name, path, args)| json!({"hookName": name, "path": path, "args": args}));
    let env = vec(text().prop_map(|text| format!("A={text}")), 0..3);
    (env, vec(node, 0..3), vec(mount, 0..3), vec(hook, 0..3), vec(any::<u32>(), 0..3)).prop_map(
        |(env, nodes, mounts, hooks, gids)| {
            json!({"env": env, "deviceNodes": nodes, "mounts": mounts, "hooks": hooks,
                   "additionalGids": gids})
        },
    )
}

fn spec() -> impl Strategy<Value = Value> {
    (vec(edits(), 0..3), edits(), vec((text(), text()), 0..3)).prop_map(
        |(devices, common, annotations)| {
            let devices = devices.into_iter().enumerate().map(
                |(number, edits)| json!({"name": number.to_string(), "containerEdits": edits}),
            );
            let annotations: Map<String, Value> =
                annotations.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
            json!({"cdiVersion": "0.7.0", "kind": "v.com/c", "annotations": annotations,
                   "containerEdits": common, "devices": devices.collect::<Vec<_>>()})
        },
    )
}

/// Writes a value as block YAML, as Go's encoder lays it out: plain text where it is harmless.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}-"));
                yaml(item, indent + 2, out);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                out.push_str(&format!("\n{pad}{}:", scalar(key)));
                yaml(value, indent + 2, out);
            }
        }
        Value::String(text) => out.push_str(&format!(" {}", scalar(text))),
        other => out.push_str(&format!(" {other}")),
    }
}

fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(['/', 'A', 'p'])
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-=".contains(letter));
    match is_plain {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}

proptest! {
    #[test]
    fn yaml_and_json_mean_the_same(spec in spec()) {
        let json = spec.to_string();
        let mut block = "---".to_owned();
        yaml(&spec, 0, &mut block);
        let from_json = Spec::parse(json.as_bytes(), Format::Json);
        prop_assert!(from_json.is_ok(), "{json}\n{from_json:?}");
        prop_assert_eq!(&Spec::parse(block.as_bytes(), Format::Yaml), &from_json, "{}", block);
        prop_assert_eq!(&Spec::parse(json.as_bytes(), Format::Yaml), &from_json, "{}", json);
        // Whatever it says, its edits can be merged.
        let tree = Tree::new().file("/etc/cdi/v.json", json);
        let registry = Registry::read(&tree, &directories());
        let names: Vec<_> = registry.names().cloned().collect();
        let edits = CdiEdits::of(&registry.resolve(&names).unwrap());
        for paths in edits.mounts.windows(2) {
            prop_assert!(paths[0].container_path != paths[1].container_path);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        for format in [Format::Json, Format::Yaml] {
            if let Err(reason) = Spec::parse(&bytes, format) {
                prop_assert!(!reason.is_empty());
            }
        }
    }

    #[test]
    fn any_damage_is_read_or_refused(at in 0..NVIDIA.len(), cut in 0usize..30, with in "[\\PC\n]{0,5}") {
        let mut spec = NVIDIA.as_bytes().to_vec();
        let end = (at + cut).min(spec.len());
        spec.splice(at..end, with.into_bytes());
        let tree = Tree::new().file("/etc/cdi/nvidia.yaml", &spec);
        let registry = Registry::read(&tree, &directories());
        let names: Vec<_> = registry.names().cloned().collect();
        match registry.resolve(&names) {
            Ok(found) => drop(CdiEdits::of(&found)),
            Err(error) => prop_assert!(error.to_string().contains("cannot find the device")),
        }
    }

    #[test]
    fn any_name_is_taken_or_refused(text in "\\PC{0,20}|[a-z.]{1,4}/[a-z.]{1,4}=[a-z0-9:.]{1,4}") {
        match QualifiedName::parse(&text) {
            Ok(name) => prop_assert_eq!(name.to_string(), text),
            Err(reason) => prop_assert!(!reason.is_empty()),
        }
    }
}
