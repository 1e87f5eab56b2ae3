//! Ranks of a step of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Scratch, command, tester};

/// The variables that srun gives a rank of a step of a test's own.
pub fn step(test: &str) -> [(&'static str, String); 2] {
    [("SLURM_JOB_ID", format!("{}-{test}", std::process::id())), ("SLURM_STEP_ID", "0".to_owned())]
}

/// A rank that runs a script in an image.
pub fn rank(test: &str, image: &Path, options: &[&str], script: &str) -> Command {
    let mut command = command(options.iter().copied());
    command.arg(image).args(["sh", "-c", script]).envs(step(test));
    command
}

/// A rank that has started and waits for its standard input to end.
pub struct Waiting(Child);

impl Waiting {
    /// Starts a rank, and comes back when its command runs.
    pub fn start(test: &str, image: &Path, options: &[&str], home: &Scratch) -> Self {
        Waiting::with(&[], test, image, options, home)
    }

    /// The same, with variables of its own.
    pub fn with(
        variables: &[(&str, &str)],
        test: &str,
        image: &Path,
        options: &[&str],
        home: &Scratch,
    ) -> Self {
        let ready = home.join(format!("ready-{}", fs::read_dir(home.path()).unwrap().count()));
        let bind = format!("--bind={}", home.path().display());
        let options = [options, &[bind.as_str()]].concat();
        let script = format!("readlink /proc/self/ns/user > {}; cat", ready.display());
        let mut command = rank(test, image, &options, &script);
        command.envs(variables.iter().copied());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while fs::read(&ready).is_ok_and(|seen| !seen.ends_with(b"\n")) || !ready.exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "the rank does not start");
            sleep(Duration::from_millis(2));
        }
        Waiting(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The numbers of its user and its mount namespace, as the host sees them.
    pub fn namespaces(&self) -> [String; 2] {
        namespaces(self.pid())
    }

    pub fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The same of any process.
pub fn namespaces(pid: u32) -> [String; 2] {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    ["user", "mnt"].map(|name| link(name).display().to_string())
}

/// The file a step meets in.
pub fn file(test: &str) -> PathBuf {
    let [(_, job), (_, number)] = step(test);
    PathBuf::from(format!("/dev/shm/hrun-{}/slurm-{job}.{number}", tester().uid))
}
