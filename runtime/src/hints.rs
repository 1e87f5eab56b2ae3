//! What to do about a failed step: one pure, tested table.

mod limits;
mod machines;
mod packed;
mod scripts;

use nix::errno::Errno;

use crate::apply::Failed;
use crate::error::{Error, STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use crate::look::facts::Facts;
use crate::look::program::Format;
use crate::origin::Origin;
use crate::plan::Action;

/// What a step does, as far as hints care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Meet,
    Join,
    Isolate,
    Supervise,
    Limit,
    Affinity,
    Unshare,
    Serve,
    Unpack,
    Outlive,
    Hold,
    Mount,
    Overlay,
    OverlayWithLayer,
    BindWithoutSubmounts,
    Enter,
    Make,
    ChangeDirectory,
    Source,
    Execute,
}

/// One row: when it applies, and what it says. The first that applies counts.
struct Hint {
    operations: &'static [Operation],
    errnos: &'static [Errno],
    when: fn(&Facts) -> bool,
    text: fn(&Facts) -> String,
}

const ALWAYS: fn(&Facts) -> bool = |_| true;
/// Ubuntu lets a program make a user namespace and then forbids everything in it.
const APPARMOR: fn(&Facts) -> bool = |facts| facts.apparmor_restricts_userns == Some(1);
const ANY_MOUNT: &[Operation] = &[
    Operation::Mount,
    Operation::Overlay,
    Operation::OverlayWithLayer,
    Operation::BindWithoutSubmounts,
];

