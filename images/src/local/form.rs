//! What an archive or a directory is, by the names at its top.

use std::collections::BTreeSet;

/// What an archive or a directory turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blobs and an index of images.
    Oci,
    /// Layers and the list that `docker load` reads.
    Docker,
    /// The same without the list, as Docker made it until 1.10.
    OldDocker,
    /// The files of a root directory, or of anything else.
    Root,
}

/// What is known of an archive by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// What it is.
    pub kind: Kind,
    /// The one directory that all of it lies in; empty if it lies at the top.
    pub inside: String,
    /// Whether it has the directories that every system has.
    pub has_system: bool,
}

/// Directories of a system; no archive of layers has one of them at its top.
const SYSTEM: [&str; 5] = ["bin", "etc", "usr", "lib", "sbin"];

/// No more names are kept than these.
const NAMES_KEPT: usize = 10_000;

/// Names that are seen one after another.
#[derive(Debug, Default)]
pub(super) struct Names {
    tops: BTreeSet<String>,
    /// What the first top has in it, while it is the only one.
    inner: BTreeSet<String>,
}

impl Names {
    /// Takes a name without `.` and `..`.
    pub fn see(&mut self, name: &str) {
        let mut parts = name.splitn(3, '/');
        let top = parts.next().filter(|top| !top.is_empty());
        let Some(top) = top else { return };
        if !self.tops.contains(top) && self.tops.len() < NAMES_KEPT {
            self.tops.insert(top.to_owned());
        }
        if self.tops.len() == 1
            && let Some(inner) = parts.next()
            && self.inner.len() < NAMES_KEPT
        {
            self.inner.insert(inner.to_owned());
        }
    }

    /// Whether whatever follows does not change what it is.
    pub fn is_decided(&self) -> bool {
        has_system(&self.tops)
    }

    /// What all names together say.
    pub fn form(&self) -> Form {
        let found = kind(&self.tops);
        let form = |kind, inside: &str, of: &BTreeSet<String>| Form {
            kind,
            inside: inside.to_owned(),
            has_system: has_system(of),
        };
        match (found, self.tops.first()) {
            (Kind::Root, Some(top)) if self.tops.len() == 1 => match kind(&self.inner) {
                Kind::Root => form(Kind::Root, top, &self.tops),
                inner => form(inner, top, &self.inner),
            },
            (found, _) => form(found, "", &self.tops),
        }
    }
}

fn has_system(names: &BTreeSet<String>) -> bool {
    SYSTEM.iter().any(|name| names.contains(*name))
}

/// Docker writes both forms into one archive, and that of OCI says more.
fn kind(names: &BTreeSet<String>) -> Kind {
    let has = |name: &str| names.contains(name);
    // What himage has made has a manifest, too, beside its rootfs.
    if has_system(names) || has("rootfs") {
        Kind::Root
    } else if has("index.json") && (has("oci-layout") || has("blobs")) {
        Kind::Oci
    } else if has("manifest.json") {
        Kind::Docker
    } else if has("repositories") {
        Kind::OldDocker
    } else {
        Kind::Root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn form(names: &[&str]) -> (Kind, String) {
        let mut seen = Names::default();
        names.iter().for_each(|name| seen.see(name));
        let form = seen.form();
        (form.kind, form.inside)
    }

    #[test]
    fn archives_are_told_apart_by_their_names() {
        let top = |kind| (kind, String::new());
        assert_eq!(form(&["blobs/sha256/0", "index.json", "oci-layout"]), top(Kind::Oci));
        assert_eq!(form(&["blobs/sha256/0", "index.json"]), top(Kind::Oci));
        assert_eq!(form(&["0.tar.gz", "sha256:1", "manifest.json"]), top(Kind::Docker));
        assert_eq!(form(&["0/VERSION", "0/layer.tar", "repositories"]), top(Kind::OldDocker));
        assert_eq!(form(&["manifest.json", "etc/passwd"]), top(Kind::Root));
        assert_eq!(form(&["a", "b"]), top(Kind::Root));
        assert_eq!(form(&["app", "app/manifest.json", "app/0.tar"]), (Kind::Docker, "app".into()));
        assert_eq!(form(&["rootfs/etc/passwd", "rootfs/bin"]), (Kind::Root, "rootfs".into()));
        assert_eq!(form(&[]), top(Kind::Root));
    }
}
