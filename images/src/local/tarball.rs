//! One walk through a compressed archive: what it is, and the digests of both its forms.

use std::fs::File;
use std::io::{self, Read};

use runtime::error::{Error, Result};
use runtime::text::quoted;

use super::Opening;
use super::form::{Form, Names};
use super::parts::plain;
use crate::compression;
use crate::digest::{Digest, Hashing};
use crate::failure::cause;
use crate::progress::Task;

/// What a walk has found.
#[derive(Debug)]
pub struct Scanned {
    /// What the archive is.
    pub(super) form: Form,
    /// The digest of what is compressed.
    pub plain: Digest,
    /// The digest of the file, and its size.
    pub packed: Digest,
    /// The file's size.
    pub size: u64,
}

/// Walks through a compressed archive.
///
/// # Errors
///
/// Fails if it is none, or damaged.
pub fn scan(opening: &Opening, file: &File) -> Result<Scanned> {
    let attempt = format!("read the archive {}", quoted(opening.path));
    let fail = |error: io::Error| {
        Error::new(attempt.clone(), cause(&error))
            .hint("it is damaged, not complete, or no archive; make or copy it again")
    };
    let size = file.metadata().map_err(fail)?.len();
    let what = format!("look through {}", quoted(opening.path));
    let task = opening.progress.begin(&what, Some(size));
    let mut packed = Hashing::new(Advancing { file, task: task.as_ref() });
    let mut names = Names::default();
    let found = {
        let (_, decoder) = compression::decoder(&mut packed).map_err(fail)?;
        let mut archive = tar::Archive::new(Hashing::new(decoder));
        let mut count = 0_u64;
        for entry in archive.entries().map_err(fail)? {
            plain(&entry.map_err(fail)?.path_bytes()).iter().for_each(|name| names.see(name));
            count += 1;
        }
        if count == 0 {
            return Err(Error::new(attempt, "there is nothing in it"));
        }
        // What follows the archive's end belongs to its digest.
        let mut stream = archive.into_inner();
        io::copy(&mut stream, &mut io::sink()).map_err(fail)?;
        stream.finish().0
    };
    io::copy(&mut packed, &mut io::sink()).map_err(fail)?;
    let (digest, size) = packed.finish();
    Ok(Scanned { form: names.form(), plain: found, packed: digest, size })
}

/// Says how far reading has come.
struct Advancing<'a> {
    file: &'a File,
    task: &'a dyn Task,
}

impl Read for Advancing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.task.advance(count as u64);
        Ok(count)
    }
}
