//! Entries that a read-only directory lacks, and how they come to be seen in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::iter::successors;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::tree::Made;
use crate::error::{Error, Result};
use crate::look::files::{Files, Kind};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::{below, depth, inner, is_in, parent};
use crate::plan::{Action, Step};

/// How a directory is shown with entries it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An overlay: the directory on top, a directory with the missing entries below.
    Overlay {
        /// Nothing in it may be executed, as nothing in the directory may.
        no_exec: bool,
    },
    /// A directory with the missing entries, into which the others are bound one by one.
    Binds {
        /// Neither it nor what is bound into it can be written to.
        read_only: bool,
    },
}

/// A directory and what it lacks.
#[derive(Clone, Debug)]
pub struct Point {
    /// The directory, inside.
    pub directory: PathBuf,
    /// The mount it belongs to, by its target.
    pub holder: PathBuf,
    /// The directory, on the host.
    pub outside: PathBuf,
    /// How it is shown with what it lacks.
    pub way: Way,
    /// Who asked for the first of its entries.
    pub origin: Origin,
    /// What it lacks, by the letters of its relative path; directories in between are listed too.
    entries: BTreeMap<OsString, Entry>,
    /// What it has and does not show, by name.
    hidden: BTreeSet<OsString>,
}

/// Something a directory lacks.
#[derive(Clone, Debug)]
struct Entry {
    made: Made,
    origin: Origin,
}

/// All directories that lack something.
#[derive(Debug, Default)]
pub struct Points(Vec<Point>);

impl Points {
    /// Adds what is missing below `point.directory`.
    ///
    /// A directory that is itself one of the missing entries is no point of its own.
    pub fn add(&mut self, point: Point, rest: &Path, made: Made) {
        let entry = Entry { made, origin: point.origin.clone() };
        if let Some((outer, inner)) = self.0.iter_mut().find_map(|outer| outer.holding(&point)) {
            return outer.add(&inner.join(rest), entry);
        }
        let mut point = point;
        point.add(rest, entry);
        self.0.push(point);
    }

    /// Leaves an entry of `point.directory` out.
    pub fn hide(&mut self, point: Point, name: OsString) {
        let mut points = self.0.iter_mut();
        match points.find(|known| known.directory == point.directory) {
            Some(known) => drop(known.hidden.insert(name)),
            None => {
                let hidden = BTreeSet::from([name]);
                self.0.push(Point { hidden, ..point });
            }
        }
    }

    /// Orders the directories, outer ones first.
    ///
    /// An overlay also serves the directories below its own, so those join the outermost of their
    /// mount; with `all_in_root` that is always the image's root.
    pub fn gather(self, all_in_root: bool, image: &Image) -> Vec<Point> {
        let mut points = self.0;
        let root = Path::new("/");
        if all_in_root && points.iter().any(|point| point.holder == root) {
            let way = Way::Overlay { no_exec: image.filesystem().no_exec };
            points.push(Point::new(root, root, &image.root, way, &Origin::Default));
        }
        points.sort_by_key(|point| depth(&point.directory));
        let mut gathered: Vec<Point> = Vec::new();
        for point in points {
            match gathered.iter_mut().find(|outer| outer.covers(&point)) {
                Some(outer) => outer.absorb(&point),
                None => gathered.push(point),
            }
        }
        gathered
    }
}

impl Point {
    /// Makes a directory that lacks nothing yet.
    pub fn new(directory: &Path, holder: &Path, outside: &Path, way: Way, origin: &Origin) -> Self {
        Point {
            directory: directory.to_path_buf(),
            holder: holder.to_path_buf(),
            outside: outside.to_path_buf(),
            way,
            origin: origin.clone(),
            entries: BTreeMap::new(),
            hidden: BTreeSet::new(),
        }
    }

    /// Whether it is the root directory of the image.
    pub fn is_root(&self) -> bool {
        self.directory == Path::new("/")
    }

    fn add(&mut self, rest: &Path, entry: Entry) {
        for directory in successors(parent(rest), |directory| parent(directory)) {
            let origin = &entry.origin;
            self.entries
                .entry(directory.into())
                .or_insert_with(|| Entry { made: Made::Directory, origin: origin.clone() });
        }
        self.entries.entry(rest.into()).or_insert(entry);
    }

