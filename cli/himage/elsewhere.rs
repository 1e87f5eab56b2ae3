//! Images from registries that are written to a place of their own, by way of the store.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use images::digest::Digest;
use images::own;
use images::pack::{self, Form, Options, Place, held_config};
use images::progress::Progress;
use images::said;
use images::source::Source;
use images::store::{Lock, Outside, Store};
use images::unpack::Allowance;
use runtime::error::{Error, Result};
use runtime::text::quoted;

use crate::{convert, packing, progress, report, store, usage};

/// Writes an image to a place, which tells its form. What comes is kept in the store until it is done, so
/// that it goes on where it was after an interruption; what the store has is taken from there. Of several
/// commands for one place the first does the work, and the others find it done.
///
/// # Errors
///
/// Fails if something else is in the place, as the source fails, and as writing fails.
pub fn write(words: &ArgMatches, dest: &Path, source: &dyn Source) -> Result<()> {
    let (form, compressor) = convert::form_by_name(dest)?;
    let options = Options { compressor, ..packing::options(words)? };
    is_free_or_image(dest, form)?;
    let progress = progress::wanted(words);
    let kept = match reserve(words, dest, progress.as_ref()) {
        Ok(kept) => Some(kept),
        Err(error) if words.contains_id("store") => return Err(error),
        Err(error) => {
            report::say(&format!(
                "the store cannot be used ({}): what comes is kept beside {}, and is gone if this is interrupted",
                error.cause,
                quoted(dest)
            ));
            None
        }
    };
    is_free_or_image(dest, form)?;
    if held_config(dest).is_some() {
        return is_there(words, dest, source);
    }
    let place = Place::beside(dest, form, &options)?;
    let store = match &kept {
        Some((store, _)) => store.clone(),
        None => Store::open(&place.scratch().join("store"))?.allowing(usage::allowance(words)),
    };
    let outside =
        store.unpack_outside(source, &place.scratch().join("image"), progress.as_ref())?;
    let digest = outside.digest;
    let allowance = usage::allowance(words);
    match put(&outside, (form, &options), dest, place, allowance, progress.as_ref()) {
        Ok(skipped) => {
            drop(progress);
            store::say_skipped(words, &outside.skipped);
            store::say_skipped(words, &skipped);
            store.forget(outside);
            said(dest, &digest)
        }
        // Another command, with another store, was there first.
        Err(_) if held_config(dest).is_some() => is_there(words, dest, source),
        Err(error) => Err(error),
    }
}

/// The store, and the place in it that keeps others from making the same.
fn reserve(words: &ArgMatches, dest: &Path, progress: &dyn Progress) -> Result<(Store, Lock)> {
    let store = store::open(words)?;
    let wait = |holder: &str| {
        progress.note(&format!("waiting for {holder}, which is writing {}", quoted(dest)));
    };
    let lock = store.lock_place(&whole(dest), &wait)?;
    Ok((store, lock))
}

/// The place by a name that is the same wherever it is said.
fn whole(dest: &Path) -> PathBuf {
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    match (parent, dest.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => dest.to_owned(),
    }
}

/// Makes the image in its form and puts it in its place; gives back what was left out.
fn put(
    outside: &Outside,
    (form, options): (Form, &Options),
    dest: &Path,
    place: Place,
    allowance: Allowance,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    let _writing = progress.begin(&format!("write {}", quoted(dest)), None);
    if form == Form::Directory && outside.is_own {
        place.take(&outside.tree)?;
        return place.finish().map(|()| Vec::new());
    }
    let image = pack::open(&outside.tree, &place, allowance, progress)?;
    pack::write_at(&image, form, place, options)
}

/// What is in the place may be the image that is wanted.
fn is_there(words: &ArgMatches, dest: &Path, source: &dyn Source) -> Result<()> {
    let image = source.image()?;
    let plain = said::strict_configuration(&image.config)?;
    if held_config(dest).is_some_and(|held| held == image.config || held == plain) {
        if !words.get_flag("quiet") {
            report::say(&format!("{} is there already", quoted(dest)));
        }
        return said(dest, &Digest::of(&image.manifest_bytes));
    }
    Err(in_the_way(dest, "another image is there already")
        .hint(format!("choose another name, or move it away: mv {0} {0}.old", quoted(dest))))
}

/// Fails if something else than an image is in the place: nobody is told to remove that.
fn is_free_or_image(dest: &Path, form: Form) -> Result<()> {
    // An empty directory is filled.
    let is_empty = || own::names(dest).is_ok_and(|names| names.is_empty());
    let is_free = dest.symlink_metadata().is_err() || form.is_directory() && is_empty();
    if is_free || held_config(dest).is_some() {
        return Ok(());
    }
    Err(in_the_way(dest, "something is there already that is no image of himage's")
        .hint("choose another name"))
}

fn in_the_way(dest: &Path, reason: &str) -> Error {
    Error::new(format!("pull to {}", quoted(dest)), reason)
}

fn said(dest: &Path, digest: &Digest) -> Result<()> {
    report::print(&format!("{} {digest}\n", quoted(dest)))
}
