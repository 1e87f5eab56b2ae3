//! Errors of files, in the words of the one error.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use runtime::error::{Cause, Error};
use runtime::text::quoted;

/// What an error of the system is called.
pub fn cause(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).into(),
        None => error.to_string().into(),
    }
}

/// The error of something attempted with a file, and what to do about it.
pub fn failed(attempt: &str, path: &Path, error: &io::Error) -> Error {
    let name = quoted(path);
    let hint = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => Some(format!(
            "its file system is full (df -h {name}; df -i {name}): make room, or use another one: --store DIR"
        )),
        Some(Errno::EDQUOT) => Some(
            "your quota there is used up: make room, or use another file system: --store DIR"
                .to_owned(),
        ),
        Some(Errno::EACCES) if attempt.starts_with("read") || attempt.starts_with("list") => {
            Some("ask its owner to let you read it".to_owned())
        }
        Some(Errno::EROFS | Errno::EACCES | Errno::EPERM) => {
            Some("choose a directory you may write to: --store DIR or HRUN_STORE".to_owned())
        }
        _ => None,
    };
    Error::new(format!("{attempt} {name}"), cause(error)).hint_if_some(hint)
}
