//! What an image says about itself: variables, work directory, command, labels.
//!
//! Five sources are known, and the first that exists counts: the OCI image configuration that
//! `himage` keeps beside the root directory (`image.json`), or inside of what it packs
//! (`/.hrun/image.json`); an OCI bundle's `config.json`; Charliecloud's `/ch`; and the scripts of
//! Singularity and enroot ([`super::scripts`]). An image configuration without `config`, which `himage`
//! makes of a root directory, says nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::Spec;

use super::contents::Contents;
use super::directory::{DirectoryTree, errno};
use super::files::{self, Files, Kind};
use super::scripts;
use crate::envfile::{Assignment, Value};
use crate::error::{Error, Result};
use crate::imageconfig;
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
    /// Scripts that set more variables, for its own shell to source, in order. What can be read of
    /// them without one is among the variables.
    pub scripts: Vec<PathBuf>,
    /// Lines of the scripts that only a shell understands.
    pub skipped: Vec<String>,
}

/// The label of an image whose tree has scripts that set its variables: those of the configuration are
/// what could be read of them without a shell.
pub const SCRIPTS_LABEL: &str = "org.hrun.scripts";

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
    let Bundle { root, config } = beside(tree, path)?;
    Ok(Bundle { root, config: config.map(Config::checked).transpose()? })
}

fn beside(tree: &DirectoryTree, path: &Path) -> Result<Bundle> {
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
        return config.checked()?.with_scripts(tree);
    }
    if tree.kind(Path::new("/ch")) == Ok(Some(Kind::Directory)) {
        return charliecloud(tree)?.checked();
    }
    scripts::inside(tree)?.unwrap_or_default().checked()
}

impl Config {
    /// The same, with the scripts in the tree that set its variables, if it says that there are any.
    ///
    /// # Errors
    ///
    /// Fails if one cannot be read.
    pub fn with_scripts(self, tree: &Contents) -> Result<Self> {
        if !self.labels.contains_key(SCRIPTS_LABEL) {
            return Ok(self);
        }
        match scripts::inside(tree)?.map(Config::checked).transpose()? {
            Some(Config { source, environment, scripts, skipped, .. }) if !scripts.is_empty() => {
                Ok(Config { source, environment, scripts, skipped, ..self })
            }
            _ => Ok(self),
        }
    }

    /// Refuses what no program can be given: a NUL byte ends what it stands in.
    fn checked(self) -> Result<Self> {
        let has_nul = |bytes: &[u8]| bytes.contains(&0);
        let fail = |what: String| {
            let attempt = format!("use the image's metadata in {}", self.source);
            Err(Error::new(attempt, format!("{what} has a NUL byte in it")))
        };
        for Assignment { name, value, .. } in &self.environment {
            if has_nul(name.as_bytes()) || value.has_nul() {
                return fail(format!("variable {}", name.to_string_lossy().escape_debug()));
            }
        }
        if self.command.iter().any(|word| has_nul(word.as_bytes())) {
            return fail("the command".to_owned());
        }
        if self.directory.iter().any(|directory| has_nul(directory.as_os_str().as_bytes())) {
            return fail("the work directory".to_owned());
        }
        Ok(self)
    }
}

/// Where `himage` puts the configuration of an image that it packs.
const PACKED: &str = "/.hrun/image.json";

fn read_image_configuration(path: &Path) -> Result<Option<Config>> {
    image_configuration(&read_whole(path)?, path)
}

fn image_configuration(json: &[u8], path: &Path) -> Result<Option<Config>> {
    let image = imageconfig::parse(json).map_err(|reason| unusable(path, reason))?;
    let Some(run) = image.run else { return Ok(None) };
    let command = run.entry_point.iter().chain(&run.arguments).map(OsString::from).collect();
    Ok(Some(Config {
        source: path.display().to_string(),
        environment: literal_assignments(run.environment.iter()),
        directory: run.directory.as_deref().and_then(absolute),
        command,
        user: run.user,
        labels: run.labels,
        ..Config::default()
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

pub(super) fn read_optional(tree: &Contents, path: &Path) -> Result<Option<Vec<u8>>> {
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

pub(super) fn syntax_error(path: &Path, error: &serde_json::Error) -> Error {
    unusable(path, error.to_string())
}

fn unusable(path: &Path, reason: String) -> Error {
    Error::new(format!("read the image's metadata in {}", path.display()), reason)
}
