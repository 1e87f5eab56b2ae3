//! A plan for people: a line a step, and who asked for it.

use std::fmt;

use super::{Action, Capabilities, Map, Place, Plan, Step};
use crate::capabilities::Set;
use crate::origin::Origin;
use crate::seccomp::Filter;
use crate::text::{Text, shown};
use crate::variables::Change;

/// The widest a column is padded to; longer entries push the next column out.
const WIDTH: usize = 72;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.steps.iter().flat_map(step_rows);
        let rows: Vec<[String; 3]> =
            rows.map(|row| row.map(|cell| shown(&cell).into_owned())).collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row: &[String; 3]| row[column].chars().count());
            widths.filter(|width| *width <= WIDTH).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        writeln!(f, "image {}", shown(&self.image.to_string()))?;
        for [verb, what, origin] in &rows {
            writeln!(f, "{verb:first$}  {what:second$}  [{origin}]")?;
        }
        Ok(())
    }
}

fn step_rows(step: &Step) -> Vec<[String; 3]> {
    let row = |verb: &str, what: String| [verb.to_owned(), what, step.origin.to_string()];
    let rows = match &step.action {
        Action::Unshare { uid, gid } => {
            row("namespaces", format!("user and mount; uid {}, gid {}", map(uid), map(gid)))
        }
        Action::Limit { shared, places, .. } => return limits(shared.as_deref(), places, row),
        Action::Scope { properties, .. } => row("scope", properties.join(" ")),
        Action::Affinity { cpus } => row("affinity", format!("CPUs {cpus}")),
        Action::Meet { file, layout } => {
            let shared = if layout.is_some() { "" } else { ", sharing no mounts" };
            row("meet", format!("the ranks in {file}{shared}"))
        }
        Action::Admit => row("admit", "other ranks".to_owned()),
        Action::Isolate => row("isolate", "processes, with an init; /proc shows them".to_owned()),
        Action::Supervise => row("supervise", "what follows".to_owned()),
        Action::Join { pid, .. } => row("join", format!("the container of process {pid}")),
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
        Action::Serve { image, offset, target, .. } => {
            row("serve", format!("{image}{} -> {target}", from(*offset)))
        }
        Action::Unpack { image, offset, tree, .. } => {
            row("unpack", format!("{image}{} -> {tree}", from(*offset)))
        }
        Action::Outlive { tree, .. } => row("outlive", tree.to_string()),
        Action::Overlay { target, below, layer, .. } => {
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
        // Nothing of the image or the user.
        Action::Conceal { .. } => return Vec::new(),
        Action::Restrict { capabilities } => {
            let capabilities = match capabilities {
                Capabilities::Dropped => "dropped".to_owned(),
                Capabilities::DroppedForRoot => "dropped, and the bounding set".to_owned(),
                Capabilities::Kept => "kept".to_owned(),
                Capabilities::Exactly { kept: Set::NONE, .. } => "none at all".to_owned(),
                Capabilities::Exactly { kept, .. } => format!("{kept} only"),
            };
            row("restrict", format!("no new privileges, capabilities {capabilities}"))
        }
        Action::Filter { filter } => {
            let Filter { default, rules, program, .. } = &**filter;
            let calls: usize = rules.iter().map(|rule| rule.calls.len()).sum();
            let length = program.len();
            row("filter", format!("{calls} system calls, others {default}; {length} instructions"))
        }
        Action::Source { shell, scripts, .. } => {
            let scripts = scripts.iter();
            return scripts.map(|script| row("source", format!("{script} (by {shell})"))).collect();
        }
        Action::Execute { .. } => return execute_rows(step),
    };
    vec![rows]
}

/// A line for each variable, each change of them, and the command.
fn execute_rows(step: &Step) -> Vec<[String; 3]> {
    let Action::Execute { arguments, environment, changes, .. } = &step.action else {
        return Vec::new();
    };
    let whether = if changes.is_empty() { "" } else { " (unless the scripts set it)" };
    let variables = environment.iter().map(|variable| {
        let assignment = format!("{}={}{whether}", variable.name, variable.value);
        ["set".to_owned(), assignment, variable.origin.to_string()]
    });
    let changes = changes.iter().map(|change| change_row(change, &step.origin));
    let run = ["run".to_owned(), words(arguments), step.origin.to_string()];
    variables.chain(changes).chain([run]).collect()
}

/// What is done when scripts of the image have set variables.
fn change_row(change: &Change, by: &Origin) -> [String; 3] {
    let by = by.to_string();
    let (verb, what, origin) = match change {
        Change::Set { name, value, origin } => {
            ("set", format!("{name}={value}"), origin.to_string())
        }
        Change::Append { name, directories } => {
            ("append", format!("{name}: {}", words(directories)), by)
        }
        Change::Remove { name } => ("unset", name.to_string(), by),
        Change::Unset { glob } => ("unset", glob.to_string(), by),
        Change::Image => ("set", "what the scripts set, again".to_owned(), by),
    };
    [verb.to_owned(), what, origin]
}

/// A line for each control group.
fn limits(
    shared: Option<&str>,
    places: &[Place],
    row: impl Fn(&str, String) -> [String; 3],
) -> Vec<[String; 3]> {
    let whose = shared.map(|name| format!(" shared by {name}")).unwrap_or_default();
    let lines = places.iter().map(|place| {
        let settings = place.settings.iter().map(|set| format!("{}={}", set.file, set.value));
        let settings: Vec<String> = settings.collect();
        row("limit", format!("group in {}{whose}: {}", place.parent, settings.join(", ")))
    });
    lines.collect()
}

/// Where an image starts in its file, unless that is its beginning.
fn from(offset: u64) -> String {
    if offset == 0 { String::new() } else { format!(" from byte {offset}") }
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
