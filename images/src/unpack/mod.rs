//! Unpacks layers.

use std::io::Read;
use std::path::Path;

use runtime::error::{Error, Result};

/// What came of the layers that were unpacked into one tree.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was left out, and why, a line each.
    pub skipped: Vec<String>,
    /// Files made.
    pub files: u64,
    /// Bytes written to them.
    pub bytes: u64,
}

/// Unpacks a layer, compressed or not, over what lower layers have put there.
///
/// # Errors
///
/// Fails as reading and writing fail, and if the layer would leave the tree.
pub fn layer(_stream: &mut dyn Read, root: &Path, _report: &mut Report) -> Result<()> {
    Err(Error::new(format!("unpack a layer into {}", root.display()), "not written yet"))
}

/// Does what had to wait for the last layer: modes and times of directories.
///
/// # Errors
///
/// Fails as changing them fails.
pub fn finish(_root: &Path, _report: &mut Report) -> Result<()> {
    Ok(())
}
