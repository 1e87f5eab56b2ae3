//! Tells those who use a packed image that the process that served it was killed.

use std::thread::sleep;
use std::time::Duration;

use runtime::Error;
use runtime::look::packed::PackedTree;
use runtime::sys::detached::Link;
use runtime::sys::helper::{self, Helper, Signals};

use crate::tell::{inhabitants, tell};

/// A server that lives so long has a witness: commands that end sooner would start slower for it.
const GRACE: Duration = Duration::from_secs(1);

/// Who ends a whole job ends the commands as well, within this time; nobody is left to be told then.
const PATIENCE: Duration = Duration::from_millis(200);

/// Starts the process that notices the end of this one, which serves an image to the processes that
/// see some mounts, after a while. What ends as it should says so ([`Link::tell`]).
pub(crate) fn stand_by(tree: &PackedTree, mounts: u64) -> Option<Link> {
    let limits = helper::firm_limits();
    // One that has little of something may need it at once.
    if limits.is_empty() {
        sleep(GRACE);
    }
    let error = error(tree, std::process::id(), &limits);
    // The null device, as nothing can be opened any more; and the image, by which it can be told for which it is.
    let kept = [0, 1, 2, tree.descriptor()];
    let witness = Helper { name: "hrun-witness", kept: &kept, signals: Signals::Ignored };
    let started = witness.leave_behind_one(|link| {
        if link.hear().is_err() {
            let inside = inhabitants(mounts);
            sleep(PATIENCE);
            let still = inhabitants(mounts);
            // Those of a new container have the number of an old one, perhaps.
            tell(&error, still.into_iter().filter(|process| inside.contains(process)));
        }
    });
    // Without it there is an error that says less.
    started.ok()
}

fn error(tree: &PackedTree, server: u32, limits: &[String]) -> Error {
    let image = tree.path().display();
    let reason =
        format!("the process that served it, hrun-image ({server}), was killed or has crashed");
    let error = Error::new(format!("read the image {image} any more"), reason);
    if limits.is_empty() {
        return error.hint(
            "perhaps for want of memory (sacct, dmesg); start again, with more memory, or with --unpack",
        );
    }
    let limits = limits.join(" ");
    error.hint(format!(
        "it is under the limits that hrun was started with: ulimit {limits}\n\
         set them for the command alone: hrun {image} sh -c 'ulimit {limits}; exec COMMAND'"
    ))
}
