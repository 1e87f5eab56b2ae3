//! What of the machine a program may take that is started here.

use std::fs;
use std::path::{Path, PathBuf};

/// The processors of this process: those its affinity and its control group leave it.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A quarter of the memory its control group leaves this process, in bytes; nothing where that has no
/// limit. `mksquashfs` takes a quarter of the machine's.
pub(super) fn memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = directories(&groups).into_iter().filter_map(|(directory, file)| {
        let text = fs::read_to_string(directory.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    });
    // Version 1 says that there is no limit by a number near 2^63.
    limits.filter(|limit| *limit < 1 << 60).min().map(|limit| limit / 4)
}

/// Where limits of the memory may be, from what `/proc/self/cgroup` says.
fn directories(groups: &str) -> Vec<(PathBuf, &'static str)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(kinds), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (top, file) = match kinds {
            "" => ("/sys/fs/cgroup", "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A limit of any group above counts as well.
        for ancestor in Path::new(path.trim_start_matches('/')).ancestors() {
            found.push((Path::new(top).join(ancestor), file));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_all_groups_above() {
        let of = |groups: &str| -> Vec<String> {
            let found = directories(groups);
            found
                .iter()
                .map(|(directory, file)| directory.join(file).display().to_string())
                .collect()
        };
        assert_eq!(
            of("0::/job/step\n"),
            [
                "/sys/fs/cgroup/job/step/memory.max",
                "/sys/fs/cgroup/job/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            of("5:memory:/slurm\n4:cpu,cpuacct:/x\n"),
            [
                "/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
    }
}
