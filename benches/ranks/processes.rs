//! Runs a launcher that may never end, and leaves no process of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How often it is looked whether a launcher has ended: seldom, as ranks use all processors.
const LOOK: Duration = Duration::from_millis(10);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Done,
    /// With the last line it printed.
    Failed(String),
    /// Not at all.
    Hung,
}

/// Makes this process the parent of whoever loses his own, so that none is lost.
///
/// # Errors
///
/// The error of prctl(2).
pub fn adopt_orphans() -> Result<(), String> {
    set_child_subreaper(true).map_err(|errno| format!("prctl: {errno}"))
}

/// Runs a command for no longer than `limit`, and gives back what it printed.
///
/// # Errors
///
/// Says why it could not be started.
pub fn run(command: &mut Command, limit: Duration, work: &Path) -> Result<(String, End), String> {
    let fail = |error: std::io::Error| error.to_string();
    let (output, errors) = (work.join("stdout"), work.join("stderr"));
    // Files take any amount; nobody has to read while a run is timed.
    command.stdin(Stdio::null());
    command.stdout(fs::File::create(&output).map_err(fail)?);
    command.stderr(fs::File::create(&errors).map_err(fail)?);
    let before = segments();
    let clock = Instant::now();
    let mut child = command.spawn().map_err(fail)?;
    let mut status = None;
    while status.is_none() && clock.elapsed() < limit {
        sleep(LOOK);
        status = child.try_wait().map_err(fail)?;
    }
    end_all();
    let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let end = match status {
        Some(status) if status.success() => End::Done,
        Some(status) => End::Failed(reason(&(read(&errors) + &read(&output)), status)),
        None => End::Hung,
    };
    if end != End::Done {
        for left in segments().difference(&before) {
            let _ = fs::remove_file(left);
        }
    }
    Ok((read(&output), end))
}

/// Shared memory of MPI libraries, which they leave when they are killed.
fn segments() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["vader_segment", "ucx_shm", "mpich_shm"].iter().any(|start| name.starts_with(start))
    };
    entries.map(|entry| entry.path()).filter(is_segment).collect()
}

/// What was said first that names a cause.
fn reason(said: &str, status: ExitStatus) -> String {
    let is_cause = |line: &&str| {
        let line = line.to_lowercase();
        ["error", "not permitted", "denied", "failed", "abort"].iter().any(|it| line.contains(it))
    };
    let line = said.lines().find(is_cause).or_else(|| said.lines().next());
    line.map_or_else(|| status.to_string(), |line| format!("{status}: {}", line.trim()))
}

/// Kills all processes that came of this one, and waits for them.
fn end_all() {
    loop {
        for pid in descendants() {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => sleep(Duration::from_millis(1)),
            Ok(_) => {}
            // No child is left.
            Err(_) => return,
        }
    }
}

fn descendants() -> Vec<i32> {
    let parents: Vec<(i32, i32)> = numbers().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![id().try_into().unwrap_or(0)];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn numbers() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fourth word of proc(5)'s `stat`; the second is a name in brackets, with whatever in it.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
