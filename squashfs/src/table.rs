//! Tables of records in metadata blocks, with an index of where the blocks are: ids, fragments,
//! the export table, the table of extended attributes.

use std::sync::OnceLock;

use crate::fields::Fields;
use crate::metadata::{BLOCK_SIZE, Cursor, Place};
use crate::{Flaw, Squashfs};

/// The largest index of a table that is read: one for 64 million files.
const INDEX_LIMIT: u64 = 1 << 20;

/// A table; its index is read when it is first asked.
pub(crate) struct Table {
    what: &'static str,
    index_at: u64,
    count: u64,
    /// In bytes; a divisor of a block's.
    record_size: u64,
    index: OnceLock<Result<Box<[u64]>, Flaw>>,
}

impl Table {
    pub(crate) fn new(what: &'static str, index_at: u64, count: u64, record_size: u64) -> Self {
        Table { what, index_at, count, record_size, index: OnceLock::new() }
    }

    /// The record of a number.
    pub(crate) fn record<const SIZE: usize>(
        &self,
        squashfs: &Squashfs,
        number: u64,
    ) -> Result<Fields<SIZE>, Flaw> {
        if number >= self.count {
            return Err(Flaw::Unknown { what: self.what, value: number });
        }
        let index = self.index.get_or_init(|| self.read_index(squashfs)).as_ref();
        let index = index.map_err(|flaw| *flaw)?;
        let per_block = BLOCK_SIZE as u64 / self.record_size;
        let missing = Flaw::Unknown { what: self.what, value: number };
        let block = *index.get((number / per_block) as usize).ok_or(missing)?;
        let offset = (number % per_block * self.record_size) as usize;
        // The blocks lie before their index.
        let mut cursor = Cursor::new(squashfs, self.what, self.index_at, Place { block, offset })?;
        cursor.fields()
    }

    fn read_index(&self, squashfs: &Squashfs) -> Result<Box<[u64]>, Flaw> {
        let size = self.count.saturating_mul(self.record_size).div_ceil(BLOCK_SIZE as u64) * 8;
        if size > INDEX_LIMIT {
            return Err(Flaw::TooLarge { what: self.what });
        }
        let mut bytes = vec![0; size as usize];
        squashfs.read_exactly(self.what, self.index_at, &mut bytes)?;
        let (entries, _) = bytes.as_chunks::<8>();
        Ok(entries.iter().map(|entry| u64::from_le_bytes(*entry)).collect())
    }
}
