//! Which GPUs a container gets, on machines where driver and GPUs are installed.

use std::path::Path;

use super::support::driver::{Client, VERSION, driver, uuid};
use super::support::machine::{with_gpus, without_device};
use super::support::scratch::chmod;
use super::support::{Image, Outcome, Scratch, command, hrun, lacks, outcome, real};

/// What a shell says in an image, with options before it.
fn shell(image: &Path, options: &[&str], script: &str) -> Outcome {
    let mut words = options.to_vec();
    words.extend([image.to_str().unwrap(), "sh", "-c", script]);
    hrun(words)
}

/// The same with variables of the host.
fn shell_with(variables: &[(&str, &str)], options: &[&str], script: &str) -> Outcome {
    let mut command = command(options);
    command.arg(real("gpu")).args(["sh", "-c", script]).envs(variables.iter().copied());
    outcome(&mut command)
}

const NODES: &str = "cd /dev && ls -d nvidia[0-9]*";

#[test]
fn a_machine_with_a_driver_needs_no_more_than_nv() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        let image = real("gpu");
        assert_eq!(Client::Nvml.run(&image, &["--nv"]).lines()[0], VERSION);
        assert_eq!(Client::Cuda.run(&image, &["--nv"]).lines()[1..], [0, 1, 2, 3].map(uuid));
        let script = format!("{NODES} && echo $NVIDIA_VISIBLE_DEVICES && wc -l < /proc/mounts");
        let seen = shell(&image, &["--nv"], &script).lines();
        assert_eq!(seen[..5], ["nvidia0", "nvidia1", "nvidia2", "nvidia3", "void"]);
        let plain: usize = shell(&image, &[], "wc -l < /proc/mounts").ok().trim().parse().unwrap();
        let with_driver: usize = seen[5].parse().unwrap();
        assert!(with_driver < plain + 15, "/dev is the host's: {plain} mounts, {with_driver}");
    });
}

#[test]
fn what_the_driver_needs_besides_libraries_is_there() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        let script = "cat /etc/OpenCL/vendors/nvidia.icd; \
             grep -ho 'lib[A-Za-z_]*nvidia[^\"]*' /usr/share/glvnd/egl_vendor.d/10_nvidia.json \
             /usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json \
             /etc/vulkan/icd.d/nvidia_icd.json /etc/vulkan/implicit_layer.d/nvidia_layers.json; \
             cat /usr/share/nvidia/nvoptix.bin; test -S /run/nvidia-persistenced/socket && echo socket; \
             ldconfig -p | grep -o 'libvdpau_nvidia.so.1 '";
        let seen = shell(&real("gpu"), &["--nv"], script).lines();
        let wanted = [
            "libnvidia-opencl.so.1",
            "libEGL_nvidia.so.0",
            "libnvidia-egl-gbm.so.1",
            "libGLX_nvidia.so.0",
            "libGLX_nvidia.so.0",
            "optix",
            "socket",
            "libvdpau_nvidia.so.1 ",
        ];
        assert_eq!(seen, wanted);
        // What the image has of these stays.
        let own = Image::tiny();
        own.file("etc/OpenCL/vendors/nvidia.icd", "own\n");
        assert_eq!(shell(own.path(), &["--nv"], "cat /etc/OpenCL/vendors/*").ok(), "own\n");
        // Mesa's libgbm looks in its own directory.
        own.file("usr/lib/x86_64-linux-gnu/libgbm.so.1", "");
        let part = "cmp /usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so \
             /run/hrun/lib/libnvidia-allocator.so.1 && echo same";
        assert_eq!(shell(own.path(), &["--nv"], part).ok(), "same\n");
    });
}

#[test]
fn programs_that_share_a_gpu_meet_in_their_directory() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    let pipes = scratch.path().to_str().unwrap();
    with_gpus(&driver("h100"), || {
        let variables = [("CUDA_MPS_PIPE_DIRECTORY", pipes)];
        let script = "touch \"$CUDA_MPS_PIPE_DIRECTORY/control\" && echo made";
        let seen = shell_with(&variables, &["--nv", "--contain"], script);
        assert_eq!(seen.ok(), "made\n");
    });
    assert!(scratch.join("control").exists());
}

#[test]
fn gpus_that_are_closed_are_not_shown() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        chmod(Path::new("/dev/nvidia1"), 0o600);
        let see = || shell_with(&[("CUDA_VISIBLE_DEVICES", "1,0")], &["--nv"], NODES).lines();
        assert_eq!(see(), ["nvidia0", "nvidia2", "nvidia3"]);
        assert_eq!(
            shell(&real("gpu"), &["--nv"], "ls /dev/pts /dev/null && : > /dev/null").status,
            Some(0)
        );
    });
}

