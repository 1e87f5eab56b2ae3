//! The host: who the caller is, where, with which environment, and the host's files.
//!
//! Every path goes through [`Host::files`], which starts at the host's root, so a fake tree in a
//! test stands for a whole machine.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::stat::{major, minor, stat};
use nix::unistd::{AccessFlags, access};

use super::directory::{DirectoryTree, errno};
use super::files::{self, Kind};
use super::filesystem::Filesystem;
use crate::error::{Error, Result};
use crate::sys;

/// The machine and the caller, as hrun found them.
#[derive(Debug)]
pub struct Host {
    /// The host's files, from its root.
    pub files: DirectoryTree,
    /// Whether the root is the real one; only then may programs of the host be asked.
    pub is_real: bool,
    /// The environment, in its order.
    pub variables: Vec<(OsString, OsString)>,
    /// The current directory, free of symbolic links.
    pub cwd: PathBuf,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The supplementary group ids.
    pub groups: Vec<u32>,
    /// Paths that count as closed to the caller, whatever their modes say; for tests.
    pub closed: Vec<PathBuf>,
}

impl Host {
    /// Looks at the machine hrun runs on.
    ///
    /// # Errors
    ///
    /// Fails if the current directory is gone or if hrun was made setuid or setgid.
    pub fn look() -> Result<Self> {
        if sys::is_secure_execution() {
            return Err(Error::new(
                "run with more rights than the caller's",
                "hrun is installed setuid, setgid or with file capabilities",
            )
            .hint("it needs none: chmod u-s,g-s and setcap -r on the hrun program"));
        }
        let cwd = env::current_dir().map_err(|error| {
            Error::new("find the current directory", errno(&error))
                .hint("it was removed or is not readable; cd to another directory and try again")
        })?;
        let files = DirectoryTree::new("/");
        for directory in [
            &cwd,
            Path::new("/dev"),
            Path::new("/etc"),
            Path::new("/proc"),
            Path::new("/sys/module"),
        ] {
            files.learn_directory(directory);
        }
        Ok(Host {
            files,
            is_real: true,
            variables: env::vars_os().collect(),
            cwd,
            uid: sys::effective_uid(),
            gid: sys::effective_gid(),
            groups: sys::groups().map_err(|errno| Error::new("list the caller's groups", errno))?,
            closed: Vec::new(),
        })
    }

    /// The value of a variable of the environment; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut found = self.variables.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// An absolute path in a variable of the environment.
    pub fn path_variable(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// What exists at a path of the host, and its path without symbolic links.
    ///
    /// # Errors
    ///
    /// As [`files::resolve`].
    pub fn find(&self, path: &Path) -> std::result::Result<Option<(PathBuf, Kind)>, Errno> {
        files::find(&self.files, path)
    }

    /// Whether the caller may make a directory the current one.
    pub fn can_enter(&self, directory: &Path) -> bool {
        access(&self.files.outside(directory), AccessFlags::X_OK).is_ok()
    }

    /// Whether the caller's command can start in a directory: its owner can, whatever its mode, as
    /// hrun has all rights over the caller's own files until then.
    pub fn can_start_in(&self, directory: &Path) -> bool {
        let owner = stat(&self.files.outside(directory)).map(|status| status.st_uid);
        self.can_enter(directory) || owner == Ok(self.uid)
    }

    /// Whether two paths of the machine are one directory, which may be mounted in several places.
    pub fn is_same(&self, one: &Path, other: &Path) -> bool {
        let identity = |path: &Path| {
            stat(&self.files.outside(path)).ok().map(|status| (status.st_dev, status.st_ino))
        };
        identity(one).is_some_and(|found| identity(other) == Some(found))
    }

    /// The files of the host's drivers: its own, or those of a tree that stands for its root.
    pub fn driver_files(&self, root: Option<&Path>) -> DirectoryTree {
        DirectoryTree::new(self.files.outside(root.unwrap_or(Path::new("/"))))
    }

    /// Whether the caller may read and write what is at a path of the machine, as far as modes and
    /// control groups say.
    ///
    /// Nothing is opened: opening a GPU's node starts the GPU.
    pub fn can_use(&self, path: &Path) -> bool {
        let is_closed = self.closed.iter().any(|closed| self.files.outside(closed) == path);
        !is_closed && access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
    }

    /// The process at the other end of a socket this process has inherited, and when it started.
    pub fn peer(&self, socket: i32) -> Option<(u32, u64)> {
        let pid = self.is_real.then(|| sys::meeting::peer(socket).ok())??;
        Some((pid, sys::meeting::start_time(pid).ok()?))
    }

    /// The parent of this process, and when it started.
    pub fn parent(&self) -> Option<(u32, u64)> {
        let pid = self.is_real.then(std::os::unix::process::parent_id)?;
        Some((pid, sys::meeting::start_time(pid).ok()?))
    }

    /// Whether a process, or its children, are in another PID namespace than this process.
    pub fn has_other_processes(&self, pid: u32) -> bool {
        let namespace =
            |process: &str| fs::read_link(format!("/proc/{process}/ns/pid_for_children")).ok();
        let theirs = self.is_real.then(|| namespace(&pid.to_string())).flatten();
        theirs.is_some_and(|theirs| namespace("self").is_some_and(|own| own != theirs))
    }

    /// Whether system calls of a process are filtered by more than those of this one are. No kernel tells an
    /// ordinary user what a filter says.
    pub fn has_more_filters(&self, pid: u32) -> bool {
        let filters = |process: &str| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let field = |name: &str| {
                let value = status.lines().find_map(|line| line.strip_prefix(name));
                value.and_then(|value| value.trim().parse::<u32>().ok())
            };
            // Before Linux 5.9 they are not counted.
            field("Seccomp_filters:").or_else(|| field("Seccomp:")).unwrap_or(0)
        };
        self.is_real && filters(&pid.to_string()) > filters("self")
    }

