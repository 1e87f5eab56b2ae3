//! `/etc/ld.so.cache`: the list in which glibc's loader finds libraries by their sonames.
//!
//! ldconfig(8) writes it in one of three formats, all in the byte order and layout of C structures
//! (glibc's `sysdeps/generic/dl-cache.h`, and `elf/cache.c`):
//!
//! * *old*: a header of 16 bytes, entries of 12, strings; offsets count from the strings on;
//! * *new*: a header of 48 bytes, entries of 24, strings, and since glibc 2.33 an extension that
//!   names the subdirectories of `glibc-hwcaps`; offsets count from the header on;
//! * *compat*: the old header and entries, then all of the new format, at a multiple of 8.
//!
//! The loader takes the new part wherever there is one. What hrun shows to a container is the new
//! format, written by [`extended`].

mod order;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::io::BufRead as _;
use std::ops::Range;

pub use self::order::compare;
pub use self::write::{OwnEntry, extended};
use crate::elf::{Abi, Class};

/// A cache, as it lies in memory.
#[derive(Clone, Debug)]
pub struct Cache<'a> {
    /// How it is written.
    pub format: Format,
    /// What wrote it: `ldconfig (Debian GLIBC 2.36-9) release...`; only since glibc 2.33.
    pub generator: Option<&'a [u8]>,
    /// The subdirectories of `glibc-hwcaps` that entries can be for, in ascending order.
    pub hwcaps: Vec<&'a [u8]>,
    entries: Vec<Entry<'a>>,
    file: &'a [u8],
    table: Table,
    hwcaps_at: usize,
    /// Where all of its strings lie, with the NUL of the last one.
    strings: Range<usize>,
}

/// The formats of ldconfig's `-c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// That of libc5; the default of no glibc.
    Old,
    /// The default since glibc 2.32.
    New,
    /// Both, one after the other; the default before glibc 2.32.
    Compat,
}

/// A library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The kind of library in the low byte, the ABI in the next; 0x303 for `x86_64`.
    pub flags: i32,
    /// The soname.
    pub name: &'a [u8],
    /// Where it lies.
    pub path: &'a [u8],
    /// The kernel it needs; 0 since glibc 2.36, and looked at by older ones only.
    pub os_version: u32,
    /// 0 for a library that any machine of the ABI can use. With bit 62 set, the low 32 bits are
    /// an index into the names of `glibc-hwcaps`; anything else is a mask that glibc 2.37 dropped.
    pub hwcap: u64,
}

/// Why a file is no cache that a loader could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It starts with something else.
    NotCache,
    /// It is larger than 64 MiB.
    TooLarge,
    /// It was written on a machine of the other byte order, or is marked as invalid.
    ForeignByteOrder,
    /// It ends before something does.
    Truncated {
        /// What is not there as a whole.
        what: &'static str,
    },
    /// A string lies outside of it, has no end, or is longer than any path.
    BadString {
        /// What the string is.
        what: &'static str,
        /// Where it would start, in bytes.
        at: u64,
    },
    /// The extension is none.
    BadExtension,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NotCache => write!(f, "it is no cache of ldconfig"),
            Flaw::TooLarge => write!(f, "it is larger than 64 MiB"),
            Flaw::ForeignByteOrder => write!(f, "it is for machines of another byte order"),
            Flaw::Truncated { what } => write!(f, "it ends before its {what} do"),
            Flaw::BadString { what, at } => write!(f, "there is no {what} at its byte {at}"),
            Flaw::BadExtension => write!(f, "its extension is damaged"),
        }
    }
}

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_HEADER: usize = 16;
const NEW_HEADER: usize = 48;
const OLD_ENTRY: usize = 12;
const NEW_ENTRY: usize = 24;

const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const TAG_GENERATOR: u32 = 0;
const TAG_HWCAPS: u32 = 1;

/// The byte orders that the low bits of the new header's flags tell.
const ORDER_UNSET: u8 = 0;
const ORDER_OWN: u8 = if cfg!(target_endian = "big") { 3 } else { 2 };

const SIZE_LIMIT: usize = 64 << 20;

/// `PATH_MAX` of Linux: no longer path could be opened.
const STRING_LIMIT: usize = 4 << 10;

/// Sections of an extension, of which there are two kinds, and names in one, of which there are
/// about as many as generations of a processor.
const EXTENSION_LIMIT: usize = 256;

