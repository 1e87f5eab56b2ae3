//! Machines that differ from this one, or on which something is wrong, made of namespaces of
//! their own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use super::run::{Outcome, as_tester, outcome};
use super::session::tester;

/// Runs `work` with a mount namespace of its own: what it mounts, no other test sees.
///
/// Only for root. The namespace belongs to a thread; its threads and children share it.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let result = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("only root can do this");
            set_propagation("/", MsFlags::MS_PRIVATE);
            work()
        });
        thread.join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `work` on this machine with the driver, the GPUs and the files of a tree of
/// `tests/drivers.sh`, as if it had been installed here (`tests/install-gpus.sh`).
///
/// Only for root.
pub fn with_gpus<T: Send>(tree: &Path, work: impl FnOnce() -> T + Send) -> T {
    with_own_mounts(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install-gpus.sh");
        let installed = Command::new(script).arg(tree).status();
        assert!(installed.unwrap().success());
        work()
    })
}

/// Where version 1 of control groups has its devices controller.
pub const DEVICES_CGROUP: &str = "/sys/fs/cgroup/devices";

/// Runs `work` where the control group denies a device (`c 1:7 rwm`), as Slurm does it with
/// `ConstrainDevices`.
///
/// Only for root. The group is the calling thread's, and its children's.
pub fn without_device<T>(device: &str, work: impl FnOnce() -> T) -> T {
    let thread = nix::unistd::gettid().to_string();
    let group = Path::new(DEVICES_CGROUP).join(format!("hrun-test-{thread}"));
    fs::create_dir(&group).unwrap();
    fs::write(group.join("devices.deny"), device).unwrap();
    fs::write(group.join("tasks"), &thread).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    fs::write(Path::new(DEVICES_CGROUP).join("tasks"), &thread).unwrap();
    fs::remove_dir(&group).unwrap();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Sets how mounts below a directory travel to other namespaces.
pub fn set_propagation(directory: &str, how: MsFlags) {
    mount(None::<&str>, directory, None::<&str>, how | MsFlags::MS_REC, None::<&str>).unwrap();
}

/// Covers a directory by an empty one in memory that everybody may write to.
pub fn cover(directory: &Path, options: &str) {
    let options = format!("mode=1777,{options}");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .unwrap();
}

/// Covers a directory by a file system in memory that is full.
pub fn fill(directory: &Path) {
    cover(directory, "size=4k,nr_inodes=2");
    fs::write(directory.join("full"), [b'x'; 4096]).unwrap();
    let error = fs::write(directory.join("more"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

/// Shows a directory at another, with all that is mounted below.
pub fn show(directory: &Path, place: &Path) {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(directory), place, None::<&str>, flags, None::<&str>).unwrap();
}

/// Makes a directory read-only, as a file system is that was mounted so.
pub fn make_read_only(directory: &Path) {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    show(directory, directory);
    mount(None::<&str>, directory, None::<&str>, flags, None::<&str>).unwrap();
}

/// Takes a name out of the root directory, for this thread.
///
/// The new root is in memory and shows all that the old one has, except the name; so this is
/// also a node without a disk.
pub fn remove_from_root(name: &str) {
    let root = Path::new("/mnt");
    cover(root, "size=1m");
    for entry in fs::read_dir("/").unwrap().map(Result::unwrap) {
        let place = root.join(entry.file_name());
        if entry.file_name() == name {
            continue;
        }
        match entry.file_type().unwrap() {
            kind if kind.is_symlink() => {
                symlink(fs::read_link(entry.path()).unwrap(), place).unwrap()
            }
            kind if kind.is_dir() => {
                fs::create_dir(&place).unwrap();
                show(&entry.path(), &place);
            }
            _ => {}
        }
    }
    chdir(root).unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    chdir("/").unwrap();
}

/// A command that runs a program as the tester where no user namespace can be made.
pub fn without_user_namespaces(program: &Path) -> Command {
    with_namespace_setting("echo 0 > /proc/sys/user/max_user_namespaces", program)
}

/// A command that runs a program in a user namespace of the tester, after a shell command.
pub fn with_namespace_setting(setting: &str, program: &Path) -> Command {
    let mut command = as_tester(Path::new("unshare"));
    let script = format!("{setting} && exec \"$@\"");
    let words = ["-U", "-r", "sh", "-c", &script, "sh"].map(OsStr::new);
    command.args(words).arg(program);
    command
}

/// Shows cgroups as version 2, as most machines have them.
pub fn mount_cgroup2() {
    let cgroup = Path::new("/sys/fs/cgroup");
    let _ = umount2(cgroup, MntFlags::MNT_DETACH);
    mount(Some("cgroup2"), cgroup, Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
}

/// Runs a command on a host changed for it alone.
///
/// `setup` is a shell script that root runs in a mount namespace of its own: what it mounts is
/// seen by the command, and gone after it.
#[track_caller]
pub fn on_host(setup: &str, command: &Command) -> Outcome {
    assert!(tester().is_other, "only root can change the host for a test");
    let mut changed = Command::new("unshare");
    changed
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg(format!("{setup}\nexec \"$@\""))
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().expect("every run has a directory"));
    outcome(&mut changed)
}

/// A setup that makes `/etc` a copy of itself, which the lines after it may change.
pub const OWN_ETC: &str =
    "mount -t tmpfs etc /media && cp -a /etc /media/ && mount --bind /media/etc /etc";

/// Whether a process that crashes leaves a file beside it (core(5)).
pub fn writes_core_files() -> bool {
    fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap().trim_end() == "core"
}
