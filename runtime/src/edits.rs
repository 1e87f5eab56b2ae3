//! What hrun and its injectors want changed in a container: mounts, variables and notes.

use std::ffi::{OsStr, OsString};
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
    /// Variables of the image that mean something else here, and are left out.
    pub unset: Vec<&'static str>,
    /// Directories appended to `PATH`.
    pub path: Vec<PathBuf>,
    /// Directories appended to `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// Files of the host that programs find by name; [`crate::inject`] makes mounts of them.
    pub named: Named,
    /// What is not to be seen of the host's files that are shown.
    pub hidden: Vec<Hidden>,
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
        /// It takes the place of one that is there; otherwise that one stays.
        replaces: bool,
    },
    /// A symbolic link that hrun makes; where something is already, what it leads to is shown.
    Link {
        /// What it points to.
        target: PathBuf,
    },
}

/// Libraries and programs of the host, and the names they are found by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Libraries; of equal names the first counts.
    pub libraries: Vec<NamedFile>,
    /// Libraries of the image that come before the host's, by soname.
    pub preferred: Vec<(OsString, PathBuf)>,
    /// Programs.
    pub programs: Vec<NamedFile>,
}

/// One name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The name.
    pub name: OsString,
    /// The file.
    pub means: Meaning,
    /// Who wants it.
    pub origin: Origin,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A file of the host, by its path without symbolic links.
    File(PathBuf),
    /// The same as another name.
    Name(OsString),
}

/// An entry of a directory of the host that is left out where the directory is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its path inside.
    pub path: PathBuf,
    /// Who wants it left out.
    pub origin: Origin,
}

/// Who wins when two mounts want one place; a stronger one hides what lies below its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// What hrun does by itself.
    Default,
    /// What an injector found.
    Injected,
    /// What an option puts in the place of a default: an empty `/tmp` or home directory.
    Private,
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
        self.unset.extend(other.unset);
        self.path.extend(other.path);
        self.library_path.extend(other.library_path);
        self.named.merge(other.named);
        self.hidden.extend(other.hidden);
        self.notes.extend(other.notes);
    }

    /// Asks for a mount.
    pub fn mount(&mut self, content: Content, target: PathBuf, origin: &Origin) {
        self.mounts.push(Mount { content, target, origin: origin.clone(), rank: Rank::Injected });
    }

    /// Asks for a bind of a host path at its own place, passed over if the host lacks it.
    pub fn bind_optional(&mut self, path: impl Into<PathBuf>, origin: &Origin) {
        let target = path.into();
        let source = target.clone();
        let content = Content::Bind { source, recursive: true, read_only: false, optional: true };
        self.mount(content, target, origin);
    }

    /// Asks for a bind of a path that is there.
    pub fn bind(&mut self, source: PathBuf, target: PathBuf, origin: &Origin) {
        let content = Content::Bind { source, recursive: true, read_only: false, optional: false };
        self.mount(content, target, origin);
    }

    /// Asks for a file of the host, or a directory without what is mounted below, that nobody writes
    /// to.
    pub fn show(&mut self, source: PathBuf, target: PathBuf, origin: &Origin) {
        let (recursive, read_only, optional) = (false, true, false);
        self.mount(Content::Bind { source, recursive, read_only, optional }, target, origin);
    }

    /// Asks for a file that hrun writes, unless the image has one at its place.
    pub fn add_file(&mut self, target: PathBuf, contents: Vec<u8>, origin: &Origin) {
        let content = Content::File { contents, replaces: false };
        self.mount(content, target, origin);
    }

    /// Asks for a file that hrun writes, in place of the image's.
    pub fn replace_file(&mut self, target: PathBuf, contents: Vec<u8>, origin: &Origin) {
        let content = Content::File { contents, replaces: true };
        self.mount(content, target, origin);
    }

    /// Asks for a symbolic link.
    pub fn link(&mut self, path: PathBuf, target: PathBuf, origin: &Origin) {
        let content = Content::Link { target };
        self.mount(content, path, origin);
    }

    /// Asks for an entry of a host's directory to be left out.
    pub fn hide(&mut self, path: PathBuf, origin: &Origin) {
        self.hidden.push(Hidden { path, origin: origin.clone() });
    }

    /// Asks for a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>, origin: &Origin) {
        let (name, value) = (OsString::from(name), value.into());
        self.variables.push(SetVariable { name, value, origin: origin.clone() });
    }
    /// Asks for a variable of the image to be left out.
    pub fn unset(&mut self, name: &'static str) {
        self.unset.push(name);
    }
}

impl Named {
    /// Gives a library of the host a name; a name that is taken keeps its meaning.
    pub fn library(&mut self, name: &OsStr, file: PathBuf, origin: &Origin) {
        let (name, origin) = (name.to_owned(), origin.clone());
        self.libraries.push(NamedFile { name, means: Meaning::File(file), origin });
    }

    /// Gives a library that was named another name; a name that is taken keeps its meaning.
    pub fn library_link(&mut self, name: &OsStr, known: &OsStr, origin: &Origin) {
        let (name, origin) = (name.to_owned(), origin.clone());
        self.libraries.push(NamedFile { name, means: Meaning::Name(known.to_owned()), origin });
    }

    /// Gives a program of the host a name.
    pub fn program(&mut self, name: &OsStr, file: PathBuf, origin: &Origin) {
        let means = Meaning::File(file);
        self.programs.push(NamedFile { name: name.to_owned(), means, origin: origin.clone() });
    }

    fn merge(&mut self, other: Named) {
        self.libraries.extend(other.libraries);
        self.preferred.extend(other.preferred);
        self.programs.extend(other.programs);
    }
}
