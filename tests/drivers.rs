//! The machines with GPUs that other tests use are what they claim to be: the libraries are real,
//! and NVIDIA's own clients work with them, where they are, and not without.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::driver::{
    A100_MINORS, Client, Library, MULTIARCH, OLDER_VERSION, VERSION, driver, libraries,
    older_libraries, own_driver, uuid,
};
use super::support::scratch::chmod;
use super::support::{Scratch, bind, hrun, lacks, outcome, real};

/// The trees that hold a driver of NVIDIA in Debian's directory.
const DEBIAN: [&str; 9] =
    ["h100", "alternatives", "nocache", "two", "mismatch", "newglibc", "mig", "a100", "gds"];

/// What a program of binutils says about a file.
#[track_caller]
fn inspect(program: &str, option: &str, file: &Path) -> String {
    outcome(Command::new(program).arg(option).arg(file)).ok()
}

/// The value of an entry of the dynamic section.
fn dynamic(file: &Path, entry: &str) -> Vec<String> {
    let text = inspect("objdump", "-p", file);
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let values = words.filter(|words| words.len() == 2 && words[0] == entry);
    values.map(|words| words[1].to_owned()).collect()
}

/// The libraries the dynamic loader's cache of a tree names, as `NAME FLAGS PATH`.
fn cached(tree: &Path) -> BTreeSet<String> {
    let cache = tree.join("etc/ld.so.cache");
    let text = outcome(Command::new("/sbin/ldconfig").arg("-p").arg("-C").arg(cache)).ok();
    let entries = text.lines().filter(|line| line.starts_with('\t'));
    entries.map(|line| line.trim().replace("=> ", "").replace(['(', ')'], "")).collect()
}

/// Follows links as if the tree were the root directory.
fn resolve(tree: &Path, name: &str) -> PathBuf {
    let mut path = PathBuf::from("/").join(name);
    for _ in 0..8 {
        let inside = tree.join(path.strip_prefix("/").unwrap());
        match fs::read_link(&inside) {
            Ok(target) => path = path.parent().unwrap().join(target),
            Err(_) => return inside,
        }
    }
    panic!("too many links from {name}");
}

fn read(tree: &Path, name: &str) -> String {
    fs::read_to_string(tree.join(name)).unwrap()
}

/// The options that give a container the driver of a tree, as a person would by hand.
fn by_hand(tree: &Path) -> [String; 4] {
    [
        bind(&tree.join("dev"), ":/dev"),
        bind(&tree.join(MULTIARCH), ":/opt/driver:ro"),
        bind(&tree.join("usr/bin"), ":/opt/driver-bin:ro"),
        "--set-env=LD_LIBRARY_PATH=/opt/driver".to_owned(),
    ]
}

#[test]
fn every_library_has_its_soname_and_is_reached_by_it() {
    let tree = driver("h100");
    let all = libraries(VERSION);
    assert!(all.len() >= 40, "{} libraries", all.len());
    for Library { file, soname } in &all {
        let file = tree.join(MULTIARCH).join(file);
        assert_eq!(dynamic(&file, "SONAME"), [soname.as_str()], "{}", file.display());
        let by_soname = file.with_file_name(soname);
        assert_eq!(fs::canonicalize(by_soname).unwrap(), file);
    }
    let links = [
        ("libcuda.so", "libcuda.so.1"),
        ("libGLX_indirect.so.0", "libGLX_nvidia.so.580.159.04"),
        ("gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1"),
    ];
    for (link, target) in links {
        let link = tree.join(MULTIARCH).join(link);
        assert_eq!(fs::read_link(link).unwrap(), Path::new(target));
    }
}

#[test]
fn every_layout_reaches_every_library() {
    for (name, directory) in
        [("h100", MULTIARCH), ("alternatives", MULTIARCH), ("rhel", "usr/lib64")]
    {
        let tree = driver(name);
        for Library { file, soname } in libraries(VERSION) {
            let soname = Path::new(directory).join(file).with_file_name(soname);
            let found = resolve(&tree, soname.to_str().unwrap());
            let kind = fs::symlink_metadata(&found);
            assert!(kind.is_ok_and(|kind| kind.is_file()), "{name}: {}", found.display());
        }
    }
    let alternatives = driver("alternatives");
    let libcuda = resolve(&alternatives, &format!("{MULTIARCH}/libcuda.so.1"));
    assert!(libcuda.ends_with(format!("nvidia/current/libcuda.so.{VERSION}")));
    assert!(resolve(&alternatives, "usr/bin/nvidia-smi").ends_with("nvidia/current/nvidia-smi"));
}

