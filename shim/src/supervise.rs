//! A process that stays while a child becomes the command: for whoever started hrun, it is the
//! command.
//!
//! Every signal that is sent to it goes to the child, once. What is sent to the whole process group, by
//! a terminal, a shell or a launcher, comes to the child by itself, as both are in one group; so does
//! what a batch system sends to every process of a job. The kernel does not say which it was, so
//! there is a third process in the group, the *ear*, that only listens: what it hears too was not for
//! the supervisor alone (docs/decisions/0019). When the child stops, so does this process; when it
//! ends, this process ends in the same way.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp, pipe2, read, tcgetpgrp, tcsetpgrp, write};
use runtime::apply::{Init, Supervised};
use runtime::sys::helper::{self, Helper, Root, Signals};
use runtime::sys::process;

use crate::ear::{Ear, Word};

/// How far apart the signals to the processes of a group may come.
const ECHO: Duration = Duration::from_millis(50);

const CONTINUE: i32 = Signal::SIGCONT as i32;

/// What stops a process that does not catch it, and can.
const STOPS: [i32; 3] = [Signal::SIGTSTP as i32, Signal::SIGTTIN as i32, Signal::SIGTTOU as i32];

/// Goes on in a child. Here it comes back when the child has ended, with its exit status; if it was ended by a
/// signal, so is this process. What keeps an init stays open.
///
/// # Errors
///
/// The errno of pipe(2), signalfd(2) or fork(2).
pub fn start(alone: process::Alone, init: Option<&Init>) -> Result<Supervised, Errno> {
    let before = SigSet::thread_get_mask()?;
    SigSet::all().thread_block()?;
    let children = process::hear_of_children()?;
    let (gate, key) = pipe2(OFlag::O_CLOEXEC)?;
    let Some(child) = alone.fork()? else {
        drop(key);
        let own = wait_at(&gate);
        process::hear_as_before(&children);
        before.thread_set_mask()?;
        return Ok(Supervised::Child(own));
    };
    drop(gate);
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK)?;
    let ear = Ear::start(alone)?;
    let own = [key.as_raw_fd(), signals.as_fd().as_raw_fd()].into_iter().chain(ear.descriptors());
    let kept: Vec<i32> = own.chain(init.map(|init| init.line)).collect();
    // Whoever reads what the command writes must come to its end.
    let helper = Helper { name: "hrun", kept: &kept, signals: Signals::OfGroup };
    helper.become_one();
    helper::settle(Root::Kept)?;
    let mut supervisor = Supervisor::new(child, signals, ear);
    supervisor.open(&key)?;
    let ended = supervisor.run();
    // Nothing is left to others, not even to be waited for.
    let Supervisor { ear, signals, .. } = supervisor;
    ear.into_iter().for_each(Ear::end);
    drop((signals, key));
    Helper { kept: &[], ..helper }.close_descriptors();
    if let Some(init) = init.and_then(|init| init.child) {
        let _ = waitpid(init, None);
    }
    match ended? {
        WaitStatus::Signaled(_, signal, _) => {
            process::die_of(signal);
            Ok(Supervised::Ended(128u8.saturating_add(signal as u8)))
        }
        WaitStatus::Exited(_, status) => {
            Ok(Supervised::Ended(u8::try_from(status).unwrap_or(u8::MAX)))
        }
        _ => Err(Errno::ECHILD),
    }
}

/// Waits until the parent is ready, which says what number this process has there; has the kernel end this
/// process with it, also if it has ended already.
fn wait_at(gate: &OwnedFd) -> u32 {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let mut own = [0; 4];
    if read(gate, &mut own) != Ok(own.len()) {
        process::die_of(Signal::SIGKILL);
    }
    u32::from_ne_bytes(own)
}

/// Gives a terminal to a process group, if it has been given to that of this process: a shell outside
/// knows of no other.
fn give(terminal: &OwnedFd, group: Pid) {
    if tcgetpgrp(terminal) == Ok(getpgrp()) {
        let _ = tcsetpgrp(terminal, group);
    }
}

/// A child that is the command, and how it is watched over.
struct Supervisor {
    child: Pid,
    signals: SignalFd,
    /// Nothing once it was killed.
    ear: Option<Ear>,
    /// Signals that the ear has not heard, and since when.
    waiting: Vec<(i32, Instant)>,
    /// What the ear has heard of late.
    heard: Vec<(i32, Instant)>,
    /// Since when the ear has been asked.
    asked: Option<Instant>,
    /// When this process was last continued.
    continued: Option<Instant>,
}

impl Supervisor {
    fn new(child: Pid, signals: SignalFd, ear: Ear) -> Self {
        let (waiting, heard) = (Vec::new(), Vec::new());
        let (asked, continued) = (None, None);
        Supervisor { child, signals, ear: Some(ear), waiting, heard, asked, continued }
    }

    /// Lets the child go on.
    ///
    /// Signals may have come before there was an ear, or a child. The child has all blocked until
    /// now: if it has one already, it has it once.
    fn open(&mut self, gate: &OwnedFd) -> Result<(), Errno> {
        self.hear()?;
        self.waiting.drain(..).for_each(|(signal, _)| process::send(self.child, signal));
        // A child that was killed is looked after in any case.
        let _ = write(gate, &self.child.as_raw().to_ne_bytes());
        Ok(())
    }

