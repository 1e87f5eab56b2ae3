//! Directories: runs of entries whose inodes lie in one metadata block, sorted by name.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::inode::Body;
use crate::metadata::{BLOCK_SIZE, Cursor, Place};
use crate::{Flaw, Inode, Kind, Reference, Squashfs};

/// The longest name, in bytes: what Linux takes (`NAME_MAX`).
const NAME_LIMIT: usize = 255;

/// The most entries of a run.
const RUN_LIMIT: u32 = 256;

/// An offset in a directory is the start of a run times this, and the entries of the run before it.
const OFFSETS: u64 = 2 * RUN_LIMIT as u64;

const PAST_ITS_END: Flaw = Flaw::TooLarge { what: "last entry of a directory" };

/// The size that an empty directory has: room for `.` and `..`, which are not listed.
const EMPTY: u64 = 3;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name; never `.` or `..`, and free of `/` and NUL.
    pub name: OsString,
    /// What stands there.
    pub kind: Kind,
    /// Where its inode is.
    pub reference: Reference,
    /// The number of its inode.
    pub number: u32,
    /// Where to go on behind it: the offset for [`Squashfs::entries`].
    pub next: u64,
}

/// The entries of a directory, from an offset on.
pub struct Entries<'a> {
    /// Nothing at the end, and after a flaw.
    cursor: Option<Cursor<'a>>,
    /// The bytes of the listing behind the cursor.
    left: u64,
    size: u64,
    run: Run,
}

/// What the entries of a run have in common.
#[derive(Clone, Copy, Default)]
struct Run {
    /// Where its header is in the listing.
    at: u64,
    /// The entries that were read, and those that were not.
    done: u32,
    left: u32,
    /// The block of the inodes, from the start of their table.
    block: u32,
    /// The number that numbers of inodes are told from.
    number: u32,
}

