//! Overlay mounts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;

use crate::plan::Layer;
use crate::sys::{MountFlags, mount};

/// Covers `target` by an overlay of itself, on top of `below`, with changes going to `layer`.
///
/// `userxattr` lets an ordinary user's overlay keep its marks (Linux 5.11); it also makes the
/// kernel ignore marks of a privileged overlay that an image may carry.
///
/// # Errors
///
/// The errno of mount(2).
pub(super) fn mount(
    target: &Path,
    below: Option<&Path>,
    layer: Option<&Layer>,
    no_exec: bool,
) -> Result<(), Errno> {
    let mut options = OsString::from("userxattr,lowerdir=");
    options.push(escaped(target, b",:\\"));
    if let Some(below) = below {
        options.push(":");
        options.push(escaped(below, b",:\\"));
    }
    let mut flags = MountFlags::MS_NOSUID | MountFlags::MS_NODEV;
    flags.set(MountFlags::MS_NOEXEC, no_exec);
    match layer {
        Some(layer) => {
            options.push(",upperdir=");
            options.push(escaped(layer.upper.as_path(), b",\\"));
            options.push(",workdir=");
            options.push(escaped(layer.work.as_path(), b",\\"));
        }
        None => flags |= MountFlags::MS_RDONLY,
    }
    mount::mount_filesystem("overlay", target, flags, Path::new(&options))
}

/// Puts a backslash before the bytes that mean something in overlay's options.
fn escaped(path: &Path, special: &[u8]) -> OsString {
    let bytes = path.as_os_str().as_bytes().iter();
    let escaped = bytes.flat_map(|byte| {
        let backslash = special.contains(byte).then_some(b'\\');
        backslash.into_iter().chain([*byte])
    });
    OsString::from_vec(escaped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_separates() {
        let path = Path::new("/a:b,c\\d");
        assert_eq!(escaped(path, b",:\\"), OsString::from("/a\\:b\\,c\\\\d"));
    }
}
