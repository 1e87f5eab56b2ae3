//! NVIDIA GPUs: the driver's libraries and programs, and the variables that choose devices.
//!
//! The device nodes are where they always are, as all of `/dev` is the host's, and the control
//! group the job runs in decides which of them open. Which of these a program uses is said by
//! `CUDA_VISIBLE_DEVICES`, which passes byte for byte: its numbers count the devices that open.

mod capability;
mod choice;
mod compat;
mod driver;
mod files;
mod gpus;
mod mig;
mod require;
mod selection;
mod symbols;
#[cfg(test)]
mod tree_for_tests;
mod visible;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::capability::Capabilities;
use self::driver::{Driver, Library, Missing};
use self::files::{Shown, application_profile};
use super::devices::{self, Lack};
use super::loader;
use super::survey::{Finding, Surveyed};
use crate::cdi::{CdiEdits, Node};
use crate::edits::{Edits, Named};
use crate::error::{Error, Result};
use crate::look::directory::DirectoryTree;
use crate::look::files::Files;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::below;
use crate::plan::Note;
use crate::request::{Asked, Request, Wanted};

pub(super) const NAME: &str = "nvidia";

/// The node every use of the driver goes through.
const CONTROL: &str = "/dev/nvidiactl";

const DRIVER: &str = "NVIDIA driver";

/// Libraries with which programs are linked: the interfaces of NVIDIA's toolkits.
const LINKED: [&str; 4] = ["libcuda.so", "libnvcuvid.so", "libnvidia-encode.so", "libnvidia-ml.so"];

/// Which parts of the driver are wanted.
const CAPABILITIES: &str = "NVIDIA_DRIVER_CAPABILITIES";

/// What launchers and container runtimes choose devices by; the first also says that a job has
/// some.
const CHOICES: [&str; 3] = ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"];

pub(super) fn find(request: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let Some(asked) = wish(request) else { return Ok(edits) };
    devices::pass_choices(&CHOICES, host, &mut edits);
    let files = host.driver_files(request.driver_root.as_deref());
    let origin = Origin::injector(NAME);
    let scene = Scene { request, host, image, files: &files, origin: &origin };
    // What runs with the host's C library runs with a newer one.
    let is_of_host = request.driver_root.is_none();
    let may_be_too_new = !is_of_host || symbols::is_older(&image.files, &host.files);
    match driver::find(&files, may_be_too_new) {
        Ok(driver) => show(&driver, &scene, &mut edits)?,
        Err(missing) => {
            let choices = &CHOICES[..1];
            edits.notes.extend(devices::without(lack(&missing), &asked, host, choices)?);
        }
    }
    Ok(edits)
}

/// What is known when a driver is shown.
struct Scene<'a> {
    request: &'a Request,
    host: &'a Host,
    image: &'a Image,
    /// The files of the driver: the host's, or those of a tree that stands for its root.
    files: &'a DirectoryTree,
    origin: &'a Origin,
}

impl Scene<'_> {
    /// Where a file of the driver lies on the host.
    fn on_host(&self, path: &Path) -> PathBuf {
        below(self.request.driver_root.as_deref().unwrap_or(Path::new("/")), path)
    }
}

/// How much GPUs are wanted, and by whom; who names some wants them.
fn wish(request: &Request) -> Option<Asked<Wanted>> {
    let named = request.gpus.as_ref();
    let named = named.map(|list| Asked { value: Wanted::Needed, origin: list.origin.clone() });
    request.nvidia.clone().or(named)
}

/// Shows a driver that was found, and the GPUs.
fn show(driver: &Driver, scene: &Scene, edits: &mut Edits) -> Result<()> {
    let Scene { request, host, image, files, .. } = *scene;
    let wanted = capabilities(request, host)?;
    name_everything(driver, &wanted, scene, &mut edits.named);
    prefer_compat(image, Path::new(compat::DIRECTORY), &driver.version, edits);
    let models = choice::show(scene, edits)?;
    check_requirements(driver, &models, scene, edits)?;
    let libraries = loader::directory(request);
    Shown { driver, scene, wanted: &wanted, libraries: &libraries }.show(edits);
    edits.notes.extend(symbols::too_new(&driver.libraries, &image.files, &host.files));
    edits.notes.extend(driver.notes.iter().cloned());
    edits.notes.extend(missing_node(files, host));
    Ok(())
}

/// What would be shown, and what not.
pub(super) fn survey(surveyed: &Surveyed) -> Vec<Finding> {
    let Surveyed { host, files, .. } = *surveyed;
    let driver = match driver::find(files, false) {
        Ok(driver) => driver,
        Err(Missing::Everything) => return vec![Finding::fine(DRIVER, "none")],
        Err(missing) => {
            let Lack { reason, hint, .. } = lack(&missing);
            return vec![Finding::wrong(DRIVER, reason, &hint)];
        }
    };
    let places: Vec<String> =
        driver.directories.iter().map(|path| path.display().to_string()).collect();
    let names = |names: &mut dyn Iterator<Item = &OsString>| -> Vec<String> {
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    };
    let found = format!("{} in {}", driver.version, places.join(", "));
    let libraries = names(&mut driver.libraries.iter().map(|library| &library.soname));
    let programs = names(&mut driver.programs.iter().map(|(name, _)| name));
    let mut findings = vec![
        Finding::fine(DRIVER, found),
        Finding::fine("NVIDIA libraries", format!("{} of them", libraries.len()))
            .with_details(libraries),
        Finding::fine("NVIDIA programs", programs.join(", ")),
    ];
    if !driver.notes.is_empty() {
        let reason = |note: &Note| note.text.trim_start_matches("left out: ").to_owned();
        let reasons = driver.notes.iter().map(reason).collect();
        findings
            .push(Finding::fine("NVIDIA, left out", "not of this driver").with_details(reasons));
    }
    if let Some(note) = missing_node(files, host) {
        findings.push(Finding::wrong("NVIDIA nodes", note.text, "see docs/gpu.md"));
    }
    findings.extend(gpus::look(files, host).iter().map(|gpu| match gpu.is_open {
        true => Finding::fine("NVIDIA GPU", gpu.to_string()),
        false => Finding::wrong(
            "NVIDIA GPU",
            format!("{gpu}, closed to you or to this job's control group"),
            "it is hidden from containers; a job has to ask Slurm for GPUs",
        ),
    }));
    findings
}

