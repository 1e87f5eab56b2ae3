//! Files that are locked, and namespaces of other processes.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, fstat, lstat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, ftruncate, lseek, mkdir, write};

use super::waiting::{self, flock};
pub use super::waiting::{Holder, Purpose, Say, Tell};

/// No list of members is longer.
const SIZE_LIMIT: usize = 1 << 20;

/// More than what comes before the start time in proc(5)'s `stat`, and the time.
const STAT: usize = 512;

/// So many names of a directory are tried.
const NAMES: usize = 100;

/// Of so many names some may be free again that others had when a later one was taken.
const FREED: usize = 8;

/// Makes a directory that nobody else may use, unless it is there, and gives back where it is.
///
/// In a directory that others may write to, somebody may have made the name first. Then the first of
/// `NAME.1`, `NAME.2` and so on is taken that is the caller's alone or can be made so: the same by all
/// that the caller runs on this machine.
///
/// # Errors
///
/// The errno of mkdir(2); `EPERM` if all names are taken by what is no directory, belongs to somebody
/// else or is open to others.
pub fn own_directory(path: &Path) -> Result<PathBuf, Errno> {
    // The usual case, without a list of names.
    if state(path)? == State::Own {
        return Ok(path.to_path_buf());
    }
    for _ in 0..NAMES {
        let (found, is_there) = first_name(path)?.ok_or(Errno::EPERM)?;
        if is_there {
            return Ok(found);
        }
        // Another process may be faster; whose it is then is looked at again.
        match mkdir(&found, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EPERM)
}

/// Where the caller's own directory of a name is, or would be made.
pub fn own_name(path: &Path) -> Option<PathBuf> {
    first_name(path).ok()?.map(|(path, _)| path)
}

/// The first name that is the caller's directory, else the first that is nothing.
fn first_name(path: &Path) -> Result<Option<(PathBuf, bool)>, Errno> {
    let mut free = None;
    for number in 0..NAMES {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let name = PathBuf::from(name);
        match state(&name)? {
            State::Own => return Ok(Some((name, true))),
            State::Free if free.is_none() => free = Some(name),
            // Whoever had an earlier name may have removed it since this one was taken.
            State::Free if number >= FREED => break,
            State::Free | State::Taken => {}
        }
    }
    Ok(free.map(|name| (name, false)))
}

/// What is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A directory of the caller's alone.
    Own,
    /// Anything else.
    Taken,
}

fn state(path: &Path) -> Result<State, Errno> {
    let status = match lstat(path) {
        Ok(status) => status,
        Err(Errno::ENOENT) => return Ok(State::Free),
        Err(errno) => return Err(errno),
    };
    let is_directory = status.st_mode & libc::S_IFMT == SFlag::S_IFDIR.bits();
    let is_own = status.st_uid == super::effective_uid() && status.st_mode & 0o077 == 0;
    Ok(if is_directory && is_own { State::Own } else { State::Taken })
}

/// The names in a directory; none if it cannot be read.
pub fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// When a process started, in the kernel's clock ticks after its own start (proc(5), `stat`).
///
/// # Errors
///
/// `ESRCH` if there is no such process.
pub fn start_time(pid: u32) -> Result<u64, Errno> {
    let path = format!("/proc/{pid}/stat");
    let file = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    let mut stat = [0; STAT];
    // The kernel gives as much as there is room for.
    let count = file.and_then(|file| pread(file, &mut stat, 0)).map_err(|_| Errno::ESRCH)?;
    let stat = &stat[..count];
    // The name may hold anything but ends at the last parenthesis; the time is the 22nd field.
    let after = stat.iter().rposition(|byte| *byte == b')').map_or(0, |end| end + 1);
    let text = String::from_utf8_lossy(&stat[after..]);
    text.split_ascii_whitespace().nth(19).and_then(|word| word.parse().ok()).ok_or(Errno::ESRCH)
}

