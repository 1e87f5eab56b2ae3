//! Why an image, or a part of it, cannot be read.

use std::fmt;

use nix::errno::Errno;

/// Why something cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It starts with something else.
    NotSquashfs,
    /// It has another version than 4.0.
    Version {
        /// The part before the point.
        major: u16,
        /// The part after it.
        minor: u16,
    },
    /// Its compression is known, but not built in.
    Compressor {
        /// The name mksquashfs has for it.
        name: &'static str,
    },
    /// A field has a value that means nothing.
    Unknown {
        /// What the field is.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file ends within something.
    Truncated {
        /// What is not there as a whole.
        what: &'static str,
        /// Where it starts, in bytes.
        at: u64,
    },
    /// Something would lie outside of where it can be.
    Outside {
        /// What that is.
        what: &'static str,
        /// Where it would be, in bytes.
        at: u64,
    },
    /// Something is larger than it is in any sound image.
    TooLarge {
        /// What that is.
        what: &'static str,
    },
    /// A block does not decompress to what it should be.
    Corrupt {
        /// What the block holds.
        what: &'static str,
        /// Where it starts, in bytes.
        at: u64,
    },
    /// The inode is of another kind than was asked for.
    OtherKind {
        /// What was asked for.
        wanted: &'static str,
    },
    /// The kernel does not give its bytes.
    Unreadable(Errno),
}

impl Flaw {
    /// What a system call on the mounted image would answer.
    pub fn errno(self) -> Errno {
        match self {
            Flaw::Unreadable(errno) => errno,
            Flaw::OtherKind { wanted: "directory" } => Errno::ENOTDIR,
            Flaw::OtherKind { .. } => Errno::EINVAL,
            _ => Errno::EIO,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NotSquashfs => write!(f, "it is no squashfs image"),
            Flaw::Version { major, minor } => {
                write!(f, "it is a squashfs image of version {major}.{minor}, not 4.0")
            }
            Flaw::Compressor { name } => {
                write!(f, "it is compressed by {name}; gzip, xz, lzo, lz4 and zstd can be read")
            }
            Flaw::Unknown { what, value } => {
                write!(f, "its {what} is {value}, which means nothing")
            }
            Flaw::Truncated { what, at } => {
                write!(f, "it ends before the end of its {what}, which starts at byte {at}")
            }
            Flaw::Outside { what, at } => {
                write!(f, "its {what} would be at byte {at}, where it cannot be")
            }
            Flaw::TooLarge { what } => {
                write!(f, "the size of its {what} is beyond that of any sound image")
            }
            Flaw::Corrupt { what, at } => {
                write!(f, "its {what} at byte {at} cannot be decompressed")
            }
            Flaw::OtherKind { wanted } => write!(f, "the inode is no {wanted}"),
            Flaw::Unreadable(errno) => write!(f, "it cannot be read: {}", errno.desc()),
        }
    }
}

impl std::error::Error for Flaw {}
