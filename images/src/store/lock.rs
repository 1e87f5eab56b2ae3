//! Locks of what is being made: a file beside it, which the kernel unlocks when its holder dies.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use runtime::error::{Error, Result};
use runtime::text::quoted;

use crate::failure::failed;
use crate::own;

/// Who waits longer is told for what.
const PATIENCE: Duration = Duration::from_secs(3);

/// Until then a lock is asked for again and again, as flock(2) waits for ever or not at all.
const PAUSE: Duration = Duration::from_millis(20);

/// A lock that is held; the file is removed with it.
#[derive(Debug)]
pub struct Lock {
    /// Closed, and with that unlocked, after the file is gone.
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of a file; waits for who has it, and tells once who that is if it takes long.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be made, or if its file system knows no locks.
    pub fn take(path: &Path, wait: &dyn Fn(&str)) -> Result<Self> {
        let mut waiting = Waiting::begin(wait);
        loop {
            let file = open(path)?;
            let free = waiting.until_free(&file, || file.try_lock(), || file.lock());
            free.map_err(|error| refused(path, &error))?;
            if let Some(lock) = Lock::sealed(file, path)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock of a file, unless somebody has it.
    ///
    /// # Errors
    ///
    /// As [`Lock::take`].
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Lock::sealed(file, path),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(refused(path, &error)),
        }
    }

    /// Who had the lock before may have removed the file while this process waited for it.
    fn sealed(mut file: File, path: &Path) -> Result<Option<Self>> {
        let fail = |error: &io::Error| failed("lock", path, error);
        let own = file.metadata().map_err(|error| fail(&error))?;
        match path.symlink_metadata() {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(&error)),
        }
        sign(&mut file);
        Ok(Some(Lock { _file: file, path: path.to_owned() }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The lock of a whole store: those who add share it, who sweeps has it alone.
#[derive(Debug)]
pub struct Presence(#[allow(dead_code, reason = "held open, and with that locked")] File);

impl Presence {
    /// Waits until nobody sweeps the store, and tells once who does if it takes long.
    ///
    /// # Errors
    ///
    /// As [`Lock::take`].
    pub fn shared(path: &Path, wait: &dyn Fn(&str)) -> Result<Self> {
        let file = open(path)?;
        let mut waiting = Waiting::begin(wait);
        let free = waiting.until_free(&file, || file.try_lock_shared(), || file.lock_shared());
        free.map_err(|error| refused(path, &error))?;
        Ok(Presence(file))
    }

    /// Succeeds if nobody else is at work in the store.
    ///
    /// # Errors
    ///
    /// As [`Lock::take`].
    pub fn alone(path: &Path) -> Result<Option<Self>> {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                sign(&mut file);
                Ok(Some(Presence(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(refused(path, &error)),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    own::open(path).map_err(|error| {
        let error_of = failed("lock", path, &error);
        match error.raw_os_error() {
            None => error_of.hint("himage has not made it: look at it, and remove it"),
            Some(_) => error_of,
        }
    })
}

/// Writes who has a lock, for messages only: a full file system must not keep it from being taken.
fn sign(file: &mut File) {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let text = format!("process {} on {}\n", std::process::id(), host.display());
    let _ = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
}

/// Somebody waits for a lock, and is told what for when it has taken a while.
struct Waiting<'a> {
    since: Instant,
    tell: Option<&'a dyn Fn(&str)>,
}

impl<'a> Waiting<'a> {
    fn begin(tell: &'a dyn Fn(&str)) -> Self {
        Waiting { since: Instant::now(), tell: Some(tell) }
    }

    fn until_free(
        &mut self,
        file: &File,
        try_lock: impl Fn() -> std::result::Result<(), TryLockError>,
        lock: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        while self.since.elapsed() < PATIENCE {
            match try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        match try_lock() {
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
        if let Some(tell) = self.tell.take() {
            tell(&holder(file));
        }
        loop {
            match lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

fn holder(mut file: &File) -> String {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    if text.is_empty() { "another process".to_owned() } else { text.trim_end().to_owned() }
}

fn refused(path: &Path, error: &io::Error) -> Error {
    let has_none = matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENOLCK)
    );
    if !has_none {
        return failed("lock", path, error);
    }
    Error::new(format!("lock {}", quoted(path)), "its file system has no locks")
        .hint("choose another one for the store: --store DIR; or mount Lustre with -o flock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_its_file_goes_with_it() {
        let directory = std::env::temp_dir().join(format!("himage-lock-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("process {} on ", std::process::id())), "{text}");

        // Many wait, each finds the file of the one before removed.
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _lock = Lock::take(&path, &|_| {}).unwrap();
                        let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
            drop(lock);
        });
        assert!(!path.exists());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
