//! What the commands have in common: the store, and images added to it.

use std::path::PathBuf;

use clap::ArgMatches;
use images::reference::Reference;
use images::source::Source;
use images::store::{Store, Stored};
use runtime::error::Result;
use runtime::look::host::Host;
use runtime::look::stored;
use runtime::options::Name;
use runtime::request::Given;

use crate::{config, progress, report};

/// The store the user chose, to add to it or to take from it.
///
/// # Errors
///
/// Fails if there is none and none can be made.
pub fn open(words: &ArgMatches) -> Result<Store> {
    Store::open(&directory(words)?)
}

/// The same, to read in it only.
///
/// # Errors
///
/// Fails if nothing says where it is.
pub fn read(words: &ArgMatches) -> Result<Store> {
    directory(words).map(|directory| Store::at(&directory))
}

/// As hrun finds it: the command line, the variable, the configuration files, the home directory.
fn directory(words: &ArgMatches) -> Result<PathBuf> {
    let host = Host::look()?;
    let mut asked = words.get_one::<PathBuf>("store").cloned();
    if asked.is_none() {
        let settings = config::read(&host)?;
        let set = settings.iter().rev().find(|setting| setting.name == Name::Store);
        asked = set.and_then(|setting| match &setting.given {
            Given::Value(value) => Some(PathBuf::from(value)),
            _ => None,
        });
    }
    stored::directory(asked.as_deref(), &host)
}

/// Adds an image to the store and says so, with progress as the user wants it.
///
/// # Errors
///
/// As [`Store::add`].
pub fn add(words: &ArgMatches, source: &dyn Source, name: Option<&Reference>) -> Result<()> {
    let progress = progress::wanted(words);
    let stored = open(words)?.add(source, name, progress.as_ref())?;
    say_skipped(words, &stored);
    let name = name.map_or_else(|| stored.digest.to_string(), Reference::familiar);
    report::print(&format!("{name} {}\n", stored.digest))
}

/// Says what was left out.
pub fn say_skipped(words: &ArgMatches, stored: &Stored) {
    const NAMED: usize = 8;
    if words.get_flag("quiet") {
        return;
    }
    for what in stored.skipped.iter().take(NAMED) {
        report::say(&format!("left out: {what}"));
    }
    if stored.skipped.len() > NAMED {
        report::say(&format!("left out: {} more", stored.skipped.len() - NAMED));
    }
}
