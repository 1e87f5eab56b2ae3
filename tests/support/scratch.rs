//! Directories that belong to one test and are removed after it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::session::tester;

/// A directory in the home directory of the tester, who owns everything made in it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        Scratch::below(&tester().home)
    }

    /// A directory below another one, which every user may write to.
    pub fn below(parent: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("scratch-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        own(&path);
        Scratch(path)
    }

    /// A directory that hrun does not show by itself.
    pub fn elsewhere() -> Self {
        let runtime = || std::env::var_os("XDG_RUNTIME_DIR").expect("a session of systemd");
        match tester().is_other {
            true => Scratch::below(Path::new("/home/nosuid")),
            false => Scratch::below(Path::new(&runtime())),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a directory, and those above it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let mut path = self.0.clone();
        for part in Path::new(name) {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                own(&path);
            }
        }
        path
    }

    /// Makes a file, and the directories above it.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        if let Some(parent) = Path::new(name).parent() {
            self.directory(parent.to_str().unwrap());
        }
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        own(&path);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test may have closed directories to itself.
        let _ = std::process::Command::new("chmod").args(["-R", "u+rwX"]).arg(&self.0).output();
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives a file, or a symbolic link itself, to the tester.
pub fn own(path: &Path) {
    if tester().is_other {
        lchown(path, Some(tester().uid), Some(tester().gid)).unwrap();
    }
}

/// Copies a program, by another one: while this process has a file open for writing, so has every
/// child that other tests start meanwhile, and the kernel executes no such file (`ETXTBSY`).
pub fn copy_program(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("--").args([from, to]).status();
    assert!(status.unwrap().success());
    own(to);
}

/// Sets permission bits.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A checksum of a tree: every name with its type, mode, owner and link target, and all contents.
pub fn checksum(root: &Path) -> String {
    let script = "{ find . -printf '%p %M %U:%G %l\\n' | sort; find . -type f -print0 | sort -z | \
                  xargs -0 sha256sum; } | sha256sum";
    let output = std::process::Command::new("sh").args(["-c", script]).current_dir(root).output();
    let output = output.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A fingerprint of a tree: every name with its type, mode, owner, size, time and link target, and
/// the contents of its small files.
pub fn fingerprint(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut lines = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut line = format!(
            "{} {:o} {}:{} {} {}.{}",
            path.display(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.size(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        } else if metadata.is_symlink() {
            line += &format!(" -> {}", fs::read_link(&path).unwrap().display());
        } else if metadata.is_file() && metadata.size() < 65536 {
            line += &format!(" {:?}", fs::read(&path).unwrap());
        }
        lines.push(line);
    }
    lines.sort();
    lines
}
