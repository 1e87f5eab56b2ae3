//! The plan: everything hrun will do, as data, in order.
//!
//! A plan is decided by [`crate::decide`], printed by `--dry-run`, written and read as JSON, and
//! carried out by [`crate::apply`], which looks at nothing else.
//!
//! # Which paths mean what
//!
//! Up to [`Action::Enter`] all paths are the host's. After it, a `source` and what lies `below` an
//! overlay are still the host's, and everything else is the container's: resolved by the kernel
//! with the image as root, so no symbolic link in the image leads out of it.

mod display;
mod limits;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::limits::{Place, Setting};
use crate::capabilities::Set;
use crate::origin::Origin;
use crate::seccomp::Filter;
use crate::text::Text;
use crate::variables::Change;

/// The format of [`Plan`] in JSON; a plan of another format is refused.
pub const FORMAT: u32 = 1;

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The image's root directory on the host.
    pub image: Text,
    /// What is done, in order; the last step is [`Action::Execute`].
    pub steps: Vec<Step>,
    /// What was found and left out on the way.
    pub notes: Vec<Note>,
}

/// One thing to do, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// Who asked for it.
    pub origin: Origin,
}

/// A kind of thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Makes a user namespace with one user and one group, and a mount namespace in it.
    ///
    /// The kernel makes every mount of the new namespace a slave of the host's: what the host
    /// mounts later appears inside, nothing goes the other way (mount_namespaces(7)).
    Unshare {
        /// The user.
        uid: Map,
        /// The group.
        gid: Map,
    },
    /// Moves into control groups with limits, which are made if they are not there, and removed when
    /// all their processes have ended.
    Limit {
        /// What the ranks of a step call them; nothing: they are this process's alone.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        shared: Option<String>,
        /// Which of the ranks this is: where another process with the same number lives in groups of
        /// that name, this one makes its own.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        task: Option<Task>,
        /// Where they are made.
        places: Vec<Place>,
        /// What is said when the kernel has killed for want of memory.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        says: Option<String>,
    },
    /// Starts again in a control group that the systemd of the user makes; it removes it, too.
    Scope {
        /// The program `systemd-run`.
        program: Text,
        /// Properties of the group, as systemd.resource-control(5) has them.
        properties: Vec<String>,
    },
    /// Keeps to some CPUs.
    Affinity {
        /// Their numbers, as in `0-3,8`.
        cpus: String,
    },
    /// Meets the other ranks of a step: joins their namespaces, if there are some, and keeps others
    /// waiting until [`Action::Admit`].
    ///
    /// Where one has made the same layout, the steps in between are done.
    Meet {
        /// The file that lists the ranks; its directory is the caller's alone, and made if it is
        /// missing.
        file: Text,
        /// A number for the steps in between: ranks with the same share their mounts. Nothing: the
        /// mounts cannot be shared.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        layout: Option<u64>,
        /// Which of the ranks this is: where another process with the same number lives and has the
        /// same layout, this one makes mounts of its own. Nothing: not known.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        task: Option<u64>,
    },
    /// Makes a PID namespace for the processes that will be started, with an init that reaps what
    /// others leave and ends when nobody watches over a command in it any more; shows the namespace
    /// at `/proc`.
    Isolate,
    /// Stays to watch over the command: what follows is done by a child, to which signals are passed
    /// on, and whose end becomes this process's own.
    Supervise,
    /// Lets other ranks join.
    Admit,
    /// Joins the namespaces of a process that runs in a container; its root is theirs.
    Join {
        /// The process.
        pid: u32,
        /// It has a PID namespace too, which the children of this process come to be in.
        #[serde(default)]
        processes: bool,
    },
    /// Mounts a file system in memory.
    Tmpfs {
        /// Where.
        target: Text,
        /// The mode of its root directory.
        mode: u32,
        /// Its size as tmpfs(5) takes it; the kernel's default is half of the memory.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        size: Option<String>,
    },
    /// Hides a directory of the host in which hrun keeps something of its own, if it is there, by an empty one in
    /// memory.
    Conceal {
        /// Where it is, outside and inside.
        path: Text,
    },
    /// Makes a directory; one that is there already is fine.
    Directory {
        /// Where.
        path: Text,
        /// Its mode, whatever the caller's umask is.
        mode: u32,
    },
    /// Makes a file.
    File {
        /// Where.
        path: Text,
        /// Its mode, whatever the caller's umask is.
        mode: u32,
        /// Its contents.
        contents: Text,
    },
    /// Makes a symbolic link.
    Link {
        /// Where.
        path: Text,
        /// What it points to.
        target: Text,
    },
    /// Shows `source` at `target`.
    Bind {
        /// A file or directory of the host, free of symbolic links.
        source: Text,
        /// What it covers; exists.
        target: Text,
        /// Takes along what is mounted below.
        recursive: bool,
    },
    /// Mounts a packed image, read-only, and starts the process that serves it; that process ends
    /// when the last one that could look at the mount has ended.
    Serve {
        /// The image's file.
        image: Text,
        /// The byte of the file that the image starts at.
        #[serde(skip_serializing_if = "is_zero", default)]
        offset: u64,
        /// Files of the image that are read at once, by their paths in it without symbolic links.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        first: Vec<Text>,
        /// The directory it is mounted on.
        target: Text,
    },
    /// Unpacks a packed image, unless there is a copy of it that is whole, and holds the copy.
    Unpack {
        /// The image's file.
        image: Text,
        /// The byte of the file that the image starts at.
        #[serde(skip_serializing_if = "is_zero", default)]
        offset: u64,
        /// The copy's root directory; the directory around it is the caller's alone, and made if it
        /// is missing.
        tree: Text,
        /// What tells the image from any other, and says that a copy is whole.
        mark: String,
        /// Whether this process says that it is unpacking, or waits for another that is.
        says: bool,
    },
    /// Leaves the copy to a process that removes it when the stage is mounted nowhere any more,
    /// unless others hold it.
    Outlive {
        /// The copy's root directory.
        tree: Text,
        /// The stage.
        stage: Text,
    },
    /// Holds a layer until nothing of the container is left, so that no other run writes to it.
    Hold {
        /// The file in the layer's directory by which it is held; it is made if it is missing.
        file: Text,
        /// Another directory in memory that the process which holds it lets go of.
        stage: Text,
        /// Whether to wait while another run holds it, or to fail.
        waits: bool,
    },
    /// Covers a directory by an overlay of itself on top of another directory.
    Overlay {
        /// The directory.
        target: Text,
        /// What lies below it: a directory of the host that holds the entries it lacks.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        below: Option<Text>,
        /// Where changes go; without it the overlay is read-only.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        layer: Option<Layer>,
        /// Keeps programs in it from being executed, as they are on the directory's own mount.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        no_exec: bool,
    },
    /// Makes a mount read-only.
    ReadOnly {
        /// The mount.
        target: Text,
        /// Takes along what is mounted below.
        recursive: bool,
        /// The system call.
        by: ReadOnlyBy,
    },
    /// Makes the mount at `root` the root directory; the host's stays reachable for sources.
    Enter {
        /// The mount.
        root: Text,
        /// The system call.
        by: EnterBy,
    },
    /// Takes away what is mounted at `target`.
    Unmount {
        /// The mount.
        target: Text,
    },
    /// Lets go of the host's root.
    Leave {
        /// How [`Action::Enter`] was done.
        by: EnterBy,
    },
    /// Goes to the start directory.
    ChangeDirectory {
        /// The directory.
        path: Text,
    },
    /// Gives up privileges for good.
    Restrict {
        /// What happens to the capabilities the namespace gives.
        capabilities: Capabilities,
    },
    /// Has the kernel filter all system calls from here on.
    Filter {
        /// The filter.
        filter: Box<Filter>,
    },
    /// Has a shell inside source scripts of the image, and remembers which variables they set.
    Source {
        /// The shell.
        shell: Text,
        /// The scripts, in order; one that is no file inside is passed over.
        scripts: Vec<Text>,
        /// The environment they start with.
        environment: Vec<Variable>,
    },
    /// Becomes the command.
    Execute {
        /// The command and its arguments.
        arguments: Vec<Text>,
        /// The directories a command without `/` is looked for in; behind [`Action::Source`], those of
        /// the environment that comes of it.
        search: Vec<Text>,
        /// The whole environment; behind [`Action::Source`], what the scripts leave unset.
        environment: Vec<Variable>,
        /// Variables that are set to the number of the process that becomes the command, which a PID
        /// namespace gives it.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        numbered: Vec<Text>,
        /// How the environment changes when the scripts have run.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        changes: Vec<Change>,
    },
}

