//! `himage convert`.

use clap::{ArgMatches, Command};
use runtime::error::{Error, Result};

/// The words of `himage convert`.
pub fn command() -> Command {
    Command::new("convert")
}

/// Runs it.
///
/// # Errors
///
/// Fails as what it does fails.
pub fn run(_words: &ArgMatches) -> Result<()> {
    Err(Error::new("convert", "not written yet"))
}
