//! Control groups of version 1 that an administrator has handed to the tester, one of each
//! controller, as docs/limits.md says.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::live::until;
use super::session::tester;

const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
const MOUNTS: &str = "/sys/fs/cgroup";

/// Whether this machine has such groups.
pub fn are_here() -> bool {
    CONTROLLERS.iter().all(|name| Path::new(MOUNTS).join(name).join("cgroup.procs").exists())
}

/// The groups, which are removed with the test.
#[derive(Debug)]
pub struct Delegated(String);

impl Delegated {
    /// Makes and hands over groups.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let groups = Delegated(format!("hrun-test-{}-{number}", std::process::id()));
        for controller in CONTROLLERS {
            let group = groups.of(controller);
            fs::create_dir(&group).unwrap();
            if controller == "cpuset" {
                for file in ["cpuset.mems", "cpuset.cpus"] {
                    let all = fs::read(group.parent().unwrap().join(file)).unwrap();
                    fs::write(group.join(file), all).unwrap();
                }
            }
            chown(&group, Some(tester().uid), Some(tester().gid)).unwrap();
        }
        groups
    }

    /// The group of a controller.
    pub fn of(&self, controller: &str) -> PathBuf {
        Path::new(MOUNTS).join(controller).join(&self.0)
    }

    /// The option that names them.
    pub fn option(&self) -> String {
        format!("--cgroup-parent=/{}", self.0)
    }

    /// What has been made in them.
    pub fn made(&self) -> Vec<PathBuf> {
        let groups = CONTROLLERS.iter().flat_map(|name| fs::read_dir(self.of(name)).unwrap());
        let paths = groups.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// Waits until nothing is in them.
    #[track_caller]
    pub fn are_empty_in_time(&self) {
        until("the control groups are removed", || self.made().is_empty().then_some(()));
    }

    /// The processes of the one group that was made for a controller.
    #[track_caller]
    pub fn members(&self, controller: &str) -> Vec<String> {
        let parent = self.of(controller);
        let made: Vec<PathBuf> =
            self.made().into_iter().filter(|group| group.starts_with(&parent)).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let members = fs::read_to_string(made[0].join("cgroup.procs")).unwrap();
        members.lines().map(str::to_owned).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // A test that fails leaves processes in them.
        for _ in 0..100 {
            let made = self.made();
            for group in &made {
                let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in members.lines().filter_map(|line| line.parse().ok()) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _ = fs::remove_dir(group);
            }
            if made.is_empty() {
                break;
            }
            sleep(Duration::from_millis(10));
        }
        for controller in CONTROLLERS {
            let _ = fs::remove_dir(self.of(controller));
        }
    }
}

/// The processes that watch over control groups of the tester, and have not ended.
pub fn watchers() -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_watcher = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = format!("Uid:\t{}\t", tester().uid);
        status.starts_with("Name:\thrun-limits\n")
            && status.contains(&uid)
            && !status.contains("State:\tZ")
    };
    pids.filter(is_watcher).collect()
}
