//! Spec files as they are written: JSON or YAML.
//!
//! They are read liberally, as a consumer should: fields nobody knows are passed over, and a field
//! may be newer than the version the file gives itself. What is wrong in a field that is read
//! makes the whole file unusable, as in the reference implementation. File modes and owners are
//! not read: a container has the host's own nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny};

use super::names;
use crate::paths;

/// The released versions of the specification, less 0.1.0 and 0.2.0, which nobody reads any more.
const KNOWN_VERSIONS: [[u32; 3]; 8] =
    [[0, 3, 0], [0, 4, 0], [0, 5, 0], [0, 6, 0], [0, 7, 0], [0, 8, 0], [1, 0, 0], [1, 1, 0]];

/// The largest file that is read, in bytes; real ones have some ten or hundred thousand.
const MAX_SIZE: usize = 4 << 20;

/// How deep a YAML file may nest; a hook's arguments, the deepest of all, are at 7.
const MAX_DEPTH: usize = 64;

/// How a spec file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `*.json`.
    Json,
    /// `*.yaml` and `*.yml`.
    Yaml,
}

/// One spec file.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification it follows.
    pub cdi_version: String,
    /// What all its devices are: `vendor.com/class`.
    pub kind: String,
    /// Remarks of who wrote it; they change nothing.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// The devices.
    #[serde(default, deserialize_with = "or_default")]
    pub devices: Vec<Device>,
    /// What a container needs if it has any of the devices.
    #[serde(default, deserialize_with = "or_default")]
    pub container_edits: ContainerEdits,
}

/// One device.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its name within the kind.
    pub name: String,
    /// Remarks of who wrote it; they change nothing.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What a container needs if it has this device.
    #[serde(default, deserialize_with = "or_default")]
    pub container_edits: ContainerEdits,
}

/// What a container needs.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEdits {
    /// Variables, as `NAME=value`.
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Device nodes.
    #[serde(default, deserialize_with = "or_default")]
    pub device_nodes: Vec<DeviceNode>,
    /// Mounts.
    #[serde(default, deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// Programs to be run at stages of a container's life.
    #[serde(default, deserialize_with = "or_default")]
    pub hooks: Vec<Hook>,
    /// Groups to be a member of; 0 means nothing.
    #[serde(default, deserialize_with = "or_default", rename = "additionalGids")]
    pub additional_gids: Vec<u32>,
    /// Resource control of Intel's processors; whether there is any.
    #[serde(default)]
    pub intel_rdt: Option<IgnoredAny>,
    /// Network interfaces to be moved into the container; how many there are.
    #[serde(default, deserialize_with = "or_default")]
    pub net_devices: Vec<IgnoredAny>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNode {
    /// Where it is in the container.
    pub path: String,
    /// Where it is on the host, if elsewhere.
    #[serde(default, deserialize_with = "or_default")]
    pub host_path: String,
    /// `b`, `c`, `u` or `p`, as for mknod(1); empty for what the host has.
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    pub node_type: String,
    /// The major number; 0 for what the host has.
    #[serde(default, deserialize_with = "or_default")]
    pub major: u32,
    /// The minor number.
    #[serde(default, deserialize_with = "or_default")]
    pub minor: u32,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// What is mounted: a path of the host.
    pub host_path: String,
    /// Where it is mounted.
    pub container_path: String,
    /// Options, as for mount(8).
    #[serde(default, deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// The kind of file system; empty for a bind.
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    pub mount_type: String,
}

/// A program of the host that a runtime with the rights of root would run.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The stage: `createContainer`.
    #[serde(default, deserialize_with = "or_default")]
    pub hook_name: String,
    /// The program.
    pub path: String,
    /// Its arguments; the first is its own name.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
}

