//! A tree as a squashfs file, by `mksquashfs`.
//!
//! There is no better writer: one in Rust loses extended attributes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use runtime::error::{Error, Result};

use super::walk::walk;
use super::{Compressor, INNER_CONFIG, Options, machine};
use crate::failure::{cause, failed};

/// Where the configuration lies for `mksquashfs` to read.
const CONFIG: &str = "config";
/// Where the modes of directories lie that are everybody's in an image.
const MODES: &str = "modes";

/// A tree three times as quick to write, and a tenth larger, than by the level `mksquashfs` would take.
const ZSTD_LEVEL: &str = "3";

/// The version from which `mksquashfs` knows `-quiet` and zstd.
const KNOWS_ZSTD: (u32, u32) = (4, 4);

/// Writes a squashfs file that is not there yet; other files are made in its directory.
///
/// All files belong to root in it, as they are the caller's when it is served, and the same tree
/// makes the same file whoever owns it.
pub(super) fn write(
    root: &Path,
    config: Option<&[u8]>,
    dest: &Path,
    options: &Options,
) -> Result<()> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|error| failed("read", path, &error));
    let scratch = real(dest.parent().unwrap_or(Path::new(".")))?;
    let packing = Packing {
        tree: look(root)?,
        root: real(root)?,
        product: scratch.join(dest.file_name().unwrap_or_default()),
        scratch,
        has_config: config.is_some(),
        options,
    };
    if let Some(config) = config {
        let file = packing.scratch.join(CONFIG);
        fs::write(&file, config).map_err(|error| failed("write", &file, &error))?;
    }
    let file = packing.scratch.join(MODES);
    fs::write(&file, &packing.tree.modes).map_err(|error| failed("write", &file, &error))?;
    let version = version()?;
    let wanted = options.compressor.unwrap_or(match version < KNOWS_ZSTD {
        true => Compressor::Gzip,
        false => Compressor::Zstd,
    });
    let mut compressor = wanted;
    let mut output = packing.run(version, compressor)?;
    if lacks_zstd(&output) && options.compressor.is_none() {
        compressor = Compressor::Gzip;
        // It ends before it has made the file.
        output = packing.run(version, compressor)?;
    }
    if compressor == Compressor::Gzip && options.compressor.is_none() && output.status.success() {
        options.note("mksquashfs has no zstd here: the file is compressed by gzip");
    }
    match output.status.success() {
        true => Ok(()),
        false => Err(refused(&output)),
    }
}

/// What is known of a tree before it is packed.
struct Tree {
    /// The time of the newest file.
    newest: i64,
    has_directory: bool,
    has_config: bool,
    /// Directories that are everybody's, as `mksquashfs` reads them.
    modes: Vec<u8>,
}

/// Looks at all files. `mksquashfs` leaves out what it cannot read, and says so by a warning only.
fn look(root: &Path) -> Result<Tree> {
    let (directory, _) = INNER_CONFIG.split_once('/').unwrap_or_default();
    let mut tree = Tree { newest: 0, has_directory: false, has_config: false, modes: Vec::new() };
    walk(root, &mut |path, metadata| {
        tree.newest = tree.newest.max(metadata.mtime());
        tree.has_directory |= path == Path::new(directory);
        tree.has_config |= path == Path::new(INNER_CONFIG);
        if let Some(mode) = super::everybodys(metadata)
            && let Some(name) = escaped(path.as_os_str())
        {
            tree.modes.extend_from_slice(&name);
            tree.modes.extend_from_slice(format!(" m {mode:o} 0 0\n").as_bytes());
        }
        Ok(())
    })?;
    Ok(tree)
}

/// A name as `mksquashfs` reads it in a file of its own: a line, with signs that mean something
/// taken by their letter. Nothing for names that have no such spelling, and for the root itself.
fn escaped(name: &OsStr) -> Option<Vec<u8>> {
    let mut escaped = Vec::new();
    for byte in name.as_bytes() {
        match byte {
            b'\n' => return None,
            byte if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) => {}
            _ => escaped.push(b'\\'),
        }
        escaped.push(*byte);
    }
    (!escaped.is_empty()).then_some(escaped)
}

/// What is to be packed, and where.
struct Packing<'a> {
    tree: Tree,
    root: PathBuf,
    product: PathBuf,
    scratch: PathBuf,
    has_config: bool,
    options: &'a Options,
}

