//! The symbol versions an object needs of others, and those it defines.
//!
//! The records form chains, each with the distance to the next. As in glibc's loader
//! (`elf/dl-version.c`), a distance of zero is the end; the numbers of records are not looked at.

use std::ffi::OsString;

use super::fields::{half, word};
use super::reader::missing;
use super::{Abi, Flaw, Object};

/// A symbol version that an object needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededVersion {
    /// The library that must define it: `libc.so.6`.
    pub file: OsString,
    /// Its name: `GLIBC_2.34`.
    pub version: OsString,
    /// The loader goes on without it (`VER_FLG_WEAK`).
    pub is_weak: bool,
}

/// Versions of a library; libc.so.6 has 45.
const COUNT_LIMIT: usize = 4096;

/// How much of a chain is read, if the half before was too short.
const WINDOWS: [usize; 3] = [2 << 10, 16 << 10, 1 << 20];

/// The only version of the records (`VER_NEED_CURRENT`, `VER_DEF_CURRENT`).
const CURRENT: u16 = 1;

const VER_FLG_BASE: u16 = 1;
const VER_FLG_WEAK: u16 = 2;

/// Why the walk along a chain ended early.
enum Stop {
    /// The chain goes on behind the bytes.
    Short,
    Flawed(Flaw),
}

/// Offsets of the names of a needed version in the string table.
struct Names {
    file: u64,
    version: u64,
    is_weak: bool,
}

impl Object<'_> {
    /// The versions it needs of the libraries it is linked to (`DT_VERNEED`), in order.
    ///
    /// # Errors
    ///
    /// Fails if a record or a name lies outside of the file, and on more than 4096 versions.
    pub fn needed_versions(&self) -> Result<Vec<NeededVersion>, Flaw> {
        let names = self.walk("needed versions", self.dynamic.needed_versions, needed)?;
        let offsets: Vec<u64> =
            names.iter().flat_map(|names| [names.file, names.version]).collect();
        let mut strings = self.strings("needed versions", &offsets)?.into_iter();
        let mut next = || strings.next().unwrap_or_default();
        let version = |names: &Names| {
            let (file, version) = (next(), next());
            NeededVersion { file, version, is_weak: names.is_weak }
        };
        Ok(names.iter().map(version).collect())
    }

    /// The versions it defines (`DT_VERDEF`), in order, without the one named like itself.
    ///
    /// # Errors
    ///
    /// As [`Object::needed_versions`].
    pub fn defined_versions(&self) -> Result<Vec<OsString>, Flaw> {
        let names = self.walk("defined versions", self.dynamic.defined_versions, defined)?;
        self.strings("defined versions", &names)
    }

    fn walk<T>(
        &self,
        what: &'static str,
        address: Option<u64>,
        walk: impl Fn(Abi, &[u8]) -> Result<Vec<T>, Stop>,
    ) -> Result<Vec<T>, Flaw> {
        let Some(address) = address else { return Ok(Vec::new()) };
        let at = self.offset(what, address)?;
        for size in WINDOWS {
            let bytes = self.reader.up_to(at, size)?;
            match walk(self.abi, &bytes) {
                Ok(found) => return Ok(found),
                Err(Stop::Flawed(flaw)) => return Err(flaw),
                Err(Stop::Short) if bytes.len() < size => return Err(missing(what, at, &bytes)),
                Err(Stop::Short) => {}
            }
        }
        Err(Flaw::TooLarge { what })
    }
}

/// Verneed: version 0 (16 bits), file 4, first vernaux 8, next 12.
/// Vernaux: flags 4 (16 bits), name 8, next 12.
fn needed(abi: Abi, bytes: &[u8]) -> Result<Vec<Names>, Stop> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let record = piece(bytes, at, 16)?;
        check_version(half(abi, record, 0))?;
        let mut name_at = at + word(abi, record, 8) as usize;
        loop {
            let name = piece(bytes, name_at, 16)?;
            check_count(found.len())?;
            found.push(Names {
                file: word(abi, record, 4).into(),
                version: word(abi, name, 8).into(),
                is_weak: half(abi, name, 4) & VER_FLG_WEAK != 0,
            });
            match word(abi, name, 12) {
                0 => break,
                next => name_at += next as usize,
            }
        }
        match word(abi, record, 12) {
            0 => return Ok(found),
            next => at += next as usize,
        }
    }
}

/// Verdef: version 0 and flags 2 (16 bits), first verdaux 12, next 16. Verdaux: name 0.
fn defined(abi: Abi, bytes: &[u8]) -> Result<Vec<u64>, Stop> {
    let mut found = Vec::new();
    let mut at = 0;
    // The base version counts as one that is seen.
    for seen in 0.. {
        let record = piece(bytes, at, 20)?;
        check_version(half(abi, record, 0))?;
        check_count(seen)?;
        if half(abi, record, 2) & VER_FLG_BASE == 0 {
            let name = piece(bytes, at + word(abi, record, 12) as usize, 8)?;
            found.push(word(abi, name, 0).into());
        }
        match word(abi, record, 16) {
            0 => break,
            next => at += next as usize,
        }
    }
    Ok(found)
}

fn piece(bytes: &[u8], at: usize, size: usize) -> Result<&[u8], Stop> {
    bytes.get(at..).and_then(|rest| rest.get(..size)).ok_or(Stop::Short)
}

fn check_version(version: u16) -> Result<(), Stop> {
    let flaw = Flaw::Unknown { what: "kind of version records", value: version.into() };
    if version == CURRENT { Ok(()) } else { Err(Stop::Flawed(flaw)) }
}

fn check_count(count: usize) -> Result<(), Stop> {
    let flaw = Flaw::TooLarge { what: "list of versions" };
    if count < COUNT_LIMIT { Ok(()) } else { Err(Stop::Flawed(flaw)) }
}
