//! Devices asked for by name: those that vendors describe (CDI), and nodes.
//!
//! What the descriptions want is shown as they say, and the hooks they name are not run
//! ([`crate::cdi`]). In a container of root, only the devices asked for are there; here all of the
//! host's `/dev` is, so the other devices of the same descriptions are hidden.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::nvidia;
use super::survey::{Finding, Surveyed};
use crate::cdi::{
    CdiEdits, CdiMount, DIRECTORIES, MountContent, Node, QualifiedName, Registry, Resolved, clean,
};
use crate::edits::{Content, Edits};
use crate::elf::{Abi, Object};
use crate::error::{Error, Result};
use crate::look::files::{Kind, OpenFiles};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::parent;
use crate::plan::Note;
use crate::request::{Asked, Device, Request};

pub(super) const NAME: &str = "cdi";

pub(super) fn find(request: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let mut described: Vec<Asked<QualifiedName>> = Vec::new();
    for Asked { value, origin } in &request.devices {
        match value {
            Device::Node { source, target } => show_node(source, target, host, origin, &mut edits)?,
            Device::Described(name) => {
                described.push(Asked { value: name.clone(), origin: origin.clone() });
            }
        }
    }
    if !described.is_empty() {
        show_described(request, &described, host, image, &mut edits)?;
    }
    Ok(edits)
}

/// What is described on the host.
pub(super) fn survey(surveyed: &Surveyed) -> Option<Finding> {
    let registry = registry(surveyed.host, surveyed.descriptions);
    let devices: Vec<String> = registry.names().map(ToString::to_string).collect();
    let wrong: Vec<String> = registry.notes().into_iter().map(|note| note.text).collect();
    let found = format!("{} described (CDI)", devices.len());
    match (devices.is_empty(), wrong.is_empty()) {
        (true, true) => None,
        (_, true) => Some(Finding::fine("devices", found).with_details(devices)),
        (_, false) => {
            Some(Finding::wrong("devices", found, &wrong.join("\n")).with_details(devices))
        }
    }
}

/// Reads the descriptions of devices.
fn registry(host: &Host, more: &[PathBuf]) -> Registry {
    let mut directories: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    directories.extend(more.iter().cloned());
    Registry::read(&host.files, &directories)
}

/// Shows a node that was named.
fn show_node(
    source: &Path,
    target: &Path,
    host: &Host,
    origin: &Origin,
    edits: &mut Edits,
) -> Result<()> {
    check_node(source, host).map_err(|error| error.asked_by(origin))?;
    edits.bind(source.to_path_buf(), target.to_path_buf(), origin);
    Ok(())
}

/// Makes sure that a node is there and opens.
fn check_node(node: &Path, host: &Host) -> Result<()> {
    let attempt = || format!("show the device {}", node.display());
    match host.find(node) {
        Ok(Some((_, Kind::Directory))) | Ok(None) | Err(_) => {
            Err(Error::new(attempt(), "there is no such node on this host"))
        }
        Ok(Some((path, _))) if !host.can_use(&host.files.outside(&path)) => {
            Err(Error::new(attempt(), "it is closed to you, or to this job's control group")
                .hint("ls -l shows its mode; a job has to ask Slurm for devices (--gres, --gpus)"))
        }
        Ok(Some(_)) => Ok(()),
    }
}

fn show_described(
    request: &Request,
    described: &[Asked<QualifiedName>],
    host: &Host,
    image: &Image,
    edits: &mut Edits,
) -> Result<()> {
    let registry = registry(host, &request.cdi_directories);
    for asked in described {
        registry
            .resolve(std::slice::from_ref(&asked.value))
            .map_err(|error| error.asked_by(&asked.origin))?;
    }
    let names: Vec<QualifiedName> = described.iter().map(|asked| asked.value.clone()).collect();
    let resolved = registry.resolve(&names)?;
    let wanted = CdiEdits::of(&resolved);
    let origin = Origin::injector(NAME);
    show_nodes(&wanted, &resolved, host, &origin, edits)?;
    for mount in &wanted.mounts {
        show_mount(mount, &origin, edits);
    }
    for link in &wanted.links {
        edits.link(link.path.clone(), link.target.clone(), &origin);
    }
    for (name, value) in &wanted.environment {
        edits.set(&name.to_string_lossy(), value, &origin);
    }
    name_libraries(&wanted, host, edits, &origin);
    nvidia::carry_out(&wanted, host, image, edits, &origin);
    edits.notes.extend(missing_groups(&wanted.gids, host));
    edits.notes.extend(wanted.notes);
    Ok(())
}

