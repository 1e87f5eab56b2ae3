//! Reading files and directories in as few system calls as there can be.
//!
//! What is opened here stays open until execve(2) closes it (`O_CLOEXEC`): the process lives for
//! a millisecond, and a close(2) for each file would be a tenth of all its system calls
//! (docs/decisions/0004).

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2, readlink};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mknod};
use nix::sys::uio::pread;
use nix::unistd::{read, write};

use crate::elf::Source;

/// What one read(2) asks for: more than most files of `/etc` hold.
const READ_SIZE: usize = 4 << 10;

/// No file that hrun reads is larger; a device would never end.
const SIZE_LIMIT: usize = 64 << 20;

/// Whether a path leads to a directory, and by no symbolic link; one call for all of its components.
/// Before Linux 5.6 it is not known.
pub fn is_plain_directory(path: &Path) -> bool {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how).map(leave_open).is_ok()
}

/// Reads a regular file; a symbolic link at its end is not followed, and a pipe is empty.
///
/// A read that gives less than it was asked for has reached the end of a regular file, so the
/// usual last read, which gives nothing, is left out.
///
/// # Errors
///
/// The errno of open(2) or read(2); `ELOOP` for a symbolic link; `EFBIG` beyond 64 MiB.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = open(path, flags, Mode::empty())?;
    let mut contents = Vec::new();
    let mut buffer = [0; READ_SIZE];
    loop {
        let count = read(&file, &mut buffer)?;
        contents.extend_from_slice(&buffer[..count]);
        if count < READ_SIZE {
            leave_open(file);
            return Ok(contents);
        }
        if contents.len() > SIZE_LIMIT {
            return Err(Errno::EFBIG);
        }
    }
}

/// Makes a file, which must not be there yet.
///
/// # Errors
///
/// The errno of open(2), mknod(2) or write(2).
pub fn make_file(path: &Path, mode: u32, contents: &[u8]) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(mode);
    if contents.is_empty() {
        return mknod(path, SFlag::S_IFREG, mode, 0);
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    write_all(open(path, flags, mode)?, contents)
}

/// Writes a setting of the kernel: an id map, for example.
///
/// # Errors
///
/// The errno of open(2) or write(2).
pub fn write_setting(path: &str, text: &str) -> Result<(), Errno> {
    write_all(open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?, text.as_bytes())
}

fn write_all(file: OwnedFd, contents: &[u8]) -> Result<(), Errno> {
    let mut rest = contents;
    while !rest.is_empty() {
        rest = &rest[write(&file, rest)?..];
    }
    leave_open(file);
    Ok(())
}

/// Leaves a descriptor to execve(2).
pub fn leave_open(file: OwnedFd) {
    let _ = file.into_raw_fd();
}

/// Opens the standard error of a process once more, to write at its end without waiting; that of a
/// process of one's own only.
///
/// # Errors
///
/// The errno of open(2): `ENXIO` for a socket, which cannot be opened again.
pub fn open_standard_error(process: u32) -> Result<OwnedFd, Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(Path::new(&format!("/proc/{process}/fd/2")), flags, Mode::empty())
}

/// A file that is read in parts.
///
/// It is closed when it is dropped: as many files are read like this as there are libraries, and
/// a process may have only so many open (`RLIMIT_NOFILE`).
#[derive(Debug)]
pub struct File(OwnedFd);

impl File {
    /// Opens a regular file for reading. A directory, pipe or socket opens like one or not at all;
    /// nothing can be read from it.
    ///
    /// # Errors
    ///
    /// The errno of open(2).
    pub fn open_regular(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        open(path, flags, Mode::empty()).map(File)
    }
}

impl File {
    /// What fstat(2) says of it.
    ///
    /// # Errors
    ///
    /// The errno of fstat(2).
    pub fn status(&self) -> Result<FileStat, Errno> {
        fstat(&self.0)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Source for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        // No file is larger than the kernel can count.
        let Ok(offset) = libc::off_t::try_from(offset) else { return Ok(0) };
        pread(&self.0, buffer, offset)
    }
}

/// A device that is open for reading and writing.
pub type Device = OwnedFd;

/// Opens a device.
///
/// # Errors
///
/// The errno of open(2).
pub fn open_device(path: &Path) -> Result<Device, Errno> {
    open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// A name in a directory, and what stands there, as readdir(3) tells it (`DT_DIR` and the like).
pub type DirectoryEntry = (OsString, u8);

impl Directory {
    /// Opens a directory for reading.
    ///
    /// # Errors
    ///
    /// The errno of open(2).
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(path, flags, Mode::empty()).map(Directory)
    }

    /// The path the kernel knows it by, without symbolic links.
    ///
    /// # Errors
    ///
    /// The errno of readlink(2), where `/proc` is not mounted.
    pub fn path(&self) -> Result<PathBuf, Errno> {
        let link = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        readlink(Path::new(&link)).map(PathBuf::from)
    }

    /// Whether a path exists below it, with it as root for every symbolic link.
    ///
    /// # Errors
    ///
    /// The errno of openat2(2); `ENOSYS` before Linux 5.6.
    pub fn holds(&self, path: &Path) -> Result<bool, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        match openat2(&self.0, path, how) {
            Ok(found) => {
                leave_open(found);
                Ok(true)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// The names in it, without `.` and `..`, in no order; a directory is read once.
    ///
    /// # Errors
    ///
    /// The errno of getdents64(2).
    pub fn entries(&self) -> Result<Vec<DirectoryEntry>, Errno> {
        self.entries_that(&|_| true)
    }

    /// The names in it that fit; otherwise as [`Directory::entries`].
    ///
    /// # Errors
    ///
    /// The errno of getdents64(2).
    pub fn entries_that(&self, fits: &dyn Fn(&[u8]) -> bool) -> Result<Vec<DirectoryEntry>, Errno> {
        let mut entries = Vec::new();
        let mut buffer = [0; READ_SIZE];
        loop {
            let count = get_entries(self.0.as_fd(), &mut buffer)?;
            if count == 0 {
                return Ok(entries);
            }
            parse_entries(&buffer[..count], fits, &mut entries);
        }
    }
}

fn get_entries(directory: BorrowedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the length is that of the buffer, which the kernel fills with at most as much.
    let count = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            directory.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    Errno::result(count).map(|count| usize::try_from(count).unwrap_or(0))
}

/// Reads the records of getdents64(2): length at 16, type at 18, name from 19 up to a NUL.
fn parse_entries(
    mut records: &[u8],
    fits: &dyn Fn(&[u8]) -> bool,
    entries: &mut Vec<DirectoryEntry>,
) {
    while let (Some(length), Some(kind)) = (records.get(16..18), records.get(18)) {
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let Some((record, rest)) = records.split_at_checked(length).filter(|_| length > 19) else {
            break;
        };
        let name = record[19..].split(|byte| *byte == 0).next().unwrap_or_default();
        if !matches!(name, b"." | b"..") && fits(name) {
            entries.push((OsString::from_vec(name.to_vec()), *kind));
        }
        records = rest;
    }
}
