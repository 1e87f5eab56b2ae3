//! Images that say what they are by scripts: those of Singularity, Apptainer and enroot.
//!
//! Scripts that set variables are named for the image's own shell to source; what of them can be read
//! without a shell is read as well, for what hrun has to know before it is inside. enroot writes one
//! form of script, whose words are read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::contents::Contents;
use super::files::{self, Files, Kind};
use super::metadata::{Config, read_optional, syntax_error};
use crate::envfile::{Assignment, Value, exports};
use crate::error::{Error, Result};

/// Where Singularity keeps its files, since version 2.3.
const SINGULARITY: &str = "/.singularity.d";

/// Where it keeps the scripts.
const ENVIRONMENT: &str = "/.singularity.d/env";

/// The one script of the versions before, and what tells such an image.
const OLD_ENVIRONMENT: &str = "/environment";
const OLD_FILES: [&str; 4] = ["/singularity", "/.run", "/.exec", "/.shell"];

/// What enroot starts an image with, and its variables.
const ENROOT: &str = "/etc/rc";
const ENROOT_ENVIRONMENT: &str = "/etc/environment";
const ENROOT_LOCAL: &str = "/etc/rc.local";

/// Looks for scripts that say how an image is run.
///
/// # Errors
///
/// Fails if there is one that cannot be read.
pub(super) fn inside(tree: &Contents) -> Result<Option<Config>> {
    let is = |path: &str, kind| tree.kind(Path::new(path)) == Ok(Some(kind));
    let is_there = |path: &&str| matches!(tree.kind(Path::new(path)), Ok(Some(_)));
    if is(SINGULARITY, Kind::Directory) {
        return singularity(tree).map(Some);
    }
    if is(OLD_ENVIRONMENT, Kind::File) && OLD_FILES.iter().any(is_there) {
        return old_singularity(tree).map(Some);
    }
    // Enroot keeps its images in squashfs files, and to ask a directory as well would cost every start a
    // system call.
    match tree {
        Contents::Packed(_) => enroot(tree),
        Contents::Directory(_) => Ok(None),
    }
}

/// Reads labels and run script, and finds the scripts of the environment.
fn singularity(tree: &Contents) -> Result<Config> {
    let mut config = Config { source: ENVIRONMENT.to_owned(), ..Config::default() };
    let labels = Path::new("/.singularity.d/labels.json");
    if let Some(json) = read_optional(tree, labels)? {
        config.labels =
            serde_json::from_slice(&json).map_err(|error| syntax_error(labels, &error))?;
    }
    let runscript = "/.singularity.d/runscript";
    if tree.holds(Path::new(runscript)) {
        config.command = vec![OsString::from(runscript)];
    }
    let unreadable =
        |errno| Error::new(format!("list the image's scripts in {ENVIRONMENT}"), errno);
    let directory = files::find(tree, Path::new(ENVIRONMENT)).map_err(unreadable)?;
    let Some((directory, Kind::Directory)) = directory else {
        if tree.holds(Path::new(OLD_ENVIRONMENT)) {
            config.source = OLD_ENVIRONMENT.to_owned();
            add_script(tree, PathBuf::from(OLD_ENVIRONMENT), &mut config)?;
        }
        return Ok(config);
    };
    let is_script = |name: &[u8]| name.ends_with(b".sh") && !name.starts_with(b".");
    // Sorted by their bytes, as a shell does that has been told no language.
    for name in tree.names(&directory, &is_script).map_err(unreadable)? {
        add_script(tree, Path::new(ENVIRONMENT).join(name), &mut config)?;
    }
    Ok(config)
}

/// An image of Singularity before 2.3.
fn old_singularity(tree: &Contents) -> Result<Config> {
    let mut config = Config { source: OLD_ENVIRONMENT.to_owned(), ..Config::default() };
    if tree.holds(Path::new("/singularity")) {
        config.command = vec![OsString::from("/singularity")];
    }
    add_script(tree, PathBuf::from(OLD_ENVIRONMENT), &mut config)?;
    Ok(config)
}

/// Adds a script, and what can be read of it. A directory or a link that leads nowhere is none.
fn add_script(tree: &Contents, path: PathBuf, config: &mut Config) -> Result<()> {
    if !matches!(files::find(tree, &path), Ok(Some((_, Kind::File)))) {
        return Ok(());
    }
    if let Some(text) = read_optional(tree, &path)? {
        let exports = exports::read(&text);
        config.environment.extend(exports.assignments);
        let name = path.file_name().unwrap_or_default().display();
        config.skipped.extend(exports.skipped.iter().map(|line| format!("{name}: {line}")));
        config.scripts.push(path);
    }
    Ok(())
}

