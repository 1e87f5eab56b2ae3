//! What is to be seen inside besides the image: the defaults, what injectors found, what was asked.

use std::path::{Path, PathBuf};

use crate::edits::{Content, Mount, Rank};
use crate::error::{Error, Result};
use crate::look::files::{self, Files, Kind, Resolved};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::{depth, is_in, names};
use crate::plan::Note;
use crate::request::{Asked, Bind, Request};

/// Directories of the system: a home directory in one of them is not shown where it would hide
/// files of the image, as those of daemons would (`/usr/sbin`). Some sites have the users' there
/// (`/usr/users`).
const SYSTEM: [&str; 8] = ["/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr"];
/// Directories that the kernel fills: no home directory is shown in them.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Collects all mounts, decides which of them win, and orders them: outer ones first.
///
/// # Errors
///
/// Fails on a bind without a usable destination.
pub fn wanted(
    request: &Request,
    host: &Host,
    image: &Image,
    injected: Vec<Mount>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for path in ["/dev", "/proc", "/sys"] {
        mounts.push(bind(PathBuf::from(path), false, &Origin::Default));
    }
    mounts.extend(tmp(request, host));
    mounts.extend(home(request, host, image, notes));
    mounts.extend(cwd(request, host, image, notes));
    mounts.extend(injected);
    for asked in &request.binds {
        mounts.push(asked_bind(asked, host)?);
    }
    Ok(settle(mounts, image))
}

/// The host's `/tmp` and `$TMPDIR`, or an empty `/tmp` in which `$TMPDIR` still exists.
fn tmp(request: &Request, host: &Host) -> Vec<Mount> {
    let tmp = PathBuf::from("/tmp");
    let private = request.private_tmp.as_ref();
    let origin = private.map(|asked| &asked.origin).or(request.contain.as_ref());
    if let Some(origin) = origin {
        let size = private.and_then(|asked| asked.value.clone());
        let below = host.path_variable("TMPDIR").map(|path| clean(&path));
        let below = below.filter(|path| is_in(path, &tmp) && *path != tmp);
        let below = below.map(|path| mount(Content::Directory, path, origin));
        return [tmpfs(tmp, 0o1777, size, origin)].into_iter().chain(below).collect();
    }
    let mut mounts = vec![bind(tmp, true, &Origin::Default)];
    if let Some(directory) = host.path_variable("TMPDIR") {
        mounts.push(bind(clean(&directory), true, &Origin::Default));
    }
    mounts
}

/// The caller's home directory at the path `$HOME` gives, or an empty one.
fn home(request: &Request, host: &Host, image: &Image, notes: &mut Vec<Note>) -> Option<Mount> {
    let home = clean(&host.path_variable("HOME")?);
    if request.no_home.is_some() {
        return None;
    }
    let is_below = |above: &[&str]| above.iter().any(|above| is_in(&home, Path::new(above)));
    if home == Path::new("/") || is_below(&KERNELS) {
        notes.push(Note::info(format!("home directory {} is not shown", home.display())));
        return None;
    }
    let has_its_own = || match files::find(&image.files, &home).ok().flatten() {
        Some((path, Kind::Directory)) => {
            image.files.list(&path).map_or(true, |names| !names.is_empty())
        }
        found => found.is_some(),
    };
    if is_below(&SYSTEM) && has_its_own() {
        notes.push(Note::warning(format!(
            "home directory {} is not shown: the image has its own; --bind shows yours elsewhere",
            home.display()
        )));
        return None;
    }
    match &request.contain {
        Some(origin) => Some(tmpfs(home, 0o700, None, origin)),
        None => Some(bind(home, true, &Origin::Default)),
    }
}

