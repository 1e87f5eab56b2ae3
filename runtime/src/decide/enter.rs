//! A command in a container that runs already.

use std::path::PathBuf;

use nix::errno::Errno;

use super::tree::Tree;
use super::{environment, execute, limits, rights, start};
use crate::error::{Error, Result};
use crate::look::containers::{Inhabitant, Unfollowed};
use crate::look::files::Kind;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::look::kernel::Kernel;
use crate::origin::Origin;
use crate::plan::{Action, FORMAT, Plan};
use crate::ranks;
use crate::request::Request;
use crate::text::Text;

/// Decides how a process is followed into its container: nothing is mounted, and environment and
/// current directory are those of the process.
///
/// # Errors
///
/// Fails if the process is in no container of the caller's, or what was asked for is not there.
pub fn enter(
    request: &Request,
    host: &Host,
    kernel: &Kernel,
    pid: u32,
    origin: &Origin,
    followed: std::result::Result<Inhabitant, Unfollowed>,
) -> Result<Plan> {
    let join = Action::Join { pid, processes: host.has_other_processes(pid) };
    let fail = |cause: crate::error::Cause| Error::new(join.describe(), cause).asked_by(origin);
    let Inhabitant { files, environment: known, directory } =
        followed.map_err(|unfollowed| match unfollowed {
            Unfollowed::Closed(errno @ Errno::ESRCH) => {
                fail(errno.into()).hint("no such process on this node; hrun --ps lists yours")
            }
            Unfollowed::Closed(errno) => {
                fail(errno.into()).hint("it is not yours, or has more rights than you")
            }
            Unfollowed::Outside => {
                fail("it runs in no container".into()).hint("hrun --ps lists those that do")
            }
        })?;
    let image = Image::seen(files);
    let tree = Tree::new(host, &image);
    let mut environment = environment::of_container(request, host, &image, known, origin)?;
    let (directory, by): (PathBuf, &Origin) = match &request.directory {
        Some(asked) => (asked.value.clone(), &asked.origin),
        None => (directory, origin),
    };
    let found = tree.find(&directory);
    if request.directory.is_some() && !matches!(found, Some((_, Kind::Directory))) {
        return Err(start::is_missing(&directory, found.is_some(), by));
    }
    environment.set("PWD", directory.as_os_str(), by);
    let limits = limits::decide(request, host, &image)?;
    let mut steps = limits.steps;
    steps.extend(ranks::joined(join, origin));
    steps.push(Action::ChangeDirectory { path: directory.into() }.asked_by(by));
    let mut notes = limits.notes;
    steps.extend(rights::decide(request, host, kernel, &mut notes)?);
    steps.push(execute(request, &image, &tree, environment.variables, Vec::new()));
    Ok(Plan { format: FORMAT, image: Text::from(&image.root), steps, notes })
}
