//! An image: a tree of files and what it says about itself.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::directory::DirectoryTree;
use super::filesystem::Filesystem;
use super::host::Host;
use super::metadata::{self, Config};
use crate::error::{Error, Result};
use crate::paths::below;
use crate::text::quoted;

/// An image that can be run.
pub struct Image {
    /// The root directory on the host, without symbolic links.
    pub root: PathBuf,
    /// The image's files, from its root.
    pub files: DirectoryTree,
    /// What the image says about itself.
    pub config: Config,
    /// The file system of the root directory, asked for only where it matters.
    filesystem: OnceCell<Filesystem>,
}

impl Image {
    /// Looks at the image at a path of the host.
    ///
    /// A directory is an image itself, or an OCI bundle, whose `config.json` or `image.json` lies
    /// beside the root directory (`rootfs`).
    ///
    /// # Errors
    ///
    /// Fails if the path is missing, unreadable or no image, or if its metadata cannot be read.
    pub fn look(named: &Path, host: &Host) -> Result<Self> {
        let fail = |errno: Errno| {
            Error::new(format!("use {} as an image", named.display()), errno)
                .hint_if_some(unreadable_hint(errno, named))
        };
        let path = host.cwd.join(named);
        let open = |path: &Path| match DirectoryTree::open(path) {
            Ok(tree) if tree.root() == Path::new("/") => Err(own_root(named)),
            Err(Errno::ENOTDIR) if path.exists() => Err(no_directory(path, named)),
            result => result.map_err(fail),
        };
        let tree = open(&path)?;
        let bundle = metadata::bundle(&tree).map_err(|error| error.hint(METADATA_HINT))?;
        let files = match &bundle.root {
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
        let config = match bundle.config {
            Some(config) => config,
            None => metadata::inside(&files).map_err(|error| error.hint(METADATA_HINT))?,
        };
        let root = files.root().to_path_buf();
        Ok(Image { root, files, config, filesystem: OnceCell::new() })
    }

    /// What a process in a container sees of files, as an image that says nothing of itself.
    pub fn seen(files: DirectoryTree) -> Self {
        let root = files.root().to_path_buf();
        Image { root, files, config: Config::default(), filesystem: OnceCell::new() }
    }

    /// The file system the image is on.
    pub fn filesystem(&self) -> Filesystem {
        *self.filesystem.get_or_init(|| Filesystem::look(&self.root))
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

fn unreadable_hint(errno: Errno, named: &Path) -> Option<String> {
    let text = match errno {
        Errno::ENOENT if named.to_string_lossy().contains(':') => {
            "IMAGE is a directory; an image of a registry must be unpacked first"
        }
        Errno::ENOENT => "IMAGE is the path of an unpacked image's root directory",
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

/// Says what a file is that was given as an image, by its first bytes.
fn no_directory(path: &Path, named: &Path) -> Error {
    let name = quoted(named);
    if !path.is_file() {
        return Error::new(format!("use {name} as an image"), "it is a device, a pipe or a socket");
    }
    let mut start = [0; 512];
    let read = File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let start = &start[..read];
    let (reason, hint) = match start {
        [b'h', b's', b'q', b's', ..] => (
            "it is a squashfs file, and this version runs directories only",
            format!("unpack it: unsquashfs -d {name}.d {name} && hrun {name}.d"),
        ),
        _ if start.get(32..36) == Some(b"SIF_") => (
            "it is a SIF file, and this version runs directories only",
            format!("unpack it: apptainer build --sandbox {name}.d {name} && hrun {name}.d"),
        ),
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
