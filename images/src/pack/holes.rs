//! Where a file has data, and where nothing but zeros.
//!
//! The kernel knows of holes, so that they are not read; but whether zeros are a hole is the file
//! system's affair, and the same tree is to make the same archive on all of them. So zeros that are
//! stored count as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// What is looked at as a whole, in bytes.
const CHUNK: usize = 64 << 10;

/// Fewer zeros than these are data: a map of holes costs, too.
pub(super) const LEAST: u64 = 1 << 20;

/// Where a part of a file is: its first byte, and its size.
pub(super) type Piece = (u64, u64);

/// The pieces of a file that have data, in order; nothing if that is all of it.
///
/// # Errors
///
/// Fails as reading fails.
pub(super) fn pieces(file: &File, size: u64) -> io::Result<Option<Vec<Piece>>> {
    if size < LEAST {
        return Ok(None);
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut after_zeros) = (0, true);
    while at < size {
        if after_zeros {
            at = match seek(file, SeekFrom::Data(at)) {
                Ok(data) => data - data % CHUNK as u64,
                Err(Errno::NXIO) => break,
                // Not every file system knows.
                Err(_) => at,
            };
        }
        let wanted = usize::try_from(size - at).map_or(CHUNK, |left| left.min(CHUNK));
        let chunk = &mut buffer[..wanted];
        file.read_exact_at(chunk, at)?;
        after_zeros = chunk.iter().all(|byte| *byte == 0);
        if !after_zeros {
            add(&mut pieces, (at, wanted as u64));
        }
        at += wanted as u64;
    }
    let end = pieces.last().map_or(0, |(at, length)| at + length);
    // Too few zeros at the end are data as well.
    if size - end < LEAST {
        add(&mut pieces, (end, size - end));
    }
    Ok((pieces != [(0, size)]).then_some(pieces))
}

/// Adds a piece, with what is before it if that is too small for a hole.
fn add(pieces: &mut Vec<Piece>, (at, length): Piece) {
    match pieces.last_mut() {
        Some((first, size)) if at - (*first + *size) < LEAST => *size = at + length - *first,
        None if at < LEAST => pieces.push((0, at + length)),
        _ => pieces.push((at, length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a file with these bytes at these places, as holes and as zeros that are stored.
    #[track_caller]
    fn found(size: u64, data: &[u64]) -> Option<Vec<Piece>> {
        let path = std::env::temp_dir().join(format!("himage-holes-{}-{size}", std::process::id()));
        let options =
            || File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let holes = options().unwrap();
        holes.set_len(size).unwrap();
        data.iter().for_each(|at| holes.write_all_at(b"x", *at).unwrap());
        let sparse = pieces(&holes, size).unwrap();
        let mut whole = vec![0; size as usize];
        data.iter().for_each(|at| whole[*at as usize] = b'x');
        let stored = options().unwrap();
        stored.write_all_at(&whole, 0).unwrap();
        assert_eq!(pieces(&stored, size).unwrap(), sparse);
        std::fs::remove_file(path).unwrap();
        sparse
    }

    #[test]
    fn holes_are_found_however_they_are_stored() {
        const MIB: u64 = 1 << 20;
        assert_eq!(found(1000, &[]), None);
        assert_eq!(found(MIB, &[0]), None);
        assert_eq!(found(4 * MIB, &[]), Some(vec![]));
        assert_eq!(found(4 * MIB + 1, &[4 * MIB]), Some(vec![(4 * MIB, 1)]));
        assert_eq!(found(4 * MIB + 2, &[70_000]), Some(vec![(0, 128 << 10)]));
        let half = MIB / 2;
        assert_eq!(found(2 * MIB + 3, &[half, MIB, MIB + half]), None);
    }
}
