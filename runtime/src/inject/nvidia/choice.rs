//! The GPUs a container gets: their nodes, and what programs read to count them.
//!
//! As long as a container has every GPU that opens on the host, nothing is changed: Slurm's control
//! group has chosen, and all variables mean what they mean there. Only what was asked for by name,
//! with `--gpus` or `NVIDIA_VISIBLE_DEVICES`, is narrowed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Scene;
use super::files::application_profile;
use super::gpus::{self, Gpu};
use super::mig;
use super::selection::{Chosen, Selection, Writer, choose, of_launcher, open};
use super::visible::{self, Change};
use crate::edits::Edits;
use crate::error::Result;
use crate::inject::devices;
use crate::look::directory::DirectoryTree;
use crate::look::files::{self, Files};
use crate::look::host::Host;
use crate::origin::{Layer, Origin};
use crate::request::Request;

const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
const ORDER: &str = "CUDA_DEVICE_ORDER";
const LIST: &str = "NVIDIA_VISIBLE_DEVICES";

const PARAMETERS: &str = "/proc/driver/nvidia/params";

/// Shows the GPUs that were asked for, or all that open; gives back the products' names.
///
/// # Errors
///
/// Fails on a list that names no GPU of the host, and if nobody can know what
/// `CUDA_VISIBLE_DEVICES` means among the GPUs that are left.
pub(super) fn show(scene: &Scene, edits: &mut Edits) -> Result<Vec<String>> {
    let Scene { request, host, files, origin, .. } = *scene;
    let list = list(request, host)?;
    // What the module says of each takes time to read, and nobody asks.
    let gpus = match &list {
        Some(_) => gpus::look(files, host),
        None => gpus::look_at_nodes(files, host),
    };
    let chosen = match &list {
        Some((selection, Writer::User, asker)) => {
            choose(selection, &gpus).map_err(|error| error.asked_by(asker))?
        }
        Some((selection, Writer::Launcher, asker)) => of_launcher(selection.clone(), &gpus)
            .and_then(|selection| choose(&selection, &gpus))
            .map_err(|error| error.asked_by(asker))?,
        None => Chosen { gpus: open(&gpus), mig: Vec::new() },
    };
    let is_narrowed = chosen.gpus != open(&gpus) || !chosen.mig.is_empty();
    let mut hidden: Vec<PathBuf> = Vec::new();
    for gpu in others(&gpus, &chosen) {
        hidden.push(gpu.node());
        if is_narrowed {
            hidden.extend(graphics_nodes(files, gpu));
        }
    }
    if is_narrowed {
        hidden.extend(capability_nodes(files, &gpus, &chosen));
        narrow(scene, &gpus, &chosen, edits)?;
    }
    if let Some(root) = &request.driver_root {
        let is_node = |name: &[u8]| {
            let path = Path::new("/dev").join(OsStr::from_bytes(name));
            name.starts_with(b"nvidia") && !hidden.contains(&path)
        };
        devices::show_nodes(files, root, host, &is_node, edits, origin);
    }
    for path in hidden {
        edits.hide(path, origin);
    }
    if devices::raw_variable(host, LIST).is_none() {
        // So that no runtime inside, or around, shows GPUs a second time.
        edits.set(LIST, "void", origin);
    }
    let shown = chosen.gpus.iter().filter_map(|place| gpus.get(*place));
    Ok(shown.map(|gpu| gpu.model.clone()).collect())
}

/// The list of GPUs that was given, and who gave it.
fn list(request: &Request, host: &Host) -> Result<Option<(Selection, Writer, Origin)>> {
    let asked = request.gpus.as_ref();
    let option = asked.map(|asked| (asked.value.clone(), Writer::User, asked.origin.clone()));
    let variable = || {
        let (value, origin) = devices::asked_variable(LIST, request, host)?;
        let origin = match origin {
            // An error says which variable of many.
            Origin::Host => Origin::Setting {
                option: value.to_string_lossy().into_owned(),
                layer: Layer::Variable(LIST.to_owned()),
            },
            origin => origin,
        };
        Some((value, Writer::Launcher, origin))
    };
    let Some((text, writer, origin)) = option.or_else(variable) else { return Ok(None) };
    let selection = Selection::parse(&text, writer).map_err(|error| error.asked_by(&origin))?;
    let found = Some((selection, writer, origin));
    Ok(found.filter(|(selection, ..)| *selection != Selection::Void))
}

