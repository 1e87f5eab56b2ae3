//! What single steps take where that is more than a call, and what they bring with them.

use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;

use super::HOST;
use crate::plan::{Action, Capabilities, EnterBy, Map, Step};
use crate::seccomp::{Filter, Flag};
use crate::sys::{MountFlags, file, mount, process};
use crate::text::Text;

pub(super) fn unshare(uid: Map, gid: Map) -> Result<(), Errno> {
    process::unshare_user_and_mounts()?;
    // Without this the kernel refuses a group map of an unprivileged user (user_namespaces(7)).
    file::write_setting("/proc/self/setgroups", "deny")?;
    let map = |map: Map| format!("{} {} 1", map.inside, map.outside);
    file::write_setting("/proc/self/uid_map", &map(uid))?;
    file::write_setting("/proc/self/gid_map", &map(gid))
}

pub(super) fn tmpfs(target: &Text, mode: u32, size: Option<&str>) -> Result<(), Errno> {
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size {
        options.push_str(",size=");
        options.push_str(size);
    }
    let flags = MountFlags::MS_NOSUID | MountFlags::MS_NODEV;
    mount::mount_filesystem("tmpfs", target.as_path(), flags, Path::new(&options))
}

/// Mounts what is empty, and the command's to use, on a directory; nothing where there is none. Others may
/// have put a link there, which would lead the mount somewhere else.
pub(super) fn conceal(path: &Text) -> Result<(), Errno> {
    let Some(directory) = mount::find_directory(path.as_path())? else { return Ok(()) };
    let there = format!("/proc/self/fd/{}", directory.as_raw_fd());
    tmpfs(&Text::from(there.as_str()), 0o700, Some("1m"))
}

pub(super) fn leave(by: EnterBy) -> Result<(), Errno> {
    match by {
        EnterBy::PivotRoot => mount::detach(Path::new(HOST)),
        // The initial ramfs stays below, out of reach.
        EnterBy::MoveMount => Ok(()),
    }
}

pub(super) fn restrict(capabilities: Capabilities) -> Result<(), Errno> {
    process::set_no_new_privileges()?;
    match capabilities {
        Capabilities::Dropped => process::drop_capabilities(),
        Capabilities::DroppedForRoot => {
            process::bound_capabilities(0)?;
            process::drop_capabilities()
        }
        Capabilities::Kept => Ok(()),
        Capabilities::Exactly { kept, ambient } => {
            process::bound_capabilities(kept.bits())?;
            process::keep_capabilities(kept.bits(), ambient)
        }
    }
}

pub(super) fn load(filter: &Filter) -> Result<(), Errno> {
    let flag = |flag: &Flag| match flag {
        Flag::Log => process::FILTER_LOG,
        Flag::SpecAllow => process::FILTER_SPEC_ALLOW,
    };
    let flags = filter.flags.iter().map(flag).fold(0, |flags, flag| flags | flag);
    process::load_filter(flags, filter.program.iter().map(|instruction| instruction.parts()))
}

/// The mode of what a step makes.
pub(super) fn mode(step: &Step) -> Option<u32> {
    match step.action {
        Action::Directory { mode, .. } | Action::File { mode, .. } => Some(mode),
        _ => None,
    }
}

/// Whether descriptors are made that are no files.
pub(super) fn makes_pipes(action: &Action) -> bool {
    use Action::{Join, Limit, Scope, Source, Unpack};
    matches!(action, Join { .. } | Limit { .. } | Scope { .. } | Source { .. } | Unpack { .. })
}

/// Whether other processes than this one come into its namespaces before it executes the command.
pub(super) fn brings_company(action: &Action) -> bool {
    use Action::{Isolate, Meet, Outlive, Serve, Supervise};
    matches!(action, Meet { .. } | Serve { .. } | Outlive { .. } | Isolate | Supervise)
}
