//! Which device is meant: names, versions, priorities, conflicts, errors.

use super::*;
use crate::plan::Note;

/// A spec with devices that do nothing.
fn spec(kind: &str, devices: &[&str]) -> String {
    let devices: Vec<_> = devices.iter().map(|name| format!("{{name: \"{name}\"}}")).collect();
    format!("cdiVersion: 0.6.0\nkind: {kind}\ndevices: [{}]\n", devices.join(", "))
}

fn files(tree: &Tree, asked: &str) -> String {
    let registry = Registry::read(tree, &directories());
    let found = registry.resolve(&[name(asked)]).unwrap();
    found.devices[0].file.display().to_string()
}

fn notes(tree: &Tree) -> Vec<String> {
    let notes = Registry::read(tree, &directories()).notes();
    assert!(notes.iter().all(|note| !note.warning), "what nobody asked for is no warning");
    notes.into_iter().map(|Note { text, .. }| text).collect()
}

#[test]
fn names_are_taken_apart() {
    for good in ["nvidia.com/gpu=0", "v/c=d", "a-b.c_d/e.f=GPU-1", "v.com/c=0000:03:00.0-0x56c0"] {
        assert_eq!(name(good).to_string(), good);
    }
    let name = name("nvidia.com/gpu=1:0");
    assert_eq!((name.kind(), name.device()), ("nvidia.com/gpu", "1:0"));
    for (bad, reason) in [
        ("", "\"\" is not of the form vendor.com/class=name"),
        ("all", "\"all\" is not of the form vendor.com/class=name"),
        ("gpu=0", "the kind \"gpu\" is not of the form vendor.com/class"),
        ("/gpu=0", "the vendor \"\" is empty"),
        ("v.com/=0", "the class \"\" is empty"),
        ("v.com/c=", "the device name \"\" is empty"),
        ("1v.com/c=0", "the vendor \"1v.com\" begins with a \"1\""),
        ("v.com-/c=0", "the vendor \"v.com-\" ends with a \"-\""),
        ("v.com/c/d=0", "the class \"c/d\" has a '/'"),
        ("v.com/c:d=0", "the class \"c:d\" has a ':'"),
        ("v.com/c=a=b", "the device name \"a=b\" has a '='"),
        ("v.com/c=-a", "the device name \"-a\" begins with a \"-\""),
        ("v.com/c=\u{e9}", "the device name \"\u{e9}\" has a '\u{e9}'"),
        ("v.com/c=a\nb", "the device name \"a\\nb\" has a '\\n'"),
    ] {
        assert_eq!(QualifiedName::parse(bad).unwrap_err(), reason, "{bad}");
    }
}

#[test]
fn versions_are_known_newer_or_refused() {
    let with = |version: &str| {
        Spec::parse(format!("cdiVersion: \"{version}\"\nkind: v.com/c\n").as_bytes(), Format::Yaml)
    };
    for known in ["0.3.0", "0.4.0", "0.5.0", "v0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"] {
        assert!(with(known).unwrap().has_known_version(), "{known}");
    }
    for newer in ["0.3.1", "0.9.0", "1.0.1", "1.2.0", "1.999.0"] {
        assert!(!with(newer).unwrap().has_known_version(), "{newer}");
    }
    for (bad, reason) in [
        ("0.2.0", "cdiVersion 0.2.0 is older than 0.3.0"),
        ("2.0.0", "cdiVersion 2.0.0 is newer than hrun knows (1.1.0)"),
        ("1.1", "cdiVersion \"1.1\" is not of the form 1.0.0"),
        ("1.1.0.0", "cdiVersion \"1.1.0.0\" is not of the form 1.0.0"),
        ("1.1.0-rc1", "cdiVersion \"1.1.0-rc1\" is not of the form 1.0.0"),
        ("99999999999.0.0", "cdiVersion \"99999999999.0.0\" is not of the form 1.0.0"),
    ] {
        assert_eq!(with(bad).unwrap_err(), reason);
    }
}

#[test]
fn a_newer_version_is_used_with_a_warning_for_those_who_use_it() {
    let newer = spec("v.com/c", &["0"]).replace("0.6.0", "1.2.0");
    let tree = host().file("/etc/cdi/v.yaml", newer);
    assert_eq!(edits(&tree, &["amd.com/gpu=0"]).notes, []);
    let text = "/etc/cdi/v.yaml follows CDI 1.2.0, which hrun does not know; it was read as 1.1.0";
    assert_eq!(edits(&tree, &["v.com/c=0"]).notes, [Note::warning(text)]);
}

#[test]
fn all_vendors_are_found() {
    let tree = host();
    assert_eq!(notes(&tree), [""; 0]);
    assert_eq!(files(&tree, "nvidia.com/gpu=0"), "/var/run/cdi/nvidia.yaml");
    assert_eq!(files(&tree, "amd.com/gpu=all"), "/etc/cdi/amd.json");
    assert_eq!(files(&tree, "intel.com/gpu=0000:03:00.0-0x56c0"), "/etc/cdi/intel.yml");
    let registry = Registry::read(&tree, &directories());
    assert_eq!(registry.names().count(), 2 + 1 + 5);
}

#[test]
fn the_last_directory_wins() {
    let tree = Tree::new()
        .file("/etc/cdi/a.yaml", spec("v.com/c", &["0", "1"]))
        .file("/var/run/cdi/a.yaml", spec("v.com/c", &["0"]));
    assert_eq!(files(&tree, "v.com/c=0"), "/var/run/cdi/a.yaml");
    assert_eq!(files(&tree, "v.com/c=1"), "/etc/cdi/a.yaml");
    let reversed = [PathBuf::from("/var/run/cdi"), PathBuf::from("/etc/cdi")];
    let registry = Registry::read(&tree, &reversed);
    let found = registry.resolve(&[name("v.com/c=0")]).unwrap();
    assert_eq!(found.devices[0].file, PathBuf::from("/etc/cdi/a.yaml"));
}

