//! Why a program did not start: what its first bytes ask for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::elf::{Object, Source};
use crate::sys::file::File;

/// What is at the path of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Something is there.
    pub exists: bool,
    /// It is a directory.
    pub is_directory: bool,
    /// Somebody may execute it.
    pub has_execute_bit: bool,
    /// It lies on a mount that allows no execution.
    pub is_on_noexec: bool,
    /// Its file format.
    pub format: Format,
    /// The interpreter it names.
    pub interpreter: Option<Interpreter>,
}

/// The program that a script or an ELF file wants to be run by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its path.
    pub path: PathBuf,
    /// Something is there.
    pub exists: bool,
    /// Somebody may execute it.
    pub has_execute_bit: bool,
}

/// The file format of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An ELF file for a machine, by its number in elf(5).
    Elf {
        /// `EM_X86_64` is 62, `EM_AARCH64` is 183.
        machine: u16,
    },
    /// Starts with `#!`.
    Script,
    /// Starts with `#!` and its first line ends in a carriage return.
    DosScript,
    /// Anything else.
    #[default]
    Other,
}

impl Program {
    /// Looks at a path, as seen by this process.
    pub fn look(path: &Path) -> Self {
        let Ok(metadata) = path.metadata() else {
            return Program::default();
        };
        let mut program = Program {
            exists: true,
            is_directory: metadata.is_dir(),
            has_execute_bit: metadata.mode() & 0o111 != 0,
            is_on_noexec: statvfs(path)
                .is_ok_and(|mount| mount.flags().contains(FsFlags::ST_NOEXEC)),
            ..Program::default()
        };
        if metadata.is_file() {
            program.look_inside(path);
        }
        program
    }

    fn look_inside(&mut self, path: &Path) {
        let Ok(file) = File::open_regular(path) else { return };
        let mut start = vec![0; 4096];
        let read = file.read_at(0, &mut start).unwrap_or(0);
        start.truncate(read);
        if let Some(line) = start.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.format = if line.ends_with(b"\r") { Format::DosScript } else { Format::Script };
            let mut words = line.split(|byte| *byte == b' ' || *byte == b'\t');
            let word = words.find(|word| !word.is_empty());
            self.interpreter = word.map(|word| interpreter(OsString::from_vec(word.to_vec())));
        } else if let Ok(object) = Object::read_start(&file) {
            self.format = Format::Elf { machine: object.abi.machine };
            self.interpreter = object.interpreter.map(interpreter);
        }
    }
}

fn interpreter(path: OsString) -> Interpreter {
    let path = PathBuf::from(path);
    let mode = path.metadata().map(|metadata| metadata.mode());
    Interpreter {
        exists: mode.is_ok(),
        has_execute_bit: mode.is_ok_and(|mode| mode & 0o111 != 0),
        path,
    }
}
