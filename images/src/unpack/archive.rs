//! A tar archive, member by member: ustar, GNU, PAX and the oldest.
//!
//! The crate `tar` knows the headers; the way from one to the next is here, because its own
//! iterator believes sizes (it reads a long name of any size into memory), ends records of extended
//! headers at line breaks, and has no files with holes of PAX.

use std::io::{self, Read};

use runtime::error::Cause;
use tar::{EntryType, Header};

use super::fields::{decimal, number, records, time};
use super::sparse::{self, Piece};
use super::{from_io, names};

/// Archives are made of blocks of this size.
pub(super) const BLOCK: usize = 512;

/// The largest extended header or long name; Go's archive/tar has the same limit.
const EXTENDED_LIMIT: u64 = 1 << 20;

/// More headers than these, before one of a member, are there to keep a reader busy.
const HEADERS_LIMIT: usize = 16;

const NO_ARCHIVE: &str =
    "it is no tar archive, neither plain nor compressed by gzip, zstd, xz or bzip2";

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name as it stands in the archive.
    pub(super) name: Vec<u8>,
    /// What it is.
    pub(super) kind: Kind,
    /// The permission bits.
    pub(super) mode: u32,
    /// The last change: seconds since 1970, and nanoseconds.
    pub(super) modified: (i64, u32),
    /// Extended attributes, with their namespaces.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a member is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A regular file.
    File {
        /// Its size, with holes.
        size: u64,
        /// Where its data lies, if it has holes.
        pieces: Option<Vec<Piece>>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// Another name for a member before it.
    Link(Vec<u8>),
    /// A device or a pipe.
    Special(&'static str),
}

/// An archive that is read.
pub(super) struct Archive<'a> {
    stream: &'a mut dyn Read,
    /// What is left of the member's data, and of the block it ends in.
    data: u64,
    padding: u64,
    has_begun: bool,
    /// Whether a stream of no bytes is an archive of no members.
    may_be_empty: bool,
}

/// What headers before that of a member say of it.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_name: Option<Vec<u8>>,
    sparse: sparse::Records,
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Whether a header has the sum it says; old programs summed signed bytes.
fn has_sum(header: &Header) -> bool {
    let field = &header.as_old().cksum;
    let bytes = header.as_bytes();
    let others = || bytes[..148].iter().chain(b"        ").chain(&bytes[156..]);
    let unsigned: i64 = others().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = others().map(|byte| i64::from(*byte as i8)).sum();
    let blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
    !blank && number(field).is_some_and(|sum| sum == unsigned || sum == signed)
}

impl<'a> Archive<'a> {
    pub(super) fn new(stream: &'a mut dyn Read) -> Self {
        Archive { stream, data: 0, padding: 0, has_begun: false, may_be_empty: false }
    }

    /// A layer: one of no bytes changes nothing. Docker and kaniko have made such.
    pub(super) fn of_layer(stream: &'a mut dyn Read) -> Self {
        Archive { may_be_empty: true, ..Archive::new(stream) }
    }

