//! What an image says of itself, found and made.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use runtime::error::{Error, Result};
use runtime::look::contents::Contents;
use runtime::look::directory::DirectoryTree;
use runtime::look::metadata;
use runtime::text::quoted;
use serde_json::{Map, Value, json};

use super::{INNER_CONFIG, Image};
use crate::failure::failed;

/// No configuration is larger.
const SIZE_LIMIT: u64 = 16 << 20;

/// The PATH of an image that sets none, where a value refers to it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A directory as an image: a bundle (`rootfs` and `image.json`), the `rootfs` of one, or a tree.
pub(super) fn of_directory(directory: &Path) -> Result<Image> {
    let rootfs = directory.join("rootfs");
    let beside = directory.join("image.json");
    if rootfs.is_dir() && beside.is_file() {
        return Ok(Image::of(&rootfs, Some(&read(&beside)?)));
    }
    let is_rootfs = directory.file_name() == Some(OsStr::new("rootfs"));
    let beside = directory.with_file_name("image.json");
    if is_rootfs && beside.is_file() {
        return Ok(Image::of(directory, Some(&read(&beside)?)));
    }
    let inner = directory.join(INNER_CONFIG);
    let is_file = inner.symlink_metadata().is_ok_and(|inner| inner.is_file());
    let config = if is_file { Some(read(&inner)?) } else { None };
    Ok(Image::of(directory, config.as_deref()))
}

/// Takes the configuration out of a tree that was in one file.
pub(super) fn take_inner(root: &Path) -> Result<Option<Vec<u8>>> {
    let inner = root.join(INNER_CONFIG);
    let directory = inner.parent().unwrap_or(root);
    let is = |path: &Path, fits: fn(&fs::Metadata) -> bool| {
        path.symlink_metadata().is_ok_and(|at| fits(&at))
    };
    // A link here may lead anywhere.
    if !is(directory, fs::Metadata::is_dir) || !is(&inner, fs::Metadata::is_file) {
        return Ok(None);
    }
    let config = read(&inner)?;
    let time = root.metadata().and_then(|root| root.modified());
    let removed = fs::remove_file(&inner).and_then(|()| match fs::remove_dir(directory) {
        // It holds other things.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => done,
    });
    // Which nobody did to the image.
    let restored = removed.and(time).and_then(|time| fs::File::open(root)?.set_modified(time));
    restored.map_err(|error| failed("unpack", &inner, &error))?;
    Ok(Some(config))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |error: io::Error| failed("read", path, &error);
    let size = path.metadata().map_err(fail)?.len();
    if size > SIZE_LIMIT {
        let attempt = format!("read the configuration {}", quoted(path));
        return Err(Error::new(attempt, "it is larger than 16 MiB"));
    }
    fs::read(path).map_err(fail)
}

/// The configuration an OCI image has: the image's own, or what Charliecloud's or Singularity's files
/// in the tree say, with new layers.
pub(super) fn with_layer(root: &Path, config: Option<&[u8]>, diff_id: &str) -> Result<Vec<u8>> {
    let attempt = || format!("read the configuration of {}", quoted(root));
    let mut image = match config {
        Some(config) => match serde_json::from_slice(config) {
            Ok(Value::Object(image)) => image,
            Ok(_) => return Err(Error::new(attempt(), "it is no JSON object")),
            Err(error) => return Err(Error::new(attempt(), error.to_string())),
        },
        None => of_tree(root)?,
    };
    image.insert("rootfs".into(), json!({"type": "layers", "diff_ids": [diff_id]}));
    let mut history = Map::new();
    history.insert("created_by".into(), "himage convert".into());
    if let Some(created) = image.get("created") {
        history.insert("created".into(), created.clone());
    }
    image.insert("history".into(), json!([history]));
    for (name, value) in [("architecture", architecture()), ("os", "linux")] {
        image.entry(name).or_insert_with(|| value.into());
    }
    serde_json::to_vec(&image).map_err(|error| Error::new(attempt(), error.to_string()))
}

/// The name that OCI images have for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// What scripts in a tree set that no configuration can say, a line each: other programs than hrun do
/// not run them.
pub(super) fn only_in_scripts(root: &Path) -> Result<Vec<String>> {
    let found = metadata::inside(&Contents::Directory(tree(root)?))?;
    let line =
        |line: String| format!("from the configuration, for other programs than hrun: {line}");
    Ok(found.skipped.into_iter().map(line).collect())
}

fn tree(root: &Path) -> Result<DirectoryTree> {
    DirectoryTree::open(root)
        .map_err(|errno: Errno| Error::new(format!("read {}", quoted(root)), errno))
}

/// What the files of Charliecloud, Singularity or enroot in a tree say, in OCI's words. References to
/// variables are resolved with those of the image.
fn of_tree(root: &Path) -> Result<Map<String, Value>> {
    let found = metadata::inside(&Contents::Directory(tree(root)?))?;
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    for assignment in &found.environment {
        let known = |name: &OsStr| {
            let standard = (name == "PATH").then(|| OsString::from(PATH));
            variables.get(name).cloned().or(standard)
        };
        let value = assignment.value.expand(&known);
        variables.insert(assignment.name.clone(), value);
    }
    let mut config = Map::new();
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    if !variables.is_empty() {
        let lines = variables.iter().map(|(name, value)| format!("{}={}", text(name), text(value)));
        config.insert("Env".into(), lines.collect());
    }
    if let Some(directory) = &found.directory {
        config.insert("WorkingDir".into(), text(directory.as_os_str()).into());
    }
    if !found.command.is_empty() {
        let words: Vec<Value> = found.command.iter().map(|word| text(word).into()).collect();
        // A run script takes the words that are given to it.
        config.insert("Entrypoint".into(), words.into());
    }
    let mut labels = found.labels;
    if !found.scripts.is_empty() {
        // They are in the tree, and hrun has them run wherever that goes.
        labels.insert(metadata::SCRIPTS_LABEL.to_owned(), found.source);
    }
    if !labels.is_empty() {
        config.insert("Labels".into(), json!(labels));
    }
    let mut image = Map::new();
    image.insert("config".into(), config.into());
    Ok(image)
}
