//! The mounts of this process, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! The crate `procfs` reads this file as UTF-8 and leaves its octal escapes as they are; a mount
//! point with a space in its name would be lost.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::look::directory::errno;

/// The mount points below a directory, each once.
///
/// # Errors
///
/// The errno of reading the file.
pub(super) fn mounts_below(mountinfo: &Path, directory: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut below = mount_points(&fs::read(mountinfo).map_err(|error| errno(&error))?);
    below.retain(|path| path.starts_with(directory) && path != directory);
    below.sort();
    below.dedup();
    Ok(below)
}

/// The mount point is the fifth field of a line.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| PathBuf::from(OsString::from_vec(unescaped(field)))).collect()
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(octal);
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_escaped_mount_points() {
        let text = b"64 42 254:0 / / ro - ext4 /dev/vda rw\n\
            65 64 0:6 / /mnt/a\\040b\\134c rw - tmpfs t rw\n\
            66 64 0:6 / /mnt/caf\xe9 rw - tmpfs t rw\n";
        let points = mount_points(text);
        assert_eq!(points[0], Path::new("/"));
        assert_eq!(points[1], Path::new("/mnt/a b\\c"));
        assert_eq!(points[2].as_os_str().len(), "/mnt/cafe".len());
    }
}
