//! What a tree has of files: sizes and digests, listed when it is made and compared later.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use runtime::error::Result;

use crate::digest::{Digest, Hashing};
use crate::failure::failed;
use crate::own::{self, OTHERS_WRITE};
use crate::threads;

/// The list's name, beside the root directory.
pub const NAME: &str = "files";

/// How a line ends that says that others may write to a file, which is as it was otherwise.
pub const WRITABLE: &str = "may be written by others";

/// Files that are read at once.
const AT_ONCE: usize = 4;

/// Lists a tree: mode, size, digest and path of everything in it, a NUL after each.
///
/// # Errors
///
/// Fails if something of the tree cannot be read: it would be missing in the list.
pub fn list(root: &Path) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    for entry in examine(root)? {
        if let Some(error) = entry.unread {
            return Err(failed("list", &root.join(&entry.path), &error));
        }
        list.extend_from_slice(entry.facts().as_bytes());
        list.push(b' ');
        list.extend_from_slice(entry.path.as_os_str().as_bytes());
        list.push(0);
    }
    Ok(list)
}

/// How a tree compares with its list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is different, or may be made different by others, a line each.
    pub flaws: Vec<String>,
    /// What the caller cannot read, by its path.
    pub unread: Vec<String>,
}

/// Compares a tree with its list.
///
/// # Errors
///
/// Fails if the tree cannot be read, for another reason than its modes.
pub fn compare(root: &Path, listed: &[u8]) -> Result<Comparison> {
    let mut listed = by_path(listed);
    let mut comparison = Comparison::default();
    let mut closed: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    for entry in examine(root)? {
        let name = entry.path.display().to_string();
        match &entry.unread {
            Some(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if entry.is_directory() || entry.metadata.is_none() {
                    closed.push(entry.path.clone());
                }
                listed.remove(entry.path.as_os_str().as_bytes());
                comparison.unread.push(name);
            }
            Some(error) => return Err(failed("read", &root.join(&entry.path), error)),
            None => found.push((entry, name)),
        }
    }
    for (entry, name) in &found {
        let facts = entry.facts();
        match listed.remove(entry.path.as_os_str().as_bytes()) {
            None => comparison.flaws.push(format!("{name} is new")),
            Some(listed) if comparable(&listed) != comparable(&facts) => {
                let line = format!("{name} is changed: it was {listed}, it is {facts}");
                comparison.flaws.push(line);
            }
            Some(_) if entry.others_may_write() => {
                comparison.flaws.push(format!("{name} {WRITABLE}"));
            }
            Some(_) => {}
        }
    }
    let is_closed = |path: &&[u8]| {
        let path = Path::new(OsStr::from_bytes(path));
        closed.iter().any(|closed| path.starts_with(closed))
    };
    let gone = listed.keys().filter(|path| !is_closed(path));
    let gone = gone.map(|path| format!("{} is missing", OsStr::from_bytes(path).display()));
    comparison.flaws.extend(gone);
    Ok(comparison)
}

/// Path to `mode size digest`.
fn by_path(list: &[u8]) -> BTreeMap<&[u8], String> {
    let lines = list.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    let split = lines.filter_map(|line| {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let facts: Vec<_> = parts.by_ref().take(3).map(String::from_utf8_lossy).collect();
        Some((parts.next()?, facts.join(" ")))
    });
    split.collect()
}

/// Facts without what its owner may do for others: a store is opened for them, or closed.
fn comparable(facts: &str) -> (u32, &str) {
    let (mode, rest) = facts.split_once(' ').unwrap_or_default();
    (u32::from_str_radix(mode, 8).unwrap_or_default() & !0o077, rest)
}

/// Something in a tree.
struct Entry {
    /// Its path in the tree.
    path: PathBuf,
    /// What it is; nothing if its directory does not say so.
    metadata: Option<Metadata>,
    digest: Option<Digest>,
    /// Why it, or what is in it, could not be read.
    unread: Option<io::Error>,
}

impl Entry {
    fn is_directory(&self) -> bool {
        self.metadata.as_ref().is_some_and(Metadata::is_dir)
    }

    fn others_may_write(&self) -> bool {
        let metadata = self.metadata.as_ref().filter(|metadata| !metadata.is_symlink());
        metadata.is_some_and(|metadata| metadata.mode() & OTHERS_WRITE != 0)
    }

