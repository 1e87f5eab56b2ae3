//! Ids, namespaces, capabilities, execve(2).

use std::ffi::{CString, OsStr};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd;

use super::c_string;

/// Whether the kernel gave this program rights its caller lacks (getauxval(3), `AT_SECURE`).
pub fn is_secure_execution() -> bool {
    auxiliary(libc::AT_SECURE) != 0
}

/// The effective user id at program start, without a system call.
pub fn effective_uid() -> u32 {
    auxiliary(libc::AT_EUID) as u32
}

/// The effective group id at program start, without a system call.
pub fn effective_gid() -> u32 {
    auxiliary(libc::AT_EGID) as u32
}

fn auxiliary(kind: libc::c_ulong) -> libc::c_ulong {
    // SAFETY: getauxval reads memory the kernel set up and has no preconditions.
    unsafe { libc::getauxval(kind) }
}

/// User and group id as they are now, in the namespace this process is in.
pub fn ids() -> (u32, u32) {
    (unistd::geteuid().as_raw(), unistd::getegid().as_raw())
}

/// The supplementary group ids, in one system call where 256 are enough.
///
/// # Errors
///
/// The errno of getgroups(2).
pub fn groups() -> Result<Vec<u32>, Errno> {
    let mut groups: [libc::gid_t; 256] = [0; 256];
    // SAFETY: the length is that of the array.
    let count = unsafe { libc::getgroups(256, groups.as_mut_ptr()) };
    match usize::try_from(count) {
        Ok(count) => Ok(groups[..count].to_vec()),
        Err(_) => Ok(unistd::getgroups()?.into_iter().map(unistd::Gid::as_raw).collect()),
    }
}

/// Makes a user namespace and a mount namespace in it, for a process of one thread.
///
/// # Errors
///
/// The errno of unshare(2); `EINVAL` if another thread exists.
pub fn unshare_user_and_mounts() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
}

/// Makes a PID namespace for the children of this process.
///
/// # Errors
///
/// The errno of unshare(2).
pub fn unshare_pids() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWPID)
}

/// What this machine is called.
pub fn host_name() -> String {
    let name = nix::sys::utsname::uname().map(|names| names.nodename().to_owned());
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// Makes a directory; one that is there already is fine.
///
/// # Errors
///
/// The errno of mkdir(2).
pub fn make_directory(path: &Path, mode: u32) -> Result<(), Errno> {
    match unistd::mkdir(path, Mode::from_bits_truncate(mode)) {
        Err(Errno::EEXIST) if path.is_dir() => Ok(()),
        result => result,
    }
}

/// Makes a symbolic link.
///
/// # Errors
///
/// The errno of symlink(2).
pub fn make_link(target: &Path, path: &Path) -> Result<(), Errno> {
    unistd::symlinkat(target, nix::fcntl::AT_FDCWD, path)
}

/// Keeps execve(2) from ever granting a privilege (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
///
/// The errno of prctl(2).
pub fn set_no_new_privileges() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()
}

