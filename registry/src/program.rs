//! Other programs that are asked something: `getent`, credential helpers.
#![allow(
    clippy::disallowed_methods,
    reason = "waits for another program's answer beside its own work"
)]

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{io, thread};

/// What a program printed, and how it ended.
pub struct Answer {
    /// The beginning of its standard output.
    pub output: Vec<u8>,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs a program to its end, and ends it if it takes too long.
///
/// # Errors
///
/// Fails if it cannot be started, and with [`io::ErrorKind::TimedOut`].
pub fn ask(command: &mut Command, input: &str, patience: Duration) -> io::Result<Answer> {
    /// What any of them has to say is shorter.
    const LIMIT: u64 = 64 << 10;
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // Short enough for the pipe; a program that does not read it is no reason to fail.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let stdout = child.stdout.take();
    let (sender, receiver) = channel();
    let reading = thread::Builder::new().spawn(move || {
        let mut output = Vec::new();
        let read = stdout.map(|stdout| stdout.take(LIMIT).read_to_end(&mut output));
        // Nobody listens any more if it took too long.
        let _ = sender.send(read.unwrap_or(Ok(0)).map(|_| output));
    });
    if let Err(error) = reading {
        let _ = child.kill();
        child.wait()?;
        return Err(error);
    }
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    let output = receiver.recv_timeout(patience).unwrap_or_else(late);
    if output.is_err() {
        // Its children may still hold the pipe; the thread that reads it ends with this program.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(Answer { output: output?, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_hears_and_answers() {
        let answer = ask(&mut shell("cat; exit 3"), "hello", LONG).unwrap();
        assert_eq!((answer.output.as_slice(), answer.status.code()), (&b"hello"[..], Some(3)));
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let refused = ask(&mut shell("exec sleep 1000"), "", Duration::from_millis(50));
        assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    }

    #[test]
    fn one_that_talks_without_end_is_not_listened_to() {
        let answer = ask(&mut shell("exec yes"), "", LONG).unwrap();
        assert_eq!(answer.output.len(), 64 << 10);
    }
}
