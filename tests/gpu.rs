//! `--nv` on machines with GPUs: NVIDIA's own clients find the driver, whatever the image is like.

use std::path::Path;
use std::process::Command;

use super::support::driver::{Client, MULTIARCH, OLDER_VERSION, VERSION, driver, own_driver, uuid};
use super::support::machine::without_device;
use super::support::scratch::{chmod, fingerprint};
use super::support::{Image, Outcome, Scratch, WAYS, hrun, in_every_way, lacks, outcome, real};

/// The options that give a container the driver of a tree.
fn nv(tree: &Path) -> Vec<String> {
    vec!["--nv".to_owned(), format!("--driver-root={}", tree.display())]
}

/// Runs a client with the driver of a tree, and more options.
#[track_caller]
fn ask(client: Client, image: &str, tree: &Path, more: &[&str]) -> Outcome {
    let options = nv(tree);
    let options: Vec<&str> =
        options.iter().map(String::as_str).chain(more.iter().copied()).collect();
    client.run(&real(image), &options)
}

/// Runs a shell command with the driver of a tree.
#[track_caller]
fn shell(image: &Path, options: &[String], script: &str) -> Outcome {
    let words = [image.to_str().unwrap(), "sh", "-c", script];
    hrun(options.iter().map(String::as_str).chain(words))
}

/// All four GPUs, by UUID.
fn all() -> Vec<String> {
    [0, 1, 2, 3].map(uuid).to_vec()
}

#[test]
fn clients_find_the_driver_in_every_layout() {
    if lacks("root") {
        return;
    }
    for name in ["h100", "rhel", "alternatives", "nocache", "newglibc", "mig"] {
        let tree = driver(name);
        let nvml = ask(Client::Nvml, "gpu", &tree, &["-q"]).lines();
        assert_eq!((nvml[0].as_str(), &nvml[1..]), (VERSION, &all()[..]), "{name}");
        let cuda = ask(Client::Cuda, "gpu", &tree, &["-q"]).lines();
        assert_eq!((cuda[0].as_str(), &cuda[1..]), ("13000", &all()[..]), "{name}");
        let runtime = ask(Client::Runtime, "gpu", &tree, &["-q"]).lines();
        assert_eq!(runtime, ["cudaDriverGetVersion 0 13000", "cudaGetDeviceCount 500"], "{name}");
    }
}

#[test]
fn clients_find_the_driver_however_mounts_are_made() {
    if lacks("root") {
        return;
    }
    for way in WAYS {
        let nvml = ask(Client::Nvml, "gpu", &driver("h100"), way).lines();
        assert_eq!((nvml[0].as_str(), &nvml[1..]), (VERSION, &all()[..]), "{way:?}");
    }
}

#[test]
fn the_kernel_modules_version_chooses_among_drivers() {
    if lacks("root") {
        return;
    }
    assert_eq!(ask(Client::Nvml, "gpu", &driver("two"), &[]).lines()[0], OLDER_VERSION);
}

#[test]
fn loaders_of_all_kinds_find_libcuda() {
    let (image, options) = (real("gpu"), nv(&driver("h100")));
    let find = "python3 -c 'import ctypes.util; print(ctypes.util.find_library(\"cuda\"))'";
    let load = "python3 -c 'import ctypes; ctypes.CDLL(\"libcuda.so\"); print(1)'";
    assert!(shell(&image, &options, find).ok().starts_with("libcuda.so"));
    assert_eq!(shell(&image, &options, load).ok(), "1\n");
    assert_eq!(shell(&image, &options, &format!("env -i /usr/bin/{load}")).ok(), "1\n");
    assert_eq!(shell(&image, &options, &format!("LD_LIBRARY_PATH=/nowhere {load}")).ok(), "1\n");
    let listed = shell(&image, &options, "ldconfig -p").ok();
    let first = listed.lines().find(|line| line.trim().starts_with("libcuda.so.1 "));
    assert_eq!(first.unwrap().trim(), "libcuda.so.1 (libc6,x86-64) => /run/hrun/lib/libcuda.so.1");
    assert!(listed.contains("libc.so.6 (libc6,x86-64"), "the image's own stay: {listed}");
    let without = shell(&image, &[], load);
    assert!(without.stderr.contains("libcuda.so: cannot open shared object file"));
}

