//! What the commands have in common: the store, and images added to it.

use clap::ArgMatches;
use images::reference::Reference;
use images::source::Source;
use images::store::Store;
use runtime::error::Result;

/// The store the user chose.
///
/// # Errors
///
/// Fails if there is none and none can be made.
pub fn open(_words: &ArgMatches) -> Result<Store> {
    Store::open(std::path::Path::new("."))
}

/// Adds an image to the store and says so, with progress as the user wants it.
///
/// # Errors
///
/// As [`Store::add`].
#[allow(dead_code, reason = "the commands are not written yet")]
pub fn add(words: &ArgMatches, source: &dyn Source, name: Option<&Reference>) -> Result<()> {
    open(words)?.add(source, name, &images::progress::Silent).map(drop)
}
