//! An image's tree, written into a directory.
//!
//! Top down, and by descriptors of directories that were made here: nothing that an image holds
//! under any name is ever followed. Whatever is made must not be there yet, so an image that has a
//! name twice is refused, and so is one with a directory that is its own ancestor.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc::off_t;
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{close, ftruncate, linkat, symlinkat};
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::{XattrFlags, fsetxattr};

use crate::directory::Entry;
use crate::{Flaw, Inode, Kind, Reference, Squashfs};

/// What is read at once, in bytes; the largest block of any image.
const BUFFER: usize = 1 << 20;

/// Files are shared among threads in parts of this size, in bytes.
const PIECE: u64 = 16 << 20;

/// No more parts wait for a thread, for each holds its file open.
const WAITING: usize = 64;

/// The bits by which others may write: what runs from the tree runs as its owner.
const OTHERS_WRITE: u32 = 0o022;

/// The attributes that users set.
const USERS: &[u8] = b"user.";

/// How a tree is written.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// How many threads write.
    pub threads: usize,
    /// Whether files keep their set-user-ID and set-group-ID bits, which mean the caller then.
    pub keeps_set_ids: bool,
    /// Hears now and then how many bytes more were written, but for holes, and says whether to go on.
    pub goes_on: &'a (dyn Fn(u64) -> bool + Sync),
}

/// What a tree that was written lacks, by paths in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Devices: only root can make them.
    pub devices: Vec<PathBuf>,
    /// Files with `user.*` attributes, which the file system does not take.
    pub attributes: Vec<PathBuf>,
}

/// Why a tree was not written as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The path in the image.
    pub path: PathBuf,
    /// What was in the way.
    pub cause: Cause,
}

/// What was in the way of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It cannot be read.
    Image(Flaw),
    /// It cannot be written.
    Kernel(Errno),
    /// Nobody wants it any more.
    Unwanted,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Path::new("/").join(&self.path);
        match self.cause {
            Cause::Image(flaw) => write!(f, "{} cannot be read: {flaw}", path.display()),
            Cause::Kernel(errno) => {
                write!(f, "{} cannot be written: {}", path.display(), errno.desc())
            }
            Cause::Unwanted => write!(f, "{} is not wanted any more", path.display()),
        }
    }
}

impl std::error::Error for Stop {}

impl From<Flaw> for Cause {
    fn from(flaw: Flaw) -> Self {
        Cause::Image(flaw)
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Cause::Kernel(errno)
    }
}

impl Squashfs {
    /// Writes the image's tree into an empty directory, as files of the caller.
    ///
    /// Hard links, holes, permissions, times of the last change and `user.*` attributes are as in the
    /// image; but the owner can read every file, and read and enter every directory, and only the owner
    /// may write. Nobody else may write in the directory meanwhile. What was written before a stop is left to the caller.
    ///
    /// # Errors
    ///
    /// Tells what could not be read or written.
    pub fn extract(&self, into: BorrowedFd, manner: Manner) -> Result<LeftOut, Stop> {
        let start = |errno: Errno| Stop { path: PathBuf::new(), cause: errno.into() };
        let parent = Arc::new(into.try_clone_to_owned().map_err(|error| start(errno(&error)))?);
        let root = Job::Directory {
            parent,
            name: OsString::from("."),
            path: PathBuf::new(),
            reference: self.superblock.root,
        };
        let shared = Shared { jobs: vec![root], ..Shared::default() };
        let work =
            Work { image: self, into, manner, shared: Mutex::new(shared), changed: Condvar::new() };
        thread::scope(|scope| {
            for _ in 1..manner.threads {
                // Those that are there do the work of one that cannot be had.
                let _ = thread::Builder::new().spawn_scoped(scope, || work.run());
            }
            work.run();
        });
        let shared = work.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        match shared.stop {
            None => Ok(shared.left_out),
            Some(stop) => Err(stop),
        }
    }
}

