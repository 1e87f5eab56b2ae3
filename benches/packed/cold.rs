//! Has the machine forget what it has read, which only root can: somebody else does it, when asked.

use std::cell::RefCell;
use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Whoever can make caches cold (benches/as-tester.sh).
pub(super) struct Cold(RefCell<(File, File)>);

impl Cold {
    /// Finds it.
    ///
    /// # Errors
    ///
    /// Says that there is nobody.
    pub(super) fn find() -> Result<Self, String> {
        let pipes = env::var_os("HRUN_BENCH_COLD").map(PathBuf::from);
        let pipes =
            pipes.ok_or("only root can make caches cold: run `make bench-packed` as root")?;
        // In the order in which the other end opens them.
        let ask = File::options().write(true).open(pipes.join("ask"));
        let ends = ask.and_then(|ask| Ok((ask, File::open(pipes.join("done"))?)));
        ends.map(|ends| Cold(RefCell::new(ends))).map_err(|error| format!("pipes: {error}"))
    }

    /// Comes back when nothing of any file system is in memory.
    ///
    /// # Errors
    ///
    /// Says that the other end is gone.
    pub(super) fn make(&self) -> Result<(), String> {
        let talk = |(ask, done): &mut (File, File)| -> io::Result<()> {
            ask.write_all(b"\n")?;
            done.read_exact(&mut [0])
        };
        talk(&mut self.0.borrow_mut()).map_err(|error| format!("cannot make caches cold: {error}"))
    }
}
