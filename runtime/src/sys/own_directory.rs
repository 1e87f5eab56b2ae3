//! A directory of the caller's alone, in one that others may write to.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{Mode, SFlag, lstat};
use nix::unistd::mkdir;

/// So many names of a directory are tried.
const NAMES: usize = 100;

/// Of so many names some may be free again that others had when a later one was taken.
const FREED: usize = 8;

/// Makes a directory that nobody else may use, unless it is there, and gives back where it is.
///
/// In a directory that others may write to, somebody may have made the name first. Then the first of
/// `NAME.1`, `NAME.2` and so on is taken that is the caller's alone or can be made so: the same by all
/// that the caller runs on this machine.
///
/// # Errors
///
/// The errno of mkdir(2); `EPERM` if all names are taken by what is no directory, belongs to somebody
/// else or is open to others.
pub fn own_directory(path: &Path) -> Result<PathBuf, Errno> {
    // The usual case, without a list of names.
    if state(path)? == State::Own {
        return Ok(path.to_path_buf());
    }
    for _ in 0..NAMES {
        let (found, is_there) = first_name(path)?.ok_or(Errno::EPERM)?;
        if is_there {
            return Ok(found);
        }
        // Another process may be faster; whose it is then is looked at again.
        match mkdir(&found, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EPERM)
}

/// Where the caller's own directory of a name is, or would be made.
pub fn own_name(path: &Path) -> Option<PathBuf> {
    first_name(path).ok()?.map(|(path, _)| path)
}

/// The first name that is the caller's directory, else the first that is nothing.
fn first_name(path: &Path) -> Result<Option<(PathBuf, bool)>, Errno> {
    let mut free = None;
    for number in 0..NAMES {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let name = PathBuf::from(name);
        match state(&name)? {
            State::Own => return Ok(Some((name, true))),
            State::Free if free.is_none() => free = Some(name),
            // Whoever had an earlier name may have removed it since this one was taken.
            State::Free if number >= FREED => break,
            State::Free | State::Taken => {}
        }
    }
    Ok(free.map(|name| (name, false)))
}

/// What is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A directory of the caller's alone.
    Own,
    /// Anything else.
    Taken,
}

fn state(path: &Path) -> Result<State, Errno> {
    let status = match lstat(path) {
        Ok(status) => status,
        Err(Errno::ENOENT) => return Ok(State::Free),
        Err(errno) => return Err(errno),
    };
    let is_directory = status.st_mode & libc::S_IFMT == SFlag::S_IFDIR.bits();
    let is_own = status.st_uid == super::effective_uid() && status.st_mode & 0o077 == 0;
    Ok(if is_directory && is_own { State::Own } else { State::Taken })
}
