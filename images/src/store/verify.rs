//! Whether a store still has what it was given.

use std::io;

use nix::errno::Errno;
use runtime::error::{Cause, Result};

use super::{Kept, Store, files};
use crate::digest::{Digest, Hashing};
use crate::failure::failed;
use crate::own;
use crate::progress::Progress;
use crate::said;

/// What is wrong with an image, and how much of it was compared.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The image.
    pub digest: Digest,
    /// What is wrong, a line each.
    pub flaws: Vec<String>,
    /// What was not compared, because the caller may not read it.
    pub unread: Vec<String>,
}

impl Store {
    /// Compares an image's blobs with their digests, and its tree with the list made of it.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be read; what is missing or wrong is a flaw and no failure.
    pub fn verify(&self, kept: &Kept, progress: &dyn Progress) -> Result<Verified> {
        let (mut flaws, mut unread) = (Vec::new(), Vec::new());
        for digest in kept.blobs() {
            let path = self.blob(&digest);
            let mut hashing = match own::open_to_read(&path) {
                Ok(file) => Hashing::new(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    flaws.push(format!("blob {digest} is missing"));
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    unread.push(format!("blob {digest}"));
                    continue;
                }
                Err(error) => return Err(failed("read", &path, &error)),
            };
            let fail = |error: io::Error| failed("read", &path, &error);
            let size = path.metadata().map_err(fail)?.len();
            let task = progress.begin(&format!("verify {}", digest.short()), Some(size));
            io::copy(&mut hashing, &mut Advance(task.as_ref())).map_err(fail)?;
            let (found, _) = hashing.finish();
            if found != digest {
                flaws.push(format!("blob {digest} has the digest {found}"));
            }
        }
        let contents = match &kept.contents {
            Ok(contents) => contents,
            Err(error) if error.cause == Cause::Errno(Errno::EACCES) => {
                unread.push(format!("trees/{}", kept.digest.hex()));
                return Ok(Verified { digest: kept.digest, flaws, unread });
            }
            Err(error) => {
                flaws.push(format!("cannot {}: {}", error.attempt, error.cause));
                return Ok(Verified { digest: kept.digest, flaws, unread });
            }
        };
        let _task = progress.begin(&format!("verify the files of {}", kept.digest.short()), None);
        for (name, digest) in [
            ("manifest.json", Some(kept.digest)),
            ("image.json", Digest::wanted(contents.manifest.config()).ok()),
        ] {
            let path = kept.tree.join(name);
            let bytes = own::read(&path).map_err(|error| failed("read", &path, &error))?;
            // A configuration that strict readers refuse has its plain form there.
            let is_plain = || {
                let blob = digest.and_then(|digest| own::read(&self.blob(&digest)).ok());
                blob.and_then(|blob| said::strict_configuration(&blob).ok()).as_ref()
                    == Some(&bytes)
            };
            if Some(Digest::of(&bytes)) != digest && !(name == "image.json" && is_plain()) {
                flaws.push(format!("{name} is changed"));
            }
        }
        let list = kept.tree.join(files::NAME);
        match own::read(&list) {
            Ok(listed) => {
                let comparison = files::compare(&kept.tree.join("rootfs"), &listed)?;
                flaws.extend(comparison.flaws);
                unread.extend(comparison.unread);
            }
            Err(error) => flaws.push(format!("the list of its files cannot be read: {error}")),
        }
        Ok(Verified { digest: kept.digest, flaws, unread })
    }
}

/// Tells a task how much was written to it.
struct Advance<'a>(&'a dyn crate::progress::Task);

impl io::Write for Advance<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.advance(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
