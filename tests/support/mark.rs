//! Processes of one run, told from those of others by a limit that nothing here comes near: helpers of
//! hrun have no environment, and every process that is started has the limits of the one before.

use std::fs;
use std::process::{Command, Stdio};

use nix::unistd::Pid;

/// The processes that were started with a mark, and what `ps` calls them.
pub fn marked(mark: u64) -> Vec<(Pid, String)> {
    let mark = format!("{:<26}{mark:<21}{mark:<21}bytes", "Max msgqueue size");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let is_marked = limits.lines().any(|line| line.trim_end() == mark);
        is_marked.then(|| (Pid::from_raw(pid), name.trim_end().to_owned()))
    });
    processes.collect()
}

/// The command that starts another with a mark; it becomes that.
pub fn with_mark(command: &Command, mark: u64) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--msgqueue={mark}")).arg(command.get_program()).args(command.get_args());
    limited.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        limited.current_dir(directory);
    }
    limited.stdin(Stdio::null());
    limited
}
