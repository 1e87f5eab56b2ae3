//! Layers and root archives, unpacked by an ordinary user (docs/decisions/0021).
//!
//! Archives come from anywhere, so nothing in them is believed: no name leads out of the root
//! directory, nothing has a size without a limit, and what cannot be is refused by name.

mod archive;
mod fields;
mod layer;
mod names;
mod sparse;
mod tree;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime::error::{Cause, Error, Result};

/// Names of what was left out that are kept; hostile archives have millions of them.
const NAMES_KEPT: usize = 1000;
/// The same, of attributes.
const ATTRIBUTES_KEPT: usize = 20;

/// What an archive may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Members, of all layers.
    pub entries: u64,
    /// Bytes, of all layers without compression; what becomes a hole in a file is none.
    pub bytes: u64,
}

/// How large an image may become by what is stored of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowance {
    /// Two hundred times what is stored, or 4 GiB. Text becomes a tenth by compression; what becomes
    /// less than a two-hundredth, and is no hole, is there to fill a disk.
    #[default]
    Stored,
    /// Anything: its user knows what it is.
    Any,
}

/// What came of unpacking, of one layer or several.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was not made, by its name in the archive and why: devices, pipes.
    pub skipped: Vec<String>,
    /// What of that has no place in the list.
    skipped_more: u64,
    /// Members that were made.
    pub files: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Extended attributes that were left out, as they are not for users to set, or as the file
    /// system has none: the first file of each name, and how many there are.
    attributes: BTreeMap<Vec<u8>, (String, u64)>,
    /// Whether others may read what the owner may read.
    pub is_shared: bool,
    /// What unpacking may take.
    pub limits: Limits,
    /// Members that were read so far, and bytes that count.
    entries: u64,
    spent: u64,
    /// The times of directories, by their path in the tree; set when all is there.
    times: BTreeMap<PathBuf, (i64, u32)>,
}

/// How the names in an archive are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A layer, whose whiteouts remove what layers below it have.
    Layer,
    /// The files of a tree, and nothing else: a name is a name.
    Plain,
}

impl Default for Limits {
    /// A terabyte, which no image has.
    fn default() -> Self {
        Limits { entries: 10_000_000, bytes: 1 << 40 }
    }
}

impl Limits {
    /// The limits of what takes so many bytes as it is stored.
    pub fn stored(bytes: u64, allowance: Allowance) -> Self {
        match allowance {
            Allowance::Stored => {
                Limits { bytes: bytes.saturating_mul(200).max(4 << 30), ..Limits::default() }
            }
            Allowance::Any => Limits { entries: u64::MAX, bytes: u64::MAX },
        }
    }
}

impl Report {
    /// A report for layers that may take so much.
    pub fn within(limits: Limits) -> Self {
        Report { limits, ..Report::default() }
    }

    /// What was left out, a line each.
    pub fn left_out(mut self) -> Vec<String> {
        if self.skipped_more > 0 {
            self.skipped.push(format!("{} more", self.skipped_more));
        }
        for (attribute, (file, count)) in self.attributes {
            let more = match count {
                1 => String::new(),
                2 => " and of 1 other file".to_owned(),
                count => format!(" and of {} other files", count - 1),
            };
            let attribute = String::from_utf8_lossy(&attribute);
            let attribute = attribute.escape_debug();
            self.skipped.push(format!("the attribute {attribute} of {file}{more}"));
        }
        self.skipped
    }

    fn skip_attribute(&mut self, attribute: &[u8], member: &archive::Member) {
        // A label of the machine that a layer was made on means nothing elsewhere.
        if attribute == b"security.selinux" {
            return;
        }
        if self.attributes.len() == ATTRIBUTES_KEPT && !self.attributes.contains_key(attribute) {
            return;
        }
        let first = || (names::shown(&member.name), 0);
        self.attributes.entry(attribute.to_vec()).or_insert_with(first).1 += 1;
    }

    fn skip(&mut self, what: String) {
        if self.skipped.len() < NAMES_KEPT {
            self.skipped.push(what);
        } else {
            self.skipped_more += 1;
        }
    }
}