    /// The next member; nothing at the end of the archive, after which the stream is read to its
    /// end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Cause> {
        self.skip(self.data + self.padding)?;
        let mut extended = Extended::default();
        for _ in 0..HEADERS_LIMIT {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => extended.read(&self.extension(&header)?)?,
                EntryType::GNULongName => extended.name = Some(ended(self.extension(&header)?)),
                EntryType::GNULongLink => extended.link = Some(ended(self.extension(&header)?)),
                // Of all members, or of the archive; no image says anything there that matters.
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                kind if kind.as_byte() == b'V' => {}
                _ => return self.member(&header, extended).map(Some),
            }
        }
        Err("it has headers without end, and no file".into())
    }

    /// Reads data of the member; nothing is left at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        let count = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        if count == 0 {
            return Ok(0);
        }
        match self.stream.read(&mut buffer[..count]) {
            Ok(0) => Err(from_io(&io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.data -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(buffer),
            Err(error) => Err(from_io(&error)),
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), Cause> {
        let skipped = io::copy(&mut (&mut *self.stream).take(count), &mut io::sink());
        (self.data, self.padding) = (0, 0);
        match skipped.map_err(|error| from_io(&error))? == count {
            true => Ok(()),
            false => Err(from_io(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The next header, sound and not blank.
    fn header(&mut self) -> Result<Option<Header>, Cause> {
        let mut header = Header::new_old();
        let count = self.block(&mut header)?;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match count {
            0 if is_first && !self.may_be_empty => return Err("it is empty".into()),
            0 => return Ok(None),
            BLOCK => {}
            _ if is_first => return Err(NO_ARCHIVE.into()),
            _ => return Err(from_io(&io::ErrorKind::UnexpectedEof.into())),
        }
        if is_zero(header.as_bytes()) {
            // What follows the end is nobody's, but counts for the digest.
            io::copy(self.stream, &mut io::sink()).map_err(|error| from_io(&error))?;
            return Ok(None);
        }
        match has_sum(&header) {
            true => Ok(Some(header)),
            false if is_first => Err(NO_ARCHIVE.into()),
            false => Err("it is damaged: there is no header where one should be".into()),
        }
    }

    fn block(&mut self, header: &mut Header) -> Result<usize, Cause> {
        let mut count = 0;
        while count < BLOCK {
            match self.stream.read(&mut header.as_mut_bytes()[count..]) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(from_io(&error)),
            }
        }
        Ok(count)
    }

    /// The contents of a header that extends another one.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Cause> {
        let size = size(header)?;
        if size > EXTENDED_LIMIT {
            return Err("an extended header, or a name, is larger than 1 MiB".into());
        }
        let mut contents = vec![0; size as usize];
        self.stream.read_exact(&mut contents).map_err(|error| from_io(&error))?;
        self.skip(padding(size))?;
        Ok(contents)
    }

    fn member(&mut self, header: &Header, extended: Extended) -> Result<Member, Cause> {
        let whole = |name: Option<Vec<u8>>, other: Vec<u8>| name.unwrap_or(other);
        let name = extended.sparse_name.clone().or(extended.name.clone());
        let name = whole(name, header.path_bytes().into_owned());
        let link = header.link_name_bytes().unwrap_or_default().into_owned();
        let link = whole(extended.link.clone(), link);
        let in_member = |cause: &str| Cause::from(format!("{}: {cause}", names::shown(&name)));
        let mode =
            number(&header.as_old().mode).ok_or_else(|| in_member("its mode is no number"))?;
        let seconds = number(&header.as_old().mtime);
        let seconds = seconds.ok_or_else(|| in_member("its time is no number"))?;
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(header, &extended)?
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::Link(link),
            EntryType::Char => Kind::Special("a character device"),
            EntryType::Block => Kind::Special("a block device"),
            EntryType::Fifo => Kind::Special("a named pipe"),
            // A directory with a list of its files, of incremental archives.
            other if other.as_byte() == b'D' => {
                self.data = size(header)?;
                self.padding = padding(self.data);
                Kind::Directory
            }
            _ => return Err(in_member("it is of a kind that no archive of an image has")),
        };
        Ok(Member {
            kind,
            mode: mode as u32 & 0o7777,
            modified: extended.modified.unwrap_or((seconds, 0)),
            xattrs: extended.xattrs,
            name,
        })
    }

    /// What there is to read of a regular file.
    fn file(&mut self, header: &Header, extended: &Extended) -> Result<Kind, Cause> {
        let mut stored = match extended.size {
            Some(size) => size,
            None => size(header)?,
        };
        if i64::try_from(stored).is_err() {
            return Err("the size of a file is beyond any that can be".into());
        }
        self.padding = padding(stored);
        let sparse = &extended.sparse;
        let (pieces, size) = if header.entry_type() == EntryType::GNUSparse {
            let header = header.as_gnu().ok_or("a file with holes has no header of GNU")?;
            let (pieces, size) = sparse::old_map(header, self.stream)?;
            (Some(pieces), size)
        } else if let Some(size) = sparse.size {
            let pieces = match sparse.major {
                Some(1) => {
                    let (pieces, taken) = sparse::new_map(self.stream)?;
                    stored = stored.checked_sub(taken).ok_or("a file ends before its map does")?;
                    pieces
                }
                None | Some(0) => sparse::paired(&sparse.map)?,
                Some(_) => return Err("a file with holes is of a version unknown here".into()),
            };
            (Some(pieces), size)
        } else {
            (None, stored)
        };
        if let Some(pieces) = &pieces {
            sparse::check(pieces, size, stored)?;
        }
        if i64::try_from(size).is_err() {
            return Err("the size of a file is beyond any that can be".into());
        }
        self.data = stored;
        Ok(Kind::File { size, pieces })
    }
}

impl Extended {
    /// Takes the records of an extended header.
    fn read(&mut self, contents: &[u8]) -> Result<(), Cause> {
        let records = records(contents).ok_or("an extended header is damaged")?;
        for (name, value) in records {
            let taken = self.take(name, value);
            taken.ok_or_else(|| format!("the record {} makes no sense", names::shown(name)))?;
        }
        Ok(())
    }

    /// Takes a record; nothing if it makes no sense. One without a value takes back what others said
    /// (pax(1)), but an attribute may be empty.
    fn take(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let given = (!value.is_empty()).then_some(value);
        match name {
            b"path" => self.name = given.map(<[u8]>::to_vec),
            b"linkpath" => self.link = given.map(<[u8]>::to_vec),
            b"size" => self.size = optional(given, decimal)?,
            b"mtime" => self.modified = optional(given, time)?,
            b"GNU.sparse.name" => self.sparse_name = given.map(<[u8]>::to_vec),
            _ => match (name.strip_prefix(b"SCHILY.xattr."), name.strip_prefix(b"GNU.sparse.")) {
                (Some(name), _) => self.xattrs.push((name.to_vec(), value.to_vec())),
                (None, Some(name)) => self.sparse.take(name, value)?,
                (None, None) => {}
            },
        }
        Some(())
    }
}

/// What a value says, if there is one; nothing at all if it makes no sense.
fn optional<T>(value: Option<&[u8]>, read: fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => read(value).map(Some),
    }
}

/// A long name ends at its NUL.
fn ended(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

fn size(header: &Header) -> Result<u64, Cause> {
    let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| {
        let name = names::shown(&header.path_bytes());
        Cause::from(format!("{name}: its size is no number that can be"))
    })
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}