/// Something to write.
enum Job {
    /// What is in a directory, which is there already, and then its attributes.
    Directory { parent: Arc<OwnedFd>, name: OsString, path: PathBuf, reference: Reference },
    /// A part of a file; whoever writes the last one sets the file's attributes.
    Piece { file: Arc<Open>, offset: u64 },
}

/// A regular file, still without what is in it.
struct Open {
    file: File,
    inode: Inode,
    path: PathBuf,
}

/// What threads know of each other's work.
#[derive(Default)]
struct Shared {
    /// The last one is taken first, so few directories wait, and few are open.
    jobs: Vec<Job>,
    /// How many threads are at work, and may find more of it.
    busy: usize,
    pieces: usize,
    directories: FxHashSet<Reference>,
    /// Files of several names, by the first that was made.
    links: FxHashMap<Reference, PathBuf>,
    left_out: LeftOut,
    stop: Option<Stop>,
}

struct Work<'a> {
    image: &'a Squashfs,
    into: BorrowedFd<'a>,
    manner: Manner<'a>,
    shared: Mutex<Shared>,
    changed: Condvar,
}

impl Work<'_> {
    /// Takes jobs until there will be none.
    fn run(&self) {
        let mut buffer = vec![0; BUFFER];
        while let Some(job) = self.next() {
            let result = match job {
                Job::Directory { parent, name, path, reference } => {
                    self.write_directory(parent, &name, path, reference, &mut buffer)
                }
                Job::Piece { file, offset } => {
                    let written = self.write_piece(&file, offset, &mut buffer);
                    written.and_then(|()| self.release(file))
                }
            };
            let mut shared = self.lock();
            shared.busy -= 1;
            if let Err(stop) = result {
                shared.stop.get_or_insert(stop);
            }
            if shared.busy == 0 || shared.stop.is_some() {
                self.changed.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut shared = self.lock();
        loop {
            if shared.stop.is_some() {
                return None;
            }
            if let Some(job) = shared.jobs.pop() {
                shared.pieces -= usize::from(matches!(job, Job::Piece { .. }));
                shared.busy += 1;
                return Some(job);
            }
            if shared.busy == 0 {
                return None;
            }
            shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_directory(
        &self,
        parent: Arc<OwnedFd>,
        name: &OsStr,
        path: PathBuf,
        reference: Reference,
        buffer: &mut [u8],
    ) -> Result<(), Stop> {
        let stop = |cause| Stop { path: path.clone(), cause };
        let inode = self.image.inode(reference).map_err(|flaw| stop(flaw.into()))?;
        let directory = open_directory(&parent, name).map_err(|errno| stop(errno.into()))?;
        drop(parent);
        let directory = Arc::new(directory);
        for entry in self.image.entries(&inode, 0).map_err(|flaw| stop(flaw.into()))? {
            let entry = entry.map_err(|flaw| stop(flaw.into()))?;
            let path = path.join(&entry.name);
            let stop = |cause| Stop { path: path.clone(), cause };
            let file = self.write_entry(&directory, &path, entry).map_err(stop)?;
            if let Some(file) = file {
                self.write_contents(file, buffer)?;
            }
        }
        // It has all its names: those in directories below do not change it.
        self.finish(&*directory, &inode, &path).map_err(stop)
    }

    /// Makes what an entry names; gives a regular file back, which has nothing in it yet.
    fn write_entry(
        &self,
        directory: &Arc<OwnedFd>,
        path: &Path,
        entry: Entry,
    ) -> Result<Option<Open>, Cause> {
        let inode = self.image.inode(entry.reference)?;
        if inode.kind == Kind::Directory {
            mkdirat(directory, &*entry.name, Mode::S_IRWXU)?;
            self.find_directory(directory, path, entry)?;
            return Ok(None);
        }
        // Held until the first name is there, so that another can be linked to it.
        let mut shared = (inode.links > 1).then(|| self.lock());
        if let Some(first) = shared.as_ref().and_then(|shared| shared.links.get(&entry.reference)) {
            match self.link(first, directory, &entry.name) {
                // The file system takes no more names of it.
                Err(Errno::EMLINK) => {}
                result => return result.map(|()| None).map_err(Cause::from),
            }
        }
        let made = self.make(directory, &entry.name, &inode)?;
        if let Some(shared) = shared.as_mut().filter(|_| !matches!(made, Made::Nothing)) {
            shared.links.insert(entry.reference, path.to_path_buf());
        }
        drop(shared);
        match made {
            Made::File(file) => return Ok(Some(Open { file, inode, path: path.to_path_buf() })),
            Made::Node => {}
            Made::Nothing => self.lock().left_out.devices.push(path.to_path_buf()),
        }
        Ok(None)
    }

    /// Leaves a directory to whichever thread comes first.
    fn find_directory(
        &self,
        parent: &Arc<OwnedFd>,
        path: &Path,
        entry: Entry,
    ) -> Result<(), Cause> {
        let Entry { name, reference, .. } = entry;
        let mut shared = self.lock();
        // A directory has one name; one with two may be in itself.
        if !shared.directories.insert(reference) || reference == self.image.superblock.root {
            return Err(
                Flaw::Unknown { what: "second name of a directory", value: reference.0 }.into()
            );
        }
        let (parent, path) = (parent.clone(), path.to_path_buf());
        shared.jobs.push(Job::Directory { parent, name, path, reference });
        self.changed.notify_one();
        Ok(())
    }

    /// Gives a file that is there another name.
    fn link(&self, first: &Path, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        let mut names: Vec<&OsStr> = first.iter().collect();
        let last = names.pop().unwrap_or_default();
        let mut holder: Option<OwnedFd> = None;
        for name in names {
            let from = holder.as_ref().map_or(self.into, AsFd::as_fd);
            holder = Some(open_directory(from, name)?);
        }
        let from = holder.as_ref().map_or(self.into, AsFd::as_fd);
        linkat(from, last, directory, name, AtFlags::empty())
    }

    /// Makes a file under a new name.
    fn make(&self, directory: &OwnedFd, name: &OsStr, inode: &Inode) -> Result<Made, Cause> {
        let own = Mode::S_IRUSR | Mode::S_IWUSR;
        let node = match inode.kind {
            Kind::File => {
                let flags = OFlag::O_WRONLY
                    | OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                let file = openat(directory, name, flags, own)?;
                let size = off_t::try_from(inode.size).map_err(|_| Errno::EFBIG)?;
                if size > 0 {
                    ftruncate(&file, size)?;
                }
                return Ok(Made::File(File::from(file)));
            }
            Kind::Symlink => {
                symlinkat(&*self.image.target(inode)?, directory, name)?;
                None
            }
            Kind::Fifo => Some(SFlag::S_IFIFO),
            Kind::Socket => Some(SFlag::S_IFSOCK),
            _ => return Ok(Made::Nothing),
        };
        if let Some(kind) = node {
            mknodat(directory, name, kind, own, 0)?;
            let mode = self.permissions(inode);
            fchmodat(directory, name, mode, FchmodatFlags::NoFollowSymlink)?;
        }
        let time = modified(inode);
        utimensat(directory, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        Ok(Made::Node)
    }

    /// Writes a file, or leaves parts of it to other threads.
    fn write_contents(&self, file: Open, buffer: &mut [u8]) -> Result<(), Stop> {
        let size = file.inode.size;
        let file = Arc::new(file);
        // An empty file has one part, too.
        for offset in (0..size.max(1)).step_by(PIECE as usize) {
            if size <= PIECE || !self.share(&file, offset) {
                self.write_piece(&file, offset, buffer)?;
            }
        }
        self.release(file)
    }

    /// Leaves a part of a file to another thread, if there are not enough of them already.
    fn share(&self, file: &Arc<Open>, offset: u64) -> bool {
        let mut shared = self.lock();
        let has_room = self.manner.threads > 1 && shared.pieces < WAITING;
        if has_room {
            shared.pieces += 1;
            shared.jobs.push(Job::Piece { file: file.clone(), offset });
            self.changed.notify_one();
        }
        has_room
    }

    fn write_piece(&self, open: &Open, offset: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        let stop = |cause| Stop { path: open.path.clone(), cause };
        let end = offset.saturating_add(PIECE).min(open.inode.size);
        let block = self.image.superblock.block_size as usize;
        let mut at = offset;
        let mut written = 0;
        while at < end {
            let wanted = (end - at).min(buffer.len() as u64) as usize;
            let buffer = &mut buffer[..wanted];
            let read = self.image.read(&open.inode, at, buffer);
            read.map_err(|flaw| stop(flaw.into()))?;
            let runs = Runs { bytes: buffer, block, at: 0 };
            for run in runs {
                let place = at + run.start as u64;
                written += run.len() as u64;
                let done = open.file.write_all_at(&buffer[run], place);
                done.map_err(|error| stop(errno(&error).into()))?;
            }
            at += wanted as u64;
        }
        match (self.manner.goes_on)(written) {
            true => Ok(()),
            false => Err(stop(Cause::Unwanted)),
        }
    }

    /// Sets the attributes of a file that nobody else writes any more.
    fn release(&self, file: Arc<Open>) -> Result<(), Stop> {
        let Some(Open { file, inode, path }) = Arc::into_inner(file) else { return Ok(()) };
        let finished = self.finish(&file, &inode, &path).and_then(|()| match close(file) {
            // It is closed all the same (close(2)).
            Ok(()) | Err(Errno::EINTR) => Ok(()),
            // Some file systems say only now that there was no room.
            Err(errno) => Err(errno.into()),
        });
        finished.map_err(|cause| Stop { path, cause })
    }

    /// Sets the attributes of a file or directory, that of time last.
    fn finish(&self, file: impl AsFd, inode: &Inode, path: &Path) -> Result<(), Cause> {
        let names = self.image.xattr_names(inode)?;
        for name in names.iter().filter(|name| name.as_bytes().starts_with(USERS)) {
            let value = self.image.xattr(inode, name)?.unwrap_or_default();
            match fsetxattr(file.as_fd(), &**name, &value, XattrFlags::empty()) {
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    self.lock().left_out.attributes.push(path.to_path_buf());
                    break;
                }
                result => result.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?,
            }
        }
        fchmod(file.as_fd(), self.permissions(inode))?;
        let time = modified(inode);
        Ok(futimens(file.as_fd(), &time, &time)?)
    }

    fn permissions(&self, inode: &Inode) -> Mode {
        let lost = if self.manner.keeps_set_ids { 0 } else { 0o6000 } | OTHERS_WRITE;
        let added = if inode.kind == Kind::Directory { 0o500 } else { 0o400 };
        Mode::from_bits_truncate(u32::from(inode.permissions) & !lost | added)
    }
}

/// What came of a name.
enum Made {
    /// A regular file, open.
    File(File),
    /// Anything else.
    Node,
    /// Nothing, as it is a device.
    Nothing,
}

fn open_directory(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn modified(inode: &Inode) -> TimeSpec {
    TimeSpec::new(inode.modified.into(), 0)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

/// The parts of some bytes that are no holes: blocks with anything but zeros, as many as follow
/// one another.
struct Runs<'a> {
    bytes: &'a [u8],
    block: usize,
    at: usize,
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut blocks = self.bytes[self.at..].chunks(self.block).peekable();
        let is_hole = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
        while let Some(hole) = blocks.next_if(is_hole) {
            self.at += hole.len();
        }
        let start = self.at;
        while let Some(block) = blocks.next_if(|block| !is_hole(block)) {
            self.at += block.len();
        }
        (self.at > start).then_some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_blocks_of_zeros() {
        let runs = |bytes: &[u8]| Runs { bytes, block: 2, at: 0 }.collect::<Vec<_>>();
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[0; 7]), []);
        assert_eq!(runs(&[0, 1, 0, 0, 0, 2, 3, 0, 0]), [0..2, 4..8]);
        assert_eq!(runs(&[1, 0, 0, 0, 1]), [0..2, 4..5]);
    }
}
