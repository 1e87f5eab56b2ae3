//! Plans, notes and other results as text and JSON.

use std::io::{self, Write as _};
use std::path::Path;

use runtime::look::containers;
use runtime::plan::{Note, Plan};
use runtime::request::{Format, Request};
use runtime::sys::meeting::{Holder, Purpose};
use runtime::text::{exact, lines_shown, shown};
use runtime::{Error, Result};

use crate::oci;

/// Prints a plan.
///
/// # Errors
///
/// Fails if standard output does.
pub fn plan(plan: &Plan, format: Format) -> Result<u8> {
    match format {
        Format::Text => print(&plan.to_string()),
        Format::Json => print_json(plan),
        Format::Oci => print_json(&oci::spec(plan)?),
    }
}

/// Prints what the user may want to know, as far as it was asked for.
pub fn notes(notes: &[Note], request: &Request) {
    for note in notes {
        let label = if note.warning { "warning" } else { "note" };
        if (note.warning && !request.quiet) || request.verbose {
            say(&format!("{label}: {}", shown(&note.text)));
        }
    }
}

/// Writes a message to standard error, at once: all ranks of a step may have something to say.
pub fn say(text: &str) {
    // Nobody can be told that standard error is closed.
    let _ = io::stderr().write_all(format!("hrun: {}\n", lines_shown(text)).as_bytes());
}

/// Says what a start waits for, where that takes long.
pub fn waiting(purpose: Purpose, file: &Path, holder: Option<&Holder>) {
    let what = match purpose {
        Purpose::Ranks => "other ranks of this step",
        Purpose::Copy => "the image to be unpacked",
        Purpose::Layer => "the run that uses this layer",
        Purpose::Cpus => "another run that chooses CPUs",
    };
    let who = holder.map_or_else(
        || "a process that cannot be seen from here".to_owned(),
        |Holder { pid, name, is_stopped }| {
            let state = if *is_stopped { ", which is stopped" } else { "" };
            format!("process {pid} ({name}){state}")
        },
    );
    say(&format!("waiting for {what}: {} is held by {who}", file.display()));
}

/// A container, as `--ps=json` has it.
#[derive(serde::Serialize)]
struct Listed<'a> {
    pid: u32,
    processes: &'a [u32],
    ranks: usize,
    seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<std::borrow::Cow<'a, str>>,
}

/// Prints the caller's containers on this node.
///
/// # Errors
///
/// Fails if `/proc` cannot be read, or standard output cannot be written.
pub fn containers(format: Format) -> Result<u8> {
    let found = containers::running().map_err(|errno| Error::new("list containers", errno))?;
    let listed: Vec<Listed> = found
        .iter()
        .map(|found| Listed {
            pid: found.processes.first().copied().unwrap_or_default(),
            processes: &found.processes,
            ranks: found.ranks,
            seconds: found.seconds,
            step: found.step.as_deref(),
            image: found.image.as_ref().map(|image| image.to_string_lossy()),
        })
        .collect();
    if format != Format::Text {
        return print_json(&listed);
    }
    let mut text = format!("{:>8} {:>5} {:>11} {:<20} IMAGE\n", "PID", "RANKS", "SINCE", "STEP");
    for container in &listed {
        text.push_str(&format!(
            "{:>8} {:>5} {:>11} {:<20} {}\n",
            container.pid,
            container.ranks,
            elapsed(container.seconds),
            shown(container.step.unwrap_or("-")),
            shown(container.image.as_deref().unwrap_or("?"))
        ));
    }
    print(&text)
}

/// A time as ps(1) writes it: `1-02:03:04`.
fn elapsed(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest % 3600 / 60, rest % 60);
    if days == 0 { clock } else { format!("{days}-{clock}") }
}

/// Prints JSON.
///
/// # Errors
///
/// Fails if standard output does.
pub fn print_json(value: &impl serde::Serialize) -> Result<u8> {
    let json = serde_json::to_string_pretty(value);
    let json = json.map_err(|error| Error::new("write JSON", error.to_string()))?;
    write(&(exact(&json) + "\n"))
}

/// Prints text for people; the exit status is that of success.
///
/// # Errors
///
/// Fails if standard output does.
pub fn print(text: &str) -> Result<u8> {
    write(&lines_shown(text))
}

fn write(text: &str) -> Result<u8> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match written {
        Ok(()) => Ok(0),
        // The reader has seen enough: hrun ... | head.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(Error::new("write to standard output", error.to_string())),
    }
}
