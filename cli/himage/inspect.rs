//! `himage inspect`: what an image is made of and what it says of itself.

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgMatches, Command};
use images::digest::Digest;
use images::local::{self, Opening};
use images::progress::Silent;
use images::reference::Reference;
use images::said;
use oci_spec::image::{ImageConfiguration, ImageManifest};
use runtime::envfile;
use runtime::error::Result;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::text::shown;
use serde_json::{Value, json};

use crate::{report, store, usage};

/// The words of `himage inspect`.
pub fn command() -> Command {
    Command::new("inspect")
        .about("Says what an image is made of, and what it says of itself")
        .arg(
            usage::word("IMAGE", "A name or digest, an archive, or whatever hrun runs")
                .required(true),
        )
        .arg(usage::json())
}

/// Runs it.
///
/// # Errors
///
/// Fails if there is no such image, or it cannot be read.
pub fn run(words: &ArgMatches) -> Result<()> {
    let word = words.get_one::<OsString>("IMAGE").cloned().unwrap_or_default();
    let path = Path::new(&word);
    // As hrun: a name is a name if there is no such file.
    let facts = if path.exists() { of_path(path)? } else { of_store(words)? };
    if words.get_flag("json") {
        return report::print_json(&facts);
    }
    report::print(&text(&facts))
}

fn of_store(words: &ArgMatches) -> Result<Value> {
    let (_, kept) = store::find(words, usage::text(words, "IMAGE")?.unwrap_or_default())?;
    let contents = kept.contents?;
    let mut facts = made_of(&contents.manifest, &kept.digest);
    facts["names"] = kept.names.iter().map(Reference::to_string).collect();
    facts["tree"] = kept.tree.join("rootfs").to_string_lossy().into();
    Ok(with_config(facts, &contents.config))
}

/// An archive or a layout says more than hrun wants to know; hrun knows all other forms.
fn of_path(path: &Path) -> Result<Value> {
    let is_layers = path.is_dir() && local::has_layers(path)?;
    if path.is_file() && !local::runs_as_it_is(path)? || is_layers {
        let scratch = std::env::temp_dir();
        let opening = Opening { path, image: None, scratch: &scratch, progress: &Silent };
        let image = local::open(&opening)?.image()?;
        let config = said::configuration(&image.config)?;
        let mut facts = made_of(&image.manifest, &Digest::of(&image.manifest_bytes));
        facts["names"] = image.name.into_iter().collect();
        return Ok(with_config(facts, &config));
    }
    let image = Image::look(path, &Host::look()?)?;
    let config = image.config;
    let words: Vec<_> = config.command.iter().map(|word| word.to_string_lossy()).collect();
    let rendered = envfile::render(&config.environment);
    let variables = rendered.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let variables: Vec<_> = variables.map(String::from_utf8_lossy).collect();
    Ok(json!({
        "tree": image.root.to_string_lossy(),
        "source": config.source,
        "env": variables,
        "workdir": config.directory,
        "entrypoint": [],
        "cmd": words,
        "user": config.user,
        "labels": config.labels,
    }))
}

fn made_of(manifest: &ImageManifest, digest: &Digest) -> Value {
    let layers: Vec<Value> = manifest
        .layers()
        .iter()
        .map(|layer| {
            json!({
                "digest": layer.digest().to_string(),
                "size": layer.size(),
                "type": layer.media_type().to_string(),
            })
        })
        .collect();
    let size: u64 = manifest.layers().iter().map(|layer| layer.size()).sum();
    json!({ "digest": digest.to_string(), "size": size, "layers": layers })
}

fn with_config(mut facts: Value, image: &ImageConfiguration) -> Value {
    facts["created"] = json!(image.created());
    let platform = format!("{}/{}", image.os(), image.architecture());
    facts["platform"] = json!((platform != "/").then_some(platform));
    let config = image.config().clone().unwrap_or_default();
    facts["env"] = json!(config.env().clone().unwrap_or_default());
    facts["workdir"] = json!(config.working_dir().clone().filter(|path| !path.is_empty()));
    facts["entrypoint"] = json!(config.entrypoint().clone().unwrap_or_default());
    facts["cmd"] = json!(config.cmd().clone().unwrap_or_default());
    facts["user"] = json!(config.user().clone().filter(|user| !user.is_empty()));
    facts["labels"] = json!(config.labels().clone().unwrap_or_default());
    facts
}

/// The facts for people: a line for each, and for each item of a list.
fn text(facts: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text += &format!("{name:<11} {}\n", shown(value));
    for name in ["names", "tree", "source", "digest", "platform", "created"] {
        match &facts[name] {
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).for_each(|item| line("name", item));
            }
            value => value.as_str().into_iter().for_each(|value| line(name, value)),
        }
    }
    if let Some(size) = facts["size"].as_u64() {
        line("size", &report::size(size));
    }
    for layer in facts["layers"].as_array().into_iter().flatten() {
        let size = report::size(layer["size"].as_u64().unwrap_or_default());
        line("layer", &format!("{} {size}", layer["digest"].as_str().unwrap_or_default()));
    }
    for variable in facts["env"].as_array().into_iter().flatten() {
        line("env", variable.as_str().unwrap_or_default());
    }
    for name in ["workdir", "user"] {
        facts[name].as_str().into_iter().for_each(|value| line(name, value));
    }
    for name in ["entrypoint", "cmd"] {
        if facts[name].as_array().is_some_and(|words| !words.is_empty()) {
            line(name, &facts[name].to_string());
        }
    }
    for (label, value) in facts["labels"].as_object().into_iter().flatten() {
        line("label", &format!("{label}={}", value.as_str().unwrap_or_default()));
    }
    text
}
