//! Names in archives: where they lead, and what they mean in a layer.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path the kernel takes (`PATH_MAX`, with its last NUL), and the longest name.
pub(super) const PATH_LIMIT: usize = 4095;
const NAME_LIMIT: usize = 255;

const WHITEOUT: &[u8] = b".wh.";
/// What AUFS keeps for itself begins like this, but for the mark of an opaque directory.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a member of a layer stands for, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The file of this name.
    File,
    /// That a file of lower layers is gone.
    Whiteout(OsString),
    /// That all that lower layers have in its directory is gone.
    Opaque,
    /// Nothing outside of AUFS.
    Nothing,
}

/// The path of a member in the image, relative; empty for the image's root directory.
///
/// An absolute name counts from the image's root, as every other does: kaniko, nix2container and
/// distroless images have some. A `..` takes back the part before it; there has to be one.
///
/// # Errors
///
/// Says what is wrong with a name that no archive of an image should have.
pub(super) fn relative(name: &[u8]) -> Result<PathBuf, &'static str> {
    if name.is_empty() {
        return Err("its name is empty");
    }
    if name.contains(&0) {
        return Err("its name has a NUL byte");
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if path.pop() => {}
            b".." => return Err("its name leads out of the image's root directory by '..'"),
            _ if part.len() > NAME_LIMIT => return Err("its name is longer than 255 bytes"),
            _ => path.push(OsStr::from_bytes(part)),
        }
    }
    if path.as_os_str().len() > PATH_LIMIT {
        return Err("its path is longer than 4095 bytes");
    }
    Ok(path)
}

/// What a path stands for in a layer.
///
/// # Errors
///
/// Says what is wrong with a mark that marks nothing.
pub(super) fn meaning(path: &Path) -> Result<Meaning, &'static str> {
    let mut names = path.iter().map(OsStr::as_bytes).rev();
    let last = names.next().unwrap_or_default();
    // Below any other directory that is called like a mark, in images that hold images, a file is one.
    if names.any(|name| name.starts_with(AUFS)) {
        return Ok(Meaning::Nothing);
    }
    if last == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if last.starts_with(AUFS) {
        return Ok(Meaning::Nothing);
    }
    match last.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::File),
        Some(b"" | b"." | b"..") => Err("it marks a file as gone (.wh.) that cannot be one"),
        Some(name) => Ok(Meaning::Whiteout(OsStr::from_bytes(name).to_owned())),
    }
}

/// A name as it is shown: letters that would change the terminal, and bytes that are no letters,
/// are written as such.
pub(super) fn shown(name: &[u8]) -> String {
    let name = &name[..name.len().min(300)];
    format!("{:?}", OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_what_means_nothing() {
        for (name, path) in [
            (&b"a/b"[..], "a/b"),
            (b"./a//b/.", "a/b"),
            (b"./", ""),
            (b".", ""),
            (b"...", "..."),
            (b"/", ""),
            (b"/a", "a"),
            (b"//a/./b", "a/b"),
            (b"a/..", ""),
            (b"a/../b", "b"),
            (b"/a/b/../../c", "c"),
            (b"a\n/..b", "a\n/..b"),
        ] {
            assert_eq!(relative(name), Ok(PathBuf::from(path)));
        }
        assert!(relative(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn refuses_what_leads_out() {
        let long = [&[b'a'; 200][..], b"/"].concat().repeat(21);
        for name in
            [&b""[..], b"..", b"/..", b"/a/../..", b"a/../../b", b"a\0b", &[b'a'; 256], &long]
        {
            assert!(relative(name).is_err(), "{}", shown(name));
        }
    }

    #[test]
    fn knows_marks() {
        let meaning = |path| meaning(Path::new(path));
        assert_eq!(meaning("a/.whx"), Ok(Meaning::File));
        assert_eq!(meaning(""), Ok(Meaning::File));
        assert_eq!(meaning("a/.wh.b"), Ok(Meaning::Whiteout("b".into())));
        assert_eq!(meaning("a/.wh..b"), Ok(Meaning::Whiteout(".b".into())));
        assert_eq!(meaning("a/.wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(meaning(".wh..wh.plnk/12.3"), Ok(Meaning::Nothing));
        assert_eq!(meaning(".wh..wh.aufs"), Ok(Meaning::Nothing));
        assert_eq!(meaning(".wh.a/b"), Ok(Meaning::File));
        assert_eq!(meaning(".wh.a/.wh.b"), Ok(Meaning::Whiteout("b".into())));
        for path in [".wh.", "a/.wh..", "a/.wh..."] {
            assert!(meaning(path).is_err(), "{path}");
        }
    }
}
