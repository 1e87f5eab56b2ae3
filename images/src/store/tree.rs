//! A tree is made of layers, beside the others, and then put among them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use oci_spec::image::Descriptor;
use runtime::error::{Error, Result};

use super::{Store, files, remove, write};
use crate::compression;
use crate::digest::{Digest, Hashing};
use crate::failure::{cause, failed};
use crate::own;
use crate::progress::{Progress, Task};
use crate::said;
use crate::source::Described;
use crate::threads;
use crate::unpack::{self, Limits, Report};

/// What is decompressed at once, and how many pieces of it may wait.
const PIECE: usize = 1 << 18;
const WAITING: usize = 16;

/// Makes the tree of an image; `wait_for` waits for the blob of a layer. Gives back what was left out.
///
/// # Errors
///
/// Fails if a layer does not come, cannot be unpacked, or is not the one the configuration names.
pub fn make(
    store: &Store,
    image: &Described,
    diffs: &[String],
    progress: &dyn Progress,
    wait_for: &dyn Fn(usize) -> Result<()>,
) -> Result<Vec<String>> {
    let digest = Digest::of(&image.manifest_bytes);
    let making = store.unfinished(&digest, "tree");
    remove::tree(&making)?;
    let made = fill(store, image, diffs, &making, progress, wait_for).and_then(|report| {
        let tree = store.tree(&digest);
        fs::rename(&making, &tree).map_err(|error| failed("make", &tree, &error))?;
        Ok(report.left_out())
    });
    if made.is_err() {
        let _ = remove::tree(&making);
    }
    made
}

fn fill(
    store: &Store,
    image: &Described,
    diffs: &[String],
    making: &Path,
    progress: &dyn Progress,
    wait_for: &dyn Fn(usize) -> Result<()>,
) -> Result<Report> {
    let report = unpack(store, image, diffs, making, progress, wait_for)?;
    let listing = progress.begin("list the files", None);
    write(&making.join(files::NAME), &files::list(&making.join("rootfs"))?)?;
    drop(listing);
    Ok(report)
}

/// The same without the list of files, which only those in a store are compared with.
///
/// # Errors
///
/// As [`make`].
pub fn unpack(
    store: &Store,
    image: &Described,
    diffs: &[String],
    making: &Path,
    progress: &dyn Progress,
    wait_for: &dyn Fn(usize) -> Result<()>,
) -> Result<Report> {
    let root = making.join("rootfs");
    // One after the other: neither may be there.
    for directory in [making, &root] {
        let made = DirBuilder::new().mode(0o755).create(directory);
        made.map_err(|error| failed("make", directory, &error))?;
    }
    let stored = image.manifest.layers().iter().map(|layer| layer.size()).sum();
    let mut report = Report::within(Limits::stored(stored, store.allowance));
    report.is_shared = store.is_shared;
    for (index, (layer, diff)) in image.manifest.layers().iter().zip(diffs).enumerate() {
        wait_for(index)?;
        let what = format!("unpack {}", Digest::wanted(layer)?.short());
        let task = progress.begin(&what, Some(layer.size()));
        unpack_layer(store, layer, diff, task.as_ref(), &mut |stream| {
            unpack::layer(stream, &root, &mut report)
        })
        .map_err(|error| blame(store, layer, error))?;
    }
    unpack::finish(&root, &mut report)?;
    write(&making.join("image.json"), &said::strict_configuration(&image.config)?)?;
    write(&making.join("manifest.json"), &image.manifest_bytes)?;
    Ok(report)
}

/// Gives a layer, decompressed by another thread, to who unpacks it, and compares its digest.
fn unpack_layer(
    store: &Store,
    layer: &Descriptor,
    diff: &str,
    task: &dyn Task,
    unpack: &mut dyn FnMut(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let path = store.blob(&Digest::wanted(layer)?);
    let wanted = Digest::parse(diff)?;
    let attempt = || format!("unpack layer {}", layer.digest());
    let blob = own::open_to_read(&path).map_err(|error| failed("read", &path, &error))?;
    let (sender, receiver) = sync_channel(WAITING);
    let found = std::thread::scope(|scope| {
        let sending = threads::beside(scope, move || send(Counted { blob, task }, &sender))
            .map_err(|error| threads::refused(&error))?;
        let mut stream = Pieces { receiver, piece: Vec::new(), at: 0 };
        let unpacked = unpack(&mut stream);
        // What follows the archive's end belongs to the layer's digest.
        let rest = unpacked.is_ok().then(|| io::copy(&mut stream, &mut io::sink()));
        drop(stream);
        let sent = sending.join().unwrap_or_else(|_| Err(io::Error::other("it broke off")));
        // A stream that breaks is the reason why unpacking fails, not the other way round.
        let sent = sent.map_err(|error| Error::new(attempt(), cause(&error)));
        match (unpacked, rest) {
            (Err(error), _) => Err(sent.err().unwrap_or(error)),
            (Ok(()), Some(Err(error))) => Err(Error::new(attempt(), cause(&error))),
            (Ok(()), _) => sent,
        }
    })?;
    match found {
        Some(found) if found != wanted => {
            let reason = format!("unpacked, its digest is {found} and should be {wanted}");
            Err(Error::new(attempt(), reason))
        }
        _ => Ok(()),
    }
}

/// A blob that was there before may be damaged; then it goes, and the next command gets it anew.
fn blame(store: &Store, layer: &Descriptor, error: Error) -> Error {
    let Ok(wanted) = Digest::wanted(layer) else { return error };
    let path = store.blob(&wanted);
    let found = own::open_to_read(&path).and_then(|blob| {
        let mut hashing = Hashing::new(blob);
        io::copy(&mut hashing, &mut io::sink()).map(|_| hashing.finish().0)
    });
    if found.is_ok_and(|found| found != wanted) && fs::remove_file(&path).is_ok() {
        return error.hint("the layer in the store was damaged, and is removed: try again");
    }
    error
}

/// Decompresses a layer; its digest, if all of it was wanted.
fn send(blob: Counted, sender: &SyncSender<Vec<u8>>) -> io::Result<Option<Digest>> {
    let (_, decoder) = compression::decoder(blob)?;
    let mut stream = Hashing::new(decoder);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        stream.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(Some(stream.finish().0));
        }
        if sender.send(piece).is_err() {
            return Ok(None);
        }
    }
}

/// Says how far reading a blob has come.
struct Counted<'a> {
    blob: File,
    task: &'a dyn Task,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.blob.read(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }
}

/// The pieces another thread sends, as a stream.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // The end of the stream, or its breaking off: who decompresses it knows.
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let rest = &self.piece[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
