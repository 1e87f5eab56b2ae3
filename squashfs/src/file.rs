//! Contents of files: blocks, holes, and a fragment at the end.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::cache::Kept;
use crate::inode::{Body, Fragment};
use crate::metadata::Place;
use crate::{Flaw, Inode, Squashfs};

/// Set in the size of a block that is not compressed.
const PLAIN: u32 = 1 << 24;

/// The place of a block is remembered every so many blocks of a file.
const STEP: u64 = 2048;

/// No more places are remembered, in all.
const MARKS: usize = 1 << 14;

/// A block that several reads take parts of.
#[derive(Clone)]
pub(crate) struct Block(Arc<Vec<u8>>);

impl Kept for Block {
    fn size(&self) -> usize {
        self.0.capacity() + 100
    }
}

/// Where blocks of large files are: those of a file lie one after another, and only their sizes
/// are written down, so the place of one is the sum of all before it.
#[derive(Default)]
pub(crate) struct Marks(Mutex<FxHashMap<(u64, u64), Mark>>);

/// Where a block is, and where its size is written.
#[derive(Clone, Copy)]
struct Mark {
    start: u64,
    sizes: Place,
}

/// The bytes of a block in the image.
#[derive(Clone, Copy)]
struct Extent {
    at: u64,
    size: u32,
}

impl Squashfs {
    /// Reads from an offset in a file on; gives less than the buffer holds only at its end.
    ///
    /// # Errors
    ///
    /// Fails if the inode is no regular file, or its blocks cannot be read.
    pub fn read(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Flaw> {
        let Body::File { start, sizes, fragment } = inode.body else {
            return Err(Flaw::OtherKind { wanted: "regular file" });
        };
        let count = inode.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let Some(buffer) = buffer.get_mut(..count).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let block_size = u64::from(self.superblock.block_size);
        let blocks = self.whole_blocks(inode.size, fragment);
        let mut number = offset / block_size;
        let mut skipped = (offset % block_size) as usize;
        let mut extents = match number < blocks {
            true => Some(self.extents(inode, Mark { start, sizes }, number)?),
            false => None,
        };
        let mut rest = buffer;
        while !rest.is_empty() {
            let length = (inode.size - number * block_size).min(block_size) as usize;
            let (part, others) = rest.split_at_mut((length - skipped).min(rest.len()));
            match (&mut extents, fragment) {
                (Some(extents), _) if number < blocks => {
                    self.read_block(extents.next_extent()?, length, skipped, part)?;
                }
                (_, Some(fragment)) => self.read_fragment(fragment, length, skipped, part)?,
                (_, None) => return Err(Flaw::TooLarge { what: "file" }),
            }
            rest = others;
            number += 1;
            skipped = 0;
        }
        Ok(count)
    }

    /// Decompresses a block of a file for reads that are still to come; whether there is one.
    ///
    /// Threads may do so with several blocks at once, and with blocks that are being read.
    ///
    /// # Errors
    ///
    /// As [`Squashfs::read`].
    pub fn prepare(&self, inode: &Inode, number: u64) -> Result<bool, Flaw> {
        let Body::File { start, sizes, fragment } = inode.body else {
            return Err(Flaw::OtherKind { wanted: "regular file" });
        };
        let blocks = self.whole_blocks(inode.size, fragment);
        let (what, extent) = match fragment {
            _ if number < blocks => {
                let mut extents = self.extents(inode, Mark { start, sizes }, number)?;
                ("block of a file", extents.next_extent()?)
            }
            Some(fragment) if number == blocks => ("fragment", self.fragment(fragment)?),
            _ => return Ok(false),
        };
        if extent.size != 0 && extent.size & PLAIN == 0 {
            self.block(what, extent)?;
        }
        Ok(true)
    }

    /// The blocks of a file, from a number on.
    fn extents(&self, inode: &Inode, first: Mark, number: u64) -> Result<Extents<'_>, Flaw> {
        let file = inode.reference.0;
        let wanted = number / STEP;
        let (from, mark) = self.marks.nearest(file, wanted).unwrap_or((0, first));
        let mut extents = Extents { cursor: self.inode_cursor(mark.sizes)?, at: mark.start };
        for step in from..wanted {
            extents.skip(STEP)?;
            let mark = Mark { start: extents.at, sizes: extents.cursor.place() };
            self.marks.keep(file, step + 1, mark);
        }
        extents.skip(number % STEP)?;
        Ok(extents)
    }

