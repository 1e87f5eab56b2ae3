//! Entries that a read-only directory lacks, and how they come to be seen in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::look::files::{Files, Kind};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::{Action, Step};
use crate::text::below;

/// How a directory is shown with entries it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An overlay: the directory on top, a directory with the missing entries below.
    Overlay,
    /// A directory with the missing entries, into which the others are bound one by one.
    Binds,
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
    /// Who asked for the first of its entries.
    pub origin: Origin,
    /// What it lacks, by relative path; directories in between are listed too.
    entries: BTreeMap<PathBuf, Kind>,
}

/// All directories that lack something.
#[derive(Debug, Default)]
pub struct Points(Vec<Point>);

impl Points {
    /// Adds what is missing below `point.directory`.
    pub fn add(&mut self, point: Point, rest: &Path, kind: Kind) {
        let same =
            |other: &Point| other.directory == point.directory && other.holder == point.holder;
        let index = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(point);
            self.0.len() - 1
        });
        self.0[index].add(rest, kind);
    }

    /// Orders the directories, outer ones first.
    ///
    /// An overlay also serves the directories below its own, so with [`Way::Overlay`] those join
    /// the outermost of their mount; with `all_in_root` that is always the image's root.
    pub fn gather(self, way: Way, all_in_root: bool, image: &Image) -> Vec<Point> {
        let mut points = self.0;
        let root = Path::new("/");
        let of_image = |point: &Point| point.holder == root;
        if all_in_root && points.iter().any(of_image) {
            points.push(Point::new(root, root, &image.root, &Origin::Default));
        }
        points.sort_by_key(|point| point.directory.components().count());
        if way == Way::Binds {
            return points;
        }
        let mut gathered: Vec<Point> = Vec::new();
        for point in points {
            let outer = gathered.iter_mut().find(|outer| outer.covers(&point));
            match outer {
                Some(outer) => outer.absorb(&point),
                None => gathered.push(point),
            }
        }
        gathered
    }
}

impl Point {
    /// Makes a directory that lacks nothing yet.
    pub fn new(directory: &Path, holder: &Path, outside: &Path, origin: &Origin) -> Self {
        Point {
            directory: directory.to_path_buf(),
            holder: holder.to_path_buf(),
            outside: outside.to_path_buf(),
            origin: origin.clone(),
            entries: BTreeMap::new(),
        }
    }

    /// Whether it is the root directory of the image.
    pub fn is_root(&self) -> bool {
        self.directory == Path::new("/")
    }

    fn add(&mut self, rest: &Path, kind: Kind) {
        for directory in rest.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            self.entries.insert(directory.to_path_buf(), Kind::Directory);
        }
        self.entries.entry(rest.to_path_buf()).or_insert(kind);
    }

    fn covers(&self, other: &Point) -> bool {
        self.holder == other.holder && other.directory.starts_with(&self.directory)
    }

    fn absorb(&mut self, other: &Point) {
        let inner = other.directory.strip_prefix(&self.directory).unwrap_or(Path::new(""));
        for (path, kind) in &other.entries {
            self.add(&inner.join(path), *kind);
        }
    }

    /// The entries the directory has, each with its kind.
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
        Ok(listed.into_iter().map(|(name, kind)| (PathBuf::from(name), kind)).collect())
    }

    /// The steps that lay out what it lacks in the stage.
    pub fn stage(&self, staged: &Path) -> Vec<Step> {
        let mut steps = vec![self.directory_step(staged, Path::new(""), 0o755)];
        for (path, kind) in &self.entries {
            steps.push(self.entry_step(staged, path, *kind));
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
        let path = if is_image { &self.directory } else { &self.outside };
        let mode = files.mode(path).map_err(fail)?;
        let mut steps = self.stage(staged);
        steps[0] = self.directory_step(staged, Path::new(""), mode | 0o700);
        for (name, kind) in self.present(host, image)? {
            if kind == Kind::Link {
                let target = files.link(&path.join(&name)).map_err(fail)?.into();
                let path = staged.join(&name).into();
                steps.push(Action::Link { path, target }.asked_by(&self.origin));
            } else {
                steps.push(self.entry_step(staged, &name, kind));
            }
        }
        Ok(steps)
    }

    fn entry_step(&self, staged: &Path, path: &Path, kind: Kind) -> Step {
        if kind == Kind::Directory {
            return self.directory_step(staged, path, 0o755);
        }
        let path = staged.join(path).into();
        Action::File { path, mode: 0o644, contents: Default::default() }.asked_by(&self.origin)
    }

    fn directory_step(&self, staged: &Path, path: &Path, mode: u32) -> Step {
        let path =
            if path.as_os_str().is_empty() { staged.to_path_buf() } else { below(staged, path) };
        Action::Directory { path: path.into(), mode }.asked_by(&self.origin)
    }
}
