//! The file that a command is.

use std::path::{Path, PathBuf};

use super::tree::Tree;
use crate::look::files::{self, Kind};
use crate::plan::Action;
use crate::text::Text;

/// Whether there is nothing at any path that the command may mean; where that cannot be told, there
/// may be.
pub(super) fn is_nowhere(tree: &Tree, execute: &Action, start: &Path) -> bool {
    candidates(execute, start).iter().all(|path| files::find(tree, path) == Ok(None))
}

/// Where the command's file is inside, by its path without symbolic links; nothing if there is none.
pub(super) fn find(tree: &Tree, execute: &Action, start: &Path) -> Option<PathBuf> {
    candidates(execute, start).iter().find_map(|path| match tree.find(path)? {
        (path, Kind::File) => Some(path),
        _ => None,
    })
}

/// The paths that the command may mean.
fn candidates(execute: &Action, start: &Path) -> Vec<PathBuf> {
    let Action::Execute { arguments, search, .. } = execute else { return Vec::new() };
    let Some(command) = arguments.first().map(Text::as_path) else { return Vec::new() };
    if command.as_os_str().as_encoded_bytes().contains(&b'/') {
        return vec![start.join(command)];
    }
    search.iter().map(|directory| start.join(directory.as_path()).join(command)).collect()
}
