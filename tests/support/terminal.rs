//! A terminal, with the test at the keyboard.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::live::Live;
use super::run::as_tester;

/// A pseudo-terminal (pty(7)).
pub struct Terminal {
    keyboard: File,
    /// The session leader on it.
    pub leader: Live,
}

impl Terminal {
    /// Starts a program as the tester, as the leader of a session on a new terminal.
    pub fn start(program: &Path, words: &[&str]) -> Self {
        let mut command = as_tester(Path::new("setsid"));
        command.arg("--ctty").arg(program).args(words);
        Terminal::start_leader(&mut command)
    }

    fn start_leader(command: &mut Command) -> Self {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let master = posix_openpt(flags | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname_r(&master).unwrap();
        let end =
            || OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(&name);
        let ends = [end(), end(), end()].map(Result::unwrap);
        let [input, output, errors] = ends;
        let child = command.stdin(input).stdout(output).stderr(errors).spawn().unwrap();
        // The command holds the ends; without it the last reader would wait for ever.
        command.stdin(std::process::Stdio::null());
        let screen = File::from(std::os::fd::OwnedFd::from(master));
        let keyboard = screen.try_clone().unwrap();
        Terminal { keyboard, leader: Live::watch(child, screen) }
    }

    /// Types keys; `\u{3}` is Ctrl-C.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a line on the screen.
    #[track_caller]
    pub fn wait_for(&self, is_it: impl Fn(&str) -> bool) {
        while !is_it(&self.leader.next_line()) {}
    }
}