    /// Reads a part of a block that is so many bytes long when it is decompressed.
    fn read_block(
        &self,
        extent: Extent,
        length: usize,
        skipped: usize,
        part: &mut [u8],
    ) -> Result<(), Flaw> {
        if extent.size == 0 {
            part.fill(0);
            return Ok(());
        }
        if extent.size & PLAIN != 0 {
            let found = (extent.size & !PLAIN) as usize;
            if found != length {
                return Err(Flaw::Corrupt { what: "block of a file", at: extent.at });
            }
            return self.read_exactly("block of a file", extent.at + skipped as u64, part);
        }
        if part.len() == length && self.data.peek(extent.at).is_none() {
            let found = self.decompress("block of a file", extent, part)?;
            return match found == length {
                true => Ok(()),
                false => Err(Flaw::Corrupt { what: "block of a file", at: extent.at }),
            };
        }
        let block = self.block("block of a file", extent)?;
        if block.0.len() != length {
            return Err(Flaw::Corrupt { what: "block of a file", at: extent.at });
        }
        part.copy_from_slice(&block.0[skipped..skipped + part.len()]);
        Ok(())
    }

    /// How many blocks a file has of its own: what is left over is in the fragment, if there is
    /// one.
    fn whole_blocks(&self, size: u64, fragment: Option<Fragment>) -> u64 {
        let block_size = u64::from(self.superblock.block_size);
        match fragment {
            Some(_) => size / block_size,
            None => size.div_ceil(block_size),
        }
    }

    /// The block that holds a fragment.
    fn fragment(&self, fragment: Fragment) -> Result<Extent, Flaw> {
        let fields = self.fragments.record::<16>(self, fragment.number.into())?;
        Ok(Extent { at: fields.long(0), size: fields.word(8) })
    }

    fn read_fragment(
        &self,
        fragment: Fragment,
        length: usize,
        skipped: usize,
        part: &mut [u8],
    ) -> Result<(), Flaw> {
        let extent = self.fragment(fragment)?;
        let outside = Flaw::Outside { what: "fragment", at: extent.at };
        let start = fragment.offset as usize;
        if start.saturating_add(length) > self.superblock.block_size as usize {
            return Err(outside);
        }
        let from = start + skipped;
        if extent.size & PLAIN != 0 {
            if from + part.len() > (extent.size & !PLAIN) as usize {
                return Err(outside);
            }
            let at = extent.at.checked_add(from as u64).ok_or(outside)?;
            return self.read_exactly("fragment", at, part);
        }
        let block = self.block("fragment", extent)?;
        part.copy_from_slice(block.0.get(from..from + part.len()).ok_or(outside)?);
        Ok(())
    }

    /// A block that others will want parts of as well.
    fn block(&self, what: &'static str, extent: Extent) -> Result<Block, Flaw> {
        self.data.get(extent.at, || {
            let mut bytes = vec![0; self.superblock.block_size as usize];
            let found = self.decompress(what, extent, &mut bytes)?;
            bytes.truncate(found);
            // As it is: a copy would cost as much as half of the decompression.
            Ok(Block(Arc::new(bytes)))
        })
    }

    fn decompress(
        &self,
        what: &'static str,
        extent: Extent,
        output: &mut [u8],
    ) -> Result<usize, Flaw> {
        let Extent { at, size } = extent;
        // A block that does not become smaller is stored as it is.
        if size > self.superblock.block_size {
            return Err(Flaw::TooLarge { what });
        }
        let size = size as usize;
        self.decoders.lend(|decoder| {
            self.read_exactly(what, at, decoder.input(size))?;
            let found = decoder.decompress(size, output).filter(|found| *found > 0);
            found.ok_or(Flaw::Corrupt { what, at })
        })
    }
}

/// Blocks of a file, one after another.
struct Extents<'a> {
    cursor: crate::metadata::Cursor<'a>,
    at: u64,
}

impl Extents<'_> {
    fn next_extent(&mut self) -> Result<Extent, Flaw> {
        let size = self.cursor.fields::<4>()?.word(0);
        let extent = Extent { at: self.at, size };
        self.at = self.at.saturating_add(u64::from(size & !PLAIN));
        Ok(extent)
    }

    fn skip(&mut self, count: u64) -> Result<(), Flaw> {
        for _ in 0..count {
            self.next_extent()?;
        }
        Ok(())
    }
}

impl Marks {
    /// The last mark of a file that is not behind a step, and its step.
    fn nearest(&self, file: u64, step: u64) -> Option<(u64, Mark)> {
        if step == 0 {
            return None;
        }
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let exact = marks.get(&(file, step)).map(|mark| (step, *mark));
        exact.or_else(|| {
            let steps = (1..step).rev();
            steps.take(MARKS).find_map(|step| Some((step, *marks.get(&(file, step))?)))
        })
    }

    fn keep(&self, file: u64, step: u64, mark: Mark) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() >= MARKS {
            marks.clear();
        }
        marks.insert((file, step), mark);
    }
}
