//! Whether the command gets the host's MPI.

use std::path::Path;

use super::basis::Basis;
use super::{Draft, draft, execute, program, value, wire};
use crate::edits::Edits;
use crate::error::Result;
use crate::inject::mpi::{self, Scene};
use crate::plan::Note;
use crate::request::{Mpi, Request};

/// Adds the host's MPI to the edits, if the command is to have it.
///
/// Which one it needs is known where it and its libraries are, so the container is decided once
/// without it.
///
/// # Errors
///
/// Fails if the host's MPI was asked for and cannot take the place of the image's.
pub(super) fn edit(request: &Request, basis: Basis, edits: &mut Edits) -> Result<()> {
    let Some(asked) = &request.mpi else { return Ok(()) };
    let is_host = asked.value == Mpi::Host;
    if !is_host && (asked.value != Mpi::Auto || !wire::has_launcher(basis.host)) {
        return Ok(());
    }
    let Basis { host, image, .. } = basis;
    let Draft { tree, environment, directory: (directory, _), .. } =
        draft(request, basis, &mut edits.clone(), &mut Vec::new())?;
    let library_path = value(&environment, "LD_LIBRARY_PATH").unwrap_or_default().to_owned();
    let execute = execute(request, image, &tree, environment).action;
    if !is_host && wire::is_understood(basis, &tree, &directory, &execute) {
        return Ok(());
    }
    let program = program::find(&tree, &execute, &directory);
    let is_shown = |path: &Path| {
        tree.find(path).and_then(|(inside, _)| tree.on_host(&inside)).is_some_and(
            |shown| matches!(host.find(path), Ok(Some((on_host, _))) if on_host == shown),
        )
    };
    let scene = Scene {
        request,
        host,
        image,
        inside: &tree,
        is_shown: &is_shown,
        program: program.as_deref(),
        library_path: &library_path,
        origin: &asked.origin,
    };
    match mpi::find(&scene) {
        Ok(found) => edits.merge(found),
        Err(error) if is_host => return Err(error),
        Err(error) => {
            let text = format!("the host's MPI would understand the launcher: {}", error.cause);
            edits.notes.push(Note::info(text));
        }
    }
    Ok(())
}
