//! Where each mount goes: its source on the host, its target inside, what has to be made for it.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::basis::Basis;
use super::mounts;
use super::points::{Point, Points, Way};
use super::tree::{Backing, Made, Mounted, Tree};
use crate::edits::{Content, Hidden, Mount, Rank};
use crate::error::{Error, Result};
use crate::look::files::{Files, Kind, Resolved};
use crate::paths::{below, parent};
use crate::plan::Note;
use crate::request::Write;
use crate::text::quoted;

/// The directory of devices.
const DEVICES: &str = "/dev";

/// A mount whose place is known.
pub struct Placed {
    /// The mount.
    pub mount: Mount,
    /// The host path without symbolic links, for binds; empty for others.
    pub source: PathBuf,
    /// The path inside without symbolic links.
    pub target: PathBuf,
    /// What has to be made in place before, in memory or in an image that may be written to.
    pub make: Option<Make>,
    /// What is made is all there is; nothing is mounted on it.
    pub is_made: bool,
}

/// A destination that is made where it is.
pub struct Make {
    /// The directory that lacks it.
    pub parent: PathBuf,
    /// What it lacks, directories in between included.
    pub rest: PathBuf,
    /// What the last name becomes.
    pub last: Made,
}

/// Finds the places of mounts, one after the other; each sees those before it.
pub struct Placer<'a, 'n> {
    basis: Basis<'a>,
    notes: &'n mut Vec<Note>,
    /// The files inside, as far as mounts are placed.
    pub tree: Tree<'a>,
    /// What read-only directories lack.
    pub points: Points,
}

impl<'a, 'n> Placer<'a, 'n> {
    /// Starts with the image alone.
    pub fn new(basis: Basis<'a>, notes: &'n mut Vec<Note>) -> Self {
        let tree = Tree::new(basis.host, basis.image);
        Placer { basis, notes, tree, points: Points::default() }
    }

    /// Finds the place of a mount; nothing if it is not needed.
    ///
    /// # Errors
    ///
    /// Fails on a source that is missing or closed, and on a destination that cannot be made.
    pub fn place(&mut self, mount: Mount) -> Result<Option<Placed>> {
        let is_needed = match mount.content {
            Content::Bind { optional, .. } => !optional || mount.rank == Rank::Asked,
            Content::Tmpfs { .. } => true,
            Content::File { .. }
            | Content::Directory
            | Content::Links { .. }
            | Content::Link { .. } => false,
        };
        let is_missed = self.is_missed(&mount);
        match self.find_place(mount) {
            // What nobody asked for by name must not keep the command from starting.
            Err(error) if !is_needed => {
                let text = format!("left out: {error}");
                self.notes.push(match is_missed {
                    true => Note::warning(text),
                    false => Note::info(text),
                });
                Ok(None)
            }
            result => result,
        }
    }

    fn find_place(&mut self, mount: Mount) -> Result<Option<Placed>> {
        let (source, kind, read_only) = match &mount.content {
            Content::Bind { source, read_only, optional, .. } => {
                match self.source(source, *optional, &mount)? {
                    Some((source, kind)) => (source, kind, *read_only),
                    None => return Ok(None),
                }
            }
            Content::Tmpfs { .. } | Content::Directory => (PathBuf::new(), Kind::Directory, false),
            Content::Links { .. } => (PathBuf::new(), Kind::Directory, true),
            Content::File { .. } | Content::Link { .. } => (PathBuf::new(), Kind::File, true),
        };
        let fail = |errno: Errno| Error::new(attempt(&mount), errno).asked_by(&mount.origin);
        let (target, make, is_made) = match self.tree.resolve(&mount.target).map_err(fail)? {
            Resolved::Found { path, kind: found } => {
                if let Content::Link { target } = &mount.content {
                    return self.linked(&mount, target);
                }
                check_kinds(&mount, kind, found)?;
                if matches!(
                    mount.content,
                    Content::Directory | Content::File { replaces: false, .. }
                ) {
                    return Ok(None);
                }
                if self.is_seen_already(&mount, &source, &path, read_only) {
                    return Ok(None);
                }
                if self.is_led_astray(&mount, &path) {
                    return Ok(None);
                }
                (path, None, false)
            }
            Resolved::Missing { parent, rest } => {
                let target = below(&parent, &rest);
                let (last, is_made) = match &mount.content {
                    Content::Link { target } if self.writes_image(&parent) => {
                        return self.linked(&mount, target);
                    }
                    Content::Link { target } => (Made::Link(target.clone()), true),
                    Content::File { contents, .. } if !self.writes_image(&parent) => {
                        (Made::File(contents.clone()), true)
                    }
                    Content::Directory => (Made::Directory, true),
                    _ if kind == Kind::Directory => (Made::Directory, false),
                    _ => (Made::File(Vec::new()), false),
                };
                let make = self.make(&mount, parent, rest, last)?;
                if is_made && make.is_none() {
                    return Ok(None);
                }
                (target, make, is_made)
            }
        };
        if target == Path::new("/") {
            return Err(Error::new(attempt(&mount), "that is the image itself")
                .asked_by(&mount.origin)
                .hint("choose another destination"));
        }
        if !is_made {
            let backing = match &mount.content {
                Content::Bind { .. } => Backing::Host { source: source.clone(), read_only },
                _ => Backing::Memory,
            };
            self.tree.mount(target.clone(), Mounted { kind, backing });
        }
        Ok(Some(Placed { mount, source, target, make, is_made }))
    }

