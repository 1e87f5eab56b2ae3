//! A tree copied: packed by one thread and unpacked by another.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use runtime::error::{Cause, Error, Result};

use super::tar;
use crate::failure::{cause, failed};
use crate::threads;
use crate::unpack::{self, Form, Limits, Report};

/// Copies a tree to a place where nothing is; gives back what could not be made there.
pub(super) fn tree(from: &Path, to: &Path) -> Result<Vec<String>> {
    let attempt = || format!("copy {}", from.display());
    fs::create_dir(to).map_err(|error| failed("make", to, &error))?;
    let (mut reader, mut writer) =
        io::pipe().map_err(|error| Error::new(attempt(), cause(&error)))?;
    let mut report = Report::within(Limits { entries: u64::MAX, bytes: u64::MAX });
    std::thread::scope(|scope| {
        let packing = threads::beside(scope, move || tar::write(from, None, &mut writer))
            .map_err(|error| threads::refused(&error))?;
        let unpacked = unpack::archive(&mut reader, Form::Plain, to, &mut report);
        drop(reader);
        let packed = packing.join();
        let packed = packed.unwrap_or_else(|_| Err(Error::new(attempt(), "a thread broke off")));
        // Whichever broke off first is the reason why the other did.
        match packed {
            Err(error) if error.cause == Cause::Errno(Errno::EPIPE) => unpacked.and(Err(error)),
            packed => packed.and(unpacked),
        }
    })?;
    unpack::finish(to, &mut report)?;
    Ok(report.skipped)
}
