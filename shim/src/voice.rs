//! What the server of an image has to say to those who use it, before they die of it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fuser::Request;
use nix::errno::Errno;
use nix::unistd::write;
use runtime::Error;
use runtime::look::packed::PackedTree;
use runtime::sys::detached::Link;
use squashfs::{Flaw, Inode, Kind, Reference, Squashfs};

use crate::tell::{inhabitants, tell};

/// After so many flaws the others are like them.
const ENOUGH: usize = 4;

/// No path in an image is deeper, and no more directories are looked through for one.
const DEPTH: usize = 256;
const DIRECTORIES: usize = 1 << 20;

/// The voice of a server.
pub(crate) struct Voice {
    image: PathBuf,
    /// The mounts of those who hear it.
    mounts: Option<u64>,
    /// What it has said something about.
    said: Mutex<BTreeSet<u64>>,
    /// Where answers go.
    device: OwnedFd,
    /// Who speaks when it cannot any more.
    witness: OnceLock<Link>,
}

thread_local! {
    /// The number of the request that this thread answers.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// Held by who hands the kernel a page that it has not asked for.
static STORING: Mutex<()> = Mutex::new(());

/// This process is to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Hands the kernel a page. That may have to wait for an answer of this process, and a thread that waits so cannot be
/// ended, and would keep the device open: so the process goes on until it is done.
pub(crate) fn storing(store: impl FnOnce() -> bool) -> bool {
    let held = STORING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_stored = store();
    drop(held);
    if ENDING.load(Ordering::SeqCst) {
        runtime::sys::process::end_at_once(1);
    }
    is_stored
}

/// Ends this process, now or when a page is handed over.
fn end() {
    ENDING.store(true, Ordering::SeqCst);
    if STORING.try_lock().is_ok() {
        runtime::sys::process::end_at_once(1);
    }
}

/// Takes note of what is answered now.
pub(crate) fn is_asked(request: &Request) {
    ASKED.set(request.unique().0);
}

/// The voice of this process, for what comes by the words of others ([`Unsent`]).
static OWN: OnceLock<Arc<Voice>> = OnceLock::new();

impl Voice {
    /// The voice of this process from now on.
    pub(crate) fn new(tree: &PackedTree, mounts: Option<u64>, device: OwnedFd) -> Arc<Self> {
        let image = tree.path().to_path_buf();
        let (said, witness) = (Mutex::default(), OnceLock::new());
        let voice = Arc::new(Voice { image, mounts, said, device, witness });
        let _ = OWN.set(voice.clone());
        listen_to_fuser();
        voice
    }

    /// The mounts of those who hear it, as far as that is known.
    pub(crate) fn mounts(&self) -> Option<u64> {
        self.mounts
    }

    /// Has a witness speak if this process goes without a word.
    pub(crate) fn has_witness(&self, witness: Link) {
        let _ = self.witness.set(witness);
    }

    /// Goes, with nothing to be said.
    pub(crate) fn fall_silent(&self) {
        if let Some(witness) = self.witness.get() {
            let _ = witness.tell(Ok(()));
        }
    }

    /// Says which file cannot be read, once for each.
    pub(crate) fn is_flawed(&self, image: &Squashfs, file: Option<Reference>, flaw: Flaw) {
        if flaw.errno() != Errno::EIO && !matches!(flaw, Flaw::Unreadable(_)) {
            return;
        }
        let number = file.map_or(u64::MAX, |file| file.0);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= ENOUGH || !said.insert(number) {
            return;
        }
        let is_last = said.len() == ENOUGH;
        let path = file.and_then(|file| path_of(image, file));
        let attempt = match path {
            Some(path) => format!("read {} in the image {}", path.display(), self.image.display()),
            None => format!("read a directory in the image {}", self.image.display()),
        };
        let hint = match flaw {
            Flaw::Unreadable(_) => {
                "the disk or the file server that the image is on gives errors, or the image was replaced; \
                 copy it to this node: --unpack"
            }
            _ => {
                "the image file is damaged, or was changed while it was used; compare it with where it came from \
                 (sha256sum), and copy or make it again"
            }
        };
        let more = if is_last { "\nthere may be more of these; no other is told" } else { "" };
        self.say(&Error::new(attempt, flaw.to_string()).hint(format!("{hint}{more}")));
    }

    /// Says why the image cannot be read from now on.
    pub(crate) fn says_why(&self, reason: String) {
        let attempt = format!("serve the image {} any more", self.image.display());
        self.say(&Error::new(attempt, reason).hint("start again, or with --unpack"));
        self.fall_silent();
    }

    /// Answers the request at hand by an error, which takes nothing but a few bytes. A page that is waited for is
    /// locked until then, and a thread of this process that waits for the lock would keep the device open.
    fn refuse(&self) {
        let (size, error) = (16_u32, -(Errno::EIO as i32));
        let words = [size.to_ne_bytes(), error.to_ne_bytes()].concat();
        let answer = [words, ASKED.get().to_ne_bytes().to_vec()].concat();
        let _ = write(&self.device, &answer);
    }

    fn say(&self, error: &Error) {
        if let Some(mounts) = self.mounts {
            tell(error, inhabitants(mounts).into_iter());
        }
    }
}

/// The path of a file in an image: nothing but the tree itself has it.
fn path_of(image: &Squashfs, wanted: Reference) -> Option<PathBuf> {
    let root = image.root().ok()?;
    if root.reference == wanted {
        return Some(PathBuf::from("/"));
    }
    let mut waiting: Vec<(PathBuf, Inode)> = vec![(PathBuf::from("/"), root)];
    let mut left = DIRECTORIES;
    while let Some((path, directory)) = waiting.pop() {
        left = left.checked_sub(1)?;
        // What cannot be read there may be the very thing.
        let entries = image.entries(&directory, 0).into_iter().flatten();
        for entry in entries.map_while(Result::ok) {
            let here = |name: &OsString| path.join(Path::new(name));
            if entry.reference == wanted {
                return Some(here(&entry.name));
            }
            if entry.kind == Kind::Directory
                && path.components().count() < DEPTH
                && let Ok(inode) = image.inode(entry.reference)
            {
                waiting.push((here(&entry.name), inode));
            }
        }
    }
    None
}

/// Hears from the crate `fuser` that an answer has not come to the kernel, which it says nowhere else.
struct Unsent;

impl log::Log for Unsent {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() == log::Level::Error && metadata.target().starts_with("fuser::reply")
    }

    fn log(&self, record: &log::Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        // Whoever asked was killed meanwhile, and asks no more.
        let gone = std::io::Error::from(Errno::ENOENT).to_string();
        if text.ends_with(&gone) {
            return;
        }
        // Whoever asked would wait for ever: the kernel gives up all that is asked when this process is gone.
        if let Some(voice) = OWN.get() {
            voice.refuse();
            voice.says_why(text);
        }
        end();
    }

    fn flush(&self) {}
}

fn listen_to_fuser() {
    static LISTENER: Unsent = Unsent;
    if log::set_logger(&LISTENER).is_ok() {
        log::set_max_level(log::LevelFilter::Error);
    }
}
