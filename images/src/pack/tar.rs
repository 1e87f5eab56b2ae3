//! A tree as a tar archive: the same bytes for the same tree, whoever owns it.
//!
//! What the oldest headers have no room for (long names, parts of seconds, extended attributes) is
//! in PAX records, whose lengths the crate `tar` does not count for values that are no text.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use runtime::error::{Error, Result};
use runtime::text::quoted;
use rustix::fs::{lgetxattr, llistxattr};
use tar::{EntryType, Header};

use super::holes::{self, Piece};
use super::walk::walk;
use super::{Compressor, INNER_CONFIG};
use crate::failure::{cause, failed};
use crate::own;

const BLOCK: usize = 512;

/// What is handed to the kernel at once.
const BUFFER: usize = 128 << 10;

/// The most that Linux takes of names, or of one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_LIMIT: usize = 64 << 10;

/// Writes an archive to a file that is not there yet.
pub(super) fn write_file(
    root: &Path,
    config: Option<&[u8]>,
    path: &Path,
    compressor: Option<Compressor>,
) -> Result<()> {
    let file = File::create_new(path).map_err(|error| failed("make", path, &error))?;
    let mut file = BufWriter::with_capacity(BUFFER, file);
    compressed(&mut file, compressor.unwrap_or(Compressor::None), &mut |out| {
        write(root, config, out)
    })?;
    let file = file.into_inner().map_err(|error| failed("write", path, error.error()))?;
    own::close(file).map_err(|error| failed("write", path, &error))
}

/// Calls for what comes before compression.
///
/// # Errors
///
/// Fails as the call fails, and if the compressor is none for streams.
pub(super) fn compressed(
    out: &mut dyn Write,
    compressor: Compressor,
    call: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let fail = |error: io::Error| Error::new("compress the archive", cause(&error));
    match compressor {
        Compressor::None => call(out),
        Compressor::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            call(&mut encoder)?;
            encoder.finish().map(drop).map_err(fail)
        }
        Compressor::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 0).map_err(fail)?;
            call(&mut encoder)?;
            encoder.finish().map(drop).map_err(fail)
        }
        Compressor::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(out, 6);
            call(&mut encoder)?;
            encoder.finish().map(drop).map_err(fail)
        }
        Compressor::Lz4 => Err(Error::new("compress the archive", "lz4 is for squashfs files")
            .hint("use zstd, gzip, xz or none")),
    }
}

/// Writes an archive of a tree, with its configuration in it.
pub(super) fn write(root: &Path, config: Option<&[u8]>, out: &mut dyn Write) -> Result<()> {
    let mut archive = Archive { root, out, links: HashMap::new() };
    let inner = config.map(|_| Path::new(INNER_CONFIG));
    walk(root, &mut |path, metadata| {
        // The one that is given counts.
        if Some(path) == inner {
            return Ok(());
        }
        archive.file(path, metadata)?;
        match config {
            Some(config) if path.as_os_str().is_empty() => archive.config(config, metadata),
            _ => Ok(()),
        }
    })?;
    archive.put(&[0; 2 * BLOCK])
}

struct Archive<'a> {
    root: &'a Path,
    out: &'a mut dyn Write,
    /// Files of several names, by device and inode, and the first of their names.
    links: HashMap<(u64, u64), PathBuf>,
}

/// What headers say of a file.
struct Facts<'a> {
    kind: EntryType,
    name: Vec<u8>,
    link: &'a [u8],
    mode: u32,
    size: u64,
    modified: (i64, i64),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The size with holes, if there are some.
    real_size: Option<u64>,
}

