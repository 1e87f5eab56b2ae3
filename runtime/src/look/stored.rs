//! Images that are given by name: `himage` keeps them in a store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::files::Kind;
use super::host::Host;
use super::image::{Image, Stored};
use crate::error::{Cause, Error, Result};
use crate::reference::Reference;
use crate::spelling::{self, Foreign};
use crate::text::quoted;

/// The stores, of which the first is the one that is written: those that were asked for, with `:`
/// between them, an empty name being the caller's own; or that one alone.
///
/// # Errors
///
/// Fails if nothing says where the caller's own would be.
pub fn directories(asked: Option<&Path>, host: &Host) -> Result<Vec<PathBuf>> {
    let own = || {
        let home = host.path_variable("HOME").map(|home| home.join(".local/share"));
        let own = host.path_variable("XDG_DATA_HOME").or(home).map(|data| data.join("hrun"));
        own.ok_or_else(|| {
            Error::new("find the store of images", "neither XDG_DATA_HOME nor HOME is set")
                .hint("say where it is: --store DIR, or HRUN_STORE")
        })
    };
    let Some(asked) = asked.map(Path::as_os_str) else { return Ok(vec![own()?]) };
    // A directory whose name has a colon is what was meant.
    if asked.as_bytes().contains(&b':') && !matches!(host.find(&host.cwd.join(asked)), Ok(Some(_)))
    {
        let names = asked.as_bytes().split(|byte| *byte == b':');
        return names
            .map(|name| match name {
                b"" => own(),
                name => Ok(host.cwd.join(OsStr::from_bytes(name))),
            })
            .collect();
    }
    Ok(vec![host.cwd.join(asked)])
}

/// Looks at the image at a path; if there is none, at that of this name in the first store that has it.
///
/// # Errors
///
/// As [`Image::look`]; where neither is there, the error says how to get the image.
pub fn look(named: &Path, store: Option<&Path>, host: &Host) -> Result<Image> {
    let found = Image::look(named, host);
    let is_missing = found.as_ref().is_err_and(|error| error.cause == Cause::Errno(Errno::ENOENT));
    let name = named.to_str();
    if let Some(Foreign { reason, hint }) = name.filter(|_| is_missing).and_then(spelling::foreign)
    {
        return Err(Error::new(format!("use {} as an image", quoted(named)), reason).hint(hint));
    }
    let Some(reference) = name.and_then(|name| Reference::parse(name).ok()) else {
        return found;
    };
    let is_final = match &found {
        Ok(image) => image.is_root(),
        Err(Error { cause: Cause::Errno(errno), .. }) => *errno != Errno::ENOENT,
        Err(_) => false,
    };
    let Some(stores) = directories(store, host).ok().filter(|_| !is_final) else { return found };
    for directory in &stores {
        let link = directory.join("names").join(reference.path());
        match host.find(&link) {
            Ok(Some((tree, _))) => {
                let hidden = (!is_missing).then(|| Path::new("./").join(named));
                let mut image = Image::look(&tree, host)?;
                image.stored = Some(Stored { name: reference.familiar(), hidden });
                return Ok(image);
            }
            Err(errno) if is_missing => {
                let attempt = format!("look for {reference} in {}", quoted(directory));
                return Err(Error::new(attempt, errno));
            }
            Ok(None) | Err(_) => {}
        }
    }
    if is_missing { Err(missing(named, &reference, &stores)) } else { found }
}

/// The store that keeps what is at a path of the host, if one does.
pub fn holding(path: &Path, host: &Host) -> Option<PathBuf> {
    let is_directory = |path: PathBuf| matches!(host.find(&path), Ok(Some((_, Kind::Directory))));
    let is_store = |directory: &&Path| {
        ["names", "trees", "blobs"].iter().all(|part| is_directory(directory.join(part)))
    };
    path.ancestors().find(is_store).map(Path::to_path_buf)
}

fn missing(named: &Path, reference: &Reference, stores: &[PathBuf]) -> Error {
    let stores: Vec<String> = stores.iter().map(|store| quoted(store)).collect();
    let stores = stores.join(" or ");
    let reason = format!("there is no such file, and no image of this name in {stores}");
    let familiar = reference.familiar();
    Error::new(format!("use {} as an image", quoted(named)), reason)
        .hint(format!("himage pull {familiar}; himage list shows what there is"))
}