#[test]
fn caches_know_the_libraries_and_their_architecture() {
    for name in DEBIAN.into_iter().filter(|name| *name != "nocache") {
        let entries = cached(&driver(name));
        for library in ["libcuda.so.1", "libnvidia-ml.so.1"] {
            let ours = format!("{library} libc6,x86-64 /{MULTIARCH}/{library}");
            let narrow = format!("{library} libc6 /usr/lib/i386-linux-gnu/{library}");
            assert!(entries.contains(&ours) && entries.contains(&narrow), "{name}: {entries:?}");
        }
    }
    let red_hat = cached(&driver("rhel"));
    assert!(red_hat.contains("libcuda.so.1 libc6,x86-64 /usr/lib64/libcuda.so.1"), "{red_hat:?}");
    assert!(!driver("nocache").join("etc/ld.so.cache").exists());
}

#[test]
fn decoys_are_what_they_should_be() {
    let tree = driver("h100");
    let here = tree.join(MULTIARCH);
    let header = |file: &Path| inspect("readelf", "-h", file);
    assert_eq!(dynamic(&here.join("libcuda.so.470.00.00"), "SONAME"), ["libcuda.so.1"]);
    let narrow = header(&tree.join(format!("usr/lib/i386-linux-gnu/libcuda.so.{VERSION}")));
    assert!(narrow.contains("ELF32") && narrow.contains("Intel 80386"), "{narrow}");
    let aarch64 = tree.join("usr/lib/aarch64-linux-gnu");
    for file in [
        aarch64.join(format!("libcuda.so.{VERSION}")),
        here.join(format!("libnvidia-foreign.so.{VERSION}")),
    ] {
        assert!(header(&file).contains("AArch64"), "{}", file.display());
    }
    let named = |stem: &str| here.join(format!("{stem}.so.{VERSION}"));
    assert_eq!(fs::read(named("libnvidia-empty")).unwrap(), b"");
    assert_eq!(fs::read(named("libnvidia-foo")).unwrap(), b"not a library\n");
    assert!(fs::read_link(named("libnvidia-dangling")).is_ok());
    assert!(!named("libnvidia-dangling").exists());
    for library in ["libnvidia-container.so.1", "libGL.so.1", "libOpenCL.so.1"] {
        assert_eq!(dynamic(&here.join(library), "SONAME"), [library]);
    }
}