/// Where the entries are, and where their offsets count from.
#[derive(Clone, Copy, Debug)]
struct Table {
    start: usize,
    entry: usize,
    count: usize,
    base: usize,
}

impl<'a> Cache<'a> {
    /// Reads a cache of any format; nothing is copied.
    ///
    /// # Errors
    ///
    /// Says why the loader could not use all of it.
    pub fn parse(file: &'a [u8]) -> Result<Self, Flaw> {
        if file.len() > SIZE_LIMIT {
            return Err(Flaw::TooLarge);
        }
        let (format, table, extension) = find_table(file)?;
        let mut cache = Cache {
            format,
            generator: None,
            hwcaps: Vec::new(),
            entries: Vec::with_capacity(table.count),
            file,
            table,
            hwcaps_at: 0,
            strings: file.len()..0,
        };
        for record in cache.records() {
            let entry = cache.read_entry(record)?;
            cache.entries.push(entry);
        }
        if extension != 0 {
            cache.read_extension(extension)?;
        }
        if cache.strings.is_empty() {
            cache.strings = 0..0;
        }
        Ok(cache)
    }

    /// The libraries, in the order of the file.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The entries of a name, found as the loader does it: in a cache whose order is wrong, not all.
    pub fn find(&self, name: &[u8]) -> &[Entry<'a>] {
        let start = self.entries.partition_point(|entry| compare(entry.name, name).is_gt());
        let end = self.entries.partition_point(|entry| compare(entry.name, name).is_ge());
        self.entries.get(start..end).unwrap_or_default()
    }

