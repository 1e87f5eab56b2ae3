//! Tries actions of a plan in a child process, so that nothing of them stays.

use nix::errno::Errno;
use runtime::apply;
use runtime::plan::Action;
use runtime::sys::process::in_child;

/// How a trial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The index of the action that failed; nothing if the child could not be made.
    pub action: Option<usize>,
    /// The kernel's error number.
    pub errno: Errno,
}

/// Takes actions in a child, in order, up to the first that fails.
///
/// What they do is undone by the kernel when the child ends, as long as it is done in namespaces
/// that the first action makes.
///
/// # Errors
///
/// The action that failed and why.
pub fn attempt(actions: &[Action]) -> Result<(), Failure> {
    let report = in_child(|| match apply::attempt(actions) {
        Ok(()) => 0,
        Err((index, errno)) => encode(index, errno),
    });
    match report {
        Ok(0) => Ok(()),
        Ok(report) => Err(decode(report)),
        Err(errno) => Err(Failure { action: None, errno }),
    }
}

/// An index and an errno in one number, never 0 because no errno is.
fn encode(index: usize, errno: Errno) -> u64 {
    (index as u64) << 32 | u64::from(errno as i32 as u32)
}

fn decode(report: u64) -> Failure {
    let errno = Errno::from_raw((report & 0xffff_ffff) as i32);
    Failure { action: usize::try_from(report >> 32).ok(), errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_pipe() {
        let failure = Failure { action: Some(7), errno: Errno::ENOSPC };
        assert_eq!(decode(encode(7, Errno::ENOSPC)), failure);
    }
}
