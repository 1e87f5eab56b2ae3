//! Images that are given by name: `himage` keeps them in a store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::host::Host;
use super::image::Image;
use crate::error::{Cause, Error, Result};
use crate::reference::Reference;
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
    let error = match Image::look(named, host) {
        Err(error) if error.cause == Cause::Errno(Errno::ENOENT) => error,
        result => return result,
    };
    let Some(reference) = named.to_str().and_then(|name| Reference::parse(name).ok()) else {
        return Err(error);
    };
    let Ok(stores) = directories(store, host) else { return Err(error) };
    for directory in &stores {
        let link = directory.join("names").join(reference.path());
        match host.find(&link) {
            Ok(Some((tree, _))) => return Image::look(&tree, host),
            Ok(None) => {}
            Err(errno) => {
                let attempt = format!("look for {reference} in {}", quoted(directory));
                return Err(Error::new(attempt, errno));
            }
        }
    }
    Err(missing(named, &reference, &stores))
}

fn missing(named: &Path, reference: &Reference, stores: &[PathBuf]) -> Error {
    let stores: Vec<String> = stores.iter().map(|store| quoted(store)).collect();
    let stores = stores.join(" or ");
    let reason = format!("there is no such file, and no image of this name in {stores}");
    let familiar = reference.familiar();
    Error::new(format!("use {} as an image", quoted(named)), reason)
        .hint(format!("himage pull {familiar}; himage list shows what there is"))
}
