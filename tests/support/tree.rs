//! Directory trees written as text (`tests/hosts/README.md`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A tree below the temporary directory, removed after the test.
#[derive(Debug)]
pub struct FakeTree(PathBuf);

impl FakeTree {
    /// Makes the tree of `tests/hosts/NAME.tree`.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("hrun-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
        let text = fs::read_to_string(trees.join(name).with_extension("tree")).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            make(&root, line);
        }
        FakeTree(root)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for FakeTree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make(root: &Path, line: &str) {
    if let Some(directory) = line.strip_suffix('/') {
        return fs::create_dir_all(root.join(directory)).unwrap();
    }
    let name = line.split(' ').next().unwrap();
    fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
    if let Some((link, target)) = line.split_once(" -> ") {
        symlink(target, root.join(link)).unwrap();
    } else if let Some((file, text)) = line.split_once(" = ") {
        let text = text.replace("\\n", "\n").replace("\\t", "\t") + "\n";
        fs::write(root.join(file), text).unwrap();
    } else {
        fs::write(root.join(line), "").unwrap();
    }
}
