//! The steps that make the container's root directory, in order.
//!
//! A destination never has to exist. What a read-only directory lacks is made in a private tmpfs,
//! the *stage*, and shown by an overlay, or without overlay by binding the directory's entries
//! into the tmpfs one by one ([`super::points`]).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::place::{Make, Placed};
use super::points::{Point, Points, Way};
use crate::edits::Content;
use crate::error::{Error, Result};
use crate::look::files::{Files, Kind};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::look::kernel::{Feature, Kernel};
use crate::origin::Origin;
use crate::plan::{Action, EnterBy, Layer, ReadOnlyBy, Step};
use crate::request::{Asked, Write};
use crate::text::{Text, below};

/// Where the stage can be mounted: directories of the Filesystem Hierarchy Standard that a job
/// seldom needs. They are covered in hrun's own mount namespace only.
const STAGES: [&str; 6] = ["/srv", "/mnt", "/media", "/opt", "/var/empty", "/usr"];

/// What the steps depend on besides the mounts.
pub struct Setting<'a> {
    /// The host.
    pub host: &'a Host,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The image.
    pub image: &'a Image,
    /// Where the command may write.
    pub write: Option<&'a Asked<Write>>,
}

/// Decides the steps from the stage to [`Action::Leave`].
///
/// # Errors
///
/// Fails if a layer is asked for that the kernel cannot give, if no directory is free for the
/// stage, or if a directory that lacks something cannot be listed.
pub fn decide(setting: &Setting, placed: &[Placed], points: Points) -> Result<Vec<Step>> {
    let write = setting.write.map_or(&Write::No, |asked| &asked.value);
    let origin = setting.write.map_or(Origin::Default, |asked| asked.origin.clone());
    let has_layer = matches!(write, Write::Fake(_) | Write::Layer(_));
    if has_layer {
        check_layer(setting.kernel, &origin)?;
    }
    let overlay = has_layer || setting.kernel.has(Feature::Overlay, setting.host);
    let way = if overlay { Way::Overlay } else { Way::Binds };
    let mut emitter = Emitter {
        setting,
        way,
        stage: choose_stage(setting, placed, write)?,
        points: points.gather(way, has_layer, setting.image),
        steps: Vec::new(),
    };
    emitter.stage(placed)?;
    emitter.root(write, &origin);
    emitter.mounts(placed)?;
    emitter.push(Action::Leave { by: emitter.enter_by() }, &Origin::Default);
    Ok(emitter.steps)
}

/// A layer needs overlay whatever `/proc/filesystems` says: the kernel may load the module.
fn check_layer(kernel: &Kernel, origin: &Origin) -> Result<()> {
    let reason = if kernel.assume_missing.contains(&Feature::Overlay) {
        "--assume-missing=overlay takes away what it needs".to_owned()
    } else if kernel.may_have_overlay() {
        return Ok(());
    } else {
        format!("Linux {} has no overlay in user namespaces", kernel.release)
    };
    let hint = "Linux 5.11 has it; on this kernel run a copy of the image with --write";
    Err(Error::new("write to a layer over the image", reason).asked_by(origin).hint(hint))
}

/// Chooses a directory that no source, no image and no layer lies in.
fn choose_stage(setting: &Setting, placed: &[Placed], write: &Write) -> Result<PathBuf> {
    let layer = match write {
        Write::Layer(directory) => Some(setting.host.cwd.join(directory)),
        Write::No | Write::Image | Write::Fake(_) => None,
    };
    let mut used: Vec<&Path> = placed.iter().map(|placed| placed.source.as_path()).collect();
    used.push(&setting.image.root);
    used.extend(layer.as_deref());
    free_stage(setting.host, &used).ok_or_else(|| {
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
            && !used.iter().any(|path| path.starts_with(stage))
    };
    STAGES.iter().find(is_free).map(PathBuf::from)
}

/// Writes the steps.
struct Emitter<'a> {
    setting: &'a Setting<'a>,
    way: Way,
    stage: PathBuf,
    points: Vec<Point>,
    steps: Vec<Step>,
}

