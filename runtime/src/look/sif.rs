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

/// The types of objects that are partitions, and of what OCI-SIF files have in their place: an index
/// of images, and their blobs.
const PARTITION: u32 = 0x4004;
const OCI_INDEX: u32 = 0x400a;
const OCI_BLOB: u32 = 0x400b;

/// What a partition is for.
const SYSTEM: u32 = 1;
const PRIMARY: u32 = 2;
const OVERLAY: u32 = 4;

/// Where the file system of an image is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its first byte.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
    /// What it is for, if its file says so.
    pub architecture: Option<Architecture>,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
}

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// What images call it.
    pub name: &'static str,
    /// What the kernel calls it.
    pub kernel: &'static str,
}

/// The numbers that SIF has for architectures, from 1 on; nothing where hrun was never built.
const ARCHITECTURES: [(&str, &str); 12] = [
    ("386", "i386"),
    ("amd64", "x86_64"),
    ("arm", "arm"),
    ("arm64", "aarch64"),
    ("ppc64", "ppc64"),
    ("ppc64le", "ppc64le"),
    ("mips", "mips"),
    ("mipsle", "mipsel"),
    ("mips64", "mips64"),
    ("mips64le", "mips64el"),
    ("s390x", "s390x"),
    ("riscv64", "riscv64"),
];

impl Architecture {
    /// Reads two digits.
    fn numbered(digits: &[u8]) -> Option<Self> {
        let number: usize = std::str::from_utf8(digits.get(..2)?).ok()?.parse().ok()?;
        let (name, kernel) = *ARCHITECTURES.get(number.checked_sub(1)?)?;
        Some(Architecture { name, kernel })
    }

    /// Whether this machine runs its programs, as far as names tell.
    pub fn runs_here(&self) -> bool {
        match std::env::consts::ARCH {
            "x86_64" => matches!(self.name, "amd64" | "386"),
            "aarch64" => matches!(self.name, "arm64" | "arm"),
            "powerpc64" => self.name.starts_with("ppc64"),
            other => other == self.kernel,
        }
    }
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
    /// What was written to it is in a partition of its own, over that of the system.
    Overlay {
        /// The system's.
        system: Extent,
        /// The other one.
        overlay: Extent,
    },
    /// It holds an OCI image.
    Oci,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Truncated => write!(f, "the SIF file is damaged or not complete"),
            Flaw::NoSystem => write!(f, "the SIF file has no partition with a system"),
            Flaw::Holds(what) => write!(f, "the SIF file holds {what}; squashfs can be run"),
            Flaw::Overlay { .. } => write!(
                f,
                "the SIF file has an overlay partition, whose files would be missing: it cannot be read"
            ),
            Flaw::Oci => write!(f, "it is an OCI-SIF file, of SingularityCE 4"),
        }
    }
}

/// Finds the partition of the system: the primary one, if there are several.
///
/// # Errors
///
/// Says why there is none that can be run as a whole.
pub fn find(source: &dyn Source) -> Result<Partition, Flaw> {
    let mut header = [0; HEADER_SIZE];
    read(source, 0, &mut header)?;
    let (table, count) = (long(&header, 96), long(&header, 88));
    let mut system: Option<Descriptor> = None;
    let (mut overlay, mut is_oci) = (None, false);
    for number in 0..count.min(DESCRIPTORS) {
        let mut bytes = [0; DESCRIPTOR_SIZE];
        let at = table.checked_add(number * DESCRIPTOR_SIZE as u64).ok_or(Flaw::Truncated)?;
        read(source, at, &mut bytes)?;
        let is_used = bytes[4] != 0;
        let kind = word(&bytes, 0);
        is_oci |= is_used && matches!(kind, OCI_INDEX | OCI_BLOB);
        if !is_used || kind != PARTITION {
            continue;
        }
        let found = Descriptor::read(&bytes);
        match found.purpose {
            SYSTEM if system.is_none() => system = Some(found),
            PRIMARY if system.as_ref().is_none_or(|system| system.purpose != PRIMARY) => {
                system = Some(found);
            }
            OVERLAY => overlay = Some(found.extent),
            _ => {}
        }
    }
    let Some(system) = system else {
        return Err(if is_oci { Flaw::Oci } else { Flaw::NoSystem });
    };
    if let Some(what) = system.holds {
        return Err(Flaw::Holds(what));
    }
    let Extent { offset, size } = system.extent;
    match overlay {
        Some(overlay) => Err(Flaw::Overlay { system: system.extent, overlay }),
        None => {
            let of_header = Architecture::numbered(&header[45..47]);
            let architecture = of_header.or(system.architecture);
            Ok(Partition { offset, size, architecture })
        }
    }
}

/// A partition as its descriptor has it.
struct Descriptor {
    extent: Extent,
    purpose: u32,
    /// What it holds that cannot be run.
    holds: Option<&'static str>,
    architecture: Option<Architecture>,
}

impl Descriptor {
    fn read(bytes: &[u8; DESCRIPTOR_SIZE]) -> Self {
        let holds = match word(bytes, 201) {
            1 => None,
            2 => Some("an ext3 file system"),
            5 => Some("an encrypted file system"),
            6 => Some("a file system encrypted by gocryptfs"),
            _ => Some("an unknown kind of file system"),
        };
        Descriptor {
            extent: Extent { offset: long(bytes, 17), size: long(bytes, 25) },
            purpose: word(bytes, 205),
            holds,
            architecture: Architecture::numbered(&bytes[209..211]),
        }
    }
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
        let find = |partitions: &[(u32, u32, u64)]| {
            find(&file(partitions).as_slice()).map(|found| found.offset)
        };
        assert_eq!(find(&[(1, 2, 40_960)]), Ok(40_960));
        assert_eq!(find(&[(1, 3, 7), (1, 1, 8), (1, 2, 9)]), Ok(9));
        assert_eq!(find(&[(1, 2, 7), (1, 2, 8)]), Ok(7));
        assert_eq!(find(&[(2, 3, 7), (1, 1, 8)]), Ok(8));
        assert_eq!(find(&[(1, 3, 7)]), Err(Flaw::NoSystem));
        assert_eq!(find(&[]), Err(Flaw::NoSystem));
        for (kind, what) in [(2, "ext3"), (5, "encrypted"), (6, "gocryptfs"), (9, "unknown")] {
            let flaw = find(&[(kind, 2, 0)]).unwrap_err();
            assert!(flaw.to_string().contains(what), "{flaw}");
        }
    }

    #[test]
    fn what_would_be_left_out_is_told() {
        let overlay = find(&file(&[(1, 2, 7), (2, 4, 9)]).as_slice());
        assert!(matches!(
            overlay,
            Err(Flaw::Overlay {
                system: Extent { offset: 7, .. },
                overlay: Extent { offset: 9, .. }
            })
        ));
        let mut oci = file(&[(1, 2, 7)]);
        oci[4096..4100].copy_from_slice(&OCI_INDEX.to_le_bytes());
        assert_eq!(find(&oci.as_slice()), Err(Flaw::Oci));
    }

    #[test]
    fn the_header_names_the_machine() {
        let mut file = file(&[(1, 2, 7)]);
        let name = |file: &[u8]| find(&file).unwrap().architecture.map(|found| found.name);
        assert_eq!(name(&file), None);
        file[4096 + 209..4096 + 211].copy_from_slice(b"02");
        assert_eq!(name(&file), Some("amd64"));
        file[45..47].copy_from_slice(b"04");
        assert_eq!(name(&file), Some("arm64"));
        file[45..47].copy_from_slice(b"xx");
        assert_eq!(name(&file), Some("amd64"));
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
