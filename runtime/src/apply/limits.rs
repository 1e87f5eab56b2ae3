//! Control groups with limits: made, joined, and left to somebody who removes them.
//!
//! A group may be removed under the hands of who comes: its last process has ended, or it was empty
//! yet and was taken for one that somebody forgot. Who notices makes it again.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustc_hash::FxHasher;

use super::claim;
use super::meeting::Who;
use crate::paths::below;
use crate::plan::{Place, Task};
use crate::sys::meeting::Tell;
use crate::sys::{self, group, meeting};

/// Nobody is so unlucky to come in the wrong moment so often.
const ATTEMPTS: usize = 100;

/// No more groups of others are looked at by one start.
const SWEPT: usize = 64;

/// Control groups that this process has made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Their directories.
    pub groups: Vec<PathBuf>,
    /// What is said when the kernel has killed for want of memory.
    pub says: Option<String>,
}

/// Sees to it that control groups are removed when their processes have ended; `shim` has one.
///
/// # Errors
///
/// The errno of making a process.
pub type Watch = fn(&Made) -> Result<(), Errno>;

/// What the groups of a step are called, for a process that is a rank of it: nothing for one that
/// only has the number of a rank which lives in them.
pub(super) fn shared<'a>(
    shared: Option<&'a str>,
    task: Option<&Task>,
    tell: Tell,
) -> Result<Option<&'a str>, Errno> {
    let Some((name, task)) = shared.zip(task) else { return Ok(shared) };
    let mut hasher = FxHasher::default();
    name.hash(&mut hasher);
    let who = Who { layout: Some(hasher.finish().max(1)), task: Some(task.number) };
    Ok(claim::claim(task.file.as_path(), who, tell)?.then_some(name))
}

/// Makes control groups and moves into them.
///
/// # Errors
///
/// The errno of mkdir(2), of making a process or of writing to a group's files.
pub(super) fn enter(
    shared: Option<&str>,
    places: &[Place],
    says: Option<&str>,
    watch: Watch,
) -> Result<(), Errno> {
    let prefix = format!("hrun-{}-", sys::effective_uid());
    let name = match shared {
        Some(shared) => format!("{prefix}{shared}"),
        None => {
            let pid = std::process::id();
            format!("{prefix}{pid}-{}", meeting::start_time(pid)?)
        }
    };
    places.iter().for_each(|place| sweep(place.parent.as_path(), &prefix));
    let mut failure = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        match attempt(&name, places, says, watch) {
            // It was removed meanwhile, and perhaps made again by another rank.
            Err(errno @ (Errno::ENOENT | Errno::ENODEV)) => failure = errno,
            result => return result,
        }
    }
    Err(failure)
}

/// Makes and joins the groups.
fn attempt(name: &str, places: &[Place], says: Option<&str>, watch: Watch) -> Result<(), Errno> {
    let mut made = Made { groups: Vec::new(), says: says.map(str::to_owned) };
    for place in places {
        let parent = place.parent.as_path();
        for controller in &place.enable {
            group::set(parent, "cgroup.subtree_control", &format!("+{controller}"))?;
        }
        let path = below(parent, Path::new(name));
        if group::make(&path)? {
            made.groups.push(path);
        }
    }
    if !made.groups.is_empty() {
        watch(&made)?;
    }
    for place in places {
        fill(&below(place.parent.as_path(), Path::new(name)), place)?;
    }
    Ok(())
}

/// Sets the limits of a group and joins it.
fn fill(path: &Path, place: &Place) -> Result<(), Errno> {
    for setting in &place.settings {
        match group::set(path, &setting.file, &setting.value) {
            Err(Errno::ENOENT) if setting.optional && path.is_dir() => {}
            result => result?,
        }
    }
    // The process that writes it.
    group::set(path, "cgroup.procs", "0")
}

/// Removes the caller's groups in which nobody is: whoever should have done so was killed.
fn sweep(parent: &Path, prefix: &str) {
    let names = meeting::names(parent).into_iter();
    let own = names.filter(|name| name.to_string_lossy().starts_with(prefix));
    for name in own.take(SWEPT) {
        // One that has processes is busy.
        let _ = group::remove(&parent.join(name));
    }
}

/// What the group of this process is called, if systemd makes it.
///
/// # Errors
///
/// `ESRCH` where `/proc` is not mounted.
pub(super) fn scope_name() -> Result<String, Errno> {
    let pid = std::process::id();
    // Both stay the same while programs change.
    Ok(format!("hrun-{pid}-{}.scope", meeting::start_time(pid)?))
}

/// Starts again in a group that the systemd of the user makes; comes back if that was done.
///
/// # Errors
///
/// The errno of execve(2).
pub(super) fn scope(program: &Path, properties: &[String]) -> Result<(), Errno> {
    let unit = scope_name()?;
    if group::own_groups().contains(&unit) {
        return Ok(());
    }
    let own = std::env::current_exe().map_err(|_| Errno::ENOENT)?;
    let mut words: Vec<std::ffi::OsString> =
        ["systemd-run", "--user", "--scope", "--quiet", "--collect"].map(Into::into).into();
    words.push(format!("--unit={unit}").into());
    words.extend(properties.iter().map(|property| format!("--property={property}").into()));
    words.extend(["--".into(), own.into_os_string()]);
    words.extend(std::env::args_os().skip(1));
    let variables = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let variables: Vec<std::ffi::OsString> = variables.collect();
    let image = sys::process::ExecImage::new(
        words.iter().map(std::ffi::OsString::as_os_str),
        variables.iter().map(std::ffi::OsString::as_os_str),
    )?;
    Err(image.execute(program))
}