#[test]
fn gpus_that_the_control_group_denies_are_not_shown() {
    if lacks("root") || lacks("devices-cgroup") {
        return;
    }
    with_gpus(&driver("h100"), || {
        // Nobody else uses the numbers of /dev/full.
        let node = "rm /dev/nvidia2 && mknod -m 666 /dev/nvidia2 c 1 7";
        assert!(std::process::Command::new("sh").args(["-c", node]).status().unwrap().success());
        without_device("c 1:7 rwm", || {
            let script = format!("{NODES}; printf '[%s]\\n' \"$CUDA_VISIBLE_DEVICES\"");
            let seen = shell_with(&[("CUDA_VISIBLE_DEVICES", " 2,0")], &["--nv"], &script).lines();
            assert_eq!(seen, ["nvidia0", "nvidia1", "nvidia3", "[ 2,0]"]);
            let cuda = Client::Cuda.run(&real("gpu"), &["--nv"]).lines();
            assert_eq!(cuda[1..], [0, 1, 3].map(uuid));
            let failed = shell(&real("gpu"), &["--gpus=GPU-02"], "true");
            failed.fails(&["GPU-02 is closed to you, or to this job's control group"]);
        });
    });
}

/// Slurm counts a node's GPUs, and opens only those of the job.
#[test]
fn the_nodes_numbers_name_the_jobs_gpus() {
    if lacks("root") {
        return;
    }
    let see = |list: &str| {
        let variables = [("NVIDIA_VISIBLE_DEVICES", list), ("CUDA_VISIBLE_DEVICES", "0,1")];
        shell_with(&variables, &["--nv"], &format!("{NODES}; echo $CUDA_VISIBLE_DEVICES"))
    };
    let close = |nodes: &[u32]| {
        nodes.iter().for_each(|node| chmod(Path::new(&format!("/dev/nvidia{node}")), 0o600));
    };
    with_gpus(&driver("h100"), || {
        close(&[0, 1]);
        for list in ["2,3", "0,1"] {
            assert_eq!(see(list).lines(), ["nvidia2", "nvidia3", "0,1"], "{list}");
        }
        assert_eq!(see("3").lines()[..1], ["nvidia3"]);
        see("7").fails(&["there is no GPU \"7\"", "from: 7 (variable NVIDIA_VISIBLE_DEVICES)"]);
    });
    with_gpus(&driver("h100"), || {
        close(&[0, 2]);
        see("1").fails(&["may be the node's", "(variable NVIDIA_VISIBLE_DEVICES)", "--gpus"]);
    });
}

#[test]
fn gpus_are_chosen_by_number_uuid_and_bus() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        let image = real("gpu");
        for (list, minors) in [
            ("1", vec![1]),
            ("3,0", vec![0, 3]),
            ("GPU-02", vec![2]),
            ("4c:00.0", vec![2]),
            ("00000000:19:00.0", vec![0]),
            ("all", vec![0, 1, 2, 3]),
        ] {
            let option = format!("--gpus={list}");
            let wanted: Vec<String> = minors.iter().map(|minor| uuid(*minor)).collect();
            assert_eq!(Client::Cuda.run(&image, &[&option]).lines()[1..], wanted, "{list}");
            let nodes: Vec<String> = minors.iter().map(|minor| format!("nvidia{minor}")).collect();
            assert_eq!(shell(&image, &[&option], NODES).lines(), nodes, "{list}");
        }
        let script = "ls /dev/dri /dev/dri/by-path; grep Modify /proc/driver/nvidia/params; \
             cat /etc/nvidia/nvidia-application-profiles-rc.d/*";
        let seen = shell(&image, &["--gpus=1"], script).lines();
        let [listed @ .., parameters, profile] = seen.as_slice() else { panic!("{seen:?}") };
        let cards: Vec<_> = listed.iter().filter(|line| line.starts_with("card")).collect();
        assert_eq!(cards, ["card1"], "{listed:?}");
        assert!(listed.contains(&"pci-0000:3b:00.0-render".to_owned()), "{listed:?}");
        assert_eq!(listed.iter().filter(|line| line.starts_with("pci-")).count(), 2, "{listed:?}");
        assert_eq!(parameters, "ModifyDeviceFiles: 0");
        assert!(profile.contains("[\"EGLVisibleDGPUDevices\",2]"), "{profile}");
        let untouched = shell(&image, &["--nv"], "grep Modify /proc/driver/nvidia/params");
        assert_eq!(untouched.ok(), "ModifyDeviceFiles: 1\n");
        let none = shell(&image, &["--gpus=none"], "ls /dev/nvidiactl; ls /dev/nvidia[0-9]*");
        assert_eq!((none.stdout.as_str(), none.status), ("/dev/nvidiactl\n", Some(2)));
        for (list, words) in [
            ("9", "there is no GPU \"9\""),
            ("GPU-77", "there is no GPU \"GPU-77\""),
            ("0,x", "\"x\""),
            ("", "the list is empty"),
        ] {
            let failed = shell(&image, &[&format!("--gpus={list}")], "true");
            failed.fails(&["cannot choose the GPUs", words, &format!("from: --gpus {list}")]);
        }
    });
}

