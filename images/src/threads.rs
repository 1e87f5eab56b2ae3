//! Threads beside the main one, which a limit (`ulimit -u`) or a control group may refuse.

use std::io;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use runtime::error::Error;

use crate::failure::cause;

/// Starts a thread; where `std::thread::scope` alone would end the program, this is an error.
///
/// # Errors
///
/// As pthread_create(3): `EAGAIN` where there may be no more processes.
pub fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work)
}

/// The error of a thread without which the work cannot be done.
pub fn refused(error: &io::Error) -> Error {
    let cause = match error.kind() {
        io::ErrorKind::WouldBlock => "there may be no more processes".into(),
        _ => cause(error),
    };
    Error::new("start a thread", cause).hint(
        "see ulimit -u, and pids.max of the control group; other programs of yours count as well",
    )
}
