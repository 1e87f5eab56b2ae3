//! Which kind of file system a directory is on, and whether an overlay may be mounted over it.

use std::path::Path;

use nix::sys::statfs::statfs;
use nix::sys::statvfs::FsFlags;

/// A file system as statfs(2) shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its kind, by a number of linux/magic.h.
    pub kind: i64,
    /// It is mounted so that nothing on it can be executed.
    pub no_exec: bool,
}

const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
const SQUASHFS: i64 = 0x7371_7368;

/// File systems that carry an overlay, by their numbers in linux/magic.h.
///
/// The list names what is known to work and not what is known to fail: an overlay over GPFS gives
/// stale file handles or stops the kernel (apptainer/apptainer#2657), over other parallel file
/// systems too (#3790), and nobody should find the next one by losing a node.
const CARRIES_OVERLAY: [(&str, i64); 9] = [
    ("ext2, ext3, ext4", 0xef53),
    ("xfs", 0x5846_5342),
    ("btrfs", 0x9123_683e),
    ("tmpfs", TMPFS),
    ("ramfs", RAMFS),
    ("nfs", 0x6969),
    ("squashfs", SQUASHFS),
    ("erofs", 0xe0f5_e1e2),
    ("overlay", 0x794c_7630),
];

/// File systems of several nodes, and those whose files are elsewhere, are not among these.
const LOCAL: [i64; 8] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    TMPFS,
    RAMFS,
    0x794c_7630,
    // zfs and f2fs.
    0x2fc1_2fc1,
    0xf2f5_2010,
];

impl Filesystem {
    /// What a packed image is served as: like the kernel's own squashfs, as far as overlay goes.
    pub const SERVED: Filesystem = Filesystem { kind: SQUASHFS, no_exec: false };

    /// Looks at the file system of a directory of the host; an unreadable one is like none known.
    pub fn look(directory: &Path) -> Self {
        statfs(directory).map_or(Filesystem::default(), |found| Filesystem {
            kind: found.filesystem_type().0,
            no_exec: found.flags().contains(FsFlags::ST_NOEXEC),
        })
    }

    /// Whether the kernel's overlay is known to work over it.
    pub fn carries_overlay(self) -> bool {
        CARRIES_OVERLAY.iter().any(|(_, number)| *number == self.kind)
    }

    /// Whether it is known to be this node's own.
    pub fn is_local(self) -> bool {
        LOCAL.contains(&self.kind)
    }

    /// Whether it keeps its files in memory.
    pub fn is_in_memory(self) -> bool {
        matches!(self.kind, TMPFS | RAMFS)
    }
}
