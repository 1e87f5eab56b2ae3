//! A process that stays while a child becomes the command: for whoever started hrun, it is the
//! command.
//!
//! Every signal that is sent to it goes to the child, once. What is sent to the whole process group, by
//! a terminal, a shell or a launcher, comes to the child by itself, as both are in one group; so does
//! what a batch system sends to every process of a job. The kernel does not say which it was, so
//! there is a third process in the group, the *ear*, that only listens: what it hears too was not for
//! the supervisor alone. When the child stops, so does this process; when it ends, this process ends in
//! the same way.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2, read, write};
use runtime::apply::Init;
use runtime::sys::{detached, process};

/// What `ps` shows of the ear.
const EAR: &str = "hrun-ear";

/// How far apart the signals to the processes of a group may come.
const ECHO: Duration = Duration::from_millis(50);

/// Goes on in a child, where nothing is given back. Here it comes back when the child has ended, with
/// its exit status; if it was ended by a signal, so is this process. What keeps an init stays open.
///
/// # Errors
///
/// The errno of pipe(2), signalfd(2) or fork(2).
pub fn start(alone: process::Alone, init: Option<&Init>) -> Result<Option<u8>, Errno> {
    let before = SigSet::thread_get_mask()?;
    SigSet::all().thread_block()?;
    let children = process::hear_of_children()?;
    let (line, alive) = pipe2(OFlag::O_CLOEXEC)?;
    let (ear, heard) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let listener = alone.start(|| listen(&line, &heard))?;
    let Some(child) = alone.fork()? else {
        drop(alive);
        die_with_parent(&line);
        process::hear_as_before(&children);
        before.thread_set_mask()?;
        return Ok(None);
    };
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK)?;
    let _ = process::set_no_new_privileges();
    let _ = process::drop_capabilities();
    let own = [alive.as_raw_fd(), ear.as_raw_fd(), signals.as_fd().as_raw_fd()];
    let kept: Vec<i32> = own.into_iter().chain(init.map(|init| init.line.as_raw_fd())).collect();
    // Whoever reads what the command writes must come to its end.
    detached::close_all_but(&kept);
    let supervisor = Supervisor { child, signals, ear, pending: Vec::new(), echoes: Vec::new() };
    let ended = supervisor.run();
    // Nothing is left to others, not even to be waited for.
    process::send(listener, Signal::SIGKILL as i32);
    let _ = waitpid(listener, None);
    detached::close_all_but(&[]);
    if let Some(init) = init.and_then(|init| init.child) {
        let _ = waitpid(init, None);
    }
    match ended? {
        WaitStatus::Signaled(_, signal, _) => {
            process::die_of(signal);
            Ok(Some(128u8.saturating_add(signal as u8)))
        }
        WaitStatus::Exited(_, status) => Ok(Some(u8::try_from(status).unwrap_or(u8::MAX))),
        _ => Ok(None),
    }
}

/// Has the kernel end this process with its parent, also if that has ended already.
fn die_with_parent(line: &OwnedFd) {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let mut waits = [PollFd::new(line.as_fd(), PollFlags::POLLIN)];
    if poll(&mut waits, PollTimeout::ZERO) != Ok(0) {
        process::die_of(Signal::SIGKILL);
    }
}

/// Writes down every signal that comes.
fn listen(line: &OwnedFd, heard: &OwnedFd) {
    detached::close_all_but(&[line.as_raw_fd(), heard.as_raw_fd()]);
    die_with_parent(line);
    detached::take_name(EAR);
    let _ = process::drop_capabilities();
    let Ok(signals) = SignalFd::new(&SigSet::all()) else { return };
    while let Ok(info) = signals.read_signal() {
        let number = info.map_or(0, |info| info.ssi_signo as u8);
        if write(heard, &[number]).is_err_and(|errno| errno != Errno::EAGAIN) {
            return;
        }
    }
}

/// A child that is the command, and how it is watched over.
struct Supervisor {
    child: Pid,
    signals: SignalFd,
    ear: OwnedFd,
    /// Signals for this process, which the ear may hear yet, and since when.
    pending: Vec<(i32, Instant)>,
    /// What the ear has heard and this process has not.
    echoes: Vec<(i32, Instant)>,
}

impl Supervisor {
    /// Comes back with the end of the child.
    fn run(mut self) -> Result<WaitStatus, Errno> {
        loop {
            self.wait()?;
            while let Some(info) = self.signals.read_signal()? {
                let Ok(signal) = i32::try_from(info.ssi_signo) else { continue };
                if signal == Signal::SIGCHLD as i32 {
                    if let Some(end) = self.look_at_child()? {
                        return Ok(end);
                    }
                // From the kernel: for the group in front of the terminal, or about this process.
                } else if info.ssi_code <= 0 {
                    self.pending.push((signal, Instant::now()));
                }
            }
            self.pass_on();
        }
    }

    /// Waits for a signal, for the ear, or until a signal has waited for the ear long enough.
    fn wait(&self) -> Result<(), Errno> {
        let rest = self.pending.iter().map(|(_, since)| ECHO.saturating_sub(since.elapsed())).min();
        let timeout = rest.map(|rest| PollTimeout::try_from(rest + Duration::from_millis(1)));
        let timeout = timeout.and_then(Result::ok).unwrap_or(PollTimeout::NONE);
        let mut waits = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ear.as_fd(), PollFlags::POLLIN),
        ];
        // An ear that was killed hears nothing more.
        let count = if self.pending.is_empty() { 1 } else { 2 };
        match poll(&mut waits[..count], timeout) {
            Err(Errno::EINTR) | Ok(_) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Sends on what was for this process alone.
    fn pass_on(&mut self) {
        let mut heard = [0; 64];
        while let Ok(count @ 1..) = read(&self.ear, &mut heard) {
            let now = Instant::now();
            self.echoes.extend(heard[..count].iter().map(|signal| (i32::from(*signal), now)));
        }
        let child = self.child;
        let echoes = &mut self.echoes;
        self.pending.retain(|(signal, since)| {
            if let Some(echo) = echoes.iter().position(|(heard, _)| heard == signal) {
                echoes.remove(echo);
                return false;
            }
            let waits = since.elapsed() < ECHO;
            if !waits {
                process::send(child, *signal);
            }
            waits
        });
        // What was sent to the ear alone, from inside.
        echoes.retain(|(_, since)| since.elapsed() < ECHO);
    }

    /// How the child has ended, if it has; if it was stopped, so is this process.
    fn look_at_child(&self) -> Result<Option<WaitStatus>, Errno> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        loop {
            match waitpid(self.child, Some(flags)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(end @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => {
                    return Ok(Some(end));
                }
                Ok(WaitStatus::Stopped(_, signal)) => process::stop_by(signal),
                Ok(_) => return Ok(None),
            }
        }
    }
}
