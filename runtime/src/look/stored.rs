//! Images that are given by name: `himage` keeps them in a store.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::host::Host;
use super::image::Image;
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
    let error = match Image::look(named, host) {
        Err(error) if error.cause == Cause::Errno(Errno::ENOENT) => error,
        result => return result,
    };
    let Some(name) = named.to_str() else { return Err(error) };
    if let Some(Foreign { reason, hint }) = spelling::foreign(name) {
        return Err(Error::new(format!("use {} as an image", quoted(named)), reason).hint(hint));
    }
    let Ok(reference) = Reference::parse(name) else { return Err(error) };
    let Ok(directory) = directory(store, host) else { return Err(error) };
    let link = directory.join("names").join(reference.path());
    match host.find(&link) {
        Ok(Some((tree, _))) => Image::look(&tree, host),
        Ok(None) => Err(missing(named, &reference, &directory)),
        Err(errno) => {
            Err(Error::new(format!("look for {reference} in {}", quoted(&directory)), errno))
        }
    }
}

fn missing(named: &Path, reference: &Reference, store: &Path) -> Error {
    let store = quoted(store);
    let reason = format!("there is no such file, and no image of this name in {store}");
    let familiar = reference.familiar();
    Error::new(format!("use {} as an image", quoted(named)), reason)
        .hint(format!("himage pull {familiar}; himage list shows what there is"))
}
