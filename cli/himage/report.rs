//! Output: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use runtime::error::{Error, Result};
use runtime::text::{exact, lines_shown};

/// Writes a message to standard error.
pub fn say(text: &str) {
    // Nobody can be told that standard error is closed.
    let _ = io::stderr().write_all(format!("himage: {}\n", lines_shown(text)).as_bytes());
}

/// Whether somebody watches standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Prints text for people.
///
/// # Errors
///
/// Fails if standard output does.
pub fn print(text: &str) -> Result<()> {
    write(&lines_shown(text))
}

fn write(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match written {
        // The reader has seen enough: himage list | head.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => {
            written.map_err(|error| Error::new("write to standard output", error.to_string()))
        }
    }
}

/// Prints JSON.
///
/// # Errors
///
/// Fails if standard output does.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    write(&exact(&format!("{value:#}\n")))
}

/// A number of bytes as people write it: `1.5 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut tenths = bytes / 100;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    match tenths {
        1000.. => format!("{} {}", tenths / 10, UNITS[unit]),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_999, "99.9 kB"),
            (123_456, "123 kB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
