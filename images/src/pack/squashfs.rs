//! A tree as a squashfs file, by `mksquashfs`.
//!
//! There is no better writer: one in Rust loses extended attributes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use runtime::error::{Error, Result};

use super::walk::walk;
use super::{Compressor, INNER_CONFIG};
use crate::failure::{cause, failed};

/// Where the configuration lies for `mksquashfs` to read.
const CONFIG: &str = "config";

/// Writes a squashfs file that is not there yet; other files are made in a directory.
///
/// All files belong to root in it, as they are the caller's when it is served, and the same tree
/// makes the same file whoever owns it.
pub(super) fn write(
    root: &Path,
    config: Option<&[u8]>,
    dest: &Path,
    scratch: &Path,
    compressor: Option<Compressor>,
) -> Result<()> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|error| failed("read", path, &error));
    // `mksquashfs` leaves out what it cannot read, and says so by a warning.
    let mut newest = 0;
    let (mut has_directory, mut has_config) = (false, false);
    let (directory, _) = INNER_CONFIG.split_once('/').unwrap_or_default();
    walk(root, &mut |path, metadata| {
        newest = newest.max(metadata.mtime());
        has_directory |= path == Path::new(directory);
        has_config |= path == Path::new(INNER_CONFIG);
        Ok(())
    })?;
    let root = real(root)?;
    let scratch = real(scratch)?;
    let product = scratch.join(dest.file_name().unwrap_or_default());
    let mut command = Command::new("mksquashfs");
    command.current_dir(&scratch).arg(&root).arg(&product);
    command.args(["-noappend", "-no-progress", "-quiet", "-all-root", "-exit-on-error"]);
    // The time of the file system itself, and of what has none of its own.
    command.env("SOURCE_DATE_EPOCH", newest.clamp(0, u32::MAX.into()).to_string());
    match compressor.unwrap_or(Compressor::Zstd) {
        Compressor::Zstd => command.args(["-comp", "zstd"]),
        Compressor::Gzip => command.args(["-comp", "gzip"]),
        Compressor::Xz => command.args(["-comp", "xz"]),
        Compressor::Lz4 => command.args(["-comp", "lz4"]),
        Compressor::None => command.args(["-noI", "-noD", "-noF", "-noX"]),
    };
    if let Some(config) = config {
        let file = scratch.join(CONFIG);
        fs::write(&file, config).map_err(|error| failed("write", &file, &error))?;
        if !has_directory {
            command.args(["-p", &format!("{directory} d 755 0 0")]);
        }
        command.args(["-p", &format!("{INNER_CONFIG} f 644 0 0 cat {CONFIG}")]);
        // The one that is given counts. These words are the last.
        if has_config {
            command.arg("-e").arg(root.join(INNER_CONFIG));
        }
    }
    let output = command.output().map_err(|error| missing(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason =
        said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    Err(Error::new("write the squashfs file", format!("mksquashfs fails: {reason}")))
}

fn missing(error: &io::Error) -> Error {
    let error_of = Error::new("run mksquashfs, which writes squashfs files", cause(error));
    match error.kind() {
        io::ErrorKind::NotFound => error_of.hint(
            "install squashfs-tools (apt install squashfs-tools, dnf install squashfs-tools),\n\
             or convert to a directory, which runs as well",
        ),
        _ => error_of,
    }
}