#[test]
fn only_what_belongs_to_the_driver_is_named() {
    let (image, options) = (real("gpu"), nv(&driver("h100")));
    let script = "ldconfig -p | grep /run/hrun/ | tr -d '\\t' | cut -d' ' -f1; ls /run/hrun/bin";
    let names = shell(&image, &options, script).ok();
    let has = |name: &str| names.lines().any(|line| line == name);
    for name in
        ["libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-egl-gbm.so.1", "nvidia-smi"]
    {
        assert!(has(name), "{name} in {names}");
    }
    // Compilers look in the directory for what is linked with, and find nothing else of the host.
    let linked = shell(&image, &options, "ls /run/hrun/lib").lines();
    assert!(
        linked.iter().all(|name| ["nv", "cuda", "GLX"].iter().any(|part| name.contains(part))),
        "{linked:?}"
    );
    assert!(linked.contains(&"libcuda.so".to_owned()), "{linked:?}");
    let decoys =
        ["libcuda.so.470.00.00", "libnvidia-container.so.1", "libGL.so.1", "nvidia-modprobe"];
    for name in decoys {
        assert!(!has(name), "{name} in {names}");
    }
    for stem in ["foo", "empty", "dangling", "foreign"] {
        assert!(!has(&format!("libnvidia-{stem}.so.{VERSION}")), "{stem} in {names}");
    }
    let said = hrun(
        [&["-v".to_owned()][..], &options, &[image.display().to_string(), "true".to_owned()]]
            .concat(),
    );
    assert!(said.stderr.contains("libnvidia-empty.so.580.159.04: it is empty"), "{}", said.stderr);
}

#[test]
fn nvidia_smi_runs_in_images_of_every_age() {
    if lacks("root") {
        return;
    }
    for name in ["bullseye", "bookworm", "trixie"] {
        let seen = shell(&real(name), &nv(&driver("h100")), "nvidia-smi").lines();
        assert!(seen[0].contains("Driver Version: 580.159.04"), "{name}: {seen:?}");
        assert_eq!(seen.len(), 5, "{name}: {seen:?}");
    }
}

