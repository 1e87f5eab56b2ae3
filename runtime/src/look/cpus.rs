//! CPUs: which of them the process may use, and how they lie together.

use std::path::Path;

use super::cgroup::read;
use super::files::Files;
use super::host::Host;
use crate::cpus::CpuList;

/// How CPUs lie together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The CPUs of each core.
    pub cores: Vec<CpuList>,
    /// The CPUs next to each memory node.
    pub nodes: Vec<CpuList>,
}

/// The CPUs this process may run on; `None` where `/proc` does not say.
pub fn allowed(host: &Host) -> Option<CpuList> {
    let status = read(host, "/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    CpuList::parse(line).filter(|cpus| !cpus.is_empty())
}

/// The CPUs that a process of this job may choose from: those of its group, or all.
pub fn of_job(host: &Host) -> Option<CpuList> {
    let own = read(host, "/proc/self/cgroup").unwrap_or_default();
    let groups = own.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(line), fields.next().unwrap_or("/"));
        let (tree, file) = match controllers {
            "" => ("/sys/fs/cgroup", "cpuset.cpus.effective"),
            _ => ("/sys/fs/cgroup/cpuset", "cpuset.effective_cpus"),
        };
        let is_about_cpus = ["", "cpuset"].contains(&controllers);
        // A group without the controller has what the group around it has.
        let groups = Path::new(path).ancestors().take_while(move |_| is_about_cpus);
        groups.map(move |group| format!("{tree}{}/{file}", group.display()))
    });
    let mut lists = groups.filter_map(|file| list(host, &file));
    lists.next().or_else(|| list(host, "/sys/devices/system/cpu/online"))
}

/// How some CPUs lie together.
pub fn topology(host: &Host, cpus: &CpuList) -> Topology {
    let mut cores: Vec<CpuList> = Vec::new();
    for cpu in cpus.iter() {
        if !cores.iter().any(|core| core.has(cpu)) {
            let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            let alone = || std::iter::once(cpu).collect();
            cores.push(list(host, &file).unwrap_or_else(alone));
        }
    }
    let directory = Path::new("/sys/devices/system/node");
    let entries = host.files.list(directory).unwrap_or_default().into_iter();
    let nodes = entries.filter_map(|(name, _)| {
        let name = name.to_str().filter(|name| name.starts_with("node"))?;
        list(host, &format!("/sys/devices/system/node/{name}/cpulist"))
    });
    Topology { cores, nodes: nodes.collect() }
}

fn list(host: &Host, file: &str) -> Option<CpuList> {
    CpuList::parse(&read(host, file)?).filter(|cpus| !cpus.is_empty())
}
