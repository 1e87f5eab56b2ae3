//! What devices want changed in a container: the edits of their specs, merged, as plain data.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::registry::{Found, Resolved};
use super::spec::{self, ContainerEdits, DeviceNode};
use crate::paths;
use crate::plan::Note;

/// The name of the device that stands for all of its kind, by the custom of all vendors.
const ALL: &str = "all";

/// The options of tmpfs(5) have these when they are not given.
const TMPFS_MODE: u32 = 0o1777;

/// All that the devices asked for want, in the order in which it is to be applied.
///
/// Paths inside are absolute, clean and not yet resolved in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdiEdits {
    /// Variables, each once.
    pub environment: Vec<(OsString, OsString)>,
    /// Device nodes, each path once.
    pub nodes: Vec<Node>,
    /// Mounts, each target once, outer ones first.
    pub mounts: Vec<CdiMount>,
    /// Symbolic links, each path once; they replace what the image has there.
    pub links: Vec<Link>,
    /// Directories inside whose libraries the loader must find by their sonames.
    pub library_folders: Vec<PathBuf>,
    /// The image's own newer libcuda may be used.
    pub cuda_compat: Option<CudaCompat>,
    /// The NVIDIA driver's libraries must not make device nodes: `ModifyDeviceFiles: 0` in
    /// `/proc/driver/nvidia/params`.
    pub disable_device_node_modification: bool,
    /// EGL must see only the GPUs there are: an application profile of the NVIDIA driver.
    pub update_application_profile: bool,
    /// Groups the command should be a member of, each once, never 0.
    pub gids: Vec<u32>,
    /// What was left out.
    pub notes: Vec<Note>,
}

/// Where an edit was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The device, `nvidia.com/gpu=0`, or, for what all devices of the file share, the kind.
    pub name: String,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is inside.
    pub path: PathBuf,
    /// Where it is on the host.
    pub host_path: PathBuf,
    /// What it was when the spec was written, if that says so.
    pub node_type: Option<NodeType>,
    /// Its numbers when the spec was written, if that says so; after a restart they may be others.
    pub major_minor: Option<Numbers>,
    /// It is wanted for a device called `all` only, so it may be missing.
    pub is_member_of_all: bool,
    /// Who wants it.
    pub source: Source,
}

/// The major and minor number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The driver.
    pub major: u32,
    /// The device, for the driver.
    pub minor: u32,
}

/// What a device node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A pipe with a name.
    Pipe,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiMount {
    /// What is mounted.
    pub content: MountContent,
    /// Where; never the root directory.
    pub container_path: PathBuf,
    /// Who wants it.
    pub source: Source,
}

/// What is mounted; options that say anything else are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountContent {
    /// A file or directory of the host.
    Bind {
        /// The path on the host.
        host_path: PathBuf,
        /// Takes along what is mounted below: `rbind`.
        recursive: bool,
        /// Refuses writes: `ro`.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// The mode of its root directory.
        mode: u32,
        /// Its size as tmpfs(5) takes it.
        size: Option<String>,
    },
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it points to, from where it is.
    pub target: PathBuf,
    /// Where it is inside.
    pub path: PathBuf,
}

/// What NVIDIA's `enable-cuda-compat` hook is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CudaCompat {
    /// The version of the host's driver: `580.95.05`.
    pub host_driver_version: Option<String>,
    /// The version of CUDA it has.
    pub host_cuda_version: Option<String>,
    /// The directory inside that has the newer libcuda; the hook's default if not given.
    pub container_root: Option<PathBuf>,
}

impl CdiEdits {
    /// Merges the edits of devices: for each, what all devices of its spec share, unless an
    /// earlier one of the spec brought that, and then its own.
    pub fn of(resolved: &Resolved) -> Self {
        let mut edits = CdiEdits::default();
        for (index, found) in resolved.devices.iter().enumerate() {
            let is_of_spec = |other: &&Found| other.file == found.file;
            if !resolved.devices[..index].iter().any(|other| is_of_spec(&other)) {
                let mut devices = resolved.devices.iter().filter(is_of_spec);
                let only_all = devices.all(|other| other.device.name == ALL);
                edits.check_version(found);
                let name = found.spec.kind.clone();
                let source = Source { file: found.file.into(), name };
                edits.add(&found.spec.container_edits, only_all, &source);
            }
            let name = format!("{}={}", found.spec.kind, found.device.name);
            let source = Source { file: found.file.into(), name };
            edits.add(&found.device.container_edits, found.device.name == ALL, &source);
        }
        edits.mounts.sort_by_key(|mount| paths::depth(&mount.container_path));
        edits
    }

