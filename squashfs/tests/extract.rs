//! Trees that are written into directories, as unsquashfs writes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::oracle::{is_root, make_everything};
use super::support::{Scratch, Tree, assert_same, open, read_directory, succeed};
use squashfs::{Budget, Cause, Flaw, LeftOut, Manner, Squashfs, Stop};

const MANNER: Manner = Manner { threads: 3, keeps_set_ids: true, goes_on: &|_| true };

/// What makes bytes of directories stand in an image as they are.
const PLAIN: [&str; 5] = ["-noI", "-noD", "-noF", "-noX", "-noId"];

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Writes an image's tree into a new directory.
pub fn extract(image: &Squashfs, into: &Path, manner: Manner) -> Result<LeftOut, Stop> {
    fs::create_dir(into).unwrap();
    image.extract(File::open(into).unwrap().as_fd(), manner)
}

/// A tree as it is a caller's who is not root; without what no two file systems have alike. Files of
/// one inode have the number of the first.
fn as_a_callers(tree: Tree, manner: Manner) -> Tree {
    let mut firsts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut tree: Tree = tree.into_iter().filter(|(_, facts)| facts.device == 0).collect();
    for (number, facts) in (1..).zip(tree.values_mut()) {
        match facts.mode & KIND {
            LINK => {}
            DIRECTORY => {
                facts.mode |= 0o500;
                (facts.size, facts.links) = (0, 0);
            }
            _ => facts.mode |= 0o400,
        }
        if facts.mode & KIND != LINK {
            facts.mode &= !0o022;
        }
        if !manner.keeps_set_ids {
            facts.mode &= !0o6000;
        }
        facts.number = *firsts.entry(facts.number).or_insert(number);
        (facts.owner, facts.blocks) = ((0, 0), 0);
        facts.xattrs.retain(|name, _| name.to_string_lossy().starts_with("user."));
    }
    tree
}

#[test]
fn trees_are_as_unsquashfs_writes_them() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    make_everything(&tree);
    let ways: [(&[&str], Manner); 3] = [
        (&["-comp", "zstd"], MANNER),
        (&["-comp", "gzip", "-b", "4K"], Manner { threads: 1, keeps_set_ids: false, ..MANNER }),
        (&["-comp", "lz4", "-b", "1M", "-no-fragments"], Manner { threads: 8, ..MANNER }),
    ];
    for (number, (options, manner)) in ways.into_iter().enumerate() {
        let what = options.join(" ");
        let path = scratch.image(&format!("{number}.sqfs"), &tree, options);
        let (own, others) = (path.with_extension("own"), path.with_extension("others"));
        let mut left_out = extract(&open(&path), &own, manner).unwrap();
        succeed(Command::new("unsquashfs").args(["-no-progress", "-d"]).arg(&others).arg(&path));
        let read = |root: &Path| as_a_callers(read_directory(root), manner);
        assert_same(&what, &read(&own), &read(&others));
        left_out.devices.sort();
        let devices: &[&str] = if is_root() { &["large", "null", "zero"] } else { &[] };
        assert!(left_out.devices.iter().eq(devices.iter().map(Path::new)), "{left_out:?}");
        for (name, most) in [("sparse", 2 << 20), ("hole", 0), ("hole-then-tail", 1 << 20)] {
            let taken = own.join(name).metadata().unwrap().blocks() * 512;
            assert!(taken <= most, "{what}: {name} takes {taken} bytes");
        }
    }
}

/// An image of two names in its root directory, of which the second is changed into another.
fn with_another_name(scratch: &Scratch, tree: &Path, old: &str, new: &str) -> Squashfs {
    let mut bytes = fs::read(scratch.image("changed.sqfs", tree, &PLAIN)).unwrap();
    let at = place_of(&bytes, old);
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    Squashfs::open(Box::new(bytes), Budget::default()).unwrap()
}

fn place_of(bytes: &[u8], name: &str) -> usize {
    let mut places = bytes.windows(name.len()).enumerate();
    places.find(|(_, window)| *window == name.as_bytes()).unwrap().0
}

#[test]
fn no_link_of_the_image_is_followed() {
    let scratch = Scratch::new();
    let (tree, outside) = (scratch.path().join("tree"), scratch.path().join("outside"));
    for directory in [&tree, &outside, &tree.join("name two")] {
        fs::create_dir(directory).unwrap();
    }
    symlink(&outside, tree.join("name one")).unwrap();
    fs::write(tree.join("name two/file"), "out!").unwrap();
    let image = with_another_name(&scratch, &tree, "name two", "name one");
    let stop = extract(&image, &scratch.path().join("into"), MANNER).unwrap_err();
    assert_eq!(stop, Stop { path: "name one".into(), cause: Cause::Kernel(Errno::EEXIST) });
    assert_eq!(stop.to_string(), "/name one cannot be written: File exists");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn files_that_are_there_stay() {
    let scratch = Scratch::new();
    let (tree, into) = (scratch.path().join("tree"), scratch.path().join("into"));
    for directory in [&tree, &into] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("file"), directory.display().to_string()).unwrap();
    }
    let image = open(&scratch.image("i.sqfs", &tree, &[]));
    let stop = image.extract(File::open(&into).unwrap().as_fd(), MANNER).unwrap_err();
    assert_eq!(stop.cause, Cause::Kernel(Errno::EEXIST));
    assert_eq!(fs::read_to_string(into.join("file")).unwrap(), into.display().to_string());
}

#[test]
fn a_directory_that_is_in_itself_is_refused() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    fs::create_dir_all(tree.join("above/below")).unwrap();
    let mut bytes = fs::read(scratch.image("loop.sqfs", &tree, &PLAIN)).unwrap();
    let (above, below) = (place_of(&bytes, "above"), place_of(&bytes, "below"));
    // Where an entry's inode is in its block stands 8 bytes before the name.
    bytes.copy_within(above - 8..above - 6, below - 8);
    let image = Squashfs::open(Box::new(bytes), Budget::default()).unwrap();
    let stop = extract(&image, &scratch.path().join("into"), MANNER).unwrap_err();
    let Cause::Image(Flaw::Unknown { what, .. }) = stop.cause else { panic!("{stop:?}") };
    assert_eq!((what, stop.path.as_path()), ("second name of a directory", "above/below".as_ref()));
}

#[test]
fn a_tree_that_is_not_wanted_any_more_is_left() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    make_everything(&tree);
    let written = AtomicU64::new(0);
    let goes_on = |bytes| written.fetch_add(bytes, Ordering::Relaxed) < 2 << 20;
    let image = open(&scratch.image("i.sqfs", &tree, &[]));
    let manner = Manner { goes_on: &goes_on, ..MANNER };
    let into = scratch.path().join("into");
    let stop = extract(&image, &into, manner).unwrap_err();
    assert_eq!(stop.cause, Cause::Unwanted);
    let count = |directory: &Path| fs::read_dir(directory).unwrap().count();
    assert!(count(&into) < count(&tree));
}