impl Packing<'_> {
    fn run(&self, version: (u32, u32), compressor: Compressor) -> Result<Output> {
        let mut command = Command::new("mksquashfs");
        command.current_dir(&self.scratch).arg(&self.root).arg(&self.product);
        command.args(["-noappend", "-no-progress", "-all-root", "-exit-on-error"]);
        if version >= KNOWS_ZSTD {
            command.arg("-quiet");
        }
        let processors = self.options.processors.unwrap_or_else(machine::processors);
        command.args(["-processors", &processors.to_string()]);
        if let Some(bytes) = self.options.memory.or_else(machine::memory) {
            command.args(["-mem", &format!("{}M", (bytes >> 20).max(1))]);
        }
        // The time of the file system itself, and of what has none of its own.
        let newest = self.tree.newest.clamp(0, u32::MAX.into());
        command.env("SOURCE_DATE_EPOCH", newest.to_string());
        match compressor {
            Compressor::Zstd => command.args(["-comp", "zstd", "-Xcompression-level", ZSTD_LEVEL]),
            Compressor::Gzip => command.args(["-comp", "gzip"]),
            Compressor::Xz => command.args(["-comp", "xz"]),
            Compressor::Lz4 => command.args(["-comp", "lz4"]),
            Compressor::None => command.args(["-noI", "-noD", "-noF", "-noX"]),
        };
        if !self.tree.modes.is_empty() {
            command.args(["-pf", MODES]);
        }
        if self.has_config {
            let (directory, _) = INNER_CONFIG.split_once('/').unwrap_or_default();
            if !self.tree.has_directory {
                command.args(["-p", &format!("{directory} d 755 0 0")]);
            }
            command.args(["-p", &format!("{INNER_CONFIG} f 644 0 0 cat {CONFIG}")]);
            // The one that is given counts. These words are the last.
            if self.tree.has_config {
                command.arg("-e").arg(self.root.join(INNER_CONFIG));
            }
        }
        command.output().map_err(|error| missing(&error))
    }
}

/// Which `mksquashfs` there is; one that does not say is taken for a new one.
fn version() -> Result<(u32, u32)> {
    let output = Command::new("mksquashfs").arg("-version").output();
    let output = output.map_err(|error| missing(&error))?;
    Ok(version_in(&String::from_utf8_lossy(&output.stdout)).unwrap_or((u32::MAX, 0)))
}

fn version_in(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn lacks_zstd(output: &Output) -> bool {
    !output.status.success()
        && String::from_utf8_lossy(&output.stderr).contains("\"zstd\" is not supported")
}

fn refused(output: &Output) -> Error {
    let attempt = "write the squashfs file";
    if let Some(number) = output.status.signal() {
        let name = Signal::try_from(number).map_or("a signal", Signal::as_str);
        let reason = format!("mksquashfs was killed by {name} ({number})");
        let hint = "if the memory it may use was exceeded, let it use less: --memory 512M";
        return Error::new(attempt, reason)
            .hint_if_some((number == Signal::SIGKILL as i32).then(|| hint.to_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = reason_in(&said).unwrap_or("it does not say why");
    Error::new(attempt, format!("mksquashfs fails: {reason}"))
}

/// The line that says why it failed: it may be followed by how the program is used, or by that it failed.
fn reason_in(said: &str) -> Option<&str> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    const MARKS: [&str; 5] =
        [" because ", "FATAL ERROR", "ERROR", "nknown option", "nvalid option"];
    let marked = MARKS.iter().find_map(|mark| lines().find(|line| line.contains(mark)));
    let is_usage = || lines().any(|line| line.starts_with("SYNTAX:") || line.starts_with("-comp"));
    let line = marked.or_else(|| if is_usage() { lines().next() } else { lines().next_back() })?;
    Some(line.trim_start_matches("FATAL ERROR:").trim_start_matches("ERROR:").trim())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version_in("mksquashfs version 4.3 (2014/05/12)\ncopyright"), Some((4, 3)));
        assert_eq!(version_in("mksquashfs version 4.5.1 (2022/03/17)"), Some((4, 5)));
        assert_eq!(version_in("mksquashfs version 4.6-a (2023)"), Some((4, 6)));
        assert_eq!(version_in("busybox"), None);
    }

    #[test]
    fn the_line_that_says_why_is_found() {
        for (said, reason) in [
            (
                "mksquashfs: -quiet unknown option\n\nSYNTAX:mksquashfs source\n\txz\n",
                "mksquashfs: -quiet unknown option",
            ),
            (
                "Write failed because No space left on device\nFATAL ERROR:Failed to write to output filesystem\n",
                "Write failed because No space left on device",
            ),
            ("\nFATAL ERROR: Out of memory (cache)\n", "Out of memory (cache)"),
            ("one\ntwo\n", "two"),
        ] {
            assert_eq!(reason_in(said), Some(reason));
        }
        assert_eq!(reason_in("\n"), None);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped(OsStr::new("var/tmp")).unwrap(), b"var/tmp");
        assert_eq!(escaped(OsStr::new("a b\"c")).unwrap(), b"a\\ b\\\"c");
        assert!(escaped(OsStr::new("")).is_none() && escaped(OsStr::new("a\nb")).is_none());
    }
}
