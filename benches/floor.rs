//! A plan as the arguments of the floor program (`floor.c`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use runtime::plan::{Action, EnterBy, Layer, Plan, ReadOnlyBy};
use runtime::text::Text;

/// The steps of a plan, up to the command.
///
/// # Errors
///
/// Names a step the floor program does not know.
pub fn steps(plan: &Plan) -> Result<Vec<OsString>, String> {
    let mut words = Vec::new();
    let mut is_inside = false;
    for step in &plan.steps {
        words.extend(words_of(&step.action, is_inside)?);
        is_inside |= matches!(step.action, Action::Enter { .. });
    }
    Ok(words)
}

/// The letter of a step and its arguments.
fn words_of(action: &Action, is_inside: bool) -> Result<Vec<OsString>, String> {
    let outside = |path: &Text| outside(path.as_path(), is_inside).into_os_string();
    let word = |text: &Text| text.as_os_str().to_owned();
    let octal = |mode: &u32| OsString::from(format!("{mode:o}"));
    let choose = |big: bool, letters: [&str; 2]| OsString::from(letters[usize::from(big)]);
    Ok(match action {
        // Always the first; made from the caller's own ids.
        Action::Unshare { uid, gid } if uid.inside == uid.outside && gid.inside == gid.outside => {
            Vec::new()
        }
        Action::Tmpfs { target, mode, size } => {
            let size = size.as_ref().map(|size| format!(",size={size}")).unwrap_or_default();
            vec!["t".into(), word(target), format!("mode={mode:o}{size}").into()]
        }
        Action::Directory { path, mode } => vec!["d".into(), word(path), octal(mode)],
        Action::File { path, mode, contents } => {
            vec!["f".into(), word(path), octal(mode), argument(contents)]
        }
        Action::Link { path, target } => vec!["y".into(), word(path), word(target)],
        Action::Bind { source, target, recursive } => {
            vec![choose(!recursive, ["b", "B"]), outside(source), word(target)]
        }
        Action::Overlay { target, below, layer, no_exec: false } => {
            let options = overlay_options(target, below.as_ref().map(outside), layer.as_ref());
            vec![choose(layer.is_some(), ["o", "O"]), word(target), options]
        }
        Action::ReadOnly { target, recursive, by: ReadOnlyBy::MountSetattr } => {
            vec![choose(!recursive, ["r", "R"]), word(target)]
        }
        Action::Enter { root, by: EnterBy::PivotRoot } => vec!["e".into(), word(root)],
        Action::Unmount { target } => vec!["u".into(), word(target)],
        Action::Leave { by: EnterBy::PivotRoot } => vec!["l".into()],
        Action::ChangeDirectory { path } => vec!["c".into(), word(path)],
        // Always the last; made by the program in any case.
        Action::Restrict { .. } | Action::Execute { .. } => Vec::new(),
        other => return Err(format!("the floor program cannot {}", other.describe())),
    })
}

/// Contents as an argument, which cannot hold NUL bytes: what is written matters less than how much.
fn argument(contents: &Text) -> OsString {
    let bytes = contents.as_bytes().iter();
    OsString::from_vec(bytes.map(|byte| if *byte == 0 { b'0' } else { *byte }).collect())
}

/// Once inside, the host's root is the current directory.
fn outside(path: &Path, is_inside: bool) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(rest) if is_inside && rest.as_os_str().is_empty() => PathBuf::from("."),
        Ok(rest) if is_inside => rest.to_path_buf(),
        _ => path.to_path_buf(),
    }
}

fn overlay_options(target: &Text, below: Option<OsString>, layer: Option<&Layer>) -> OsString {
    let mut options = OsString::from("userxattr,lowerdir=");
    options.push(target.as_os_str());
    if let Some(below) = below {
        options.push(":");
        options.push(below);
    }
    if let Some(layer) = layer {
        options.push(",upperdir=");
        options.push(layer.upper.as_os_str());
        options.push(",workdir=");
        options.push(layer.work.as_os_str());
    }
    options
}
