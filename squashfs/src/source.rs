//! Where the bytes of an image come from.

use nix::errno::Errno;

/// Reads at an offset, as pread(2) does; asked by several threads at once.
pub trait Source: Send + Sync {
    /// Reads from an offset on; gives less than the buffer holds only at the end of the file.
    ///
    /// # Errors
    ///
    /// The errno of pread(2).
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl<B: AsRef<[u8]> + Send + Sync> Source for B {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.as_ref().get(offset..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A source from a byte on: an image inside of another file.
pub struct Part<S> {
    /// The whole.
    pub source: S,
    /// Where the part starts.
    pub offset: u64,
}

impl<S: Source> Source for Part<S> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.offset.checked_add(offset) {
            Some(offset) => self.source.read_at(offset, buffer),
            None => Ok(0),
        }
    }
}
