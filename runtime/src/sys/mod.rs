//! The system calls hrun makes, one function each; the only unsafe code of the project.
//!
//! `nix` wraps most of them safely; this module adds what it lacks. Nothing here decides anything.
#![allow(unsafe_code, reason = "calls that nix does not wrap")]
#![allow(clippy::disallowed_methods, reason = "this is where the system is called")]

pub mod copy;
pub mod detached;
pub mod file;
pub mod group;
pub mod helper;
pub mod line;
pub mod meeting;
pub mod memory;
pub mod mount;
mod own_directory;
pub mod process;
mod waiting;

pub use mount::MountFlags;
pub use process::{effective_gid, effective_uid, groups, is_secure_execution};

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::libc;

/// Makes a C string; a NUL byte inside is `EINVAL`, as no system call could take it.
fn c_string(bytes: &OsStr) -> Result<CString, Errno> {
    CString::new(bytes.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Whether a name matches a shell pattern, extended forms such as `!(A*|B*)` included.
///
/// fnmatch(3) of the C library; a pattern or name with a NUL byte matches nothing.
pub fn glob_matches(pattern: &OsStr, name: &OsStr) -> bool {
    /// From glibc's fnmatch.h; the libc crate does not carry it.
    const FNM_EXTMATCH: libc::c_int = 1 << 5;
    let (Ok(pattern), Ok(name)) = (c_string(pattern), c_string(name)) else {
        return false;
    };
    // SAFETY: both are NUL-terminated strings that live until the call returns.
    unsafe { libc::fnmatch(pattern.as_ptr(), name.as_ptr(), FNM_EXTMATCH) == 0 }
}

/// Where a text first occurs in another: memmem(3), which needs far fewer instructions than a
/// loop over bytes.
pub fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    // SAFETY: both lengths are those of the slices.
    let found = unsafe {
        libc::memmem(text.as_ptr().cast(), text.len(), wanted.as_ptr().cast(), wanted.len())
    };
    (!found.is_null()).then(|| found.addr() - text.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_texts() {
        assert_eq!((find(b"abcabd", b"abd"), find(b"abc", b"x")), (Some(3), None));
        assert_eq!((find(b"", b"x"), find(b"abc", b"")), (None, Some(0)));
    }

    #[test]
    fn globs() {
        let matches = |pattern: &str, name: &str| glob_matches(pattern.as_ref(), name.as_ref());
        assert!(matches("SLURM_*", "SLURM_JOB_ID"));
        assert!(!matches("SLURM_*", "PATH"));
        assert!(matches("[AB]?", "A1"));
        assert!(matches("!(A*|B*)", "C"));
        assert!(!matches("!(A*|B*)", "B1"));
        assert!(matches("@(A|B)", "A"));
    }
}