    /// Whether the caller may neither read nor write what is at a path of the host.
    pub fn is_closed(&self, path: &Path) -> bool {
        let path = self.files.outside(path);
        let may = |flags: AccessFlags| access(&path, flags).is_ok();
        !may(AccessFlags::R_OK) && !may(AccessFlags::W_OK)
    }

    /// The major and minor number of a node.
    pub fn device_numbers(&self, path: &Path) -> Option<(u32, u32)> {
        let status = stat(&self.files.outside(path)).ok()?;
        let number = |number: u64| u32::try_from(number).ok();
        Some((number(major(status.st_rdev))?, number(minor(status.st_rdev))?))
    }

    /// The file system of a directory.
    pub fn filesystem(&self, directory: &Path) -> Filesystem {
        Filesystem::look(&self.files.outside(directory))
    }

    /// Reads a file the user named, which may be relative to the current directory or a pipe;
    /// `-` is standard input.
    ///
    /// # Errors
    ///
    /// The errno of open(2) or read(2).
    pub fn read_named(&self, path: &Path) -> std::result::Result<Vec<u8>, Errno> {
        // Opening /dev/stdin anew is refused where somebody else made the pipe.
        if path == Path::new("-") || path == Path::new("/dev/stdin") {
            let mut contents = Vec::new();
            let read = std::io::stdin().read_to_end(&mut contents);
            return read.map(|_| contents).map_err(|error| errno(&error));
        }
        let path = self.files.outside(&self.cwd.join(path));
        fs::read(path).map_err(|error| errno(&error))
    }

    /// Reads a file of the host, wherever symbolic links lead; `None` if it cannot be read.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.try_read(path).ok()?
    }

    /// The same; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// As [`files::read`].
    pub fn try_read(&self, path: &str) -> std::result::Result<Option<Vec<u8>>, Errno> {
        files::read(&self.files, Path::new(path))
    }

    /// Asks the name services for entries of a database, for users that are in no local file.
    ///
    /// This is the one program hrun starts itself: static glibc must not load the host's name
    /// service libraries (docs/decisions/0001).
    pub fn getent(&self, database: &str, keys: &[u32]) -> Vec<u8> {
        if !self.is_real || keys.is_empty() {
            return Vec::new();
        }
        let output = Command::new("getent")
            .arg(database)
            .args(keys.iter().map(u32::to_string))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        output.map(|output| output.stdout).unwrap_or_default()
    }

    /// Adds a variable; later ones of the same name are never seen.
    pub fn with_variable(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.variables.push((OsString::from(name), OsString::from_vec(value.into())));
        self
    }

    /// Makes a host of a directory tree, for tests: uid and gid 1000, in `/`, no variables.
    pub fn fake(root: impl Into<PathBuf>) -> Self {
        Host {
            files: DirectoryTree::new(root),
            is_real: false,
            variables: Vec::new(),
            cwd: PathBuf::from("/"),
            uid: 1000,
            gid: 1000,
            groups: Vec::new(),
            closed: Vec::new(),
        }
    }
}
