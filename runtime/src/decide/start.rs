//! Where the command starts.
//!
//! What it writes by relative names must land where the caller expects it: in the current directory,
//! or where an option or the image's own configuration says (docs/decisions/0028).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::mounts;
use super::place::Placed;
use super::tree::{Backing, Tree};
use super::value;
use crate::error::{Error, Result};
use crate::look::directory::DirectoryTree;
use crate::look::files::{self, Kind, Resolved};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::{Note, Variable};
use crate::ranks;
use crate::request::{Asked, Join, Request};
use crate::text::quoted;

/// A directory inside, and who says so.
type Start = (PathBuf, Origin);

/// What the start is decided on.
pub(super) struct Scene<'a> {
    pub request: &'a Request,
    pub host: &'a Host,
    pub image: &'a Image,
    /// The files inside.
    pub tree: &'a Tree<'a>,
    /// What is mounted.
    pub placed: &'a [Placed],
    /// The command's environment.
    pub environment: &'a [Variable],
}

/// What is seen at the path of the current directory.
enum Seen {
    /// The current directory itself.
    Same,
    /// A directory of the image, or an empty one.
    Image,
    /// Another directory of the host.
    Other(PathBuf),
    /// None.
    Missing,
}

/// Decides the start: the directory asked for; the image's work directory, for its own command; the
/// current directory. Where an option hides that, the work directory, home, or `/`.
///
/// # Errors
///
/// Fails if the directory asked for, or the current one, is not there inside.
pub(super) fn decide(scene: &Scene, notes: &mut Vec<Note>) -> Result<Start> {
    let Scene { request, host, tree, .. } = scene;
    if let Some(asked) = &request.directory {
        return match tree.find(&asked.value) {
            Some((_, Kind::Directory)) => Ok((asked.value.clone(), asked.origin.clone())),
            found => Err(is_missing(&asked.value, found.is_some(), &asked.origin)),
        };
    }
    if let Some(start) = scene.of_own_command(notes) {
        return Ok(start);
    }
    let here = (host.cwd.clone(), Origin::Default);
    let hidden = mounts::hides_cwd(request, host);
    let seen = scene.seen();
    if let (Some(origin), false) = (hidden, matches!(seen, Seen::Same)) {
        let start = scene.elsewhere();
        let (cwd, place) = (host.cwd.display(), start.0.display());
        let text = format!("{origin} hides {cwd}; the command starts in {place}");
        // Who asks for an empty /tmp may not think of being there.
        match request.private_tmp.as_ref().is_some_and(|asked| asked.origin == *origin) {
            true => scene.warn(text, notes),
            false => notes.push(Note::info(text)),
        }
        return Ok(start);
    }
    match seen {
        // Before anything is made in an image or a layer; else the kernel will say it.
        Seen::Same if request.write.is_some() && !host.can_start_in(&host.cwd) => {
            return Err(Error::new(scene.attempt(), Errno::EACCES)
                .hint("the directory is closed to you; choose another with --cd"));
        }
        Seen::Same => {}
        Seen::Missing => return Err(scene.cwd_is_missing()),
        Seen::Image if host.cwd == Path::new("/") => {}
        Seen::Image => {
            let cwd = host.cwd.display();
            let text = format!(
                "the command starts in {cwd} of the image, which has files there, and not in that \
                 of the host; --bind . shows the host's"
            );
            scene.warn(text, notes);
        }
        Seen::Other(outside) => {
            let (cwd, outside) = (host.cwd.display(), outside.display());
            let text = format!("the command starts in {cwd} inside, which is {outside} outside");
            scene.warn(text, notes);
        }
    }
    Ok(here)
}

