//! What hrun and its injectors want changed in a container: mounts, variables and notes.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::origin::Origin;
use crate::plan::Note;

/// What one injector wants; [`crate::decide`] makes steps of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Variables, set after the image's own and before the user's.
    pub variables: Vec<SetVariable>,
    /// Directories appended to `PATH`.
    pub path: Vec<PathBuf>,
    /// Directories appended to `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// What was found or left out.
    pub notes: Vec<Note>,
}

/// Something to be seen at a path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub content: Content,
    /// The path inside; absolute, need not exist.
    pub target: PathBuf,
    /// Who wants it.
    pub origin: Origin,
    /// What happens if another mount covers its place.
    pub rank: Rank,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file or directory of the host.
    Bind {
        /// The path on the host, absolute.
        source: PathBuf,
        /// Takes along what is mounted below.
        recursive: bool,
        /// Refuses writes.
        read_only: bool,
        /// A missing source is passed over.
        optional: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// The mode of its root directory.
        mode: u32,
        /// Its size as tmpfs(5) takes it.
        size: Option<String>,
    },
    /// An empty directory, where there is none.
    Directory,
    /// A directory of symbolic links that hrun makes.
    Links {
        /// The name of each and what it points to.
        links: Vec<(OsString, PathBuf)>,
    },
    /// A file that hrun writes.
    File {
        /// Its contents.
        contents: Vec<u8>,
    },
}

/// Who wins when two mounts want one place; a stronger one hides what lies below its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// What hrun does by itself.
    Default,
    /// What an injector found.
    Injected,
    /// What the user or the site asked for.
    Asked,
}

/// A variable an injector sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetVariable {
    /// The name.
    pub name: OsString,
    /// The value.
    pub value: OsString,
    /// Who sets it.
    pub origin: Origin,
}

impl Edits {
    /// Adds everything another injector wants.
    pub fn merge(&mut self, other: Edits) {
        self.mounts.extend(other.mounts);
        self.variables.extend(other.variables);
        self.path.extend(other.path);
        self.library_path.extend(other.library_path);
        self.notes.extend(other.notes);
    }

    /// Asks for a bind of a host path at its own place, passed over if the host lacks it.
    pub fn bind_optional(&mut self, path: impl Into<PathBuf>, origin: &Origin) {
        let target = path.into();
        let source = target.clone();
        let content = Content::Bind { source, recursive: true, read_only: false, optional: true };
        self.mounts.push(Mount { content, target, origin: origin.clone(), rank: Rank::Injected });
    }

    /// Asks for a bind of a path that is there.
    pub fn bind(&mut self, source: PathBuf, target: PathBuf, origin: &Origin) {
        let content = Content::Bind { source, recursive: true, read_only: false, optional: false };
        self.mounts.push(Mount { content, target, origin: origin.clone(), rank: Rank::Injected });
    }

    /// Asks for a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>, origin: &Origin) {
        let (name, value) = (OsString::from(name), value.into());
        self.variables.push(SetVariable { name, value, origin: origin.clone() });
    }
}
