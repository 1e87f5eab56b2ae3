//! Archives and OCI layouts made byte by byte, as no sound program would make them, and trees
//! that are compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use images::digest::Digest;

use super::run::{Outcome, as_tester, outcome, program};
use super::scratch::{Scratch, own};

/// An archive that grows.
#[derive(Clone, Debug, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn new() -> Self {
        Archive::default()
    }

    pub fn file(self, name: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> Self {
        self.member(b'0', name, "", 0o644, contents)
    }

    pub fn directory(self, name: impl AsRef<[u8]>) -> Self {
        self.member(b'5', name, "", 0o755, "")
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.member(b'2', name, target, 0o777, "")
    }

    pub fn link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.member(b'1', name, target, 0o644, "")
    }

    /// A member of any type, without what a header has no room for.
    pub fn member(
        self,
        kind: u8,
        name: impl AsRef<[u8]>,
        link: impl AsRef<[u8]>,
        mode: u32,
        contents: impl AsRef<[u8]>,
    ) -> Self {
        let contents = contents.as_ref();
        let header = header(kind, name.as_ref(), link.as_ref(), mode, contents.len() as u64);
        self.raw(header).raw(contents).padded()
    }

    /// A header that says more of the next member.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut contents = Vec::new();
        for (name, value) in records {
            let rest = name.len() + value.len() + 3;
            let length = (rest + 1..).find(|length| length.to_string().len() + rest == *length);
            contents.extend(format!("{} {name}=", length.unwrap()).into_bytes());
            contents.extend_from_slice(value);
            contents.push(b'\n');
        }
        self.member(b'x', "PaxHeaders/x", "", 0o644, contents)
    }

    /// The next member's name, as GNU has long ones.
    pub fn long_name(self, name: impl AsRef<[u8]>) -> Self {
        self.member(b'L', "././@LongLink", "", 0o644, [name.as_ref(), b"\0"].concat())
    }

    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The archive with its end.
    pub fn end(self) -> Vec<u8> {
        self.raw([0; 1024]).0
    }

    /// What there is, without an end.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// A header with its sum.
pub fn header(kind: u8, name: &[u8], link: &[u8], mode: u32, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, room: usize, bytes: &[u8]| {
        let count = bytes.len().min(room);
        block[at..at + count].copy_from_slice(&bytes[..count]);
    };
    put(0, 100, name);
    put(100, 8, format!("{mode:07o}").as_bytes());
    put(108, 8, b"0000000");
    put(116, 8, b"0000000");
    put(124, 12, format!("{size:011o}").as_bytes());
    put(136, 12, b"14000000000");
    put(156, 1, &[kind]);
    put(157, 100, link);
    put(257, 8, b"ustar\x0000");
    summed(block)
}

/// A header whose sum is made anew, after it was changed.
pub fn summed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Writes an OCI layout with layers as they are stored; its tag is `test`.
pub fn layout(scratch: &Scratch, name: &str, layers: &[(&str, Vec<u8>)], config: &str) -> PathBuf {
    let root = scratch.directory(name);
    let blobs = scratch.directory(&format!("{name}/blobs/sha256"));
    let put = |bytes: &[u8], media: &str| {
        let digest = Digest::of(bytes);
        let path = blobs.join(digest.hex());
        fs::write(&path, bytes).unwrap();
        own(&path);
        format!(r#"{{"mediaType":"{media}","digest":"{digest}","size":{}}}"#, bytes.len())
    };
    let mut diffs = Vec::new();
    let mut stored = Vec::new();
    for (how, layer) in layers {
        diffs.push(format!("\"{}\"", Digest::of(layer)));
        let packed = match *how {
            "" => layer.clone(),
            how => filtered(how, layer),
        };
        let media = match how.split(' ').next() {
            Some("gzip") => "application/vnd.oci.image.layer.v1.tar+gzip",
            _ => "application/vnd.oci.image.layer.v1.tar",
        };
        stored.push(put(&packed, media));
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{{config}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diffs.join(",")
    );
    let config = put(config.as_bytes(), "application/vnd.oci.image.config.v1+json");
    let media = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media}","config":{config},"layers":[{}]}}"#,
        stored.join(",")
    );
    let manifest = put(manifest.as_bytes(), media);
    let manifest = manifest.trim_end_matches('}');
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{manifest},"annotations":{{"org.opencontainers.image.ref.name":"test"}}}}]}}"#
    );
    scratch.file(&format!("{name}/index.json"), index);
    scratch.file(&format!("{name}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    root
}

/// What a command like `gzip -c` makes of bytes.
pub fn filtered(command: &str, bytes: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let file = scratch.file("bytes", bytes);
    let script = format!("{command} < \"$1\"");
    let output = Command::new("sh").args(["-c", &script, "sh"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs `himage` as the tester, without a word of progress.
#[track_caller]
pub fn himage<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Outcome {
    outcome(as_tester(&program("himage")).arg("--quiet").args(words))
}

/// Asserts that `himage` fails with one message that has all parts.
#[track_caller]
pub fn complains(outcome: &Outcome, parts: &[&str]) {
    assert_eq!(outcome.status, Some(125), "{outcome:?}");
    assert!(outcome.stderr.starts_with("himage: cannot "), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("himage: ").count(), 1, "{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "no '{part}' in:\n{}", outcome.stderr);
    }
}

/// All of a tree but its owners, a line for each name: type and mode, time of the last change, size,
/// target, contents, extended attributes, and the first name of the same file.
pub fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = format!("{:?}", path.strip_prefix(root).unwrap());
        let mut line =
            format!("{:o} {}.{:09}", metadata.mode(), metadata.mtime(), metadata.mtime_nsec());
        if metadata.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort_by(|one, other| other.cmp(one));
            todo.extend(names);
        } else if metadata.is_symlink() {
            line += &format!(" -> {:?}", fs::read_link(&path).unwrap());
        } else if metadata.is_file() {
            line += &format!(" {} {}", metadata.size(), Digest::of(&fs::read(&path).unwrap()));
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            let first = first.entry(metadata.ino()).or_insert_with(|| name.clone());
            line += &format!(" = {first}");
        }
        if !metadata.is_symlink() {
            line += &xattrs(&path);
        }
        lines.insert(name, line);
    }
    lines
}

/// The attributes that users set, but for those umoci keeps owners in.
fn xattrs(path: &Path) -> String {
    let output = Command::new("getfattr")
        .args(["-h", "-d", "-m", "^user\\.", "-e", "hex", "--absolute-names", "--"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines =
        text.lines().filter(|line| line.starts_with("user.") && !line.starts_with("user.rootless"));
    lines.map(|line| format!(" {line}")).collect()
}

/// Asserts that two listings say the same, and shows where they do not.
#[track_caller]
pub fn same(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    let names = one.keys().chain(other.keys());
    let differ: Vec<String> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| format!("{name}\n  {:?}\n  {:?}", one.get(name), other.get(name)))
        .take(10)
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(!one.is_empty());
}