    /// Itself and the path in it, if another's directory is the same or one of its entries.
    fn holding(&mut self, other: &Point) -> Option<(&mut Point, PathBuf)> {
        let inner = inner(&other.directory, &self.directory)?.to_path_buf();
        let is_here = inner.as_os_str().is_empty() || self.entries.contains_key(inner.as_os_str());
        (self.holder == other.holder && is_here).then_some((self, inner))
    }

    fn covers(&self, other: &Point) -> bool {
        let is_overlay = |point: &Point| matches!(point.way, Way::Overlay { .. });
        let overlays = is_overlay(self) && is_overlay(other);
        overlays && self.holder == other.holder && is_in(&other.directory, &self.directory)
    }

    fn absorb(&mut self, other: &Point) {
        let inner = inner(&other.directory, &self.directory).unwrap_or(Path::new(""));
        for (path, entry) in &other.entries {
            self.add(&inner.join(path), entry.clone());
        }
    }

    /// The entries the directory has and shows, each with its kind.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be read.
    pub fn present(&self, host: &Host, image: &Image) -> Result<Vec<(PathBuf, Kind)>> {
        let listed = if self.holder == Path::new("/") {
            image.files.list(&self.directory)
        } else {
            host.files.list(&self.outside)
        };
        let attempt = || format!("list {}", self.outside.display());
        let listed = listed.map_err(|errno| Error::new(attempt(), errno).asked_by(&self.origin))?;
        // Of the hundred nodes a machine has, most are nobody's business but root's.
        let is_closed = |name: &OsString, kind: Kind| {
            let is_device = kind == Kind::Other && self.way == Way::Binds { read_only: false };
            is_device && host.is_closed(&below(&self.outside, Path::new(name)))
        };
        let shown = listed
            .into_iter()
            .filter(|(name, kind)| !self.hidden.contains(name) && !is_closed(name, *kind));
        Ok(shown.map(|(name, kind)| (PathBuf::from(name), kind)).collect())
    }

    /// The steps that lay out what it lacks in the stage.
    pub fn stage(&self, staged: &Path) -> Vec<Step> {
        let mut steps = vec![make(staged, &Made::Directory, 0o755, &self.origin)];
        for (path, Entry { made, origin }) in &self.entries {
            steps.push(make(&below(staged, Path::new(path)), made, mode(made), origin));
        }
        steps
    }

    /// The steps that lay out what it lacks and a place for everything it has.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be read.
    pub fn stage_all(&self, staged: &Path, host: &Host, image: &Image) -> Result<Vec<Step>> {
        let fail = |errno: Errno| {
            let attempt = format!("look at {}", self.outside.display());
            Error::new(attempt, errno).asked_by(&self.origin)
        };
        let is_image = self.holder == Path::new("/");
        let files: &dyn Files = if is_image { &image.files } else { &host.files };
        let directory = if is_image { &self.directory } else { &self.outside };
        let directory_mode = files.mode(directory).map_err(fail)?;
        let mut steps = self.stage(staged);
        steps[0] = make(staged, &Made::Directory, directory_mode | 0o700, &self.origin);
        for (name, kind) in self.present(host, image)? {
            let made = match kind {
                Kind::Link => Made::Link(files.link(&directory.join(&name)).map_err(fail)?),
                Kind::Directory => Made::Directory,
                Kind::File | Kind::Other => Made::File(Vec::new()),
            };
            steps.push(make(&below(staged, &name), &made, mode(&made), &self.origin));
        }
        Ok(steps)
    }
}

/// The mode of what is made.
pub fn mode(made: &Made) -> u32 {
    match made {
        Made::Directory => 0o755,
        // Something is mounted on it.
        Made::File(contents) if contents.is_empty() => 0o644,
        // Not more writable than the image around it.
        Made::File(_) | Made::Link(_) => 0o444,
    }
}

/// The step that makes something.
pub fn make(path: &Path, made: &Made, mode: u32, origin: &Origin) -> Step {
    let path = path.into();
    let action = match made {
        Made::Directory => Action::Directory { path, mode },
        Made::File(contents) => {
            Action::File { path, mode, contents: OsString::from_vec(contents.clone()).into() }
        }
        Made::Link(target) => Action::Link { path, target: target.into() },
    };
    action.asked_by(origin)
}
