//! Why a program did not start: what its first bytes ask for.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

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
        let Ok(file) = File::open(path) else { return };
        let mut start = vec![0; 4096];
        let read = file.read_at(&mut start, 0).unwrap_or(0);
        start.truncate(read);
        if let Some(line) = start.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.format = if line.ends_with(b"\r") { Format::DosScript } else { Format::Script };
            let mut words = line.split(|byte| *byte == b' ' || *byte == b'\t');
            self.interpreter = words.find(|word| !word.is_empty()).map(interpreter);
        } else if let Some(machine) = elf_machine(&start) {
            self.format = Format::Elf { machine };
            self.interpreter = elf_interpreter(&start).map(interpreter);
        }
    }
}

fn interpreter(path: &[u8]) -> Interpreter {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let mode = path.metadata().map(|metadata| metadata.mode());
    Interpreter {
        exists: mode.is_ok(),
        has_execute_bit: mode.is_ok_and(|mode| mode & 0o111 != 0),
        path,
    }
}

/// The machine of an ELF header (elf(5): `e_machine` at 18), in the file's own byte order.
fn elf_machine(start: &[u8]) -> Option<u16> {
    let rest = start.strip_prefix(b"\x7fELF")?;
    let is_big = *rest.get(1)? == 2;
    let bytes = [*start.get(18)?, *start.get(19)?];
    Some(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

/// The dynamic loader of a 64-bit little-endian ELF file: the contents of its `PT_INTERP`.
fn elf_interpreter(start: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u32 = 3;
    if start.get(4..6)? != [2, 1] {
        return None;
    }
    let field = |at: usize, size: usize| start.get(at..at.checked_add(size)?);
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(field(at, 2)?.try_into().ok()?)));
    let long = |at: usize| usize::try_from(u64::from_le_bytes(field(at, 8)?.try_into().ok()?)).ok();
    let (table, size, count) = (long(32)?, half(54)?, half(56)?);
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let header = field(at, 56)?;
        let value = |at: usize| {
            usize::try_from(u64::from_le_bytes(header[at..at + 8].try_into().ok()?)).ok()
        };
        if header.starts_with(&PT_INTERP.to_le_bytes()) {
            let name = field(value(8)?, value(32)?)?;
            return name.split(|byte| *byte == 0).next();
        }
    }
    None
}
