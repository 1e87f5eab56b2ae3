//! `himage remove`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use images::store::Removed;
use runtime::error::{Error, Result};

use crate::{progress, report, store, usage};

/// The words of `himage remove`.
pub fn command() -> Command {
    Command::new("remove")
        .visible_alias("rm")
        .about("Removes images from the store")
        .long_about(
            "Removes a name; with the last name of an image, or by its digest, the image itself, and \
             the layers no other image has. What a container runs that was started from it is not \
             looked at.",
        )
        .arg(
            usage::word("NAME|DIGEST", "What to remove; of a digest, six digits or more")
                .num_args(0..)
                .required_unless_present("unnamed"),
        )
        .arg(
            Arg::new("unnamed")
                .long("unnamed")
                .action(ArgAction::SetTrue)
                .help("Removes the images that have no name any more"),
        )
}

/// Runs it.
///
/// # Errors
///
/// Fails at the first image that is not there or cannot be removed.
pub fn run(words: &ArgMatches) -> Result<()> {
    let store = store::existing(words)?;
    let progress = progress::wanted(words);
    for word in words.get_many::<std::ffi::OsString>("NAME|DIGEST").into_iter().flatten() {
        let wanted = word.to_str().ok_or_else(|| {
            Error::new(format!("find {}", word.display()), "no name of an image is like that")
        })?;
        say(&store.remove(wanted, progress.as_ref())?)?;
    }
    if words.get_flag("unnamed") {
        say(&store.remove_unnamed(progress.as_ref())?)?;
    }
    Ok(())
}

fn say(removed: &Removed) -> Result<()> {
    let mut text = String::new();
    for name in &removed.names {
        text += &format!("removed {}\n", name.familiar());
    }
    for digest in &removed.trees {
        text += &format!("removed {digest}\n");
    }
    if removed.bytes > 0 {
        text += &format!("removed layers of {}\n", report::size(removed.bytes));
    }
    if removed.is_partial {
        report::say(
            "another himage is at work in the store: layers that are left over go with the next removal",
        );
    }
    report::print(&text)
}
