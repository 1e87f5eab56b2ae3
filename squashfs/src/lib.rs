//! Squashfs 4.0 images, read a piece at a time.
//!
//! An image may have a million files and lie on a file system that answers slowly, so opening one
//! reads its first 96 bytes and nothing else; every other piece is read when it is asked for.
//! Nothing is mapped: a file that shrinks would end the process. Images come from anywhere, so
//! nothing in them is believed: every size has a limit, every chain an end, and what is kept in
//! memory a budget. The format is that of the kernel's `fs/squashfs/squashfs_fs.h`.
//!
//! A [`Squashfs`] may be asked by many threads at once, and keeps for all of them what was read
//! lately.

mod cache;
mod compress;
mod directory;
mod extract;
mod fields;
mod file;
mod flaw;
mod inode;
mod metadata;
mod source;
mod superblock;
mod table;
mod xattr;

use std::sync::OnceLock;

use crate::cache::Cache;
pub use crate::compress::Compressor;
use crate::compress::Decoders;
pub use crate::directory::{Entries, Entry};
pub use crate::extract::{Cause, LeftOut, Manner, Stop};
use crate::fields::Fields;
use crate::file::Marks;
pub use crate::flaw::Flaw;
pub use crate::inode::{Inode, Kind};
pub use crate::source::{Part, Source};
pub use crate::superblock::{MAGIC, Superblock};
use crate::table::Table;
use crate::xattr::Xattrs;

/// What stands for "none" where a table would start.
const NOWHERE: u64 = u64::MAX;

/// Where an inode is in an image: the only name of a file that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference(pub u64);

/// What may be kept in memory of an image, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Inodes, directories and tables.
    pub metadata: usize,
    /// Blocks of files that were read in part.
    pub data: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { metadata: 4 << 20, data: 8 << 20 }
    }
}

/// An image.
pub struct Squashfs {
    source: Box<dyn Source>,
    superblock: Superblock,
    decoders: Decoders,
    metadata: Cache<metadata::Block>,
    data: Cache<file::Block>,
    ids: Table,
    fragments: Table,
    exports: Option<Table>,
    xattrs: OnceLock<Result<Xattrs, Flaw>>,
    marks: Marks,
}

impl Squashfs {
    /// Opens an image, in one read.
    ///
    /// # Errors
    ///
    /// Says why it is none that can be read.
    pub fn open(source: Box<dyn Source>, budget: Budget) -> Result<Self, Flaw> {
        let mut fields = Fields([0; superblock::SIZE]);
        let found = source.read_at(0, &mut fields.0).map_err(Flaw::Unreadable)?;
        if found >= MAGIC.len() && found < fields.0.len() && fields.0.starts_with(&MAGIC) {
            return Err(Flaw::Truncated { what: "superblock", at: 0 });
        }
        let superblock = Superblock::parse(&fields)?;
        let table = |what, at, count: u32, size| Table::new(what, at, count.into(), size);
        Ok(Squashfs {
            decoders: Decoders::new(superblock.compressor),
            metadata: Cache::new(budget.metadata),
            data: Cache::new(budget.data),
            ids: table("table of ids", superblock.id_table, superblock.ids.into(), 4),
            fragments: table(
                "table of fragments",
                superblock.fragment_table,
                superblock.fragments,
                16,
            ),
            exports: (superblock.export_table != NOWHERE)
                .then(|| table("export table", superblock.export_table, superblock.inodes, 8)),
            xattrs: OnceLock::new(),
            marks: Marks::default(),
            source,
            superblock,
        })
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Whether any file can have extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.superblock.xattr_table != NOWHERE
    }

    /// The root directory.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, or is no directory.
    pub fn root(&self) -> Result<Inode, Flaw> {
        let root = self.inode(self.superblock.root)?;
        if root.kind == Kind::Directory {
            Ok(root)
        } else {
            Err(Flaw::OtherKind { wanted: "directory" })
        }
    }

    fn read_exactly(&self, what: &'static str, at: u64, buffer: &mut [u8]) -> Result<(), Flaw> {
        let found = self.source.read_at(at, buffer).map_err(Flaw::Unreadable)?;
        if found == buffer.len() { Ok(()) } else { Err(Flaw::Truncated { what, at }) }
    }
}
