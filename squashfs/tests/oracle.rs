//! Images that mksquashfs made, as the crate, the kernel and unsquashfs read them.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{
    Scratch, Tree, assert_same, find, long_name, name_of, noise, open, prose, read_directory,
    read_image, succeed,
};
use squashfs::{Budget, Flaw, Kind, Squashfs};

/// The compressors, with options that make streams of other forms.
const COMPRESSORS: [&[&str]; 11] = [
    &["-comp", "gzip"],
    &["-comp", "gzip", "-Xcompression-level", "1", "-Xwindow-size", "9"],
    &["-comp", "xz"],
    &["-comp", "xz", "-Xbcj", "x86,arm"],
    &["-comp", "lzo"],
    &["-comp", "lzo", "-Xalgorithm", "lzo1x_1"],
    &["-comp", "lz4"],
    &["-comp", "lz4", "-Xhc"],
    &["-comp", "zstd"],
    &["-comp", "zstd", "-Xcompression-level", "22"],
    &["-comp", "zstd", "-noI", "-noD", "-noF", "-noX", "-noId"],
];

const BLOCK_SIZES: [&str; 4] = ["4K", "16K", "128K", "1M"];

/// Some ways to lay images out.
const LAYOUTS: [&[&str]; 5] = [
    &["-no-fragments"],
    &["-always-use-fragments"],
    &["-no-exports", "-no-tailends"],
    &["-no-xattrs", "-no-duplicates"],
    &["-all-root", "-no-sparse"],
];

/// Whether this is root, who alone can mount, and own what is another's.
pub fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    let lacks = std::env::var("HRUN_TEST_LACKS").unwrap_or_default();
    let declared = lacks.split(',').any(|lack| lack == "root");
    assert_eq!(is_root, !declared, "run by root, or with HRUN_TEST_LACKS=root");
    is_root
}

/// An image on the kernel's own file system, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path) -> Self {
        let at = image.with_extension("mounted");
        fs::create_dir(&at).unwrap();
        succeed(
            Command::new("mount").args(["-t", "squashfs", "-o", "loop,ro"]).arg(image).arg(&at),
        );
        Mount(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// One of everything.
pub fn make_everything(tree: &Path) {
    let file = |name: &str, contents: &[u8]| fs::write(tree.join(name), contents).unwrap();
    fs::create_dir(tree).unwrap();
    for size in [0, 1, 4095, 4096, 4097, 131_071, 131_072, 131_073, 1 << 20, (3 << 20) + 17] {
        file(&format!("noise-{size}"), &noise(size, size as u64));
        file(&format!("prose-{size}"), &prose(size));
    }
    for number in 0..300 {
        file(&format!("small-{number}"), &prose(number * 7));
    }
    // More blocks of 4 KiB than one mark is for.
    file("blocks", &prose(9 << 20));
    file("same-1", &prose(300_000));
    file("same-2", &prose(300_000));

    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len((17 << 20) + 5).unwrap();
    sparse.write_all_at(b"in the middle", (9 << 20) + 4000).unwrap();
    File::create(tree.join("hole")).unwrap().set_len(5 << 20).unwrap();
    let tail = File::create(tree.join("hole-then-tail")).unwrap();
    tail.write_all_at(b"tail", 3 << 20).unwrap();

    fs::hard_link(tree.join("prose-4097"), tree.join("linked")).unwrap();
    fs::hard_link(tree.join("noise-1"), tree.join("linked too")).unwrap();
    symlink("prose-1", tree.join("link")).unwrap();
    symlink("x".repeat(4095), tree.join("long link")).unwrap();
    symlink("/nowhere/\n", tree.join("dangling")).unwrap();

    file("new\nline", b"1");
    file("-", b"2");
    fs::write(tree.join(long_name()), b"3").unwrap();
    fs::write(tree.join(name_of(b"\xff\x01 \\")), b"4").unwrap();

    fs::create_dir(tree.join("empty")).unwrap();
    let mut deep = tree.join("deep");
    for level in 0..150 {
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("file"), prose(level)).unwrap();
        deep = deep.join(format!("level {level}"));
    }
    let many = tree.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..2000 {
        fs::write(many.join(format!("a file with a name of its own {number}")), "").unwrap();
    }
    make_odd_kinds(tree);
}

