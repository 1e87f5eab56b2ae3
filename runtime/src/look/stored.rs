//! Images that are given by name: `himage` keeps them in a store.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::files::Kind;
use super::host::Host;
use super::image::{Image, Stored};
use crate::error::{Cause, Error, Result};
use crate::reference::Reference;
use crate::spelling::{self, Foreign};
use crate::text::quoted;

/// The store: the one that was asked for, or the caller's own.
///
/// # Errors
///
/// Fails if nothing says where the caller's own would be.
pub fn directory(asked: Option<&Path>, host: &Host) -> Result<PathBuf> {
    let own = || {
        let home = host.path_variable("HOME").map(|home| home.join(".local/share"));
        Some(host.path_variable("XDG_DATA_HOME").or(home)?.join("hrun"))
    };
    let asked = asked.map(|asked| host.cwd.join(asked));
    asked.or_else(own).ok_or_else(|| {
        Error::new("find the store of images", "neither XDG_DATA_HOME nor HOME is set")
            .hint("say where it is: --store DIR, or HRUN_STORE")
    })
}

/// Looks at the image at a path; if there is none, at that of this name in the store.
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
    let Some(directory) = directory(store, host).ok().filter(|_| !is_final) else { return found };
    let link = directory.join("names").join(reference.path());
    match host.find(&link) {
        Ok(Some((tree, _))) => {
            let hidden = (!is_missing).then(|| Path::new("./").join(named));
            let mut image = Image::look(&tree, host)?;
            image.stored = Some(Stored { name: reference.familiar(), hidden });
            Ok(image)
        }
        Ok(None) if is_missing => Err(missing(named, &reference, &directory)),
        Err(errno) if is_missing => {
            Err(Error::new(format!("look for {reference} in {}", quoted(&directory)), errno))
        }
        Ok(None) | Err(_) => found,
    }
}

/// The store that keeps what is at a path of the host, if one does.
pub fn holding(path: &Path, host: &Host) -> Option<PathBuf> {
    let is_directory = |path: PathBuf| matches!(host.find(&path), Ok(Some((_, Kind::Directory))));
    let is_store = |directory: &&Path| {
        ["names", "trees", "blobs"].iter().all(|part| is_directory(directory.join(part)))
    };
    path.ancestors().find(is_store).map(Path::to_path_buf)
}

fn missing(named: &Path, reference: &Reference, store: &Path) -> Error {
    let store = quoted(store);
    let reason = format!("there is no such file, and no image of this name in {store}");
    let familiar = reference.familiar();
    Error::new(format!("use {} as an image", quoted(named)), reason)
        .hint(format!("himage pull {familiar}; himage list shows what there is"))
}
