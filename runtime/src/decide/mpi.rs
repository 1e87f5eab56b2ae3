//! Whether the command gets the host's MPI.

use std::path::Path;

use super::basis::Basis;
use super::wire::{self, Listener};
use super::{Draft, draft, execute, program, value};
use crate::edits::Edits;
use crate::error::Result;
use crate::inject::mpi::{self, Scene};
use crate::plan::Note;
use crate::request::{Mpi, Request};

/// What the command's MPI was decided to be.
pub(super) enum Chosen {
    /// The image's.
    Image,
    /// The host's; and what keeps its ranks from meeting their launcher.
    Host(Option<Note>),
    /// The image's, and nothing is to be said about it.
    Quiet,
}

/// Adds the host's MPI to the edits, if the command is to have it.
///
/// Which one it needs is known where it and its libraries are, so the container is decided once
/// without it.
///
/// # Errors
///
/// Fails if the host's MPI was asked for and cannot take the place of the image's.
pub(super) fn edit(request: &Request, basis: Basis, edits: &mut Edits) -> Result<Chosen> {
    let Some(asked) = &request.mpi else { return Ok(Chosen::Image) };
    let is_host = match asked.value {
        Mpi::Host => true,
        Mpi::Auto if wire::has_launcher(basis.host) => false,
        Mpi::Auto | Mpi::Image => return Ok(Chosen::Image),
        Mpi::Off => return Ok(Chosen::Quiet),
    };
    let Basis { host, image, .. } = basis;
    let Draft { tree, environment, directory: (directory, _), .. } =
        draft(request, basis, &mut edits.clone(), &mut Vec::new())?;
    let library_path =
        value(&environment.variables, "LD_LIBRARY_PATH").unwrap_or_default().to_owned();
    let execute = execute(request, image, &tree, environment.variables, Vec::new()).action;
    if !is_host && wire::note(host, &tree, &directory, &execute).is_none() {
        return Ok(Chosen::Image);
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
    let found = match mpi::find(&scene) {
        Ok(found) => found,
        Err(error) if is_host => return Err(error),
        Err(error) => {
            let text = format!("the host's MPI cannot be used instead: {}", error.cause);
            edits.notes.push(Note::info(text));
            return Ok(Chosen::Image);
        }
    };
    let loader = mpi::loader(request, host);
    let listeners =
        found.libraries.into_iter().map(|library| Listener { loader: &loader, library });
    // Of several, an interpreter takes one that understands.
    let warnings: Vec<Option<Note>> =
        listeners.map(|listener| wire::warning(host, &execute, &listener)).collect();
    let is_understood = warnings.iter().any(Option::is_none);
    if !is_host && !is_understood {
        return Ok(Chosen::Image);
    }
    edits.merge(found.edits);
    Ok(Chosen::Host(warnings.into_iter().flatten().next().filter(|_| !is_understood)))
}
