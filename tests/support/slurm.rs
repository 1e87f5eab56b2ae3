//! A Slurm cluster of three nodes, started by the first test that needs it (`tests/slurm.sh`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::live::{PATIENCE, outcome_in_time, until};
use super::run::{Outcome, as_tester};
use super::scratch::Scratch;

/// How the processes of a step are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// By parents (`proctrack/linuxproc`).
    Parents,
    /// By control groups of version 1 (`proctrack/cgroup`).
    Groups,
}

/// A running cluster; it ends with the process that started it.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    /// Its standard input, which nobody else has, keeps the cluster up.
    _script: Child,
    /// Keeps another suite on this machine from taking the same ports.
    _ports: TcpListener,
}

/// How many ports a cluster has for itself.
const PORTS: u16 = 1000;

/// The first of as many ports that no other suite uses, below those that the kernel hands out.
fn reserve_ports() -> (u16, TcpListener) {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let mut starts = (17_000..32_000).step_by(PORTS.into());
    let reserved = starts.find_map(|start| {
        let reservation = listen(start + PORTS - 1)?;
        listen(start).map(|_| (start, reservation))
    });
    reserved.expect("there are ports for a cluster")
}

/// The cluster with parents, which most tests use.
pub fn cluster() -> &'static Cluster {
    tracked(Tracking::Parents)
}

/// The cluster that tracks processes in some way.
pub fn tracked(tracking: Tracking) -> &'static Cluster {
    static CLUSTERS: [OnceLock<Cluster>; 2] = [OnceLock::new(), OnceLock::new()];
    let (place, name) = match tracking {
        Tracking::Parents => (&CLUSTERS[0], "linuxproc"),
        Tracking::Groups => (&CLUSTERS[1], "cgroup"),
    };
    place.get_or_init(|| {
        let (port, ports) = reserve_ports();
        let directory = PathBuf::from(format!("/home/slurm-{name}"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm.sh");
        let mut command = Command::new(script);
        command.arg(&directory).arg(port.to_string()).arg(name);
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the cluster starts");
        Cluster { directory, _script: script, _ports: ports }
    })
}

impl Cluster {
    /// A command of Slurm's, as the tester types it.
    pub fn command(&self, name: &str) -> Command {
        let mut command = as_tester(&Path::new("/usr/bin").join(name));
        command.env("SLURM_CONF", self.directory.join("slurm.conf"));
        command
    }

    /// The variable by which Slurm's commands find it: `SLURM_CONF=...`.
    pub fn configuration(&self) -> String {
        format!("SLURM_CONF={}", self.directory.join("slurm.conf").display())
    }

    /// A command of Slurm's for its administrator.
    #[track_caller]
    pub fn administer(&self, words: &[&str]) {
        let mut command = Command::new("scontrol");
        command.args(words).env("SLURM_CONF", self.directory.join("slurm.conf"));
        assert_eq!(outcome_in_time(&mut command).status, Some(0), "{words:?}");
    }

    /// Runs a step to its end; srun does not say whether it had to wait for nodes.
    #[track_caller]
    pub fn srun(&self, words: &[&str]) -> Outcome {
        outcome_in_time(self.command("srun").arg("--quiet").args(words))
    }

    /// Submits a batch script; what it writes goes to files in a directory.
    #[track_caller]
    pub fn submit(&self, options: &[&str], script: &str) -> Job<'_> {
        let directory = Scratch::new();
        let file = directory.file("job.sh", format!("#!/bin/bash\n{script}\n"));
        let mut command = self.command("sbatch");
        command.args(["--parsable", "--output=%x.%a.out"]).args(options).arg(file);
        let outcome = outcome_in_time(command.current_dir(directory.path()));
        let id = outcome.ok().trim().to_owned();
        Job { cluster: self, directory, id }
    }
}

/// A job that was submitted.
#[derive(Debug)]
pub struct Job<'a> {
    cluster: &'a Cluster,
    directory: Scratch,
    pub id: String,
}

impl Job<'_> {
    /// Waits until no part of it runs or waits, and gives back what it wrote, in the order of
    /// its tasks.
    #[track_caller]
    pub fn output(&self) -> String {
        assert!(!self.is_running_after(PATIENCE), "the job does not end: {}", self.written());
        self.written()
    }

    /// Whether some of it still runs or waits after so long; Slurm's own `sbatch --wait` asks
    /// seldom.
    #[track_caller]
    pub fn is_running_after(&self, patience: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < patience {
            let mut queue = self.cluster.command("squeue");
            let listed = outcome_in_time(queue.args(["--noheader", "--jobs", &self.id]));
            // A job that was forgotten is unknown.
            if listed.stdout.trim().is_empty() {
                return false;
            }
            sleep(Duration::from_millis(50));
        }
        true
    }

    /// What it wrote until now.
    pub fn written(&self) -> String {
        let entries =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|part| part == "out")).collect();
        files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    /// Waits until it has written something.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        until(text, || self.written().contains(text).then_some(()));
    }

    /// Cancels it, or sends it a signal.
    #[track_caller]
    pub fn cancel(&self, options: &[&str]) {
        let mut command = self.cluster.command("scancel");
        outcome_in_time(command.args(options).arg(&self.id)).ok();
    }

    /// Its state and exit code, as Slurm has them: `FAILED 3:0`.
    #[track_caller]
    pub fn end(&self) -> String {
        let mut command = self.cluster.command("scontrol");
        let shown = outcome_in_time(command.args(["show", "job", &self.id])).ok();
        let value = |name: &str| {
            let words = shown.split_whitespace();
            words.filter_map(|word| word.strip_prefix(name)).next().unwrap_or("").to_owned()
        };
        format!("{} {}", value("JobState="), value("ExitCode="))
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut command = self.cluster.command("scancel");
        let _ = command.args(["--full", "--signal=KILL", &self.id]).output();
    }
}