#[test]
fn everything_loads_with_old_c_libraries() {
    let h100 = driver("h100");
    let mut files: Vec<PathBuf> =
        libraries(VERSION).iter().map(|library| h100.join(MULTIARCH).join(&library.file)).collect();
    let programs = fs::read_dir(h100.join("usr/bin")).unwrap();
    files.extend(programs.map(|entry| entry.unwrap().path()));
    let versions = |file: &Path| {
        let symbols = inspect("objdump", "-T", file);
        let words = symbols.split_whitespace().map(|word| word.trim_matches(['(', ')']));
        words.filter(|word| word.starts_with("GLIBC_")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for file in files {
        for version in versions(&file) {
            let minor = version.strip_prefix("GLIBC_2.").unwrap().split('.').next().unwrap();
            let minor: u32 = minor.parse().unwrap();
            assert!(minor <= 31, "{} needs {version}", file.display());
        }
    }
    let ngx = driver("newglibc").join(MULTIARCH).join("libnvidia-ngx.so.1");
    assert_eq!(versions(&ngx), BTreeSet::from(["GLIBC_2.99".to_owned()]));
}

#[test]
fn the_kernel_module_has_the_version_it_should_have() {
    for (name, version) in [
        ("h100", VERSION),
        ("alternatives", VERSION),
        ("two", OLDER_VERSION),
        ("mismatch", "590.44.01"),
    ] {
        let tree = driver(name);
        assert_eq!(read(&tree, "sys/module/nvidia/version").trim(), version, "{name}");
        let line = read(&tree, "proc/driver/nvidia/version");
        assert!(line.split_whitespace().any(|word| word == version), "{name}: {line}");
        let older = tree.join(MULTIARCH).join(format!("libcuda.so.{OLDER_VERSION}"));
        assert_eq!(older.exists(), name == "two");
        let linked = resolve(&tree, &format!("{MULTIARCH}/libcuda.so.1"));
        assert!(linked.ends_with(format!("libcuda.so.{VERSION}")), "{}", linked.display());
    }
}

#[test]
fn nodes_and_what_the_kernel_says_of_them_agree() {
    let tree = driver("h100");
    assert_gpus(&tree, &[0, 1, 2, 3], "NVIDIA H100 80GB HBM3");
    let minors = read(&tree, "proc/driver/nvidia-caps/mig-minors");
    assert!(minors.contains("\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n"), "{minors}");
    assert!(
        tree.join("run/nvidia-persistenced/socket").metadata().unwrap().file_type().is_socket()
    );
    let nodes = ["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap2"];
    for node in nodes.map(|name| tree.join("dev").join(name)) {
        let is_device = node.metadata().unwrap().file_type().is_char_device();
        assert!(is_device || lacks("root"), "{}", node.display());
    }
    assert!(driver("mig").join("dev/nvidia-caps/nvidia-cap13").exists());
}

/// Asserts what the kernel's files say of the GPUs, whose minors are in the order of the bus.
#[track_caller]
fn assert_gpus(tree: &Path, minors: &[u8], model: &str) {
    let gpus = fs::read_dir(tree.join("proc/driver/nvidia/gpus")).unwrap();
    let mut buses: Vec<String> =
        gpus.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    buses.sort();
    assert_eq!(buses.len(), minors.len());
    for (minor, bus) in minors.iter().zip(&buses) {
        let text = read(tree, &format!("proc/driver/nvidia/gpus/{bus}/information"));
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
            line.unwrap_or_else(|| panic!("no {key} in {text}")).trim().to_owned()
        };
        assert_eq!(value("Device Minor"), minor.to_string());
        assert_eq!(value("Bus Location"), *bus);
        assert_eq!(value("GPU UUID"), uuid(*minor));
        assert_eq!(value("Model"), model);
        assert!(tree.join(format!("dev/nvidia{minor}")).exists());
    }
}

#[test]
fn sixty_libraries_are_in_a_directory_no_loader_knows() {
    let tree = driver("local");
    let directory = tree.join("usr/local/nvidia/lib64");
    let mut all = libraries(VERSION);
    all.retain(|library| !library.file.contains('/'));
    all.extend(older_libraries(VERSION));
    assert_eq!(all.len(), 60);
    for Library { file, soname } in &all {
        let file = directory.join(file);
        assert_eq!(dynamic(&file, "SONAME"), [soname.as_str()], "{}", file.display());
        assert_eq!(fs::canonicalize(file.with_file_name(soname)).unwrap(), file);
    }
    let names = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<String>>()
    };
    assert_eq!(names(&tree), BTreeSet::from(["dev", "proc", "sys", "usr"].map(str::to_owned)));
    assert_eq!(names(&tree.join("usr")), BTreeSet::from(["local".to_owned()]));
    for name in ["bin/nvidia-smi", "share/glvnd/egl_vendor.d/10_nvidia.json"] {
        assert!(tree.join("usr/local").join(name).is_file(), "{name}");
    }
}

#[test]
fn eight_gpus_have_nodes_in_another_order_than_the_bus_and_a_hole() {
    let tree = driver("a100");
    assert_gpus(&tree, &A100_MINORS, "NVIDIA A100-SXM4-80GB");
    assert!(!tree.join("dev/nvidia4").exists());
    let minors = read(&tree, "proc/driver/nvidia-caps/mig-minors");
    assert!(minors.contains("\ngpu8/gi0/access 1083\n"), "{minors}");
    if lacks("root") {
        return;
    }
    let (image, options) = (real("gpu"), by_hand(&tree));
    let options = options.each_ref().map(String::as_str);
    assert_eq!(Client::Nvml.run(&image, &options).lines()[1..], A100_MINORS.map(uuid));
    assert_eq!(Client::Cuda.run(&image, &options).lines()[1..], A100_MINORS.map(uuid));
    let words = [image.to_str().unwrap(), "/opt/driver-bin/nvidia-smi"];
    let smi = hrun(options.into_iter().chain(words)).lines();
    assert_eq!(smi[1], format!("GPU 0: NVIDIA A100-SXM4-80GB (UUID: {})", uuid(2)));
}

