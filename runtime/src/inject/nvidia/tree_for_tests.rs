//! Directory trees that stand for a host's root, for tests.

#![allow(clippy::disallowed_methods, reason = "trees are made where tests run")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use crate::look::directory::DirectoryTree;
use crate::look::host::Host;

/// A tree below the temporary directory, removed after the test.
#[derive(Debug)]
pub struct Tree(PathBuf);

impl Tree {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("hrun-nvidia-{}-{number}", process::id()));
        fs::create_dir(&root).unwrap();
        Tree(root)
    }

    /// Adds a file.
    pub fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Adds a GPU of the module's directory; `model` may have more lines after it.
    pub fn gpu(self, bus: &str, minor: u32, model: &str) -> Self {
        let text =
            format!("Model: \t\t {model}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n");
        self.file(&format!("/proc/driver/nvidia/gpus/{bus}/information"), text)
    }

    /// Adds nodes that open; those that are not there do not.
    pub fn nodes(self, minors: &[u32]) -> Self {
        minors.iter().fold(self, |tree, minor| tree.file(&format!("/dev/nvidia{minor}"), ""))
    }

    pub fn files(&self) -> DirectoryTree {
        DirectoryTree::new(&self.0)
    }

    pub fn host(&self) -> Host {
        Host::fake(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