impl Emitter<'_> {
    /// Mounts and fills the stage.
    fn stage(&mut self, placed: &[Placed]) -> Result<()> {
        let target = text(&self.stage);
        self.push(Action::Tmpfs { target, mode: 0o755, size: None }, &Origin::Default);
        for placed in placed {
            if let Content::File { contents } = &placed.mount.content {
                let path = text(&self.staged_file(placed));
                let contents = OsString::from_vec(contents.clone()).into();
                // Without a write bit: it is no more writable than the image around it.
                self.push(Action::File { path, mode: 0o444, contents }, &placed.mount.origin);
            }
        }
        for (number, point) in self.points.iter().enumerate() {
            let staged = self.staged_point(number);
            self.steps.extend(match self.way {
                Way::Overlay => point.stage(&staged),
                Way::Binds => point.stage_all(&staged, self.setting.host, self.setting.image)?,
            });
        }
        Ok(())
    }

    /// Mounts the image on its own directory and makes that the root.
    fn root(&mut self, write: &Write, origin: &Origin) {
        let layer = self.layer(write, origin);
        let point = self.points.iter().position(Point::is_root);
        let staged = point.map(|number| text(&self.staged_point(number)));
        let target = text(&self.setting.image.root);
        match (self.way, layer, staged) {
            (Way::Binds, _, Some(source)) => {
                self.push(Action::Bind { source, target, recursive: false }, origin);
            }
            (Way::Overlay, layer, below) if layer.is_some() || below.is_some() => {
                self.push(Action::Overlay { target, below, layer }, origin);
            }
            _ => {
                let source = target.clone();
                self.push(Action::Bind { source, target, recursive: true }, origin);
                if *write == Write::No {
                    self.read_only(&self.setting.image.root.clone(), true, origin);
                }
            }
        }
        let root = text(&self.setting.image.root);
        self.push(Action::Enter { root, by: self.enter_by() }, &Origin::Default);
    }

    /// Makes the directories of a writable layer.
    fn layer(&mut self, write: &Write, origin: &Origin) -> Option<Layer> {
        let directory = match write {
            Write::No | Write::Image => return None,
            Write::Fake(_) => self.stage.join("layer"),
            Write::Layer(directory) => self.setting.host.cwd.join(directory),
        };
        self.directory(&directory, 0o755, origin);
        if let Write::Fake(size) = write {
            let target = text(&directory);
            self.push(Action::Tmpfs { target, mode: 0o755, size: size.clone() }, origin);
        }
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        self.directory(&work, 0o700, origin);
        // A directory whose owner has no id inside cannot be copied into the layer (EOVERFLOW),
        // so those that everybody may write to are made there beforehand.
        for shared in ["/", "/var", "/var/tmp"].map(Path::new) {
            if self.setting.image.files.kind(shared) == Ok(Some(Kind::Directory))
                || shared.parent().is_none()
            {
                let mode = self.setting.image.files.mode(shared).unwrap_or(0o755);
                self.directory(&below(&upper, shared), mode | 0o700, origin);
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
            let point = self.points[number].clone();
            if point.holder != holder {
                continue;
            }
            let (target, staged) = (text(&point.directory), text(&self.staged_point(number)));
            match self.way {
                Way::Overlay if point.is_root() => {}
                Way::Overlay => {
                    let action = Action::Overlay { target, below: Some(staged), layer: None };
                    self.push(action, &point.origin);
                }
                Way::Binds => {
                    if !point.is_root() {
                        let action = Action::Bind { source: staged, target, recursive: false };
                        self.push(action, &point.origin);
                    }
                    self.bind_entries(&point)?;
                    self.read_only(&point.directory, true, &point.origin);
                }
            }
        }
        Ok(())
    }

    /// Binds what a directory has into the tmpfs that covers it; links are there already.
    fn bind_entries(&mut self, point: &Point) -> Result<()> {
        for (name, kind) in point.present(self.setting.host, self.setting.image)? {
            if kind != Kind::Link {
                let source = text(&point.outside.join(&name));
                let target = text(&point.directory.join(&name));
                self.push(Action::Bind { source, target, recursive: true }, &point.origin);
            }
        }
        Ok(())
    }

    fn mount(&mut self, placed: &Placed) {
        let origin = &placed.mount.origin;
        if let Some(make) = &placed.make {
            self.make(make, origin);
        }
        let target = text(&placed.target);
        match &placed.mount.content {
            Content::Bind { recursive, read_only, .. } => {
                let (source, recursive) = (text(&placed.source), *recursive);
                self.push(Action::Bind { source, target, recursive }, origin);
                if let (true, Ok(inside)) = (recursive, self.stage.strip_prefix(&placed.source)) {
                    let target = text(&placed.target.join(inside));
                    self.push(Action::Unmount { target }, origin);
                }
                if *read_only {
                    self.read_only(&placed.target, recursive, origin);
                }
            }
            Content::Tmpfs { mode, size } => {
                self.push(Action::Tmpfs { target, mode: *mode, size: size.clone() }, origin);
            }
            Content::File { .. } => {
                let source = text(&self.staged_file(placed));
                self.push(Action::Bind { source, target, recursive: false }, origin);
            }
        }
    }

    /// Makes a destination in place.
    fn make(&mut self, make: &Make, origin: &Origin) {
        let mut path = make.parent.clone();
        let mut names = make.rest.iter().peekable();
        while let Some(name) = names.next() {
            path.push(name);
            if names.peek().is_none() && make.kind == Kind::File {
                let (path, contents) = (text(&path), Text::default());
                self.push(Action::File { path, mode: 0o644, contents }, origin);
            } else {
                self.directory(&path, 0o755, origin);
            }
        }
    }

    fn directory(&mut self, path: &Path, mode: u32, origin: &Origin) {
        self.push(Action::Directory { path: text(path), mode }, origin);
    }

    fn read_only(&mut self, target: &Path, recursive: bool, origin: &Origin) {
        let by = match self.setting.kernel.has(Feature::MountSetattr, self.setting.host) {
            true => ReadOnlyBy::MountSetattr,
            false => ReadOnlyBy::Remount,
        };
        self.push(Action::ReadOnly { target: text(target), recursive, by }, origin);
    }

    fn enter_by(&self) -> EnterBy {
        match self.setting.kernel.has(Feature::PivotRoot, self.setting.host) {
            true => EnterBy::PivotRoot,
            false => EnterBy::MoveMount,
        }
    }

    fn staged_point(&self, number: usize) -> PathBuf {
        self.stage.join(number.to_string())
    }

    /// A generated file is called in the stage as it is inside.
    fn staged_file(&self, placed: &Placed) -> PathBuf {
        let name = placed.mount.target.file_name().unwrap_or_default();
        self.stage.join(name)
    }

    fn push(&mut self, action: Action, origin: &Origin) {
        self.steps.push(action.asked_by(origin));
    }
}

fn text(path: &Path) -> Text {
    Text::from(path)
}
