//! What is written in a way that means something else than it seems to: binds that a comma takes
//! apart, texts that end before their end.

use crate::error::{Error, Result};
use crate::look::host::Host;
use crate::plan::{Action, Step};
use crate::request::Request;
use crate::text::{Text, quoted};

/// Refuses binds of which the host has a path with the comma in it: one of the halves may be there
/// as well, and be shown in its place.
///
/// # Errors
///
/// Names the path, and both ways to write what is meant.
pub(super) fn check_commas(request: &Request, host: &Host) -> Result<()> {
    for asked in &request.binds {
        let Some(whole) = &asked.value.whole else { continue };
        if !matches!(host.find(&host.cwd.join(whole)), Ok(Some(_))) {
            continue;
        }
        let escaped = whole.display().to_string().replace(',', "\\,");
        let (whole, escaped) = (whole.display(), quoted(escaped.as_ref()));
        let reason = format!("a comma separates binds, and this host has '{whole}'");
        return Err(Error::new("tell what is to be bound", reason).asked_by(&asked.origin).hint(
            format!(
                "for that path write --bind {escaped}; for several, give --bind for each of them"
            ),
        ));
    }
    Ok(())
}

/// Refuses what no program can be given: a text with a NUL in it, which metadata of an image may hold.
///
/// # Errors
///
/// Names the variable or the word.
pub(super) fn check_ends(execute: &Step) -> Result<()> {
    let Action::Execute { arguments, environment, .. } = &execute.action else { return Ok(()) };
    let is_cut = |text: &Text| text.as_bytes().contains(&0);
    let reason = "there is a NUL in it, where it would end for every program";
    if let Some(word) = arguments.iter().find(|word| is_cut(word)) {
        return Err(Error::new(format!("run {word}"), reason).asked_by(&execute.origin));
    }
    let mut cut = environment.iter().filter(|one| is_cut(&one.name) || is_cut(&one.value));
    let Some(variable) = cut.next() else { return Ok(()) };
    let name = &variable.name;
    let error = Error::new(format!("set {name}"), reason).asked_by(&variable.origin);
    let names = name.as_bytes();
    let is_plain = names.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let hint = is_plain.then(|| format!("--unset-env {name} starts without it"));
    Err(error.hint_if_some(hint))
}
