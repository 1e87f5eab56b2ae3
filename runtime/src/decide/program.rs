//! The file that a command is.

use std::path::{Path, PathBuf};

use super::tree::Tree;
use crate::look::files::Kind;
use crate::plan::Action;

/// Where the command's file is inside, by its path without symbolic links; nothing if there is none.
pub(super) fn find(tree: &Tree, execute: &Action, start: &Path) -> Option<PathBuf> {
    let Action::Execute { arguments, search, .. } = execute else { return None };
    let command = arguments.first()?.as_path();
    let file = |path: PathBuf| match tree.find(&path)? {
        (path, Kind::File) => Some(path),
        _ => None,
    };
    if command.as_os_str().as_encoded_bytes().contains(&b'/') {
        return file(start.join(command));
    }
    search.iter().find_map(|directory| file(start.join(directory.as_path()).join(command)))
}
