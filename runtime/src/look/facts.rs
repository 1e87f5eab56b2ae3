//! What may explain a failure: settings of the kernel and the program that did not start.

use std::fs;
use std::path::{Path, PathBuf};

use super::program::Program;
use crate::hints::{self, Facts};

/// Looks at the settings that hints depend on, and at the program, if there was one.
///
/// It reads `/proc` where it is: on the host, or inside after the root has changed.
pub fn look(program: Option<&Path>) -> Facts {
    Facts {
        max_user_namespaces: setting("user/max_user_namespaces"),
        unprivileged_userns_clone: setting("kernel/unprivileged_userns_clone"),
        apparmor_restricts_userns: setting("kernel/apparmor_restrict_unprivileged_userns"),
        mount_max: setting("fs/mount-max"),
        hrun: fs::read_link("/proc/self/exe").unwrap_or_else(|_| PathBuf::from("hrun")),
        machine: hints::own_machine(),
        program: program.map(Program::look).unwrap_or_default(),
    }
}

/// A number below `/proc/sys`.
fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}
