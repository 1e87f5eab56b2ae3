//! Directories for what is not finished: the caller's alone, and gone with the command.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::own;

/// In the names of such directories.
const MARK: &str = ".himage-";
/// The file in them that is locked.
const LOCK: &str = "lock";

/// A directory of its own, which goes when this is dropped; that of a killed command goes when the next
/// one for the same name sweeps.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Held as long as somebody works in the directory.
    _lock: File,
}

impl Scratch {
    /// Makes one in a directory, for something of this name.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be made.
    pub(super) fn new(parent: &Path, name: &OsStr) -> io::Result<Self> {
        let stem = stem(name);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let mut own_name = stem.clone();
            own_name.push(format!("{}-{number}", std::process::id()));
            let path = parent.join(own_name);
            // Of the caller alone, and nothing is there: whatever comes to be in it was made here.
            let mut directories = held();
            match DirBuilder::new().mode(0o700).create(&path) {
                // Of another node, with the same number, or anybody's where everybody may write.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            directories.insert(path.clone());
            drop(directories);
            match lock(&path) {
                Ok(lock) if path.join(LOCK).exists() => return Ok(Scratch { path, _lock: lock }),
                Err(error) if !was_swept(&error) => return Err(error),
                // Another command took it for one that was left behind.
                _ => {}
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays for the next command.
        let _ = own::remove(&self.path);
        held().remove(&self.path);
    }
}

/// The directories of this process, for when it is ended in the middle of its work.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what this process has begun to make, beside threads that still work at it: for the moment
/// before a signal ends it.
pub fn abandon() {
    /// Others notice soon that nothing can be made any more where they are.
    const TRIES: u32 = 100;
    for directory in std::mem::take(&mut *held()) {
        for _ in 0..TRIES {
            let _ = own::remove(&directory);
            if directory.symlink_metadata().is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn was_swept(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
}

fn lock(directory: &Path) -> io::Result<File> {
    let lock = own::open(&directory.join(LOCK))?;
    match lock.try_lock() {
        // Where there are no locks, what is left behind stays until it is removed by hand.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// What such directories' names begin with.
fn stem(name: &OsStr) -> OsString {
    let mut stem = OsString::from(".");
    stem.push(name);
    stem.push(MARK);
    stem
}

/// Removes what killed commands have left for a name, after showing it: directories of the caller's that
/// nobody holds. Anybody can make such names where everybody may write; what is not the caller's is left
/// alone.
pub(super) fn sweep(parent: &Path, name: &OsStr, show: &dyn Fn(&Path)) {
    let stem = stem(name);
    let Ok(names) = own::names(parent) else { return };
    for name in names.iter().filter(|name| name.as_bytes().starts_with(stem.as_bytes())) {
        let directory = parent.join(name);
        let is_left = |found: fs::Metadata| found.is_dir() && own::is_own(&found);
        if !directory.symlink_metadata().is_ok_and(is_left) {
            continue;
        }
        let Ok(lock) = own::open_to_read(&directory.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            show(&directory);
            let _ = own::remove(&directory);
        }
    }
}