/// The current directory, unless it would hide files of the image.
fn cwd(request: &Request, host: &Host, image: &Image, notes: &mut Vec<Note>) -> Option<Mount> {
    let left_out = request.no_cwd.is_some() || request.contain.is_some();
    if left_out || host.cwd == Path::new("/") {
        return None;
    }
    let inside = files::find(&image.files, &host.cwd).ok().flatten();
    let hides = match inside {
        Some((path, Kind::Directory)) => {
            image.files.list(&path).map_or(true, |names| !names.is_empty())
        }
        Some(_) => true,
        None => false,
    };
    if hides {
        let cwd = host.cwd.display();
        notes.push(Note::info(format!(
            "current directory {cwd} is not shown: the image has its own"
        )));
        return None;
    }
    Some(bind(host.cwd.clone(), true, &Origin::Default))
}

fn asked_bind(asked: &Asked<Bind>, host: &Host) -> Result<Mount> {
    let Bind { source, target, read_only, optional, recursive, .. } = &asked.value;
    let source = host.cwd.join(source);
    let target = target.clone().unwrap_or_else(|| clean(&source));
    if target == Path::new("/") {
        return Err(Error::new("bind / at /", "that is the image itself")
            .asked_by(&asked.origin)
            .hint("give a destination: --bind /:/host"));
    }
    Ok(Mount {
        content: Content::Bind {
            source,
            recursive: *recursive,
            read_only: *read_only,
            optional: *optional,
        },
        target,
        origin: asked.origin.clone(),
        rank: Rank::Asked,
    })
}

/// Drops mounts that a stronger or later one covers; orders the others by depth, so that a mount
/// below another is made after it.
///
/// Places are compared by where the image's links lead: `/var/run/x` is below `/run`.
fn settle(mounts: Vec<Mount>, image: &Image) -> Vec<Mount> {
    // By themselves, hrun's own mounts have different places.
    let is_asked = mounts.iter().any(|mount| mount.rank == Rank::Asked);
    let place = |mount: &Mount| match is_asked {
        true => place(&mount.target, image),
        false => mount.target.clone(),
    };
    let places: Vec<PathBuf> = mounts.iter().map(place).collect();
    let covered = |index: usize, mount: &Mount| {
        mounts.iter().enumerate().any(|(other_index, other)| {
            let is_stronger = (other.rank, other_index) > (mount.rank, index);
            let hides = other.rank == Rank::Asked && mount.rank < Rank::Asked;
            let (place, other_place) = (&places[index], &places[other_index]);
            let is_there =
                place.as_os_str() == other_place.as_os_str() || hides && is_in(place, other_place);
            is_stronger && is_there
        })
    };
    let is_kept: Vec<bool> =
        mounts.iter().enumerate().map(|(index, mount)| !covered(index, mount)).collect();
    let kept = mounts.into_iter().zip(places).zip(is_kept).filter(|(_, is_kept)| *is_kept);
    let mut kept: Vec<(usize, Mount)> =
        kept.map(|((mount, place), _)| (depth(&place), mount)).collect();
    kept.sort_by_key(|(depth, _)| *depth);
    kept.into_iter().map(|(_, mount)| mount).collect()
}

fn place(target: &Path, image: &Image) -> PathBuf {
    match files::resolve(&image.files, target) {
        Ok(Resolved::Found { path, .. }) => path,
        Ok(Resolved::Missing { parent, rest }) => parent.join(rest),
        Err(_) => target.to_path_buf(),
    }
}

fn bind(path: PathBuf, optional: bool, origin: &Origin) -> Mount {
    let source = path.clone();
    mount(Content::Bind { source, recursive: true, read_only: false, optional }, path, origin)
}

fn tmpfs(path: PathBuf, mode: u32, size: Option<String>, origin: &Origin) -> Mount {
    mount(Content::Tmpfs { mode, size }, path, origin)
}

fn mount(content: Content, target: PathBuf, origin: &Origin) -> Mount {
    Mount { content, target, origin: origin.clone(), rank: Rank::Default }
}

/// Takes `.` and `..` out of an absolute path, by its letters alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for name in names(path) {
        match name == ".." {
            true => drop(cleaned.pop()),
            false => cleaned.push(name),
        }
    }
    cleaned
}