const HINTS: &[Hint] = &[
    Hint {
        operations: &[Operation::Isolate],
        errnos: &[Errno::EPERM],
        when: ALWAYS,
        text: |_| {
            "the kernel gives no /proc of their own to processes where something is mounted over parts \
             of the host's /proc,\nas in a container of Docker; leave --pid out there"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Isolate, Operation::Supervise],
        errnos: &[Errno::ENOMEM],
        when: ALWAYS,
        text: |_| {
            "the container that was to be joined has just ended, or there is no memory: start it again"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Join],
        errnos: &[Errno::ESRCH],
        when: ALWAYS,
        text: |_| {
            "no such process on this node; --join-pid takes its number on the host".to_owned()
        },
    },
    Hint {
        operations: &[Operation::Join],
        errnos: &[Errno::EINVAL],
        when: ALWAYS,
        text: |_| {
            "that process runs in no container of its own, or this one runs in the same".to_owned()
        },
    },
    Hint {
        operations: &[Operation::Join],
        errnos: &[Errno::EPERM, Errno::EACCES],
        when: ALWAYS,
        text: |_| "only containers of your own can be joined, from outside of them".to_owned(),
    },
    Hint {
        operations: &[Operation::Meet],
        errnos: &[Errno::EPERM, Errno::EACCES, Errno::ELOOP, Errno::ENOTDIR],
        when: ALWAYS,
        text: |_| {
            "the directory must be yours alone (mode 0700); if somebody else made it, ask the \
             administrator to remove it\n\
             --no-join runs each rank for itself; MPI between ranks is slower then"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Meet],
        errnos: &[Errno::ENOSPC, Errno::EROFS, Errno::EDQUOT],
        when: ALWAYS,
        text: |_| {
            "ranks of a step meet in a small file there; MPI needs room in it as well\n\
             --no-join runs each rank for itself; MPI between ranks is slower then"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unshare],
        errnos: &[Errno::ENOSPC, Errno::EUSERS],
        when: |facts| facts.max_user_namespaces == Some(0),
        text: |_| {
            "user namespaces are switched off here (user.max_user_namespaces is 0);\n\
             ask the administrator for: sysctl -w user.max_user_namespaces=65536"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unshare],
        errnos: &[Errno::ENOSPC, Errno::EUSERS],
        when: ALWAYS,
        text: |facts| {
            let limit = facts.max_user_namespaces.map_or("its limit".to_owned(), |n| n.to_string());
            format!(
                "all user namespaces are in use (user.max_user_namespaces is {limit}), or they \
                 are nested too deep;\nask the administrator for: sysctl -w \
                 user.max_user_namespaces=65536"
            )
        },
    },
    Hint {
        operations: &[Operation::Unshare],
        errnos: &[Errno::EPERM, Errno::EACCES],
        when: |facts| facts.unprivileged_userns_clone == Some(0),
        text: |_| {
            "user namespaces are for root only here (kernel.unprivileged_userns_clone is 0);\n\
             ask the administrator for: sysctl -w kernel.unprivileged_userns_clone=1"
                .to_owned()
        },
    },
    Hint {
        operations: &[
            Operation::Unshare,
            Operation::Mount,
            Operation::Overlay,
            Operation::OverlayWithLayer,
            Operation::BindWithoutSubmounts,
            Operation::Enter,
        ],
        errnos: &[Errno::EPERM, Errno::EACCES],
        when: APPARMOR,
        text: apparmor_profile,
    },
    Hint {
        operations: &[Operation::Unshare],
        errnos: &[Errno::EPERM, Errno::EACCES],
        when: ALWAYS,
        text: |_| {
            "something forbids user namespaces: a security module, the seccomp filter of a \
             container around hrun, or a chroot;\nhrun --doctor tries each part and says which"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unshare],
        errnos: &[Errno::ENOENT],
        when: ALWAYS,
        text: |_| {
            "there is no /proc here, by which ids are set: start hrun where it is mounted \
             (mount -t proc proc /proc), as in every login and job"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Unshare],
        errnos: &[Errno::EINVAL, Errno::ENOSYS],
        when: ALWAYS,
        text: |_| "this kernel is built without user namespaces (CONFIG_USER_NS)".to_owned(),
    },
    Hint {
        operations: ANY_MOUNT,
        errnos: &[Errno::ENOSPC],
        when: ALWAYS,
        text: |facts| {
            let limit = facts.mount_max.map_or("its limit".to_owned(), |n| n.to_string());
            format!(
                "too many mounts (fs.mount-max is {limit}): bind fewer directories, or ask the \
                 administrator to raise it"
            )
        },
    },
    Hint {
        operations: &[Operation::Overlay, Operation::OverlayWithLayer],
        errnos: &[Errno::ENODEV],
        when: ALWAYS,
        text: |_| {
            "the kernel has no overlay: ask the administrator for modprobe overlay,\n\
             or do without (not for --write-fake and --overlay): --assume-missing=overlay"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::OverlayWithLayer],
        errnos: &[Errno::EINVAL, Errno::EOPNOTSUPP, Errno::EPERM, Errno::ESTALE],
        when: ALWAYS,
        text: |_| {
            "the directory of a layer must be on a local file system (ext4, xfs, tmpfs), not on \
             NFS, Lustre or another overlay, and belong to one image"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::OverlayWithLayer],
        errnos: &[Errno::EBUSY],
        when: ALWAYS,
        text: |_| "another run is using this directory; give each run its own".to_owned(),
    },
    Hint {
        operations: &[Operation::Overlay],
        errnos: &[Errno::EINVAL, Errno::EPERM, Errno::EOPNOTSUPP, Errno::ELOOP],
        when: ALWAYS,
        text: |_| {
            "the image's file system does not go with overlay; do without: \
             --assume-missing=overlay"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::BindWithoutSubmounts],
        errnos: &[Errno::EINVAL],
        when: ALWAYS,
        text: |_| {
            "an ordinary user cannot take apart what is mounted below it (mount_namespaces(7)); \
             leave out norec"
                .to_owned()
        },
    },
    Hint {
        operations: ANY_MOUNT,
        errnos: &[Errno::EACCES],
        when: ALWAYS,
        text: |_| {
            "a directory on the way is closed to you, or on NFS with root_squash to everybody \
             but its owner"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Enter],
        errnos: &[Errno::EINVAL],
        when: ALWAYS,
        text: |_| "try --assume-missing=pivot-root, and tell us about this machine".to_owned(),
    },
    Hint {
        operations: &[Operation::Make],
        errnos: &[Errno::EFBIG],
        when: ALWAYS,
        text: |_| {
            "a limit of file sizes is lower than what hrun writes (ulimit -f): raise it, or set it inside: \
             hrun IMAGE sh -c 'ulimit -f 0; exec COMMAND'"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Make],
        errnos: &[Errno::EACCES, Errno::EPERM, Errno::EROFS],
        when: ALWAYS,
        text: |_| {
            "--write makes missing mount points in the image, and --overlay makes its directory: \
             both must be yours; or use --write-fake"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::ChangeDirectory],
        errnos: &[Errno::EACCES],
        when: ALWAYS,
        text: |_| "the directory is closed to you; choose another with --cd".to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ENOENT],
        when: |facts| facts.program.format == Format::DosScript,
        text: |_| {
            "the script has Windows line ends; convert it: sed -i 's/\\r$//' SCRIPT".to_owned()
        },
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ENOENT, Errno::EACCES],
        when: |facts| facts.program.interpreter.as_ref().is_some_and(|named| !named.exists),
        text: |facts| {
            let interpreter = interpreter(facts);
            match facts.program.format {
                Format::Elf { .. } => format!(
                    "the program wants the loader {interpreter}, which the image lacks: it was \
                     built for another distribution or C library"
                ),
                _ => format!(
                    "the script wants the interpreter {interpreter}, which the image lacks; \
                     install it in the image or change the script's first line"
                ),
            }
        },
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ENOENT],
        when: |facts| !facts.program.exists,
        text: |_| NO_PROGRAM.to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ENOEXEC, Errno::EINVAL],
        when: |facts| matches!(facts.program.format, Format::Elf { machine } if machine != facts.machine),
        text: |facts| {
            let Format::Elf { machine } = facts.program.format else { return String::new() };
            format!(
                "the program is for {}, this machine is {}: get the image for this architecture",
                machines::name(machine),
                machines::name(facts.machine)
            )
        },
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ENOEXEC],
        when: ALWAYS,
        text: |_| {
            "it is neither a program nor a script: a script starts with a line such as #!/bin/sh"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::EACCES],
        when: |facts| facts.program.is_directory,
        text: |_| "it is a directory".to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::EACCES],
        when: |facts| facts.program.exists && !facts.program.has_execute_bit,
        text: |_| "nobody may execute it: chmod +x, or name its interpreter before it".to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::EACCES],
        when: |facts| facts.program.is_on_noexec,
        text: |_| {
            "it lies on a mount that allows no execution (noexec); keep the image or program \
             elsewhere"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::EACCES],
        when: |facts| {
            facts.program.interpreter.as_ref().is_some_and(|named| !named.has_execute_bit)
        },
        text: |facts| {
            let interpreter = interpreter(facts);
            format!("it wants to be run by {interpreter}, which nobody may execute: chmod +x it")
        },
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::EACCES],
        when: |facts| !facts.program.exists,
        text: |_| "a directory on the way to it is closed to you".to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ENOTDIR],
        when: ALWAYS,
        text: |_| "something on the way to it is a file, not a directory".to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::ELOOP],
        when: ALWAYS,
        text: |_| "the symbolic links on the way to it lead in a circle".to_owned(),
    },
    Hint {
        operations: &[Operation::Execute],
        errnos: &[Errno::E2BIG],
        when: ALWAYS,
        text: |_| "arguments and environment are too long together; try --clean-env".to_owned(),
    },
];