/// An image that `enroot import` has made: of what the image said, enroot writes the variables to
/// `/etc/environment`, and directory, entry point and command as a script, `/etc/rc`.
fn enroot(tree: &Contents) -> Result<Option<Config>> {
    // Any system may have a file of that name, and keep it closed.
    let script = match files::read(tree, Path::new(ENROOT)) {
        Ok(Some(script)) => script,
        Ok(None) | Err(Errno::EACCES | Errno::EISDIR | Errno::ELOOP | Errno::EINVAL) => {
            return Ok(None);
        }
        Err(errno) => return Err(Error::new(format!("read the image's {ENROOT}"), errno)),
    };
    let Some(start) = Start::read(&script) else { return Ok(None) };
    let mut config =
        Config { source: ENROOT.to_owned(), directory: start.directory, ..Config::default() };
    if let Some(lines) = read_optional(tree, Path::new(ENROOT_ENVIRONMENT))? {
        config.source = ENROOT_ENVIRONMENT.to_owned();
        config.environment = variables(&lines);
    }
    let local = read_optional(tree, Path::new(ENROOT_LOCAL))?.unwrap_or_default();
    let is_code = |line: &[u8]| !line.is_empty() && !line.starts_with(b"#");
    let has_code = local.split(|byte| *byte == b'\n').any(|line| is_code(line.trim_ascii()));
    config.command = match start.command {
        Some(command) if !has_code => command,
        // The script knows.
        _ => vec!["/bin/sh".into(), ENROOT.into()],
    };
    Ok(Some(config))
}

/// The variables of `/etc/environment`, as they were in the image's configuration: a line that has no
/// name goes on with the value before.
fn variables(lines: &[u8]) -> Vec<Assignment> {
    let mut found: Vec<(OsString, Vec<u8>, usize)> = Vec::new();
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines).split(|byte| *byte == b'\n');
    for (index, line) in lines.enumerate() {
        let equals = line.iter().position(|byte| *byte == b'=').unwrap_or(0);
        let name = &line[..equals];
        let is_name = |name: &[u8]| {
            name.first().is_some_and(|byte| !byte.is_ascii_digit())
                && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
        };
        if is_name(name) {
            let name = OsString::from_vec(name.to_vec());
            found.push((name, line[equals + 1..].to_vec(), index + 1));
        } else if let Some((_, value, _)) = found.last_mut() {
            value.push(b'\n');
            value.extend_from_slice(line);
        }
    }
    let assignment = |(name, value, line): (OsString, Vec<u8>, usize)| Assignment {
        name,
        value: Value::literal(&value),
        line,
    };
    found.into_iter().map(assignment).collect()
}

/// What enroot's script says.
struct Start {
    directory: Option<PathBuf>,
    /// Entry point and command; nothing if only a shell understands them.
    command: Option<Vec<OsString>>,
}

impl Start {
    /// Reads the script, if it has enroot's form.
    fn read(script: &[u8]) -> Option<Self> {
        let mut lines = script.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let directory = lines.find_map(|line| {
            line.strip_prefix(b"cd \"")?.strip_suffix(b"\" && unset OLDPWD || exit 1")
        })?;
        lines.find(|line| *line == b"if [ $# -gt 0 ]; then")?;
        lines.find(|line| *line == b"else")?;
        let command = lines.find_map(|line| line.strip_prefix(b"exec "))?;
        let directory = PathBuf::from(OsString::from_vec(directory.to_vec()));
        Some(Start {
            directory: Some(directory).filter(|path| path.is_absolute()),
            command: words(command).filter(|words| !words.is_empty()),
        })
    }
}

/// Words as bash quotes them: `'it'\''s'`. Nothing if there is anything else.
fn words(line: &[u8]) -> Option<Vec<OsString>> {
    let (mut words, mut rest) = (Vec::new(), line.trim_ascii());
    while !rest.is_empty() {
        let mut word = Vec::new();
        while let Some(byte) = rest.first().filter(|byte| **byte != b' ') {
            match byte {
                b'\'' => {
                    let end = rest[1..].iter().position(|byte| *byte == b'\'')? + 1;
                    word.extend_from_slice(&rest[1..end]);
                    rest = &rest[end + 1..];
                }
                b'\\' => {
                    word.push(*rest.get(1)?);
                    rest = &rest[2..];
                }
                byte if byte.is_ascii_alphanumeric() || b"/._-+:=@%,".contains(byte) => {
                    word.push(*byte);
                    rest = &rest[1..];
                }
                _ => return None,
            }
        }
        words.push(OsString::from_vec(word));
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const RC: &[u8] = b"# maintainer NVIDIA\n\nmkdir -p \"/work\" 2> /dev/null\n\
        cd \"/work\" && unset OLDPWD || exit 1\n\nif [ -s /etc/rc.local ]; then\n    . /etc/rc.local\nfi\n\n\
        if [ $# -gt 0 ]; then\n    exec '/opt/entry' \"$@\"\nelse\n    exec '/opt/entry' 'it'\\''s' ''\nfi\n";

    #[test]
    fn enroots_script_is_understood() {
        let start = Start::read(RC).expect("is enroot's");
        assert_eq!(start.directory.as_deref(), Some(Path::new("/work")));
        let words = ["/opt/entry", "it's", ""].map(OsString::from);
        assert_eq!(start.command.as_deref(), Some(&words[..]));
        assert!(Start::read(b"#!/bin/sh\ncd /\nexec getty\n").is_none());
    }

    #[test]
    fn what_only_bash_quotes_is_left_to_it() {
        assert_eq!(words(b"'a' $'b\\n'"), None);
        assert_eq!(words(b"'a' \"$@\""), None);
    }

    #[test]
    fn a_value_may_have_lines() {
        let read = variables(b"A=1\nB=x\n  y\n\nC=\n");
        let shown = |read: &Assignment| {
            (read.name.as_bytes().to_vec(), read.value.expand(&|_| None).into_vec())
        };
        let read: Vec<_> = read.iter().map(shown).collect();
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(read, [pair(b"A", b"1"), pair(b"B", b"x\n  y\n"), pair(b"C", b"")]);
    }
}
