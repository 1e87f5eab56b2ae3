//! Tells those who use a packed image that the process that served it was killed.
//!
//! They would only see that a transport endpoint is not connected, or die of `SIGBUS`. Nothing of the job
//! is held meanwhile, as launchers wait for whoever holds one of their descriptors: the commands'
//! standard errors are opened when there is something to say.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::stat::fstat;
use nix::unistd::write;
use runtime::Error;
use runtime::look::containers;
use runtime::sys::detached::{self, Link};
use runtime::sys::file;

/// A server that lives so long has a witness: commands that end sooner would start slower for it.
const GRACE: Duration = Duration::from_secs(1);

/// Who ends a whole job ends the commands as well, within this time; nobody is left to be told then.
const PATIENCE: Duration = Duration::from_millis(200);

/// Starts the process that notices the end of this one, which serves an image to the processes that
/// see some mounts, after a while. What ends as it should says so ([`Link::tell`]).
pub(crate) fn stand_by(image: &Path, mounts: u64) -> Option<Link> {
    sleep(GRACE);
    let text = message(image, std::process::id());
    let started = detached::detached_alone(|link| {
        detached::take_name("hrun-witness");
        if link.hear().is_err() {
            let inside = containers::inhabitants(mounts);
            sleep(PATIENCE);
            let still = containers::inhabitants(mounts);
            // Those of a new container have the number of an old one, perhaps.
            tell(&text, still.into_iter().filter(|process| inside.contains(process)));
        }
    });
    // Without it there is an error that says less.
    started.ok()
}

fn message(image: &Path, server: u32) -> String {
    let reason =
        format!("the process that served it, hrun-image ({server}), was killed or has crashed");
    let error = Error::new(format!("read the image {} any more", image.display()), reason).hint(
        "perhaps for want of memory (sacct, dmesg); start again, with more memory, or with --unpack",
    );
    format!("hrun: {error}\n")
}

/// Writes a text to every standard error of some processes, once.
fn tell(text: &str, processes: impl Iterator<Item = u32>) {
    let mut told = BTreeSet::new();
    for process in processes {
        let Ok(error) = file::open_standard_error(process) else { continue };
        let is_new = fstat(&error).is_ok_and(|it| told.insert((it.st_dev, it.st_ino)));
        if is_new {
            // Who does not listen is not told.
            let _ = write(&error, text.as_bytes());
        }
    }
}
