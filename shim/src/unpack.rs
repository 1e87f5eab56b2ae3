//! Processes that unpack an image, and that remove what was unpacked when nobody uses it any more.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::mkdir;
use runtime::sys::copy::{self, LastUnmount};
use runtime::sys::detached::{self, Link};
use runtime::sys::file::File;
use runtime::sys::helper::{self, Helper, Root, Signals};
use runtime::sys::meeting::Locked;
use runtime::sys::mount;
use squashfs::{Budget, Cause, Flaw, Manner, Part, Squashfs};

use crate::serve;

/// What is kept of an image: each block is read once.
const BUDGET: Budget = Budget { metadata: 16 << 20, data: 16 << 20 };

/// Writes an image's tree into a new directory.
///
/// By a process of its own, which has threads, and which removes all of it if this one ends: nobody
/// is left with half a copy who breaks off.
///
/// # Errors
///
/// The errno of what failed; `EIO` for a damaged image, `ECHILD` if the process was killed.
pub fn unpack(image: (&Path, u64), tree: &Path, held: &Locked) -> Result<(), Errno> {
    let kept = [held.descriptor()];
    let unpacker = Helper { name: "hrun-unpack", kept: &kept, signals: Signals::Ignored };
    let link = unpacker.leave_behind(|link| {
        let written = write(image, tree, link);
        if written.is_err() {
            copy::remove_all(held, tree);
        }
        // Who is gone needs no answer.
        let _ = link.tell(written);
    })?;
    link.hear()
}

fn write((path, offset): (&Path, u64), tree: &Path, link: &Link) -> Result<(), Errno> {
    let source = Box::new(Part { source: File::open_regular(path)?, offset });
    let image = Squashfs::open(source, BUDGET).map_err(Flaw::errno)?;
    mkdir(tree, Mode::S_IRWXU)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = open(tree, flags, Mode::empty())?;
    let goes_on = |_| link.is_whole();
    let manner = Manner { threads: serve::threads(), keeps_set_ids: true, goes_on: &goes_on };
    match image.extract(directory.as_fd(), manner) {
        Ok(_) => Ok(()),
        Err(stop) => Err(match stop.cause {
            Cause::Image(flaw) => flaw.errno(),
            Cause::Kernel(errno) => errno,
            Cause::Unwanted => Errno::ECANCELED,
        }),
    }
}

/// Starts the process that removes a copy when the stage is mounted nowhere any more.
///
/// It holds the copy's lock, which other containers with the same image hold as well.
///
/// # Errors
///
/// The errno of fork(2) or pipe(2).
pub fn outlive(
    tree: &Path,
    stage: &Path,
    held: Locked,
    unmount: &LastUnmount,
) -> Result<Link, Errno> {
    let kept = [held.descriptor(), unmount.descriptor()];
    let keeper = Helper { name: "hrun-copy", kept: &kept, signals: Signals::Ignored };
    keeper.leave_behind(|link| {
        wait_for_end(stage, unmount, link);
        copy::let_go(held, tree);
    })
}

/// Starts the process that holds a layer until its overlay is mounted nowhere any more.
///
/// # Errors
///
/// The errno of fork(2) or pipe(2).
pub fn keep(stage: &Path, held: Locked, unmount: &LastUnmount) -> Result<Link, Errno> {
    let kept = [held.descriptor(), unmount.descriptor()];
    let keeper = Helper { name: "hrun-layer", kept: &kept, signals: Signals::Ignored };
    keeper.leave_behind(|link| {
        wait_for_end(stage, unmount, link);
        drop(held);
    })
}

/// Waits until a file system is mounted nowhere any more, or the container comes to nothing: the other
/// end goes before it says anything then.
fn wait_for_end(stage: &Path, unmount: &LastUnmount, link: &Link) {
    let away = stay_away(stage);
    let is_away = away.is_ok();
    if link.tell(away).is_ok() && is_away && link.hear().is_ok() {
        unmount.wait();
    }
}

/// Has nothing of the container, which ends only when nobody has it.
fn stay_away(stage: &Path) -> Result<(), Errno> {
    detached::unshare_mounts()?;
    mount::detach(stage)?;
    helper::settle(Root::Kept)
}
