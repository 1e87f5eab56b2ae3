//! SIF files: what is found is what a descriptor says, in a few small reads.
#![no_main]

use std::cell::Cell;

use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use runtime::elf::Source;
use runtime::look::sif;
use runtime::sys;

/// A file that is watched while it is read.
struct Watched<'a> {
    bytes: &'a [u8],
    reads: Cell<usize>,
}

impl Source for Watched<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        assert!(buffer.len() <= 1024, "a read of {} bytes", buffer.len());
        self.reads.set(self.reads.get() + 1);
        self.bytes.read_at(offset, buffer)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let source = Watched { bytes, reads: Cell::new(0) };
    match sif::find(&source) {
        Ok(found) => {
            let written = found.offset.to_le_bytes();
            assert!(sys::find(bytes, &written).is_some(), "{found:?} is not in the file");
        }
        Err(flaw) => assert!(!flaw.to_string().is_empty()),
    }
    assert!(source.reads.get() <= 1025);
});