/// Closes this process to all others of its user, up to execve(2): what `/proc` has of it and ptrace(2) take
/// rights in the user namespace that hrun was started in (`PR_SET_DUMPABLE`). Its children are closed as well.
pub fn close_to_others() {
    // Nothing but another value is refused.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Undoes [`close_to_others`]: the id maps of a process that is closed are closed to itself, too.
pub fn open_to_others() {
    let _ = nix::sys::prctl::set_dumpable(true);
}

/// Has the kernel forget children of this process as they end, those that others leave to it among them.
pub fn leave_children_to_kernel() {
    // SAFETY: no handler is set.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigIgn) };
}

/// Gives up all capabilities of this process (capset(2)).
///
/// A program file with capabilities would keep them otherwise: with `no_new_privs` the kernel still
/// grants those that the process has already.
///
/// # Errors
///
/// The errno of capset(2).
pub fn drop_capabilities() -> Result<(), Errno> {
    set_capabilities(0, 0)
}

/// Keeps some capabilities, a bit for each, and gives up all others.
///
/// # Errors
///
/// The errno of capset(2) or prctl(2); `EPERM` for a capability this process does not have.
pub fn keep_capabilities(kept: u64, ambient: bool) -> Result<(), Errno> {
    set_capabilities(kept, if ambient { kept } else { 0 })?;
    for capability in (0..u64::BITS).filter(|number| ambient && kept >> number & 1 == 1) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
        let capability = libc::c_ulong::from(capability);
        // SAFETY: prctl with PR_CAP_AMBIENT takes numbers only.
        let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) };
        match Errno::result(result) {
            // A kernel older than the capability.
            Ok(_) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets the effective and permitted, and the inheritable capabilities (capset(2)).
fn set_capabilities(permitted: u64, inheritable: u64) -> Result<(), Errno> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h, and this process.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    let sets = |shift: u32| [permitted, permitted, inheritable].map(|set| (set >> shift) as u32);
    // Effective, permitted and inheritable: first the lower halves, then the upper ones.
    let data = [sets(0), sets(32)];
    // SAFETY: both structures have the size that version 3 asks for.
    let result = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), data.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Drops every other capability the kernel knows from the bounding set (capabilities(7)).
///
/// # Errors
///
/// The errno of prctl(2).
pub fn bound_capabilities(kept: u64) -> Result<(), Errno> {
    for number in
        (0..u8::MAX).filter(|number| kept.checked_shr((*number).into()).unwrap_or(0) & 1 == 0)
    {
        let capability = libc::c_ulong::from(number);
        // SAFETY: prctl with PR_CAPBSET_DROP takes numbers only.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            // The first number past the last capability.
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// `SECCOMP_FILTER_FLAG_LOG`.
pub const FILTER_LOG: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_LOG;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
pub const FILTER_SPEC_ALLOW: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

/// Has the kernel run a program of classic BPF before each system call (seccomp(2)).
///
/// # Errors
///
/// The errno of seccomp(2); `EINVAL` for a program or flag that the kernel does not take.
pub fn load_filter(
    flags: libc::c_ulong,
    instructions: impl Iterator<Item = (u16, u8, u8, u32)>,
) -> Result<(), Errno> {
    let instruction = |(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k };
    let mut program: Vec<libc::sock_filter> = instructions.map(instruction).collect();
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the length is that of the array, which lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    Errno::result(result).map(drop)
}

/// Runs `body` in a child process and gives back the number it returned.
///
/// The child is a copy of this process with nothing else in it, so `body` may do what any code
/// may; it never comes back into the caller.
///
/// # Errors
///
/// The errno of fork(2) or pipe(2); `EINVAL` if this process has more than one thread, because
/// then the copy could hold locks nobody will release; `ECHILD` if the child died.
pub fn in_child(body: impl FnOnce() -> u64) -> Result<u64, Errno> {
    if count_threads() != 1 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread, so the child is a whole copy of it.
    match unsafe { unistd::fork() }? {
        unistd::ForkResult::Child => {
            let report = body().to_ne_bytes();
            // The parent notices a report that does not arrive.
            let _ = unistd::write(&writer, &report);
            // SAFETY: _exit has no preconditions; it leaves the parent's buffers unflushed.
            unsafe { libc::_exit(0) }
        }
        unistd::ForkResult::Parent { child } => {
            drop(writer);
            let mut report = [0; 8];
            let read = unistd::read(&reader, &mut report);
            waitpid(child, None)?;
            if read? == report.len() { Ok(u64::from_ne_bytes(report)) } else { Err(Errno::ECHILD) }
        }
    }
}

/// Runs `body` in a process that is nobody's child, and goes on.
///
/// As [`in_child`], but this process neither waits for it nor can it: a child of it makes the
/// process, and ends.
///
/// # Errors
///
/// The errno of fork(2); `EINVAL` if this process has more than one thread.
pub(super) fn in_background(body: impl FnOnce()) -> Result<(), Errno> {
    match count_threads() {
        1 => in_background_alone(body),
        _ => Err(Errno::EINVAL),
    }
}

/// The same, in a process that may have threads; `body` runs in a copy without them.
///
/// What they had locked stays locked there, but for the memory of the C library, whose fork(3) sees
/// to that: so `body` may use nothing else that threads share.
///
/// # Errors
///
/// The errno of fork(2).
pub(super) fn in_background_alone(body: impl FnOnce()) -> Result<(), Errno> {
    // SAFETY: the child uses nothing that another thread may have locked, as is said above.
    match unsafe { unistd::fork() }? {
        unistd::ForkResult::Child => {
            // SAFETY: as above; the parent of the new process ends, which makes it init's.
            let status = match unsafe { unistd::fork() } {
                Ok(unistd::ForkResult::Child) => {
                    body();
                    0
                }
                Ok(unistd::ForkResult::Parent { .. }) => 0,
                Err(errno) => errno as i32,
            };
            // SAFETY: _exit has no preconditions.
            unsafe { libc::_exit(status) }
        }
        unistd::ForkResult::Parent { child } => match wait(child)? {
            WaitStatus::Exited(_, status) if status != 0 => Err(Errno::from_raw(status)),
            _ => Ok(()),
        },
    }
}

/// Waits for a child; where the caller has SIGCHLD ignored, it leaves no status.
fn wait(child: unistd::Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(WaitStatus::Exited(child, 0)),
            result => return result,
        }
    }
}