/// Words the failure of a step.
pub fn explain(failed: &Failed, facts: &Facts) -> Error {
    let Failed { step, errno, program, holder } = failed;
    let attempt = match (&step.action, program) {
        (Action::Execute { .. }, Some(program)) => format!("run {}", program.display()),
        (action, _) => action.describe(),
    };
    let hint = operation(&step.action).and_then(|operation| hint(operation, *errno, facts));
    let is_missing = *errno == Errno::ENOENT && !facts.program.exists;
    let status = match (&step.action, is_missing) {
        (Action::Execute { .. }, true) => STATUS_NOT_FOUND,
        (Action::Execute { .. }, false) => STATUS_NOT_EXECUTABLE,
        _ => STATUS_FAILED,
    };
    let error = match holder {
        Some(holder) => Error::new(attempt, format!("{holder} uses it")),
        None => Error::new(attempt, *errno),
    };
    let error = error.hint_if_some(hint).status(status);
    match step.origin {
        // Nobody needs to be told where the command came from.
        Origin::Default | Origin::CommandLine => error,
        _ => error.asked_by(&step.origin),
    }
}

/// What helps where the command is in none of the directories of PATH.
pub const NO_PROGRAM: &str =
    "no such program inside; if it is on the host, --bind the directory it is in";

/// Words the reason why no user namespace can be made, for the examination of a machine.
pub fn for_unshare(errno: Errno, facts: &Facts) -> Option<String> {
    hint(Operation::Unshare, errno, facts)
}

