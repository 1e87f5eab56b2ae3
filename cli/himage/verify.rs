//! `himage verify`.

use std::path::PathBuf;

use clap::{ArgMatches, Command};
use images::reference::Reference;
use images::store::WRITABLE;
use runtime::error::{Error, Result};
use runtime::text::{quoted, shown};

use crate::{progress, report, store, usage};

/// The words of `himage verify`.
pub fn command() -> Command {
    Command::new("verify")
        .about("Compares images of the store with their digests")
        .long_about(
            "Compares the layers of an image with their digests, and every file that was unpacked \
             with the list made then; of all images, if none is named.",
        )
        .arg(usage::word("NAME|DIGEST", "The image"))
}

/// How many flaws of an image are named.
const NAMED: usize = 20;

/// Runs it.
///
/// # Errors
///
/// Fails if an image is not what it should be.
pub fn run(words: &ArgMatches) -> Result<()> {
    let mut images = Vec::new();
    match usage::text(words, "NAME|DIGEST")? {
        Some(wanted) => images.push(store::find(words, wanted)?),
        None => {
            for store in store::read(words)? {
                images.extend(store.images()?.into_iter().map(|kept| (store.clone(), kept)));
            }
        }
    }
    let progress = progress::wanted(words);
    let (mut broken, mut open, mut partial) = (Vec::new(), Vec::new(), Vec::new());
    for (store, kept) in &images {
        let name = kept.names.first().map_or_else(|| kept.digest.short(), Reference::familiar);
        let verified = store.verify(kept, progress.as_ref())?;
        let unread = verified.unread.iter().map(|path| format!("{path} cannot be read"));
        say(&name, &unread.collect::<Vec<_>>());
        say(&name, &verified.flaws);
        match (verified.flaws.is_empty(), verified.unread.is_empty()) {
            (true, true) => report::print(&format!("{name} {} is as it was\n", kept.digest))?,
            (true, false) => partial.push(name),
            (false, _) if verified.flaws.iter().all(|flaw| flaw.ends_with(WRITABLE)) => {
                open.push((name, kept.tree.clone()));
            }
            (false, _) => broken.push(name),
        }
    }
    conclude(&broken, &open, &partial)
}

/// Names what is wrong with an image, or the most of it.
fn say(name: &str, lines: &[String]) {
    for line in lines.iter().take(NAMED) {
        report::say(&format!("{name}: {}", shown(line)));
    }
    if let Some(more @ 1..) = lines.len().checked_sub(NAMED) {
        report::say(&format!("{name}: {more} more"));
    }
}

/// The one error: the worst that was found.
fn conclude(broken: &[String], open: &[(String, PathBuf)], partial: &[String]) -> Result<()> {
    let error =
        |names: &[String], reason: &str| Error::new(format!("verify {}", names.join(", ")), reason);
    if let Some(first) = broken.first() {
        return Err(error(broken, "it is not what it was")
            .hint(format!("get it anew: himage remove {first} && himage pull {first}")));
    }
    if let Some((_, tree)) = open.first() {
        let names: Vec<String> = open.iter().map(|(name, _)| name.clone()).collect();
        return Err(error(&names, "it is as it was, and others may change it")
            .hint(format!("close it to them: chmod -R go-w {}", quoted(tree))));
    }
    match partial {
        [] => Ok(()),
        _ => Err(error(partial, "you may not read all of it, and what you may is as it was")
            .hint("let the store's owner verify it, or share it: himage share")),
    }
}
