//! An image: a tree of files and what it says about itself.

use std::cell::OnceCell;
use std::env::consts;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use squashfs::Flaw;

use super::contents::Contents;
use super::directory::DirectoryTree;
use super::files::Files;
use super::filesystem::Filesystem;
use super::host::Host;
use super::magic::{self, Magic};
use super::metadata::{self, Config};
use super::packed::PackedTree;
use super::{remedy, sif};
use crate::elf::Source;
use crate::error::{Error, Result};
use crate::origin::Origin;
use crate::paths::below;
use crate::sys::file::File;
use crate::text::quoted;

/// An image that can be run.
pub struct Image {
    /// The root directory on the host, without symbolic links; of a packed image its file, or the
    /// copy's root directory.
    pub root: PathBuf,
    /// The image's files, from its root.
    pub files: Contents,
    /// What the image says about itself.
    pub config: Config,
    /// The image in a store that it is, if it was found there by its name.
    pub stored: Option<Stored>,
    /// Whether something beside or in it says that it is an image.
    is_described: bool,
    /// The copy of a packed image that is run in its place.
    pub copy: Option<Copy>,
    /// The file system of the root directory, asked for only where it matters.
    filesystem: OnceCell<Filesystem>,
}

/// An image of a store, found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The name.
    pub name: String,
    /// A file or directory that has this name too, and is no image.
    pub hidden: Option<PathBuf>,
}

/// Directories of which an image's root has at least one, unless it is a program and nothing else.
const DIRECTORIES: [&str; 7] = ["bin", "usr", "etc", "nix", "gnu", "ch", ".singularity.d"];

/// What tells an image's root from other directories, which may have a `bin` or an `etc` as well.
const SIGNS: [&str; 6] =
    ["/bin/sh", "/usr/bin", "/etc/passwd", "/usr/lib/os-release", "/nix/store", "/gnu/store"];

/// An unpacked copy of a packed image, as it will be.
pub struct Copy {
    /// Its root directory.
    pub tree: PathBuf,
    /// The file system it is on.
    pub filesystem: Filesystem,
    /// What says that it is whole.
    pub mark: String,
    /// Who asked for it.
    pub origin: Origin,
}

impl Image {
    /// Looks at the image at a path of the host.
    ///
    /// A directory is an image itself, or an OCI bundle, whose `config.json` or `image.json` lies
    /// beside the root directory (`rootfs`).
    ///
    /// A squashfs file is an image as well, alone or in a SIF file; its first bytes tell.
    ///
    /// # Errors
    ///
    /// Fails if the path is missing, unreadable or no image, or if its metadata cannot be read.
    pub fn look(named: &Path, host: &Host) -> Result<Self> {
        let fail = |errno: Errno| {
            Error::new(format!("use {} as an image", named.display()), errno)
                .hint_if_some(unreadable_hint(errno))
        };
        let path = host.cwd.join(named);
        let open = |path: &Path| match DirectoryTree::open(path) {
            Ok(tree) if tree.root() == Path::new("/") => Err(own_root(named)),
            result => result.map_err(fail),
        };
        let tree = match DirectoryTree::open(&path) {
            Ok(tree) if tree.root() == Path::new("/") => return Err(own_root(named)),
            Err(Errno::ENOTDIR) if path.is_file() => return Image::look_into(&path, named),
            Err(Errno::ENOTDIR) if path.exists() => return Err(no_file(named)),
            result => result.map_err(fail)?,
        };
        let bundle = metadata::bundle(&tree, &path).map_err(|error| match error.hint {
            Some(_) => error,
            None => error.hint(METADATA_HINT),
        })?;
        let tree = match &bundle.root {
            Some(root) => {
                let files = open(root)?;
                // Written as a path below the bundle, it must not lead out by `..` or a link.
                if root.starts_with(tree.root()) && !files.root().starts_with(tree.root()) {
                    return Err(outside(named, files.root()));
                }
                files
            }
            None => tree,
        };
        let files = Contents::Directory(tree);
        let is_bundle = bundle.root.is_some() || bundle.config.is_some();
        let config = match bundle.config {
            Some(config) => {
                config.with_scripts(&files).map_err(|error| error.hint(METADATA_HINT))?
            }
            None => metadata::inside(&files).map_err(|error| error.hint(METADATA_HINT))?,
        };
        let is_described = is_bundle || !config.source.is_empty();
        Ok(Image { config, is_described, ..Image::new(files) })
    }

    /// What a process in a container sees of files, as an image that says nothing of itself.
    pub fn seen(tree: DirectoryTree) -> Self {
        Image::new(Contents::Directory(tree))
    }

    /// Looks into a file; its first bytes tell what it is.
    fn look_into(path: &Path, named: &Path) -> Result<Self> {
        let use_it = || format!("use {} as an image", quoted(named));
        let fail = |errno: Errno| Error::new(use_it(), errno).hint_if_some(unreadable_hint(errno));
        let file = File::open_regular(path).map_err(fail)?;
        let mut start = [0; magic::SIZE];
        let count = Source::read_at(&file, 0, &mut start).map_err(fail)?;
        let start = &start[..count];
        let offset = match Magic::of(start) {
            Some(Magic::Squashfs(at)) => at,
            Some(Magic::Sif) => sif_partition(&file, named)?,
            Some(Magic::Ext(at)) => {
                return Err(Error::new(use_it(), remedy::EXT).hint(remedy::ext(named, at)));
            }
            None => return Err(no_image(start, named)),
        };
        let tree = PackedTree::open(path, file, offset);
        let tree = tree.map_err(|flaw| flawed(flaw, named, offset))?;
        let files = Contents::Packed(tree);
        let config = metadata::inside(&files).map_err(|error| error.hint(METADATA_HINT))?;
        let filesystem = OnceCell::from(Filesystem::SERVED);
        Ok(Image { config, filesystem, ..Image::new(files) })
    }

