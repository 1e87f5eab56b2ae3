//! A terminal, with the test at the keyboard.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::live::Live;
use super::run::as_tester;

/// A pseudo-terminal (pty(7)).
pub struct Terminal {
    keyboard: File,
    name: PathBuf,
    /// The session leader on it.
    pub leader: Live,
}

/// A terminal whose screen nobody looks at. It hangs up where this is dropped, as a window that is
/// closed does.
pub struct Window {
    keyboard: File,
    /// The session leader on it.
    pub leader: Live,
}

impl Terminal {
    /// Starts a program as the tester, as the leader of a session on a new terminal.
    pub fn start(program: &Path, words: &[&str]) -> Self {
        let (screen, name, child) = start_leader(program, words);
        let keyboard = screen.try_clone().unwrap();
        Terminal { keyboard, name, leader: Live::watch(child, screen) }
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

    /// The next line on the screen that has a text in it.
    #[track_caller]
    pub fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.leader.next_line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Gives it another height, as whoever draws it does; stty(1) tells of each number by itself.
    pub fn resize(&self, rows: u16) {
        let mut stty = Command::new("stty");
        stty.arg("-F").arg(&self.name).args(["rows", &rows.to_string()]);
        assert!(stty.status().unwrap().success());
    }
}

impl Window {
    /// As [`Terminal::start`].
    pub fn open(program: &Path, words: &[&str]) -> Self {
        let (keyboard, _, child) = start_leader(program, words);
        Window { keyboard, leader: Live::watch(child, std::io::empty()) }
    }

    /// Types keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Closes it; the session leader may go on.
    pub fn close(self) -> Live {
        self.leader
    }
}

/// Starts a program as the tester, as the leader of a session on a new terminal: gives back the other
/// end of that, and its name.
fn start_leader(program: &Path, words: &[&str]) -> (File, PathBuf, Child) {
    let mut command = as_tester(Path::new("setsid"));
    command.arg("--ctty").arg(program).args(words);
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = posix_openpt(flags | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    let end = || OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(&name);
    let [input, output, errors] = [end(), end(), end()].map(Result::unwrap);
    let child = command.stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    // The command holds the ends; without it the last reader would wait for ever.
    command.stdin(Stdio::null());
    (File::from(std::os::fd::OwnedFd::from(master)), name.into(), child)
}
