//! What may explain a failure: settings of the kernel and the program that did not start.

use std::fs;
use std::path::{Path, PathBuf};

use super::program::Program;

/// What is known about the machine when a step has failed; unknown settings are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, a setting of Debian's kernels.
    pub unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, a setting of Ubuntu 24.04 and newer.
    pub apparmor_restricts_userns: Option<u64>,
    /// `fs.mount-max`.
    pub mount_max: Option<u64>,
    /// The path of the hrun program.
    pub hrun: PathBuf,
    /// The machine this kernel runs programs of, by its number in elf(5).
    pub machine: u16,
    /// What is at the path of the command.
    pub program: Program,
}

/// Looks at the settings that hints depend on, and at the program, if there was one.
///
/// It reads `/proc` where it is: on the host, inside, or, before it is mounted there, below the
/// current directory, which is the host's root then.
pub fn look(program: Option<&Path>) -> Facts {
    Facts {
        max_user_namespaces: setting("user/max_user_namespaces"),
        unprivileged_userns_clone: setting("kernel/unprivileged_userns_clone"),
        apparmor_restricts_userns: setting("kernel/apparmor_restrict_unprivileged_userns"),
        mount_max: setting("fs/mount-max"),
        hrun: fs::read_link("/proc/self/exe").unwrap_or_else(|_| PathBuf::from("hrun")),
        machine: own_machine(),
        program: program.map(Program::look).unwrap_or_default(),
    }
}

/// A number below `/proc/sys`.
fn setting(name: &str) -> Option<u64> {
    let read = |directory: &str| fs::read_to_string(Path::new(directory).join(name));
    read("/proc/sys").or_else(|_| read("proc/sys")).ok()?.trim().parse().ok()
}

/// The number of the machine this program was built for.
fn own_machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        "powerpc64" => 21,
        "s390x" => 22,
        _ => 0,
    }
}
