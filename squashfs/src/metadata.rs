//! Metadata blocks: inodes, directories, tables; each at most 8 KiB before compression.

use std::sync::Arc;

use crate::cache::Kept;
use crate::fields::Fields;
use crate::{Flaw, Squashfs};

/// What a metadata block holds at most, in bytes.
pub(crate) const BLOCK_SIZE: usize = 8 << 10;

/// Set in the header of a block that is not compressed.
const PLAIN: u16 = 1 << 15;

/// A metadata block, and where the next one starts.
#[derive(Clone)]
pub(crate) struct Block {
    bytes: Arc<[u8]>,
    next: u64,
}

impl Kept for Block {
    fn size(&self) -> usize {
        // The entry itself takes about a hundred bytes.
        self.bytes.len() + 100
    }
}

/// Reads one thing after another from a chain of metadata blocks.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    squashfs: &'a Squashfs,
    what: &'static str,
    /// Where the chain ends: each block starts behind the one before, so it does.
    end: u64,
    at: u64,
    block: Block,
    offset: usize,
}

/// A place in a chain of metadata blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Where the block starts in the image.
    pub(crate) block: u64,
    /// The byte in the block.
    pub(crate) offset: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        squashfs: &'a Squashfs,
        what: &'static str,
        end: u64,
        place: Place,
    ) -> Result<Self, Flaw> {
        let block = squashfs.metadata_block(what, place.block, end)?;
        if place.offset > block.bytes.len() {
            return Err(Flaw::Outside { what, at: place.block });
        }
        Ok(Cursor { squashfs, what, end, at: place.block, block, offset: place.offset })
    }

    pub(crate) fn place(&self) -> Place {
        Place { block: self.at, offset: self.offset }
    }

    /// The bytes up to the end of a block, at least one.
    pub(crate) fn rest(&mut self) -> Result<&[u8], Flaw> {
        if self.offset == self.block.bytes.len() {
            let next = self.block.next;
            self.block = self.squashfs.metadata_block(self.what, next, self.end)?;
            self.at = next;
            self.offset = 0;
        }
        Ok(&self.block.bytes[self.offset..])
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<(), Flaw> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = self.rest()?;
            let count = rest.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
            self.offset += count;
        }
        Ok(())
    }

    pub(crate) fn fields<const SIZE: usize>(&mut self) -> Result<Fields<SIZE>, Flaw> {
        let mut bytes = [0; SIZE];
        self.read(&mut bytes)?;
        Ok(Fields(bytes))
    }

    pub(crate) fn skip(&mut self, count: u64) -> Result<(), Flaw> {
        let mut left = count;
        while left > 0 {
            let step = (self.rest()?.len() as u64).min(left);
            self.offset += step as usize;
            left -= step;
        }
        Ok(())
    }
}

impl Squashfs {
    /// The metadata block at a place, which has to end before another.
    fn metadata_block(&self, what: &'static str, at: u64, end: u64) -> Result<Block, Flaw> {
        if at < crate::superblock::SIZE as u64 || at >= end {
            return Err(Flaw::Outside { what, at });
        }
        self.metadata.get(at, || self.read_metadata_block(what, at))
    }

    fn read_metadata_block(&self, what: &'static str, at: u64) -> Result<Block, Flaw> {
        self.decoders.lend(|decoder| {
            // Header and bytes in one read.
            let input = decoder.input(2 + BLOCK_SIZE);
            let found = self.source.read_at(at, input).map_err(Flaw::Unreadable)?;
            let truncated = Flaw::Truncated { what, at };
            let [low, high, ..] = *input else { return Err(truncated) };
            if found < 2 {
                return Err(truncated);
            }
            let header = u16::from_le_bytes([low, high]);
            let size = usize::from(header & !PLAIN);
            if size == 0 || size > BLOCK_SIZE {
                return Err(Flaw::TooLarge { what });
            }
            if found < 2 + size {
                return Err(truncated);
            }
            let next = at + 2 + size as u64;
            if header & PLAIN != 0 {
                return Ok(Block { bytes: Arc::from(&input[2..2 + size]), next });
            }
            input.copy_within(2..2 + size, 0);
            let mut output = [0; BLOCK_SIZE];
            let size = decoder.decompress(size, &mut output).filter(|size| *size > 0);
            let size = size.ok_or(Flaw::Corrupt { what, at })?;
            Ok(Block { bytes: Arc::from(&output[..size]), next })
        })
    }
}
