//! Decides what will be done; pure, apart from asking the host, the kernel and the image.

mod basis;
mod enter;
pub mod environment;
pub mod layout;
pub mod limits;
mod locale;
mod mounts;
mod mpi;
mod passed;
mod place;
mod points;
mod program;
mod rights;
pub mod served;
mod start;
mod tree;
pub mod unpacked;
mod wire;
pub mod writable;
mod written;

use std::ffi::OsStr;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::basis::Basis;
pub use self::enter::enter;
use self::environment::Sourced;
use self::mpi::Chosen;
use self::place::{Placed, Placer};
use self::points::Points;
use self::start::Scene;
use self::tree::Tree;
use crate::edits::Edits;
use crate::error::Result;
use crate::ids;
use crate::inject;
use crate::look::host::Host;
use crate::look::image::{Image, Stored};
use crate::look::kernel::Kernel;
use crate::origin::Origin;
use crate::plan::{Action, FORMAT, Note, Plan, Step, Variable};
use crate::ranks;
use crate::request::{Join, Request};
use crate::text::{Text, quoted};
use crate::variables;

/// Decides the plan.
///
/// # Errors
///
/// Fails if something that was asked for cannot be had; the error says what, who asked, and what
/// to do.
pub fn plan(request: &Request, host: &Host, kernel: &Kernel, image: &Image) -> Result<Plan> {
    ranks::check(request, host)?;
    served::check(request, host, image)?;
    writable::check(request, host, image)?;
    let (asked_write, layer_waits) = (request.write.as_ref(), request.overlay_wait);
    let basis = Basis { host, kernel, image, asked_write, layer_waits };
    let mut edits = inject::find_all(request, host, image)?;
    let mpi = mpi::edit(request, basis, &mut edits)?;
    inject::finish(request, image, &mut edits);
    let limits = limits::decide(request, host, image)?;
    edits.variables.extend(limits.variable);
    let mut notes = image_notes(image);
    notes.extend(limits.notes);
    notes.extend(mem::take(&mut edits.notes));

    let Draft { tree, placed, points, mut environment, directory: (directory, origin) } =
        draft(request, basis, &mut edits, &mut notes)?;
    let ids = Action::Unshare { uid: ids::user(request, host), gid: ids::group(request, host) };
    let mut steps = layout::decide(ids.asked_by(&Origin::Default), basis, placed, points)?;
    let meeting = ranks::file(request, host);
    conceal(host, meeting.as_ref().map(|(file, _)| file), &tree, &mut steps);
    isolate(request, &mut steps);
    steps = ranks::join(request, host, steps)?;
    if let Some((file, origin)) = meeting {
        notes.extend(ranks::note(host));
        steps = ranks::meet(steps, file, ranks::task(request, host), &origin);
    }
    steps.splice(0..0, unpacked::unpack(request, host, image, &steps));
    steps.splice(0..0, limits.steps);
    if let Some(origin) = &request.pid
        && request.join.as_ref().is_none_or(|asked| !matches!(asked.value, Join::Process(_)))
    {
        steps.push(Action::Supervise.asked_by(origin));
    }
    let numbered = numbered(request, host, &mut environment.variables);
    let environment::Decided { variables, sourced } = environment;
    let mut execute = execute(request, image, &tree, variables, numbered);
    writable::check_command(request, image, &tree, &execute.action, &directory)?;
    written::check_ends(&execute)?;
    served::announce(&mut steps, &tree, &execute.action, &directory);
    if wire::is_first(host) {
        notes.extend(match mpi {
            Chosen::Image => wire::note(host, &tree, &directory, &execute.action),
            Chosen::Host(note) => note,
            Chosen::Quiet => None,
        });
    }
    steps.push(Action::ChangeDirectory { path: directory.into() }.asked_by(&origin));
    steps.extend(rights::decide(request, host, kernel, &mut notes)?);
    if let Some(sourced) = sourced {
        steps.push(source(sourced, &mut execute.action));
    }
    steps.push(execute);
    Ok(Plan { format: FORMAT, image: Text::from(&image.root), steps, notes })
}

/// Has scripts of the image set variables before the command is executed.
fn source(sourced: Sourced, execute: &mut Action) -> Step {
    let Sourced { shell, scripts, start, host, changes: made, origin } = sourced;
    if let Action::Execute { environment, changes, .. } = execute {
        (*environment, *changes) = (host, made);
    }
    Action::Source { shell, scripts, environment: start }.asked_by(&origin)
}

/// Makes a PID namespace before the host's root is left, as `/proc` of the host is needed for it.
fn isolate(request: &Request, steps: &mut Vec<Step>) {
    let leave = steps.iter().position(|step| matches!(step.action, Action::Leave { .. }));
    if let (Some(origin), Some(leave)) = (&request.pid, leave) {
        steps.insert(leave, Action::Isolate.asked_by(origin));
    }
}

