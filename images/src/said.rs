//! What images say of themselves in JSON, read as the programs read it that wrote it.
//!
//! Most of those are Go's: `null` and what is missing are the same to them, keys are found in letters
//! of any size, and a text stands for a list of one where Docker says so. What is read here is given
//! its plain form first, and then to the strict types of the specification.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use runtime::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// What a value should be.
enum Shape {
    Text,
    /// A list of texts; one alone is a list.
    Texts,
    /// Names, as keys of values that say nothing.
    Names,
    /// Texts by name; one that is null is empty.
    Labels,
    /// Something that is taken as it is.
    Any,
    List(&'static Shape),
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{Any, Labels, List, Names, Object, Text, Texts};

const CONFIGURATION: Shape = Object(&[
    ("created", Text),
    ("author", Text),
    ("architecture", Text),
    ("os", Text),
    ("os.version", Text),
    ("os.features", Texts),
    ("variant", Text),
    (
        "config",
        Object(&[
            ("User", Text),
            ("ExposedPorts", Names),
            ("Env", Texts),
            ("Entrypoint", Texts),
            ("Cmd", Texts),
            ("Volumes", Names),
            ("WorkingDir", Text),
            ("Labels", Labels),
            ("StopSignal", Text),
        ]),
    ),
    ("rootfs", Object(&[("type", Text), ("diff_ids", Texts)])),
    (
        "history",
        List(&Object(&[
            ("created", Text),
            ("author", Text),
            ("created_by", Text),
            ("comment", Text),
            ("empty_layer", Any),
        ])),
    ),
]);

const PLATFORM: Shape = Object(&[
    ("architecture", Text),
    ("os", Text),
    ("os.version", Text),
    ("os.features", Texts),
    ("variant", Text),
    ("features", Texts),
]);

const DESCRIPTOR: Shape = Object(&[
    ("mediaType", Text),
    ("digest", Text),
    ("size", Any),
    ("urls", Texts),
    ("annotations", Labels),
    ("platform", PLATFORM),
    ("artifactType", Text),
    ("data", Text),
]);

const MANIFEST: Shape = Object(&[
    ("schemaVersion", Any),
    ("mediaType", Text),
    ("artifactType", Text),
    ("config", DESCRIPTOR),
    ("layers", List(&DESCRIPTOR)),
    ("subject", DESCRIPTOR),
    ("annotations", Labels),
]);

const INDEX: Shape = Object(&[
    ("schemaVersion", Any),
    ("mediaType", Text),
    ("artifactType", Text),
    ("manifests", List(&DESCRIPTOR)),
    ("subject", DESCRIPTOR),
    ("annotations", Labels),
]);

const LISTED: Shape = List(&Object(&[("Config", Text), ("RepoTags", Texts), ("Layers", Texts)]));

/// An image as `manifest.json` of an archive lists it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// The name of its configuration's file.
    pub config: String,
    /// What it is called.
    #[serde(default)]
    pub repo_tags: Vec<String>,
    /// The names of its layers' files.
    #[serde(default)]
    pub layers: Vec<String>,
}

/// The configuration of an image.
///
/// # Errors
///
/// Says why it is none.
pub fn configuration(json: &[u8]) -> Result<ImageConfiguration> {
    let read = plain_configuration(json).and_then(|plain| strict(WHAT, plain));
    read.map_err(|error| {
        error.hint("perhaps it is no image of a container: an artifact, an attestation")
    })
}

/// The same as strict readers take it: the very bytes, if there is nothing in them to change.
///
/// # Errors
///
/// As [`configuration`].
pub fn strict_configuration(json: &[u8]) -> Result<Vec<u8>> {
    let plain = plain_configuration(json)?;
    match value(WHAT, json)? == plain {
        true => Ok(json.to_vec()),
        false => {
            serde_json::to_vec(&plain).map_err(|error| Error::new(attempt(WHAT), error.to_string()))
        }
    }
}

const WHAT: &str = "the image's configuration";

fn plain_configuration(json: &[u8]) -> Result<Value> {
    let mut plain = shaped(value(WHAT, json)?, &CONFIGURATION);
    if let Some(image) = plain.as_object_mut() {
        for name in ["architecture", "os"] {
            image.entry(name).or_insert_with(|| "".into());
        }
        let rootfs = image.entry("rootfs").or_insert_with(|| json!({}));
        if let Some(rootfs) = rootfs.as_object_mut() {
            rootfs.entry("type").or_insert_with(|| "layers".into());
            rootfs.entry("diff_ids").or_insert_with(|| json!([]));
        }
    }
    Ok(plain)
}

/// The manifest of an image.
///
/// # Errors
///
/// Says why it is none.
pub fn manifest(json: &[u8]) -> Result<ImageManifest> {
    let what = "the image's manifest";
    let mut plain = shaped(value(what, json)?, &MANIFEST);
    if let Some(manifest) = plain.as_object_mut() {
        manifest.entry("schemaVersion").or_insert_with(|| 2.into());
        let layers = manifest.entry("layers").or_insert_with(|| json!([]));
        layers.as_array_mut().into_iter().flatten().for_each(|layer| typed(layer, LAYER));
        manifest.get_mut("config").into_iter().for_each(|config| typed(config, CONFIG));
    }
    strict(what, plain)
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Of an image or of an index; what it is, it says itself.
const UNTOLD: &str = "application/octet-stream";

/// The images in an index. What is no descriptor, beside one that is, is passed over.
///
/// # Errors
///
/// Says why it is none.
pub fn index(json: &[u8]) -> Result<Vec<Descriptor>> {
    let what = "the index of images";
    let mut plain = shaped(value(what, json)?, &INDEX);
    let Some(index) = plain.as_object_mut() else {
        return Err(Error::new(attempt(what), "it is no JSON object"));
    };
    index.entry("schemaVersion").or_insert_with(|| 2.into());
    let listed = index.insert("manifests".into(), json!([]));
    strict::<ImageIndex>(what, plain)?;
    let listed = match listed {
        None => Vec::new(),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(Error::new(attempt(what), "its images are no list")),
    };
    let mut found = Vec::new();
    let mut flaw = None;
    for mut descriptor in listed {
        typed(&mut descriptor, UNTOLD);
        with_platform(&mut descriptor);
        match strict(what, descriptor) {
            Ok(descriptor) => found.push(descriptor),
            Err(error) => flaw = Some(error),
        }
    }
    match flaw {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// Whether something is an index, and no manifest.
pub fn is_index(json: &[u8]) -> bool {
    let plain = value("", json).map(|value| shaped(value, &INDEX));
    plain.is_ok_and(|plain| plain.get("manifests").is_some() && plain.get("config").is_none())
}

/// The images in `manifest.json` of an archive.
///
/// # Errors
///
/// Says why there are none.
pub fn listed(json: &[u8]) -> Result<Vec<Listed>> {
    let what = "manifest.json of the archive";
    strict(what, shaped(value(what, json)?, &LISTED))
}

fn typed(descriptor: &mut Value, kind: &str) {
    if let Some(descriptor) = descriptor.as_object_mut() {
        descriptor.entry("mediaType").or_insert_with(|| kind.into());
    }
}

/// A platform that names no architecture is none.
fn with_platform(descriptor: &mut Value) {
    let Some(descriptor) = descriptor.as_object_mut() else { return };
    let Some(platform) = descriptor.get_mut("platform").and_then(Value::as_object_mut) else {
        return;
    };
    match platform.get("architecture").and_then(Value::as_str) {
        None | Some("") => drop(descriptor.remove("platform")),
        Some(_) => drop(platform.entry("os").or_insert_with(|| "linux".into())),
    }
}

fn attempt(what: &str) -> String {
    format!("read {what}")
}

fn value(what: &str, json: &[u8]) -> Result<Value> {
    serde_json::from_slice(json).map_err(|error| Error::new(attempt(what), error.to_string()))
}

fn strict<T: DeserializeOwned>(what: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::new(attempt(what), error.to_string()))
}

/// A value in its plain form; what cannot have it stays as it is, for strict readers to refuse.
fn shaped(value: Value, shape: &Shape) -> Value {
    match (shape, value) {
        (Text, value @ (Value::Number(_) | Value::Bool(_))) => value.to_string().into(),
        (Texts, Value::String(text)) => json!([text]),
        (Texts, Value::Array(items)) => list(items, &Text),
        (List(of), Value::Array(items)) => list(items, of),
        (Names, Value::Array(items)) => {
            let names = items.into_iter().filter_map(|name| name.as_str().map(str::to_owned));
            names.map(|name| (name, json!({}))).collect()
        }
        (Names, Value::Object(names)) => {
            names.into_iter().map(|(name, _)| (name, json!({}))).collect()
        }
        (Labels, Value::Object(labels)) => {
            let text = |value| if value == Value::Null { "".into() } else { shaped(value, &Text) };
            labels.into_iter().map(|(name, value)| (name, text(value))).collect()
        }
        (Object(names), Value::Object(object)) => members(object, names).into(),
        (_, value) => value,
    }
}

fn list(items: Vec<Value>, of: &Shape) -> Value {
    items.into_iter().filter(|item| !item.is_null()).map(|item| shaped(item, of)).collect()
}

/// The members of an object under their own names; what is null is not there. What is called so
/// letter by letter comes before what is only nearly so.
fn members(object: Map<String, Value>, names: &[(&'static str, Shape)]) -> Map<String, Value> {
    let mut plain = Map::new();
    let (exact, others): (Vec<_>, Vec<_>) =
        object.into_iter().partition(|(key, _)| names.iter().any(|(name, _)| name == key));
    for (key, value) in exact.into_iter().chain(others) {
        if value.is_null() {
            continue;
        }
        match names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key)) {
            None => drop(plain.insert(key, value)),
            Some((name, shape)) => {
                plain.entry(*name).or_insert_with(|| shaped(value, shape));
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_is_read() {
        for text in [
            "{}",
            r#"{"architecture":null,"os":null,"config":null,"rootfs":null,"history":null}"#,
            r#"{"os":"linux","rootfs":{"diff_ids":null}}"#,
            r#"{"config":{"ExposedPorts":{"80/tcp":null},"Volumes":["/data"],"Env":null}}"#,
            r#"{"history":[null,{"created":null,"empty_layer":true}],"container_config":{"Cmd":1}}"#,
        ] {
            configuration(text.as_bytes()).expect(text);
            let strict = strict_configuration(text.as_bytes()).expect(text);
            serde_json::from_slice::<ImageConfiguration>(&strict).expect(text);
        }
        let small =
            r#"{"OS":"linux","config":{"env":["A=1"],"cmd":"run me","labels":{"x":null,"n":3}}}"#;
        let image = configuration(small.as_bytes()).unwrap();
        let config = image.config().clone().unwrap();
        assert_eq!(config.env().as_deref(), Some(&["A=1".to_owned()][..]));
        assert_eq!(config.cmd().as_deref(), Some(&["run me".to_owned()][..]));
        assert_eq!(config.labels().as_ref().unwrap()["x"], "");
        assert_eq!(config.labels().as_ref().unwrap()["n"], "3");
        assert_eq!(image.os().to_string(), "linux");
        for text in ["[]", "1", "", r#"{"config":{"Env":{}}}"#, r#"{"rootfs":[]}"#] {
            assert!(configuration(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_plain_stays_as_it_is() {
        let text = br#"{ "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": []}, "other": [null, {"A": null}] }"#;
        assert_eq!(strict_configuration(text).unwrap(), text);
    }

    #[test]
    fn an_index_has_what_is_a_descriptor() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let count = |manifests: &str| {
            index(format!(r#"{{"manifests":{manifests}}}"#).as_bytes()).map(|found| found.len())
        };
        assert_eq!(count("null"), Ok(0));
        assert_eq!(count("[]"), Ok(0));
        assert_eq!(count(&format!(r#"[{{"digest":"{digest}","size":2,"platform":{{}}}}]"#)), Ok(1));
        assert_eq!(
            count(&format!(
                r#"[null,{{"digest":"sha256:x","size":1}},{{"digest":"{digest}","size":2}}]"#
            )),
            Ok(1)
        );
        assert!(count(r#"[{"digest":"sha256:x","size":1}]"#).is_err());
        assert!(count("{}").is_err());
    }

    #[test]
    fn a_manifest_may_have_no_layers() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let text = format!(r#"{{"config":{{"digest":"{digest}","size":2}},"layers":null}}"#);
        let manifest = manifest(text.as_bytes()).unwrap();
        assert!(manifest.layers().is_empty());
        assert!(!is_index(text.as_bytes()) && is_index(br#"{"manifests":[]}"#));
    }
}
