//! Processes that hrun leaves behind or beside a container: every one is made here.
//!
//! They share a user namespace with the command, so the kernel would let it look into them, trace them, and
//! reach the host's files through them. Each of them is closed to it: not dumpable, from before it is in a namespace
//! with the command, so what is in `/proc` of it, and ptrace(2), take rights in the namespace that hrun was
//! started in (docs/decisions/0025). It has no descriptor but those it works with, the null device in the place of
//! the standard streams, no word of the command line or the environment that hrun was started with, and no limit that it
//! can put off.

use std::os::fd::RawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use nix::unistd::{self, Pid};

use super::detached::{self, Link};
use super::process::{self, Alone, ExecImage, in_background, in_background_alone};

/// What a helper is like.
#[derive(Clone, Copy, Debug)]
pub struct Helper<'a> {
    /// What `ps` shows of it, as its name and as its command line; 15 letters count.
    pub name: &'a str,
    /// The descriptors it works with; all others are closed.
    pub kept: &'a [RawFd],
    /// What it does with signals.
    pub signals: Signals,
}

/// What a helper does with signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// It ignores those that can be, but for those that tell of a fault in the program itself.
    Ignored,
    /// It has all blocked, and leaves the session that hrun is in.
    Blocked,
    /// It has all blocked, and takes what is sent to the process group of hrun.
    OfGroup,
}

/// What a helper sees of files when it is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// What it saw before; it is in the root directory.
    Kept,
    /// The list of processes, and no other file. That takes the right to chroot(2).
    Processes,
}

impl Helper<'_> {
    /// Runs `body` in a process whose parent is init, and comes back with the end of a talk with it.
    ///
    /// # Errors
    ///
    /// The errno of fork(2) or pipe(2); `EINVAL` if this process has more than one thread.
    pub fn leave_behind(&self, body: impl FnOnce(&Link)) -> Result<Link, Errno> {
        let [link, other] = Link::pair()?;
        in_background(|| self.talk(&other, body))?;
        Ok(link)
    }

    /// The same, for a process that may have threads; `body` runs in a copy without them, and may use nothing
    /// that threads share but memory.
    ///
    /// # Errors
    ///
    /// The errno of fork(2) or pipe(2).
    pub fn leave_behind_one(&self, body: impl FnOnce(&Link)) -> Result<Link, Errno> {
        let [link, other] = Link::pair()?;
        in_background_alone(|| self.talk(&other, body))?;
        Ok(link)
    }

    fn talk(&self, link: &Link, body: impl FnOnce(&Link)) {
        let kept: Vec<RawFd> = self.kept.iter().copied().chain(link.descriptors()).collect();
        Helper { kept: &kept, ..*self }.become_one();
        body(link);
    }

    /// The same, for one that nobody talks with.
    ///
    /// # Errors
    ///
    /// As [`Helper::leave_behind`].
    pub fn leave_alone(&self, body: impl FnOnce()) -> Result<(), Errno> {
        in_background(|| {
            self.become_one();
            body();
        })
    }

    /// Runs `body` in a child of this process.
    ///
    /// # Errors
    ///
    /// The errno of fork(2).
    pub fn start(&self, alone: Alone, body: impl FnOnce()) -> Result<Pid, Errno> {
        alone.start(|| {
            self.become_one();
            body();
        })
    }

    /// Makes this process a helper.
    pub fn become_one(&self) {
        process::close_to_others();
        match self.signals {
            Signals::Ignored => detached::ignore_signals(),
            // SIGKILL is the one that comes through.
            Signals::Blocked | Signals::OfGroup => drop(SigSet::all().thread_block()),
        }
        if self.signals != Signals::OfGroup {
            let _ = unistd::setsid();
        }
        self.close_descriptors();
        process::wipe_arguments(self.name);
        take_name(self.name);
        put_off_limits();
    }

    /// Lets go of every descriptor but those it works with, and puts the null device in the place of the standard
    /// streams: what is opened later, and perhaps written to by mistake, has other numbers.
    pub fn close_descriptors(&self) {
        let mut kept = self.kept.to_vec();
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        // Opened before anything is closed, where the caller may have no descriptor left.
        if let Ok(null) = open(Path::new("/dev/null"), flags, Mode::empty()) {
            for place in (0..3).filter(|place| !self.kept.contains(place)) {
                super::file::put(&null, place);
                kept.push(place);
            }
            // It goes with all the others, unless it is one of the three.
            super::file::leave_open(null);
        }
        detached::close_all_but(&kept);
    }
}

