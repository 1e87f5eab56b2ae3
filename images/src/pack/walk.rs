//! The files of a tree, in an order that is always the same.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use runtime::error::{Error, Result};
use runtime::text::quoted;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::failure::failed;
use crate::own;

/// Calls for every file of a tree, with its path in the tree: a directory before what is in it, and
/// names in the order of their bytes. The tree's root has an empty path.
///
/// # Errors
///
/// Fails as the call fails, and if a file cannot be read.
pub(super) fn walk(
    root: &Path,
    call: &mut dyn FnMut(&Path, &Metadata) -> Result<()>,
) -> Result<()> {
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().map_err(|error| failed("read", &full, &error))?;
        refuse_unreadable(&full, &metadata)?;
        call(&path, &metadata)?;
        if !metadata.is_dir() {
            continue;
        }
        let names = own::names(&full).map_err(|error| failed("read", &full, &error))?;
        let first = todo.len();
        todo.extend(names.iter().map(|name| path.join(name)));
        // The last is taken first.
        todo[first..].sort_unstable_by(|one, other| other.cmp(one));
    }
    Ok(())
}

/// A file that cannot be read would be missing in what is made of the tree.
fn refuse_unreadable(path: &Path, metadata: &Metadata) -> Result<()> {
    let wanted = match metadata.is_dir() {
        true => Access::READ_OK | Access::EXEC_OK,
        false if metadata.is_file() => Access::READ_OK,
        false => return Ok(()),
    };
    let Err(errno) = accessat(CWD, path, wanted, AtFlags::empty()) else { return Ok(()) };
    let is_own = metadata.uid() == nix::unistd::geteuid().as_raw();
    let hint = match is_own {
        true => format!("let yourself read it: chmod u+rX {}", quoted(path)),
        false => "it belongs to somebody else: make the image as that user".to_owned(),
    };
    Err(Error::new(format!("read {}", quoted(path)), crate::failure::cause(&errno.into()))
        .hint(hint))
}
