//! The steps that make the container's root directory, in order.
//!
//! A destination never has to exist. What a read-only directory lacks is made in a private tmpfs,
//! the *stage*, and shown by an overlay, or without overlay by binding the directory's entries
//! into the tmpfs one by one ([`super::points`]).

use std::ffi::OsString;
use std::mem;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::basis::Basis;
use super::place::{Make, Placed};
use super::points::{self, Point, Points, Way};
use super::served;
use super::tree::Made;
use super::unpacked;
use crate::edits::{Content, Mount};
use crate::error::{Error, Result};
use crate::look::files::{Files, Kind};
use crate::look::host::Host;
use crate::origin::Origin;
use crate::paths::{below, inner, is_in};
use crate::plan::{Action, EnterBy, Layer, Step};
use crate::request::Write;
use crate::text::Text;

/// Where the stage can be mounted: directories of the Filesystem Hierarchy Standard that a job
/// seldom needs. They are covered in hrun's own mount namespace only.
const STAGES: [&str; 7] = ["/srv", "/mnt", "/media", "/opt", "/var/empty", "/var/lib", "/usr"];

/// Decides the steps from the stage to [`Action::Leave`], after a first one.
///
/// # Errors
///
/// Fails if a layer is asked for that cannot be had, if no directory is free for the stage, or if
/// a directory that lacks something cannot be listed.
pub fn decide(
    first: Step,
    basis: Basis,
    mut placed: Vec<Placed>,
    points: Points,
) -> Result<Vec<Step>> {
    basis.check_layer()?;
    let mut points = points.gather(basis.has_layer(), basis.image);
    let stage = choose_stage(basis, &placed, &points)?;
    let root = served::root(basis.image, &stage);
    served::move_points(&mut points, &basis.image.root, &root);
    let mut emitter = Emitter {
        basis,
        root,
        origin: basis.asked_write.map_or(Origin::CommandLine, |asked| asked.origin.clone()),
        stage,
        points,
        steps: first_steps(first, &placed),
    };
    emitter.stage(&mut placed)?;
    emitter.root();
    emitter.mounts(&placed)?;
    emitter.push(Action::Leave { by: basis.enter_by() }, &Origin::Default);
    Ok(emitter.steps)
}

/// The first step, and room for about as many as there will be.
fn first_steps(first: Step, placed: &[Placed]) -> Vec<Step> {
    let links = placed.iter().map(|placed| match &placed.mount.content {
        Content::Links { links } => links.len(),
        _ => 0,
    });
    let mut steps = Vec::with_capacity(placed.len() * 3 + links.sum::<usize>() + 8);
    steps.push(first);
    steps
}

/// Chooses a directory that no source, no image and no layer lies in.
fn choose_stage(basis: Basis, placed: &[Placed], points: &[Point]) -> Result<PathBuf> {
    let layer = basis.layer_directory();
    let mut used: Vec<&Path> = placed.iter().map(|placed| placed.source.as_path()).collect();
    used.push(&basis.image.root);
    used.extend(layer.as_deref());
    // Nor may it be an entry of a directory of the host whose entries are bound one by one.
    let is_entry = |stage: &&Path| {
        let mut points = points.iter().filter(|point| point.holder != Path::new("/"));
        points.any(|point| stage.parent() == Some(&point.outside))
    };
    used.extend(STAGES.iter().map(Path::new).filter(is_entry));
    free_stage(basis.host, &used).ok_or_else(|| {
        let places = STAGES.join(", ");
        Error::new("find a place for hrun's own files", "every candidate is missing or in use")
            .hint(format!("one of {places} must be a directory that nothing is bound from"))
    })
}

/// The first directory of the host that can hold the stage and that none of the paths lies in.
pub fn free_stage(host: &Host, used: &[&Path]) -> Option<PathBuf> {
    let is_free = |stage: &&&str| {
        let stage = Path::new(stage);
        host.files.kind(stage) == Ok(Some(Kind::Directory))
            && !used.iter().any(|path| is_in(path, stage))
    };
    STAGES.iter().find(is_free).map(PathBuf::from)
}

/// Writes the steps.
struct Emitter<'a> {
    basis: Basis<'a>,
    /// Who said where the command may write.
    origin: Origin,
    stage: PathBuf,
    /// Where the image's root directory is on the host, once it is there.
    root: PathBuf,
    points: Vec<Point>,
    steps: Vec<Step>,
}

