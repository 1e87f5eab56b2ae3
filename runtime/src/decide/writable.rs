//! Refuses to write to what is no image, or is not the caller's alone to change.
//!
//! With `--write` missing mount points are made in the image, so all that can be refused is refused
//! before: the word that was taken for IMAGE may be a directory of the user's (docker's `-w DIR`).

use std::path::Path;

use nix::errno::Errno;

use super::program;
use super::tree::Tree;
use crate::error::{Error, Result, STATUS_NOT_FOUND};
use crate::hints;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::look::stored;
use crate::plan::Action;
use crate::request::{Asked, Request, Write};
use crate::text::quoted;

/// Checks that an image may be written to, if that was asked for.
///
/// # Errors
///
/// Fails on an image that a store keeps, and on a directory that does not look like an image.
pub(super) fn check(request: &Request, host: &Host, image: &Image) -> Result<()> {
    let Some(asked) = asked(request).filter(|_| image.files.packed().is_none()) else {
        return Ok(());
    };
    let named = quoted(&request.image);
    if let Some(store) = stored::holding(&image.root, host) {
        let reason =
            format!("it is kept in the store {}, for all its names and users", quoted(&store));
        return Err(Error::new(format!("write to the image {named}"), reason)
            .asked_by(&asked.origin)
            .hint(format!(
                "write to a copy: himage convert {named} DIR && hrun --write DIR ...\n\
                 or keep what is written beside it: hrun --overlay DIR {named} ..."
            )));
    }
    if image.is_root() {
        return Ok(());
    }
    let image = quoted(&image.root);
    let reason = "it is no image: it has no /bin/sh, /usr/bin or /etc/passwd, and no metadata";
    Err(Error::new(format!("write to {image}"), reason).asked_by(&asked.origin).hint(format!(
        "{}\nif it is to be an image all the same: mkdir -p {image}/usr/bin",
        not_meant(request)
    )))
}

/// Checks that the command is there, where something would be made in the image or a layer before
/// that is found out.
///
/// # Errors
///
/// Fails on a command that is nowhere.
pub(super) fn check_command(
    request: &Request,
    image: &Image,
    tree: &Tree,
    execute: &Action,
    start: &Path,
) -> Result<()> {
    if request.write.is_none() || !program::is_nowhere(tree, execute, start) {
        return Ok(());
    }
    let hint = match image.is_root() {
        true => hints::NO_PROGRAM.to_owned(),
        false => perhaps_no_image(request, image),
    };
    Err(Error::new(execute.describe(), Errno::ENOENT).hint(hint).status(STATUS_NOT_FOUND))
}

/// What to say where a command is not in an image that by its names is perhaps none; of those
/// nothing is asked that is not known already.
pub fn if_no_image(request: &Request, image: &Image) -> Option<String> {
    (!image.may_be_root()).then(|| perhaps_no_image(request, image))
}

fn perhaps_no_image(request: &Request, image: &Image) -> String {
    let (image, meant) = (quoted(&image.root), not_meant(request));
    format!("{}\nor {image} is perhaps no image. {meant}", hints::NO_PROGRAM)
}

/// Who asked for the image to be written to.
fn asked(request: &Request) -> Option<&Asked<Write>> {
    request.write.as_ref().filter(|asked| asked.value == Write::Image)
}

/// What the word that was taken for IMAGE may have been meant for.
fn not_meant(request: &Request) -> String {
    let image = request.command.first().map_or("IMAGE".to_owned(), |word| quoted(Path::new(word)));
    let directory = quoted(&request.image);
    format!(
        "IMAGE is the first word after the options; if {directory} is where to start: hrun --cd \
         {directory} {image} ..."
    )
}