impl Archive<'_> {
    fn file(&mut self, path: &Path, metadata: &Metadata) -> Result<()> {
        let full = self.root.join(path);
        let mut facts = Facts {
            kind: kind(metadata),
            name: path.as_os_str().as_bytes().to_vec(),
            link: b"",
            mode: super::everybodys(metadata).unwrap_or(metadata.mode() & 0o7777),
            size: 0,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            xattrs: Vec::new(),
            real_size: None,
        };
        if facts.kind == EntryType::Directory {
            let is_root = facts.name.is_empty();
            facts.name.extend_from_slice(if is_root { b"./" } else { b"/" });
        } else if metadata.nlink() > 1 {
            let id = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&id) {
                let first = first.clone();
                facts.kind = EntryType::Link;
                return self
                    .header(&Facts { link: first.as_os_str().as_bytes(), ..facts }, metadata);
            }
            self.links.insert(id, path.to_path_buf());
        }
        match facts.kind {
            EntryType::Symlink => {
                let target = fs::read_link(&full).map_err(|error| failed("read", &full, &error))?;
                self.header(&Facts { link: target.as_os_str().as_bytes(), ..facts }, metadata)
            }
            EntryType::Regular => {
                facts.size = metadata.size();
                facts.xattrs = xattrs(&full)?;
                self.regular(&full, facts, metadata)
            }
            _ => {
                facts.xattrs = xattrs(&full)?;
                self.header(&facts, metadata)
            }
        }
    }

    /// The configuration, in a directory of its own; as old as the tree's root.
    fn config(&mut self, config: &[u8], root: &Metadata) -> Result<()> {
        let modified = (root.mtime(), root.mtime_nsec());
        let (directory, _) = INNER_CONFIG.split_once('/').unwrap_or_default();
        if self.root.join(directory).symlink_metadata().is_err() {
            let name = format!("{directory}/").into_bytes();
            let kind = EntryType::Directory;
            self.header(
                &Facts {
                    kind,
                    name,
                    link: b"",
                    mode: 0o755,
                    size: 0,
                    modified,
                    xattrs: Vec::new(),
                    real_size: None,
                },
                root,
            )?;
        }
        let name = INNER_CONFIG.as_bytes().to_vec();
        let size = config.len() as u64;
        let kind = EntryType::Regular;
        self.header(
            &Facts {
                kind,
                name,
                link: b"",
                mode: 0o644,
                size,
                modified,
                xattrs: Vec::new(),
                real_size: None,
            },
            root,
        )?;
        self.put(config)?;
        self.pad(size)
    }

    fn header(&mut self, facts: &Facts, metadata: &Metadata) -> Result<()> {
        let mut records = Vec::new();
        for (key, value) in [(&b"path"[..], &facts.name[..]), (b"linkpath", facts.link)] {
            if value.len() > 100 {
                record(&mut records, key, value);
            }
        }
        let (seconds, nanoseconds) = facts.modified;
        if nanoseconds != 0 || seconds < 0 {
            record(&mut records, b"mtime", time(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &facts.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if let Some(size) = facts.real_size {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", &facts.name);
            record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
        }
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            self.block(&mut header, b"PaxHeaders/next", b"", records.len() as u64, 0)?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(facts.kind);
        header.set_mode(facts.mode);
        if matches!(facts.kind, EntryType::Char | EntryType::Block) {
            let device = metadata.rdev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            let set = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
            set.map_err(|error| Error::new("write a device to the archive", cause(&error)))?;
        }
        self.block(&mut header, &facts.name, facts.link, facts.size, seconds.max(0) as u64)
    }

    fn block(
        &mut self,
        header: &mut Header,
        name: &[u8],
        link: &[u8],
        size: u64,
        time: u64,
    ) -> Result<()> {
        header.set_size(size);
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        let old = header.as_old_mut();
        for (field, value) in [(&mut old.name, name), (&mut old.linkname, link)] {
            let count = value.len().min(field.len());
            field[..count].copy_from_slice(&value[..count]);
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(|error| unwritten(&error))
    }

    /// A regular file: all of it, or a map of where it has data, and that (GNU's format 1.0 of PAX).
    fn regular(&mut self, path: &Path, mut facts: Facts, metadata: &Metadata) -> Result<()> {
        let file = File::open(path).map_err(|error| failed("read", path, &error))?;
        let size = facts.size;
        let pieces = holes::pieces(&file, size).map_err(|error| failed("read", path, &error))?;
        let Some(mut pieces) = pieces else {
            self.header(&facts, metadata)?;
            self.contents(path, &file, (0, size))?;
            return self.pad(size);
        };
        let data: u64 = pieces.iter().map(|(_, length)| length).sum();
        // The end, for readers that go by the map.
        if pieces.last().is_none_or(|(at, length)| at + length < size) {
            pieces.push((size, 0));
        }
        let mut map = format!("{}\n", pieces.len()).into_bytes();
        for (at, length) in &pieces {
            map.extend_from_slice(format!("{at}\n{length}\n").as_bytes());
        }
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        facts.size = map.len() as u64 + data;
        facts.real_size = Some(size);
        self.header(&facts, metadata)?;
        self.put(&map)?;
        for piece in pieces {
            self.contents(path, &file, piece)?;
        }
        self.pad(data)
    }

    fn contents(&mut self, path: &Path, file: &File, (mut at, size): Piece) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(size).map_or(BUFFER, |size| size.min(BUFFER))];
        let end = at + size;
        while at < end {
            let wanted =
                usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count = file
                .read_at(&mut buffer[..wanted], at)
                .map_err(|error| failed("read", path, &error))?;
            if count == 0 {
                let attempt = format!("read {}", quoted(path));
                return Err(Error::new(attempt, "it became shorter meanwhile"));
            }
            self.put(&buffer[..count])?;
            at += count as u64;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| unwritten(&error))
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let over = (size % BLOCK as u64) as usize;
        self.put(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }
}

fn kind(metadata: &Metadata) -> EntryType {
    let kind = metadata.file_type();
    if kind.is_dir() {
        EntryType::Directory
    } else if kind.is_symlink() {
        EntryType::Symlink
    } else if kind.is_char_device() {
        EntryType::Char
    } else if kind.is_block_device() {
        EntryType::Block
    } else if kind.is_fifo() || kind.is_socket() {
        // Archives have no sockets; nobody listens to one that was packed.
        EntryType::Fifo
    } else {
        EntryType::Regular
    }
}

/// The attributes that users set.
fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let fail =
        |errno: rustix::io::Errno| failed("read the extended attributes of", path, &errno.into());
    let mut names = vec![0u8; XATTR_LIMIT];
    let count = match llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        count => count.map_err(fail)?,
    };
    let names = names[..count].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let mut found = Vec::new();
    for name in names {
        let mut value = vec![0u8; XATTR_LIMIT];
        let count = lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).map_err(fail)?;
        value.truncate(count);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Appends a record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let digits = |number: usize| number.to_string().len();
    let mut length = rest + digits(rest);
    if digits(length) > digits(rest) {
        length += 1;
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(&[key, b"=", value, b"\n"].concat());
}

/// A time as records have it: below zero, nanoseconds count away from zero.
fn time(seconds: i64, nanoseconds: i64) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, _) => ("", seconds, nanoseconds),
        (true, 0) => ("-", -seconds, 0),
        (true, _) => ("-", -seconds - 1, 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn unwritten(error: &io::Error) -> Error {
    Error::new("write the archive", cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for size in [0, 1, 80, 90, 91, 92, 93, 94, 95, 96, 985, 986, 987, 988, 989, 9_980, 9_990] {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'a'; size]);
            let length = records.len().to_string();
            assert!(records.starts_with(format!("{length} path=").as_bytes()), "{size}");
        }
    }

    #[test]
    fn times_are_decimal() {
        assert_eq!(time(7, 0), "7");
        assert_eq!(time(10, 500_000_000), "10.5");
        assert_eq!(time(-3, 0), "-3");
        assert_eq!(time(-2, 750_000_000), "-1.25");
        assert_eq!(time(-1, 900_000_000), "-0.1");
    }
}
