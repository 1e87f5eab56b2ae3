//! Plans as configurations of an OCI runtime, and crun, which runs them.

use std::path::Path;

use super::image::Image;
use super::machine::{mount_cgroup2, with_own_mounts};
use super::run::{Outcome, as_tester, command, outcome};
use super::scratch::Scratch;
use super::session::tester;

/// The configuration of a run in an image, which gets every mount point, because that format cannot
/// ask for them.
#[track_caller]
pub fn configuration(image: &Image, options: &[&str], words: &[&str]) -> serde_json::Value {
    for file in ["etc/resolv.conf", "etc/hosts", "etc/localtime", "etc/machine-id"] {
        image.file(file, "");
    }
    image.directory(tester().home.strip_prefix("/").unwrap().to_str().unwrap());
    let mut command = command(options);
    let text = outcome(command.arg("--dry-run=oci").arg(image.path()).args(words)).ok();
    serde_json::from_str(&text).unwrap()
}

/// Has crun run a configuration as the tester; it wants a cgroup tree of version 2, whatever this
/// machine has. Only for root.
pub fn crun(configuration: &serde_json::Value) -> Outcome {
    let scratch = Scratch::new();
    scratch.file("bundle/config.json", configuration.to_string());
    let state = scratch.directory("state");
    with_own_mounts(|| {
        mount_cgroup2();
        let mut crun = as_tester(Path::new("crun"));
        crun.env("XDG_RUNTIME_DIR", &state).arg("--root").arg(&state);
        crun.args(["--cgroup-manager=disabled", "run", "--bundle"]).arg(scratch.join("bundle"));
        outcome(crun.arg("hrun-test"))
    })
}
