//! Processes that stay behind or come to be for a plan: `shim` makes them, and this says how it is asked.

use std::os::fd::RawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::limits::Watch;
use super::serve::Serve;
use super::unpack::{Outlive, Unpack};
use crate::sys::line::Line;
use crate::sys::process;

/// Those who stay behind where a plan asks for it; `shim` has them.
#[derive(Clone, Copy)]
pub struct Keepers {
    /// Removes control groups.
    pub watch: Watch,
    /// Starts what serves a packed image.
    pub serve: Serve,
    /// Unpacks an image.
    pub unpack: Unpack,
    /// Removes what was unpacked.
    pub outlive: Outlive,
    /// Makes a PID namespace with an init, which ends when nobody has hold of its line.
    pub isolate: fn(process::Alone, Line) -> Result<Pid, Errno>,
    /// Has `/proc` show a PID namespace that others have made.
    pub show: fn(process::Alone) -> Result<(), Errno>,
    /// Has a program started and ended when it has set its environment, which is given back.
    pub source: fn(process::Alone, &Path, &process::ExecImage) -> Result<Vec<u8>, Errno>,
    /// Goes on in a child, and comes back here when that has ended, or ends by the same signal. What keeps an
    /// init stays open meanwhile.
    pub supervise: fn(process::Alone, Option<&Init>) -> Result<Supervised, Errno>,
}

/// Which process comes back from where a plan asks for a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervised {
    /// The child; it has this number where hrun was started.
    Child(u32),
    /// The supervisor, when the child has ended with this status.
    Ended(u8),
}

/// The init of a PID namespace.
#[derive(Debug)]
pub struct Init {
    /// It ends when nobody has this open any more.
    pub line: RawFd,
    /// The process, if it is a child of this one and nobody else's commands are with it.
    pub child: Option<Pid>,
}