/// Shows the nodes of the devices, and hides those of their siblings.
fn show_nodes(
    wanted: &CdiEdits,
    resolved: &Resolved,
    host: &Host,
    origin: &Origin,
    edits: &mut Edits,
) -> Result<()> {
    for node in &wanted.nodes {
        match check_node(&node.host_path, host) {
            Ok(()) => {
                edits.bind(node.host_path.clone(), node.path.clone(), origin);
                edits.notes.extend(stale(node, host));
            }
            Err(error) if node.is_member_of_all => {
                edits.notes.push(Note::warning(format!("left out: {error}")));
                edits.hide(node.path.clone(), origin);
            }
            Err(error) => {
                let hint = format!("{} asks for it", node.source);
                return Err(error.hint(hint));
            }
        }
    }
    let devices = resolved.devices.iter().flat_map(|found| &found.spec.devices);
    let nodes = devices.flat_map(|device| &device.container_edits.device_nodes);
    let all: BTreeSet<PathBuf> = nodes.map(|node| clean(&node.path)).collect();
    let is_wanted = |path: &PathBuf| wanted.nodes.iter().any(|node| node.path == *path);
    for path in all.into_iter().filter(|path| !is_wanted(path)) {
        edits.hide(path, origin);
    }
    Ok(())
}

/// A node whose numbers are not those of the description was made anew, by a restart.
fn stale(node: &Node, host: &Host) -> Option<Note> {
    let written = node.major_minor?;
    let (major, minor) = host.device_numbers(&node.host_path)?;
    (major != written.major || minor != written.minor).then(|| {
        Note::warning(format!(
            "{} has the numbers {major}:{minor}, not {}:{} as {} says; the description is older \
             than the node",
            node.host_path.display(),
            written.major,
            written.minor,
            node.source
        ))
    })
}

fn show_mount(mount: &CdiMount, origin: &Origin, edits: &mut Edits) {
    let content = match &mount.content {
        MountContent::Bind { host_path, recursive, read_only } => Content::Bind {
            source: host_path.clone(),
            recursive: *recursive,
            read_only: *read_only,
            optional: false,
        },
        MountContent::Tmpfs { mode, size } => Content::Tmpfs { mode: *mode, size: size.clone() },
    };
    edits.mount(content, mount.container_path.clone(), origin);
}

/// Gives the libraries in the directories the loader is to know the names programs ask for.
fn name_libraries(wanted: &CdiEdits, host: &Host, edits: &mut Edits, origin: &Origin) {
    let is_known = |path: &Path| {
        parent(path)
            .is_some_and(|folder| wanted.library_folders.iter().any(|known| known == folder))
    };
    for mount in wanted.mounts.iter().filter(|mount| is_known(&mount.container_path)) {
        let MountContent::Bind { host_path, .. } = &mount.content else { continue };
        let Some((soname, path)) = soname(host_path, host) else { continue };
        edits.named.library(&soname, path, origin);
    }
    // What linkers call them: libcuda.so, a link to libcuda.so.1.
    for link in wanted.links.iter().filter(|link| is_known(&link.path)) {
        let name = link.path.file_name().unwrap_or_default();
        let target = link.target.file_name().unwrap_or_default();
        if edits.named.libraries.iter().any(|library| library.name == target) {
            edits.named.library_link(name, target, origin);
        }
    }
}

/// What other libraries call a library of the host, and its path without symbolic links; nothing
/// if programs cannot load it.
fn soname(path: &Path, host: &Host) -> Option<(OsString, PathBuf)> {
    let (path, kind) = host.find(path).ok()??;
    let name = path.file_name().map(OsStr::to_owned);
    let file = (kind == Kind::File).then(|| host.files.open_file(&path).ok())??;
    let object = Object::read(&file).ok()?;
    let is_loadable = object.is_shared && object.abi == Abi::NATIVE;
    is_loadable.then(|| Some((object.soname.or(name)?, path)))?
}

/// Groups cannot be joined without rights; the caller may be a member already.
fn missing_groups(gids: &[u32], host: &Host) -> Option<Note> {
    let is_member = |gid: &u32| *gid == host.gid || host.groups.contains(gid);
    let missing: Vec<String> =
        gids.iter().filter(|gid| !is_member(gid)).map(u32::to_string).collect();
    (!missing.is_empty()).then(|| {
        Note::warning(format!(
            "the device wants its users in the groups {}, and you are not; ask for membership if \
             it does not open",
            missing.join(", ")
        ))
    })
}
