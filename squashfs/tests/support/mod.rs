//! Images to read, and what is in them: by the crate, and by a walk through files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use squashfs::{Budget, Inode, Kind, Source, Squashfs};

/// A directory of a test's own, removed after it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("squashfs-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes an image of a directory in it.
    pub fn image(&self, name: &str, tree: &Path, options: &[&str]) -> PathBuf {
        let image = self.0.join(name);
        let mut command = Command::new("mksquashfs");
        command.arg(tree).arg(&image).args(["-quiet", "-no-progress", "-noappend"]).args(options);
        succeed(&mut command);
        image
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that has to succeed; gives what it writes.
#[track_caller]
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

struct Image(File);

impl Source for Image {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let error = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
        self.0.read_at(buffer, offset).map_err(error)
    }
}

pub fn open(image: &Path) -> Squashfs {
    let source = Box::new(Image(File::open(image).unwrap()));
    Squashfs::open(source, Budget::default()).unwrap()
}

/// All that system calls tell of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    pub blocks: u64,
    pub modified: i64,
    pub number: u64,
    pub links: u64,
    pub device: u64,
    pub target: Option<OsString>,
    pub checksum: Option<u64>,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
}

/// Files by their path, the root by an empty one.
pub type Tree = BTreeMap<PathBuf, Facts>;

/// What is in an image.
pub fn read_image(image: &Squashfs) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![(PathBuf::new(), image.root().unwrap())];
    while let Some((path, inode)) = todo.pop() {
        if inode.kind == Kind::Directory {
            for entry in image.entries(&inode, 0).unwrap() {
                let entry = entry.unwrap();
                let child = image.inode(entry.reference).unwrap();
                assert_eq!((child.kind, child.number), (entry.kind, entry.number));
                todo.push((path.join(&entry.name), child));
            }
        }
        tree.insert(path, facts_of_inode(image, &inode));
    }
    tree
}

fn facts_of_inode(image: &Squashfs, inode: &Inode) -> Facts {
    let xattr = |name: OsString| {
        let value = image.xattr(inode, &name).unwrap().unwrap();
        (name, value)
    };
    Facts {
        mode: inode.kind.mode_bits() | u32::from(inode.permissions),
        owner: (inode.uid, inode.gid),
        size: inode.size,
        blocks: inode.blocks,
        modified: inode.modified.into(),
        number: inode.number.into(),
        links: inode.links.into(),
        device: inode.device.into(),
        target: (inode.kind == Kind::Symlink).then(|| image.target(inode).unwrap()),
        checksum: (inode.kind == Kind::File).then(|| {
            checksum(inode.size, &mut |offset, buffer| image.read(inode, offset, buffer).unwrap())
        }),
        xattrs: image.xattr_names(inode).unwrap().into_iter().map(xattr).collect(),
    }
}

/// What is in a directory.
pub fn read_directory(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut xattrs = xattrs(root);
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        if metadata.is_dir() {
            let names = fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name());
            todo.extend(names.map(|name| path.join(name)));
        }
        let xattrs = xattrs.remove(&path).unwrap_or_default();
        tree.insert(path, Facts { xattrs, ..facts_of_file(&full, &metadata) });
    }
    tree
}

fn facts_of_file(path: &Path, metadata: &fs::Metadata) -> Facts {
    Facts {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        size: metadata.size(),
        blocks: metadata.blocks(),
        modified: metadata.mtime(),
        number: metadata.ino(),
        links: metadata.nlink(),
        device: metadata.rdev(),
        target: metadata.is_symlink().then(|| fs::read_link(path).unwrap().into()),
        checksum: metadata.is_file().then(|| {
            let file = File::open(path).unwrap();
            checksum(metadata.size(), &mut |offset, buffer| file.read_at(buffer, offset).unwrap())
        }),
        xattrs: BTreeMap::new(),
    }
}

/// Asks getfattr(1), which the standard library has no calls for, about all files of a tree.
fn xattrs(root: &Path) -> BTreeMap<PathBuf, BTreeMap<OsString, Vec<u8>>> {
    let mut command = Command::new("getfattr");
    command.args(["--absolute-names", "-R", "-P", "-h", "-d", "-m", "-", "-e", "hex"]).arg(root);
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    // What the kernel says of an image without any.
    let has_none = message.contains("Operation not supported");
    assert!(output.status.success() || has_none, "{command:?}: {message}");
    let mut files: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut path = PathBuf::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix(b"# file: ") {
            path = PathBuf::from(OsString::from_vec(unescaped(name)));
            path = path.strip_prefix(root).unwrap().to_owned();
            continue;
        }
        let line = unescaped(line);
        let equals = line.windows(3).position(|bytes| bytes == b"=0x");
        let (name, digits) = match equals {
            Some(at) => (&line[..at], &line[at + 3..]),
            None => (line.strip_suffix(b"=").unwrap_or(&line), &[][..]),
        };
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let value = digits.chunks(2).map(byte).collect();
        files.entry(path.clone()).or_default().insert(name_of(name), value);
    }
    files
}

/// Text without the `\123` that getfattr writes for odd bytes.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = others;
        match escaped.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => bytes.push(*first),
        }
    }
    bytes
}

/// FNV-1a over words; pieces of a size that no block has.
fn checksum(size: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> usize) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325;
    let mut offset = 0;
    let mut buffer = vec![0; 8 * 37_123];
    while offset < size {
        let count = read(offset, &mut buffer);
        assert!(count > 0, "the file ends at {offset}, not at {size}");
        for word in buffer[..count].chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            sum = (sum ^ u64::from_le_bytes(bytes)).wrapping_mul(0x100_0000_01b3);
        }
        offset += count as u64;
    }
    sum
}

/// The first differences of two trees, for people.
#[track_caller]
pub fn assert_same(what: &str, left: &Tree, right: &Tree) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(left.len(), right.len(), "{what}: {:?}\n{:?}", names(left), names(right));
    for ((left_path, left), (right_path, right)) in left.iter().zip(right) {
        assert_eq!((left_path, left), (right_path, right), "{what}");
    }
}

/// Finds a path in an image, name by name.
pub fn find(image: &Squashfs, path: &Path) -> Option<Inode> {
    let mut inode = image.root().unwrap();
    for name in path.iter() {
        let entry = image.lookup(&inode, name).unwrap()?;
        inode = image.inode(entry.reference).unwrap();
    }
    Some(inode)
}

pub fn name_of(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

/// Bytes that do not compress.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(size);
    bytes
}

/// Lines as a log has them.
pub fn prose(size: usize) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    let mut line = 0;
    while text.len() < size {
        text.extend_from_slice(format!("line {line} of {size} bytes\n").as_bytes());
        line += 1;
    }
    text.truncate(size);
    text
}

/// A long name with bytes that are no UTF-8.
pub fn long_name() -> OsString {
    OsString::from_vec((0..255u8).map(|byte| 0x80 | (byte % 0x70)).collect())
}
