//! Reading files and directories in as few system calls as there can be.
//!
//! What is opened here stays open until execve(2) closes it (`O_CLOEXEC`): the process lives for
//! a millisecond, and a close(2) for each file would be a tenth of all its system calls
//! (docs/decisions/0004).

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat2, readlink};
use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mknod, umask};
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

/// What of the caller's surroundings bears on files that are made, to be given back.
#[derive(Debug)]
pub struct Making {
    umask: Option<Mode>,
    too_large: Option<SigAction>,
}

impl Making {
    /// Has all `modes` be as they are given from now on, whatever the caller's umask is, and a limit
    /// of file sizes (`RLIMIT_FSIZE`) give `EFBIG` instead of a signal.
    pub fn begin(modes: u32) -> Self {
        // As far as it takes nothing away, it is the usual one, which is then there already.
        let harmless = USUAL_UMASK & !Mode::from_bits_truncate(modes);
        let umask = Some(umask(harmless)).filter(|before| *before != harmless);
        Making { umask, too_large: outlive_large_files() }
    }

    /// Makes it as it was before: the command gets the caller's.
    pub fn end(self) {
        if let Some(before) = self.umask {
            umask(before);
        }
        if let Some(before) = self.too_large {
            // SAFETY: it was the disposition before, and this program sets no handler for it.
            let _ = unsafe { sigaction(Signal::SIGXFSZ, &before) };
        }
    }
}

/// That of almost every login.
const USUAL_UMASK: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// Has writes beyond a limit of file sizes fail rather than end the process; gives back what was
/// done before, if there is such a limit.
pub fn outlive_large_files() -> Option<SigAction> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).ok()?;
    if limit == RLIM_INFINITY {
        return None;
    }
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is set.
    unsafe { sigaction(Signal::SIGXFSZ, &ignored) }.ok()
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
    write_all(
        open(Path::new(path), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?,
        text.as_bytes(),
    )
}

fn write_all(file: OwnedFd, contents: &[u8]) -> Result<(), Errno> {
    let mut rest = contents;
    while !rest.is_empty() {
        rest = &rest[write(&file, rest)?..];
    }
    leave_open(file);
    Ok(())
}

/// Which of the first descriptors were left to execve(2), a bit for each.
static LEFT_OPEN: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Leaves a descriptor to execve(2), or to [`close_left_open`].
pub fn leave_open(file: OwnedFd) {
    let number = file.as_raw_fd().unsigned_abs();
    // One with a higher number is closed here: nobody could say later that it is hrun's.
    if let Some(bits) = LEFT_OPEN.get(number as usize / 64) {
        bits.fetch_or(1 << (number % 64), Ordering::Relaxed);
        let _ = file.into_raw_fd();
    }
}

/// Leaves a descriptor that is still of use to execve(2), whatever else is closed.
pub fn leave(file: OwnedFd) -> RawFd {
    file.into_raw_fd()
}

/// Closes what was left open until now: before others can look at this process, and see the host's files
/// through it.
pub fn close_left_open() {
    for (bits, base) in LEFT_OPEN.iter().zip((0..).step_by(64)) {
        let mut left = bits.swap(0, Ordering::Relaxed);
        while left != 0 {
            let first = left.trailing_zeros();
            let count = (left >> first).trailing_ones();
            let last = first + count - 1;
            super::detached::close_range(base + first as i32, base + last as i32);
            left &= !((u64::MAX >> (64 - count)) << first);
        }
    }
}

/// Puts a file in the place of a descriptor, here and in programs that are executed.
pub(super) fn put(file: &OwnedFd, place: RawFd) {
    if place != file.as_raw_fd() {
        // SAFETY: dup2 takes numbers only, and what is in that place nothing else here uses.
        unsafe { libc::dup2(file.as_raw_fd(), place) };
    }
}

/// The same, but a program that is executed does not find it there.
pub(super) fn put_until_exec(file: &OwnedFd, place: RawFd) {
    if place != file.as_raw_fd() {
        // SAFETY: as above.
        unsafe { libc::dup3(file.as_raw_fd(), place, libc::O_CLOEXEC) };
    }
}

/// Opens the standard error of a process once more, to write at its end without waiting; that of a
/// process of one's own only. `processes` is where the list of them is: `/proc`.
///
/// # Errors
///
/// The errno of open(2): `ENXIO` for a socket, which cannot be opened again.
pub fn open_standard_error(processes: &Path, process: u32) -> Result<OwnedFd, Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(&processes.join(format!("{process}/fd/2")), flags, Mode::empty())
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

/// Opens a file under a number that is none of the standard streams': where one of those is closed, the
/// command finds it closed, and hrun has the null device there until then.
///
/// The kernel gives the lowest number that is free (open(2)), so nothing has to be asked before.
fn open(path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
    above_standard_streams(nix::fcntl::open(path, flags, mode)?)
}

fn above_standard_streams(file: OwnedFd) -> Result<OwnedFd, Errno> {
    if file.as_raw_fd() >= FIRST_OWN {
        return Ok(file);
    }
    let above = fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(FIRST_OWN))?;
    drop(file);
    super::helper::fill_standard_streams();
    // SAFETY: fcntl has just made it, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(above) })
}

/// The lowest descriptor that is no standard stream.
const FIRST_OWN: RawFd = 3;

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

    /// Opens a directory for reading by a path without symbolic links, dots and trailing slashes; such a
    /// path is the one the kernel knows it by. Nothing, if the path is another one, or for any error.
    pub fn open_known(path: &Path) -> Option<Self> {
        let is_name = |name: &[u8]| !name.is_empty() && name != b"." && name != b"..";
        let mut names = path.as_os_str().as_bytes().strip_prefix(b"/")?.split(|byte| *byte == b'/');
        if !names.all(is_name) {
            return None;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let directory = openat2(AT_FDCWD, path, how).ok()?;
        above_standard_streams(directory).ok().map(Directory)
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