/// Gives up all rights of a helper, and what it need not see.
///
/// # Errors
///
/// The errno of chdir(2), chroot(2), prctl(2) or capset(2).
pub fn settle(root: Root) -> Result<(), Errno> {
    match root {
        Root::Kept => unistd::chdir("/")?,
        Root::Processes => {
            unistd::chdir("/proc")?;
            unistd::chroot(".")?;
        }
    }
    process::set_no_new_privileges()?;
    process::drop_capabilities()
}

/// What `ps` calls this process from now on.
fn take_name(name: &str) {
    if let Ok(name) = super::c_string(name.as_ref()) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Limits that end a process or keep it from working, and what ulimit calls those that helpers die of.
const LIMITS: [(Resource, Option<(char, u64)>); 5] = [
    (Resource::RLIMIT_AS, Some(('v', 1024))),
    (Resource::RLIMIT_DATA, Some(('d', 1024))),
    (Resource::RLIMIT_CPU, Some(('t', 1))),
    (Resource::RLIMIT_FSIZE, None),
    (Resource::RLIMIT_NPROC, None),
];

/// Puts off the limits that the command has, as far as they can be: they are the command's own.
fn put_off_limits() {
    for (resource, _) in LIMITS {
        if let Ok((soft, hard)) = getrlimit(resource)
            && soft != hard
        {
            let _ = setrlimit(resource, hard, hard);
        }
    }
}

/// The limits that this process may die of and cannot put off, as ulimit takes them: `-v 80000`.
pub fn firm_limits() -> Vec<String> {
    let firm = |(resource, name): (Resource, Option<(char, u64)>)| {
        let (letter, unit) = name?;
        let (_, hard) = getrlimit(resource).ok().filter(|(_, hard)| *hard != RLIM_INFINITY)?;
        Some(format!("-{letter} {}", hard / unit))
    };
    LIMITS.into_iter().filter_map(firm).collect()
}

/// How much memory this process may have, in bytes; nothing if there is no limit that it cannot put off.
pub fn memory_limit() -> Option<u64> {
    let hard = |resource| getrlimit(resource).map_or(RLIM_INFINITY, |(_, hard)| hard);
    let least = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA].map(hard).into_iter().min();
    least.filter(|least| *least != RLIM_INFINITY)
}

/// How many processes its user may have, as far as this process may make one; nothing if there is no limit.
pub fn process_limit() -> Option<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NPROC).ok()?;
    (hard != RLIM_INFINITY).then_some(hard)
}

/// Puts the null device in the place of standard streams that are closed, for hrun itself: what it opens would
/// have their numbers otherwise. The command finds them closed again.
pub fn fill_standard_streams() {
    let mut waits = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the length is that of the array.
    let found = unsafe { libc::poll(waits.as_mut_ptr(), 3, 0) };
    let is_closed = |wait: &libc::pollfd| wait.revents & libc::POLLNVAL != 0;
    if found < 1 || !waits.iter().any(is_closed) {
        return;
    }
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let Ok(null) = open(Path::new("/dev/null"), flags, Mode::empty()) else { return };
    for wait in waits.iter().filter(|wait| is_closed(wait)) {
        super::file::put_until_exec(&null, wait.fd);
    }
    // It is one of the standard streams itself: the lowest that was closed.
    super::file::leave_open(null);
}

impl Alone {
    /// Executes a program in a child process: one of the container, and no helper. It does if the child
    /// finds itself ready.
    ///
    /// # Errors
    ///
    /// The errno of fork(2).
    pub fn execute(
        self,
        program: &Path,
        image: &ExecImage,
        is_ready: impl FnOnce() -> bool,
    ) -> Result<Pid, Errno> {
        self.start(|| {
            if is_ready() {
                image.execute(program);
            }
        })
    }
}
