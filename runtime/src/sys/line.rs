//! What keeps the init of a PID namespace: it stays as long as anybody has hold of its line.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use super::meeting::Locked;

/// The end of an init.
///
/// Nobody can take hold of it through the init itself, which is closed to all others.
#[derive(Debug)]
pub enum Line {
    /// A pipe, whose other end is handed on to children.
    Pipe(OwnedFd),
    /// A number that those who come later keep, too, in a file they all know.
    Number(Locked, u64),
}

impl Line {
    /// Makes one, and what holds it.
    ///
    /// # Errors
    ///
    /// The errno of pipe(2).
    pub fn pipe() -> Result<(Self, OwnedFd), Errno> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        Ok((Line::Pipe(reader), writer))
    }

    /// Waits until nobody has hold of it, however they went; from then on nobody can.
    pub fn wait(&self) {
        match self {
            // Nobody could be told of an error.
            Line::Pipe(pipe) => while matches!(read(pipe, &mut [0]), Ok(1) | Err(Errno::EINTR)) {},
            Line::Number(file, number) => drop(file.wait_until_unkept(*number)),
        }
    }

    /// The descriptor by which it is known.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Line::Pipe(pipe) => pipe.as_raw_fd(),
            Line::Number(file, _) => file.descriptor(),
        }
    }
}
