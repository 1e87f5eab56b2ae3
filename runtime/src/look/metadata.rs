//! What an image says about itself: variables, work directory, command, labels.
//!
//! Four sources are known, and the first that exists counts: the OCI image configuration that
//! `himage` keeps beside the root directory (`image.json`), or inside of what it packs
//! (`/.hrun/image.json`); an OCI bundle's `config.json`; Charliecloud's `/ch`; and Singularity's
//! `/.singularity.d`. An image configuration without `config`, which `himage` makes of a root directory, says nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;

use super::contents::Contents;
use super::directory::{DirectoryTree, errno};
use super::files::{self, Files, Kind};
use crate::envfile::{Assignment, Value, exports};
use crate::error::{Error, Result};
use crate::sys::file;

/// What an image says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where it says so, for origins: `ENV in /ch/environment`.
    pub source: String,
    /// Its variables, in order.
    pub environment: Vec<Assignment>,
    /// Its work directory.
    pub directory: Option<PathBuf>,
    /// The command it runs by itself: entry point and default arguments.
    pub command: Vec<OsString>,
    /// The user it wants to be.
    pub user: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Lines of its environment scripts that hrun does not run.
    pub skipped: Vec<String>,
}

/// What lies beside a root directory.
#[derive(Debug, Default)]
pub struct Bundle {
    /// The root directory, where it is not the directory that was named.
    pub root: Option<PathBuf>,
    /// The configuration found.
    pub config: Option<Config>,
}

/// Looks for an OCI configuration beside the root directory.
///
/// The named directory may be the bundle or, called `rootfs`, its root directory; `path` is what it
/// was called.
///
/// # Errors
///
/// Fails if there is a configuration and it cannot be read.
pub fn bundle(tree: &DirectoryTree, path: &Path) -> Result<Bundle> {
    let named = tree.root();
    let is = |name: &str, kind| tree.kind(&Path::new("/").join(name)) == Ok(Some(kind));
    let is_link = is("rootfs", Kind::Link);
    let has_root = is("rootfs", Kind::Directory) || is_link && named.join("rootfs").is_dir();
    let leads_nowhere = || {
        let root = named.join("rootfs");
        let reason = format!("{} is a link that leads to no directory", root.display());
        Error::new(format!("use {} as an image", named.display()), reason)
            .hint("point it to the root directory, in the bundle itself")
    };
    if is_link && !has_root && is("image.json", Kind::File) {
        return Err(leads_nowhere());
    }
    if has_root && is("image.json", Kind::File) {
        let config = read_image_configuration(&named.join("image.json"))?;
        return Ok(Bundle { root: Some(named.join("rootfs")), config });
    }
    if is("config.json", Kind::File) {
        let read = read_runtime_configuration(&named.join("config.json"));
        match read.map(|(root, config)| (named.join(root), config)) {
            Ok((root, config)) if root.is_dir() => {
                return Ok(Bundle { root: Some(root), config: Some(config) });
            }
            Ok((root, _)) if is_link && root == named.join("rootfs") => {
                return Err(leads_nowhere());
            }
            Err(error) if has_root => return Err(error),
            // Any application may have a file of that name.
            Ok(_) | Err(_) => {}
        }
    }
    // A root directory may be a link in its bundle, and is known by where that lies then.
    let is_root = |path: &&Path| path.file_name() == Some(OsStr::new("rootfs"));
    let Some(named) = [path, named].into_iter().find(is_root) else {
        return Ok(Bundle::default());
    };
    let config = match named.with_file_name("image.json") {
        file if file.is_file() => read_image_configuration(&file)?,
        _ => match named.with_file_name("config.json") {
            file if file.is_file() => Some(read_runtime_configuration(&file)?.1),
            _ => None,
        },
    };
    Ok(Bundle { root: None, config })
}

/// Looks for configuration inside the root directory.
///
/// # Errors
///
/// Fails if there is a configuration and it cannot be read.
pub fn inside(tree: &Contents) -> Result<Config> {
    if tree.kind(Path::new("/.hrun")) == Ok(Some(Kind::Directory))
        && let Some(json) = read_optional(tree, Path::new(PACKED))?
        && let Some(config) = image_configuration(&json, Path::new(PACKED))?
    {
        return Ok(config);
    }
    if tree.kind(Path::new("/ch")) == Ok(Some(Kind::Directory)) {
        return charliecloud(tree);
    }
    if tree.kind(Path::new("/.singularity.d")) == Ok(Some(Kind::Directory)) {
        return singularity(tree);
    }
    Ok(Config::default())
}

/// Where `himage` puts the configuration of an image that it packs.
const PACKED: &str = "/.hrun/image.json";

fn read_image_configuration(path: &Path) -> Result<Option<Config>> {
    image_configuration(&read_whole(path)?, path)
}

fn image_configuration(json: &[u8], path: &Path) -> Result<Option<Config>> {
    let image: ImageConfiguration =
        serde_json::from_slice(json).map_err(|error| syntax_error(path, &error))?;
    let Some(config) = image.config() else { return Ok(None) };
    let mut command: Vec<OsString> = Vec::new();
    command.extend(config.entrypoint().iter().flatten().map(OsString::from));
    command.extend(config.cmd().iter().flatten().map(OsString::from));
    Ok(Some(Config {
        source: path.display().to_string(),
        environment: literal_assignments(config.env().iter().flatten()),
        directory: config.working_dir().as_ref().and_then(|directory| absolute(directory)),
        command,
        user: config.user().clone().filter(|user| !user.is_empty()),
        labels: config.labels().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        skipped: Vec::new(),
    }))
}