    /// Whether what is made in a directory inside would be written to the image.
    fn writes_image(&self, directory: &Path) -> bool {
        let is_image = self.tree.holder(directory).1.backing == Backing::Image;
        is_image && self.basis.write() == &Write::Image
    }

    /// Shows what a link leads to where no link can be made.
    fn linked(&mut self, mount: &Mount, target: &Path) -> Result<Option<Placed>> {
        let directory = parent(&mount.target).unwrap_or(Path::new("/"));
        let found = self.tree.find(&directory.join(target));
        let Some(source) = found.and_then(|(path, _)| self.tree.on_host(&path)) else {
            let target = target.display();
            let reason = format!("{target} leads to nothing of the host");
            return Err(Error::new(attempt(mount), reason).asked_by(&mount.origin));
        };
        let content = Content::Bind { source, recursive: false, read_only: true, optional: false };
        self.find_place(Mount { content, ..mount.clone() })
    }

    /// Leaves an entry of a directory of the host out; one that is not there is fine.
    pub fn hide(&mut self, hidden: &Hidden) {
        let (above, name) = (parent(&hidden.path), hidden.path.file_name());
        let found = above.and_then(|above| self.tree.find(above));
        let (Some((directory, _)), Some(name)) = (found, name) else { return };
        let is_there = self.tree.kind(&below(&directory, Path::new(name)));
        let Some(outside) = self.tree.on_host(&directory) else { return };
        if is_there == Ok(None) {
            return;
        }
        let (holder, _) = self.tree.holder(&directory);
        let way = Way::Binds { read_only: false };
        let point = Point::new(&directory, holder, &outside, way, &hidden.origin);
        self.points.hide(point, name.to_owned());
    }

    /// Finds the source of a bind on the host; nothing if it is missing and that is fine.
    fn source(
        &mut self,
        source: &Path,
        optional: bool,
        mount: &Mount,
    ) -> Result<Option<(PathBuf, Kind)>> {
        let written = source.display();
        match self.basis.host.find(source) {
            Ok(Some(found)) => Ok(Some(found)),
            // It may well be there, and be missed: on a file system that is stale, in a directory
            // that is closed.
            Err(errno) if optional && mount.rank != Rank::Asked => {
                let (why, origin) = (errno.desc(), &mount.origin);
                self.notes.push(Note::warning(format!("{written} is not shown: {why} ({origin})")));
                Ok(None)
            }
            Ok(None) | Err(Errno::EACCES) if optional => {
                self.notes.push(mounts::no_source(source, &mount.origin));
                Ok(None)
            }
            Ok(None) => Err(Error::new(format!("bind {written}"), Errno::ENOENT)
                .asked_by(&mount.origin)
                .hint(missing_source_hint(source, &mount.target))),
            Err(errno) => Err(Error::new(format!("bind {written}"), errno).asked_by(&mount.origin)),
        }
    }

    /// Whether the place already shows the same files of the host in the same way.
    fn is_seen_already(&self, mount: &Mount, source: &Path, path: &Path, read_only: bool) -> bool {
        let Content::Bind { .. } = mount.content else { return false };
        let held_read_only =
            matches!(self.tree.holder(path).1.backing, Backing::Host { read_only: true, .. });
        self.tree.on_host(path).as_deref() == Some(source) && held_read_only == read_only
    }

    /// Whether a default would cover other mounts, because a link of the image leads it there; each
    /// keeps its own place.
    fn is_led_astray(&mut self, mount: &Mount, path: &Path) -> bool {
        let is_default = mount.rank < Rank::Asked && mount.target != path;
        if !is_default || !self.tree.has_mount_in(path) {
            return false;
        }
        let (target, path) = (mount.target.display(), path.display());
        let text = format!("{target} is not shown: the image has a link there, to {path}");
        self.notes.push(match self.is_missed(mount) {
            true => Note::warning(text),
            false => Note::info(text),
        });
        true
    }