impl Format {
    /// The format of a file by its name; nothing for a file that is no spec.
    pub fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "json" => Some(Format::Json),
            "yaml" | "yml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

impl Spec {
    /// Reads a spec file.
    ///
    /// # Errors
    ///
    /// Says in a line why the file cannot be used: syntax, a type or a required field, a version
    /// before 0.3.0 or after 1, a bad kind or name, a device named twice, a path that is not
    /// absolute or has `..`, a variable without a name, a NUL byte.
    pub fn parse(contents: &[u8], format: Format) -> Result<Spec, String> {
        if contents.len() > MAX_SIZE {
            return Err(format!("it is larger than {} MiB", MAX_SIZE >> 20));
        }
        let text = std::str::from_utf8(contents).map_err(|_| "it is not UTF-8 text".to_owned())?;
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        let spec: Spec = match format {
            Format::Json => serde_json::from_str(text).map_err(|error| error.to_string())?,
            Format::Yaml => parse_yaml(text)?,
        };
        spec.check()?;
        Ok(spec)
    }

    /// Whether its version is one that was released when this was written.
    pub fn has_known_version(&self) -> bool {
        version(&self.cdi_version).is_some_and(|version| KNOWN_VERSIONS.contains(&version))
    }

    fn check(&self) -> Result<(), String> {
        check_version(&self.cdi_version)?;
        names::check_kind(&self.kind)?;
        self.container_edits.check()?;
        let mut seen = BTreeSet::new();
        for device in &self.devices {
            names::check_device(&device.name)?;
            if !seen.insert(&device.name) {
                return Err(format!("it has two devices {}", device.name));
            }
            let named = |reason| format!("device {}: {reason}", device.name);
            device.container_edits.check().map_err(named)?;
        }
        Ok(())
    }
}

impl ContainerEdits {
    fn check(&self) -> Result<(), String> {
        for variable in &self.env {
            if variable.find('=').unwrap_or(0) == 0 || variable.contains('\0') {
                return Err(format!("the variable {variable:?} is not of the form NAME=value"));
            }
        }
        for node in &self.device_nodes {
            check_inside(&node.path)?;
            if !node.host_path.is_empty() {
                check_path(&node.host_path)?;
            }
            if !matches!(node.node_type.as_str(), "" | "b" | "c" | "u" | "p") {
                return Err(format!("{} is of no known type: {:?}", node.path, node.node_type));
            }
        }
        for mount in &self.mounts {
            check_inside(&mount.container_path)?;
            // A tmpfs has no source; what is written there is only a name.
            if mount.mount_type != "tmpfs" {
                check_path(&mount.host_path)?;
            }
        }
        Ok(())
    }
}

/// Checks a path of the container; its root is not for a device to cover.
pub(super) fn check_inside(path: &str) -> Result<(), String> {
    check_path(path)?;
    match paths::depth(Path::new(path)) {
        0 => Err("the container's root directory is not for a device to change".to_owned()),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        Err(format!("the path {path:?} is not absolute"))
    } else if path.contains('\0') {
        Err(format!("the path {path:?} has a NUL byte"))
    } else if paths::names(Path::new(path)).any(|name| name == "..") {
        Err(format!("the path {path:?} has '..' in it"))
    } else {
        Ok(())
    }
}

fn check_version(text: &str) -> Result<(), String> {
    match version(text) {
        None => Err(format!("cdiVersion {text:?} is not of the form 1.0.0")),
        Some(version) if version < KNOWN_VERSIONS[0] => {
            Err(format!("cdiVersion {text} is older than 0.3.0"))
        }
        Some([2..=u32::MAX, ..]) => {
            Err(format!("cdiVersion {text} is newer than hrun knows (1.1.0)"))
        }
        Some(_) => Ok(()),
    }
}

/// The numbers of a version; a `v` before them is tolerated.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.').map(str::parse);
    let version = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
    numbers.next().is_none().then_some(version)
}

/// Reads a field that may be there with no value, as Go writes an empty list.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads YAML within a budget, so that aliases cannot make a small file a large one.
fn parse_yaml(text: &str) -> Result<Spec, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| error.render_with_formatter(&serde_saphyr::UserMessageFormatter))
}