#[test]
fn an_image_that_has_nothing_gets_it_too_and_stays_as_it_is() {
    if lacks("root") {
        return;
    }
    let image = Image::bare();
    let before = fingerprint(image.path());
    in_every_way(|way| {
        let mut command = way.command(nv(&driver("h100")));
        command.arg(image.path()).args(["sh", "-c", "ls /run/hrun/lib/libcuda.so.1 /dev/nvidia3"]);
        let listed = outcome(&mut command);
        assert_eq!(
            listed.stdout, "/dev/nvidia3\n/run/hrun/lib/libcuda.so.1\n",
            "{}",
            listed.stderr
        );
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn the_image_stays_as_it_is() {
    if lacks("root") {
        return;
    }
    let image = real("gpu");
    let before = fingerprint(&image);
    for client in [Client::Nvml, Client::Cuda, Client::Runtime] {
        ask(client, "gpu", &driver("h100"), &[]).ok();
    }
    assert_eq!(fingerprint(&image), before);
}

#[test]
fn what_is_left_of_another_driver_in_the_image_does_not_matter() {
    if lacks("root") {
        return;
    }
    let tree = driver("h100");
    assert_eq!(ask(Client::Nvml, "leftovers", &tree, &[]).lines()[0], VERSION);
    assert_eq!(ask(Client::Cuda, "leftovers", &tree, &[]).lines()[0], "13000");
    // Even where programs know the files by their paths.
    let script = format!(
        "python3 -c 'import ctypes; ctypes.CDLL(\"/{MULTIARCH}/libcuda.so.1\").cuInit(0)' && \
         cmp /{MULTIARCH}/libnvidia-ml.so.470.00.00 /run/hrun/lib/libnvidia-ml.so.1 && echo same"
    );
    assert_eq!(shell(&real("leftovers"), &nv(&tree), &script).ok(), "same\n");
}

#[test]
fn the_directories_an_image_names_for_its_loader_hold_no_other_driver() {
    let image = Image::tiny();
    image.file("ch/environment", "LD_LIBRARY_PATH=/opt/none:/opt/stubs\n");
    image.file("opt/stubs/libcuda.so.1", "");
    image.file("opt/stubs/libother.so.1", "");
    let options = nv(&driver("h100"));
    let script = "cd /opt/stubs; cmp libcuda.so.1 /run/hrun/lib/libcuda.so.1; wc -c libother.so.1; \
                  : > libcuda.so.1";
    let seen = shell(image.path(), &options, script);
    assert_eq!(seen.stdout, "0 libother.so.1\n");
    assert!(seen.stderr.contains("Read-only file system"), "{}", seen.stderr);
}

#[test]
fn a_newer_driver_in_the_image_is_used_where_its_note_allows_it() {
    if lacks("root") {
        return;
    }
    let runtime = ask(Client::Runtime, "cuda", &driver("h100"), &[]).lines();
    assert_eq!(runtime[0], "cudaDriverGetVersion 0 99000");
    // Its management library stays the host's.
    assert_eq!(ask(Client::Nvml, "cuda", &driver("h100"), &[]).lines()[0], VERSION);
}

#[test]
fn cuda_visible_devices_arrives_byte_for_byte() {
    let image = real("gpu");
    for value in ["2,0", "", "-1", "NoDevFiles", "GPU-01", " 0 "] {
        let words = ["sh", "-c", "printf '[%s]' \"$CUDA_VISIBLE_DEVICES\""];
        let options = nv(&driver("h100"));
        let mut command = super::support::command(options);
        command.arg(&image).args(words).env("CUDA_VISIBLE_DEVICES", value);
        assert_eq!(outcome(&mut command).ok(), format!("[{value}]"));
    }
}

#[test]
fn a_gpu_that_may_not_be_opened_is_not_shown() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    let tree = own_driver("h100", &scratch);
    chmod(&tree.join("dev/nvidia1"), 0o600);
    let listed = shell(&real("gpu"), &nv(&tree), "ls /dev | grep '^nvidia[0-9]'").lines();
    assert_eq!(listed, ["nvidia0", "nvidia2", "nvidia3"]);
    assert_eq!(ask(Client::Cuda, "gpu", &tree, &[]).lines()[1..], [0, 2, 3].map(uuid));
}

#[test]
fn a_gpu_that_the_control_group_denies_is_not_shown() {
    if lacks("root") || lacks("devices-cgroup") {
        return;
    }
    let scratch = Scratch::new();
    let tree = own_driver("h100", &scratch);
    // Nobody else uses the numbers of /dev/full.
    let node = tree.join("dev/nvidia2");
    std::fs::remove_file(&node).unwrap();
    let made = Command::new("mknod").args(["-m", "666"]).arg(&node).args(["c", "1", "7"]).status();
    assert!(made.unwrap().success());
    let value = "0,1,2";
    let see = || {
        let mut command = super::support::command(nv(&tree));
        let script = "ls /dev | grep '^nvidia[0-9]'; echo \"$CUDA_VISIBLE_DEVICES\"";
        command.arg(real("gpu")).args(["sh", "-c", script]).env("CUDA_VISIBLE_DEVICES", value);
        outcome(&mut command).lines()
    };
    assert_eq!(see(), ["nvidia0", "nvidia1", "nvidia2", "nvidia3", value]);
    let seen = without_device("c 1:7 rwm", || {
        let cuda = ask(Client::Cuda, "gpu", &tree, &[]).lines();
        assert_eq!(cuda[1..], [0, 1, 3].map(uuid));
        see()
    });
    assert_eq!(seen, ["nvidia0", "nvidia1", "nvidia3", value]);
}

#[test]
fn a_host_without_driver_is_an_error_where_gpus_were_granted() {
    let (image, scratch) = (real("gpu"), Scratch::new());
    let options = nv(scratch.path());
    let run = |option: &str, grant: Option<&str>| {
        let mut command = super::support::command([option, &options[1]]);
        command.arg(&image).args(["echo", "started"]).envs(grant.map(|name| (name, "1")));
        outcome(&mut command)
    };
    let failed = run("--nv", Some("SLURM_GPUS_ON_NODE"));
    failed.fails(&["cannot show the GPUs: this host has no NVIDIA driver", "--nv=optional"]);
    let warned = run("--nv", None);
    assert_eq!(warned.stdout, "started\n");
    assert!(warned.stderr.contains("no GPUs: this host has no NVIDIA driver"), "{}", warned.stderr);
    assert_eq!(run("--nv=optional", Some("SLURM_GPUS_ON_NODE")).ok(), "started\n");
}

#[test]
fn a_driver_changed_since_the_start_of_the_node_is_named() {
    let options = nv(&driver("mismatch"));
    shell(&real("gpu"), &options, "true").fails(&[
        "the kernel module has version 590.44.01, the libraries have 580.159.04",
        "after a restart",
    ]);
}

#[test]
fn a_library_too_new_for_the_image_is_named() {
    let seen = shell(&real("gpu"), &nv(&driver("newglibc")), "true");
    assert_eq!(seen.status, Some(0));
    let words = "libnvidia-ngx.so.580.159.04 needs GLIBC_2.99 of libc.so.6, which the image lacks \
                 (its glibc is 2.36";
    assert!(seen.stderr.contains(words), "{}", seen.stderr);
    assert_eq!(shell(&real("gpu"), &nv(&driver("h100")), "true").ok(), "");
}

#[test]
fn an_image_of_musl_is_told_and_warned() {
    let image = real("musl");
    let seen = shell(&image, &nv(&driver("h100")), "cat /etc/ld-musl-x86_64.path");
    assert_eq!(seen.stdout, "/lib:/usr/local/lib:/usr/lib\n/run/hrun/lib\n");
    assert!(seen.stderr.contains("the image is built on musl"), "{}", seen.stderr);
}

#[test]
fn the_driver_is_where_no_bind_of_the_user_is() {
    let mut options = nv(&driver("h100"));
    let scratch = Scratch::new();
    options.push(format!("--bind={}:/run", scratch.path().display()));
    let script = format!("ls -d /var/lib/hrun/lib/libcuda.so.1 /{MULTIARCH}/libc.so.6");
    assert_eq!(shell(&real("gpu"), &options, &script).lines().len(), 2);
}

#[test]
fn nodes_in_directories_are_shown_too() {
    if lacks("root") {
        return;
    }
    let listed = shell(&real("gpu"), &nv(&driver("mig")), "ls /dev/nvidia-caps").lines();
    assert!(listed.contains(&"nvidia-cap13".to_owned()), "{listed:?}");
}

#[test]
fn amd_and_intel_gpus_are_shown_with_their_links() {
    if lacks("root") {
        return;
    }
    for (option, tree, nodes) in [
        ("--rocm", "rocm", "/dev/kfd /dev/dri/renderD128 /dev/dri/by-path"),
        ("--intel", "intel", "/dev/dri/renderD129 /dev/dri/by-path"),
    ] {
        let options = [option.to_owned(), format!("--driver-root={}", driver(tree).display())];
        let script =
            format!("ls -d {nodes} && ls /dev/dri/by-path | wc -l && : > /dev/dri/renderD128");
        let seen = shell(&real("bookworm"), &options, &script).lines();
        assert_eq!(seen.last().unwrap(), "4", "{tree}: {seen:?}");
    }
}

#[test]
fn hosts_without_amd_and_intel_gpus_are_told_apart_by_what_the_job_was_given() {
    let (image, scratch) = (real("bookworm"), Scratch::new());
    let root = format!("--driver-root={}", scratch.path().display());
    for (option, words) in [("--rocm", "no AMD GPU"), ("--intel", "no GPU with a render node")] {
        let run = |option: &str, grant: Option<&str>| {
            let mut command = super::support::command([option, &root]);
            command.arg(&image).args(["echo", "started"]).envs(grant.map(|name| (name, "1")));
            outcome(&mut command)
        };
        run(option, Some("SLURM_STEP_GPUS")).fails(&["cannot show the GPUs: this host has", words]);
        let warned = run(option, None);
        assert_eq!(warned.stdout, "started\n");
        assert!(warned.stderr.contains(words), "{}", warned.stderr);
        assert_eq!(run(&format!("{option}=optional"), Some("SLURM_STEP_GPUS")).ok(), "started\n");
    }
}

#[test]
fn an_image_has_no_say_in_the_choice_of_devices() {
    let image = Image::tiny();
    image.file(
        "ch/metadata.json",
        r#"{"env": {"ROCR_VISIBLE_DEVICES": "0", "ZE_AFFINITY_MASK": "0"}}"#,
    );
    let scratch = Scratch::new();
    let root = format!("--driver-root={}", scratch.path().display());
    let words = ["sh", "-c", "echo [$ROCR_VISIBLE_DEVICES] [$ZE_AFFINITY_MASK]"];
    let mut command = super::support::command(["--rocm=optional", "--intel=optional", &root]);
    command.arg(image.path()).args(words);
    command.env("ROCR_VISIBLE_DEVICES", "3,1").env("ZE_AFFINITY_MASK", "");
    assert_eq!(outcome(&mut command).ok(), "[3,1] []\n");
}