/// The proof that a process has one thread, and so may be copied as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Alone(());

impl Alone {
    /// Looks, which takes a `/proc` of this process's PID namespace; hrun starts no thread later.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is another thread.
    pub fn look() -> Result<Self, Errno> {
        if count_threads() == 1 { Ok(Alone(())) } else { Err(Errno::EINVAL) }
    }

    /// Makes a copy of this process, which goes on from here too: nothing is given back there, and
    /// the number of the copy here.
    ///
    /// # Errors
    ///
    /// The errno of fork(2).
    pub fn fork(self) -> Result<Option<unistd::Pid>, Errno> {
        // SAFETY: this process has one thread, so the child is a whole copy of it.
        match unsafe { unistd::fork() }? {
            unistd::ForkResult::Child => Ok(None),
            unistd::ForkResult::Parent { child } => Ok(Some(child)),
        }
    }

    /// Runs `body` in a child process.
    ///
    /// # Errors
    ///
    /// The errno of fork(2).
    pub(super) fn start(self, body: impl FnOnce()) -> Result<unistd::Pid, Errno> {
        if let Some(child) = self.fork()? {
            return Ok(child);
        }
        body();
        // SAFETY: _exit has no preconditions; it leaves the parent's buffers unflushed.
        unsafe { libc::_exit(0) }
    }
}

/// Sends a signal by its number, which may be one of those without a name.
pub fn send(process: unistd::Pid, signal: i32) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(process.as_raw(), signal) };
}

/// Has this process told of its children, whatever it was started with; gives back what that was.
///
/// # Errors
///
/// The errno of sigaction(2).
pub fn hear_of_children() -> Result<SigAction, Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action is no handler.
    unsafe { sigaction(Signal::SIGCHLD, &default) }
}

/// Undoes [`hear_of_children`].
pub fn hear_as_before(before: &SigAction) {
    // SAFETY: nothing in hrun has a handler, so this is one of the two actions without.
    let _ = unsafe { sigaction(Signal::SIGCHLD, before) };
}

/// Ends this process as another was ended: by a signal, without a core file of its own. Comes back
/// only if the signal does not end a process.
pub fn die_of(signal: Signal) {
    // SAFETY: the default action is no handler.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let only = SigSet::from(signal);
    let _ = only.thread_unblock();
    let _ = raise(signal);
}