/// What only root can make is left out by others.
fn make_odd_kinds(tree: &Path) {
    succeed(Command::new("mkfifo").arg(tree.join("pipe")));
    drop(UnixListener::bind(tree.join("socket")).unwrap());
    let modes = [0o4755, 0o2750, 0o1777, 0o600, 0o7777];
    for mode in modes {
        let path = tree.join(format!("mode-{mode:o}"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    for (path, name, value) in [
        ("prose-1", "user.one", "1".to_owned()),
        ("prose-4096", "user.two", "2".repeat(2000)),
        ("noise-4096", "user.two", "2".repeat(2000)),
        ("noise-4097", "user.two", "2".repeat(2000)),
        ("noise-4097", "user.empty", String::new()),
        ("empty", "user.of a directory", "3".to_owned()),
        ("sparse", "user.sparse", "4".to_owned()),
    ] {
        setfattr(&tree.join(path), name, &value);
    }
    if !is_root() {
        return;
    }
    for (name, kind, major, minor) in
        [("null", "c", "1", "3"), ("large", "b", "259", "70000"), ("zero", "c", "1", "5")]
    {
        succeed(Command::new("mknod").arg(tree.join(name)).args([kind, major, minor]));
    }
    for (number, path) in ["null", "pipe", "socket", "link", "large"].iter().enumerate() {
        setfattr(&tree.join(path), "trusted.kind", &number.to_string());
        setfattr(&tree.join(path), "security.kind", path);
    }
    for number in 0..300 {
        let owner = Some(100_000 + number * 7);
        chown(tree.join(format!("small-{number}")), owner, Some(number)).unwrap();
    }
    fs::set_permissions(tree.join("many"), Permissions::from_mode(0o000)).unwrap();
}

fn setfattr(path: &Path, name: &str, value: &str) {
    succeed(Command::new("setfattr").args(["-h", "-n", name, "-v", value]).arg(path));
}

/// Compares what the crate reads with what others read.
#[track_caller]
fn compare(what: &str, image: &Path) {
    let read = read_image(&open(image));
    if is_root() {
        let mount = Mount::new(image);
        assert_same(what, &read, &read_directory(&mount.0));
    }
    let mut unsquashfs = Command::new("unsquashfs");
    let listed = succeed(unsquashfs.env("TZ", "UTC").args(["-lln", "-d", ""]).arg(image));
    let (read, listed) = (squeezed(&listing(&read)), squeezed(&listed));
    assert_eq!(read.len(), listed.len(), "{what}");
    for (read, listed) in read.iter().zip(&listed) {
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        assert!(read == listed, "{what}: {:?}, not {:?}", text(read), text(listed));
    }
}

/// A tree as `unsquashfs -lln` lists it, but for padding.
fn listing(tree: &Tree) -> Vec<u8> {
    let mut listing = Vec::new();
    for (path, facts) in tree {
        let (uid, gid) = facts.owner;
        let size = match facts.mode & 0o170_000 {
            // It splits the number as Linux did when there were 16 bits of it.
            0o020_000 | 0o060_000 => format!("{},{:>3}", facts.device >> 8, facts.device & 0xff),
            _ => facts.size.to_string(),
        };
        let (mode, date) = (mode_text(facts.mode), date(facts.modified));
        listing.extend_from_slice(format!("{mode} {uid}/{gid} {size} {date} ").as_bytes());
        if !path.as_os_str().is_empty() {
            listing.push(b'/');
        }
        listing.extend_from_slice(path.as_os_str().as_bytes());
        if let Some(target) = &facts.target {
            listing.extend_from_slice(b" -> ");
            listing.extend_from_slice(target.as_bytes());
        }
        listing.push(b'\n');
    }
    listing
}

fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o010_000 => 'p',
        0o020_000 => 'c',
        0o040_000 => 'd',
        0o060_000 => 'b',
        0o120_000 => 'l',
        0o140_000 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A time in seconds since 1970 as `2026-11-22 16:09`.
fn date(time: i64) -> String {
    let (mut year, mut day) = (1970, time / 86_400);
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute) = (time / 3600 % 24, time / 60 % 60);
    format!("{year}-{:02}-{:02} {hour:02}:{minute:02}", month + 1, day + 1)
}

/// Lines in order, with single spaces.
fn squeezed(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| {
        let mut line = line.to_vec();
        line.dedup_by(|a, b| (*a, *b) == (b' ', b' '));
        line
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn every_compressor_and_block_size() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    make_everything(&tree);
    let sizes = BLOCK_SIZES.iter().cycle();
    for (number, (compressor, size)) in COMPRESSORS.iter().zip(sizes).enumerate() {
        let options = [compressor, &["-b", size][..]].concat();
        compare(&options.join(" "), &scratch.image(&format!("{number}.sqfs"), &tree, &options));
    }
}

#[test]
fn every_layout() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    make_everything(&tree);
    for (number, options) in LAYOUTS.iter().enumerate() {
        compare(&options.join(" "), &scratch.image(&format!("{number}.sqfs"), &tree, options));
    }
}

#[test]
fn compressors_that_are_not_built_in_are_named() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("tree")).unwrap();
    let image = scratch.image("lzma.sqfs", &scratch.path().join("tree"), &[]);
    let mut bytes = fs::read(image).unwrap();
    let flaw = |bytes: &[u8]| match Squashfs::open(Box::new(bytes.to_vec()), Budget::default()) {
        Ok(_) => panic!("it is opened"),
        Err(flaw) => flaw.to_string(),
    };
    bytes[20] = 2;
    assert!(
        flaw(&bytes).contains("compressed by lzma; gzip, xz, lzo, lz4 and zstd"),
        "{}",
        flaw(&bytes)
    );
    bytes[20] = 77;
    assert!(flaw(&bytes).contains("compression is 77"));
    bytes[28] = 3;
    assert!(flaw(&bytes).contains("version 3.0, not 4.0"));
    bytes.truncate(80);
    assert_eq!(flaw(&bytes), Flaw::Truncated { what: "superblock", at: 0 }.to_string());
    assert_eq!(flaw(b"#!/bin/sh"), Flaw::NotSquashfs.to_string());
    assert_eq!(flaw(b""), Flaw::NotSquashfs.to_string());
}

