//! `himage pull`.

use clap::{ArgMatches, Command};
use runtime::error::{Error, Result};

/// The words of `himage pull`.
pub fn command() -> Command {
    Command::new("pull")
}

/// Runs it.
///
/// # Errors
///
/// Fails as what it does fails.
pub fn run(_words: &ArgMatches) -> Result<()> {
    Err(Error::new("pull", "not written yet"))
}
