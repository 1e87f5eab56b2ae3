//! The process that serves a packed image to everything that runs in it.
//!
//! It is nobody's child, in a session of its own, and ignores the signals that are meant for the
//! command. It lives in a mount namespace of its own that never has the image mounted, and holds no
//! descriptor of the container's: so when the last process inside is gone the kernel ends the
//! mount, reading from the device fails with `ENODEV`, and the server ends with it
//! (docs/decisions/0018).

use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
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
use crate::witness;

/// No block is larger, in bytes; what the crate `fuser` asks for is.
const HUGE: i32 = 4 << 20;

/// As many requests are answered at once as there are processors, within these numbers.
const THREADS: (usize, usize) = (2, 8);

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
    let (Ok(tree), Ok(()), Ok(device)) = (ready, told, device.try_clone()) else { return };
    let (uid, gid) = process::ids();
    let server = Server::new(tree.image().clone(), uid, gid);
    let beside = Beside::start(tree, served, mounts);
    // Reading from the device before it is mounted is an error. The other end goes when it is, or
    // when it never will be.
    let _ = link.hear();
    let mut config = Config::default();
    config.n_threads = Some(threads());
    // The kernel compares the callers with the one who has mounted it.
    if let Ok(session) = Session::from_fd(server, device, SessionACL::All, config) {
        let _ = beside.notifier.set(session.notifier());
        let _ = session.run();
    }
    if let Some(witness) = beside.witness.get() {
        // Nobody is left who reads the image.
        let _ = witness.tell(Ok(()));
    }
}

/// What a thread of the server does besides.
#[derive(Default)]
struct Beside {
    /// From the time on that the kernel can be told something.
    notifier: OnceLock<Notifier>,
    witness: OnceLock<Link>,
}

impl Beside {
    /// Has a thread unpack what is read first, and start the server's witness.
    fn start(tree: PackedTree, served: &Served, mounts: Result<u64, Errno>) -> Arc<Self> {
        let beside = Arc::new(Beside::default());
        let shared = beside.clone();
        let first: Vec<PathBuf> = served.first.iter().map(|it| it.as_path().into()).collect();
        let body = move || {
            // Where it had to share the only processor it would delay the command.
            if processors() > 1 {
                ahead::unpack(&tree, &first, &shared.notifier);
            }
            let witness = mounts.ok().and_then(|it| witness::stand_by(&tree, it));
            witness.map(|witness| shared.witness.set(witness));
        };
        // Without it the command is only slower, and an error says less.
        #[allow(clippy::disallowed_methods, reason = "the server's namespaces are made already")]
        let _ = thread::Builder::new().name("beside".to_owned()).spawn(body);
        beside
    }
}

/// Leaves everything of the job behind, and opens the image.
fn get_ready(served: &Served) -> Result<PackedTree, Errno> {
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
    Ok(tree)
}

pub(crate) fn threads() -> usize {
    processors().clamp(THREADS.0, THREADS.1)
}

/// How many processors this process may run on.
fn processors() -> usize {
    let own = sched_getaffinity(Pid::from_raw(0));
    own.map_or(THREADS.0, |set| {
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).count()
    })
}