/// Ends this process and all its threads, and leaves nothing to be done.
pub fn end_at_once(status: i32) -> ! {
    // SAFETY: _exit has no preconditions; nothing is buffered in a helper.
    unsafe { libc::_exit(status) }
}

/// Stops this process as another was stopped, until it is continued.
pub fn stop_by(signal: Signal) {
    let only = SigSet::from(signal);
    // While it is blocked: the terminal may have sent it to this process too, and what is pending
    // together stops once, as SIGCONT takes the rest away (signal(7)).
    let _ = raise(signal);
    let _ = only.thread_unblock();
    let _ = only.thread_block();
}

fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0)
}

/// Where the kernel has put the arguments and the environment of this program.
static ARGUMENTS: [AtomicPtr<*mut libc::c_char>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

/// Has the C library say that at the start, as it does to Rust's own library.
#[cfg(target_env = "gnu")]
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: Remember = remember_arguments;

#[cfg(target_env = "gnu")]
type Remember = extern "C" fn(libc::c_int, *mut *mut libc::c_char, *mut *mut libc::c_char);

#[cfg(target_env = "gnu")]
extern "C" fn remember_arguments(
    _: libc::c_int,
    arguments: *mut *mut libc::c_char,
    environment: *mut *mut libc::c_char,
) {
    ARGUMENTS[0].store(arguments, Ordering::Relaxed);
    ARGUMENTS[1].store(environment, Ordering::Relaxed);
}

/// Puts a name in the place of this program's arguments and environment, which anybody may read in `/proc`.
///
/// They are not to be asked for later.
pub(super) fn wipe_arguments(name: &str) {
    let [arguments, environment] =
        ARGUMENTS.each_ref().map(|list| list.swap(null_mut(), Ordering::Relaxed));
    // SAFETY: the kernel has laid out both lists, which end with a null pointer, of strings that end with a NUL
    // and may be written to; nothing else uses them any more.
    unsafe {
        let room = wipe(arguments);
        wipe(environment);
        if let Some(length) = room.checked_sub(1) {
            let length = length.min(name.len());
            (*arguments).cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), length);
        }
    }
}

/// Overwrites the strings of a list with NULs; gives back how many bytes, without a gap, the first ones have.
///
/// # Safety
///
/// Each entry of the list up to a null pointer is a string that may be written to.
unsafe fn wipe(list: *mut *mut libc::c_char) -> usize {
    let mut room = 0;
    let mut entry = list;
    // SAFETY: as the caller promises; no byte beyond a string and its NUL is touched.
    unsafe {
        while !entry.is_null() && !(*entry).is_null() {
            let size = libc::strlen(*entry) + 1;
            (*entry).write_bytes(0, size);
            if (*entry).addr() == (*list).addr() + room {
                room += size;
            }
            entry = entry.add(1);
        }
    }
    room
}

/// A program, its arguments and environment as execve(2) takes them.
#[derive(Debug)]
pub struct ExecImage {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl ExecImage {
    /// Lays out arguments and `NAME=value` strings.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one has a NUL byte inside.
    pub fn new<'a>(
        arguments: impl Iterator<Item = &'a OsStr>,
        environment: impl Iterator<Item = &'a OsStr>,
    ) -> Result<Self, Errno> {
        Ok(ExecImage {
            arguments: arguments.map(c_string).collect::<Result<_, _>>()?,
            environment: environment.map(c_string).collect::<Result<_, _>>()?,
        })
    }

    /// Becomes the program at `path`; comes back only with the reason it could not.
    pub fn execute(&self, path: &Path) -> Errno {
        match c_string(path.as_os_str()) {
            Ok(path) => match unistd::execve(&path, &self.arguments, &self.environment) {
                Err(errno) => errno,
            },
            Err(errno) => errno,
        }
    }
}
