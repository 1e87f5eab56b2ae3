//! SHA-256 of what is read, and of what it should be.

use std::fmt;
use std::io::{self, Read};

use oci_spec::image::Descriptor;
use runtime::error::{Error, Result};
use sha2::{Digest as _, Sha256};

/// A SHA-256, written `sha256:` and 64 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` and 64 digits.
    ///
    /// # Errors
    ///
    /// Fails on anything else, on other algorithms by name.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |reason: &str| Error::new(format!("read the digest '{text}'"), reason);
        match text.split_once(':') {
            Some(("sha256", digits)) => {
                Digest::from_hex(digits).ok_or_else(|| fail("it is not sha256: and 64 digits"))
            }
            Some((algorithm, _)) => {
                Err(fail(&format!("its algorithm is {algorithm}; only sha256 is known")))
            }
            None => Err(fail("it is not sha256: and 64 digits")),
        }
    }

    /// Reads 64 digits, 0 to 9 and a to f.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let value = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Digest(bytes))
    }

    /// The digest a descriptor demands.
    ///
    /// # Errors
    ///
    /// As [`Digest::parse`].
    pub fn wanted(blob: &Descriptor) -> Result<Self> {
        Digest::parse(blob.digest().as_ref())
    }

    /// The 64 digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest in few letters, for progress and lists.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Compares what was read with what a descriptor demands.
///
/// # Errors
///
/// Fails if size or digest is another one; the error names both.
pub fn verify(what: &str, wanted: &Descriptor, found: Digest, size: u64) -> Result<()> {
    let attempt = || format!("use {what}");
    if size != wanted.size() {
        let reason = format!("it has {size} bytes and should have {}", wanted.size());
        return Err(Error::new(attempt(), reason));
    }
    let digest = Digest::wanted(wanted)?;
    if found != digest {
        return Err(Error::new(attempt(), format!("its digest is {found} and should be {digest}")));
    }
    Ok(())
}

/// Counts and hashes what is read or written through it.
pub struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    count: u64,
}

impl<R> Hashing<R> {
    /// Nothing went through yet.
    pub fn new(inner: R) -> Self {
        Hashing { inner, hasher: Sha256::new(), count: 0 }
    }

    /// The digest of all that went through, and its size.
    pub fn finish(self) -> (Digest, u64) {
        let (_, digest, count) = self.into_parts();
        (digest, count)
    }

    /// As [`Hashing::finish`], with what was read or written.
    pub fn into_parts(self) -> (R, Digest, u64) {
        (self.inner, Digest(self.hasher.finalize().into()), self.count)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
