//! `himage share`.

use clap::{ArgMatches, Command};
use runtime::error::Result;
use runtime::text::quoted;

use crate::{progress, report, store};

/// The words of `himage share`.
pub fn command() -> Command {
    Command::new("share").about("Lets other users read the store").long_about(
        "Lets other users read the store, whatever the umask: what of its images you may read, they may \
         read, now and of all that comes. They may write nothing. Whether they can come as far as the \
         store is up to the directories above it.",
    )
}

/// Runs it.
///
/// # Errors
///
/// Fails if the store is not the caller's.
pub fn run(words: &ArgMatches) -> Result<()> {
    let store = store::open(words)?;
    store.share(progress::wanted(words).as_ref())?;
    let name = quoted(store.directory());
    report::print(&format!("others read it: hrun --store {name} NAME\n"))
}