#[test]
fn gpus_that_reach_other_machines_and_disks_have_their_nodes() {
    let tree = driver("gds");
    for name in ["nvidia-caps-imex-channels/channel0", "nvidia-fs0", "nvidia-fs15", "nvidia3"] {
        let node = tree.join("dev").join(name);
        let is_device = node.metadata().unwrap().file_type().is_char_device();
        assert!(is_device || lacks("root"), "{}", node.display());
    }
    for name in ["etc/cufile.json", "run/udev/data/b259:0", "usr/bin/nvidia-imex-ctl"] {
        assert!(tree.join(name).is_file(), "{name}");
    }
    let devices = read(&tree, "proc/devices");
    assert!(devices.contains("507 nvidia-caps-imex-channels\n"), "{devices}");
}

#[test]
fn graphics_cards_are_reached_by_their_place_on_the_bus() {
    for (name, node) in [("rocm", "dev/kfd"), ("intel", "dev/dri/card0"), ("h100", "dev/nvidiactl")]
    {
        let tree = driver(name);
        assert!(tree.join(node).exists(), "{name}");
        let links = fs::read_dir(tree.join("dev/dri/by-path")).unwrap();
        let links: Vec<PathBuf> = links.map(|entry| entry.unwrap().path()).collect();
        assert!(links.len() >= 4, "{name}: {links:?}");
        for link in links {
            let node = fs::canonicalize(&link).unwrap();
            assert_eq!(node.parent().unwrap(), tree.join("dev/dri"));
        }
    }
    let nodes = driver("rocm").join("sys/class/kfd/kfd/topology/nodes");
    let properties = fs::read_to_string(nodes.join("2/properties")).unwrap();
    assert!(properties.contains("drm_render_minor 129\n"), "{properties}");
}

#[test]
fn clients_fail_without_a_driver() {
    let image = real("gpu");
    let fails = |client: Client, words: &str| {
        let seen = client.run(&image, &[]);
        assert_eq!((seen.status, seen.stdout.as_str()), (Some(1), ""), "{}", seen.stderr);
        assert!(seen.stderr.contains(words), "{}", seen.stderr);
    };
    fails(Client::Nvml, "NVMLError_LibraryNotFound: NVML Shared Library Not Found");
    fails(Client::Cuda, "DynamicLibNotFoundError: \"cuda\" is an NVIDIA driver library");
    let runtime = Client::Runtime.run(&image, &[]).lines();
    assert_eq!(runtime, ["cudaDriverGetVersion 0 0", "cudaGetDeviceCount 35"]);
}

#[test]
fn clients_work_with_a_driver_given_by_hand() {
    if lacks("root") {
        return;
    }
    let (image, options) = (real("gpu"), by_hand(&driver("h100")));
    let options = options.each_ref().map(String::as_str);
    let gpus = [0, 1, 2, 3].map(uuid);
    let nvml = Client::Nvml.run(&image, &options).lines();
    assert_eq!((nvml[0].as_str(), &nvml[1..]), (VERSION, &gpus[..]));
    let cuda = Client::Cuda.run(&image, &options).lines();
    assert_eq!((cuda[0].as_str(), &cuda[1..]), ("13000", &gpus[..]));
    // The runtime library gets as far as the real driver's private tables.
    let runtime = Client::Runtime.run(&image, &options).lines();
    assert_eq!(runtime, ["cudaDriverGetVersion 0 13000", "cudaGetDeviceCount 500"]);
}