/// Words the reason why an overlay cannot be mounted, for the examination of a machine.
pub fn for_overlay(errno: Errno, facts: &Facts) -> Option<String> {
    hint(Operation::Overlay, errno, facts)
}

/// Words the reason why nothing can be mounted, for the examination of a machine.
pub fn for_mount(errno: Errno, facts: &Facts) -> Option<String> {
    hint(Operation::Mount, errno, facts)
}

fn hint(operation: Operation, errno: Errno, facts: &Facts) -> Option<String> {
    let tables = [HINTS, limits::HINTS, packed::HINTS, scripts::HINTS];
    let mut applying = tables.into_iter().flatten().filter(|hint| {
        hint.operations.contains(&operation) && hint.errnos.contains(&errno) && (hint.when)(facts)
    });
    applying.next().map(|hint| (hint.text)(facts))
}

fn operation(action: &Action) -> Option<Operation> {
    Some(match action {
        Action::Unshare { .. } => Operation::Unshare,
        Action::Tmpfs { .. } | Action::Bind { recursive: true, .. } => Operation::Mount,
        Action::Bind { recursive: false, .. } => Operation::BindWithoutSubmounts,
        Action::Overlay { layer: None, .. } => Operation::Overlay,
        Action::Overlay { layer: Some(_), .. } => Operation::OverlayWithLayer,
        Action::Enter { .. } => Operation::Enter,
        Action::Directory { .. } | Action::File { .. } => Operation::Make,
        Action::ChangeDirectory { .. } => Operation::ChangeDirectory,
        Action::Source { .. } => Operation::Source,
        Action::Execute { .. } => Operation::Execute,
        Action::ReadOnly { .. } | Action::Conceal { .. } => Operation::Mount,
        Action::Meet { .. } | Action::Admit => Operation::Meet,
        Action::Join { .. } => Operation::Join,
        Action::Limit { .. } => Operation::Limit,
        Action::Affinity { .. } => Operation::Affinity,
        Action::Isolate => Operation::Isolate,
        Action::Supervise => Operation::Supervise,
        Action::Serve { .. } => Operation::Serve,
        Action::Unpack { .. } => Operation::Unpack,
        Action::Outlive { .. } => Operation::Outlive,
        Action::Hold { .. } => Operation::Hold,
        Action::Link { .. }
        | Action::Scope { .. }
        | Action::Unmount { .. }
        | Action::Leave { .. }
        | Action::Restrict { .. }
        | Action::Filter { .. } => return None,
    })
}

fn interpreter(facts: &Facts) -> String {
    let named = facts.program.interpreter.as_ref();
    named.map(|named| named.path.display().to_string()).unwrap_or_default()
}

/// The profile Ubuntu's AppArmor wants for a program that makes user namespaces.
fn apparmor_profile(facts: &Facts) -> String {
    let hrun = facts.hrun.display();
    format!(
        "AppArmor forbids it (kernel.apparmor_restrict_unprivileged_userns is 1);\n\
         ask the administrator to write /etc/apparmor.d/hrun:\n\
         \x20   abi <abi/4.0>,\n\
         \x20   profile hrun {hrun} flags=(unconfined) {{ userns, }}\n\
         and to load it: apparmor_parser -r /etc/apparmor.d/hrun"
    )
}

#[cfg(test)]
mod tests;
