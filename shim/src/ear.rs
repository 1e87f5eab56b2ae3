//! A process that only listens: what it hears too was not for the supervisor alone.
//!
//! It writes down every signal that comes to it. Under load that may take a while, so it can be
//! asked, too: before it answers it has written down all that has come until then.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, pipe2, read, write};
use runtime::sys::helper::{self, Helper, Root, Signals};
use runtime::sys::process;

/// The byte that is an answer; every other is the number of a signal.
const ANSWER: u8 = 0;

/// What the ear says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A signal has come.
    Heard(i32),
    /// It has said all that it has heard until it was asked.
    Answer,
}

/// The ear, as the supervisor has it.
#[derive(Debug)]
pub struct Ear {
    process: Pid,
    questions: OwnedFd,
    words: OwnedFd,
}

impl Ear {
    /// Starts it, in a process that has all signals blocked.
    ///
    /// # Errors
    ///
    /// The errno of pipe(2) or fork(2).
    pub fn start(alone: process::Alone) -> Result<Self, Errno> {
        let (asked, questions) = pipe2(OFlag::O_CLOEXEC)?;
        let (words, said) = pipe2(OFlag::O_CLOEXEC)?;
        // Nobody could be told of an error; without an ear it is as if it heard nothing.
        let kept = [asked.as_raw_fd(), said.as_raw_fd()];
        let ear = Helper { name: "hrun-ear", kept: &kept, signals: Signals::OfGroup };
        let process = ear.start(alone, || {
            let _ = listen(&asked, &said);
        })?;
        Ok(Ear { process, questions, words })
    }

    /// The descriptors it is known by.
    pub fn descriptors(&self) -> [i32; 2] {
        [self.questions.as_raw_fd(), self.words.as_raw_fd()]
    }

    /// Has it answer.
    pub fn ask(&self) {
        // One that is gone is noticed at the other pipe.
        let _ = write(&self.questions, &[ANSWER]);
    }

    /// What it has said; nothing if it is gone.
    ///
    /// Waits if it has said nothing yet.
    pub fn listen_to(&self) -> Option<Vec<Word>> {
        let mut bytes = [0; 64];
        let count = read(&self.words, &mut bytes).ok().filter(|count| *count > 0)?;
        let word = |byte: &u8| match *byte {
            ANSWER => Word::Answer,
            signal => Word::Heard(signal.into()),
        };
        Some(bytes[..count].iter().map(word).collect())
    }

    /// Whether it has been stopped, and not continued, since this was last asked.
    pub fn is_stopped(&self) -> bool {
        // Its end stays to be waited for: until then nobody else has its number.
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WSTOPPED;
        matches!(waitid(Id::Pid(self.process), flags), Ok(WaitStatus::Stopped(..)))
    }

    /// Continues it.
    pub fn wake(&self) {
        process::send(self.process, Signal::SIGCONT as i32);
    }

    /// Ends it, and leaves nothing to be waited for.
    pub fn end(self) {
        process::send(self.process, Signal::SIGKILL as i32);
        let _ = waitpid(self.process, None);
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.words.as_fd()
    }
}

/// Says what it hears, as long as somebody could ask.
fn listen(asked: &OwnedFd, said: &OwnedFd) -> Result<(), Errno> {
    // The pipe tells of the end of the supervisor, but not one that is stopped.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    helper::settle(Root::Kept)?;
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK)?;
    loop {
        let mut waits = [
            PollFd::new(asked.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waits, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        let mut count = 0;
        if waits[0].any() == Some(true) {
            count = read(asked, &mut [0; 16])?;
            if count == 0 {
                return Ok(());
            }
        }
        while let Some(info) = signals.read_signal()? {
            write(said, &[info.ssi_signo as u8])?;
        }
        for _ in 0..count {
            write(said, &[ANSWER])?;
        }
    }
}
