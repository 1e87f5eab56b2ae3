//! Images: real ones made beforehand, and tiny ones made for one test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::scratch::{Scratch, chmod, copy_program, own};
use super::session;

/// An image made by `tests/images.sh`; it belongs to root and nobody else may write to it.
pub fn real(name: &str) -> PathBuf {
    let image = session::images().join(name);
    assert!(image.is_dir(), "{} is missing: run `make test`", image.display());
    image
}

/// A tiny image: the probe as `/bin/probe`, busybox as `/bin/sh` and more, and what a test adds.
#[derive(Debug)]
pub struct Image {
    root: PathBuf,
    _scratch: Scratch,
}

/// The directories most images have.
const DIRECTORIES: [&str; 9] =
    ["dev", "proc", "sys", "tmp", "etc", "home", "usr/bin", "var/tmp", "opt"];

impl Image {
    /// An image with the usual directories, `/etc/passwd` and `/etc/group`.
    pub fn tiny() -> Self {
        Image::tiny_in(Scratch::new())
    }

    /// As [`Image::tiny`], in a directory of its own.
    pub fn tiny_in(scratch: Scratch) -> Self {
        let image = Image::in_scratch(scratch);
        for directory in DIRECTORIES {
            image.directory(directory);
        }
        chmod(&image.root.join("tmp"), 0o1777);
        chmod(&image.root.join("var/tmp"), 0o1777);
        image.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        image.file("etc/group", "root:x:0:\n");
        image
    }

    /// An image with nothing but `/bin`.
    pub fn bare() -> Self {
        Image::in_scratch(Scratch::new())
    }

    /// An image with nothing but `/bin`, in a directory of its own.
    pub fn in_scratch(scratch: Scratch) -> Self {
        let root = scratch.directory("image");
        let image = Image { root, _scratch: scratch };
        image.directory("bin");
        let programs = session::programs();
        for (program, name) in [("probe", "probe"), ("busybox", "busybox")] {
            copy_program(&programs.join(program), &image.root.join("bin").join(name));
        }
        for name in ["sh", "true", "echo", "cat", "ls", "env", "id", "touch", "sleep", "kill"] {
            image.link(&format!("bin/{name}"), "busybox");
        }
        image
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        let mut path = self.root.clone();
        for part in Path::new(name) {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                own(&path);
            }
        }
        path
    }

    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        if let Some(parent) = Path::new(name).parent() {
            self.directory(parent.to_str().unwrap());
        }
        let path = self.root.join(name);
        fs::write(&path, contents).unwrap();
        own(&path);
        path
    }

    /// A file that may be executed.
    pub fn program(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, contents);
        chmod(&path, 0o755);
        path
    }

    pub fn link(&self, name: &str, target: &str) {
        if let Some(parent) = Path::new(name).parent() {
            self.directory(parent.to_str().unwrap());
        }
        let path = self.root.join(name);
        symlink(target, &path).unwrap();
        own(&path);
    }

    /// Gives the image to root and takes every write permission away.
    pub fn closed(self) -> Self {
        assert!(session::tester().is_other, "only root can give an image to root");
        let root = &self.root;
        let status = std::process::Command::new("chown").args(["-Rh", "0:0"]).arg(root).status();
        assert!(status.unwrap().success());
        let status = std::process::Command::new("chmod").args(["-R", "a-w"]).arg(root).status();
        assert!(status.unwrap().success());
        self
    }
}
