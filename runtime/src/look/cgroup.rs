//! Control groups: which the process is in, and in which it might make others (cgroups(7)).
//!
//! Looked at only where limits are asked for.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::host::Host;
use crate::paths::{below, inner};

/// The controllers that limits take.
pub const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// A tree of control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version 2, with one tree for all controllers.
    pub is_v2: bool,
    /// The controllers of [`CONTROLLERS`] that groups of this tree can have.
    pub controllers: Vec<String>,
    /// Where groups might be made, likeliest first.
    pub groups: Vec<Group>,
}

/// A control group in which another might be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its directory.
    pub path: PathBuf,
    /// It was named by user or site.
    pub is_named: bool,
    /// The caller may make groups in it, and move there.
    pub is_open: bool,
    /// It has processes, so that in version 2 its groups can have no controllers.
    pub is_occupied: bool,
    /// The process has limits that it would leave behind.
    pub is_above_limits: bool,
    /// A manager of its own looks after it: Slurm, or the systemd of a user.
    pub is_managed: bool,
    /// Controllers that its groups have already; in version 1 all of the tree's.
    pub enabled: Vec<String>,
    /// Controllers that its groups could be given.
    pub available: Vec<String>,
    /// The memory nodes it may use, which groups of version 1 have to be told.
    pub memory_nodes: String,
}

/// The systemd of a user, which makes groups for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserManager {
    /// The program that asks it.
    pub program: PathBuf,
    /// The controllers it may use.
    pub controllers: Vec<String>,
}

/// Looks at the trees that this process is in; `named` is where groups should be made.
pub fn hierarchies(host: &Host, named: Option<&Path>) -> Vec<Hierarchy> {
    let (Some(own), Some(mounts)) =
        (read(host, "/proc/self/cgroup"), read(host, "/proc/self/mountinfo"))
    else {
        return Vec::new();
    };
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let known = |controller: &String| {
            hierarchies.iter().any(|known| known.controllers.contains(controller))
        };
        let Some(own) = own.lines().find_map(|line| mount.group_of(line)) else { continue };
        let hierarchy = mount.look(host, own, named);
        if !hierarchy.controllers.is_empty() && !hierarchy.controllers.iter().any(known) {
            hierarchies.push(hierarchy);
        }
    }
    hierarchies
}

/// Looks for the systemd of the caller: one that runs, and can be asked.
pub fn user_manager(host: &Host) -> Option<UserManager> {
    let runtime = host.path_variable("XDG_RUNTIME_DIR")?;
    let socket = host.files.outside(&runtime.join("systemd/private"));
    access(&socket, AccessFlags::W_OK).ok()?;
    let path = host.variable("PATH")?;
    let mut programs = std::env::split_paths(path).map(|directory| directory.join("systemd-run"));
    let program =
        programs.find(|program| access(&host.files.outside(program), AccessFlags::X_OK).is_ok())?;
    let uid = host.uid;
    let group = format!("user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
    let file = Path::new("/sys/fs/cgroup").join(group);
    Some(UserManager { program, controllers: words(read(host, &file.to_string_lossy())) })
}

/// A mounted tree of control groups.
struct Mount<'a> {
    is_v2: bool,
    /// The group at its root.
    root: &'a Path,
    point: &'a Path,
    /// Options of the file system; in version 1 the controllers are among them.
    options: Vec<&'a str>,
}