/// Which parts of the driver the user wants; an image has no say in it.
fn capabilities(request: &Request, host: &Host) -> Result<Capabilities> {
    let Some((value, origin)) = devices::asked_variable(CAPABILITIES, request, host) else {
        return Ok(Capabilities::default());
    };
    Capabilities::parse(&value).map_err(|reason| {
        Error::new(format!("use {CAPABILITIES}={}", value.display()), reason).asked_by(&origin)
    })
}

/// Holds what the image requires of the driver against the one there is.
fn check_requirements(
    driver: &Driver,
    models: &[String],
    scene: &Scene,
    edits: &mut Edits,
) -> Result<()> {
    let Scene { request, host, image, files, .. } = *scene;
    let own = image.config.environment.iter();
    let own = own.map(|set| (set.name.clone(), set.value.expand(&|_| None)));
    let disabled = devices::asked_variable(require::DISABLE, request, host);
    let disabled = disabled.map(|(value, _)| (OsString::from(require::DISABLE), value));
    let variables: Vec<(OsString, OsString)> = disabled
        .into_iter()
        .chain(own)
        .filter(|(name, _)| require::is_about(name.as_bytes()))
        .collect();
    if variables.is_empty() {
        return Ok(());
    }
    let mut models: Vec<String> = models.to_vec();
    if models.iter().all(String::is_empty) {
        models = gpus::look(files, host).into_iter().map(|gpu| gpu.model).collect();
    }
    let variables: Vec<(&[u8], &[u8])> =
        variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let verdict = require::check(&variables, &driver.version, &models);
    let has_newer = !edits.named.preferred.is_empty();
    for failed in &verdict.unsatisfied {
        let reason = format!("it requires {}, and the host has {}", failed.condition, failed.host);
        if !failed.is_minor_compatible && !has_newer {
            return Err(Error::new("use the GPUs with this image", reason).hint(
                "take an image for older CUDA, or have the driver updated; with\n\
                 NVIDIA_DISABLE_REQUIRE=1 in the environment it starts anyway",
            ));
        }
        edits.notes.push(Note::info(format!("the image may not be for this driver: {reason}")));
    }
    edits.notes.extend(verdict.notes);
    Ok(())
}

/// Gives every library the names it is asked for by: those that ldconfig(8) would list.
fn name_everything(driver: &Driver, wanted: &Capabilities, scene: &Scene, named: &mut Named) {
    let origin = scene.origin;
    let is_wanted = |library: &&Library| capability::wants(wanted, &library.name);
    for Library { path, soname, linker_name, .. } in driver.libraries.iter().filter(is_wanted) {
        // In ascending order, which is the quickest to be put into that of a cache.
        if soname == "libGLX_nvidia.so.0" {
            // What libGL falls back to for a display of another machine (GLVND).
            named.library_link(OsStr::new("libGLX_indirect.so.0"), soname, origin);
        }
        // Many programs ask for the bare name; some packages of the driver lack it.
        let bare = linker_name
            .as_deref()
            .or((soname == "libcuda.so.1").then_some(OsStr::new("libcuda.so")));
        match bare {
            // Compilers ask for these, and want a link.
            Some(bare) if LINKED.iter().any(|name| bare == *name) => {
                named.library_link(bare, soname, origin);
            }
            Some(bare) => named.library(bare, scene.on_host(path), origin),
            None => {}
        }
        named.library(soname, scene.on_host(path), origin);
    }
    for (name, path) in driver.programs.iter().filter(|(name, _)| capability::wants(wanted, name)) {
        named.program(name, scene.on_host(path), origin);
    }
}

/// Does what the hooks in NVIDIA's descriptions of devices would do.
pub(super) fn carry_out(
    wanted: &CdiEdits,
    host: &Host,
    image: &Image,
    edits: &mut Edits,
    origin: &Origin,
) {
    if let Some(hook) = &wanted.cuda_compat {
        let version = hook.host_driver_version.as_deref().unwrap_or_default();
        let directory = hook.container_root.as_deref().unwrap_or(Path::new(compat::DIRECTORY));
        prefer_compat(image, directory, version, edits);
    }
    if wanted.disable_device_node_modification {
        choice::freeze_nodes(&host.files, edits, origin);
    }
    if wanted.update_application_profile {
        let number = |node: &Node| node.path.to_str()?.strip_prefix("/dev/nvidia")?.parse().ok();
        let minors: Vec<u32> = wanted.nodes.iter().filter_map(number).collect();
        let (path, contents) = application_profile(&minors);
        edits.replace_file(path, contents, origin);
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
