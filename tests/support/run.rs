//! Runs `hrun` as the tester and says what came of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::session::{programs, tester};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The bytes of standard output, where they are not text.
    pub bytes: Vec<u8>,
}

impl Outcome {
    pub fn new(output: Output) -> Self {
        Outcome {
            status: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Asserts success without a word on standard error, and gives back standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (Some(0), ""), "stdout: {}", self.stdout);
        self.stdout
    }

    /// Asserts success, whatever is said on standard error, and gives back standard output.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.status, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// Asserts success, and gives back the lines of standard output.
    #[track_caller]
    pub fn lines(self) -> Vec<String> {
        self.ok().lines().map(str::to_owned).collect()
    }

    /// Asserts success, and gives back NUL-separated items of standard output.
    #[track_caller]
    pub fn items(self) -> Vec<String> {
        let output = self.ok();
        output.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Asserts that the kernel refused what the probe tried, with an error of this name.
    #[track_caller]
    pub fn refused(self, errno: &str) {
        let seen = (self.status, self.stdout.trim_end(), self.stderr.as_str());
        assert_eq!(seen, (Some(1), errno, ""));
    }

    /// Asserts that hrun itself failed: status 125, nothing on standard output, one message with
    /// all of the given parts.
    #[track_caller]
    pub fn fails(self, parts: &[&str]) -> String {
        self.fails_with(125, parts)
    }

    /// As [`Outcome::fails`], with another status.
    #[track_caller]
    pub fn fails_with(self, status: i32, parts: &[&str]) -> String {
        self.fails_as("hrun", status, parts)
    }

    /// As [`Outcome::fails_with`], of another program.
    #[track_caller]
    pub fn fails_as(self, program: &str, status: i32, parts: &[&str]) -> String {
        assert_eq!(self.status, Some(status), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert!(self.stderr.starts_with(&format!("{program}: cannot ")), "{}", self.stderr);
        let messages = self.stderr.matches(&format!("{program}: ")).count();
        assert_eq!(messages, 1, "one message: {}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no '{part}' in:\n{}", self.stderr);
        }
        self.stderr
    }
}

/// Runs `hrun` with arguments, from the tester's home directory, without configuration.
#[track_caller]
pub fn hrun<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    hrun_in(&tester().home, arguments)
}

/// Runs `hrun` from another directory.
#[track_caller]
pub fn hrun_in<S: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Outcome {
    outcome(command(arguments).current_dir(directory))
}

/// Runs the probe in an image, with options before it: `probe(&image, &["--bind", "/x"], "cwd")`.
#[track_caller]
pub fn probe(image: &Path, options: &[&str], words: &str) -> Outcome {
    hrun(probe_arguments(image, options, words))
}

/// The arguments with which `hrun` runs the probe.
pub fn probe_arguments(image: &Path, options: &[&str], words: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    arguments.push(image.into());
    arguments.push("/bin/probe".into());
    arguments.extend(words.split(' ').map(OsString::from));
    arguments
}

/// The option that binds a path of the host: `bind(&directory, ":/data:ro")`.
pub fn bind(source: &Path, rest: &str) -> String {
    format!("--bind={}{rest}", source.display())
}

/// A command that becomes `hrun`, as the tester, with the environment of a fresh login.
///
/// It keeps its process id from here to the command in the container.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = as_tester(&program("hrun"));
    command.args(arguments);
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn outcome(command: &mut Command) -> Outcome {
    Outcome::new(command.output().expect("the command starts"))
}

/// A command that runs a program as the tester.
pub fn as_tester(program: &Path) -> Command {
    let user = tester();
    let mut command = if user.is_other {
        let mut command = Command::new("setpriv");
        let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
        command
            .args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()])
            .args(["--groups", &groups.join(","), "--inh-caps=-all", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .env_clear()
        .env("HOME", &user.home)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env("SHELL", "/bin/sh")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .current_dir(&user.home);
    command
}

/// A shell of the tester that runs a script with `$hrun`, `$probe` and `$image` set.
pub fn shell(image: &Path, script: &str) -> Command {
    let mut shell = as_tester(Path::new("/bin/bash"));
    shell
        .args(["-c", script])
        .env("hrun", program("hrun"))
        .env("probe", program("probe"))
        .env("image", image);
    shell
}

/// A program under test, where the tester can execute it.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}
