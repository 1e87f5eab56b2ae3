//! Decides what will be done; pure, apart from asking the host, the kernel and the image.

mod basis;
mod enter;
pub mod environment;
pub mod layout;
pub mod limits;
mod mounts;
mod mpi;
mod place;
mod points;
mod program;
mod rights;
pub mod served;
mod tree;
pub mod unpacked;
mod wire;
mod written;

use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use self::basis::Basis;
pub use self::enter::enter;
use self::mpi::Chosen;
use self::place::{Placed, Placer};
use self::points::Points;
use self::tree::Tree;
use crate::edits::Edits;
use crate::error::{Error, Result};
use crate::ids;
use crate::inject;
use crate::look::files::Kind;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::look::kernel::Kernel;
use crate::origin::Origin;
use crate::plan::{Action, FORMAT, Note, Plan, Step, Variable};
use crate::ranks;
use crate::request::{Join, Request};
use crate::text::Text;

/// Decides the plan.
///
/// # Errors
///
/// Fails if something that was asked for cannot be had; the error says what, who asked, and what
/// to do.
pub fn plan(request: &Request, host: &Host, kernel: &Kernel, image: &Image) -> Result<Plan> {
    ranks::check(request, host)?;
    served::check(request, host, image)?;
    let basis = Basis { host, kernel, image, asked_write: request.write.as_ref() };
    let mut edits = inject::find_all(request, host, image)?;
    let mpi = mpi::edit(request, basis, &mut edits)?;
    inject::finish(request, image, &mut edits);
    let limits = limits::decide(request, host, image)?;
    edits.variables.extend(limits.variable);
    let mut notes = image_notes(image);
    notes.extend(limits.notes);
    notes.extend(mem::take(&mut edits.notes));

    let Draft { tree, placed, points, environment, directory: (directory, origin) } =
        draft(request, basis, &mut edits, &mut notes)?;
    let ids = Action::Unshare { uid: ids::user(request, host), gid: ids::group(request, host) };
    let mut steps = layout::decide(ids.asked_by(&Origin::Default), basis, placed, points)?;
    isolate(request, &mut steps);
    steps = ranks::join(request, host, steps)?;
    if let Some((file, origin)) = ranks::file(request, host) {
        steps = ranks::meet(steps, file, &origin);
    }
    steps.splice(0..0, unpacked::unpack(request, host, image, &steps));
    steps.splice(0..0, limits.steps);
    if let Some(origin) = &request.pid
        && request.join.as_ref().is_none_or(|asked| !matches!(asked.value, Join::Process(_)))
    {
        steps.push(Action::Supervise.asked_by(origin));
    }
    let execute = execute(request, image, &tree, environment);
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
    steps.push(execute);
    Ok(Plan { format: FORMAT, image: Text::from(&image.root), steps, notes })
}

/// Makes a PID namespace before the host's root is left, as `/proc` of the host is needed for it.
fn isolate(request: &Request, steps: &mut Vec<Step>) {
    let leave = steps.iter().position(|step| matches!(step.action, Action::Leave { .. }));
    if let (Some(origin), Some(leave)) = (&request.pid, leave) {
        steps.insert(leave, Action::Isolate.asked_by(origin));
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
    environment: Vec<Variable>,
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
    let directory = start_directory(request, host, image, &tree, &environment)?;
    set(&mut environment, "PWD", directory.0.as_os_str(), &directory.1);
    Ok(Draft { tree, placed, points, environment, directory })
}

/// What the user may want to know about the image.
fn image_notes(image: &Image) -> Vec<Note> {
    let config = &image.config;
    let mut notes = Vec::new();
    if let Some(user) = &config.user {
        notes.push(Note::info(format!("the image asks for user {user}; it runs as you")));
    }
    for line in &config.skipped {
        notes.push(Note::info(format!("not applied: {line}")));
    }
    notes
}

/// The directory asked for, the current one, the image's, home, or `/`; the first that is there.
fn start_directory(
    request: &Request,
    host: &Host,
    image: &Image,
    tree: &Tree,
    environment: &[Variable],
) -> Result<(PathBuf, Origin)> {
    if let Some(asked) = &request.directory {
        return match tree.find(&asked.value) {
            Some((_, Kind::Directory)) => Ok((asked.value.clone(), asked.origin.clone())),
            found => Err(no_start_directory(&asked.value, found.is_some(), &asked.origin)),
        };
    }
    let is_directory = |path: &Path| match tree.find(path) {
        Some((path, Kind::Directory)) => {
            tree.on_host(&path).is_none_or(|path| host.can_enter(&path))
        }
        _ => false,
    };
    let shows_cwd = tree.find(&host.cwd).and_then(|(path, _)| tree.on_host(&path));
    if shows_cwd.as_ref() == Some(&host.cwd) && host.can_enter(&host.cwd) {
        return Ok((host.cwd.clone(), Origin::Default));
    }
    if let Some(directory) = image.config.directory.as_ref().filter(|path| is_directory(path)) {
        return Ok((directory.clone(), Origin::Image(image.config.source.clone())));
    }
    let home = value(environment, "HOME").map(PathBuf::from);
    let home = home.filter(|path| path.is_absolute() && is_directory(path));
    Ok((home.unwrap_or_else(|| PathBuf::from("/")), Origin::Default))
}

fn no_start_directory(directory: &Path, exists: bool, origin: &Origin) -> Error {
    let attempt = format!("start in {}", directory.display());
    if exists {
        return Error::new(attempt, Errno::ENOTDIR).asked_by(origin);
    }
    let hint = format!(
        "no such directory inside; if it is on the host, add --bind {}",
        directory.display()
    );
    Error::new(attempt, Errno::ENOENT).asked_by(origin).hint(hint)
}

/// The command given, the image's own, the caller's shell, or `/bin/sh`.
fn execute(request: &Request, image: &Image, tree: &Tree, environment: Vec<Variable>) -> Step {
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
    let path = value(&environment, "PATH").unwrap_or_default();
    let search = std::env::split_paths(path).map(|directory| match directory.as_os_str() {
        empty if empty.is_empty() => Text::from("."),
        directory => Text::from(directory),
    });
    let search = search.collect();
    let arguments = arguments.into_iter().map(Text::from).collect();
    Action::Execute { arguments, search, environment }.asked_by(&origin)
}

fn value<'a>(environment: &'a [Variable], name: &str) -> Option<&'a OsStr> {
    let found = environment.iter().find(|variable| variable.name.as_bytes() == name.as_bytes());
    found.map(|variable| variable.value.as_os_str()).filter(|value| !value.as_bytes().is_empty())
}

fn set(environment: &mut Vec<Variable>, name: &str, value: &OsStr, origin: &Origin) {
    environment.retain(|variable| variable.name.as_bytes() != name.as_bytes());
    let (name, value) = (Text::from(name), Text::from(OsString::from(value)));
    environment.push(Variable { name, value, origin: origin.clone() });
}
