//! Whether the image has a locale that the host's environment names.
//!
//! A locale that is not there makes Perl, bash and others complain at every start, and turns letters
//! that are not ASCII into question marks. Only an image with a directory of locales is asked: musl
//! needs none.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::passed::Verdict;
use super::tree::Tree;
use crate::elf::Source;
use crate::look::files::{Kind, OpenFiles};
use crate::sys;

/// Where glibc has locales, one directory each.
const DIRECTORY: &str = "/usr/lib/locale";

/// Many locales in one file.
const ARCHIVE: &str = "/usr/lib/locale/locale-archive";

/// How the archive begins, and where its head says where the names lie and how long they are.
const MAGIC: u32 = 0xde02_0109;
const NAMES_AT: usize = 20;

/// All names of all locales are shorter.
const NAMES_LIMIT: usize = 1 << 20;

/// The locale that takes the place of another one of UTF-8.
const PLAIN: &str = "C.UTF-8";

/// Judges a variable that names a locale.
pub(super) fn judge(tree: &Tree, value: &OsStr) -> Verdict {
    let Some(value) = value.to_str() else { return Verdict::Stays };
    // Those that every C library has, newer ones of glibc the last, too.
    let (language, codeset) = split(value);
    let is_plain = matches!(value, "POSIX") || language == "C";
    let has_locales = || matches!(tree.find(Path::new(DIRECTORY)), Some((_, Kind::Directory)));
    // A path of the caller's own is looked for as it is.
    if is_plain || value.contains('/') || !has_locales() || has(tree, value) {
        return Verdict::Stays;
    }
    let reason = format!("the image has no locale {value}");
    match normalized(codeset) == "utf8" && has(tree, PLAIN) {
        true => Verdict::Becomes(PLAIN, reason),
        false => Verdict::Goes(reason),
    }
}

fn has(tree: &Tree, locale: &str) -> bool {
    let (language, codeset) = split(locale);
    let modifier = codeset.split_once('@').map(|(_, modifier)| format!("@{modifier}"));
    let short = match normalized(codeset) {
        codeset if codeset.is_empty() => format!("{language}{}", modifier.unwrap_or_default()),
        codeset => format!("{language}.{codeset}{}", modifier.unwrap_or_default()),
    };
    let is_directory = |name: &str| {
        let path = PathBuf::from(DIRECTORY).join(name);
        matches!(tree.find(&path), Some((_, Kind::Directory)))
    };
    is_directory(locale) || is_directory(&short) || is_archived(tree, &short)
}

/// A locale's language and codeset, the latter with what stands behind it.
fn split(locale: &str) -> (&str, &str) {
    match locale.split_once('.') {
        Some((language, codeset)) => (language, codeset),
        None => match locale.find('@') {
            Some(at) => (&locale[..at], &locale[at..]),
            None => (locale, ""),
        },
    }
}

/// A codeset as glibc compares them: its letters and digits, small.
fn normalized(codeset: &str) -> String {
    let codeset = codeset.split('@').next().unwrap_or_default();
    let letters = codeset.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Whether a name is among those in the archive: they lie together, each ended by NUL.
fn is_archived(tree: &Tree, name: &str) -> bool {
    let names = || {
        let (path, _) = tree.find(Path::new(ARCHIVE)).filter(|(_, kind)| *kind == Kind::File)?;
        let file = tree.open_file(&path).ok()?;
        let mut head = [0; 28];
        if file.read_at(0, &mut head).ok()? < head.len() {
            return None;
        }
        let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (offset, length) = (word(NAMES_AT)?, word(NAMES_AT + 4)? as usize);
        if word(0)? != MAGIC || length > NAMES_LIMIT {
            return None;
        }
        let mut names = vec![0; length];
        let read = file.read_at(u64::from(offset), &mut names).ok()?;
        names.truncate(read);
        Some(names)
    };
    let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
    names().is_some_and(|names| {
        names.starts_with(&wanted[1..]) || sys::find(&names, &wanted).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codesets_are_compared_as_glibc_does() {
        assert_eq!(split("de_DE.UTF-8"), ("de_DE", "UTF-8"));
        assert_eq!(split("de_DE@euro"), ("de_DE", "@euro"));
        assert_eq!(normalized("UTF-8"), "utf8");
        assert_eq!(normalized("ISO-8859-15@euro"), "iso885915");
        assert_eq!(normalized("@euro"), "");
    }
}
