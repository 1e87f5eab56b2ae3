//! What holds for any tree, and for any bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::extract::extract;
use super::support::{Scratch, find, noise, open, prose, read_image};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use squashfs::{Budget, Inode, Manner, Squashfs};

/// What a file is made of: pieces, each of them noise, prose or a hole.
#[derive(Clone, Debug)]
struct Contents(Vec<(u8, usize)>);

impl Contents {
    fn bytes(&self) -> Vec<u8> {
        let piece = |(kind, size): &(u8, usize)| match kind {
            0 => noise(*size, *size as u64 + 1),
            1 => prose(*size),
            _ => vec![0; *size],
        };
        self.0.iter().flat_map(piece).collect()
    }
}

fn contents() -> impl Strategy<Value = Contents> {
    let size = prop_oneof![0..100usize, 4000..4200usize, 0..40_000usize];
    vec((0..3u8, size), 0..4).prop_map(Contents)
}

/// Names that differ little, so that directories, links and prefixes meet.
fn files() -> impl Strategy<Value = BTreeMap<String, Contents>> {
    btree_map("([a-c]{1,2}/){0,3}[d-f\\n ]{1,3}", contents(), 0..30)
}

fn options() -> impl Strategy<Value = Vec<&'static str>> {
    let compressor = prop::sample::select(vec!["gzip", "xz", "lzo", "lz4", "zstd"]);
    let size = prop::sample::select(vec!["4K", "8K", "32K"]);
    let layout = prop::sample::select(vec![
        "-always-use-fragments",
        "-no-fragments",
        "-no-duplicates",
        "-noD",
        "-noF",
        "-noI",
    ]);
    let options = (compressor, size, layout);
    options.prop_map(|(compressor, size, layout)| vec!["-comp", compressor, "-b", size, layout])
}

fn make(root: &Path, files: &BTreeMap<String, Contents>) {
    fs::create_dir(root).unwrap();
    for (name, contents) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = contents.bytes();
        let file = File::create(path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
}

fn read_whole(image: &Squashfs, inode: &Inode) -> Vec<u8> {
    let mut bytes = vec![0xa5; inode.size as usize + 10];
    let count = image.read(inode, 0, &mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_was_packed_is_read(
        files in files(),
        options in options(),
        places in vec((0..120_000u64, 0..50_000usize), 5),
    ) {
        let scratch = Scratch::new();
        let tree = scratch.path().join("tree");
        make(&tree, &files);
        let image = open(&scratch.image("image", &tree, &options));
        for (number, (name, contents)) in files.iter().enumerate() {
            let inode = find(&image, Path::new(name)).unwrap();
            let wanted = contents.bytes();
            // Some files as they are, some with blocks that are prepared.
            if number % 2 == 0 {
                let size = u64::from(image.superblock().block_size);
                let blocks = (0..).take_while(|block| image.prepare(&inode, *block).unwrap());
                prop_assert_eq!(blocks.count() as u64, inode.size.div_ceil(size));
            }
            prop_assert!(read_whole(&image, &inode) == wanted, "{name:?}");
            for (offset, size) in &places {
                let mut buffer = vec![0xa5; *size];
                let count = image.read(&inode, *offset, &mut buffer).unwrap();
                let from = (*offset as usize).min(wanted.len());
                let to = (from + size).min(wanted.len());
                prop_assert!(buffer[..count] == wanted[from..to], "{name:?} at {offset}");
            }
            prop_assert!(find(&image, &Path::new(name).with_extension("no")).is_none());
        }
    }

    #[test]
    fn listings_go_on_from_everywhere(files in files()) {
        let scratch = Scratch::new();
        let tree = scratch.path().join("tree");
        make(&tree, &files);
        let image = open(&scratch.image("image", &tree, &[]));
        let directories: Vec<PathBuf> = read_image(&image).into_iter()
            .filter(|(_, facts)| facts.mode & 0o170_000 == 0o040_000)
            .map(|(path, _)| path).collect();
        for path in directories {
            let inode = find(&image, &path).unwrap();
            let entries: Vec<_> = image.entries(&inode, 0).unwrap().map(Result::unwrap).collect();
            for (number, entry) in entries.iter().enumerate() {
                let rest = image.entries(&inode, entry.next).unwrap().map(Result::unwrap);
                prop_assert!(rest.eq(entries[number + 1..].iter().cloned()));
            }
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        files in files(),
        options in options(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let scratch = Scratch::new();
        let tree = scratch.path().join("tree");
        make(&tree, &files);
        let mut bytes = fs::read(scratch.image("image", &tree, &options)).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(image) = Squashfs::open(Box::new(bytes), Budget::default()) {
            walk(&image);
            let manner = Manner { threads: 2, keeps_set_ids: false, goes_on: &|_| true };
            let _ = extract(&image, &scratch.path().join("into"), manner);
            let names = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let names: BTreeSet<_> = names.collect();
            let wanted = ["image", "into", "tree"];
            prop_assert!(names.iter().eq(wanted.iter()), "{names:?}");
        }
    }
}

/// Asks everything, and takes any answer.
fn walk(image: &Squashfs) {
    let Ok(root) = image.root() else { return };
    let mut todo = vec![root];
    let mut left = 500;
    while let Some(inode) = todo.pop().filter(|_| left > 0) {
        left -= 1;
        let _ = image.target(&inode);
        let mut buffer = vec![0; 10_000];
        for offset in [0, 5_000, inode.size.saturating_sub(5_000)] {
            let _ = image.read(&inode, offset, &mut buffer);
        }
        for name in image.xattr_names(&inode).into_iter().flatten() {
            let _ = image.xattr(&inode, &name);
        }
        for entry in image.entries(&inode, 0).into_iter().flatten().take(500).flatten() {
            let _ = image.lookup(&inode, &entry.name);
            todo.extend(image.inode(entry.reference));
        }
    }
}
