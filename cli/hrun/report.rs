//! Plans, notes and other results as text and JSON.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use runtime::plan::{Action, Map, Note, Plan, Step};
use runtime::request::{Format, Request};
use runtime::text::Text;
use runtime::{Error, Result};

use crate::oci;

/// Prints a plan.
///
/// # Errors
///
/// Fails if standard output does.
pub fn plan(plan: &Plan, format: Format) -> Result<u8> {
    match format {
        Format::Text => print(&text(plan)),
        Format::Json => print_json(plan),
        Format::Oci => print_json(&oci::spec(plan)?),
    }
}

/// Prints what the user may want to know, as far as it was asked for.
pub fn notes(notes: &[Note], request: &Request) {
    for note in notes {
        let label = if note.warning { "warning" } else { "note" };
        if (note.warning && !request.quiet) || request.verbose {
            // Nobody can be told that standard error is closed.
            let _ = writeln!(io::stderr(), "hrun: {label}: {}", note.text);
        }
    }
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

/// Writes a plan for people: a line a step, and who asked for it.
fn text(plan: &Plan) -> String {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for step in &plan.steps {
        rows.extend(step_rows(step));
    }
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1).min(72));
    let mut text = format!("image {}\n", plan.image);
    for [verb, what, origin] in &rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{verb:first$}  {what:second$}  [{origin}]");
    }
    text
}

fn step_rows(step: &Step) -> Vec<[String; 3]> {
    let row = |verb: &str, what: String| [verb.to_owned(), what, step.origin.to_string()];
    let rows = match &step.action {
        Action::Unshare { uid, gid } => {
            row("namespaces", format!("user and mount; uid {}, gid {}", map(uid), map(gid)))
        }
        Action::Tmpfs { target, mode, size } => {
            let size = size.as_ref().map(|size| format!(" size={size}")).unwrap_or_default();
            row("tmpfs", format!("{target} mode={mode:o}{size}"))
        }
        Action::Directory { path, mode } => row("directory", format!("{path} mode={mode:o}")),
        Action::File { path, contents, .. } => {
            row("file", format!("{path} ({} bytes)", contents.as_bytes().len()))
        }
        Action::Link { path, target } => row("link", format!("{path} -> {target}")),
        Action::Bind { source, target, recursive } => {
            let only = if *recursive { "" } else { " (without what is mounted below)" };
            row("bind", format!("{source} -> {target}{only}"))
        }
        Action::Overlay { target, below, layer } => {
            let below = below.as_ref().map(|below| format!(" on top of {below}"));
            let layer = layer.as_ref().map(|layer| format!(", changes in {}", layer.upper));
            row(
                "overlay",
                format!("{target}{}{}", below.unwrap_or_default(), layer.unwrap_or_default()),
            )
        }
        Action::ReadOnly { target, .. } => row("read-only", target.to_string()),
        Action::Enter { root, .. } => row("enter", root.to_string()),
        Action::Unmount { target } => row("unmount", target.to_string()),
        Action::Leave { .. } => row("leave", "the host's root".to_owned()),
        Action::ChangeDirectory { path } => row("cd", path.to_string()),
        Action::Restrict { capabilities } => {
            row("restrict", format!("no new privileges; capabilities {capabilities:?}"))
        }
        Action::Execute { arguments, environment, .. } => {
            let variables = environment.iter().map(|variable| {
                let assignment = format!("{}={}", variable.name, variable.value);
                ["set".to_owned(), assignment, variable.origin.to_string()]
            });
            let mut rows: Vec<[String; 3]> = variables.collect();
            rows.push(row("run", words(arguments)));
            return rows;
        }
    };
    vec![rows]
}

fn map(map: &Map) -> String {
    if map.inside == map.outside {
        map.inside.to_string()
    } else {
        format!("{} (outside {})", map.inside, map.outside)
    }
}

fn words(arguments: &[Text]) -> String {
    let words: Vec<String> = arguments.iter().map(Text::to_string).collect();
    words.join(" ")
}