impl Squashfs {
    /// The entries of a directory, in their order; from the start with offset 0, or behind an entry.
    ///
    /// # Errors
    ///
    /// Fails if the inode is no directory, or its listing is not there.
    pub fn entries(&self, directory: &Inode, offset: u64) -> Result<Entries<'_>, Flaw> {
        let (at, skipped) = (offset / OFFSETS, offset % OFFSETS);
        let mut entries = self.entries_from(directory, None, at)?;
        for _ in 0..skipped {
            if entries.next().transpose()?.is_none() {
                break;
            }
        }
        Ok(entries)
    }

    /// Finds a name in a directory.
    ///
    /// # Errors
    ///
    /// Fails if the inode is no directory, or its listing cannot be read.
    pub fn lookup(&self, directory: &Inode, name: &OsStr) -> Result<Option<Entry>, Flaw> {
        let wanted = name.as_bytes();
        let (block, at) = self.indexed(directory, wanted)?.unzip();
        let mut entries = self.entries_from(directory, block, at.unwrap_or(0))?;
        let mut name = Vec::new();
        while let Some(entry) = entries.read(&mut name)? {
            // Names are sorted; the kernel relies on it as well.
            match name[..].cmp(wanted) {
                Ordering::Less => {}
                Ordering::Equal => return entry.named(name).map(Some),
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The entries from a run on: by the byte of the listing it starts at, and its place if that
    /// is known.
    fn entries_from(
        &self,
        directory: &Inode,
        place: Option<Place>,
        at: u64,
    ) -> Result<Entries<'_>, Flaw> {
        let Body::Directory { listing, .. } = directory.body else {
            return Err(Flaw::OtherKind { wanted: "directory" });
        };
        let size = directory.size.saturating_sub(EMPTY);
        let mut entries = Entries { cursor: None, left: 0, size, run: Run::default() };
        if at < size {
            let end = self.superblock.end_of(self.superblock.directory_table);
            let mut cursor = Cursor::new(self, "directory", end, place.unwrap_or(listing))?;
            if place.is_none() {
                cursor.skip(at)?;
            }
            entries.cursor = Some(cursor);
            entries.left = size - at;
        }
        Ok(entries)
    }

    /// The last run that the index of a large directory has, of those that do not start behind a
    /// name: its place, and the byte of the listing it starts at.
    fn indexed(&self, directory: &Inode, wanted: &[u8]) -> Result<Option<(Place, u64)>, Flaw> {
        let Body::Directory { listing, index, index_at } = directory.body else { return Ok(None) };
        if index == 0 {
            return Ok(None);
        }
        let mut cursor = self.inode_cursor(index_at)?;
        let mut found = None;
        let mut name = [0; NAME_LIMIT];
        for _ in 0..index {
            let fields = cursor.fields::<12>()?;
            let size = u64::from(fields.word(8)) + 1;
            let name = usize::try_from(size).ok().and_then(|size| name.get_mut(..size));
            let name = name.ok_or(Flaw::TooLarge { what: "index of a directory" })?;
            cursor.read(name)?;
            if *name > *wanted {
                break;
            }
            found = Some((fields.word(0), fields.word(4)));
        }
        Ok(found.map(|(at, block)| {
            let block = self.superblock.directory_table.saturating_add(block.into());
            let offset = (listing.offset + at as usize) % BLOCK_SIZE;
            (Place { block, offset }, at.into())
        }))
    }
}

impl Entries<'_> {
    /// The next entry, and its name in a buffer.
    fn read(&mut self, name: &mut Vec<u8>) -> Result<Option<Bare>, Flaw> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        if self.left == 0 {
            return Ok(None);
        }
        if self.run.left == 0 {
            let at = self.size - self.left;
            self.left = self.left.checked_sub(12).ok_or(PAST_ITS_END)?;
            let fields = cursor.fields::<12>()?;
            let count = fields.word(0).saturating_add(1);
            if count > RUN_LIMIT {
                return Err(Flaw::TooLarge { what: "run of a directory" });
            }
            let (block, number) = (fields.word(4), fields.word(8));
            self.run = Run { at, done: 0, left: count, block, number };
        }
        let fields = cursor.fields::<8>()?;
        let size = usize::from(fields.half(6)) + 1;
        if size > NAME_LIMIT {
            return Err(Flaw::TooLarge { what: "name" });
        }
        self.left = self.left.checked_sub(8 + size as u64).ok_or(PAST_ITS_END)?;
        name.resize(size, 0);
        cursor.read(name)?;
        self.run.done += 1;
        self.run.left -= 1;
        let next = match self.run.left {
            0 => (self.size - self.left) * OFFSETS,
            _ => self.run.at * OFFSETS + u64::from(self.run.done),
        };
        // The difference has a sign.
        let difference = i32::from(fields.half(2).cast_signed());
        Ok(Some(Bare {
            kind: fields.half(4),
            reference: Reference(u64::from(self.run.block) << 16 | u64::from(fields.half(0))),
            number: self.run.number.wrapping_add_signed(difference),
            next,
        }))
    }

    fn read_named(&mut self) -> Result<Option<Entry>, Flaw> {
        let mut name = Vec::new();
        self.read(&mut name)?.map(|entry| entry.named(name)).transpose()
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.read_named().transpose();
        if !matches!(entry, Some(Ok(_))) {
            self.cursor = None;
        }
        entry
    }
}

/// An entry without its name.
struct Bare {
    kind: u16,
    reference: Reference,
    number: u32,
    next: u64,
}

impl Bare {
    fn named(self, name: Vec<u8>) -> Result<Entry, Flaw> {
        let is_no_name =
            matches!(&name[..], b"." | b"..") || name.iter().any(|b| b"/\0".contains(b));
        if is_no_name {
            return Err(Flaw::Unknown { what: "name in a directory", value: self.next });
        }
        let unknown = Flaw::Unknown { what: "kind of a file", value: self.kind.into() };
        let kind = Kind::numbered(self.kind).ok_or(unknown)?;
        let name = OsString::from_vec(name);
        Ok(Entry { name, kind, reference: self.reference, number: self.number, next: self.next })
    }
}
