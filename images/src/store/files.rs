//! What a tree has of files: sizes and digests, listed when it is made and compared later.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::error::Result;

use crate::digest::{Digest, Hashing};
use crate::failure::failed;

/// The list's name, beside the root directory.
pub const NAME: &str = "files";

/// Files that are read at once.
const AT_ONCE: usize = 4;

/// Lists a tree: mode, size, digest and path of everything in it, a NUL after each.
///
/// What its owner has closed to himself has no digest.
///
/// # Errors
///
/// Fails if the tree cannot be read.
pub fn list(root: &Path) -> Result<Vec<u8>> {
    let entries = walk(root)?;
    let next = AtomicUsize::new(0);
    let count = entries.len().div_ceil(256).min(AT_ONCE);
    let mut lines: Vec<(usize, Vec<u8>)> = std::thread::scope(|scope| {
        let work = || -> Result<Vec<(usize, Vec<u8>)>> {
            let mut lines = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((path, metadata)) = entries.get(index) else { return Ok(lines) };
                lines.push((index, line(root, path, metadata)?));
            }
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| thread.join());
        let results: Result<Vec<_>> =
            results.map(|joined| joined.unwrap_or(Ok(Vec::new()))).collect();
        results.map(|lines| lines.into_iter().flatten().collect())
    })?;
    lines.sort_unstable_by_key(|(index, _)| *index);
    Ok(lines.into_iter().flat_map(|(_, line)| line).collect())
}

/// What is different in a tree from its list, a line each.
///
/// # Errors
///
/// Fails if the tree cannot be read.
pub fn compare(root: &Path, listed: &[u8]) -> Result<Vec<String>> {
    let found = list(root)?;
    let (listed, mut found) = (by_path(listed), by_path(&found));
    let mut differences = Vec::new();
    for (path, facts) in listed {
        let name = OsStr::from_bytes(path).display();
        match found.remove(path) {
            None => differences.push(format!("{name} is missing")),
            Some(other) if other != facts => {
                differences.push(format!("{name} is changed: it was {facts}, it is {other}"));
            }
            Some(_) => {}
        }
    }
    let more = found.keys().map(|path| format!("{} is new", OsStr::from_bytes(path).display()));
    differences.extend(more);
    Ok(differences)
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

/// Everything below a directory, in order.
fn walk(root: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let mut entries = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        let fail = |error: io::Error| failed("list", &directory, &error);
        let list = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            list => list.map_err(fail)?,
        };
        for entry in list {
            let path = entry.map_err(fail)?.path();
            let metadata = match path.symlink_metadata() {
                // A directory that may be read and not entered shows names only.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                metadata => metadata.map_err(fail)?,
            };
            if metadata.is_dir() {
                todo.push(path.clone());
            }
            entries.push((path, metadata));
        }
    }
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entries)
}

fn line(root: &Path, path: &Path, metadata: &Metadata) -> Result<Vec<u8>> {
    let fail = |error: io::Error| failed("read", path, &error);
    let digest = if metadata.is_file() {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            file => {
                let mut hashing = Hashing::new(file.map_err(fail)?);
                io::copy(&mut hashing, &mut io::sink()).map_err(fail)?;
                Some(hashing.finish().0)
            }
        }
    } else if metadata.is_symlink() {
        Some(Digest::of(fs::read_link(path).map_err(fail)?.as_os_str().as_bytes()))
    } else {
        None
    };
    // The size of a directory is its file system's affair.
    let size = if metadata.is_dir() { 0 } else { metadata.len() };
    let digest = digest.map_or("-".to_owned(), |digest| digest.hex());
    let mut line = format!("{:o} {size} {digest} ", metadata.mode()).into_bytes();
    line.extend_from_slice(path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes());
    line.push(0);
    Ok(line)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(compare(&root, &listed).unwrap(), [""; 0]);

        make("changed", "texT");
        make("longer", "texts");
        make("d/new", "");
        fs::remove_file(root.join("gone")).unwrap();
        fs::remove_file(root.join("link")).unwrap();
        std::os::unix::fs::symlink("there", root.join("link")).unwrap();
        let differences = compare(&root, &listed).unwrap();
        let words: Vec<&str> =
            differences.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            words,
            [
                "changed is changed",
                "gone is missing",
                "link is changed",
                "longer is changed",
                "d/new is new"
            ]
        );
        fs::remove_dir_all(root).unwrap();
    }
}
