//! Absolute paths, taken apart by their letters.
//!
//! All paths here are free of `.`, `..` and doubled slashes, except where [`names`] takes those out.
//! For such paths the letters say it all, at a tenth of the work [`Path`]'s own methods take; hrun
//! asks often, and starts once per rank (docs/decisions/0009).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Joins an absolute path below a root: `below("/srv", "/etc")` is `/srv/etc`.
///
/// The root itself is `/` below it; a relative path is joined as it is.
pub fn below(root: &Path, path: &Path) -> PathBuf {
    let rest = bytes(path).strip_prefix(b"/").unwrap_or(bytes(path));
    let mut joined = root.as_os_str().to_owned();
    joined.reserve_exact(rest.len() + 1);
    if !rest.is_empty() {
        if !bytes(root).ends_with(b"/") {
            joined.push("/");
        }
        joined.push(OsStr::from_bytes(rest));
    }
    joined.into()
}

/// The directory a path lies in; nothing for the root.
pub fn parent(path: &Path) -> Option<&Path> {
    let bytes = bytes(path);
    let slash = bytes.iter().rposition(|byte| *byte == b'/').filter(|_| bytes != b"/")?;
    Some(of_bytes(&bytes[..slash.max(1)]))
}

/// Where a path lies in a directory, relative to it; empty for the directory itself.
pub fn inner<'a>(path: &'a Path, directory: &Path) -> Option<&'a Path> {
    let directory = bytes(directory).strip_suffix(b"/").unwrap_or(bytes(directory));
    match bytes(path).strip_prefix(directory)? {
        [] => Some(Path::new("")),
        [b'/', rest @ ..] => Some(of_bytes(rest)),
        _ => None,
    }
}

/// Whether a path is a directory or lies in it.
pub fn is_in(path: &Path, directory: &Path) -> bool {
    inner(path, directory).is_some()
}

/// How many directories a path lies in.
pub fn depth(path: &Path) -> usize {
    names(path).count()
}

/// The names a path is made of, `..` included, without `.` and empty ones.
pub fn names(path: &Path) -> Names<'_> {
    Names { rest: bytes(path) }
}

/// See [`names`].
#[derive(Clone, Debug)]
pub struct Names<'a> {
    rest: &'a [u8],
}

impl<'a> Names<'a> {
    /// What has not been taken yet, as a relative path.
    pub fn rest(&self) -> &'a Path {
        let start = self.rest.iter().position(|byte| *byte != b'/').unwrap_or(self.rest.len());
        of_bytes(&self.rest[start..])
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a OsStr;

    fn next(&mut self) -> Option<&'a OsStr> {
        while !self.rest.is_empty() {
            let length = self.rest.iter().position(|byte| *byte == b'/');
            let name = &self.rest[..length.unwrap_or(self.rest.len())];
            self.rest = length.map_or(&[], |length| &self.rest[length + 1..]);
            if !matches!(name, b"" | b".") {
                return Some(OsStr::from_bytes(name));
            }
        }
        None
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn of_bytes(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_below_a_root() {
        assert_eq!(below(Path::new("/srv"), Path::new("/etc/x")), Path::new("/srv/etc/x"));
        assert_eq!(below(Path::new("/"), Path::new("/etc")), Path::new("/etc"));
        assert_eq!(below(Path::new("/srv"), Path::new("/")).as_os_str(), "/srv");
    }

    #[test]
    fn knows_the_directory_of_a_path() {
        let parent = |path: &'static str| parent(Path::new(path)).and_then(Path::to_str);
        assert_eq!(parent("/srv/a"), Some("/srv"));
        assert_eq!((parent("/srv"), parent("/")), (Some("/"), None));
    }

    #[test]
    fn knows_what_lies_in_a_directory() {
        let inner = |path: &'static str, directory: &str| {
            inner(Path::new(path), Path::new(directory)).and_then(Path::to_str)
        };
        assert_eq!((inner("/srv/a/b", "/srv"), inner("/srv/a", "/")), (Some("a/b"), Some("srv/a")));
        assert_eq!((inner("/srv", "/srv"), inner("/", "/")), (Some(""), Some("")));
        assert_eq!((inner("/srv-a", "/srv"), inner("/", "/srv")), (None, None));
    }

    #[test]
    fn takes_paths_apart() {
        let taken: Vec<_> = names(Path::new("//a/./../b/")).collect();
        assert_eq!(taken, ["a", "..", "b"]);
        assert_eq!((depth(Path::new("/")), depth(Path::new("/a/b"))), (0, 2));
        let mut names = names(Path::new("/a//b/c"));
        names.next();
        assert_eq!(names.rest(), Path::new("b/c"));
    }
}
