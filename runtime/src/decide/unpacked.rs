//! A packed image that is run from a copy: where that lies, and what it takes.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustc_hash::FxHasher;

use crate::error::{Error, Result};
use crate::look::files::Kind;
use crate::look::host::Host;
use crate::look::image::{Copy, Image};
use crate::origin::Origin;
use crate::plan::{Action, Step};
use crate::ranks;
use crate::request::Request;

/// Variables that name a directory of the job on this node.
const VARIABLES: [&str; 2] = ["SLURM_TMPDIR", "TMPDIR"];

/// Directories that every machine has.
const PLACES: [&str; 2] = ["/tmp", "/var/tmp"];

/// Chooses where the copy of a packed image lies, if it is to be run from one.
///
/// # Errors
///
/// Fails if there is no such place, or if the image cannot be read.
pub fn choose(request: &Request, host: &Host, image: Image) -> Result<Image> {
    let Some((asked, packed)) = request.unpack.as_ref().zip(image.files.packed()) else {
        return Ok(image);
    };
    let fail = |reason: Errno| {
        Error::new(format!("unpack the image {}", image.root.display()), reason)
            .asked_by(&asked.origin)
    };
    let directory = match &asked.value {
        Some(directory) => named(host, directory).map_err(|errno| {
            fail(errno).hint(format!(
                "{} must be a directory of this node that you may write to",
                directory.display()
            ))
        })?,
        None => usual(host).ok_or_else(|| {
            fail(Errno::ENOENT).hint(
                "neither SLURM_TMPDIR nor TMPDIR, /tmp or /var/tmp is a local directory that you \
                 may write to and run programs in; name one: --unpack=DIR",
            )
        })?,
    };
    let mark = packed.identity().map_err(fail)?;
    let mut hasher = FxHasher::default();
    mark.hash(&mut hasher);
    let own = host.own_name(&directory.join(format!("hrun-images-{}", host.uid)));
    let copy = Copy {
        tree: own.join(format!("{:016x}", hasher.finish())),
        filesystem: host.filesystem(&directory),
        mark,
        origin: asked.origin.clone(),
    };
    Ok(image.copied(copy))
}

/// The directory that was asked for.
fn named(host: &Host, directory: &Path) -> std::result::Result<PathBuf, Errno> {
    match host.find(&host.cwd.join(directory))? {
        Some((path, Kind::Directory)) => Ok(path),
        Some(_) => Err(Errno::ENOTDIR),
        None => Err(Errno::ENOENT),
    }
}

/// A directory on a disk of this node that programs can be run in; in memory if there is no other.
///
/// The job's own comes first: what goes wrong, somebody empties it.
fn usual(host: &Host) -> Option<PathBuf> {
    let variables = VARIABLES.iter().filter_map(|name| host.path_variable(name));
    let found = variables.chain(PLACES.iter().map(PathBuf::from)).filter_map(|path| {
        let path = named(host, &path).ok()?;
        let filesystem = host.filesystem(&path);
        let is_fit = filesystem.is_local()
            && !filesystem.no_exec
            && host.can_use(&host.files.outside(&path));
        is_fit.then_some((path, filesystem))
    });
    let (in_memory, on_disk): (Vec<_>, Vec<_>) =
        found.partition(|(_, filesystem)| filesystem.is_in_memory());
    on_disk.into_iter().chain(in_memory).next().map(|(path, _)| path)
}

/// The step that makes sure of the copy, before ranks meet: each of them holds it.
pub fn unpack(request: &Request, host: &Host, image: &Image, layout: &[Step]) -> Option<Step> {
    let (copy, packed) = image.copy.as_ref().zip(image.files.packed())?;
    // A container that is joined has its own.
    layout.iter().find(|step| matches!(step.action, Action::Outlive { .. }))?;
    let action = Action::Unpack {
        image: packed.path().into(),
        offset: packed.offset(),
        tree: (&copy.tree).into(),
        mark: copy.mark.clone(),
        says: !request.quiet && ranks::local_rank(host).unwrap_or(0) == 0,
    };
    Some(action.asked_by(&copy.origin))
}

/// What is done when the stage is mounted: the copy is left to whoever removes it, and something is
/// made that keeps the stage.
pub fn outlive(image: &Image, stage: &Path) -> Vec<Step> {
    let Some(Copy { tree, origin, .. }) = &image.copy else { return Vec::new() };
    let outlive = Action::Outlive { tree: tree.into(), stage: stage.into() };
    let directory = Action::Directory { path: kept(stage).into(), mode: 0o555 };
    vec![outlive.asked_by(origin), directory.asked_by(origin)]
}

/// Keeps the stage mounted as long as anything of the container is; a mount that covers it follows.
pub fn keep(image: &Image, stage: &Path, target: &Path) -> Option<Step> {
    let origin: &Origin = &image.copy.as_ref()?.origin;
    let (source, target) = (kept(stage).into(), target.into());
    Some(Action::Bind { source, target, recursive: false }.asked_by(origin))
}

fn kept(stage: &Path) -> PathBuf {
    stage.join("kept")
}