/// The process that has, or had, the other end of a socket.
///
/// # Errors
///
/// The errno of getsockopt(2): `ENOTSOCK`, `EBADF`; `ESRCH` if it is of another PID namespace.
pub fn peer(socket: i32) -> Result<u32, Errno> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: the size is that of the structure, which the kernel fills.
    let result = unsafe {
        let place = (&raw mut peer).cast();
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut size)
    };
    Errno::result(result)?;
    u32::try_from(peer.pid).ok().filter(|pid| *pid > 0).ok_or(Errno::ESRCH)
}

/// Opens the PID namespace of an init, and what keeps it: a way to write to the pipe that it reads.
pub fn open_init(init: u32) -> Option<(OwnedFd, OwnedFd)> {
    let open =
        |path: String, flags| open(path.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty()).ok();
    let line = open(format!("/proc/{init}/fd/0"), OFlag::O_WRONLY)?;
    // Whoever else has this number by now has no pipe there, or one that nobody minds.
    Some((open(format!("/proc/{init}/ns/pid"), OFlag::O_RDONLY)?, line))
}

/// Has the children of this process be in a PID namespace.
///
/// # Errors
///
/// The errno of setns(2).
pub fn join_pids(namespace: &OwnedFd) -> Result<(), Errno> {
    setns(namespace, CloneFlags::CLONE_NEWPID)
}

/// Joins the user and the mount namespace of a process, and for children of this one the PID
/// namespace of its children, if that is another; its root directory becomes the root and the
/// current directory.
///
/// # Errors
///
/// `ESRCH` if there is no such process, `EINVAL` if it is in no user namespace of its own, `EACCES`
/// or `EPERM` if it is somebody else's.
pub fn join(pid: u32, processes: bool) -> Result<(), Errno> {
    let open = |name: &str| {
        let path = format!("/proc/{pid}/ns/{name}");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open(path.as_str(), flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOENT => Errno::ESRCH,
            errno => errno,
        })
    };
    let (user, mount) = (open("user")?, open("mnt")?);
    let pids = processes.then(|| open("pid_for_children")).transpose()?;
    setns(user, CloneFlags::CLONE_NEWUSER)?;
    if let Some(pids) = pids {
        join_pids(&pids)?;
    }
    setns(mount, CloneFlags::CLONE_NEWNS)
}

/// How a file is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Together with others who hold it so.
    Shared,
    /// By this process alone.
    Alone,
}

impl Hold {
    fn operation(self) -> libc::c_int {
        match self {
            Hold::Shared => libc::LOCK_SH,
            Hold::Alone => libc::LOCK_EX,
        }
    }
}

/// A file that is held by one process, or by several who only read it and add to its end.
#[derive(Debug)]
pub struct Locked(OwnedFd);

impl Locked {
    /// Opens a file and waits until it can be held; nothing if it is not there.
    ///
    /// # Errors
    ///
    /// The errno of open(2) or flock(2); `ELOOP` for a symbolic link.
    pub fn open(path: &Path, hold: Hold, tell: Tell) -> Result<Option<Self>, Errno> {
        match Self::hold(path, hold, OFlag::empty(), tell) {
            Err(Errno::ENOENT) => Ok(None),
            held => held.map(Some),
        }
    }

    /// Opens a file, made if it is not there, and waits until it can be held.
    ///
    /// # Errors
    ///
    /// As [`Locked::open`].
    pub fn make(path: &Path, hold: Hold, tell: Tell) -> Result<Self, Errno> {
        Self::hold(path, hold, OFlag::O_CREAT, tell)
    }

    /// The same, but nothing if others hold it so that this process cannot.
    ///
    /// # Errors
    ///
    /// As [`Locked::open`].
    pub fn try_make(path: &Path, hold: Hold) -> Result<Option<Self>, Errno> {
        let file = Locked(open_file(path, OFlag::O_CREAT)?);
        let is_held = file.try_hold(hold)? && file.is_still(path);
        Ok(is_held.then_some(file))
    }

