//! ELF files, as far as a dynamic loader looks into them (elf(5), the gABI).
//!
//! A library may be a hundred megabytes and may lie on a file system that answers slowly, so only
//! what is asked for is read: one read for the file header and the program headers, one for the
//! dynamic section, one for each group of strings. Nothing is mapped: a file that shrinks would
//! end the process. The files are an image's, so nothing in them is believed: every size has a
//! limit, every chain an end.

mod fields;
mod note;
mod reader;
#[cfg(test)]
mod sample;
mod symbols;
#[cfg(test)]
mod tests;
mod versions;

use std::ffi::OsString;
use std::fmt;

use nix::errno::Errno;

use self::fields::{half, long, word};
use self::reader::Reader;
pub use self::symbols::Symbols;
pub use self::versions::NeededVersion;

/// Where the bytes of a file come from.
pub trait Source {
    /// Reads from an offset on; gives less than the buffer holds only at the end of the file.
    ///
    /// # Errors
    ///
    /// The errno of pread(2).
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl Source for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// The machines that can run an object: only objects of the same ABI are linked to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abi {
    /// The size of an address.
    pub class: Class,
    /// The order of the bytes of a number.
    pub order: Order,
    /// `e_machine` of elf(5): 62 is `x86_64`, 183 is `aarch64`.
    pub machine: u16,
}

impl Abi {
    /// The ABI of hrun itself, and of the programs it is there for.
    pub const NATIVE: Abi = Abi {
        class: Class::Elf64,
        order: Order::Little,
        machine: if cfg!(target_arch = "x86_64") { 62 } else { 183 },
    };
}

/// The size of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 32 bits.
    Elf32,
    /// 64 bits.
    Elf64,
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The least significant byte comes first.
    Little,
    /// The most significant byte comes first.
    Big,
}

/// Why a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It has no bytes: what is left of a mount point after `docker commit`, for example.
    Empty,
    /// It starts with something else.
    NotElf,
    /// A field has a value that no loader knows.
    Unknown {
        /// What the field is.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// It ends within something.
    Truncated {
        /// What is not there as a whole.
        what: &'static str,
        /// The size of the file, in bytes.
        at: u64,
    },
    /// Something would lie behind its end.
    Outside {
        /// What that is.
        what: &'static str,
        /// Where it would be, in bytes.
        at: u64,
    },
    /// Something has an address that is not loaded from the file.
    Unmapped {
        /// What that is.
        what: &'static str,
        /// Its address.
        address: u64,
    },
    /// Something is larger than it is in any sound file.
    TooLarge {
        /// What that is.
        what: &'static str,
    },
    /// The kernel does not give its bytes.
    Unreadable(Errno),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Empty => write!(f, "it is empty"),
            Flaw::NotElf => write!(f, "it is no ELF file"),
            Flaw::Unknown { what, value } => {
                write!(f, "its {what} is {value}, which no loader knows")
            }
            Flaw::Truncated { what, at } => write!(f, "it ends at byte {at}, within its {what}"),
            Flaw::Outside { what, at } => {
                write!(f, "its {what} would be at byte {at}, behind its end")
            }
            Flaw::Unmapped { what, address } => {
                write!(f, "its {what} would be at address {address:#x}, which no segment loads")
            }
            Flaw::TooLarge { what } => {
                write!(f, "the size of its {what} is beyond that of any sound file")
            }
            Flaw::Unreadable(errno) => write!(f, "it cannot be read: {}", errno.desc()),
        }
    }
}

/// A program or a library.
pub struct Object<'a> {
    /// What can run it.
    pub abi: Abi,
    /// It can be loaded at any address (`ET_DYN`): a library, or a program made like one.
    pub is_shared: bool,
    /// The dynamic loader it asks for (`PT_INTERP`).
    pub interpreter: Option<OsString>,
    /// The name others know it by (`DT_SONAME`).
    pub soname: Option<OsString>,
    reader: Reader<'a>,
    segments: Vec<Segment>,
    dynamic: Dynamic,
}

/// A program header: a piece of the file, and where it is loaded.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
    align: u64,
}

