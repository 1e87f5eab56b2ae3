//! The configuration of an OCI or Docker image, read as the tools read it that images are made with.
//!
//! These are written in Go, whose reader of JSON takes names of fields in any letter case, `null` for
//! nothing, and does not miss what is missing. Docker takes one text for a command, too. Images are
//! made by many programs that no other reader has ever seen.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The architecture it is for, in Go's words: `amd64`.
    pub architecture: Option<String>,
    /// The variant of the architecture: `v8`.
    pub variant: Option<String>,
    /// The operating system it is for.
    pub os: Option<String>,
    /// The digests of its layers before compression.
    pub diff_ids: Vec<String>,
    /// How it is run; nothing if it does not say so.
    pub run: Option<Run>,
}

/// How an image wants to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Variables, each as `NAME=value`.
    pub environment: Vec<String>,
    /// The program that is run, with its first arguments.
    pub entry_point: Vec<String>,
    /// The arguments where the user gives none.
    pub arguments: Vec<String>,
    /// The work directory.
    pub directory: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Reads the configuration of an image.
///
/// # Errors
///
/// Says what is no JSON, or of another type than it is for every reader.
pub fn parse(json: &[u8]) -> Result<ImageConfig, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let Value::Object(image) = &value else { return Err("it is no JSON object".to_owned()) };
    let rootfs = object(image, "rootfs")?;
    Ok(ImageConfig {
        architecture: text(image, "architecture")?,
        variant: text(image, "variant")?,
        os: text(image, "os")?,
        diff_ids: match rootfs {
            Some(rootfs) => texts(rootfs, "diff_ids")?,
            None => Vec::new(),
        },
        run: object(image, "config")?.map(run).transpose()?,
    })
}

fn run(config: &Map<String, Value>) -> Result<Run, String> {
    let labels = object(config, "Labels")?.into_iter().flatten();
    let labels = labels.map(|(name, value)| match value {
        Value::String(value) => Ok((name.clone(), value.clone())),
        Value::Null => Ok((name.clone(), String::new())),
        _ => Err(format!("its label {name} is no text")),
    });
    Ok(Run {
        environment: texts(config, "Env")?,
        entry_point: texts(config, "Entrypoint")?,
        arguments: texts(config, "Cmd")?,
        directory: text(config, "WorkingDir")?,
        user: text(config, "User")?,
        labels: labels.collect::<Result<_, _>>()?,
    })
}

/// A field by its name: of that very name, or else in other letter case.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let same = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
    let found = object.get(name).or_else(|| object.iter().find(same).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

fn object<'a>(
    parent: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, String> {
    match field(parent, name) {
        None => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(_) => Err(format!("its {name} is no object")),
    }
}

/// A text; an empty one is none.
fn text(parent: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match field(parent, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("its {name} is no text")),
    }
}

/// A list of texts, or one that stands for a list of itself.
fn texts(parent: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    match field(parent, name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => {
            let text = |item: &Value| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Null => Ok(String::new()),
                _ => Err(format!("its {name} has an entry that is no text")),
            };
            items.iter().map(text).collect()
        }
        Some(_) => Err(format!("its {name} is no list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(json: &str) -> Run {
        parse(json.as_bytes()).expect("is read").run.expect("says how it is run")
    }

    #[test]
    fn what_is_missing_or_null_is_nothing() {
        assert_eq!(parse(b"{}"), Ok(ImageConfig::default()));
        let nulls = br#"{"architecture": null, "os": null, "rootfs": {"diff_ids": null},
            "config": {"Env": null, "Entrypoint": null, "Labels": {"a": null}, "ExposedPorts": null}}"#;
        let read = parse(nulls).expect("is read");
        assert!(read.diff_ids.is_empty() && read.os.is_none());
        assert_eq!(read.run.expect("is there").labels["a"], "");
        assert_eq!(parse(br#"{"config": null}"#).expect("is read").run, None);
    }

    #[test]
    fn names_of_fields_have_any_letter_case() {
        let run = run_of(r#"{"Config": {"env": ["A=1"], "CMD": ["x"], "workingdir": "/w"}}"#);
        assert_eq!(
            (run.environment.as_slice(), run.arguments.as_slice()),
            (&["A=1".into()][..], &["x".into()][..])
        );
        assert_eq!(run.directory.as_deref(), Some("/w"));
        // The very name comes first.
        assert_eq!(run_of(r#"{"config": {"env": ["A=1"], "Env": ["A=2"]}}"#).environment, ["A=2"]);
    }

    #[test]
    fn a_command_may_be_one_text() {
        assert_eq!(run_of(r#"{"config": {"Cmd": "run me"}}"#).arguments, ["run me"]);
    }

    #[test]
    fn other_types_are_refused() {
        for json in
            ["[]", r#"{"config": 1}"#, r#"{"config": {"Env": {"A": "1"}}}"#, r#"{"os": 1}"#, "{"]
        {
            assert!(parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