    fn hold(path: &Path, hold: Hold, more: OFlag, tell: Tell) -> Result<Self, Errno> {
        loop {
            let file = open_file(path, more)?;
            waiting::lock(&file, hold.operation(), path, tell)?;
            // Who held it before may have removed it.
            if is_at(&file, path) {
                return Ok(Locked(file));
            }
        }
    }

    /// Opens a file unless somebody holds it.
    ///
    /// # Errors
    ///
    /// As [`Locked::open`].
    pub fn try_open(path: &Path) -> Result<Option<Self>, Errno> {
        let file = open_file(path, OFlag::empty())?;
        match flock(&file, libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => Ok(is_at(&file, path).then_some(Locked(file))),
            Err(Errno::EWOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What is in a file that others may hold; nothing if it is none of the caller's.
    pub fn look(path: &Path) -> Option<Vec<u8>> {
        Locked(open_file(path, OFlag::empty()).ok()?).read().ok()
    }

    /// Opens it once more, for a process that will hold it apart from this one.
    ///
    /// # Errors
    ///
    /// The errno of open(2); `ENOENT` where `/proc` is not mounted.
    pub fn again(&self) -> Result<Self, Errno> {
        // Reached by its descriptor: by its path it may be out of sight, or removed.
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(Locked)
    }

    /// Lets go of it, and waits until nobody else holds it.
    ///
    /// # Errors
    ///
    /// The errno of flock(2).
    pub fn hold_alone(&self) -> Result<(), Errno> {
        let tell = Tell { purpose: Purpose::Ranks, say: None };
        self.hold_alone_of(Path::new(""), tell)
    }

    /// The same, and says so if it takes long.
    ///
    /// # Errors
    ///
    /// The errno of flock(2).
    pub fn hold_alone_of(&self, path: &Path, tell: Tell) -> Result<(), Errno> {
        waiting::lock(&self.0, libc::LOCK_EX, path, tell)
    }

    /// Lets go of it.
    pub fn let_go(&self) {
        let _ = flock(&self.0, libc::LOCK_UN);
    }

    /// Holds it in another way, and lets go of it first; false if others hold it so that this
    /// process cannot.
    ///
    /// # Errors
    ///
    /// The errno of flock(2).
    pub fn try_hold(&self, hold: Hold) -> Result<bool, Errno> {
        match flock(&self.0, hold.operation() | libc::LOCK_NB) {
            Ok(()) => Ok(true),
            Err(Errno::EWOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether it is still the file at a path.
    pub fn is_still(&self, path: &Path) -> bool {
        is_at(&self.0, path)
    }

    /// The descriptor by which it is held, here and in children.
    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Its beginning; zeros where it is shorter.
    ///
    /// # Errors
    ///
    /// The errno of read(2).
    pub fn first<const SIZE: usize>(&self) -> Result<[u8; SIZE], Errno> {
        let mut piece = [0; SIZE];
        pread(&self.0, &mut piece, 0)?;
        Ok(piece)
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// The errno of read(2); `EFBIG` beyond 1 MiB.
    pub fn read(&self) -> Result<Vec<u8>, Errno> {
        let size = usize::try_from(fstat(&self.0)?.st_size).unwrap_or(usize::MAX);
        if size > SIZE_LIMIT {
            return Err(Errno::EFBIG);
        }
        let mut contents = vec![0; size];
        let count = pread(&self.0, &mut contents, 0)?;
        contents.truncate(count);
        Ok(contents)
    }

    /// Puts less in place of what is there; for who holds it alone.
    ///
    /// Who is killed meanwhile leaves the new beginning before the old end.
    ///
    /// # Errors
    ///
    /// The errno of write(2) or ftruncate(2); `EIO` if not all was written.
    pub fn shorten(&self, contents: &[u8]) -> Result<(), Errno> {
        // An offset means nothing to a file that is open for adding to its end.
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::empty()))?;
        let count = pwrite(&self.0, contents, 0)?;
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        if count != contents.len() {
            return Err(Errno::EIO);
        }
        ftruncate(&self.0, contents.len().try_into().unwrap_or(0))
    }

    /// Adds to its end, all or nothing, and says where that end is now.
    ///
    /// All the pieces have the same size, a part of a page's: so none is ever cut.
    ///
    /// # Errors
    ///
    /// The errno of write(2).
    pub fn append<const SIZE: usize>(&self, piece: &[u8; SIZE]) -> Result<u64, Errno> {
        const { assert!(4096 % SIZE == 0) };
        match write(&self.0, piece)? {
            count if count == SIZE => Ok(lseek(&self.0, 0, Whence::SeekCur)?.unsigned_abs()),
            _ => Err(Errno::ENOSPC),
        }
    }

    /// Removes it, by its path, while it is held alone.
    pub fn remove(&self, path: &Path) {
        let _ = fs::remove_file(path);
    }
}

fn open_file(path: &Path, more: OFlag) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = open(path, flags | more, Mode::S_IRUSR | Mode::S_IWUSR)?;
    // What somebody else has put there is none of the caller's, whatever it says.
    let status = fstat(&file)?;
    let is_file = status.st_mode & libc::S_IFMT == SFlag::S_IFREG.bits();
    let is_own = is_file && status.st_uid == super::effective_uid();
    is_own.then_some(file).ok_or(Errno::EPERM)
}

/// Whether an open file is the one at a path.
fn is_at(file: &OwnedFd, path: &Path) -> bool {
    match (fstat(file), lstat(path)) {
        (Ok(open), Ok(there)) => (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino),
        _ => false,
    }
}

/// The namespaces of a process, by their inode numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// The user namespace.
    pub user: u64,
    /// The mount namespace.
    pub mount: u64,
}

impl Namespaces {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// `ENOENT` where `/proc` is not mounted.
    pub fn own() -> Result<Self, Errno> {
        Ok(Namespaces { user: Self::own_user()?, mount: number("mnt")? })
    }

    /// The user namespace of this process.
    ///
    /// # Errors
    ///
    /// As [`Namespaces::own`].
    pub fn own_user() -> Result<u64, Errno> {
        number("user")
    }

    /// Joins these namespaces through a process in them; false if it is not the one that started
    /// then, or has moved.
    ///
    /// The root and the current directory become those of the mount namespace.
    ///
    /// # Errors
    ///
    /// The errno of setns(2), once the user namespace is joined.
    pub fn join(self, pid: u32, started: u64) -> Result<bool, Errno> {
        let Some((user, mount)) = self.open(pid, started) else { return Ok(false) };
        if setns(user, CloneFlags::CLONE_NEWUSER).is_err() {
            return Ok(false);
        }
        setns(mount, CloneFlags::CLONE_NEWNS).map(|()| true)
    }

    /// Joins the user namespace only, and makes a mount namespace in it.
    ///
    /// # Errors
    ///
    /// As [`Namespaces::join`], or the errno of unshare(2).
    pub fn join_user(self, pid: u32, started: u64) -> Result<bool, Errno> {
        let Some((user, _)) = self.open(pid, started) else { return Ok(false) };
        if setns(user, CloneFlags::CLONE_NEWUSER).is_err() {
            return Ok(false);
        }
        unshare(CloneFlags::CLONE_NEWNS).map(|()| true)
    }

    /// Opens the namespaces of a process, if it is the right one: once they are open, nothing can
    /// take its place.
    fn open(self, pid: u32, started: u64) -> Option<(OwnedFd, OwnedFd)> {
        let namespace = |name: &str, number: u64| {
            let path = format!("/proc/{pid}/ns/{name}");
            let file =
                open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
            (fstat(&file).ok()?.st_ino == number).then_some(file)
        };
        let opened = (namespace("user", self.user)?, namespace("mnt", self.mount)?);
        (start_time(pid) == Ok(started)).then_some(opened)
    }
}

/// The number of a namespace of this process.
fn number(name: &str) -> Result<u64, Errno> {
    let found = fs::metadata(format!("/proc/self/ns/{name}")).map_err(|_| Errno::ENOENT);
    found.map(|found| found.ino())
}
