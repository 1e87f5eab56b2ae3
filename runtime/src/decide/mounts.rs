//! What is to be seen inside besides the image: the defaults, what injectors found, what was asked.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

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

/// Directories for temporary files, which an option can make the command's own.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

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
    mounts.extend(temporary(request, host, image, notes));
    mounts.extend(home(request, host, image, notes));
    mounts.extend(cwd(request, host, image));
    mounts.extend(injected.into_iter().filter(|mount| !hides_system(mount, image, notes)));
    for asked in &request.binds {
        // One that is left out must not displace what is shown by default.
        if !is_left_out(asked, host, notes) {
            mounts.push(asked_bind(asked, host)?);
        }
    }
    Ok(settle(mounts, image))
}

/// The option that hides the current directory: one that leaves it out, or one that gives the
/// command a directory of its own in that place.
pub(super) fn hides_cwd<'a>(request: &'a Request, host: &Host) -> Option<&'a Origin> {
    let private = request.private_tmp.as_ref().map(|asked| &asked.origin);
    request
        .no_cwd
        .as_ref()
        .or(request.contain.as_ref())
        .or(private.filter(|_| is_temporary(&host.cwd)))
        .or(request.no_home.as_ref().filter(|_| shows_home(&host.cwd, host)))
}

/// Whether a directory shows the home directory, as it is that or lies above it.
fn shows_home(directory: &Path, host: &Host) -> bool {
    let Some(home) = host.path_variable("HOME") else { return false };
    let found = host.find(&home).ok().flatten().map(|(home, _)| home);
    is_in(&clean(&home), directory) || found.is_some_and(|home| is_in(&home, directory))
}

fn is_temporary(path: &Path) -> bool {
    TEMPORARY.iter().any(|directory| path == Path::new(directory))
}

/// The host's `/tmp`, `/var/tmp` and `$TMPDIR`, or empty ones, in which `$TMPDIR` still exists.
fn temporary(request: &Request, host: &Host, image: &Image, notes: &mut Vec<Note>) -> Vec<Mount> {
    let named = named_temporary(host);
    let is_below = |path: &PathBuf| TEMPORARY.iter().any(|tmp| is_in(path, Path::new(tmp)));
    let private = request.private_tmp.as_ref();
    let origin = private.map(|asked| &asked.origin).or(request.contain.as_ref());
    if let Some(origin) = origin {
        let size = private.and_then(|asked| asked.value.clone());
        let empty = |path: &&str| tmpfs(PathBuf::from(path), 0o1777, size.clone(), origin);
        let below = named.into_iter().filter(is_below);
        let below = below.map(|path| mount(Content::Directory, path, origin));
        return TEMPORARY.iter().map(empty).chain(below).collect();
    }
    host.files.look_along(Path::new("/var/tmp"));
    let shown = |path: &&str| bind(PathBuf::from(path), true, &Origin::Default);
    let named = named
        .into_iter()
        .filter(|path| is_below(path) || can_show_tmpdir(path, host, image, request, notes));
    let named = named.map(|path| bind(path, true, &Origin::Default));
    TEMPORARY.iter().map(shown).chain(named).collect()
}

/// Whether a directory for temporary files of the host can be shown: it may not hide what the image has, nor show what
/// an option leaves out.
fn can_show_tmpdir(
    path: &Path,
    host: &Host,
    image: &Image,
    request: &Request,
    notes: &mut Vec<Note>,
) -> bool {
    let reason = if !matches!(host.find(path), Ok(Some(_))) {
        // Nothing of the host's to be shown.
        return true;
    } else if has_files(image, path) {
        "the image has files there".to_owned()
    } else if let Some(origin) = request.no_home.as_ref().filter(|_| shows_home(path, host)) {
        format!("{origin} leaves it out")
    } else {
        return true;
    };
    let path = path.display();
    notes.push(Note::warning(format!("the host's {path} is not shown (TMPDIR): {reason}")));
    false
}

/// The directories for temporary files that variables name, each once; a site's prologue sets the
/// second variable.
fn named_temporary(host: &Host) -> Vec<PathBuf> {
    let named = ["TMPDIR", "SLURM_TMPDIR"].iter().filter_map(|name| host.path_variable(name));
    let named = named.map(|path| clean(&path));
    let mut found: Vec<PathBuf> =
        named.filter(|path| !is_temporary(path) && path != Path::new("/")).collect();
    found.dedup();
    found
}

/// Whether a mount would show a directory of the host in the place of one of the image's own
/// directories of the first level: a variable that names such a directory is wrong.
fn hides_system(mount: &Mount, image: &Image, notes: &mut Vec<Note>) -> bool {
    let Content::Bind { source, optional: true, .. } = &mount.content else { return false };
    let hides = *source == mount.target
        && depth(source) == 1
        && !is_temporary(source)
        && has_files(image, source);
    if hides {
        let (path, origin) = (source.display(), &mount.origin);
        notes.push(Note::warning(format!(
            "the host's {path} is not shown ({origin}): the image has files there"
        )));
    }
    hides
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
    if is_below(&SYSTEM) && has_files(image, &home) {
        notes.push(Note::warning(format!(
            "home directory {} is not shown: the image has its own; --bind shows yours elsewhere",
            home.display()
        )));
        return None;
    }
    match &request.contain {
        // It is empty already.
        Some(_) if is_temporary(&home) => None,
        Some(origin) => Some(tmpfs(home, 0o700, None, origin)),
        None => Some(bind(home, true, &Origin::Default)),
    }
}

/// The current directory, unless an option hides it or it would hide files of the image.
fn cwd(request: &Request, host: &Host, image: &Image) -> Option<Mount> {
    let is_root = host.cwd == Path::new("/");
    if is_root || hides_cwd(request, host).is_some() || has_files(image, &host.cwd) {
        return None;
    }
    Some(bind(host.cwd.clone(), true, &Origin::Default))
}

/// Whether the image has files at a path: something in a directory, or what is none.
fn has_files(image: &Image, path: &Path) -> bool {
    match files::find(&image.files, path).ok().flatten() {
        Some((path, Kind::Directory)) => {
            image.files.list(&path).map_or(true, |names| !names.is_empty())
        }
        Some(_) => true,
        None => false,
    }
}

/// Whether a bind is left out because the host lacks its source.
fn is_left_out(asked: &Asked<Bind>, host: &Host, notes: &mut Vec<Note>) -> bool {
    let source = host.cwd.join(&asked.value.source);
    let is_missing =
        asked.value.optional && matches!(host.find(&source), Ok(None) | Err(Errno::EACCES));
    if is_missing {
        notes.push(no_source(&source, &asked.origin));
    }
    is_missing
}

/// Says that the source of a bind is missing, where that is fine.
pub(super) fn no_source(source: &Path, origin: &Origin) -> Note {
    Note::info(format!("no {} on this host ({origin})", source.display()))
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
    Mount { rank: Rank::Private, ..mount(Content::Tmpfs { mode, size }, path, origin) }
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
