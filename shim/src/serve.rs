//! The process that serves a packed image to everything that runs in it.
//!
//! It is nobody's child, in a session of its own, and ignores the signals that are meant for the
//! command. It lives in a mount namespace of its own that never has the image mounted, and holds no
//! descriptor of the container's: so when the last process inside is gone the kernel ends the
//! mount, reading from the device fails with `ENODEV`, and the server ends with it
//! (docs/decisions/0018).

use std::path::Path;

use fuser::{Config, Session, SessionACL};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, chdir};
use runtime::sys::detached::{self, Link};
use runtime::sys::file::{Device, File};
use runtime::sys::memory;
use runtime::sys::process;
use squashfs::{Budget, Flaw, Part, Squashfs};

use crate::image::Server;

/// What is kept of an image: the kernel keeps what was read, so this is for what is read in pieces.
const BUDGET: Budget = Budget { metadata: 16 << 20, data: 32 << 20 };

/// No block is larger, in bytes; what the crate `fuser` asks for is.
const HUGE: i32 = 4 << 20;

/// As many requests are answered at once as there are processors, within these numbers.
const THREADS: (usize, usize) = (2, 8);

/// Starts the server of the image in a file, from a byte on.
///
/// # Errors
///
/// The errno of fork(2) or pipe(2).
pub fn start(image: &Path, offset: u64, device: Device) -> Result<(Link, Device), Errno> {
    let link = detached::detached(&device, |link| serve(image, offset, &device, link))?;
    Ok((link, device))
}

/// Serves until nobody is left who could ask.
fn serve(image: &Path, offset: u64, device: &Device, link: &Link) {
    let ready = get_ready(image, offset);
    let told = link.tell(ready.as_ref().map(|_| ()).map_err(|errno| *errno));
    let (Ok(server), Ok(()), Ok(device)) = (ready, told, device.try_clone()) else { return };
    // Reading from the device before it is mounted is an error. The other end goes when it is, or
    // when it never will be.
    let _ = link.hear();
    let mut config = Config::default();
    config.n_threads = Some(threads());
    // The kernel compares the callers with the one who has mounted it.
    if let Ok(session) = Session::from_fd(server, device, SessionACL::All, config) {
        let _ = session.run();
    }
}

/// Leaves everything of the job behind, and opens the image.
fn get_ready(image: &Path, offset: u64) -> Result<Server, Errno> {
    detached::ignore_signals();
    detached::take_name("hrun-image");
    memory::serve_threads(HUGE);
    let (uid, gid) = process::ids();
    // Before the image is mounted: what is copied here would keep it.
    detached::unshare_mounts()?;
    let file = File::open_regular(image)?;
    let source = Box::new(Part { source: file, offset });
    let image = Squashfs::open(source, BUDGET).map_err(Flaw::errno)?;
    chdir("/")?;
    process::set_no_new_privileges()?;
    process::drop_capabilities()?;
    Ok(Server::new(image, uid, gid))
}

pub(crate) fn threads() -> usize {
    let own = sched_getaffinity(Pid::from_raw(0));
    let count = own.map_or(THREADS.0, |set| {
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).count()
    });
    count.clamp(THREADS.0, THREADS.1)
}