/// What is of use in the dynamic section: offsets in the string table, and addresses.
#[derive(Clone, Debug, Default)]
struct Dynamic {
    strings: Option<u64>,
    strings_size: u64,
    soname: Option<u64>,
    needed: Vec<u64>,
    needed_versions: Option<u64>,
    defined_versions: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    symbols: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

/// Where an object wants the libraries it needs to be looked for: lists of directories, with
/// `$ORIGIN` for its own (ld.so(8)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPaths {
    /// Before all others, and for the libraries' own libraries too (`DT_RPATH`); does not count
    /// where there is the other.
    pub rpath: Option<OsString>,
    /// After `LD_LIBRARY_PATH` (`DT_RUNPATH`).
    pub runpath: Option<OsString>,
}

const ET_DYN: u16 = 3;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERNEED: u64 = 0x6fff_fffe;

impl<'a> Object<'a> {
    /// Reads the headers and the dynamic section, in three reads as a rule.
    ///
    /// # Errors
    ///
    /// Says what keeps a loader from using the file.
    pub fn read(source: &'a dyn Source) -> Result<Self, Flaw> {
        let mut object = Object::read_start(source)?;
        object.dynamic = object.read_dynamic()?;
        if let Some(soname) = object.dynamic.soname {
            object.soname = object.strings("soname", &[soname])?.pop();
        }
        Ok(object)
    }

    /// Reads what the kernel reads of a program: the headers and the interpreter's name, in one
    /// read as a rule; there is no soname then, and nothing is needed.
    ///
    /// # Errors
    ///
    /// Says what keeps the kernel from using the file.
    pub fn read_start(source: &'a dyn Source) -> Result<Self, Flaw> {
        let reader = Reader::new(source)?;
        let head = reader.head();
        if head.is_empty() {
            return Err(Flaw::Empty);
        }
        let abi = read_abi(head)?;
        let segments = read_segments(&reader, abi)?;
        let interpreter = segments.iter().find(|segment| segment.kind == PT_INTERP);
        let interpreter =
            interpreter.map(|segment| reader.string("interpreter", segment.offset)).transpose()?;
        let is_shared = half(abi, reader.head(), 16) == ET_DYN;
        let dynamic = Dynamic::default();
        Ok(Object { abi, is_shared, interpreter, soname: None, reader, segments, dynamic })
    }

    /// The sonames of the libraries it is linked to (`DT_NEEDED`), in order.
    ///
    /// # Errors
    ///
    /// Fails if a name lies outside of the file.
    pub fn needed(&self) -> Result<Vec<OsString>, Flaw> {
        self.strings("needed libraries", &self.dynamic.needed)
    }

    /// Where it wants its libraries to be looked for.
    ///
    /// # Errors
    ///
    /// Fails if a list lies outside of the file.
    pub fn search_paths(&self) -> Result<SearchPaths, Flaw> {
        let list = |at: Option<u64>| match at {
            Some(at) => Ok(self.strings("search path", &[at])?.pop()),
            None => Ok(None),
        };
        Ok(SearchPaths { rpath: list(self.dynamic.rpath)?, runpath: list(self.dynamic.runpath)? })
    }

