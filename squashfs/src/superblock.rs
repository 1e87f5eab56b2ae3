//! The first 96 bytes of an image.

use crate::compress::Compressor;
use crate::fields::Fields;
use crate::{Flaw, NOWHERE, Reference};

/// The number at the start of every image, `hsqs`.
pub const MAGIC: [u8; 4] = *b"hsqs";

/// The size of the superblock, in bytes.
pub(crate) const SIZE: usize = 96;

/// What the superblock says, checked.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// The number of inodes; a hard link is none.
    pub inodes: u32,
    /// When the image was made, in seconds since 1970.
    pub made: u32,
    /// The size of a block of a file, in bytes: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// What blocks are compressed by.
    pub compressor: Compressor,
    /// The root directory.
    pub root: Reference,
    /// The size of the image, in bytes; the file is padded to 4 KiB as a rule.
    pub size: u64,
    pub(crate) fragments: u32,
    pub(crate) ids: u16,
    pub(crate) id_table: u64,
    pub(crate) xattr_table: u64,
    pub(crate) inode_table: u64,
    pub(crate) directory_table: u64,
    pub(crate) fragment_table: u64,
    pub(crate) export_table: u64,
}

impl Superblock {
    pub(crate) fn parse(fields: &Fields<SIZE>) -> Result<Self, Flaw> {
        if !fields.0.starts_with(&MAGIC) {
            return Err(Flaw::NotSquashfs);
        }
        let (major, minor) = (fields.half(28), fields.half(30));
        if (major, minor) != (4, 0) {
            return Err(Flaw::Version { major, minor });
        }
        let block_size = fields.word(12);
        let log = u32::from(fields.half(22));
        if !(12..=20).contains(&log) || block_size != 1 << log {
            return Err(Flaw::Unknown { what: "block size", value: block_size.into() });
        }
        let superblock = Superblock {
            inodes: fields.word(4),
            made: fields.word(8),
            block_size,
            compressor: Compressor::numbered(fields.half(20))?,
            root: Reference(fields.long(32)),
            size: fields.long(40),
            fragments: fields.word(16),
            ids: fields.half(26),
            id_table: fields.long(48),
            xattr_table: fields.long(56),
            inode_table: fields.long(64),
            directory_table: fields.long(72),
            fragment_table: fields.long(80),
            export_table: fields.long(88),
        };
        superblock.check()?;
        Ok(superblock)
    }

    /// The tables that every image has lie in it, and those of inodes and directories in order.
    fn check(&self) -> Result<(), Flaw> {
        let tables = [
            ("inode table", self.inode_table),
            ("directory table", self.directory_table),
            ("table of ids", self.id_table),
        ];
        for (what, at) in tables {
            if at < SIZE as u64 || at >= self.size {
                return Err(Flaw::Outside { what, at });
            }
        }
        if self.inode_table >= self.directory_table {
            return Err(Flaw::Outside { what: "inode table", at: self.inode_table });
        }
        if self.ids == 0 {
            return Err(Flaw::Unknown { what: "number of ids", value: 0 });
        }
        Ok(())
    }

    /// Where what starts at a place ends at the latest: at the next table.
    pub(crate) fn end_of(&self, start: u64) -> u64 {
        let tables = [self.directory_table, self.fragment_table, self.export_table, self.id_table];
        let tables = tables.into_iter().chain([self.xattr_table, self.size]);
        let behind = tables.filter(|at| *at > start && *at != NOWHERE);
        behind.min().unwrap_or(self.size).min(self.size)
    }
}