impl Emitter<'_> {
    /// Mounts and fills the stage.
    fn stage(&mut self, placed: &mut [Placed]) -> Result<()> {
        let target = text(&self.stage);
        self.push(Action::Tmpfs { target, mode: 0o755, size: None }, &Origin::Default);
        self.steps.extend(unpacked::outlive(self.basis.image, &self.stage));
        for placed in placed {
            let Mount { content, target, origin, .. } = &mut placed.mount;
            // Without write bits: nothing is more writable than the image around it.
            match content {
                Content::File { contents, .. } if !placed.is_made => {
                    let path = self.staged_file(target);
                    let contents = OsString::from_vec(mem::take(contents)).into();
                    self.push(Action::File { path: text(&path), mode: 0o444, contents }, origin);
                }
                Content::Links { links } => {
                    let path = self.staged_file(target);
                    self.directory(&path, 0o555, origin);
                    for (name, target) in links {
                        let (path, target) = (text(&below(&path, Path::new(name))), text(target));
                        self.push(Action::Link { path, target }, origin);
                    }
                }
                _ => {}
            }
        }
        for (number, point) in self.points.iter().enumerate() {
            let staged = self.staged_point(number);
            self.steps.extend(match point.way {
                Way::Overlay { .. } => point.stage(&staged),
                Way::Binds { .. } => point.stage_all(&staged, self.basis.host, self.basis.image)?,
            });
        }
        Ok(())
    }

    /// Mounts the image on its own directory and makes that the root.
    fn root(&mut self) {
        let origin = self.origin.clone();
        let layer = self.layer();
        let point = self.points.iter().position(Point::is_root);
        let way = point.map(|number| self.points[number].way);
        let staged = point.map(|number| text(&self.staged_point(number)));
        let target = text(&self.root);
        let serve = served::serve(self.basis.image, &self.root);
        let is_served = !serve.is_empty();
        self.steps.extend(serve);
        match (way, layer, staged) {
            (Some(Way::Binds { .. }), _, Some(source)) => {
                self.push(Action::Bind { source, target, recursive: false }, &origin);
            }
            (_, layer, below) if layer.is_some() || below.is_some() => {
                let no_exec = self.basis.image.filesystem().no_exec;
                self.push(Action::Overlay { target, below, layer, no_exec }, &origin);
            }
            // What is pivoted to moves away, and entries of the image are bound from there.
            _ if is_served => {
                let source = target.clone();
                self.push(Action::Bind { source, target, recursive: false }, &origin);
            }
            _ => {
                let source = target.clone();
                self.push(Action::Bind { source, target, recursive: true }, &origin);
                if *self.basis.write() == Write::No {
                    self.read_only(&self.root.clone(), true, &origin);
                }
            }
        }
        let root = text(&self.root);
        self.push(Action::Enter { root, by: self.basis.enter_by() }, &Origin::CommandLine);
    }

    /// Makes the directories of a writable layer.
    fn layer(&mut self) -> Option<Layer> {
        let origin = self.origin.clone();
        if !self.basis.has_layer() {
            return None;
        }
        let kept = self.basis.layer_directory();
        let directory = kept.unwrap_or_else(|| self.stage.join("layer"));
        self.directory(&directory, 0o755, &origin);
        if let Write::Layer(_) = self.basis.write() {
            let (file, stage) = (text(&directory.join("lock")), text(&self.stage));
            self.push(Action::Hold { file, stage, waits: self.basis.layer_waits }, &origin);
        }
        if let Write::Fake(size) = self.basis.write() {
            let (target, size) = (text(&directory), size.clone());
            self.push(Action::Tmpfs { target, mode: 0o755, size }, &origin);
        }
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        self.directory(&work, 0o700, &origin);
        // A directory whose owner has no id inside cannot be copied into the layer (EOVERFLOW),
        // so those that everybody may write to are made there beforehand.
        let files = &self.basis.image.files;
        for shared in ["/", "/var", "/var/tmp"].map(Path::new) {
            let is_root = shared.parent().is_none();
            if is_root || files.kind(shared) == Ok(Some(Kind::Directory)) {
                let mode = files.mode(shared).unwrap_or(0o755);
                self.directory(&below(&upper, shared), mode | 0o700, &origin);
            }
        }
        Some(Layer { upper: text(&upper), work: text(&work) })
    }

    /// Mounts everything on the root, each mount followed by what its directories lack.
    fn mounts(&mut self, placed: &[Placed]) -> Result<()> {
        self.points_of(Path::new("/"))?;
        for placed in placed {
            self.mount(placed);
            self.points_of(&placed.target)?;
        }
        Ok(())
    }

    /// Shows the directories of a mount together with what they lack.
    fn points_of(&mut self, holder: &Path) -> Result<()> {
        for number in 0..self.points.len() {
            if self.points[number].holder.as_os_str() != holder {
                continue;
            }
            let point = self.points[number].clone();
            let (target, staged) = (text(&point.directory), text(&self.staged_point(number)));
            match point.way {
                Way::Overlay { .. } if point.is_root() => {}
                Way::Overlay { no_exec } => {
                    let below = Some(staged);
                    let action = Action::Overlay { target, below, layer: None, no_exec };
                    self.push(action, &point.origin);
                }
                Way::Binds { read_only } => {
                    if !point.is_root() {
                        let action = Action::Bind { source: staged, target, recursive: false };
                        self.push(action, &point.origin);
                    }
                    self.bind_entries(&point)?;
                    if read_only {
                        // Recursion from `/` would reach the host's root, still mounted on it.
                        self.read_only(&point.directory, !point.is_root(), &point.origin);
                    }
                }
            }
        }
        Ok(())
    }

    /// Binds what a directory has into the tmpfs that covers it; links are there already.
    fn bind_entries(&mut self, point: &Point) -> Result<()> {
        for (name, kind) in point.present(self.basis.host, self.basis.image)? {
            if kind != Kind::Link {
                let source = text(&point.outside.join(&name));
                let target = point.directory.join(&name);
                let action = Action::Bind { source, target: text(&target), recursive: true };
                self.push(action, &point.origin);
                self.unmount_stage(&point.outside.join(&name), &target, &point.origin);
                if point.is_root() {
                    self.read_only(&target, true, &point.origin);
                }
            }
        }
        Ok(())
    }

    fn mount(&mut self, placed: &Placed) {
        let origin = &placed.mount.origin;
        if let Some(make) = &placed.make {
            self.make(make, origin);
        }
        if placed.is_made {
            return;
        }
        if placed.target == Path::new("/proc") {
            let keep = unpacked::keep(self.basis.image, &self.stage, &placed.target);
            self.steps.extend(keep);
        }
        let target = text(&placed.target);
        match &placed.mount.content {
            Content::Bind { recursive, read_only, .. } => {
                let (source, recursive) = (text(&placed.source), *recursive);
                self.push(Action::Bind { source, target, recursive }, origin);
                if recursive {
                    self.unmount_own(placed, origin);
                }
                if *read_only {
                    self.read_only(&placed.target, recursive, origin);
                }
            }
            Content::Tmpfs { mode, size } => {
                self.push(Action::Tmpfs { target, mode: *mode, size: size.clone() }, origin);
            }
            // Are made, or shown as what they lead to.
            Content::Directory | Content::Link { .. } => {}
            Content::File { .. } | Content::Links { .. } => {
                let source = text(&self.staged_file(&placed.mount.target));
                self.push(Action::Bind { source, target, recursive: false }, origin);
            }
        }
    }

    /// Takes out of a recursive bind what hrun itself has mounted below its source.
    fn unmount_own(&mut self, placed: &Placed, origin: &Origin) {
        let is_moved = self.basis.enter_by() == EnterBy::MoveMount;
        if is_moved && placed.source == Path::new("/") {
            // The container's root, which then is mounted on the host's.
            let target = text(&placed.target);
            self.push(Action::Unmount { target }, origin);
        }
        self.unmount_stage(&placed.source, &placed.target, origin);
    }

    fn unmount_stage(&mut self, source: &Path, target: &Path, origin: &Origin) {
        if let Some(inside) = inner(&self.stage, source) {
            let target = text(&below(target, inside));
            self.push(Action::Unmount { target }, origin);
        }
    }

    /// Makes a destination in place.
    fn make(&mut self, make: &Make, origin: &Origin) {
        let mut path = make.parent.clone();
        let mut names = make.rest.iter().peekable();
        while let Some(name) = names.next() {
            path.push(name);
            let made = if names.peek().is_none() { &make.last } else { &Made::Directory };
            self.steps.push(points::make(&path, made, points::mode(made), origin));
        }
    }

    fn directory(&mut self, path: &Path, mode: u32, origin: &Origin) {
        self.push(Action::Directory { path: text(path), mode }, origin);
    }

    fn read_only(&mut self, target: &Path, recursive: bool, origin: &Origin) {
        let by = self.basis.read_only_by();
        self.push(Action::ReadOnly { target: text(target), recursive, by }, origin);
    }

    fn staged_point(&self, number: usize) -> PathBuf {
        below(&self.stage, Path::new(&number.to_string()))
    }

    /// A generated file, or directory of links, is called in the stage as it is inside.
    fn staged_file(&self, target: &Path) -> PathBuf {
        let name = target.file_name().unwrap_or_default();
        below(&self.stage, Path::new(name))
    }

    fn push(&mut self, action: Action, origin: &Origin) {
        self.steps.push(action.asked_by(origin));
    }
}

fn text(path: &Path) -> Text {
    Text::from(path)
}
