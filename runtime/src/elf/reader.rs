//! Reads of a file that may be short, huge or made up.

use std::borrow::Cow;
use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{Flaw, Source};

/// What is read first: the file header, the program headers and, in libraries of few symbols, the
/// strings.
const HEAD_SIZE: usize = 2 << 10;

/// No program headers, dynamic section or notes of a sound file are larger.
const PIECE_LIMIT: u64 = 64 << 10;

/// Strings are read together if they lie within so many bytes.
const GROUP_SIZE: u64 = 16 << 10;

/// What is read for one string at first, and at most (`PATH_MAX` of Linux).
const STRING_SIZES: [usize; 2] = [256, 4 << 10];

/// A part of the file, and where it starts.
type Piece<'a> = (u64, Cow<'a, [u8]>);

/// A source, and its first bytes.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    /// Not allocated: there is one for each of many libraries.
    head: [u8; HEAD_SIZE],
    head_size: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Result<Self, Flaw> {
        let mut head = [0; HEAD_SIZE];
        let head_size = source.read_at(0, &mut head).map_err(Flaw::Unreadable)?;
        Ok(Reader { source, head, head_size })
    }

    /// The first bytes of the file; all of them, if they are less than 2 KiB.
    pub(super) fn head(&self) -> &[u8] {
        self.head.get(..self.head_size).unwrap_or_default()
    }

    /// So many bytes, or as many as there are up to the end of the file.
    pub(super) fn up_to(&self, at: u64, size: usize) -> Result<Cow<'_, [u8]>, Flaw> {
        let known = usize::try_from(at).ok().and_then(|at| self.head().get(at..));
        let known = known.unwrap_or_default();
        if let Some(bytes) = known.get(..size) {
            return Ok(Cow::Borrowed(bytes));
        }
        if self.head_size < HEAD_SIZE {
            return Ok(Cow::Borrowed(known));
        }
        read(self.source, at, size).map(Cow::Owned)
    }

    /// So many bytes; what they are is told if they are not there.
    pub(super) fn exactly(
        &self,
        what: &'static str,
        at: u64,
        size: u64,
    ) -> Result<Cow<'_, [u8]>, Flaw> {
        let limited = usize::try_from(size).ok().filter(|_| size <= PIECE_LIMIT);
        let size = limited.ok_or(Flaw::TooLarge { what })?;
        let bytes = self.up_to(at, size)?;
        if bytes.len() < size { Err(missing(what, at, &bytes)) } else { Ok(bytes) }
    }

    /// A string that ends with NUL, without it.
    pub(super) fn string(&self, what: &'static str, at: u64) -> Result<OsString, Flaw> {
        for size in STRING_SIZES {
            let bytes = self.up_to(at, size)?;
            if let Some(string) = first_string(&bytes) {
                return Ok(string);
            }
            if bytes.len() < size {
                return Err(missing(what, at, &bytes));
            }
        }
        Err(Flaw::TooLarge { what })
    }

    /// Strings at several places; those close to each other are read together.
    pub(super) fn strings(
        &self,
        what: &'static str,
        places: &[u64],
    ) -> Result<Vec<OsString>, Flaw> {
        let groups = self.groups(places)?;
        let string = |at: &u64| {
            let group = groups.iter().rev().find(|(start, _)| start <= at);
            let known = group.and_then(|(start, bytes)| {
                first_string(bytes.get(usize::try_from(at - start).ok()?..)?)
            });
            known.map_or_else(|| self.string(what, *at), Ok)
        };
        places.iter().map(string).collect()
    }

    /// Pieces of the file that hold the starts of strings, in ascending order.
    fn groups(&self, places: &[u64]) -> Result<Vec<Piece<'_>>, Flaw> {
        let mut places = places.to_vec();
        places.sort_unstable();
        let mut groups = Vec::new();
        let mut rest = places.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.partition_point(|at| at - first <= GROUP_SIZE);
            let (group, others) = rest.split_at(count);
            let span = group.last().map_or(0, |last| last - first);
            let size = usize::try_from(span).unwrap_or(0) + STRING_SIZES[0];
            groups.push((*first, self.up_to(*first, size)?));
            rest = others;
        }
        Ok(groups)
    }
}

/// How a file fails to hold something of which these bytes are there.
pub(super) fn missing(what: &'static str, at: u64, bytes: &[u8]) -> Flaw {
    match bytes {
        [] => Flaw::Outside { what, at },
        _ => Flaw::Truncated { what, at: at.saturating_add(bytes.len() as u64) },
    }
}

fn read(source: &dyn Source, at: u64, size: usize) -> Result<Vec<u8>, Flaw> {
    let mut bytes = vec![0; size];
    let count = source.read_at(at, &mut bytes).map_err(Flaw::Unreadable)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn first_string(bytes: &[u8]) -> Option<OsString> {
    let string = CStr::from_bytes_until_nul(bytes).ok()?;
    Some(OsStr::from_bytes(string.to_bytes()).to_owned())
}
