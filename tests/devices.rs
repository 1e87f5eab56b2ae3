//! Devices asked for by name: those that the host describes (CDI), and nodes.

use std::fs;

use super::support::driver::{Client, MULTIARCH, VERSION, driver, libraries, uuid};
use super::support::image::real;
use super::support::machine::with_gpus;
use super::support::run::{Outcome, hrun};
use super::support::scratch::Scratch;
use super::support::session::lacks;

/// A description of the GPUs of the tree `h100` as NVIDIA's toolkit writes it, for a driver that
/// is installed on the host.
fn description() -> String {
    let library = format!("/{MULTIARCH}");
    let node = |path: &str| format!("      - path: {path}\n");
    let device = |name: &str, minors: &[u8]| {
        let nodes: String = minors
            .iter()
            .flat_map(|minor| {
                let render = format!("/dev/dri/renderD{}", 128 + u32::from(*minor));
                [node(&format!("/dev/nvidia{minor}")), node(&render)]
            })
            .collect();
        format!("  - name: \"{name}\"\n    containerEdits:\n      deviceNodes:\n{nodes}")
    };
    let mounts: String = libraries(VERSION)
        .iter()
        .filter(|one| one.file.ends_with(VERSION) && !one.file.contains('/'))
        .map(|one| {
            let path = format!("{library}/{}", one.file);
            format!(
                "    - hostPath: {path}\n      containerPath: {path}\n      \
                 options: [ro, nosuid, nodev, rbind, rprivate]\n"
            )
        })
        .collect();
    let devices: String = (0..4).map(|minor| device(&minor.to_string(), &[minor])).collect();
    let uuids: String = (0..4).map(|minor| device(&uuid(minor), &[minor])).collect();
    let hook = |arguments: &str| {
        format!(
            "    - hookName: createContainer\n      path: /usr/bin/nvidia-cdi-hook\n      \
             args: [nvidia-cdi-hook, {arguments}]\n"
        )
    };
    format!(
        "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n{devices}{uuids}{all}\
         containerEdits:\n  env:\n    - NVIDIA_VISIBLE_DEVICES=void\n  deviceNodes:\n\
         {nodes}  mounts:\n{mounts}  hooks:\n{links}{cache}{modes}",
        all = device("all", &[0, 1, 2, 3]),
        nodes = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"]
            .map(|name| format!("    - path: /dev/{name}\n"))
            .concat(),
        links = hook(&format!(
            "create-symlinks, --link, libcuda.so.1::{library}/libcuda.so, \
             --link=libcuda.so.{VERSION}::{library}/libcuda.so.1, \
             --link=libnvidia-ml.so.{VERSION}::{library}/libnvidia-ml.so.1"
        )),
        cache = hook(&format!("update-ldcache, --folder, {library}")),
        modes = hook("chmod, --mode, '755', --path, /dev/dri"),
    )
}

/// Runs hrun on a machine with the GPUs, their driver and their description.
fn on_machine<T: Send>(work: impl FnOnce(&str) -> T + Send) -> T {
    let scratch = Scratch::new();
    fs::write(scratch.join("nvidia.yaml"), description()).unwrap();
    let directory = format!("--cdi-dir={}", scratch.path().display());
    with_gpus(&driver("h100"), || work(&directory))
}

fn listed(directory: &str, options: &[&str], script: &str) -> Outcome {
    let image = real("gpu");
    let mut words = vec![directory];
    words.extend_from_slice(options);
    words.extend([image.to_str().unwrap(), "sh", "-c", script]);
    hrun(words)
}

#[test]
fn described_devices_are_shown_with_all_they_need() {
    if lacks("root") {
        return;
    }
    on_machine(|directory| {
        let all = [directory, "--device=nvidia.com/gpu=all"];
        assert_eq!(Client::Nvml.run(&real("gpu"), &all).lines()[0], VERSION);
        assert_eq!(Client::Cuda.run(&real("gpu"), &all).lines()[1..], [0, 1, 2, 3].map(uuid));
        let script = format!(
            "ldconfig -p | grep -c 'libcuda.so.1 .*/libcuda.so.1$'; \
             readlink /{MULTIARCH}/libcuda.so.1; echo $NVIDIA_VISIBLE_DEVICES; env -i python3 -c \
             'from ctypes.util import find_library as f; print(f(\"cuda\"), f(\"nvidia-ml\"))'"
        );
        let seen = listed(directory, &all[1..], &script).lines();
        let names = "libcuda.so.1 libnvidia-ml.so.1";
        assert_eq!(seen, ["1", &format!("libcuda.so.{VERSION}"), "void", names]);
    });
}