    fn check_version(&mut self, found: &Found) {
        if !found.spec.has_known_version() {
            let (file, version) = (found.file.display(), &found.spec.cdi_version);
            self.warn(format!(
                "{file} follows CDI {version}, which hrun does not know; it was read as 1.1.0"
            ));
        }
    }

    fn add(&mut self, edits: &ContainerEdits, is_member_of_all: bool, source: &Source) {
        for variable in &edits.env {
            // Spec::parse has looked for the sign.
            let Some((name, value)) = variable.split_once('=') else { continue };
            match self.environment.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value.into(),
                None => self.environment.push((name.into(), value.into())),
            }
        }
        for node in &edits.device_nodes {
            self.add_node(node, is_member_of_all, source);
        }
        for mount in &edits.mounts {
            self.add_mount(mount, source);
        }
        for hook in &edits.hooks {
            self.add_hook(hook, source);
        }
        for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
            if !self.gids.contains(gid) {
                self.gids.push(*gid);
            }
        }
        if edits.intel_rdt.is_some() {
            self.warn(format!("{source} asks for intelRdt, which needs the rights of root"));
        }
        if !edits.net_devices.is_empty() {
            self.warn(format!("{source} asks for netDevices, which needs the rights of root"));
        }
    }

    fn add_node(&mut self, node: &DeviceNode, is_member_of_all: bool, source: &Source) {
        let path = clean(&node.path);
        let mut node = Node {
            host_path: if node.host_path.is_empty() {
                path.clone()
            } else {
                clean(&node.host_path)
            },
            path,
            node_type: match node.node_type.as_str() {
                "b" => Some(NodeType::Block),
                "c" | "u" => Some(NodeType::Character),
                "p" => Some(NodeType::Pipe),
                _ => None,
            },
            major_minor: (node.major != 0)
                .then_some(Numbers { major: node.major, minor: node.minor }),
            is_member_of_all,
            source: source.clone(),
        };
        if let Some(at) = self.nodes.iter().position(|known| known.path == node.path) {
            // Whoever asks for one device by name needs it, though another asks for all.
            node.is_member_of_all &= self.nodes.remove(at).is_member_of_all;
        }
        self.nodes.push(node);
    }

    fn add_mount(&mut self, mount: &spec::Mount, source: &Source) {
        let container_path = clean(&mount.container_path);
        let content = match mount.mount_type.as_str() {
            "" | "bind" | "none" => MountContent::Bind {
                host_path: clean(&mount.host_path),
                recursive: last_of(&mount.options, ["rbind", "bind"]),
                read_only: last_of(&mount.options, ["ro", "rw"]),
            },
            "tmpfs" => tmpfs(&mount.options),
            other => {
                let path = container_path.display();
                let text = format!("{source} asks for a mount of type {other:?} at {path}");
                return self.warn(format!("{text}, which needs the rights of root"));
            }
        };
        self.mounts.retain(|known| known.container_path != container_path);
        self.mounts.push(CdiMount { content, container_path, source: source.clone() });
    }

    /// Adds a link; a later one takes the place of an earlier one.
    pub(super) fn add_link(&mut self, link: Link) {
        self.links.retain(|known| known.path != link.path);
        self.links.push(link);
    }

    /// Adds a directory of libraries, once.
    pub(super) fn add_library_folder(&mut self, folder: PathBuf) {
        if !self.library_folders.contains(&folder) {
            self.library_folders.push(folder);
        }
    }

    /// Adds a warning, once: devices of one spec often lack the same.
    pub(super) fn warn(&mut self, text: String) {
        let note = Note::warning(text);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.file.display())
    }
}

/// The path without `.` and doubled slashes.
pub(crate) fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    clean.extend(paths::names(Path::new(path)));
    clean
}

/// Whether the first of two options that contradict each other is given, and given last.
fn last_of(options: &[String], pair: [&str; 2]) -> bool {
    let mut given = options.iter().rev().filter(|option| pair.contains(&option.as_str()));
    given.next().is_some_and(|option| option == pair[0])
}

fn tmpfs(options: &[String]) -> MountContent {
    let value = |name: &str| options.iter().rev().find_map(|option| option.strip_prefix(name));
    let mode = value("mode=").and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let is_size = |size: &&str| {
        let number = size.trim_end_matches(['k', 'm', 'g', 'K', 'M', 'G', '%']);
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    MountContent::Tmpfs {
        mode: mode.filter(|mode| *mode <= 0o7777).unwrap_or(TMPFS_MODE),
        size: value("size=").filter(is_size).map(str::to_owned),
    }
}
