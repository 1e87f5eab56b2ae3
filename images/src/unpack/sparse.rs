//! Files with holes, in the four ways GNU tar has written them.

use std::io::Read;

use runtime::error::Cause;
use tar::GnuHeader;

use super::archive::BLOCK;
use super::fields::{decimal, number};
use super::from_io;

/// More pieces than these are in no sound file.
const PIECES: usize = 1 << 20;

/// Where data lies in a file: its first byte, and its size.
pub(super) type Piece = (u64, u64);

/// What extended headers say of a file with holes.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// The version of the format, 1.0 and above; the map is before the data then.
    pub(super) major: Option<u64>,
    /// The size with holes.
    pub(super) size: Option<u64>,
    /// Offsets and sizes in turn.
    pub(super) map: Vec<u64>,
}

impl Records {
    /// Takes a record `GNU.sparse.NAME=VALUE`; says nothing if it has no value that makes sense.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name {
            b"major" => self.major = Some(decimal(value)?),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" | b"numbytes" if self.map.len() < 2 * PIECES => {
                self.map.push(decimal(value)?)
            }
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').take(2 * PIECES);
                self.map = numbers.map(decimal).collect::<Option<_>>()?;
            }
            _ => {}
        }
        Some(())
    }
}

/// The map in a header, and in those that follow it, and the size with holes.
pub(super) fn old_map(
    header: &GnuHeader,
    stream: &mut dyn Read,
) -> Result<(Vec<Piece>, u64), Cause> {
    let size = number(&header.realsize).and_then(|size| u64::try_from(size).ok());
    let mut pieces = Vec::new();
    for piece in &header.sparse {
        take_piece(&piece.offset, &piece.numbytes, &mut pieces)?;
    }
    let mut goes_on = header.is_extended();
    while goes_on {
        let mut more = tar::GnuExtSparseHeader::new();
        stream.read_exact(more.as_mut_bytes()).map_err(|error| from_io(&error))?;
        for piece in more.sparse() {
            take_piece(&piece.offset, &piece.numbytes, &mut pieces)?;
        }
        goes_on = more.is_extended();
    }
    Ok((pieces, size.ok_or("the size of a file with holes is no number")?))
}

fn take_piece(offset: &[u8], size: &[u8], pieces: &mut Vec<Piece>) -> Result<(), Cause> {
    let both = (number(offset), number(size));
    let (Some(offset @ 0..), Some(size @ 0..)) = both else {
        return Err("the map of a file with holes has what is no number".into());
    };
    if (offset, size) == (0, 0) {
        return Ok(());
    }
    if pieces.len() == PIECES {
        return Err("the map of a file with holes has no end".into());
    }
    pieces.push((offset as u64, size as u64));
    Ok(())
}

/// The map that lies before the data: decimal numbers, a line each, the first of them their
/// number; and the bytes it takes.
pub(super) fn new_map(stream: &mut dyn Read) -> Result<(Vec<Piece>, u64), Cause> {
    let mut lines = Lines { stream, block: [0; BLOCK], at: BLOCK, blocks: 0 };
    let count = lines.number()?;
    if count > PIECES as u64 {
        return Err("the map of a file with holes has no end".into());
    }
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((lines.number()?, lines.number()?));
    }
    Ok((pieces, lines.blocks * BLOCK as u64))
}

struct Lines<'a> {
    stream: &'a mut dyn Read,
    block: [u8; BLOCK],
    at: usize,
    blocks: u64,
}

impl Lines<'_> {
    fn number(&mut self) -> Result<u64, Cause> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.stream.read_exact(&mut self.block).map_err(|error| from_io(&error))?;
                (self.at, self.blocks) = (0, self.blocks + 1);
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => break,
                _ if digits.len() < 20 => digits.push(byte),
                _ => break,
            }
        }
        decimal(&digits).ok_or("the map of a file with holes has what is no number".into())
    }
}

/// Pairs offsets with sizes.
pub(super) fn paired(numbers: &[u64]) -> Result<Vec<Piece>, Cause> {
    match numbers.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|pair| (pair[0], pair[1])).collect()),
        _ => Err("the map of a file with holes is not complete".into()),
    }
}

/// Compares a map with the size of the file and that of its data in the archive.
pub(super) fn check(pieces: &[Piece], size: u64, stored: u64) -> Result<(), Cause> {
    let mut end = 0;
    let mut sum = 0u64;
    for (offset, length) in pieces {
        let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
        end = next.ok_or("the map of a file with holes has pieces where none can be")?;
        sum += length;
    }
    match sum == stored {
        true => Ok(()),
        false => Err("the map of a file with holes does not have the size of its data".into()),
    }
}
