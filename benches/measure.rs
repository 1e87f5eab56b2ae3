//! Starts processes, times them and counts their system calls.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// What one start, or several at once, took from the first spawn to the last wait.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// By the clock.
    pub wall: Duration,
    /// On all processors together, kernel included.
    pub cpu: Duration,
    /// Page faults that needed no input or output.
    pub faults: i64,
}

/// Starts all commands one after the other, then waits for all of them.
///
/// [`Command`] starts a process as posix_spawn(3) does, without copying this one, as long as it
/// is told neither user nor directory: the cost of a start is the same for every runtime.
///
/// # Errors
///
/// Says how many commands failed, and how the first of them did.
pub fn start_together(commands: &mut [Command]) -> Result<Sample, String> {
    for command in &mut *commands {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    let before = usage()?;
    let clock = Instant::now();
    let children: Vec<io::Result<Child>> = commands.iter_mut().map(Command::spawn).collect();
    let wait = |child: io::Result<Child>| child.and_then(|mut child| child.wait());
    let ends: Vec<io::Result<ExitStatus>> = children.into_iter().map(wait).collect();
    let wall = clock.elapsed();
    let after = usage()?;

    let failures: Vec<String> = ends.into_iter().filter_map(failure).collect();
    if let Some(first) = failures.first() {
        return Err(format!(
            "{} of {} failed, the first with {first}",
            failures.len(),
            commands.len()
        ));
    }
    let faults = after.minor_page_faults() - before.minor_page_faults();
    Ok(Sample { wall, cpu: cpu(&after).saturating_sub(cpu(&before)), faults })
}

fn failure(end: io::Result<ExitStatus>) -> Option<String> {
    match end {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// What all children that were waited for have used so far, theirs included.
pub fn usage() -> Result<Usage, String> {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| format!("getrusage: {errno}"))
}

/// Processor time, kernel included.
pub fn cpu(usage: &Usage) -> Duration {
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.try_into().unwrap_or(0))
}

/// The middle and the slow end of a set of samples.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// A quarter of them are below.
    pub low: f64,
    /// Half of them are below.
    pub median: f64,
    /// A quarter of them are above.
    pub high: f64,
    /// 95 of 100 are below.
    pub p95: f64,
}

/// Finds the middle and the slow end; nothing if there are no values.
pub fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(last as f64 * share).round() as usize];
    let count = values.len();
    Some(Spread { count, low: at(0.25), median: at(0.5), high: at(0.75), p95: at(0.95) })
}

/// How many system calls a start takes, up to the command's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// All of them.
    pub all: u64,
    /// Those that failed.
    pub failed: u64,
    /// Programs that were executed, the runtime's own included.
    pub programs: u64,
    /// Processes and threads that were made.
    pub processes: u64,
}

/// Counts the system calls of a command and of everything it starts, by strace(1).
///
/// # Errors
///
/// Says why the command does not run under strace: a set-user-id helper cannot.
pub fn count_calls(command: &Command, table: &Path) -> Result<Calls, String> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-c", "--summary-columns=name,calls,errors", "-o"]).arg(table);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    output(&mut strace)?;
    let table = std::fs::read_to_string(table).map_err(|error| error.to_string())?;
    Ok(sum_calls(&table))
}

/// Adds up strace's table, whose lines are a name, a number of calls and one of errors, if any.
fn sum_calls(table: &str) -> Calls {
    let mut calls = Calls::default();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let (Some(name), Some(all)) = (fields.first(), number(1)) else { continue };
        let failed = number(2).unwrap_or(0);
        match *name {
            "total" => continue,
            "execve" => calls.programs += all - failed,
            "clone" | "clone3" | "fork" | "vfork" => calls.processes += all - failed,
            _ => {}
        }
        calls.all += all;
        calls.failed += failed;
    }
    calls
}

/// Counts the instructions a command executes outside the kernel, by valgrind(1).
///
/// The one measure of a start that is the same on every run and every busy machine.
///
/// # Errors
///
/// Says why not; valgrind may not be installed.
pub fn count_instructions(command: &Command) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        valgrind.env(name, value.unwrap_or_default());
    }
    let report = output(&mut valgrind)?;
    let collected = report.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.and_then(|number| number.trim().parse().ok()).ok_or("no number from valgrind".into())
}

/// Runs a command without input and gives back what it printed, standard error last.
///
/// # Errors
///
/// The last line it printed, or how it ended.
pub fn output(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(text);
    }
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
}