    /// Comes back with the end of the child.
    fn run(&mut self) -> Result<WaitStatus, Errno> {
        loop {
            if let Some(end) = self.look_at_child()? {
                return Ok(end);
            }
            let has_spoken = self.wait()?;
            // In this order: what the ear has heard and this process has not is yet to come, and it is
            // not forgotten before this process has looked again, however long it had to wait.
            self.hear()?;
            if has_spoken {
                self.listen();
            }
            self.heard.retain(|(_, since)| since.elapsed() < ECHO);
            self.find_out();
        }
    }

    /// Waits for a signal, for the ear, or until it is time to look again; says whether the ear has
    /// spoken.
    fn wait(&self) -> Result<bool, Errno> {
        let waiting = self.waiting.iter().filter(|_| self.asked.is_none());
        let moments = waiting.chain(&self.heard).map(|(_, since)| *since + ECHO);
        let next = moments.chain(self.continued.map(|since| since + ECHO)).min();
        let rest = next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = rest.map(|rest| PollTimeout::try_from(rest + Duration::from_millis(1)));
        let timeout = timeout.and_then(Result::ok).unwrap_or(PollTimeout::NONE);
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let mut waits = vec![signals];
        waits.extend(self.ear.as_ref().map(|ear| PollFd::new(ear.as_fd(), PollFlags::POLLIN)));
        match poll(&mut waits, timeout) {
            Err(Errno::EINTR) | Ok(_) => Ok(waits.get(1).and_then(PollFd::any) == Some(true)),
            Err(errno) => Err(errno),
        }
    }

    /// Takes the signals that have come.
    fn hear(&mut self) -> Result<(), Errno> {
        while let Some(info) = self.signals.read_signal()? {
            let Ok(signal) = i32::try_from(info.ssi_signo) else { continue };
            if signal == Signal::SIGCHLD as i32 {
                continue;
            }
            // As the kernel does with those that a process has not taken (signal(7)), the ear among
            // them.
            if signal == CONTINUE {
                self.continued = Some(Instant::now());
                self.waiting.retain(|(waiting, _)| !STOPS.contains(waiting));
            } else if STOPS.contains(&signal) {
                self.waiting.retain(|(waiting, _)| *waiting != CONTINUE);
            }
            if !self.heard.iter().any(|(heard, _)| *heard == signal) {
                self.waiting.push((signal, Instant::now()));
            }
        }
        Ok(())
    }

    /// Takes what the ear says.
    ///
    /// One that it has heard may stand for several here, and the other way round: signals of one
    /// number that come before the first is taken are one, and either process may be slow.
    fn listen(&mut self) {
        let Some(words) = self.ear.as_ref().and_then(Ear::listen_to) else {
            // An init that was killed too ends when nobody of its namespace is to be waited for.
            self.ear.take().into_iter().for_each(Ear::end);
            return;
        };
        for word in words {
            match word {
                // It was for a group that the child has left.
                Word::Heard(_) if self.is_apart() => {}
                Word::Heard(signal) => {
                    self.waiting.retain(|(waiting, _)| *waiting != signal);
                    self.heard.push((signal, Instant::now()));
                }
                Word::Answer => {
                    if let Some(asked) = self.asked.take() {
                        self.pass_on(|_, since| since + ECHO <= asked);
                    }
                }
            }
        }
    }

    /// Asks the ear for signals that have waited long enough.
    fn find_out(&mut self) {
        let Some(ear) = &self.ear else { return self.pass_on(|_, _| true) };
        let is_due = self.waiting.iter().any(|(_, since)| since.elapsed() >= ECHO);
        if is_due && self.asked.is_none() {
            ear.ask();
            self.asked = Some(Instant::now());
        }
        // It would not answer; and if this process has been continued, it has been alone.
        if self.asked.is_some() && ear.is_stopped() {
            ear.wake();
            self.pass_on(|signal, _| signal == CONTINUE);
        }
    }

    /// The terminal, if a group that the child has made of its own is in front of it, as that of a
    /// shell; and that group.
    fn terminal_of_child(&self) -> Option<(OwnedFd, Pid)> {
        let group = getpgid(Some(self.child)).ok().filter(|_| self.is_apart())?;
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let terminal = open("/dev/tty", flags, Mode::empty()).ok()?;
        (tcgetpgrp(&terminal) == Ok(group)).then_some((terminal, group))
    }

    /// Whether the child has gone to a process group of its own.
    fn is_apart(&self) -> bool {
        getpgid(Some(self.child)).is_ok_and(|group| group != getpgrp())
    }

    /// Sends some of what waits to the child.
    fn pass_on(&mut self, which: impl Fn(i32, Instant) -> bool) {
        let child = self.child;
        self.waiting.retain(|(signal, since)| {
            let is_one = which(*signal, *since);
            if is_one {
                process::send(child, *signal);
            }
            !is_one
        });
    }

    /// How the child has ended, if it has; if it was stopped, so is this process.
    fn look_at_child(&mut self) -> Result<Option<WaitStatus>, Errno> {
        loop {
            // One that was stopped together with this process may be continued a moment later.
            self.continued = self.continued.filter(|since| since.elapsed() < ECHO);
            let flags = match self.continued {
                Some(_) => WaitPidFlag::WNOHANG,
                None => WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED,
            };
            match waitpid(self.child, Some(flags)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(end @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => {
                    return Ok(Some(end));
                }
                Ok(WaitStatus::Stopped(_, signal)) => {
                    // To stop would take back that both go on.
                    self.hear()?;
                    if self.continued.is_none() {
                        let terminal = self.terminal_of_child();
                        process::stop_by(signal);
                        if let Some((terminal, group)) = terminal {
                            give(&terminal, group);
                        }
                        self.hear()?;
                    }
                }
                Ok(_) => return Ok(None),
            }
        }
    }
}
