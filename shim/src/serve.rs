//! The process that serves a packed image to everything that runs in it.
//!
//! It is nobody's child, in a session of its own, and ignores the signals that are meant for the
//! command. It lives in a mount namespace of its own that never has the image mounted, and holds no
//! descriptor of the container's: so when the last process inside is gone the kernel ends the
//! mount, reading from the device fails with `ENODEV`, and the server ends with it
//! (docs/decisions/0018).

use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use fuser::{Config, Notifier, Session, SessionACL};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use runtime::apply::Served;
use runtime::look::containers;
use runtime::look::packed::PackedTree;
use runtime::sys::detached::{self, Link};
use runtime::sys::file::{Device, File};
use runtime::sys::helper::{self, Helper, Root, Signals};
use runtime::sys::memory;
use runtime::sys::process;
use squashfs::Flaw;

use crate::ahead;
use crate::image::Server;
use crate::voice::Voice;
use crate::witness;

/// No block is larger, in bytes; what the crate `fuser` asks for is.
const HUGE: i32 = 4 << 20;

/// As many requests are answered at once as there are processors, within these numbers.
const THREADS: (usize, usize) = (2, 8);

/// What the server takes of memory at least, in bytes, beyond what it has.
const NEEDED: usize = 28 << 20;

/// A user who may have more processes than that seldom has all of them.
const FEW_PROCESSES: u64 = 1 << 14;

/// Starts the server of an image.
///
/// # Errors
///
/// The errno of fork(2) or pipe(2).
pub fn start(served: &Served, device: Device) -> Result<(Link, Device), Errno> {
    let opened = served.opened.map(PackedTree::descriptor);
    let kept: Vec<RawFd> = opened.into_iter().chain([device.as_raw_fd()]).collect();
    let server = Helper { name: "hrun-image", kept: &kept, signals: Signals::Ignored };
    let link = server.leave_behind(|link| serve(served, &device, link))?;
    Ok((link, device))
}

/// Serves until nobody is left who could ask.
fn serve(served: &Served, device: &Device, link: &Link) {
    // Of the container, which is left behind now.
    let mounts = containers::own_mounts();
    let ready = get_ready(served);
    let told = link.tell(ready.as_ref().map(|_| ()).map_err(|errno| *errno));
    let (Ok((tree, threads)), Ok(()), Ok(device)) = (ready, told, device.try_clone()) else {
        return;
    };
    let Ok(again) = device.try_clone() else { return };
    let voice = Voice::new(&tree, mounts.ok(), again);
    let server = Server::new(tree.image().clone(), process::ids(), voice.clone());
    let kernel = Arc::new(OnceLock::new());
    beside(tree, served, voice.clone(), kernel.clone());
    // Reading from the device before it is mounted is an error. The other end goes when it is, or
    // when it never will be.
    let _ = link.hear();
    let mut config = Config::default();
    config.n_threads = Some(threads);
    // The kernel compares the callers with the one who has mounted it.
    let Ok(session) = Session::from_fd(server, device, SessionACL::All, config) else { return };
    let _ = kernel.set(session.notifier());
    match session.run() {
        // Nobody is left who reads the image.
        Ok(()) => voice.fall_silent(),
        Err(error) => voice.says_why(error.to_string()),
    }
}

/// Has a thread unpack what is read first, and start the server's witness.
fn beside(tree: PackedTree, served: &Served, voice: Arc<Voice>, kernel: Arc<OnceLock<Notifier>>) {
    let first: Vec<PathBuf> = served.first.iter().map(|it| it.as_path().into()).collect();
    let body = move || {
        // Where it had to share the only processor it would delay the command, and where memory is scarce it
        // takes some.
        if processors() > 1 && helper::memory_limit().is_none() {
            ahead::unpack(&tree, &first, &kernel);
        }
        let witness = voice.mounts().and_then(|mounts| witness::stand_by(&tree, mounts));
        witness.into_iter().for_each(|witness| voice.has_witness(witness));
    };
    // Without it the command is only slower, and an error says less.
    #[allow(clippy::disallowed_methods, reason = "the server's namespaces are made already")]
    let _ = thread::Builder::new().name("beside".to_owned()).spawn(body);
}

/// Leaves everything of the job behind, and opens the image.
fn get_ready(served: &Served) -> Result<(PackedTree, usize), Errno> {
    memory::serve_threads(HUGE);
    // Before the image is mounted: what is copied here would keep it.
    detached::unshare_mounts()?;
    let tree = match served.opened {
        Some(opened) => opened.clone(),
        None => {
            let file = File::open_regular(served.image)?;
            PackedTree::open(served.image, file, served.offset).map_err(Flaw::errno)?
        }
    };
    helper::settle(Root::Processes)?;
    // One that begins with less ends soon, and says less.
    if helper::memory_limit().is_some() && Vec::<u8>::new().try_reserve(NEEDED).is_err() {
        return Err(Errno::ENOMEM);
    }
    Ok((tree, possible_threads()?))
}

/// How many threads answer requests: one where memory is limited, as each has a buffer of 16 MiB.
pub(crate) fn threads() -> usize {
    match helper::memory_limit() {
        Some(_) => 1,
        None => processors().clamp(THREADS.0, THREADS.1),
    }
}

/// The same, or fewer where no more can be made: a server that begins without them would end at once.
///
/// # Errors
///
/// `EAGAIN` if there can be none.
fn possible_threads() -> Result<usize, Errno> {
    let wanted = threads();
    if helper::process_limit().is_none_or(|limit| limit > FEW_PROCESSES) {
        return Ok(wanted);
    }
    let (done, all) = channel::<()>();
    let all = Arc::new(Mutex::new(all));
    // One more stands beside those who answer.
    let made = (0..=wanted).map_while(|_| {
        let all = all.clone();
        #[allow(clippy::disallowed_methods, reason = "the server's namespaces are made already")]
        let thread = thread::Builder::new().spawn(move || {
            // They are there together until the channel ends.
            let _ = all.lock().map(|all| all.recv());
        });
        thread.ok()
    });
    let made: Vec<_> = made.collect();
    drop(done);
    let count = made.len();
    made.into_iter().for_each(|thread| drop(thread.join()));
    // Two: one that answers, and one that watches over it.
    if count < 2 { Err(Errno::EAGAIN) } else { Ok((count - 1).min(wanted)) }
}

/// How many processors this process may run on.
fn processors() -> usize {
    let own = sched_getaffinity(Pid::from_raw(0));
    own.map_or(THREADS.0, |set| {
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).count()
    })
}
