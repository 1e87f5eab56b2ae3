//! The place an image is written to: filled under another name, and taken as a whole.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::error::{Error, Result};
use runtime::text::quoted;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::failure::failed;

/// In the names of directories that hold what is not finished.
const MARK: &str = ".himage-";
/// The file in them that is locked.
const LOCK: &str = "lock";

/// A place that something is made for.
///
/// It is made in a directory of its own beside the place, which goes when this is dropped. What a
/// killed command left behind goes when the next one makes something for the same place.
#[derive(Debug)]
pub struct Place {
    dest: PathBuf,
    directory: PathBuf,
    replaces: bool,
    /// Held as long as somebody works in the directory.
    _lock: File,
}

impl Place {
    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// Fails if there is something in the place, unless it is to be replaced.
    pub fn beside(dest: &Path, replaces: bool) -> Result<Self> {
        let attempt = || format!("write {}", quoted(dest));
        let name = dest.file_name().ok_or_else(|| Error::new(attempt(), "it has no name"))?;
        let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if !replaces && dest.symlink_metadata().is_ok() {
            return Err(in_the_way(dest));
        }
        let mut stem = OsString::from(".");
        stem.push(name);
        stem.push(MARK);
        sweep(parent, &stem);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let mut own = stem.clone();
            own.push(format!("{}-{number}", std::process::id()));
            let directory = parent.join(own);
            held().insert(directory.clone());
            match fs::create_dir(&directory) {
                // Of another node, with the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    held().remove(&directory);
                    continue;
                }
                Err(error) => {
                    held().remove(&directory);
                    return Err(unwritable(dest, parent, &error));
                }
                Ok(()) => {}
            }
            match lock(&directory) {
                Ok(lock) if directory.join(LOCK).exists() => {
                    return Ok(Place {
                        dest: dest.to_path_buf(),
                        directory,
                        replaces,
                        _lock: lock,
                    });
                }
                Err(error) if !was_swept(&error) => return Err(failed("lock", &directory, &error)),
                // Another command took it for one that was left behind.
                _ => {}
            }
        }
    }

    /// What will be in the place; still to be made.
    pub fn product(&self) -> PathBuf {
        self.directory.join("product")
    }

    /// A directory for what else is needed, on the same file system.
    pub fn scratch(&self) -> &Path {
        &self.directory
    }

    /// Takes what was made in the directory under another name as what will be in the place.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, or not in this file system.
    pub fn take(&self, made: &Path) -> Result<()> {
        let product = self.product();
        fs::rename(made, &product).map_err(|error| failed("make", &product, &error))
    }

    /// The place itself.
    pub fn dest(&self) -> &Path {
        &self.dest
    }

    /// The name of the place without its ending.
    pub fn stem(&self) -> String {
        let name = self.dest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let point = name.char_indices().skip(1).find(|(_, letter)| *letter == '.');
        name[..point.map_or(name.len(), |(at, _)| at)].to_owned()
    }

    /// Puts the product in its place.
    ///
    /// # Errors
    ///
    /// Fails if something has come to be in the place, and is not to be replaced.
    pub fn finish(self) -> Result<()> {
        let product = self.product();
        let fail = |error: Errno| failed("write", &self.dest, &error.into());
        match renameat_with(CWD, &product, CWD, &self.dest, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if self.replaces => self.replace(&product).map_err(fail),
            Err(Errno::EXIST) => Err(in_the_way(&self.dest)),
            // File systems that do not have it, such as NFS.
            Err(Errno::INVAL | Errno::NOSYS) => match self.dest.symlink_metadata() {
                Ok(_) if self.replaces => self.replace(&product).map_err(fail),
                Ok(_) => Err(in_the_way(&self.dest)),
                Err(_) => rustix::fs::rename(&product, &self.dest).map_err(fail),
            },
            done => done.map_err(fail),
        }
    }

    /// Takes the place of what is there, at once where the file system can.
    fn replace(&self, product: &Path) -> rustix::io::Result<()> {
        match renameat_with(CWD, product, CWD, &self.dest, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                let is_directory =
                    |path: &Path| path.symlink_metadata().is_ok_and(|at| at.is_dir());
                if is_directory(product) || is_directory(&self.dest) {
                    rustix::fs::rename(&self.dest, self.directory.join("replaced"))?;
                }
                rustix::fs::rename(product, &self.dest)
            }
            done => done,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.directory);
        held().remove(&self.directory);
    }
}

/// The directories of this process, for when it is ended in the middle of its work.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what this process has begun to make, beside those who still work at it: for the moment before
/// a signal ends it.
pub fn abandon() {
    /// Others notice soon that nothing can be made any more where they are.
    const TRIES: u32 = 100;
    for directory in std::mem::take(&mut *held()) {
        for _ in 0..TRIES {
            remove(&directory);
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
    let lock = File::create(directory.join(LOCK))?;
    match lock.try_lock() {
        // Where there are no locks, what is left behind stays until it is removed by hand.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Removes what killed commands have left: directories that nobody holds.
fn sweep(parent: &Path, stem: &OsString) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_bytes().starts_with(stem.as_bytes()) {
            continue;
        }
        let directory = entry.path();
        let Ok(lock) = File::open(directory.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            remove(&directory);
        }
    }
}

/// Removes a directory, with those in it that its owner cannot write to.
fn remove(directory: &Path) {
    if fs::remove_dir_all(directory).is_err() {
        open_up(directory);
        let _ = fs::remove_dir_all(directory);
    }
}

fn open_up(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn in_the_way(dest: &Path) -> Error {
    Error::new(format!("write {}", quoted(dest)), "it is there already")
        .hint("choose another name, or replace it: --force")
}

fn unwritable(dest: &Path, parent: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => Some(format!("make its directory: mkdir -p {}", quoted(parent))),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("choose a directory you may write to".to_owned())
        }
        _ => None,
    };
    failed("write", dest, error).hint_if_some(hint)
}