/// The error about a start directory that was asked for.
pub(super) fn is_missing(directory: &Path, exists: bool, origin: &Origin) -> Error {
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

impl Scene<'_> {
    /// Where the image's own command starts, if that is what runs and the image says it: a relative
    /// entry point means a file below its work directory, `/` if it has none.
    fn of_own_command(&self, notes: &mut Vec<Note>) -> Option<Start> {
        let config = &self.image.config;
        let program = config.command.first().filter(|_| self.request.command.is_empty())?;
        let origin = Origin::Image(config.source.clone());
        if let Some(directory) = &config.directory {
            if self.is_directory(directory) {
                return Some((directory.clone(), origin));
            }
            let directory = directory.display();
            self.warn(format!("the image's work directory {directory} is not there"), notes);
        }
        let is_relative =
            !program.as_bytes().starts_with(b"/") && program.as_bytes().contains(&b'/');
        is_relative.then(|| (PathBuf::from("/"), origin))
    }

    /// The image's work directory, home, or `/`: the first that is there.
    fn elsewhere(&self) -> Start {
        let config = &self.image.config;
        if let Some(directory) = config.directory.as_ref().filter(|path| self.is_directory(path)) {
            return (directory.clone(), Origin::Image(config.source.clone()));
        }
        let home = value(self.environment, "HOME").map(PathBuf::from);
        let home = home.filter(|path| path.is_absolute() && self.is_directory(path));
        (home.unwrap_or_else(|| PathBuf::from("/")), Origin::Default)
    }

    /// Whether there is a directory that the caller may enter.
    fn is_directory(&self, path: &Path) -> bool {
        match self.tree.find(path) {
            Some((path, Kind::Directory)) => {
                self.tree.on_host(&path).is_none_or(|path| self.host.can_enter(&path))
            }
            _ => false,
        }
    }

    /// Looks at what is inside at the path of the current directory.
    fn seen(&self) -> Seen {
        let host = self.host;
        if let Some(asked) = self.joined() {
            return seen_by(asked.value, host);
        }
        let Some((path, Kind::Directory)) = self.tree.find(&host.cwd) else { return Seen::Missing };
        match self.tree.on_host(&path) {
            Some(outside) if outside == host.cwd || host.is_same(&outside, &host.cwd) => Seen::Same,
            Some(outside) => Seen::Other(outside),
            None => Seen::Image,
        }
    }

    /// The error about a current directory that is not there inside: what is, and who asked for it.
    fn cwd_is_missing(&self) -> Error {
        let cwd = &self.host.cwd;
        if let Some(asked) = self.joined() {
            return Error::new(
                self.attempt(),
                "the container that is joined has no such directory",
            )
            .asked_by(&asked.origin)
            .hint("--cd DIR starts in another directory; --bind has no effect on a join");
        }
        let (reason, origin) = match self.tree.resolve(cwd) {
            Ok(Resolved::Found { .. }) => ("it is no directory inside".to_owned(), None),
            Ok(Resolved::Missing { parent, rest }) => self.lack(&parent, &rest),
            Err(errno) => (errno.desc().to_owned(), None),
        };
        let error = Error::new(self.attempt(), reason).hint(format!(
            "start in another directory, and show this one there if it is needed:\n\
             --bind {}:/work --cd /work",
            quoted(cwd)
        ));
        match origin {
            Some(Origin::Default) | None => error,
            Some(origin) => error.asked_by(&origin),
        }
    }

    fn attempt(&self) -> String {
        format!("start in the current directory, {}", self.host.cwd.display())
    }

    /// The option that has the command join a container, with the process to follow there.
    fn joined(&self) -> Option<Asked<u32>> {
        let Asked { value: Join::Process(pid), origin } = self.request.join.as_ref()? else {
            return None;
        };
        Some(Asked { value: *pid, origin: origin.clone() })
    }

    /// What keeps a path from being there: a mount that lacks it.
    fn lack(&self, parent: &Path, rest: &Path) -> (String, Option<Origin>) {
        let (target, mounted) = self.tree.holder(parent);
        let Backing::Host { source, .. } = &mounted.backing else {
            return ("there is no such directory inside".to_owned(), None);
        };
        let origin = self.placed.iter().rev().find(|placed| placed.target == target);
        let (target, source, rest) = (target.display(), source.display(), rest.display());
        let reason = format!("{target} inside is {source} of the host, which has no {rest}");
        (reason, origin.map(|placed| placed.mount.origin.clone()))
    }

    /// Adds a warning; one rank speaks for all of a node.
    fn warn(&self, text: String, notes: &mut Vec<Note>) {
        if ranks::local_rank(self.host).unwrap_or(0) == 0 {
            notes.push(Note::warning(text));
        }
    }
}

/// Looks at what a process in a container sees at the path of the current directory.
fn seen_by(pid: u32, host: &Host) -> Seen {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    // Whatever is wrong with the process is said when it is joined.
    if !host.can_enter(&root) {
        return Seen::Same;
    }
    let seen = DirectoryTree::new(root);
    match files::find(&seen, &host.cwd) {
        Ok(Some((path, Kind::Directory))) => match host.is_same(&seen.outside(&path), &host.cwd) {
            true => Seen::Same,
            false => Seen::Image,
        },
        Ok(_) | Err(_) => Seen::Missing,
    }
}
