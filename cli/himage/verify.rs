//! `himage verify`.

use clap::{ArgMatches, Command};
use images::reference::Reference;
use runtime::error::{Error, Result};
use runtime::text::shown;

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
    let store = store::read(words)?;
    let images = match usage::text(words, "NAME|DIGEST")? {
        Some(wanted) => vec![store.find(wanted)?],
        None => store.images()?,
    };
    let progress = progress::wanted(words);
    let mut broken = Vec::new();
    for kept in &images {
        let name = kept.names.first().map_or_else(|| kept.digest.short(), Reference::familiar);
        let verified = store.verify(kept, progress.as_ref())?;
        if verified.flaws.is_empty() {
            report::print(&format!("{name} {} is as it was\n", kept.digest))?;
            continue;
        }
        for flaw in verified.flaws.iter().take(NAMED) {
            report::say(&format!("{name}: {}", shown(flaw)));
        }
        if let Some(more @ 1..) = verified.flaws.len().checked_sub(NAMED) {
            report::say(&format!("{name}: {more} more"));
        }
        broken.push(name);
    }
    match broken.first() {
        None => Ok(()),
        Some(first) => {
            Err(Error::new(format!("verify {}", broken.join(", ")), "it is not what it was")
                .hint(format!("get it anew: himage remove {first} && himage pull {first}")))
        }
    }
}
