//! Whatever asks for the driver finds it with `--nv`, and not without: by every road programs take,
//! in every environment they are started in, and in images nobody can write to.

use std::path::Path;

use super::support::driver::{CLIENTS, Client, MULTIARCH, VERSION, driver, uuid};
use super::support::machine::{make_read_only, with_gpus};
use super::support::run::program;
use super::support::scratch::checksum;
use super::support::{Outcome, bind, hrun, lacks, real};

/// Where a container has the program that makes others secure (`tests/fakes/secure.c`).
const SECURE: &str = "/opt/secure";

/// How programs are started: as they are, without any variable, with one that leads astray, and
/// as the loader treats programs with more rights than the caller's.
const SURROUNDINGS: [&[&str]; 5] = [
    &["env"],
    &["env", "-i"],
    &["env", "LD_LIBRARY_PATH=/nowhere:/usr/lib"],
    &["env", SECURE],
    &["env", "LD_LIBRARY_PATH=/nowhere:/usr/lib", SECURE],
];

/// A program that asks for the driver.
struct Asker {
    words: Vec<&'static str>,
    /// All it prints where it finds the driver.
    found: String,
    /// Its status, all it prints, and part of what it complains of, where there is none.
    lost: (i32, &'static str, &'static str),
}

fn askers() -> Vec<Asker> {
    let python = |script: &'static str| vec!["/usr/bin/python3", "-c", script];
    let shell = |script: &'static str| vec!["/bin/sh", "-c", script];
    let uuids: String = [0, 1, 2, 3].map(|minor| uuid(minor) + "\n").concat();
    let listed = "\tlibcuda.so.1 (libc6,x86-64) => /run/hrun/lib/libcuda.so.1\n";
    vec![
        Asker {
            words: vec!["/run/hrun/bin/nvidia-smi"],
            found: smi(),
            lost: (127, "", "No such file or directory"),
        },
        Asker {
            words: python(Client::Nvml.script()),
            found: format!("{VERSION}\n{uuids}"),
            lost: (1, "", "NVMLError_LibraryNotFound"),
        },
        Asker {
            words: python(Client::Cuda.script()),
            found: format!("13000\n{uuids}"),
            lost: (1, "", "DynamicLibNotFoundError"),
        },
        Asker {
            words: python(Client::Runtime.script()),
            found: "cudaDriverGetVersion 0 13000\ncudaGetDeviceCount 500\n".to_owned(),
            lost: (0, "cudaDriverGetVersion 0 0\ncudaGetDeviceCount 35\n", ""),
        },
        Asker {
            words: python("from ctypes.util import find_library as f; print(f('cuda'))"),
            found: "libcuda.so.1\n".to_owned(),
            lost: (0, "None\n", ""),
        },
        Asker {
            words: python("import ctypes; print(ctypes.CDLL('libcuda.so').cuInit(0))"),
            found: "0\n".to_owned(),
            lost: (1, "", "libcuda.so: cannot open shared object file"),
        },
        Asker {
            words: shell("/sbin/ldconfig -p | grep -F 'libcuda.so.1 '"),
            found: listed.to_owned(),
            lost: (1, "", ""),
        },
    ]
}

/// What the stand-in of nvidia-smi prints.
fn smi() -> String {
    let gpu = |minor| format!("GPU {minor}: NVIDIA H100 80GB HBM3 (UUID: {})\n", uuid(minor));
    let versions = format!("Driver Version: {VERSION}  CUDA Version: 13.0");
    format!("NVIDIA-SMI {VERSION}  {versions}\n{}", [0, 1, 2, 3].map(gpu).concat())
}

/// Runs a program in surroundings, with options before the image.
fn ask(image: &Path, options: &[String], surroundings: &[&str], words: &[&str]) -> Outcome {
    let secure = bind(&program("secure"), &format!(":{SECURE}"));
    let clients = CLIENTS.strip_prefix("--set-env=").unwrap();
    // The variables, then what is executed.
    let split = surroundings.len() - usize::from(surroundings.contains(&SECURE));
    let (variables, runner) = surroundings.split_at(split);
    let options = options.iter().map(String::as_str).chain([secure.as_str()]);
    let command = variables.iter().chain([&clients]).chain(runner).chain(words);
    hrun(options.chain([image.to_str().unwrap()]).chain(command.copied()))
}

/// Asserts that every program finds the driver, however it is started, and that the image stays
/// as it is.
#[track_caller]
fn assert_found(image: &Path, options: &[String]) {
    let before = checksum(image);
    for Asker { words, found, .. } in askers() {
        for surroundings in SURROUNDINGS {
            let seen = ask(image, options, surroundings, &words);
            let end = (seen.status, seen.stdout.as_str());
            let trouble = &seen.stderr;
            assert_eq!(end, (Some(0), &*found), "{surroundings:?} {words:?}: {trouble}");
            assert_eq!(trouble, "", "{surroundings:?} {words:?}");
        }
    }
    assert_eq!(checksum(image), before);
}

/// Asserts that no program finds a driver, however it is started.
#[track_caller]
fn assert_lost(image: &Path) {
    for Asker { words, lost: (status, stdout, complaint), .. } in askers() {
        for surroundings in SURROUNDINGS {
            let seen = ask(image, &[], surroundings, &words);
            let end = (seen.status, seen.stdout.as_str());
            let trouble = &seen.stderr;
            assert_eq!(end, (Some(status), stdout), "{surroundings:?} {words:?}: {trouble}");
            assert!(trouble.contains(complaint), "{surroundings:?} {words:?}: {trouble}");
        }
    }
}

#[test]
fn everything_that_asks_finds_the_driver() {
    if lacks("root") {
        return;
    }
    let root = format!("--driver-root={}", driver("h100").display());
    assert_found(&real("gpu"), &["--nv".to_owned(), root]);
}

#[test]
fn everything_finds_an_installed_driver_in_an_image_nobody_can_write_to() {
    if lacks("root") {
        return;
    }
    let image = real("sealed");
    for missing in ["run", "var", "usr/share", "etc/OpenCL", "etc/vulkan"] {
        assert!(!image.join(missing).exists(), "{missing}");
    }
    with_gpus(&driver("local"), || {
        make_read_only(&image);
        assert!(std::fs::create_dir(image.join("run")).is_err());
        assert_found(&image, &["--nv".to_owned()]);
    });
}

#[test]
fn nothing_that_asks_finds_a_driver_nobody_asked_hrun_for() {
    for name in ["gpu", "sealed"] {
        assert_lost(&real(name));
    }
}

#[test]
fn the_loader_ignores_variables_of_secure_programs() {
    let tree = driver("h100");
    let options = [
        bind(&tree.join(MULTIARCH), ":/opt/driver:ro"),
        bind(&tree.join("usr/bin"), ":/opt/driver-bin:ro"),
        "--set-env=LD_LIBRARY_PATH=/opt/driver".to_owned(),
    ];
    let smi =
        |surroundings| ask(&real("gpu"), &options, surroundings, &["/opt/driver-bin/nvidia-smi"]);
    // The library is found by the variable, and says that it sees no GPU.
    let seen = smi(&["env"]);
    assert_eq!(seen.stderr, "nvidia-smi: nvmlInit_v2 failed: Driver Not Loaded\n");
    assert_eq!(seen.status, Some(9));
    let seen = smi(&["env", SECURE]);
    assert!(
        seen.stderr.starts_with("nvidia-smi: libnvidia-ml.so.1: cannot open"),
        "{}",
        seen.stderr
    );
    assert_eq!(seen.status, Some(12));
}
