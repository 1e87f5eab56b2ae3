//! `himage import`.

use clap::{ArgMatches, Command};
use runtime::error::{Error, Result};

/// The words of `himage import`.
pub fn command() -> Command {
    Command::new("import")
}

/// Runs it.
///
/// # Errors
///
/// Fails as what it does fails.
pub fn run(_words: &ArgMatches) -> Result<()> {
    Err(Error::new("import", "not written yet"))
}