    /// The name of the `glibc-hwcaps` subdirectory an entry is for.
    pub fn hwcap_name(&self, entry: &Entry) -> Option<&'a [u8]> {
        let index = usize::try_from(entry.hwcap & u64::from(u32::MAX)).ok()?;
        let is_named = entry.hwcap >> 62 & 1 == 1;
        self.hwcaps.get(index).copied().filter(|_| is_named)
    }

    /// The entries as they are written.
    fn records(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Table { start, entry, count, .. } = self.table;
        self.file[start..start + count * entry].chunks_exact(entry)
    }

    fn read_entry(&mut self, record: &[u8]) -> Result<Entry<'a>, Flaw> {
        let [name, path] = self.places(record);
        Ok(Entry {
            flags: field(record, 0).map_or(0, i32::from_ne_bytes),
            name: self.string("name of a library", name)?,
            path: self.string("path of a library", path)?,
            // An old entry ends before these.
            os_version: word(record, 12),
            hwcap: field(record, 16).map_or(0, u64::from_ne_bytes),
        })
    }

    /// Where the name and the path of an entry lie in the file.
    fn places(&self, record: &[u8]) -> [usize; 2] {
        [4, 8].map(|at| self.table.base.saturating_add(word(record, at) as usize))
    }

    fn string(&mut self, what: &'static str, start: usize) -> Result<&'a [u8], Flaw> {
        let rest = self.file.get(start..).unwrap_or_default();
        let rest = &rest[..rest.len().min(STRING_LIMIT)];
        // The C library looks at many bytes at a time.
        let length = (&*rest).skip_until(0).unwrap_or(0);
        let string = rest[..length].strip_suffix(&[0]);
        let string = string.ok_or(Flaw::BadString { what, at: start as u64 })?;
        self.strings = self.strings.start.min(start)..self.strings.end.max(start + length);
        Ok(string)
    }

    /// Magic and count of the sections, then tag, flags, offset and size of each. Offsets count
    /// from the start of the file; unknown tags are for loaders to come.
    fn read_extension(&mut self, at: usize) -> Result<(), Flaw> {
        let file = self.file;
        let header = file.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let header =
            header.filter(|header| at.is_multiple_of(4) && word(*header, 0) == EXTENSION_MAGIC);
        let count = word(header.ok_or(Flaw::BadExtension)?, 4) as usize;
        let sections = file[at + 8..].chunks_exact(16).take(count);
        if sections.len() < count || count > EXTENSION_LIMIT {
            return Err(Flaw::BadExtension);
        }
        for section in sections {
            let [start, size] = [8, 12].map(|at| word(section, at) as usize);
            let contents = file.get(start..).and_then(|rest| rest.get(..size));
            match word(section, 0) {
                TAG_GENERATOR => self.generator = Some(contents.ok_or(Flaw::BadExtension)?),
                TAG_HWCAPS => {
                    self.read_hwcaps(contents.ok_or(Flaw::BadExtension)?)?;
                    self.hwcaps_at = start;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_hwcaps(&mut self, offsets: &[u8]) -> Result<(), Flaw> {
        self.hwcaps.clear();
        if offsets.len() > 4 * EXTENSION_LIMIT {
            return Err(Flaw::BadExtension);
        }
        for offset in offsets.chunks(4) {
            let offset = field(offset, 0).map(u32::from_ne_bytes).ok_or(Flaw::BadExtension)?;
            let name = self.string("name of glibc-hwcaps", offset as usize)?;
            self.hwcaps.push(name);
        }
        Ok(())
    }
}

/// Finds the entries, and the offset of the extension or 0.
fn find_table(file: &[u8]) -> Result<(Format, Table, usize), Flaw> {
    let Some(rest) = file.strip_prefix(OLD_MAGIC) else {
        let (table, extension) = new_table(file, 0)?;
        return Ok((Format::New, table, extension));
    };
    let truncated = Flaw::Truncated { what: "entries" };
    let count = field(rest, 0).map(u32::from_ne_bytes).ok_or(truncated)? as usize;
    let base = OLD_HEADER.saturating_add(count.saturating_mul(OLD_ENTRY));
    if base > file.len() {
        return Err(truncated);
    }
    // Aligned like the new header, which is aligned to 4 bytes on i386.
    for start in [base.next_multiple_of(8), base] {
        if file.get(start..).is_some_and(|rest| rest.starts_with(NEW_MAGIC)) {
            let (table, extension) = new_table(file, start)?;
            return Ok((Format::Compat, table, extension));
        }
    }
    Ok((Format::Old, Table { start: OLD_HEADER, entry: OLD_ENTRY, count, base }, 0))
}

/// Count of entries at 20, size of the strings at 24, flags at 28, extension at 32.
fn new_table(file: &[u8], base: usize) -> Result<(Table, usize), Flaw> {
    let file = &file[base..];
    if !file.starts_with(NEW_MAGIC) {
        return Err(Flaw::NotCache);
    }
    let header = file.get(..NEW_HEADER).ok_or(Flaw::Truncated { what: "headers" })?;
    if !matches!(header[28] & 3, ORDER_UNSET | ORDER_OWN) {
        return Err(Flaw::ForeignByteOrder);
    }
    let count = word(header, 20) as usize;
    if count > (file.len() - NEW_HEADER) / NEW_ENTRY {
        return Err(Flaw::Truncated { what: "entries" });
    }
    let table = Table { start: base + NEW_HEADER, entry: NEW_ENTRY, count, base };
    Ok((table, word(header, 32) as usize))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    field(bytes, at).map_or(0, u32::from_ne_bytes)
}

fn field<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The flags of libraries of an ABI, by ELF class and machine: what glibc's ldconfig writes, the
/// usual variant first (glibc's `sysdeps/unix/sysv/linux/*/dl-cache.h`).
const FLAGS: &[(Class, u16, &[i32])] = &[
    (Class::Elf64, 62, &[0x0303]),                 // x86_64
    (Class::Elf32, 62, &[0x0803]),                 // x32
    (Class::Elf32, 3, &[0x0003]),                  // i386
    (Class::Elf64, 183, &[0x0a03]),                // aarch64
    (Class::Elf32, 40, &[0x0903, 0x0b03, 0x0003]), // arm: hard float, soft float, unmarked
    (Class::Elf64, 21, &[0x0503]),                 // ppc64 and ppc64le
    (Class::Elf64, 22, &[0x0403]),                 // s390x
    (Class::Elf64, 243, &[0x1003, 0x0f03]),        // riscv64: doubles in registers, or not
    (Class::Elf64, 258, &[0x1203, 0x1103]),        // loongarch64: likewise
];

/// The flags that an entry for an ABI needs, to be found by the loader; `None` for an ABI that
/// hrun does not know.
///
/// What the image's own `libc.so.6` has is right for the image's loader.
pub fn flags_of(abi: Abi, image: Option<&Cache>) -> Option<i32> {
    let known = |(class, machine, _): &&(Class, u16, &[i32])| {
        (*class, *machine) == (abi.class, abi.machine)
    };
    let (_, _, variants) = FLAGS.iter().find(known)?;
    let libc = image.map(|image| image.find(b"libc.so.6")).unwrap_or_default();
    let own = libc.iter().map(|entry| entry.flags).find(|flags| variants.contains(flags));
    own.or_else(|| variants.first().copied())
}
