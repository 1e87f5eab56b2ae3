//! The machine a record was made on, without its name.

use std::env;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use nix::sys::utsname::uname;

/// What a reader needs to know to compare numbers.
pub struct Machine {
    /// The name of the record: its date and a word for the machine.
    pub title: String,
    /// Why the numbers are not for quoting.
    pub warning: Option<String>,
    /// Name and value.
    rows: Vec<(&'static str, String)>,
}

impl Machine {
    /// Looks at the machine; the load is that before the first start.
    pub fn look(record: &Path, is_quick: bool) -> Self {
        let title = record.file_name().map(|name| name.to_string_lossy().into_owned());
        let cpu = read("/proc/cpuinfo");
        let is_virtual = cpu.lines().any(|line| line.contains(" hypervisor"));
        let kind = if is_virtual { ", in a virtual machine" } else { "" };
        let model = field(&cpu, "model name", ':').unwrap_or_default();
        let count = available_parallelism().map(usize::from).unwrap_or(1);
        let kernel = uname().map(|names| names.release().to_string_lossy().into_owned());
        let load = load();
        let is_busy = load > 0.5;
        Machine {
            title: title.unwrap_or_default(),
            warning: warning(is_quick, is_busy),
            rows: vec![
                ("Processor", format!("{model}, {count} of them{kind}")),
                ("Kernel", format!("Linux {}", version(&kernel.unwrap_or_default()))),
                (
                    "Distribution",
                    field(&read("/etc/os-release"), "PRETTY_NAME", '=').unwrap_or_default(),
                ),
                ("Load before", format!("{load:.2}")),
                ("Source", env::var("HRUN_BENCH_SOURCE").unwrap_or_default()),
            ],
        }
    }

    /// Remembers the load at the end.
    pub fn look_again(&mut self) {
        self.rows.push(("Load after", format!("{:.2}", load())));
    }

    /// A table of it.
    pub fn describe(&self) -> String {
        let rows = self.rows.iter().filter(|(_, value)| !value.is_empty());
        let rows: String = rows.map(|(name, value)| format!("| {name} | {value} |\n")).collect();
        format!("| | |\n|---|---|\n{rows}")
    }
}

fn warning(is_quick: bool, is_busy: bool) -> Option<String> {
    match (is_quick, is_busy) {
        (true, _) => Some("A quick run, to see that everything works.".to_owned()),
        (_, true) => Some("The machine was busy with other things.".to_owned()),
        _ => None,
    }
}

/// The numbers of a release: what follows them names who built it.
fn version(release: &str) -> &str {
    release.split('-').next().unwrap_or_default()
}

/// The load of the last minute.
fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The value of the first line that starts with a name.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split(separator).nth(1).map(|value| value.trim().trim_matches('"').to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
