//! What a file is that holds an image, by its first bytes.

use super::sif;

/// How many bytes tell it.
pub const SIZE: usize = 2048;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// A squashfs image, from a byte on: 0, or behind the line by which Singularity 2 starts it.
    Squashfs(u64),
    /// A SIF file, Apptainer's.
    Sif,
    /// An ext2, ext3 or ext4 file system, from a byte on: Singularity 2's writable images.
    Ext(u64),
}

/// The end of the line with which Singularity's files begin, so that a shell starts them.
const LAUNCH: &[u8] = b"run-singularity\n";
/// No such line is longer.
const LAUNCH_LIMIT: usize = 128;

/// Where the magic number of ext file systems is, and what.
const EXT_AT: usize = 1024 + 56;
const EXT: &[u8] = &[0x53, 0xef];

impl Magic {
    /// Tells it by the first [`SIZE`] bytes, or as many as there are.
    pub fn of(start: &[u8]) -> Option<Self> {
        if start.get(sif::MAGIC_AT..).is_some_and(|rest| rest.starts_with(sif::MAGIC)) {
            return Some(Magic::Sif);
        }
        let at = launched(start).unwrap_or(0);
        let inner = &start[at..];
        if inner.starts_with(&squashfs::MAGIC) {
            return Some(Magic::Squashfs(at as u64));
        }
        let has_ext = inner.get(EXT_AT..).is_some_and(|rest| rest.starts_with(EXT));
        // Two bytes that an archive may have there, too.
        (has_ext && start.get(257..262) != Some(b"ustar")).then_some(Magic::Ext(at as u64))
    }
}

/// The byte behind the line that starts an image, if there is one.
fn launched(start: &[u8]) -> Option<usize> {
    let line = &start[..start.len().min(LAUNCH_LIMIT)];
    let end = line.iter().position(|byte| *byte == b'\n')? + 1;
    (line.starts_with(b"#!") && line[..end].ends_with(LAUNCH)).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let line = b"#!/usr/bin/env run-singularity\n";
        assert_eq!(Magic::of(b"hsqs and more"), Some(Magic::Squashfs(0)));
        assert_eq!(Magic::of(&[&line[..], b"hsqs"].concat()), Some(Magic::Squashfs(31)));
        assert_eq!(Magic::of(&[&line[..], b"\0SIF_MAGIC\0"].concat()), Some(Magic::Sif));
        let ext = [&[0; EXT_AT][..], EXT].concat();
        assert_eq!(Magic::of(&ext), Some(Magic::Ext(0)));
        assert_eq!(Magic::of(&[&line[..], &ext].concat()), Some(Magic::Ext(31)));
        for other in [&b""[..], b"#!/bin/sh\nhsqs", b"hsq", &line[..]] {
            assert_eq!(Magic::of(other), None);
        }
        let mut archive = ext;
        archive[257..262].copy_from_slice(b"ustar");
        assert_eq!(Magic::of(&archive), None);
    }
}
