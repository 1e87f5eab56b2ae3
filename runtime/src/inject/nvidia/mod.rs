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
use super::loader::Shown;
use crate::edits::Edits;
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
            let mut shown = Shown::new(request, &files, &origin);
            name_everything(&driver, &mut shown);
            if let Some(compat) = compat::find(image, &driver.version) {
                edits.notes.push(Note::info(format!(
                    "programs use the image's own driver libraries of version {}, newer than the \
                     host's {} (CUDA forward compatibility)",
                    compat.version, driver.version
                )));
                shown.prefer(compat.libraries);
            }
            shown.finish(image, &mut edits);
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

/// Gives every library the names it is asked for by.
fn name_everything(driver: &Driver, shown: &mut Shown) {
    for Library { path, name, soname, linker_name, .. } in &driver.libraries {
        shown.library(name, path);
        shown.library_link(soname, name);
        // Many programs ask for the bare name; some packages of the driver lack it.
        let bare = linker_name
            .as_deref()
            .or((soname == "libcuda.so.1").then_some(OsStr::new("libcuda.so")));
        if let Some(bare) = bare {
            shown.library_link(bare, soname);
        }
        if soname == "libGLX_nvidia.so.0" {
            // What libGL falls back to for a display of another machine (GLVND).
            shown.library_link(OsStr::new("libGLX_indirect.so.0"), name);
        }
    }
    for (name, path) in &driver.programs {
        shown.program(name, path);
    }
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
