//! What the command may not do: capabilities it lacks, system calls that are filtered.

use std::path::Path;

use nix::errno::Errno;

use crate::capabilities::Set;
use crate::error::{Error, Result};
use crate::ids;
use crate::look::host::Host;
use crate::look::kernel::Kernel;
use crate::origin::Origin;
use crate::plan::{Action, Capabilities, Note, Step};
use crate::request::{Asked, Join, Request, Seccomp};
use crate::seccomp::profile::{self, Circumstances};
use crate::seccomp::{Filter, fakeroot};

/// Decides the last steps before the command.
///
/// # Errors
///
/// Fails if a profile cannot be read, is wrong, or would keep the command from being started.
pub(super) fn decide(
    request: &Request,
    host: &Host,
    kernel: &Kernel,
    notes: &mut Vec<Note>,
) -> Result<Vec<Step>> {
    check_filter(request, host)?;
    let capabilities = ids::capabilities(request, host);
    let asked = request.rights.drop.as_ref().or(request.rights.keep.as_ref());
    let origin = asked.map(|asked| &asked.origin).or(request.root.as_ref());
    let origin = origin.unwrap_or(&Origin::Default);
    let mut steps = vec![Action::Restrict { capabilities }.asked_by(origin)];
    if let Some(asked) = &request.rights.seccomp {
        let filter = match &asked.value {
            Seccomp::Fakeroot => fakeroot::filter()
                .map_err(|reason| Error::new("use the profile fakeroot", reason))?,
            Seccomp::Profile(file) => {
                let here = Circumstances {
                    capabilities: held(capabilities),
                    kernel_is: &|major, minor| kernel.is_at_least(major, minor),
                };
                read(file, host, &here, notes).map_err(|error| error.asked_by(&asked.origin))?
            }
        };
        steps.push(Action::Filter { filter: Box::new(filter) }.asked_by(&asked.origin));
    }
    Ok(steps)
}

/// A command comes to a container whose commands are under a filter only if it is said which one it has.
fn check_filter(request: &Request, host: &Host) -> Result<()> {
    let Some(Asked { value: Join::Process(pid), origin }) = &request.join else { return Ok(()) };
    if request.rights.says_seccomp || !host.has_more_filters(*pid) {
        return Ok(());
    }
    let reason = "its system calls are filtered, and no kernel tells by which profile";
    Err(Error::new(format!("join the container of process {pid}"), reason).asked_by(origin).hint(
        "give the profile that it was started with: --seccomp=PROFILE\n\
         or start the command without a filter, if you trust it: --seccomp=unconfined",
    ))
}

/// The capabilities the command starts with.
fn held(capabilities: Capabilities) -> Set {
    match capabilities {
        Capabilities::Dropped | Capabilities::DroppedForRoot => Set::NONE,
        Capabilities::Kept => Set::ALL,
        Capabilities::Exactly { kept, .. } => kept,
    }
}

fn read(file: &Path, host: &Host, here: &Circumstances, notes: &mut Vec<Note>) -> Result<Filter> {
    let name = file.display();
    let json = host.read_named(file).map_err(|errno| {
        let error = Error::new(format!("read seccomp profile {name}"), errno);
        match errno {
            Errno::ENOENT => error.hint("a PROFILE is a file, or one of: fakeroot, unconfined"),
            _ => error,
        }
    })?;
    let refuse = |reason: String| Error::new(format!("use seccomp profile {name}"), reason);
    let resolved = profile::resolve(&json, here)
        .map_err(|wrong| refuse(wrong.reason).hint_if_some(wrong.hint))?;
    if resolved.filter.forbids("execve") {
        return Err(refuse("it forbids execve(2), by which the command is started".to_owned())
            .hint("allow execve: the filter is loaded just before it"));
    }
    if !resolved.unknown.is_empty() {
        let (count, names) = (resolved.unknown.len(), resolved.unknown.join(", "));
        let text = format!("{name} names {count} system calls that are unknown here: {names}");
        notes.push(Note::info(text));
    }
    for (carrier, calls) in resolved.filter.unseen() {
        let text = format!(
            "{name} looks at arguments of {}, and allows {carrier}, which makes the same calls for \
             32-bit programs with arguments no filter sees; a profile without {carrier} closes that",
            calls.join(", ")
        );
        notes.push(Note::info(text));
    }
    Ok(resolved.filter)
}
