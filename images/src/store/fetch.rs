//! Blobs come in: several at once, each compared with its digest, each from where it was cut off.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use oci_spec::image::Descriptor;
use runtime::error::{Error, Result};

use super::Store;
use super::lock::Lock;
use crate::digest::{self, Digest, Hashing};
use crate::failure::{cause, failed};
use crate::own;
use crate::progress::{Progress, Task};
use crate::source::Source;
use crate::threads;

/// Blobs that are fetched at once.
const AT_ONCE: usize = 4;

/// How often a blob is asked for again without a byte of it having come.
const FRUITLESS: u32 = 3;

/// Fetches blobs, and calls `meanwhile` beside it, which can wait for each by its position.
///
/// # Errors
///
/// The first thing that failed; all else is then given up.
pub fn all<T>(
    store: &Store,
    source: &dyn Source,
    blobs: &[Descriptor],
    progress: &dyn Progress,
    meanwhile: impl FnOnce(&Arrivals) -> Result<T>,
) -> Result<T> {
    let arrivals = Arrivals::new(blobs.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for started in 0..blobs.len().min(AT_ONCE) {
            let thread = threads::beside(scope, || {
                while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if arrivals.is_over() {
                        return;
                    }
                    let result = fetch(store, source, blob, progress, &arrivals);
                    arrivals.arrived(blobs, blob, result);
                }
            });
            match thread {
                Err(error) if started == 0 => return Err(threads::refused(&error)),
                // Those that are there do its work.
                Err(_) => break,
                Ok(_) => {}
            }
        }
        let result = meanwhile(&arrivals);
        if result.is_err() {
            arrivals.give_up();
        }
        result
    })
}

/// Which blobs are there, for who waits for them.
#[derive(Debug)]
pub struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    there: Vec<bool>,
    failure: Option<Error>,
    is_over: bool,
}

impl Arrivals {
    fn new(count: usize) -> Self {
        let state = State { there: vec![false; count], failure: None, is_over: false };
        Arrivals { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits until a blob is there.
    ///
    /// # Errors
    ///
    /// Fails if a blob, this one or another, does not come.
    pub fn wait_for(&self, index: usize) -> Result<()> {
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.there.get(index).copied().unwrap_or(true) {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A thread that panicked has changed nothing by halves.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.state().is_over
    }

    fn give_up(&self) {
        self.state().is_over = true;
    }

    /// A blob came, or did not; equal ones have come with it.
    fn arrived(&self, blobs: &[Descriptor], blob: &Descriptor, result: Result<()>) {
        let mut state = self.state();
        match result {
            Ok(()) => {
                for (there, other) in state.there.iter_mut().zip(blobs) {
                    *there |= other.digest() == blob.digest();
                }
            }
            Err(error) => {
                state.failure.get_or_insert(error);
                state.is_over = true;
            }
        }
        self.changed.notify_all();
    }
}

/// Fetches one blob, unless it is there.
fn fetch(
    store: &Store,
    source: &dyn Source,
    blob: &Descriptor,
    progress: &dyn Progress,
    arrivals: &Arrivals,
) -> Result<()> {
    let digest = Digest::wanted(blob)?;
    if store.has_blob(&digest, blob.size()) {
        return Ok(());
    }
    let wait =
        |holder: &str| progress.note(&format!("waiting for {holder}, which fetches {digest}"));
    let _lock = Lock::take(&store.unfinished(&digest, "lock"), &wait)?;
    if store.has_blob(&digest, blob.size()) {
        return Ok(());
    }
    let task = progress.begin(&format!("layer {}", digest.short()), Some(blob.size()));
    let part = store.unfinished(&digest, "part");
    let mut incoming = Incoming::resume(&part, blob, task.as_ref())?;
    let resumed = incoming.count > 0;
    let mut result = incoming.complete(source, arrivals).and_then(|()| incoming.verify());
    if result.is_err() && resumed && !arrivals.is_over() && incoming.count == blob.size() {
        // What an earlier command left was wrong, perhaps: once more from the beginning.
        incoming.restart()?;
        result = incoming.complete(source, arrivals).and_then(|()| incoming.verify());
    }
    if result.is_err() && incoming.count >= blob.size() {
        let _ = fs::remove_file(&part);
    }
    result?;
    incoming.file.sync_all().map_err(|error| failed("write", &part, &error))?;
    store.keep_blob(&part, &digest)
}

/// A blob of which a part is there.
struct Incoming<'a> {
    blob: &'a Descriptor,
    path: &'a Path,
    file: File,
    hashing: Hashing<io::Sink>,
    count: u64,
    task: &'a dyn Task,
}

impl<'a> Incoming<'a> {
    /// Opens what an interrupted command has left, or begins.
    fn resume(path: &'a Path, blob: &'a Descriptor, task: &'a dyn Task) -> Result<Self> {
        let fail = |error: io::Error| failed("write", path, &error);
        let mut file = own::open(path).map_err(fail)?;
        let mut hashing = Hashing::new(io::sink());
        let mut count = io::copy(&mut file, &mut hashing).map_err(fail)?;
        if count > blob.size() {
            file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
            (hashing, count) = (Hashing::new(io::sink()), 0);
        }
        task.advance(count);
        Ok(Incoming { blob, path, file, hashing, count, task })
    }

    fn restart(&mut self) -> Result<()> {
        let fail = |error: io::Error| failed("write", self.path, &error);
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(fail)?;
        (self.hashing, self.count) = (Hashing::new(io::sink()), 0);
        Ok(())
    }

    /// Asks for what is missing, again and again while something comes.
    fn complete(&mut self, source: &dyn Source, arrivals: &Arrivals) -> Result<()> {
        let mut fruitless = 0;
        while self.count < self.blob.size() {
            let before = self.count;
            let ended = match source.blob(self.blob, before) {
                Ok(mut stream) => self.take(&mut stream, arrivals)?,
                Err(error) => Some(error),
            };
            fruitless = if self.count > before { 0 } else { fruitless + 1 };
            if fruitless == FRUITLESS || arrivals.is_over() {
                let (count, size) = (self.count, self.blob.size());
                let reason = format!("it ends after {count} of {size} bytes");
                let attempt = format!("fetch {}", self.blob.digest());
                return Err(ended.unwrap_or_else(|| Error::new(attempt, reason)));
            }
        }
        Ok(())
    }

    /// Takes what comes, up to the blob's size and a byte more; says why nothing more came.
    fn take(&mut self, stream: &mut dyn Read, arrivals: &Arrivals) -> Result<Option<Error>> {
        let mut buffer = vec![0; 1 << 17];
        while self.count <= self.blob.size() && !arrivals.is_over() {
            let count = match stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let attempt = format!("fetch {}", self.blob.digest());
                    return Ok(Some(Error::new(attempt, cause(&error))));
                }
            };
            let bytes = &buffer[..count];
            self.file.write_all(bytes).map_err(|error| failed("write", self.path, &error))?;
            let _ = self.hashing.write_all(bytes);
            self.count += count as u64;
            self.task.advance(count as u64);
        }
        Ok(None)
    }

    fn verify(&mut self) -> Result<()> {
        let hashing = std::mem::replace(&mut self.hashing, Hashing::new(io::sink()));
        let (found, size) = hashing.finish();
        digest::verify(&format!("layer {}", self.blob.digest()), self.blob, found, size)
    }
}
