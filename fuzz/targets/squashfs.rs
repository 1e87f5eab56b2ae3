//! Squashfs images: whatever they say, reads are small, memory is bounded, and every way of asking
//! the same gets the same answer.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use squashfs::{Budget, Entry, Flaw, Inode, Kind, Source, Squashfs};

/// The largest read there is: a block of 1 MiB, or the index of a table.
const READ_LIMIT: usize = 1 << 20;

/// Files and names that are looked at in one image.
const FILES: usize = 60;
const NAMES: usize = 200;

/// An image that is watched while it is read.
struct Watched {
    bytes: Vec<u8>,
    reads: Arc<AtomicU64>,
}

impl Source for Watched {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        assert!(buffer.len() <= READ_LIMIT, "a read of {} bytes", buffer.len());
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.read_at(offset, buffer)
    }
}

fn open(bytes: &[u8], budget: Budget) -> Option<(Squashfs, Arc<AtomicU64>)> {
    let reads = Arc::new(AtomicU64::new(0));
    let source = Watched { bytes: bytes.to_vec(), reads: reads.clone() };
    match Squashfs::open(Box::new(source), budget) {
        Ok(image) => Some((image, reads)),
        Err(flaw) => {
            assert!(!flaw.to_string().is_empty());
            None
        }
    }
}

/// Reads a part of a file with a cache and without one.
fn read(images: [&Squashfs; 2], inode: &Inode, offset: u64, size: usize) -> Result<Vec<u8>, Flaw> {
    let [first, second] = images.map(|image| {
        let mut buffer = vec![0xa5; size];
        let count = image.read(inode, offset, &mut buffer)?;
        let wanted = inode.size.saturating_sub(offset).min(size as u64);
        assert_eq!(count as u64, wanted, "less than there is");
        assert!(buffer[count..].iter().all(|byte| *byte == 0xa5), "more than it says");
        buffer.truncate(count);
        Ok(buffer)
    });
    assert_eq!(first, second);
    first
}

fn look_at_file(images: [&Squashfs; 2], inode: &Inode) {
    let block = u64::from(images[0].superblock().block_size);
    let end = inode.size;
    for offset in [0, 1, block - 1, block, end / 2, end.saturating_sub(100)] {
        let Ok(bytes) = read(images, inode, offset, 600) else { continue };
        let middle = bytes.len() / 2;
        if let Ok(tail) = read(images, inode, offset + middle as u64, 600 - middle) {
            assert_eq!(bytes[middle..], tail);
        }
    }
    let _ = read(images, inode, 0, 2 * block as usize);
}

fn look_at_directory(image: &Squashfs, inode: &Inode) -> Vec<Entry> {
    let Ok(entries) = image.entries(inode, 0) else { return Vec::new() };
    let entries: Vec<Entry> = entries.map_while(Result::ok).take(NAMES).collect();
    for (number, entry) in entries.iter().enumerate() {
        let name = entry.name.as_encoded_bytes();
        assert!(!name.is_empty() && name.len() < 256 && !name.contains(&b'/'));
        assert!(!name.contains(&0) && name != b"." && name != b"..");
        let next = image.entries(inode, entry.next).expect("it went on before").next();
        if let (Some(Ok(next)), Some(wanted)) = (next, entries.get(number + 1)) {
            assert_eq!(next, *wanted);
        }
        if let Ok(Some(found)) = image.lookup(inode, &entry.name) {
            assert_eq!(found.name, entry.name);
        }
    }
    entries
}

fuzz_target!(|bytes: &[u8]| {
    let Some((image, reads)) = open(bytes, Budget::default()) else { return };
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    let Some((bare, _)) = open(bytes, Budget { metadata: 0, data: 0 }) else { unreachable!() };
    let images = [&image, &bare];
    let Ok(root) = image.root() else { return };
    let mut todo = vec![root];
    let mut left = FILES;
    while let Some(inode) = todo.pop().filter(|_| left > 0) {
        left -= 1;
        for name in image.xattr_names(&inode).into_iter().flatten().take(NAMES) {
            if let Ok(value) = image.xattr(&inode, &name) {
                assert!(value.expect("it is listed").len() <= 64 << 10);
            }
        }
        match inode.kind {
            Kind::File => look_at_file(images, &inode),
            Kind::Symlink => {
                let target = image.target(&inode);
                assert!(target.is_err() || target.is_ok_and(|target| target.len() <= 4096));
            }
            Kind::Directory => {
                let entries = look_at_directory(&image, &inode);
                todo.extend(entries.iter().flat_map(|entry| image.inode(entry.reference)));
            }
            _ => assert!(image.read(&inode, 0, &mut [0]).is_err()),
        }
    }
    for number in [0, 1, image.superblock().inodes] {
        let _ = image.numbered(number).map(|reference| image.inode(reference).map(|_| ()));
    }
});
