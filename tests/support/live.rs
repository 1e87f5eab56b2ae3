//! Children that a test watches while they run.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::run::Outcome;

/// Nothing a test waits for takes longer, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running child; it is killed where the test ends before it does.
pub struct Live {
    pid: Pid,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    has_ended: bool,
}

impl Live {
    /// Starts a command whose standard input and output are pipes of the test.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let output = child.stdout.take().unwrap();
        Live::watch(child, output)
    }

    /// Watches a child that prints to a stream.
    pub fn watch(mut child: Child, output: impl Read + Send + 'static) -> Self {
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        Live { pid, input: child.stdin.take(), lines: lines_of(output), has_ended: false }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The next line of standard output.
    #[track_caller]
    pub fn next_line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the child prints another line")
    }

    /// Writes to standard input and closes it.
    pub fn say(&mut self, text: &str) {
        self.input.take().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes to standard input, which stays open.
    pub fn ask(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes as [`Live::say`] does to a child that may have ended.
    pub fn say_if_it_listens(&mut self, text: &str) {
        let _ = self.input.take().unwrap().write_all(text.as_bytes());
    }

    pub fn send(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Waits until the child ends, stops or continues.
    #[track_caller]
    pub fn wait(&mut self) -> WaitStatus {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        let change =
            until("the child changes its state", || match waitpid(self.pid, Some(flags)) {
                Ok(WaitStatus::StillAlive) => None,
                status => Some(status.unwrap()),
            });
        self.has_ended = matches!(change, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        change
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Runs a command that might never end; then the test fails instead of hanging.
#[track_caller]
pub fn outcome_in_time(command: &mut Command) -> Outcome {
    outcome_within(command, PATIENCE)
}

/// As [`outcome_in_time`], with another patience.
#[track_caller]
pub fn outcome_within(command: &mut Command, patience: Duration) -> Outcome {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the command hangs: {command:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Outcome::new(child.wait_with_output().unwrap())
}

/// Looks again and again until something is there.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The lines of a stream, as they come; a terminal's carriage returns are left out.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // A terminal without a process ends in an error.
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}
