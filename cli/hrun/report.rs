//! Plans, notes and other results as text and JSON.

use std::io::{self, Write as _};

use runtime::plan::{Note, Plan};
use runtime::request::{Format, Request};
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
            say(&format!("{label}: {}", note.text));
        }
    }
}

/// Writes a message to standard error, at once: all ranks of a step may have something to say.
pub fn say(text: &str) {
    // Nobody can be told that standard error is closed.
    let _ = io::stderr().write_all(format!("hrun: {text}\n").as_bytes());
}

/// Prints JSON.
///
/// # Errors
///
/// Fails if standard output does.
pub fn print_json(value: &impl serde::Serialize) -> Result<u8> {
    let json = serde_json::to_string_pretty(value);
    let json = json.map_err(|error| Error::new("write JSON", error.to_string()))?;
    print(&(json + "\n"))
}

/// Prints text; the exit status is that of success.
///
/// # Errors
///
/// Fails if standard output does.
pub fn print(text: &str) -> Result<u8> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match written {
        Ok(()) => Ok(0),
        // The reader has seen enough: hrun ... | head.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(Error::new("write to standard output", error.to_string())),
    }
}