/// Unpacks a layer, which is decompressed already, over those that are in a root directory.
///
/// The stream is read to its end, also what follows the archive in it.
///
/// # Errors
///
/// Fails if the archive is damaged, hostile or larger than it may be, and if a file cannot be
/// made. What was made until then stays in the root directory; nothing is outside of it.
pub fn layer(stream: &mut dyn Read, root: &Path, report: &mut Report) -> Result<()> {
    archive(stream, Form::Layer, root, report)
}

/// Unpacks an archive, as [`layer`] does.
///
/// # Errors
///
/// As [`layer`].
pub fn archive(stream: &mut dyn Read, form: Form, root: &Path, report: &mut Report) -> Result<()> {
    layer::unpack(stream, form, root, report)
}

/// Sets the times of directories, after the last layer.
///
/// # Errors
///
/// Fails if the kernel does not take them.
pub fn finish(root: &Path, report: &mut Report) -> Result<()> {
    let mut tree = tree::Tree::open(root).map_err(|cause| unusable(root, cause))?;
    for (path, time) in std::mem::take(&mut report.times) {
        let set = tree.find(&path).and_then(|directory| match directory {
            Some(directory) => directory.set_time(".".as_ref(), time),
            None => Ok(()),
        });
        set.map_err(|cause| Error::new(format!("set the time of {}", path.display()), cause))?;
    }
    Ok(())
}

/// The error of what is larger than it may be.
pub(crate) fn too_large(attempt: String, limits: &Limits) -> Error {
    let reason = format!("it is larger than {} MiB without compression", limits.bytes >> 20);
    Error::new(attempt, reason).hint(LARGE_HINT)
}

/// What to do if an image is larger than it may be.
pub const LARGE_HINT: &str = "that is 200 times what is stored, as of an image made to fill a disk; \
    if you know what it is: --any-size";

fn unusable(root: &Path, cause: Cause) -> Error {
    Error::new(format!("unpack into {}", root.display()), cause)
}

/// An archive that cannot be read.
fn broken(cause: Cause) -> Error {
    let hint = match &cause {
        Cause::Reason(_) => Some("copy or pull it again; if that does not help, it was made wrong"),
        Cause::Errno(_) => None,
    };
    Error::new("unpack the archive", cause).hint_if_some(hint.map(str::to_owned))
}

/// A member that cannot be unpacked.
fn refused(name: &[u8], cause: Cause) -> Error {
    let hint = match &cause {
        Cause::Reason(_) => {
            Some("nothing was written outside of the image; use one of another source")
        }
        Cause::Errno(Errno::ENOSPC | Errno::EDQUOT) => {
            Some("make room, or unpack it to another file system")
        }
        Cause::Errno(_) => None,
    };
    let attempt = format!("unpack {} of the archive", names::shown(name));
    Error::new(attempt, cause).hint_if_some(hint.map(str::to_owned))
}

/// An error of a stream, in words where it has no number.
fn from_io(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(errno) => Cause::Errno(Errno::from_raw(errno)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it is not complete".into(),
        None => format!("it is damaged: {error}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unpacks an archive of one file under a limit of a mebibyte.
    fn unpacked(contents: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "file", contents).unwrap();
        let archive = archive.into_inner().unwrap();
        let size = contents.len();
        let root = std::env::temp_dir().join(format!("himage-limit-{}-{size}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let mut report = Report::within(Limits { entries: 10, bytes: 1 << 20 });
        let done = layer(&mut &archive[..], &root, &mut report);
        std::fs::remove_dir_all(root).unwrap();
        done
    }

    #[test]
    fn what_becomes_a_hole_does_not_count() {
        assert_eq!(unpacked(&vec![0; 20 << 20]), Ok(()));
        assert_eq!(unpacked(&[vec![0; 3 << 20], vec![1; 1 << 19]].concat()), Ok(()));
        let error = unpacked(&vec![1; 2 << 20]).unwrap_err();
        assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
        assert_eq!(error.hint.as_deref(), Some(LARGE_HINT));
    }
}