#[test]
fn a_conflict_spoils_the_device_and_no_other() {
    let tree = Tree::new()
        .file("/etc/cdi/a.yaml", spec("v.com/c", &["0", "1"]))
        .file("/etc/cdi/b.yaml", spec("v.com/c", &["1", "2"]));
    assert_eq!(files(&tree, "v.com/c=0"), "/etc/cdi/a.yaml");
    assert_eq!(files(&tree, "v.com/c=2"), "/etc/cdi/b.yaml");
    assert_eq!(
        refused(&tree, "v.com/c=1").to_string(),
        "cannot find the device v.com/c=1: it is described twice, in /etc/cdi/a.yaml, \
         /etc/cdi/b.yaml\n  \
         hint: one of the files must go, or move to a directory of higher priority"
    );
    let text = "device v.com/c=1 cannot be used: it is in /etc/cdi/a.yaml, /etc/cdi/b.yaml";
    assert_eq!(notes(&tree), [text]);
    // A higher directory settles it.
    let tree = tree.file("/var/run/cdi/c.yaml", spec("v.com/c", &["1"]));
    assert_eq!(files(&tree, "v.com/c=1"), "/var/run/cdi/c.yaml");
    assert_eq!(notes(&tree), [""; 0]);
}

#[test]
fn one_directory_by_two_names_is_no_conflict() {
    let tree = host();
    let twice = ["/run/cdi", "/var/run/cdi"].map(PathBuf::from);
    let registry = Registry::read(&tree, &twice);
    let found = registry.resolve(&[name("nvidia.com/gpu=0")]).unwrap();
    assert_eq!(found.devices[0].file, PathBuf::from("/var/run/cdi/nvidia.yaml"));
}

#[test]
fn broken_places_spoil_nothing_until_they_are_missed() {
    let tree = host()
        .file("/etc/cdi/broken.json", "{")
        .locked("/etc/cdi/locked.yaml")
        .link("/etc/cdi/lost.yaml", "/nowhere")
        .directory("/etc/cdi/directory.yaml")
        .link("/etc/cdi/linked.yaml", "/opt/v.yaml")
        .file("/opt/v.yaml", spec("v.com/c", &["0"]));
    assert_eq!(files(&tree, "v.com/c=0"), "/etc/cdi/linked.yaml");
    assert_eq!(
        notes(&tree),
        [
            "/etc/cdi/broken.json was passed over: EOF while parsing an object at line 1 column 1",
            "/etc/cdi/locked.yaml was passed over: Permission denied",
            "/etc/cdi/lost.yaml was passed over: its symbolic link leads nowhere",
        ]
    );
    assert_eq!(
        refused(&tree, "v.com/c=9").to_string(),
        "cannot find the device v.com/c=9: there is no such device; of v.com/c there are 0\n  \
         hint: descriptions of devices (CDI) are read from /etc/cdi, /var/run/cdi\n        \
         /etc/cdi/broken.json was passed over: EOF while parsing an object at line 1 column 1\n        \
         /etc/cdi/locked.yaml was passed over: Permission denied\n        \
         /etc/cdi/lost.yaml was passed over: its symbolic link leads nowhere"
    );
}

#[test]
fn an_unknown_device_is_told_what_there_is() {
    let read_from = "descriptions of devices (CDI) are read from /etc/cdi, /var/run/cdi";
    for (asked, reason, suggested) in [
        ("amd.com/gpu=7", "there is no such device; of amd.com/gpu there are 0, all", None),
        (
            "nvidia.com/gpu=GPU-8a6b2d5e-0c1f-4f5f-9a51-27d3f0f0a00l",
            "there is no such device; of nvidia.com/gpu there are 0, 1, 1:0, \
             GPU-8a6b2d5e-0c1f-4f5f-9a51-27d3f0f0a001, all",
            Some("nvidia.com/gpu=GPU-8a6b2d5e-0c1f-4f5f-9a51-27d3f0f0a001"),
        ),
        ("amd.com/gpu=al", "there is no such device; of amd.com/gpu there are 0, all", None),
        (
            "nvidia.com/gpus=0",
            "there are no devices of nvidia.com/gpus; there are some of amd.com/gpu, \
             intel.com/gpu, nvidia.com/gpu",
            Some("nvidia.com/gpu=0"),
        ),
        (
            "vendor.org/thing=0",
            "there are no devices of vendor.org/thing; there are some of amd.com/gpu, \
             intel.com/gpu, nvidia.com/gpu",
            None,
        ),
    ] {
        let suggested = suggested.map(|name| format!("did you mean {name}?\n        "));
        let suggested = suggested.unwrap_or_default();
        assert_eq!(
            refused(&host(), asked).to_string(),
            format!("cannot find the device {asked}: {reason}\n  hint: {suggested}{read_from}")
        );
    }
    let nothing = "no devices are described on this host";
    assert_eq!(
        refused(&Tree::new(), "v.com/c=0").to_string(),
        format!("cannot find the device v.com/c=0: {nothing}\n  hint: {read_from}")
    );
    let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = refused(&Tree::new().file("/etc/cdi/v.yaml", spec("v.com/c", &many)), "v.com/c=x");
    assert!(error.to_string().contains(", 24 more"), "{error}");
}

#[test]
fn a_directory_that_is_none_is_noted() {
    let tree = Tree::new().file("/etc/cdi", "").link("/var/run/cdi", "cdi");
    assert_eq!(
        notes(&tree),
        [
            "/etc/cdi was passed over: it is not a directory",
            "/var/run/cdi was passed over: Too many symbolic links encountered",
        ]
    );
}