fn read_runtime_configuration(path: &Path) -> Result<(PathBuf, Config)> {
    let json = read_whole(path)?;
    let spec: Spec = serde_json::from_slice(&json).map_err(|error| syntax_error(path, &error))?;
    let root = spec.root().as_ref().map_or("rootfs".into(), |root| root.path().clone());
    let mut config = Config { source: path.display().to_string(), ..Config::default() };
    if let Some(process) = spec.process() {
        config.environment = literal_assignments(process.env().iter().flatten());
        config.directory = absolute(&process.cwd().to_string_lossy());
        config.command = process.args().iter().flatten().map(OsString::from).collect();
        let user = process.user();
        if user.uid() != 0 || user.gid() != 0 {
            config.user = Some(format!("{}:{}", user.uid(), user.gid()));
        }
    }
    if let Some(annotations) = spec.annotations() {
        config.labels = annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    Ok((root, config))
}

/// Reads a file wherever links lead, if it is not larger than any that hrun reads.
fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let real = fs::canonicalize(path).map_err(|error| errno(&error));
    real.and_then(|real| file::read_file(&real)).map_err(|errno| read_error(path, errno))
}

/// The part of `/ch/metadata.json` that matters at run time.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Charliecloud {
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

/// Reads `/ch/metadata.json` and `/ch/environment`; the latter, which users edit, has the say
/// about variables.
fn charliecloud(tree: &Contents) -> Result<Config> {
    let mut config = Config { source: "/ch/metadata.json".to_owned(), ..Config::default() };
    let metadata = Path::new("/ch/metadata.json");
    if let Some(json) = read_optional(tree, metadata)? {
        let read: Charliecloud =
            serde_json::from_slice(&json).map_err(|error| syntax_error(metadata, &error))?;
        config.directory = read.cwd.as_deref().and_then(absolute);
        config.environment =
            read.env.iter().map(|(name, value)| literal(name.as_ref(), value.as_ref())).collect();
        config.labels = read.labels;
    }
    let environment = Path::new("/ch/environment");
    if let Some(lines) = read_optional(tree, environment)? {
        config.source = environment.display().to_string();
        config.environment = charliecloud_environment(&lines);
    }
    Ok(config)
}

/// Reads `NAME=VALUE` lines as ch-image writes them: no comments, one pair of single quotes.
fn charliecloud_environment(lines: &[u8]) -> Vec<Assignment> {
    let lines = lines.split(|byte| *byte == b'\n').enumerate();
    let assignments = lines.filter_map(|(index, line)| {
        let equals = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let value = &line[equals + 1..];
        let quoted = value.strip_prefix(b"'").and_then(|value| value.strip_suffix(b"'"));
        Some(Assignment {
            name: OsString::from_vec(line[..equals].to_vec()),
            value: Value::charliecloud(quoted.unwrap_or(value)),
            line: index + 1,
        })
    });
    assignments.collect()
}

/// Reads labels, run script and the scripts of the environment; only their plain `export` lines,
/// because hrun runs no code of the image before the command.
fn singularity(tree: &Contents) -> Result<Config> {
    let mut config = Config { source: "/.singularity.d/env".to_owned(), ..Config::default() };
    let labels = Path::new("/.singularity.d/labels.json");
    if let Some(json) = read_optional(tree, labels)? {
        config.labels =
            serde_json::from_slice(&json).map_err(|error| syntax_error(labels, &error))?;
    }
    let runscript = "/.singularity.d/runscript";
    if tree.holds(Path::new(runscript)) {
        config.command = vec![OsString::from(runscript)];
    }
    for script in ["10-docker2singularity.sh", "10-docker.sh", "90-environment.sh"] {
        let path = Path::new("/.singularity.d/env").join(script);
        if let Some(text) = read_optional(tree, &path)? {
            let exports = exports::read(&text);
            config.environment.extend(exports.assignments);
            let skipped = exports.skipped.iter();
            config.skipped.extend(skipped.map(|line| format!("{script}: {line}")));
        }
    }
    Ok(config)
}

fn read_optional(tree: &Contents, path: &Path) -> Result<Option<Vec<u8>>> {
    files::read(tree, path).map_err(|errno| read_error(path, errno))
}

fn literal_assignments<'a>(items: impl Iterator<Item = &'a String>) -> Vec<Assignment> {
    let split = items.filter_map(|item| item.split_once('='));
    split
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| literal(name.as_ref(), value.as_ref()))
        .collect()
}

fn literal(name: &OsStr, value: &OsStr) -> Assignment {
    Assignment { name: name.to_owned(), value: Value::literal(value.as_bytes()), line: 0 }
}

fn absolute(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

fn read_error(path: &Path, errno: Errno) -> Error {
    Error::new(format!("read the image's metadata in {}", path.display()), errno)
}

fn syntax_error(path: &Path, error: &serde_json::Error) -> Error {
    let attempt = format!("read the image's metadata in {}", path.display());
    Error::new(attempt, error.to_string())
}