#[test]
fn directories_of_many_names() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let names: Vec<String> =
        (0..50_000).map(|number| format!("{:x}-{number}", number * 7919 % 50_000)).collect();
    for name in &names {
        File::create(tree.join(name)).unwrap();
    }
    for options in [&["-comp", "lz4"][..], &["-comp", "zstd", "-no-exports"]] {
        let image = scratch.image(&format!("{}.sqfs", options[1]), &tree, options);
        compare("many names", &image);
        let image = open(&image);
        for name in names.iter().step_by(5) {
            assert!(find(&image, Path::new(name)).is_some(), "{name}");
            assert!(find(&image, Path::new(&format!("{name}!"))).is_none());
        }
        for absent in ["", "\0", "zzz", "0", "8", "a-", "\u{ff}"] {
            let found = image.lookup(&image.root().unwrap(), absent.as_ref()).unwrap();
            assert_eq!(found, None, "{absent:?}");
        }
        let root = image.root().unwrap();
        let entries: Vec<_> = image.entries(&root, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), names.len());
        for (number, entry) in entries.iter().enumerate().step_by(97) {
            let rest: Vec<_> = image.entries(&root, entry.next).unwrap().take(300).collect();
            let wanted: Vec<_> = entries[number + 1..].iter().take(300).cloned().map(Ok).collect();
            assert_eq!(rest, wanted);
        }
        assert_eq!(image.entries(&root, entries.last().unwrap().next).unwrap().count(), 0);
    }
}

#[test]
fn inodes_by_number() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    make_everything(&tree);
    let image = open(&scratch.image("i.sqfs", &tree, &[]));
    let count = image.superblock().inodes;
    for number in 1..=count {
        let inode = image.inode(image.numbered(number).unwrap()).unwrap();
        assert_eq!(inode.number, number);
        if inode.kind == Kind::Directory && inode.reference != image.superblock().root {
            let parent = image.inode(image.numbered(inode.parent).unwrap()).unwrap();
            assert_eq!(parent.kind, Kind::Directory);
        }
    }
    assert!(image.numbered(0).is_err() && image.numbered(count + 1).is_err());
    let image = open(&scratch.image("n.sqfs", &tree, &["-no-exports"]));
    assert!(image.numbered(1).is_err());
}

#[test]
fn threads_read_the_same() {
    let scratch = Scratch::new();
    let tree = scratch.path().join("tree");
    make_everything(&tree);
    let path = scratch.image("i.sqfs", &tree, &["-comp", "zstd", "-b", "16K"]);
    let wanted = read_image(&open(&path));
    let image = open(&path);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8).map(|_| scope.spawn(|| read_image(&image))).collect();
        for reader in readers {
            assert_same("a thread", &reader.join().unwrap(), &wanted);
        }
    });
}
