//! Containers that run on this node, as their processes show them in `/proc`; nothing is written
//! down anywhere.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use procfs::process::{self, Process};
use procfs::{ProcError, ProcResult};

use super::directory::DirectoryTree;
use crate::ranks;

/// The variable in which every command finds the image it runs in.
pub const IMAGE: &str = "HRUN_IMAGE";

/// The variable that every command of hrun has.
const RUNNING: &str = "HRUN_RUNNING";

/// Processes that see the same mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its processes, the oldest first, those of hrun itself last.
    pub processes: Vec<u32>,
    /// How many of them were started from outside of it: the ranks of a step.
    pub ranks: usize,
    /// The image; nothing if its programs have taken the variable away.
    pub image: Option<PathBuf>,
    /// The step of a launcher that it belongs to: `slurm 17.0`.
    pub step: Option<String>,
    /// How long its oldest process has been running, in seconds.
    pub seconds: u64,
}

/// A process in a container, to be followed into it.
#[derive(Debug)]
pub struct Inhabitant {
    /// What it sees of files.
    pub files: DirectoryTree,
    /// What its environment was when it started.
    pub environment: Vec<(OsString, OsString)>,
    /// Its current directory, inside.
    pub directory: PathBuf,
}

/// Why a process cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    /// The kernel does not say.
    Closed(Errno),
    /// It sees the same mounts as the caller.
    Outside,
}

/// What is known of a process.
struct Seen {
    pid: u32,
    parent: u32,
    /// In ticks since the machine started.
    started: u64,
    environment: Vec<(OsString, OsString)>,
}

/// The containers of the caller, the oldest first.
///
/// # Errors
///
/// Fails where `/proc` is not mounted.
pub fn running() -> Result<Vec<Container>, Errno> {
    let own = own_mounts()?;
    let mut groups: BTreeMap<u64, Vec<Seen>> = BTreeMap::new();
    for process in process::all_processes().map_err(errno)?.flatten() {
        // Those of others are closed, and some end meanwhile.
        let Ok(mounts) = mounts_of(&process) else { continue };
        if mounts != own
            && let Ok(seen) = look_at(&process)
        {
            groups.entry(mounts).or_default().push(seen);
        }
    }
    let uptime = procfs::Current::current().map(|uptime: procfs::Uptime| uptime.uptime as u64);
    let uptime = uptime.map_err(errno)?;
    let has_ours = |group: &Vec<Seen>| group.iter().any(|seen| seen.variable(RUNNING).is_some());
    let groups = groups.into_values().filter(has_ours);
    let mut containers: Vec<Container> = groups.map(|group| container(group, uptime)).collect();
    containers.sort_by_key(|container| std::cmp::Reverse(container.seconds));
    Ok(containers)
}

/// The mounts that this process sees, by the number of their namespace.
///
/// # Errors
///
/// The errno of stat(2).
pub fn own_mounts() -> Result<u64, Errno> {
    nix::sys::stat::stat("/proc/self/ns/mnt").map(|status| status.st_ino)
}

/// The caller's processes that see the mounts of a namespace, by a list of processes: `/proc`.
pub fn inhabitants(processes: &Path, mounts: u64) -> Vec<u32> {
    let all = process::all_processes_with_root(processes).into_iter().flatten().flatten();
    let inside = all.filter(|process| mounts_of(process).is_ok_and(|it| it == mounts));
    inside.filter_map(|process| process.pid().try_into().ok()).collect()
}

/// The process that a supervisor of hrun watches over, if a process is one: it is closed itself. Any other
/// process is given back.
pub fn watched(pid: u32) -> u32 {
    let Ok(number) = i32::try_from(pid) else { return pid };
    let own = crate::sys::effective_uid();
    let is_one = Process::new(number).is_ok_and(|process| {
        let is_ours = process.status().is_ok_and(|it| it.ruid == own && it.name == "hrun");
        is_ours && mounts_of(&process).is_err()
    });
    if !is_one {
        return pid;
    }
    let all = process::all_processes().into_iter().flatten().flatten();
    let children = all.filter(|process| process.stat().is_ok_and(|stat| stat.ppid == number));
    // The ear and the init are closed as well.
    let mut open = children.filter(|process| mounts_of(process).is_ok());
    open.next().and_then(|process| process.pid().try_into().ok()).unwrap_or(pid)
}

/// Looks at a process in a container.
///
/// # Errors
///
/// Says what keeps it from being followed.
pub fn inhabitant(pid: u32) -> Result<Inhabitant, Unfollowed> {
    let closed = |error: ProcError| Unfollowed::Closed(errno(error));
    let number = i32::try_from(pid).map_err(|_| Unfollowed::Closed(Errno::ESRCH))?;
    let process = Process::new(number).map_err(closed)?;
    let own = own_mounts().map_err(Unfollowed::Closed)?;
    if mounts_of(&process).map_err(closed)? == own {
        return Err(Unfollowed::Outside);
    }
    let environment = process.environ().map_err(closed)?.into_iter().collect();
    let directory = process.cwd().map_err(closed)?;
    let files = DirectoryTree::new(format!("/proc/{pid}/root"));
    Ok(Inhabitant { files, environment, directory })
}

fn container(mut group: Vec<Seen>, uptime: u64) -> Container {
    let is_hruns = |seen: &Seen| seen.variable(RUNNING).is_none();
    group.sort_by_key(|seen| (is_hruns(seen), seen.started, seen.pid));
    let is_inside = |pid: u32| group.iter().any(|seen| seen.pid == pid);
    // What others have left belongs to an init of hrun's, which is inside, but closed.
    let is_left = |pid: u32| name_of(pid).is_some_and(|name| name == "hrun-init");
    let has_come = |seen: &&Seen| !is_inside(seen.parent) && !is_left(seen.parent);
    let ranks = group.iter().filter(has_come).count();
    let mut images = group.iter().filter_map(|seen| seen.variable(IMAGE));
    let image = images.next().map(PathBuf::from);
    let mut steps = group.iter().filter_map(|seen| {
        ranks::named_step(&|name| seen.variable(name))
            .map(|(launcher, name)| format!("{launcher} {name}"))
    });
    let step = steps.next();
    let started = group.iter().map(|seen| seen.started).min().unwrap_or(0);
    let seconds = uptime.saturating_sub(started / procfs::ticks_per_second().max(1));
    let processes = group.iter().map(|seen| seen.pid).collect();
    Container { processes, ranks, image, step, seconds }
}

/// What `ps` calls a process.
fn name_of(pid: u32) -> Option<String> {
    let process = Process::new(pid.try_into().ok()?).ok()?;
    process.stat().ok().map(|stat| stat.comm)
}

fn look_at(process: &Process) -> ProcResult<Seen> {
    let stat = process.stat()?;
    Ok(Seen {
        pid: stat.pid.unsigned_abs(),
        parent: stat.ppid.unsigned_abs(),
        started: stat.starttime,
        environment: process.environ()?.into_iter().collect(),
    })
}

fn mounts_of(process: &Process) -> ProcResult<u64> {
    let namespaces = process.namespaces()?;
    let mounts = namespaces.0.get(OsStr::new("mnt")).map(|namespace| namespace.identifier);
    mounts.ok_or_else(|| ProcError::NotFound(Some(Path::new("/proc/self/ns/mnt").into())))
}

fn errno(error: ProcError) -> Errno {
    match error {
        ProcError::PermissionDenied(_) => Errno::EACCES,
        ProcError::NotFound(_) => Errno::ESRCH,
        ProcError::Io(error, _) => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        _ => Errno::EIO,
    }
}

impl Seen {
    fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut found = self.environment.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }
}