    /// An image of which only the files are known.
    fn new(files: Contents) -> Self {
        let root = match &files {
            Contents::Directory(tree) => tree.root().to_path_buf(),
            Contents::Packed(tree) => tree.path().to_path_buf(),
        };
        Image {
            root,
            files,
            config: Config::default(),
            stored: None,
            is_described: false,
            copy: None,
            filesystem: OnceCell::new(),
        }
    }

    /// Whether it may be the root of a system, by the names in it; those are known already.
    pub fn may_be_root(&self) -> bool {
        let has = |name: &&str| matches!(self.files.kind(&Path::new("/").join(name)), Ok(Some(_)));
        self.is_described || self.files.packed().is_some() || DIRECTORIES.iter().any(has)
    }

    /// Whether it is the root of a system, as far as that can be told, or says that it is an image.
    pub fn is_root(&self) -> bool {
        let has = |path: &&str| self.files.holds(Path::new(path));
        self.is_described || self.files.packed().is_some() || SIGNS.iter().any(has)
    }

    /// What the image is known by: its root directory, or the file that it is packed in.
    pub fn file(&self) -> &Path {
        self.files.packed().map_or(&self.root, PackedTree::path)
    }

    /// The file system the image is on.
    pub fn filesystem(&self) -> Filesystem {
        *self.filesystem.get_or_init(|| Filesystem::look(&self.root))
    }

    /// The same image, run from a copy.
    pub fn copied(mut self, copy: Copy) -> Self {
        self.filesystem = OnceCell::from(copy.filesystem);
        self.root.clone_from(&copy.tree);
        self.copy = Some(copy);
        self
    }

    /// The same image on another file system, for tests.
    pub fn on_filesystem(mut self, filesystem: Filesystem) -> Self {
        self.filesystem = OnceCell::from(filesystem);
        self
    }

    /// Where a path of the image lies on the host.
    pub fn outside(&self, path: &Path) -> PathBuf {
        below(&self.root, path)
    }
}

const METADATA_HINT: &str = "repair the file, or remove it: an image runs without metadata";

fn unreadable_hint(errno: Errno) -> Option<String> {
    let text = match errno {
        Errno::ENOENT => {
            "IMAGE is the path of an unpacked image's root directory or of a packed image, or its \
             name in the store (himage list)"
        }
        Errno::EACCES => {
            "the image or a directory above it is closed to you; its owner can open it with \
             chmod -R a+rX IMAGE\n\
             (on NFS with root_squash that holds for root as well)"
        }
        Errno::ESTALE => "the file server no longer knows this directory; unpack the image again",
        _ => return None,
    };
    Some(text.to_owned())
}

fn own_root(named: &Path) -> Error {
    let attempt = format!("use {} as an image", named.display());
    Error::new(attempt, "its root is this machine's own root directory")
        .hint("run the command without hrun")
}

fn outside(named: &Path, root: &Path) -> Error {
    let reason =
        format!("its configuration says that its root is {}, outside of it", root.display());
    Error::new(format!("use {} as an image", named.display()), reason)
        .hint(format!("if that is the image, name it: hrun {}", quoted(root)))
}

/// Says what is wrong with a squashfs file.
fn flawed(flaw: Flaw, named: &Path, offset: u64) -> Error {
    let attempt = format!("use {} as an image", quoted(named));
    match flaw {
        Flaw::Unreadable(errno) => Error::new(attempt, errno).hint_if_some(unreadable_hint(errno)),
        flaw => Error::new(attempt, flaw.to_string()).hint(remedy::squashfs(flaw, named, offset)),
    }
}

/// Where the image in a SIF file starts, if this machine runs it.
fn sif_partition(file: &File, named: &Path) -> Result<u64> {
    let attempt = || format!("use {} as an image", quoted(named));
    let found = sif::find(file)
        .map_err(|flaw| Error::new(attempt(), flaw.to_string()).hint(remedy::sif(&flaw, named)))?;
    match found.architecture {
        // binfmt_misc may have an interpreter for its programs.
        Some(other) if !other.runs_here() && !has_interpreter(other.kernel) => {
            let reason = format!("it is for {}, this machine is {}", other.name, consts::ARCH);
            Err(Error::new(attempt(), reason).hint(remedy::other_machine(named)))
        }
        _ => Ok(found.offset),
    }
}

fn has_interpreter(architecture: &str) -> bool {
    Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{architecture}")).exists()
}

fn no_file(named: &Path) -> Error {
    let attempt = format!("use {} as an image", quoted(named));
    Error::new(attempt, "it is a device, a pipe or a socket")
}

/// Says what a file is that was given as an image, by its first bytes.
fn no_image(start: &[u8], named: &Path) -> Error {
    let name = quoted(named);
    let (reason, hint) = match start {
        [0x1f, 0x8b, ..]
        | [b'B', b'Z', b'h', ..]
        | [0x28, 0xb5, 0x2f, 0xfd, ..]
        | [0xfd, b'7', b'z', b'X', b'Z', ..] => (
            "it is a compressed archive",
            format!("unpack it: mkdir {name}.d && tar -C {name}.d -xf {name} && hrun {name}.d"),
        ),
        _ if start.get(257..262) == Some(b"ustar") => (
            "it is a tar archive",
            format!("unpack it: mkdir {name}.d && tar -C {name}.d -xf {name} && hrun {name}.d"),
        ),
        _ => (
            "it is a file, but no image",
            "IMAGE comes before the command: hrun [OPTION]... IMAGE [COMMAND]...".to_owned(),
        ),
    };
    Error::new(format!("use {name} as an image"), reason).hint(hint)
}