/// Which of the ranks of a step a process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    /// The file that lists the ranks.
    pub file: Text,
    /// A number that no other rank has.
    pub number: u64,
}

/// One id: what it is inside, and whose it is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Map {
    /// The id inside.
    pub inside: u32,
    /// The caller's id.
    pub outside: u32,
}

/// The writable directories of an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// Holds what was changed.
    pub upper: Text,
    /// The kernel's own, on the same file system.
    pub work: Text,
}

/// The system call that makes a mount read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadOnlyBy {
    /// mount_setattr(2), Linux 5.12 and newer.
    MountSetattr,
    /// mount(2) with `MS_REMOUNT`, mount by mount, keeping the flags that are locked.
    Remount,
}

/// The system call that changes the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnterBy {
    /// pivot_root(2).
    PivotRoot,
    /// mount(2) with `MS_MOVE` onto `/` and chroot(2), where `/` is the initial ramfs of a
    /// diskless node, which pivot_root refuses.
    MoveMount,
}

/// What happens to capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capabilities {
    /// They are given up before execve(2), and `no_new_privs` keeps them from coming back.
    Dropped,
    /// The same, and the bounding set is emptied: root gets from execve(2) what that holds
    /// (docs/decisions/0003).
    DroppedForRoot,
    /// They stay: `--root`.
    Kept,
    /// These stay, and the bounding set has no other.
    Exactly {
        /// Which.
        kept: Set,
        /// They are made ambient, or a user who is not root would lose them with execve(2).
        ambient: bool,
    },
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variable {
    /// The name.
    pub name: Text,
    /// The value.
    pub value: Text,
    /// Who set it.
    pub origin: Origin,
}