    /// Mode, size and digest.
    fn facts(&self) -> String {
        let (mode, size) = match &self.metadata {
            // The size of a directory is its file system's affair.
            Some(metadata) if metadata.is_dir() => (metadata.mode(), 0),
            Some(metadata) => (metadata.mode(), metadata.len()),
            None => (0, 0),
        };
        let digest = self.digest.as_ref().map_or("-".to_owned(), Digest::hex);
        format!("{mode:o} {size} {digest}")
    }

    /// Reads what is in it.
    fn read(&mut self, root: &Path) {
        let full = root.join(&self.path);
        let digest = match &self.metadata {
            Some(metadata) if metadata.is_file() => own::open_to_read(&full).and_then(|file| {
                let mut hashing = Hashing::new(file);
                io::copy(&mut hashing, &mut io::sink())?;
                Ok(Some(hashing.finish().0))
            }),
            Some(metadata) if metadata.is_symlink() => {
                fs::read_link(&full).map(|target| Some(Digest::of(target.as_os_str().as_bytes())))
            }
            _ => return,
        };
        match digest {
            Ok(digest) => self.digest = digest,
            Err(error) => self.unread = Some(error),
        }
    }
}

/// Everything in a tree, in order, read by several threads.
fn examine(root: &Path) -> Result<Vec<Entry>> {
    let entries: Vec<_> = walk(root)?.into_iter().map(Mutex::new).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            entry.lock().unwrap_or_else(PoisonError::into_inner).read(root);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..entries.len().div_ceil(256).min(AT_ONCE) {
            // This one does the work of those that cannot be had.
            let _ = threads::beside(scope, work);
        }
        work();
    });
    let entries = entries.into_iter();
    Ok(entries.map(|entry| entry.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
}

/// Everything below a directory, in order; what is in a directory that is closed is left out.
fn walk(root: &Path) -> Result<Vec<Entry>> {
    let names = own::names(root).map_err(|error| failed("list", root, &error))?;
    let mut todo: Vec<PathBuf> = names.into_iter().map(PathBuf::from).collect();
    let mut entries = Vec::new();
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let mut entry = Entry { path, metadata: None, digest: None, unread: None };
        match full.symlink_metadata() {
            Ok(metadata) => entry.metadata = Some(metadata),
            // A directory that may be read and not entered shows names only.
            Err(error) => entry.unread = Some(error),
        }
        if entry.is_directory() {
            match own::names(&full) {
                Ok(names) => todo.extend(names.iter().map(|name| entry.path.join(name))),
                Err(error) => entry.unread = Some(error),
            }
        }
        entries.push(entry);
    }
    entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_change_of_a_tree_is_seen() {
        let root = std::env::temp_dir().join(format!("himage-files-{}", std::process::id()));
        let make = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        fs::create_dir_all(root.join("d")).unwrap();
        for name in ["d/same", "changed", "longer", "gone", "a\nb \u{f6}"] {
            make(name, "text");
        }
        std::os::unix::fs::symlink("here", root.join("link")).unwrap();
        let listed = list(&root).unwrap();
        assert_eq!(compare(&root, &listed).unwrap(), Comparison::default());
        // Who else may read it is the owner's choice; who else may write is not.
        let mode = |name: &str, mode| {
            fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
        };
        mode("d", 0o700);
        mode("d/same", 0o600);
        assert_eq!(compare(&root, &listed).unwrap(), Comparison::default());
        mode("d/same", 0o666);
        assert_eq!(compare(&root, &listed).unwrap().flaws, ["d/same may be written by others"]);
        mode("d/same", 0o644);

        make("changed", "texT");
        make("longer", "texts");
        make("d/new", "");
        fs::remove_file(root.join("gone")).unwrap();
        fs::remove_file(root.join("link")).unwrap();
        std::os::unix::fs::symlink("there", root.join("link")).unwrap();
        let differences = compare(&root, &listed).unwrap().flaws;
        let words: Vec<&str> =
            differences.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            words,
            [
                "changed is changed",
                "d/new is new",
                "link is changed",
                "longer is changed",
                "gone is missing"
            ]
        );
        fs::remove_dir_all(root).unwrap();
    }
}
