//! SIF files, Apptainer's: a header, a table of descriptors, and in one of the objects they describe
//! a file system.

use std::fmt;

use crate::elf::Source;

/// What stands at byte 32 of the header.
pub const MAGIC: &[u8; 9] = b"SIF_MAGIC";
/// Where that is; before it there is a line for the kernel, `#!/usr/bin/env run-singularity`.
pub const MAGIC_AT: usize = 32;

/// The header, and a descriptor, in bytes.
const HEADER_SIZE: usize = 128;
const DESCRIPTOR_SIZE: usize = 585;

/// More descriptors than this are in no file; Apptainer makes room for 48.
const DESCRIPTORS: u64 = 1024;

/// The type of an object that is a partition.
const PARTITION: u32 = 0x4004;

/// Where the file system of an image is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its first byte.
    pub offset: u64,
}

/// Why a SIF file cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It ends before the end of its header or its descriptors.
    Truncated,
    /// It has no partition of a system.
    NoSystem,
    /// The partition holds another file system.
    Holds(&'static str),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Truncated => write!(f, "the SIF file is damaged or not complete"),
            Flaw::NoSystem => write!(f, "the SIF file has no partition with a system"),
            Flaw::Holds(what) => write!(f, "the SIF file holds {what}; squashfs can be run"),
        }
    }
}

/// Finds the partition of the system: the primary one, if there are several.
///
/// # Errors
///
/// Says why there is none that can be run.
pub fn find(source: &dyn Source) -> Result<Partition, Flaw> {
    let mut header = [0; HEADER_SIZE];
    read(source, 0, &mut header)?;
    let (table, count) = (long(&header, 96), long(&header, 88));
    let mut found = Err(Flaw::NoSystem);
    for number in 0..count.min(DESCRIPTORS) {
        let mut descriptor = [0; DESCRIPTOR_SIZE];
        let at = table.checked_add(number * DESCRIPTOR_SIZE as u64).ok_or(Flaw::Truncated)?;
        read(source, at, &mut descriptor)?;
        let is_used = descriptor[4] != 0;
        if !is_used || word(&descriptor, 0) != PARTITION {
            continue;
        }
        let partition = partition(&descriptor);
        match word(&descriptor, 205) {
            // A system, and the primary one.
            1 if found.is_err() => found = partition,
            2 => return partition,
            _ => {}
        }
    }
    found
}

/// The partition of a descriptor, if it is one that can be run.
fn partition(descriptor: &[u8; DESCRIPTOR_SIZE]) -> Result<Partition, Flaw> {
    Err(Flaw::Holds(match word(descriptor, 201) {
        1 => return Ok(Partition { offset: long(descriptor, 17) }),
        2 => "an ext3 file system",
        5 => "an encrypted file system",
        6 => "a file system encrypted by gocryptfs",
        _ => "an unknown kind of file system",
    }))
}

fn read(source: &dyn Source, at: u64, buffer: &mut [u8]) -> Result<(), Flaw> {
    let found = source.read_at(at, buffer);
    if found == Ok(buffer.len()) { Ok(()) } else { Err(Flaw::Truncated) }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with partitions: the kind of file system, the use, and where it is.
    fn file(partitions: &[(u32, u32, u64)]) -> Vec<u8> {
        let mut file = vec![0; 4096];
        file[32..41].copy_from_slice(MAGIC);
        file[88..96].copy_from_slice(&48u64.to_le_bytes());
        file[96..104].copy_from_slice(&4096u64.to_le_bytes());
        for number in 0..48 {
            let mut descriptor = vec![0; DESCRIPTOR_SIZE];
            if let Some((kind, purpose, offset)) = partitions.get(number) {
                descriptor[..4].copy_from_slice(&PARTITION.to_le_bytes());
                descriptor[4] = 1;
                descriptor[17..25].copy_from_slice(&offset.to_le_bytes());
                descriptor[201..205].copy_from_slice(&kind.to_le_bytes());
                descriptor[205..209].copy_from_slice(&purpose.to_le_bytes());
            }
            file.extend_from_slice(&descriptor);
        }
        file
    }

    #[test]
    fn finds_the_system() {
        let find = |partitions: &[(u32, u32, u64)]| find(&file(partitions).as_slice());
        assert_eq!(find(&[(1, 2, 40_960)]), Ok(Partition { offset: 40_960 }));
        assert_eq!(find(&[(1, 4, 7), (1, 1, 8), (1, 2, 9)]), Ok(Partition { offset: 9 }));
        assert_eq!(find(&[(2, 4, 7), (1, 1, 8)]), Ok(Partition { offset: 8 }));
        assert_eq!(find(&[(1, 3, 7)]), Err(Flaw::NoSystem));
        assert_eq!(find(&[]), Err(Flaw::NoSystem));
        for (kind, what) in [(2, "ext3"), (5, "encrypted"), (6, "gocryptfs"), (9, "unknown")] {
            let flaw = find(&[(kind, 2, 0)]).unwrap_err();
            assert!(flaw.to_string().contains(what), "{flaw}");
        }
    }

    #[test]
    fn a_file_that_is_cut_is_told() {
        let whole = file(&[(1, 2, 40_960)]);
        for size in [0, 50, 127, 4096, 4600] {
            assert_eq!(find(&&whole[..size]), Err(Flaw::Truncated), "{size}");
        }
        let mut far = whole;
        far[96..104].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(find(&far.as_slice()), Err(Flaw::Truncated));
    }
}