#[test]
fn cuda_sees_the_gpus_its_variable_names() {
    if lacks("root") {
        return;
    }
    let options = by_hand(&driver("h100"));
    let image = real("gpu");
    let see = |list: &str| {
        let variable = format!("--set-env=CUDA_VISIBLE_DEVICES={list}");
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        options.push(&variable);
        Client::Cuda.run(&image, &options)
    };
    let gpus = |minors: &[u8]| minors.iter().map(|minor| uuid(*minor)).collect::<Vec<_>>();
    assert_eq!(see("3").lines()[1..], gpus(&[3]));
    assert_eq!(see("2,0").lines()[1..], gpus(&[2, 0]));
    assert_eq!(see("0,2,-1,1").lines()[1..], gpus(&[0, 2]));
    assert_eq!(see("GPU-01,7,0").lines()[1..], gpus(&[1]));
    for none in ["", "-1", "NoDevFiles", "4,0"] {
        let seen = see(none);
        assert_eq!((seen.status, seen.stderr.trim()), (Some(1), "CUDA_ERROR_NO_DEVICE"), "{none}");
    }
}

#[test]
fn a_gpu_that_may_not_be_opened_is_counted_by_nvml_only() {
    if lacks("root") {
        return;
    }
    let (image, scratch) = (real("gpu"), Scratch::new());
    let tree = own_driver("h100", &scratch);
    chmod(&tree.join("dev/nvidia1"), 0o600);
    let options = by_hand(&tree);
    let options = options.each_ref().map(String::as_str);
    assert_eq!(Client::Cuda.run(&image, &options).lines()[1..], [0, 2, 3].map(uuid));
    let nvml = Client::Nvml.run(&image, &options);
    assert_eq!(nvml.stdout, format!("{VERSION}\n{}\n", uuid(0)));
    assert!(nvml.stderr.contains("NVMLError_NoPermission"), "{}", nvml.stderr);
}

#[test]
fn the_stand_in_of_nvidia_smi_runs_in_old_images() {
    let tree = driver("h100");
    let options = by_hand(&tree);
    for name in ["bullseye", "bookworm", "trixie"] {
        let image = real(name);
        let smi = |options: &[String]| {
            let words = [image.to_str().unwrap(), "/opt/driver-bin/nvidia-smi"];
            hrun(options.iter().map(String::as_str).chain(words))
        };
        let bare = smi(&options[2..3]);
        assert_eq!(bare.status, Some(12), "{name}: {}", bare.stderr);
        assert!(bare.stderr.starts_with("nvidia-smi: libnvidia-ml.so.1: cannot open"), "{name}");
        let without_nodes = smi(&options[1..]);
        let message = "nvidia-smi: nvmlInit_v2 failed: Driver Not Loaded\n";
        let seen = (without_nodes.status, without_nodes.stderr.as_str());
        assert_eq!(seen, (Some(9), message), "{name}");
        if !lacks("root") {
            let lines = smi(&options).lines();
            assert!(lines[0].contains("Driver Version: 580.159.04  CUDA Version: 13.0"), "{name}");
            assert_eq!(lines.len(), 5, "{name}: {lines:?}");
        }
    }
}

#[test]
fn images_with_libraries_of_other_drivers_have_them() {
    let compat = resolve(&real("cuda"), "usr/local/cuda").join("compat");
    let notes = inspect("readelf", "-n", &compat.join("libcuda.so.999.10"));
    assert!(notes.contains(".note.cuda.fwd_compatibility"), "{notes}");
    let image = real("cuda");
    let variable = "--set-env=LD_LIBRARY_PATH=/usr/local/cuda/compat";
    let runtime = Client::Runtime.run(&image, &[variable]).lines();
    assert_eq!(runtime[0], "cudaDriverGetVersion 0 99000");

    let image = real("leftovers");
    assert_eq!(fs::read(image.join(MULTIARCH).join("libcuda.so.1")).unwrap(), b"");
    let seen = Client::Cuda.run(&image, &[]);
    assert!(seen.stderr.contains("DynamicLibNotFoundError"), "{}", seen.stderr);
    if !lacks("root") {
        let nodes = &by_hand(&driver("h100"))[0];
        assert_eq!(Client::Nvml.run(&image, &[nodes]).lines()[0], "470.00.00");
    }
}