/// The GPUs that were not chosen.
fn others<'a>(gpus: &'a [Gpu], chosen: &'a Chosen) -> impl Iterator<Item = &'a Gpu> {
    let gpus = gpus.iter().enumerate();
    gpus.filter(|(place, _)| !chosen.gpus.contains(place)).map(|(_, gpu)| gpu)
}

/// The nodes by which graphics programs use a GPU, and the links to them.
fn graphics_nodes(files: &DirectoryTree, gpu: &Gpu) -> Vec<PathBuf> {
    if gpu.bus.is_empty() {
        return Vec::new();
    }
    let bus = gpu.bus.to_ascii_lowercase();
    let directory = Path::new("/sys/bus/pci/devices").join(&bus).join("drm");
    let is_node = |name: &[u8]| name.starts_with(b"card") || name.starts_with(b"renderD");
    let names = files.names(&directory, &is_node).unwrap_or_default();
    let mut nodes: Vec<PathBuf> =
        names.iter().map(|name| Path::new("/dev/dri").join(name)).collect();
    for kind in ["card", "render"] {
        let link = PathBuf::from(format!("/dev/dri/by-path/pci-{bus}-{kind}"));
        if let Ok(Some((node, _))) = files::find(files, &link) {
            nodes.extend([node, link]);
        }
    }
    nodes
}

/// The nodes of parts of GPUs that were not chosen.
fn capability_nodes(files: &DirectoryTree, gpus: &[Gpu], chosen: &Chosen) -> Vec<PathBuf> {
    let minors: Vec<u32> = gpus.iter().map(|gpu| gpu.minor).collect();
    let nodes = mig::Nodes::look(files, &minors);
    let mut wanted: BTreeSet<u32> = BTreeSet::new();
    for gpu in chosen.gpus.iter().filter_map(|place| gpus.get(*place)) {
        let parts = chosen.mig.iter().filter(|device| {
            device.gpu.and_then(|place| gpus.get(place)).is_none_or(|own| own == gpu)
        });
        let exact: Option<Vec<[u32; 2]>> = parts
            .map(|device| {
                let (instance, compute) = device.part?;
                nodes.of_device(gpu.minor, instance, compute)
            })
            .collect();
        match exact {
            Some(exact) if !exact.is_empty() => wanted.extend(exact.concat()),
            // Only the driver knows which parts a UUID means.
            _ => wanted.extend(nodes.of_gpu(gpu.minor)),
        }
    }
    let all = minors.iter().flat_map(|minor| nodes.of_gpu(*minor));
    let others = all.filter(|number| !wanted.contains(number)).map(mig::node);
    others.filter(|path| matches!(files.kind(path), Ok(Some(_)))).collect()
}

/// Lets CUDA, the driver and EGL know of the GPUs that are left.
fn narrow(scene: &Scene, gpus: &[Gpu], chosen: &Chosen, edits: &mut Edits) -> Result<()> {
    let Scene { host, files, origin, .. } = *scene;
    let value = devices::raw_variable(host, VISIBLE);
    let narrowed = visible::narrow(value, devices::raw_variable(host, ORDER), gpus, chosen)?;
    if let Change::Set { value, by_bus } = narrowed.change {
        edits.set(VISIBLE, OsString::from(value), origin);
        if by_bus {
            edits.set(ORDER, "PCI_BUS_ID", origin);
        }
    }
    edits.notes.extend(narrowed.notes);
    freeze_nodes(files, edits, origin);
    let shown = chosen.gpus.iter().filter_map(|place| gpus.get(*place));
    let minors: Vec<u32> = shown.map(|gpu| gpu.minor).collect();
    let (path, contents) = application_profile(&minors);
    edits.replace_file(path, contents, origin);
    Ok(())
}

/// Keeps the driver's libraries from making nodes anew.
pub(super) fn freeze_nodes(files: &DirectoryTree, edits: &mut Edits, origin: &Origin) {
    let path = Path::new(PARAMETERS);
    let parameters = files.read(path).ok().and_then(|text| gpus::parameters(&text));
    if let Some(parameters) = parameters {
        edits.replace_file(path.to_path_buf(), parameters, origin);
    }
}
