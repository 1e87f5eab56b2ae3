//! The harness itself: it runs as an ordinary user, and what it declares is true.

use super::support::{Image, groups, hrun, lacks, machine, probe, session, tester};

#[test]
fn runs_as_an_ordinary_user() {
    let image = Image::tiny();
    let lines = probe(image.path(), &[], "id").lines();
    assert_eq!(lines[0], format!("uid {}", tester().uid));
    assert_ne!(tester().uid, 0);
}

#[test]
fn declared_lacks_are_true() {
    for lack in session::declared_lacks() {
        let is_there = match lack.as_str() {
            "root" => tester().is_other,
            "strace" => std::process::Command::new("strace").arg("-V").output().is_ok(),
            "crun" => std::process::Command::new("crun").arg("--version").output().is_ok(),
            "readelf" => std::process::Command::new("readelf").arg("--version").output().is_ok(),
            "ldconfig" => std::path::Path::new("/sbin/ldconfig").exists(),
            "devices-cgroup" => std::path::Path::new(machine::DEVICES_CGROUP).is_dir(),
            "qemu" => {
                std::process::Command::new("qemu-system-x86_64").arg("-version").output().is_ok()
            }
            "limit-cgroups" => groups::are_here(),
            "core-files" => machine::writes_core_files(),
            other => panic!("HRUN_TEST_LACKS names {other}, which no test asks for"),
        };
        assert!(!is_there, "this machine has {lack}");
    }
    assert!(lacks("root") || tester().is_other);
}

#[test]
fn prints_help_and_version() {
    let help = hrun(["--help"]).ok();
    assert!(help.contains("hrun [OPTION]... IMAGE"), "{help}");
    let version = hrun(["--version"]).ok();
    assert!(version.starts_with("hrun "), "{version}");
}
