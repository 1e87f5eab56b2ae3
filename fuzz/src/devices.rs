//! What holds for every description of devices that is taken, whatever it says.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime::cdi::{CdiEdits, Format, MountContent, QualifiedName, Registry, Spec};
use runtime::look::files::{Files, Kind};

const DIRECTORY: &str = "/etc/cdi";

/// A host that has one description of devices.
struct Host<'a> {
    name: &'a str,
    contents: &'a [u8],
}

impl Host<'_> {
    fn file(&self) -> PathBuf {
        Path::new(DIRECTORY).join(self.name)
    }
}

impl Files for Host<'_> {
    fn kind(&self, path: &Path) -> Result<Option<Kind>, Errno> {
        let is_above = Path::new(DIRECTORY).starts_with(path);
        let file = (path == self.file()).then_some(Kind::File);
        Ok(if is_above { Some(Kind::Directory) } else { file })
    }

    fn link(&self, _: &Path) -> Result<PathBuf, Errno> {
        Err(Errno::EINVAL)
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, Errno> {
        assert_eq!(path, Path::new(DIRECTORY));
        Ok(vec![(self.name.into(), Kind::File)])
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        assert_eq!(path, self.file());
        Ok(self.contents.to_vec())
    }

    fn mode(&self, _: &Path) -> Result<u32, Errno> {
        Ok(0o644)
    }
}

/// Checks that a description is either refused with a reason or gives edits that can be applied.
pub fn check(contents: &[u8], format: Format) {
    let parsed = Spec::parse(contents, format);
    let name = if format == Format::Json { "v.json" } else { "v.yaml" };
    let host = Host { name, contents };
    let registry = Registry::read(&host, &[DIRECTORY.into()]);
    let names: Vec<QualifiedName> = registry.names().cloned().collect();
    match parsed {
        Ok(spec) => {
            assert!(registry.notes().is_empty());
            check_names(&spec, &names);
        }
        Err(reason) => {
            assert!(!reason.is_empty() && names.is_empty());
            let [note] = &registry.notes()[..] else { panic!("{reason:?} is not noted") };
            assert!(!note.text.contains('\n'), "{note:?}");
        }
    }
    let resolved = registry.resolve(&names).expect("every name that is listed is found");
    assert_eq!(resolved.devices.len(), names.len());
    check_edits(&CdiEdits::of(&resolved));
}

/// Every device has one name, which reads back as it is written.
fn check_names(spec: &Spec, names: &[QualifiedName]) {
    let written = |device: &runtime::cdi::Device| format!("{}={}", spec.kind, device.name);
    let described: BTreeSet<String> = spec.devices.iter().map(written).collect();
    assert_eq!(described.len(), spec.devices.len(), "a device is described twice");
    assert!(described.iter().eq(&names.iter().map(ToString::to_string).collect::<BTreeSet<_>>()));
    for name in names {
        assert_eq!(QualifiedName::parse(&name.to_string()).as_ref(), Ok(name));
    }
}

fn check_edits(edits: &CdiEdits) {
    each_once(edits.environment.iter().map(|(name, _)| name));
    for (name, value) in &edits.environment {
        let [name, value] = [name, value].map(|text| text.as_encoded_bytes());
        assert!(!name.is_empty() && !name.contains(&b'='));
        assert!(!name.contains(&0) && !value.contains(&0));
    }
    each_once(edits.nodes.iter().map(|node| &node.path));
    for node in &edits.nodes {
        check_inside(&node.path);
        check_path(&node.host_path);
    }
    each_once(edits.mounts.iter().map(|mount| &mount.container_path));
    for mount in &edits.mounts {
        check_inside(&mount.container_path);
        match &mount.content {
            MountContent::Bind { host_path, .. } => check_path(host_path),
            MountContent::Tmpfs { mode, size } => {
                assert!(*mode <= 0o7777);
                assert!(
                    size.as_ref().is_none_or(|size| size.starts_with(|c| char::is_ascii_digit(&c)))
                );
            }
        }
    }
    let depth = |path: &Path| path.components().count();
    assert!(edits.mounts.is_sorted_by_key(|mount| depth(&mount.container_path)));
    each_once(edits.links.iter().map(|link| &link.path));
    edits.links.iter().for_each(|link| check_inside(&link.path));
    each_once(&edits.library_folders);
    edits.library_folders.iter().for_each(|folder| check_inside(folder));
    let compat = edits.cuda_compat.iter().filter_map(|compat| compat.container_root.as_ref());
    compat.for_each(|root| check_inside(root));
    each_once(&edits.gids);
    assert!(!edits.gids.contains(&0), "root's group is not for a device to give");
    each_once(edits.notes.iter().map(|note| &note.text));
}

fn each_once<T: Ord + Debug>(items: impl IntoIterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for item in items {
        assert!(!seen.contains(&item), "{item:?} twice");
        seen.insert(item);
    }
}

/// A path that a mount point can be: below the root, with no way out of it.
fn check_inside(path: &Path) {
    check_path(path);
    assert_ne!(path, Path::new("/"));
}

/// An absolute, clean path that a system call takes.
fn check_path(path: &Path) {
    let text = path.as_os_str().as_encoded_bytes();
    assert!(text.starts_with(b"/") && !text.contains(&0), "{path:?}");
    let mut names = text[1..].split(|byte| *byte == b'/');
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
    assert!(text == b"/" || names.all(is_name), "{path:?}");
}
