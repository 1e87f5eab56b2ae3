//! NVIDIA GPUs: the driver's libraries and programs, and the variables that choose devices.
//!
//! The device nodes are where they always are, as all of `/dev` is the host's, and the control
//! group the job runs in decides which of them open. Which of these a program uses is said by
//! `CUDA_VISIBLE_DEVICES`, which passes byte for byte: its numbers count the devices that open.

#[allow(dead_code, reason = "nothing asks yet")]
mod capability;
mod compat;
mod driver;
#[allow(dead_code, reason = "nothing asks yet")]
mod gpus;
#[allow(dead_code, reason = "nothing asks yet")]
mod mig;
#[allow(dead_code, reason = "nothing asks yet")]
mod require;
#[allow(dead_code, reason = "nothing asks yet")]
mod selection;
mod symbols;
#[cfg(test)]
mod tree;
#[allow(dead_code, reason = "nothing asks yet")]
mod visible;

use std::ffi::OsStr;
use std::path::Path;

use self::driver::{Driver, Library, Missing};
use super::devices::{self, Lack};
use crate::cdi::CdiEdits;
use crate::edits::{Edits, Named};
use crate::error::Result;
use crate::look::directory::DirectoryTree;
use crate::look::files::Files;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::Note;
use crate::request::Request;

pub(super) const NAME: &str = "nvidia";

/// The node every use of the driver goes through.
const CONTROL: &str = "/dev/nvidiactl";

/// What launchers and container runtimes choose devices by; the first also says that a job has
/// some.
const CHOICES: [&str; 3] = ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"];

pub(super) fn find(request: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let Some(asked) = &request.nvidia else { return Ok(edits) };
    let origin = Origin::injector(NAME);
    let files = host.driver_files(request.driver_root.as_deref());
    match driver::find(&files) {
        Ok(driver) => {
            name_everything(&driver, &files, &mut edits.named, &origin);
            prefer_compat(image, Path::new(compat::DIRECTORY), &driver.version, &mut edits);
            if request.driver_root.is_some() {
                let is_node = |name: &[u8]| name.starts_with(b"nvidia");
                devices::show_nodes(&files, host, &is_node, &mut edits, &origin);
            }
            edits.notes.extend(symbols::too_new(&driver.libraries, &image.files, &host.files));
            edits.notes.extend(driver.notes);
            edits.notes.extend(missing_node(&files, host));
        }
        Err(missing) => {
            let choices = &CHOICES[..1];
            edits.notes.extend(devices::without(lack(&missing), asked, host, choices)?);
        }
    }
    devices::pass_choices(&CHOICES, host, &mut edits);
    Ok(edits)
}

/// Gives every library the names it is asked for by: those that ldconfig(8) would list.
fn name_everything(driver: &Driver, files: &DirectoryTree, named: &mut Named, origin: &Origin) {
    for Library { path, soname, linker_name, .. } in &driver.libraries {
        named.library(soname, &files.outside(path), origin);
        // Many programs ask for the bare name; some packages of the driver lack it.
        let bare = linker_name
            .as_deref()
            .or((soname == "libcuda.so.1").then_some(OsStr::new("libcuda.so")));
        if let Some(bare) = bare {
            named.library_link(bare, soname, origin);
        }
        if soname == "libGLX_nvidia.so.0" {
            // What libGL falls back to for a display of another machine (GLVND).
            named.library_link(OsStr::new("libGLX_indirect.so.0"), soname, origin);
        }
    }
    for (name, path) in &driver.programs {
        named.program(name, &files.outside(path), origin);
    }
}

/// Does what the hooks in NVIDIA's descriptions of devices would do.
pub(super) fn carry_out(wanted: &CdiEdits, image: &Image, edits: &mut Edits) {
    if let Some(hook) = &wanted.cuda_compat {
        let version = hook.host_driver_version.as_deref().unwrap_or_default();
        let directory = hook.container_root.as_deref().unwrap_or(Path::new(compat::DIRECTORY));
        prefer_compat(image, directory, version, edits);
    }
}

/// Puts the libraries of a newer driver that the image brings before the host's.
fn prefer_compat(image: &Image, directory: &Path, host_version: &str, edits: &mut Edits) {
    let Some(compat) = compat::find(image, directory, host_version) else { return };
    edits.notes.push(Note::info(format!(
        "programs use the image's own driver libraries of version {}, newer than the host's \
         {host_version} (CUDA forward compatibility)",
        compat.version
    )));
    edits.named.preferred = compat.libraries;
}

/// Says why programs will find the driver and no device.
fn missing_node(files: &DirectoryTree, host: &Host) -> Option<Note> {
    let control = Path::new(CONTROL);
    if files.kind(control) == Ok(None) {
        return Some(Note::warning(format!(
            "{CONTROL} does not exist: the driver's device nodes were not made since the node \
             started; nvidia-modprobe -c 0 -u on the host makes them"
        )));
    }
    (!host.can_use(&files.outside(control))).then(|| {
        Note::warning(format!("{CONTROL} is closed to you, or to this job's control group"))
    })
}

/// Says in words what is missing.
fn lack(missing: &Missing) -> Lack {
    let (reason, hint) = match missing {
        Missing::Everything => (
            "this host has no NVIDIA driver".to_owned(),
            "--nv=optional goes on without; nvidia-smi on the host says what it knows".to_owned(),
        ),
        Missing::Libraries(version) => (
            format!("the kernel module has version {version}, and no libraries were found for it"),
            "install the driver's libraries, or name the tree they are in: --driver-root DIR"
                .to_owned(),
        ),
        Missing::Match { module, libraries } => (
            format!("the kernel module has version {module}, the libraries have {libraries}"),
            "the driver was changed after the node started; it works again after a restart of the \
             node"
                .to_owned(),
        ),
    };
    Lack { reason, hint, is_broken: *missing != Missing::Everything }
}