/// Hides where ranks meet, of this step and of others: what is written there is believed.
fn conceal(host: &Host, meeting: Option<&PathBuf>, tree: &Tree, steps: &mut Vec<Step>) {
    let usual = || Path::new("/dev/shm").join(format!("hrun-{}", host.uid));
    let path = meeting.and_then(|file| file.parent()).map_or_else(usual, Path::to_path_buf);
    let is_shown = tree.on_host(&path).as_ref() == Some(&path);
    let leave = steps.iter().position(|step| matches!(step.action, Action::Leave { .. }));
    if let Some(leave) = leave.filter(|_| is_shown) {
        steps.insert(leave, Action::Conceal { path: path.into() }.asked_by(&Origin::Default));
    }
}

/// A container as edits make it.
struct Draft<'a> {
    /// The files inside.
    tree: Tree<'a>,
    /// What is mounted.
    placed: Vec<Placed>,
    /// What directories lack.
    points: Points,
    /// The command's environment.
    environment: environment::Decided,
    /// Where it starts, and who says so.
    directory: (PathBuf, Origin),
}

/// Decides what a container will look like; takes the mounts of the edits.
fn draft<'a>(
    request: &Request,
    basis: Basis<'a>,
    edits: &mut Edits,
    notes: &mut Vec<Note>,
) -> Result<Draft<'a>> {
    let Basis { host, image, .. } = basis;
    written::check_commas(request, host)?;
    let wanted = mounts::wanted(request, host, image, mem::take(&mut edits.mounts), notes)?;
    let mut placer = Placer::new(basis, notes);
    let mut placed = Vec::new();
    for mount in wanted {
        placed.extend(placer.place(mount)?);
    }
    for hidden in &edits.hidden {
        placer.hide(hidden);
    }
    let Placer { tree, points, .. } = placer;
    let mut environment = environment::decide(request, host, image, &tree, edits, notes)?;
    let scene = Scene {
        request,
        host,
        image,
        tree: &tree,
        placed: &placed,
        environment: &environment.variables,
    };
    let directory = start::decide(&scene, notes)?;
    environment.set("PWD", directory.0.as_os_str(), &directory.1);
    Ok(Draft { tree, placed, points, environment, directory })
}

/// What the user may want to know about the image.
fn image_notes(image: &Image) -> Vec<Note> {
    let config = &image.config;
    let mut notes = Vec::new();
    if let Some(Stored { name, hidden: Some(path) }) = &image.stored {
        let path = quoted(path);
        notes.push(Note::warning(format!(
            "{path} is no image; the image {name} of the store is run"
        )));
    }
    if let Some(user) = &config.user {
        notes.push(Note::info(format!("the image asks for user {user}; it runs as you")));
    }
    notes
}

/// The command given, the image's own, the caller's shell, or `/bin/sh`.
fn execute(
    request: &Request,
    image: &Image,
    tree: &Tree,
    environment: Vec<Variable>,
    numbered: Vec<Text>,
) -> Step {
    let (arguments, origin) = if !request.command.is_empty() {
        (request.command.clone(), Origin::CommandLine)
    } else if !image.config.command.is_empty() {
        (image.config.command.clone(), Origin::Image(image.config.source.clone()))
    } else {
        let shell = value(&environment, "SHELL");
        let shell = shell.filter(|shell| tree.find(Path::new(shell)).is_some());
        let shell = shell.unwrap_or(OsStr::new("/bin/sh"));
        (vec![shell.to_owned()], Origin::Default)
    };
    let search = variables::search(&environment);
    let arguments = arguments.into_iter().map(Text::from).collect();
    Action::Execute { arguments, search, environment, changes: Vec::new(), numbered }
        .asked_by(&origin)
}

/// Takes out what names this process by its number, which is another in a PID namespace: systemd says so
/// for which process its sockets are (sd_listen_fds(3)).
fn numbered(request: &Request, host: &Host, environment: &mut Vec<Variable>) -> Vec<Text> {
    const NAME: &str = "LISTEN_PID";
    let own = || host.pid().map(|pid| pid.to_string());
    let named = value(environment, NAME).filter(|_| request.pid.is_some());
    if named.is_none_or(|named| own().is_none_or(|own| named != &*own)) {
        return Vec::new();
    }
    environment.retain(|variable| variable.name.as_bytes() != NAME.as_bytes());
    vec![Text::from(NAME)]
}

fn value<'a>(environment: &'a [Variable], name: &str) -> Option<&'a OsStr> {
    let found = environment.iter().find(|variable| variable.name.as_bytes() == name.as_bytes());
    found.map(|variable| variable.value.as_os_str()).filter(|value| !value.as_bytes().is_empty())
}
