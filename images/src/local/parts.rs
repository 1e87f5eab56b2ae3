//! Files by name, in a directory or in an archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use runtime::error::{Error, Result};
use runtime::text::quoted;
use tar::EntryType;

use crate::failure::{cause, failed};

/// The largest JSON file that is read.
const JSON: u64 = 16 << 20;

/// Files by name.
pub trait Files: Sync {
    /// A file; nothing if there is none.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    fn open(&self, name: &str) -> Result<Option<Part>>;

    /// A file that has to be there, and small.
    ///
    /// # Errors
    ///
    /// Fails if it is missing or too large, or cannot be read.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let attempt = || format!("read {name} of the image");
        let Some(part) = self.open(name)? else {
            return Err(Error::new(attempt(), "it is missing")
                .hint("the archive is not complete; make or copy it again"));
        };
        if part.size > JSON {
            return Err(Error::new(attempt(), "it is larger than 16 MiB"));
        }
        let mut bytes = Vec::new();
        let mut stream = part;
        let read = stream.read_to_end(&mut bytes);
        read.map_err(|error| Error::new(attempt(), cause(&error)))?;
        Ok(bytes)
    }
}

/// A piece of a file, which is read without moving anybody's position in it.
#[derive(Clone, Debug)]
pub struct Part {
    file: Arc<File>,
    at: u64,
    /// What is left of it.
    pub size: u64,
}

impl Part {
    /// A whole file.
    ///
    /// # Errors
    ///
    /// Fails if its size cannot be found out.
    pub fn whole(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Part { file: Arc::new(file), at: 0, size })
    }

    /// What follows an offset.
    pub fn from(mut self, offset: u64) -> Self {
        let offset = offset.min(self.size);
        self.at += offset;
        self.size -= offset;
        self
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.size).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        self.size -= count as u64;
        Ok(count)
    }
}

/// The files of a directory.
pub struct Directory(PathBuf);

impl Directory {
    /// Opens nothing yet.
    pub fn new(path: &Path) -> Self {
        Directory(path.to_owned())
    }
}

impl Files for Directory {
    fn open(&self, name: &str) -> Result<Option<Part>> {
        let path = self.0.join(name);
        match File::open(&path).and_then(Part::whole) {
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }
}

/// Files that all lie in one directory of others.
pub struct Within {
    /// The others.
    pub files: Box<dyn Files>,
    /// The directory.
    pub directory: String,
}

impl Files for Within {
    fn open(&self, name: &str) -> Result<Option<Part>> {
        self.files.open(&format!("{}/{name}", self.directory))
    }
}

/// The files of a tar archive that is not compressed.
pub struct Archive {
    file: Arc<File>,
    entries: HashMap<String, Entry>,
}

enum Entry {
    File {
        at: u64,
        size: u64,
    },
    /// The name of another entry.
    Link(String),
    Other,
}

impl Archive {
    /// Reads the headers of an archive.
    ///
    /// # Errors
    ///
    /// Fails if it is none, or not complete.
    pub fn index(file: File, path: &Path) -> Result<Self> {
        let fail = |error: io::Error| {
            Error::new(format!("read the archive {}", quoted(path)), cause(&error))
                .hint("it is damaged or not complete; make or copy it again")
        };
        let size = file.metadata().map_err(fail)?.len();
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Some(name) = plain(&entry.path_bytes()) else { continue };
            let target = entry.link_name_bytes();
            let (at, length) = (entry.raw_file_position(), entry.size());
            let found = match (entry.header().entry_type(), target) {
                (EntryType::Regular | EntryType::Continuous, _) => {
                    if at.checked_add(length).is_none_or(|end| end > size) {
                        return Err(fail(io::ErrorKind::UnexpectedEof.into()));
                    }
                    Entry::File { at, size: length }
                }
                (EntryType::Link, Some(target)) => plain(&target).map_or(Entry::Other, Entry::Link),
                (EntryType::Symlink, Some(target)) => {
                    let beside = Path::new(&name).parent().unwrap_or(Path::new(""));
                    let target = beside.join(String::from_utf8_lossy(&target).as_ref());
                    plain(target.as_os_str().as_encoded_bytes()).map_or(Entry::Other, Entry::Link)
                }
                _ => Entry::Other,
            };
            entries.insert(name, found);
        }
        Ok(Archive { file: Arc::new(file), entries })
    }

    /// The names of its entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The archive itself.
    pub fn into_file(self) -> Arc<File> {
        self.file
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Option<Part>> {
        let mut name = plain(name.as_bytes()).unwrap_or_default();
        // Old archives of docker have links from one layer to an equal one.
        for _ in 0..8 {
            match self.entries.get(&name) {
                Some(Entry::File { at, size }) => {
                    return Ok(Some(Part { file: self.file.clone(), at: *at, size: *size }));
                }
                Some(Entry::Link(target)) => name = target.clone(),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// A name without `.` and `..`; nothing if it leads out of the archive, or is no text.
pub fn plain(name: &[u8]) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(std::str::from_utf8(name).ok()?).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_archive() {
        assert_eq!(plain(b"./a//b/./c/").as_deref(), Some("a/b/c"));
        assert_eq!(plain(b"a/../b").as_deref(), Some("b"));
        assert_eq!(plain(b"../b"), None);
        assert_eq!(plain(b"\xff"), None);
    }
}
