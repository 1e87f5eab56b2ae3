//! Numbers in records; squashfs 4.0 is little-endian on every machine.

/// A record of a fixed size.
#[derive(Clone, Copy)]
pub(crate) struct Fields<const SIZE: usize>(pub(crate) [u8; SIZE]);

impl<const SIZE: usize> Fields<SIZE> {
    /// The bytes at an offset; what lies outside of a record is zero.
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let found = self.0.get(at..).and_then(|rest| rest.first_chunk::<N>());
        found.copied().unwrap_or([0; N])
    }

    pub(crate) fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    pub(crate) fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }
}