    /// An object without a dynamic section is linked statically, and needs nothing.
    fn read_dynamic(&self) -> Result<Dynamic, Flaw> {
        let mut dynamic = Dynamic::default();
        let Some(segment) = self.segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
            return Ok(dynamic);
        };
        let bytes = self.reader.exactly("dynamic section", segment.offset, segment.size)?;
        let size = self.abi.class.address_size();
        for entry in bytes.chunks_exact(2 * size) {
            let value = long(self.abi, entry, size);
            match long(self.abi, entry, 0) {
                DT_NULL => break,
                DT_NEEDED => dynamic.needed.push(value),
                DT_STRTAB => dynamic.strings = Some(value),
                DT_STRSZ => dynamic.strings_size = value,
                DT_SONAME => dynamic.soname = Some(value),
                DT_RPATH => dynamic.rpath = Some(value),
                DT_RUNPATH => dynamic.runpath = Some(value),
                DT_SYMTAB => dynamic.symbols = Some(value),
                DT_HASH => dynamic.hash = Some(value),
                DT_GNU_HASH => dynamic.gnu_hash = Some(value),
                DT_VERDEF => dynamic.defined_versions = Some(value),
                DT_VERNEED => dynamic.needed_versions = Some(value),
                _ => {}
            }
        }
        Ok(dynamic)
    }

    /// Where in the file the byte of an address is.
    fn offset(&self, what: &'static str, address: u64) -> Result<u64, Flaw> {
        let inside = |segment: &&Segment| {
            segment.kind == PT_LOAD
                && address.checked_sub(segment.address).is_some_and(|inner| inner < segment.size)
        };
        let segment = self.segments.iter().find(inside);
        let segment = segment.ok_or(Flaw::Unmapped { what, address })?;
        Ok(segment.offset.saturating_add(address - segment.address))
    }

    /// Strings of the string table; those that lie together are read together.
    fn strings(&self, what: &'static str, offsets: &[u64]) -> Result<Vec<OsString>, Flaw> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let table = self.dynamic.strings.ok_or(Flaw::Unmapped { what: "string table", address: 0 });
        let table = self.offset("string table", table?)?;
        let size = self.dynamic.strings_size;
        let places = offsets.iter().map(|offset| {
            let at = table.saturating_add(*offset);
            if *offset < size { Ok(at) } else { Err(Flaw::Outside { what, at }) }
        });
        self.reader.strings(what, &places.collect::<Result<Vec<u64>, Flaw>>()?)
    }
}

impl Class {
    /// In bytes.
    fn address_size(self) -> usize {
        match self {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        }
    }
}

/// The first 16 bytes are the same for all machines; `e_machine` is at 18.
fn read_abi(head: &[u8]) -> Result<Abi, Flaw> {
    let rest = head.strip_prefix(b"\x7fELF").ok_or(Flaw::NotElf)?;
    let truncated = Flaw::Truncated { what: "file header", at: head.len() as u64 };
    let [class, order, ..] = *rest else { return Err(truncated) };
    let class = match class {
        1 => Class::Elf32,
        2 => Class::Elf64,
        _ => return Err(Flaw::Unknown { what: "class", value: class.into() }),
    };
    let order = match order {
        1 => Order::Little,
        2 => Order::Big,
        _ => return Err(Flaw::Unknown { what: "byte order", value: order.into() }),
    };
    let size = if class == Class::Elf64 { 64 } else { 52 };
    if head.len() < size {
        return Err(truncated);
    }
    let mut abi = Abi { class, order, machine: 0 };
    abi.machine = half(abi, head, 18);
    Ok(abi)
}

/// The program headers. Their number has 16 bits; the escape to more is for core dumps.
fn read_segments(reader: &Reader, abi: Abi) -> Result<Vec<Segment>, Flaw> {
    let head = reader.head();
    let (table, sizes, size) = match abi.class {
        Class::Elf32 => (long(abi, head, 28), 42, 32),
        Class::Elf64 => (long(abi, head, 32), 54, 56),
    };
    let (found, count) = (half(abi, head, sizes), half(abi, head, sizes + 2));
    if count == 0 {
        return Ok(Vec::new());
    }
    if usize::from(found) != size {
        return Err(Flaw::Unknown { what: "size of a program header", value: found.into() });
    }
    let bytes = reader.exactly("program headers", table, u64::from(found) * u64::from(count))?;
    Ok(bytes.chunks_exact(size).map(|header| segment(abi, header)).collect())
}

fn segment(abi: Abi, header: &[u8]) -> Segment {
    let [offset, address, size, align] = match abi.class {
        Class::Elf32 => [4, 8, 16, 28],
        Class::Elf64 => [8, 16, 32, 48],
    };
    Segment {
        kind: word(abi, header, 0),
        offset: long(abi, header, offset),
        address: long(abi, header, address),
        size: long(abi, header, size),
        align: long(abi, header, align),
    }
}