impl<'a> Mount<'a> {
    /// Reads a line of mountinfo (proc(5)); `None` if it is another file system.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let [_, _, _, root, point, ..] = fields.as_slice() else { return None };
        let mut system = system.split(' ');
        let is_v2 = match system.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options = system.nth(1).unwrap_or_default().split(',').collect();
        Some(Mount { is_v2, root: Path::new(*root), point: Path::new(*point), options })
    }

    /// The group that a line of `/proc/self/cgroup` names, if it is about this tree and in reach.
    fn group_of(&self, line: &'a str) -> Option<&'a Path> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_this = match self.is_v2 {
            true => number == "0" && controllers.is_empty(),
            false => controllers.split(',').any(|name| self.options.contains(&name)),
        };
        inner(Path::new(path), self.root).filter(|_| is_this)
    }

    fn look(&self, host: &Host, own: &Path, named: Option<&Path>) -> Hierarchy {
        let own = below(self.point, own);
        let named = named.map(|named| match inner(named, self.point) {
            Some(_) => named.to_path_buf(),
            None => below(self.point, named.strip_prefix("/").unwrap_or(named)),
        });
        let controllers = match self.is_v2 {
            true => known(words(read_in(host, self.point, "cgroup.controllers"))),
            false => known(self.options.iter().map(ToString::to_string).collect()),
        };
        let mut groups: Vec<Group> = Vec::new();
        if !controllers.is_empty() {
            groups.extend(named.and_then(|named| self.group(host, &named, &own, &controllers)));
            for group in &mut groups {
                group.is_named = true;
            }
            // From version 1 nobody climbs: its groups are handed to users one by one.
            let steps = if self.is_v2 { usize::MAX } else { 1 };
            let mut here = Some(own.as_path());
            for _ in 0..steps {
                let Some(group) = here.filter(|here| inner(here, self.point).is_some()) else {
                    break;
                };
                groups.extend(self.group(host, group, &own, &controllers));
                here = group.parent();
            }
        }
        Hierarchy { is_v2: self.is_v2, controllers, groups }
    }

    /// Looks at a group; `None` if there is no such directory.
    fn group(&self, host: &Host, path: &Path, own: &Path, controllers: &[String]) -> Option<Group> {
        let may_write = |file: &Path| {
            let outside = host.files.outside(file);
            let is_closed = host.closed.iter().any(|closed| closed == file);
            !is_closed && access(&outside, AccessFlags::W_OK).is_ok()
        };
        access(&host.files.outside(path), AccessFlags::F_OK).ok()?;
        let name = path.to_string_lossy();
        // Who moves in version 2 has to be allowed to on both sides (cgroups(7), "Delegation").
        let common = path.ancestors().find(|above| own.starts_with(above)).unwrap_or(path);
        let may_move = !self.is_v2 || may_write(&common.join("cgroup.procs"));
        let memory_nodes = read_in(host, path, "cpuset.effective_mems").unwrap_or_default();
        let mut enabled = match self.is_v2 {
            true => known(words(read_in(host, path, "cgroup.subtree_control"))),
            false => controllers.to_vec(),
        };
        // In version 1, a group that was not told what it has, has nothing.
        let has_cpus = read_in(host, path, "cpuset.effective_cpus").is_some_and(|c| !c.is_empty());
        enabled.retain(|name| {
            self.is_v2 || name != "cpuset" || (has_cpus && !memory_nodes.is_empty())
        });
        let may_enable = self.is_v2 && may_write(&path.join("cgroup.subtree_control"));
        let available = match may_enable {
            true => known(words(read_in(host, path, "cgroup.controllers"))),
            false => enabled.clone(),
        };
        let passed = own.ancestors().take_while(|group| *group != path);
        let is_above = own.starts_with(path);
        Some(Group {
            is_named: false,
            is_open: may_write(path) && may_move,
            is_occupied: self.is_v2
                && path != self.point
                && read_in(host, path, "cgroup.procs").is_none_or(|procs| !procs.is_empty()),
            is_above_limits: is_above && passed.into_iter().any(|group| has_limits(host, group)),
            is_managed: name.contains("/slurm") || name.contains("/user@"),
            enabled,
            available,
            memory_nodes,
            path: path.to_path_buf(),
        })
    }
}

/// Whether a group of version 2 has a limit of its own.
fn has_limits(host: &Host, group: &Path) -> bool {
    let limits = [("cpu.max", "max"), ("memory.max", "max"), ("pids.max", "max")];
    let is_set = |(file, none): &(&str, &str)| {
        read_in(host, group, file).is_some_and(|text| !text.starts_with(none))
    };
    limits.iter().any(is_set) || read_in(host, group, "cpuset.cpus").is_some_and(|c| !c.is_empty())
}

fn known(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| CONTROLLERS.contains(&name.as_str())).collect()
}

fn words(text: Option<String>) -> Vec<String> {
    text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn read_in(host: &Host, group: &Path, file: &str) -> Option<String> {
    read(host, &group.join(file).to_string_lossy()).map(|text| text.trim().to_owned())
}

/// Reads a file to its end: what the kernel makes up comes in pieces of any size.
pub(super) fn read(host: &Host, path: &str) -> Option<String> {
    fs::read_to_string(host.files.outside(Path::new(path))).ok()
}
