//! Starts the ranks of a step together, each of which lives until all have been seen to run.

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use crate::measure::{Sample, cpu, usage};

/// The program every rank is, in the image: `benches/meet.c`.
pub const MEET: &str = "/bench/meet";

/// No step takes longer to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many milliseconds nothing may come before somebody is looked for who has ended.
const SILENCE: u8 = 100;

/// What a rank writes when it begins.
const STAMP: usize = size_of::<u64>();

/// Ranks that run.
pub struct Ranks {
    children: Vec<Child>,
    /// They end when it does.
    input: PipeWriter,
    /// From the first spawn until the last of them began to run.
    pub up: Duration,
}

impl Ranks {
    /// Starts all of them, and comes back when the last has begun.
    ///
    /// # Errors
    ///
    /// Says how many ended before, or did not come in time; all are gone then.
    pub fn start(commands: &mut [Command]) -> Result<Self, String> {
        let fail = |error: std::io::Error| error.to_string();
        let (input, keep) = pipe().map_err(fail)?;
        let (stamps, output) = pipe().map_err(fail)?;
        for command in &mut *commands {
            command.stdin(input.try_clone().map_err(fail)?);
            command.stdout(output.try_clone().map_err(fail)?).stderr(Stdio::null());
        }
        drop((input, output));
        let begin = now();
        let children: Result<Vec<Child>, _> = commands.iter_mut().map(Command::spawn).collect();
        let mut ranks = Ranks { children: children.map_err(fail)?, input: keep, up: PATIENCE };
        match ranks.await_all(stamps) {
            Ok(last) => {
                ranks.up = Duration::from_nanos(last.saturating_sub(begin));
                Ok(ranks)
            }
            Err(reason) => {
                ranks.kill();
                Err(reason)
            }
        }
    }

    /// When the last of them began.
    fn await_all(&mut self, mut stamps: PipeReader) -> Result<u64, String> {
        let (clock, mut came) = (Instant::now(), Vec::new());
        while came.len() < STAMP * self.children.len() {
            let mut wanted = [PollFd::new(stamps.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, PollTimeout::from(SILENCE)) {
                Ok(0) => self.look_for_ended(came.len() / STAMP, clock.elapsed())?,
                Ok(_) => {
                    let mut piece = [0; 256 * STAMP];
                    let count = stamps.read(&mut piece).map_err(|error| error.to_string())?;
                    came.extend_from_slice(&piece[..count]);
                    if count == 0 {
                        self.look_for_ended(came.len() / STAMP, PATIENCE)?;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.to_string()),
            }
        }
        let stamps = came.chunks_exact(STAMP).filter_map(|stamp| stamp.try_into().ok());
        Ok(stamps.map(u64::from_ne_bytes).max().unwrap_or_default())
    }

    /// Nobody ends before all run.
    fn look_for_ended(&mut self, came: usize, waited: Duration) -> Result<(), String> {
        let all = self.children.len();
        let ends = self.children.iter_mut().filter_map(|child| child.try_wait().ok().flatten());
        let ends: Vec<_> = ends.collect();
        match ends.first() {
            Some(first) => {
                Err(format!("{} of {all} ended before all ran, one with {first}", ends.len()))
            }
            None if waited < PATIENCE => Ok(()),
            None => Err(format!("{} of {all} did not run in {PATIENCE:?}", all - came)),
        }
    }

    /// Lets them end.
    ///
    /// # Errors
    ///
    /// Says how one of them failed.
    pub fn end(self) -> Result<(), String> {
        drop(self.input);
        let mut result = Ok(());
        for mut child in self.children {
            let status = child.wait().map_err(|error| error.to_string())?;
            if !status.success() {
                result = Err(format!("a rank ended with {status}"));
            }
        }
        result
    }

    /// The process number of the first.
    pub fn first(&self) -> u32 {
        self.children.first().map_or(0, Child::id)
    }

    fn kill(&mut self) {
        for child in &mut self.children {
            // Whoever has ended already needs it no more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a step and ends it: by the clock until the last rank runs, the rest to the end.
///
/// # Errors
///
/// As [`Ranks::start`] and [`Ranks::end`].
pub fn start_step(commands: &mut [Command]) -> Result<Sample, String> {
    let before = usage()?;
    let ranks = Ranks::start(commands)?;
    let wall = ranks.up;
    ranks.end()?;
    let after = usage()?;
    let faults = after.minor_page_faults() - before.minor_page_faults();
    Ok(Sample { wall, cpu: cpu(&after).saturating_sub(cpu(&before)), faults })
}

/// The clock the ranks tell the time by, in nanoseconds.
fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| now.as_nanos().try_into().unwrap_or(u64::MAX))
}
