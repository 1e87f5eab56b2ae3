//! Runs a program of the image before the command, for the environment it ends up with.
//!
//! The program stops itself when it is done, and is ended then; it ends as well when hrun does.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use runtime::apply::SOURCED;
use runtime::sys::process::{Alone, ExecImage};

/// Starts a program and gives back its environment, as execve(2) was given it, when it has stopped.
///
/// # Errors
///
/// The errno of fork(2), or of reading `/proc`; `ECANCELED` if the program ends before.
pub fn run(alone: Alone, program: &Path, image: &ExecImage) -> Result<Vec<u8>, Errno> {
    let parent = getpid();
    let child = alone.execute(program, image, || {
        let bound = prctl::set_pdeathsig(Signal::SIGKILL);
        // Otherwise it has ended before it could say so.
        bound.is_ok() && getppid() == parent
    })?;
    let environment = wait(child);
    let _ = kill(child, Signal::SIGKILL);
    while waitpid(child, None) == Err(Errno::EINTR) {}
    environment
}

/// Waits until the child has stopped with the mark in its environment: a terminal or a resource
/// manager may stop it before that, and continues it.
#[allow(clippy::disallowed_methods, reason = "what is read is of a program started here")]
fn wait(child: Pid) -> Result<Vec<u8>, Errno> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(..)) => {
                let environment = fs::read(format!("/proc/{child}/environ"))
                    .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
                if environment.split(|byte| *byte == 0).any(|entry| entry == SOURCED) {
                    return Ok(environment);
                }
            }
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
                return Err(Errno::ECANCELED);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
