//! What the commands have in common: the store, and images added to it.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use images::pack::{self, Form, Options, Place};
use images::progress::Progress;
use images::reference::Reference;
use images::source::Source;
use images::store::{Kept, Store};
use runtime::error::{Error, Result};
use runtime::look::host::Host;
use runtime::look::stored;
use runtime::options::Name;
use runtime::request::Given;
use runtime::text::{quoted, shown};

use crate::{config, convert, packing, progress, report, usage};

/// The store the user chose, to add to it or to take from it.
///
/// # Errors
///
/// Fails if there is none and none can be made.
pub fn open(words: &ArgMatches) -> Result<Store> {
    let store = Store::open(&first(words)?)?.allowing(usage::allowance(words));
    store.notes().iter().for_each(|note| report::say(note));
    Ok(store)
}

/// The same, which is not made if it is not there, and has no images then.
///
/// # Errors
///
/// As [`open`].
pub fn existing(words: &ArgMatches) -> Result<Store> {
    let directory = first(words)?;
    if directory.is_dir() { open(words) } else { Ok(Store::at(&directory)) }
}

/// All stores, to read in them only: the user's choice, and those behind it.
///
/// # Errors
///
/// Fails if nothing says where the first one is.
pub fn read(words: &ArgMatches) -> Result<Vec<Store>> {
    Ok(directories(words)?.iter().map(|directory| Store::at(directory)).collect())
}

/// An image of the first store that has it, and that store.
///
/// # Errors
///
/// Fails if none has it, as the first one does.
pub fn find(words: &ArgMatches, wanted: &str) -> Result<(Store, Kept)> {
    let mut missing = None;
    for store in read(words)? {
        match store.find(wanted) {
            Ok(kept) => return Ok((store, kept)),
            Err(error) => {
                missing.get_or_insert(error);
            }
        }
    }
    Err(missing.unwrap_or_else(|| Error::new(format!("find {wanted}"), "there is no store")))
}

/// The store that is written.
fn first(words: &ArgMatches) -> Result<PathBuf> {
    Ok(directories(words)?.into_iter().next().unwrap_or_default())
}

/// As hrun finds it: the command line, the variable, the configuration files, the home directory.
fn directories(words: &ArgMatches) -> Result<Vec<PathBuf>> {
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
    stored::directories(asked.as_deref(), &host)
}

/// Adds an image to the store and says so, with progress as the user wants it.
///
/// # Errors
///
/// As [`Store::add`].
pub fn add(words: &ArgMatches, source: &dyn Source, name: Option<&Reference>) -> Result<()> {
    let progress = progress::wanted(words);
    let stored = open(words)?.add(source, name, progress.as_ref())?;
    say_skipped(words, &stored.skipped);
    let name = name.map_or_else(|| stored.digest.to_string(), Reference::familiar);
    report::print(&format!("{name} {}\n", stored.digest))
}

/// Writes an image to a place of its own, by a store beside it that is gone afterwards; the ending of
/// the place tells the form. `attempt` is what is said if it fails.
///
/// # Errors
///
/// Fails if something is in the place, as the source fails, and as writing fails.
pub fn write<'a>(
    words: &ArgMatches,
    attempt: &str,
    dest: &Path,
    source: impl FnOnce(&Store, &dyn Progress) -> Result<Box<dyn Source + 'a>>,
) -> Result<()> {
    let (form, compressor) = convert::form_by_name(dest)?;
    let options = Options { compressor, ..packing::options(words)? };
    let place = Place::beside(dest, form, &options).map_err(|mut error| {
        if let Some(dest) = error.attempt.strip_prefix("write ") {
            error.attempt = format!("{attempt} to {dest}");
        }
        error
    })?;
    let store = Store::open(&place.scratch().join("store"))?.allowing(usage::allowance(words));
    let progress = progress::wanted(words);
    let source = source(&store, progress.as_ref())?;
    let mut stored = store.add(source.as_ref(), None, progress.as_ref())?;
    if form == Form::Directory {
        store.hand_over(&stored.digest, &place.product())?;
        place.finish()?;
    } else {
        let image = pack::open(&stored.tree, &place, usage::allowance(words), progress.as_ref())?;
        let _writing = progress.begin(&format!("write {}", quoted(dest)), None);
        stored.skipped.extend(pack::write_at(&image, form, place, &options)?);
    }
    drop(progress);
    say_skipped(words, &stored.skipped);
    report::print(&format!("{} {}\n", quoted(dest), stored.digest))
}

/// Says what was left out.
pub fn say_skipped(words: &ArgMatches, skipped: &[String]) {
    const NAMED: usize = 8;
    if words.get_flag("quiet") {
        return;
    }
    for what in skipped.iter().take(NAMED) {
        report::say(&format!("left out: {}", shown(what)));
    }
    if skipped.len() > NAMED {
        report::say(&format!("left out: {} more", skipped.len() - NAMED));
    }
}