    /// Whether the caller has named a directory that is shown by default, and would look for it in
    /// vain; of the current one, where the command starts is said.
    fn is_missed(&self, mount: &Mount) -> bool {
        let host = self.basis.host;
        let is_named = |name| {
            host.path_variable(name).is_some_and(|path| mounts::clean(&path) == mount.target)
        };
        let is_default = mount.rank == Rank::Default && mount.target != host.cwd;
        is_default && (is_named("HOME") || is_named("TMPDIR"))
    }

    /// Decides what makes a missing destination: the mount that holds it, if it can be written
    /// to without touching the image or the host, else the stage.
    fn make(
        &mut self,
        mount: &Mount,
        parent: PathBuf,
        rest: PathBuf,
        last: Made,
    ) -> Result<Option<Make>> {
        let (holder, mounted) = self.tree.holder(&parent);
        let outside = match &mounted.backing {
            Backing::Memory => None,
            Backing::Image if self.basis.write() == &Write::Image => None,
            Backing::Image => Some((self.basis.image.outside(&parent), self.basis.way_on_image())),
            Backing::Host { read_only: true, .. } => {
                let outside = self.tree.on_host(&parent).unwrap_or_default();
                // There may be mounts in it. Those are locked for an ordinary user, and overlay
                // refuses such a layer; it would not show what is mounted there anyway.
                Some((outside, Way::Binds { read_only: true }))
            }
            // What is missing here is made by nobody but the kernel; a copy takes its place.
            Backing::Host { read_only: false, source } if source == Path::new(DEVICES) => {
                let outside = self.tree.on_host(&parent).unwrap_or_default();
                Some((outside, Way::Binds { read_only: false }))
            }
            Backing::Host { read_only: false, .. } => {
                let directory = self.tree.on_host(&parent).unwrap_or_default();
                let missing = directory.join(&rest);
                return Err(in_host_directory(mount, &missing, holder, last.kind()));
            }
        };
        let point =
            outside.map(|(outside, way)| Point::new(&parent, holder, &outside, way, &mount.origin));
        self.tree.make(&parent, &rest, last.clone());
        match point {
            Some(point) => {
                self.points.add(point, &rest, last);
                Ok(None)
            }
            None => Ok(Some(Make { parent, rest, last })),
        }
    }
}

fn attempt(mount: &Mount) -> String {
    let target = mount.target.display();
    match &mount.content {
        Content::Bind { source, .. } if *source == mount.target => format!("bind {target}"),
        Content::Bind { source, .. } => format!("bind {} at {target}", source.display()),
        Content::Tmpfs { .. } => format!("mount a tmpfs on {target}"),
        Content::Directory => format!("make {target}"),
        Content::File { .. } => format!("show a file at {target}"),
        Content::Links { .. } => format!("show links at {target}"),
        Content::Link { .. } => format!("make the link {target}"),
    }
}

fn missing_source_hint(source: &Path, target: &Path) -> String {
    let (source, target) = (source.display(), target.display());
    format!("create it on the host, or allow it to be missing: --bind {source}:{target}:optional")
}

/// A directory cannot be mounted on a file, nor a file on a directory.
fn check_kinds(mount: &Mount, wanted: Kind, found: Kind) -> Result<()> {
    let (errno, hint) = match (wanted == Kind::Directory, found == Kind::Directory) {
        (true, false) => (Errno::ENOTDIR, "a directory cannot cover the file that is there"),
        (false, true) => (Errno::EISDIR, "a file cannot cover the directory that is there"),
        _ => return Ok(()),
    };
    Err(Error::new(attempt(mount), errno)
        .asked_by(&mount.origin)
        .hint(format!("{hint}; choose another destination")))
}

/// hrun makes nothing in the user's own directories (docs/decisions/0006).
fn in_host_directory(mount: &Mount, missing: &Path, holder: &Path, kind: Kind) -> Error {
    let (missing, holder) = (quoted(missing), holder.display());
    let command = if kind == Kind::Directory { "mkdir -p" } else { "touch" };
    let reason = format!("{missing} does not exist, and {holder} shows the host's own files");
    Error::new(attempt(mount), reason).asked_by(&mount.origin).hint(format!(
        "hrun makes no mount points in your directories: {command} {missing}\n\
         or choose a destination elsewhere, or bind {holder} read-only"
    ))
}