/// Something the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Printed without being asked for.
    pub warning: bool,
    /// A sentence without a full stop.
    pub text: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Plan {
    /// The step with which the command starts.
    pub fn execute(&self) -> Option<&Action> {
        self.steps.last().map(|step| &step.action)
    }
}

impl Note {
    /// Makes a note that is printed with `-v`.
    pub fn info(text: impl Into<String>) -> Self {
        Note { warning: false, text: text.into() }
    }

    /// Makes a note that is printed unless `-q` is given.
    pub fn warning(text: impl Into<String>) -> Self {
        Note { warning: true, text: text.into() }
    }
}

impl Action {
    /// Makes a step of it.
    pub fn asked_by(self, origin: &Origin) -> Step {
        Step { action: self, origin: origin.clone() }
    }

    /// Says what it does, as it reads after "cannot".
    pub fn describe(&self) -> String {
        match self {
            Action::Isolate => "give processes a PID namespace and a /proc of their own".to_owned(),
            Action::Supervise => "watch over the command".to_owned(),
            Action::Unshare { .. } => "make user and mount namespaces".to_owned(),
            Action::Limit { places, .. } => {
                let parents: Vec<String> = places.iter().map(|p| p.parent.to_string()).collect();
                format!("set limits in a control group below {}", parents.join(" and "))
            }
            Action::Scope { program, .. } => format!("start again by {program}"),
            Action::Affinity { cpus } => format!("keep to the CPUs {cpus}"),
            Action::Meet { file, .. } => format!("meet the other ranks of this step in {file}"),
            Action::Admit => "let other ranks of this step join".to_owned(),
            Action::Join { pid, .. } => format!("join the container of process {pid}"),
            Action::Tmpfs { target, .. } => format!("mount a tmpfs on {target}"),
            Action::Conceal { path } => format!("hide {path}"),
            Action::Directory { path, .. } => format!("make directory {path}"),
            Action::File { path, .. } => format!("write file {path}"),
            Action::Link { path, .. } => format!("make symbolic link {path}"),
            Action::Bind { source, target, .. } if source == target => format!("bind {source}"),
            Action::Bind { source, target, .. } => format!("bind {source} at {target}"),
            Action::Serve { image, .. } => format!("serve the image {image}"),
            Action::Unpack { image, tree, .. } => format!("unpack the image {image} in {tree}"),
            Action::Hold { file, .. } => {
                let directory = file.as_path().parent().unwrap_or(Path::new("/"));
                format!("keep other runs from the layer {}", directory.display())
            }
            Action::Outlive { tree, .. } => format!("see to the removal of {tree}"),
            Action::Overlay { target, .. } => format!("mount an overlay on {target}"),
            Action::ReadOnly { target, .. } => format!("make {target} read-only"),
            Action::Enter { root, .. } => format!("enter {root}"),
            Action::Unmount { target } => format!("unmount {target}"),
            Action::Leave { .. } => "leave the host's root".to_owned(),
            Action::ChangeDirectory { path } => format!("start in {path}"),
            Action::Restrict { .. } => "give up privileges".to_owned(),
            Action::Filter { .. } => "load the filter of system calls".to_owned(),
            Action::Source { .. } => "have the image's scripts set variables".to_owned(),
            Action::Execute { arguments, .. } => match arguments.first() {
                Some(command) => format!("run {command}"),
                None => "run a command".to_owned(),
            },
        }
    }
}
