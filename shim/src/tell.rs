//! Tells those who use a packed image what they would not learn otherwise: a program that cannot be read any
//! more dies of `SIGBUS`, or sees an error that says little.
//!
//! Nothing of the job is held for that, as launchers wait for whoever holds one of their descriptors: the
//! commands' standard errors are opened when there is something to say.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::stat::fstat;
use nix::unistd::write;
use runtime::Error;
use runtime::look::containers;
use runtime::sys::file;

/// What shows processes to one whose root is the list of them ([`runtime::sys::helper::Root`]).
pub(crate) const PROCESSES: &str = "/";

/// The processes that see some mounts.
pub(crate) fn inhabitants(mounts: u64) -> Vec<u32> {
    containers::inhabitants(Path::new(PROCESSES), mounts)
}

/// Writes an error to every standard error of some processes, once.
pub(crate) fn tell(error: &Error, processes: impl Iterator<Item = u32>) {
    let text = format!("hrun: {error}\n");
    let mut told = BTreeSet::new();
    for process in processes {
        let Ok(stream) = file::open_standard_error(Path::new(PROCESSES), process) else { continue };
        let is_new = fstat(&stream).is_ok_and(|it| told.insert((it.st_dev, it.st_ino)));
        if is_new {
            // Who does not listen is not told.
            let _ = write(&stream, text.as_bytes());
        }
    }
}