#[test]
fn what_cuda_is_told_means_the_same_among_the_gpus_that_are_left() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        let see = |value: &str, list: &str| {
            let variables = [("CUDA_VISIBLE_DEVICES", value)];
            let script = "printf '[%s]' \"$CUDA_VISIBLE_DEVICES\"";
            shell_with(&variables, &[&format!("--gpus={list}")], script).ok()
        };
        assert_eq!(see("2,0", "0,2"), format!("[{},{}]", uuid(2), uuid(0)));
        assert_eq!(see("3,1", "1"), format!("[{}]", uuid(1)));
        assert_eq!(see("", "1"), "[]");
        assert_eq!(see("-1", "1"), "[-1]");
        assert_eq!(see("2,0", "all"), "[2,0]", "nothing is narrowed");
        let variables = [("NVIDIA_VISIBLE_DEVICES", "2"), ("CUDA_VISIBLE_DEVICES", "0,2")];
        let script = format!("{NODES}; echo $CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES");
        let seen = shell_with(&variables, &["--nv"], &script).lines();
        assert_eq!(seen, ["nvidia2".to_owned(), format!("{} 2", uuid(2))]);
    });
}

#[test]
fn a_part_of_a_gpu_is_shown_alone() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("mig"), || {
        let see = |list: &str| {
            let script = "cd /dev; ls -d nvidia[0-9]* nvidia-caps/*";
            shell(&real("gpu"), &[&format!("--gpus={list}")], script).lines()
        };
        let caps = ["nvidia-caps/nvidia-cap12", "nvidia-caps/nvidia-cap13"];
        let shown = see(&format!("MIG-{}/1/0", uuid(0)));
        assert!(caps.iter().all(|cap| shown.contains(&(*cap).to_owned())), "{shown:?}");
        assert!(shown.contains(&"nvidia0".to_owned()), "{shown:?}");
        assert!(!shown.contains(&"nvidia1".to_owned()), "{shown:?}");
        let other = see("1");
        assert!(caps.iter().all(|cap| !other.contains(&(*cap).to_owned())), "{other:?}");
    });
}

#[test]
fn only_the_parts_of_the_driver_that_are_wanted_are_shown() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        let see = |capabilities: &str| {
            let script =
                "ldconfig -p | grep /run/hrun; ls /run/hrun/bin /etc/OpenCL /usr/share/glvnd 2>&1";
            shell_with(&[("NVIDIA_DRIVER_CAPABILITIES", capabilities)], &["--nv"], script)
        };
        let utility = see("utility").stdout;
        assert!(utility.contains("libnvidia-ml.so.1") && utility.contains("nvidia-smi"));
        assert!(!utility.contains("libcuda.so"), "{utility}");
        let compute = see("compute").stdout;
        assert!(compute.contains("libcuda.so.1") && compute.contains("vendors"), "{compute}");
        assert!(
            !compute.contains("libGLX_nvidia") && !compute.contains("nvidia-smi\n"),
            "{compute}"
        );
        assert!(see("video").stdout.contains("libnvcuvid.so.1"));
        see("compute,everything").fails(&["use NVIDIA_DRIVER_CAPABILITIES", "everything"]);
        // An image says what it can use, and nobody has to know of it.
        let image = Image::tiny();
        image.file("ch/environment", "NVIDIA_DRIVER_CAPABILITIES=utility\n");
        let seen = shell(image.path(), &["--nv"], "ls /run/hrun/lib").ok();
        assert!(seen.contains("libcuda.so.1"), "{seen}");
    });
}

#[test]
fn what_an_image_requires_of_the_driver_is_checked() {
    if lacks("root") {
        return;
    }
    with_gpus(&driver("h100"), || {
        let see = |requirement: &str, disable: &[(&str, &str)]| {
            let image = Image::tiny();
            image.file("ch/environment", format!("NVIDIA_REQUIRE_CUDA={requirement}\n"));
            let mut command = command(["--nv"]);
            command.arg(image.path()).args(["echo", "started"]).envs(disable.iter().copied());
            outcome(&mut command)
        };
        let real =
            "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471";
        assert_eq!(see(real, &[]).ok(), "started\n");
        let newer = "cuda>=14.0";
        see(newer, &[]).fails(&[
            "cannot use the GPUs with this image: it requires cuda>=14.0, and the host has cuda=13.0",
            "NVIDIA_DISABLE_REQUIRE=1",
        ]);
        assert_eq!(see(newer, &[("NVIDIA_DISABLE_REQUIRE", "1")]).ok(), "started\n");
        assert_eq!(see("cuda>=13.7", &[]).ok(), "started\n", "a minor version of the same major");
        see("brand=geforce", &[]).fails(&["brand=nvidia"]);
    });
}