#[test]
fn other_devices_of_the_kind_are_hidden() {
    if lacks("root") {
        return;
    }
    on_machine(|directory| {
        let script = "cd /dev; ls -d nvidia[0-9]* dri/render*; ls -d nvidiactl null pts shm";
        for device in ["nvidia.com/gpu=2", &format!("nvidia.com/gpu={}", uuid(2))] {
            let option = format!("--device={device}");
            let seen = listed(directory, &[&option], script).lines();
            let rest = ["nvidia2", "null", "nvidiactl", "pts", "shm"];
            let mut wanted = vec!["dri/renderD130"];
            wanted.extend(rest);
            assert_eq!(seen, wanted, "{device}");
        }
        let both = ["--device=nvidia.com/gpu=3,nvidia.com/gpu=0", directory];
        assert_eq!(Client::Cuda.run(&real("gpu"), &both).lines()[1..], [0, 3].map(uuid));
    });
}

#[test]
fn described_devices_and_the_driver_meet_in_one_cache() {
    if lacks("root") {
        return;
    }
    on_machine(|directory| {
        let options = [directory, "--nv", "--device=nvidia.com/gpu=1"];
        assert_eq!(Client::Cuda.run(&real("gpu"), &options).lines()[1..], [uuid(1)]);
        let seen = listed(directory, &options[1..], "ldconfig -p | grep -c 'libcuda.so.1 '");
        assert_eq!(seen.ok(), "1\n");
    });
}

#[test]
fn what_the_image_has_of_another_driver_gives_way_to_described_libraries() {
    if lacks("root") {
        return;
    }
    on_machine(|directory| {
        let options = [directory, "--device=nvidia.com/gpu=all"];
        let image = real("leftovers");
        assert_eq!(Client::Cuda.run(&image, &options).lines()[1..], [0, 1, 2, 3].map(uuid));
        assert_eq!(Client::Nvml.run(&image, &options).lines()[0], VERSION);
    });
}

#[test]
fn a_device_that_nobody_describes_is_refused() {
    let scratch = Scratch::new();
    let description = r#"{"cdiVersion": "0.6.0", "kind": "vendor.com/net", "devices": [
        {"name": "eth0", "containerEdits": {"deviceNodes": [{"path": "/dev/no-such-node"}]}},
        {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/no-such-node"}]}},
        {"name": "hook", "containerEdits": {"hooks": [
            {"hookName": "prestart", "path": "/bin/false", "args": ["false", "now"]}]}}]}"#;
    fs::write(scratch.join("net.json"), description).unwrap();
    let directory = format!("--cdi-dir={}", scratch.path().display());
    let run = |device: &str| listed(&directory, &[&format!("--device={device}")], "echo started");
    run("vendor.com/net=eth1").fails(&[
        "cannot find the device vendor.com/net=eth1",
        "from: --device vendor.com/net=eth1",
        "did you mean vendor.com/net=eth0?",
    ]);
    run("vendor.com/net").fails(&["is not of the form vendor.com/class=name"]);
    run("vendor.com/net=eth0").fails(&["show the device /dev/no-such-node", "asks for it"]);
    let all = run("vendor.com/net=all");
    assert_eq!(all.stdout, "started\n");
    assert!(all.stderr.contains("left out: cannot show the device"), "{}", all.stderr);
    let hook = run("vendor.com/net=hook");
    assert_eq!(hook.stdout, "started\n");
    assert!(hook.stderr.contains("hrun runs no hooks"), "{}", hook.stderr);
}

#[test]
fn nodes_are_named_by_their_paths() {
    let run = |device: &str, script: &str| listed("-q", &["--device", device], script);
    assert_eq!(run("/dev/null:/dev/nothing:rwm", "echo x > /dev/nothing && echo ok").ok(), "ok\n");
    assert_eq!(run("/dev/zero", "head -c 3 /dev/zero | wc -c").ok().trim(), "3");
    run("/dev/no-such-node", "true").fails(&["there is no such node on this host"]);
    run("/dev/null:/dev/a:b:c", "true").fails(&["is not NODE[:NODE_INSIDE[:rwm]]"]);
}
