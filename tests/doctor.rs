//! `hrun --doctor`: what hrun needs from a machine, tried and explained.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::support::driver::{VERSION, driver};
use super::support::live::outcome_in_time;
use super::support::machine::{
    cover, fill, remove_from_root, set_propagation, with_gpus, with_own_mounts,
    without_user_namespaces,
};
use super::support::run::{outcome, shell};
use super::support::scratch::chmod;
use super::support::{Image, Outcome, Scratch, WAYS, command, hrun, lacks, program, tester};

const CHECKS: [&str; 19] = [
    "you",
    "home directory",
    "temporary directory",
    "shared memory",
    "configuration",
    "user namespaces",
    "private memory",
    "bind of /dev",
    "bind of /proc",
    "bind of /sys",
    "read-only mounts",
    "giving up privileges",
    "pivot_root",
    "mount_setattr",
    "overlay",
    "overlay with a layer",
    "packed images",
    "limits",
    "NVIDIA driver",
];

/// The report in JSON, whatever the exit status.
fn examination(outcome: &Outcome) -> serde_json::Value {
    assert_eq!(outcome.stderr, "");
    serde_json::from_str(&outcome.stdout).expect("--doctor=json prints JSON")
}

fn check<'a>(examination: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let checks = examination["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn says_that_hrun_works() {
    let text = hrun(["--doctor"]).ok();
    let last = text.lines().last();
    assert_eq!(last, Some("hrun works here"), "{text}");
    assert!(text.starts_with("hrun "), "{text}");
    for name in CHECKS {
        let line =
            text.lines().find(|line| line.get(9..).is_some_and(|line| line.starts_with(name)));
        assert!(line.is_some_and(|line| line.starts_with("ok ")), "{name} in:\n{text}");
    }
}

#[test]
fn says_so_in_json() {
    let outcome = hrun(["--doctor=json"]);
    assert_eq!(outcome.status, Some(0));
    let examination = examination(&outcome);
    assert_eq!(examination["works"], true);
    assert!(examination["kernel"].as_str().unwrap().contains('.'));
    let checks = examination["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, CHECKS);
    for check in checks {
        assert_eq!(check["status"], "ok", "{check}");
        assert!(check["found"].is_string(), "{check}");
    }
}

#[test]
fn what_it_says_is_true() {
    let image = Image::tiny();
    let examination = examination(&hrun(["--doctor=json"]));
    let works = check(&examination, "overlay with a layer")["status"] == "ok";
    let run = hrun(["--write-fake", image.path().to_str().unwrap(), "true"]);
    assert_eq!(run.status == Some(0), works);
}

#[test]
fn user_namespaces_switched_off() {
    let text = outcome(without_user_namespaces(&program("hrun")).arg("--doctor"));
    assert_eq!((text.status, text.stderr.as_str()), (Some(125), ""));
    assert!(text.stdout.ends_with("\nhrun cannot work here\n"), "{}", text.stdout);
    assert!(text.stdout.contains("FAILED   user namespaces"), "{}", text.stdout);
    let remedy = "sysctl -w user.max_user_namespaces=65536";
    assert!(text.stdout.contains(remedy), "{}", text.stdout);

    let json = outcome(without_user_namespaces(&program("hrun")).arg("--doctor=json"));
    assert_eq!(json.status, Some(125));
    let examination = examination(&json);
    assert_eq!(examination["works"], false);
    let namespaces = check(&examination, "user namespaces");
    assert_eq!(namespaces["status"], "failed");
    assert!(namespaces["remedy"].as_str().unwrap().contains(remedy), "{namespaces}");
}

#[test]
fn features_that_count_as_missing_are_told() {
    for way in WAYS {
        let examination = examination(&hrun(way.iter().copied().chain(["--doctor=json"])));
        assert_eq!(examination["works"], true);
        let missing = way.first().map_or("", |option| option.split('=').nth(1).unwrap());
        for (feature, name) in [
            ("overlay", "overlay"),
            ("mount-setattr", "mount_setattr"),
            ("pivot-root", "pivot_root"),
        ] {
            let check = check(&examination, name);
            let is_missing = missing.split(',').any(|missing| missing == feature);
            let found = if is_missing { "works, but is not used" } else { "works" };
            assert_eq!(check["found"], found, "{check}");
            assert_eq!(check["remedy"].is_string(), is_missing, "{check}");
        }
    }
}

#[test]
fn a_node_without_disk_and_without_temporary_directory_works() {
    if lacks("root") {
        return;
    }
    with_own_mounts(|| {
        remove_from_root("tmp");
        let outcome = hrun(["--doctor=json"]);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stdout);
        let examination = examination(&outcome);
        let temporary = check(&examination, "temporary directory");
        assert_eq!(temporary["status"], "warning");
        assert_eq!(temporary["found"], "/tmp does not exist");
        assert!(temporary["remedy"].is_string());
    });
}

#[test]
fn full_directories_do_not_matter() {
    if lacks("root") {
        return;
    }
    with_own_mounts(|| {
        for directory in ["/tmp", "/dev/shm", "/srv"] {
            fill(directory.as_ref());
        }
        assert!(hrun(["--doctor"]).ok().ends_with("\nhrun works here\n"));
    });
}

#[test]
fn odd_callers_are_told() {
    let without_home = outcome(command(["--doctor=json"]).env_remove("HOME"));
    let report = examination(&without_home);
    assert_eq!(without_home.status, Some(0));
    assert_eq!(check(&report, "home directory")["status"], "warning");
    assert_eq!(check(&report, "home directory")["remedy"], "export HOME");

    let elsewhere = outcome(command(["--doctor=json"]).env("HOME", "/nowhere"));
    assert_eq!(
        check(&examination(&elsewhere), "home directory")["found"],
        "/nowhere does not exist"
    );
}

#[test]
fn a_user_who_is_in_no_database_is_told() {
    if lacks("root") {
        return;
    }
    let mut setpriv = std::process::Command::new("setpriv");
    setpriv.args(["--reuid=54321", "--regid=54322", "--clear-groups", "--inh-caps=-all", "--"]);
    let report = outcome(setpriv.arg(program("hrun")).arg("--doctor=json"));
    assert_eq!(report.status, Some(0));
    let examination = examination(&report);
    let you = check(&examination, "you");
    assert_eq!(you["status"], "warning");
    assert!(you["found"].as_str().unwrap().starts_with("uid 54321, gid 54322"), "{you}");
}

#[test]
fn a_faulty_configuration_file_is_told() {
    let scratch = Scratch::new();
    scratch.file("hrun/config.toml", "bind = [\"/tmp\"]\nnosuch = 1\n");
    let mut command = command(["--doctor"]);
    let told = outcome_in_time(command.env("XDG_CONFIG_HOME", scratch.path()));
    let all = format!("{}{}", told.stdout, told.stderr);
    assert_eq!(told.status, Some(125), "{all}");
    assert!(all.contains("hrun/config.toml:2"), "{all}");
}

/// All names in directories where programs leave things, and the mounts.
fn world() -> (BTreeSet<PathBuf>, String) {
    let directories = ["/tmp", "/var/tmp", "/dev/shm", "/srv", "/mnt", "/run"];
    let directories = directories.map(PathBuf::from).into_iter().chain([tester().home.clone()]);
    let names = directories.flat_map(|path| fs::read_dir(path).unwrap());
    let names = names.map(|entry| entry.unwrap().path()).collect();
    (names, fs::read_to_string("/proc/thread-self/mountinfo").unwrap())
}

#[test]
fn leaves_nothing_behind() {
    if lacks("root") {
        return;
    }
    with_own_mounts(|| {
        for directory in ["/tmp", "/var/tmp", "/dev/shm", "/srv", "/run"] {
            cover(directory.as_ref(), "size=1m");
        }
        cover(&tester().home, "size=1m");
        set_propagation("/", MsFlags::MS_SHARED);
        let before = world();
        hrun(["--doctor"]).ok();
        assert_eq!(world(), before);
    });
}

#[test]
fn stays_in_the_callers_namespaces() {
    let image = Image::tiny();
    let links = "readlink /proc/self/ns/user /proc/self/ns/mnt /proc/self/root; wc -l \
        < /proc/self/mountinfo; umask; pwd";
    let script = format!("{links}; $hrun --doctor > /dev/null; {links}");
    let lines = outcome(&mut shell(image.path(), &script)).lines();
    let (before, after) = lines.split_at(lines.len() / 2);
    assert_eq!(before, after);
    assert_eq!(before.len(), 6);
}

#[test]
fn says_what_containers_get_of_the_gpus_and_why_not_more() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    fs::write(scratch.join("broken.yaml"), "kind: 7\n").unwrap();
    let vendor = r#"{"cdiVersion": "0.6.0", "kind": "vendor.com/net", "devices": [
        {"name": "eth0", "containerEdits": {"env": ["A=b"]}}]}"#;
    fs::write(scratch.join("net.json"), vendor).unwrap();
    let directory = format!("--cdi-dir={}", scratch.path().display());
    with_gpus(&driver("h100"), || {
        chmod(Path::new("/dev/nvidia1"), 0o600);
        let seen = hrun(["--doctor=json", &directory]);
        assert_eq!(seen.status, Some(0), "hrun works without GPUs, too");
        let seen = examination(&seen);
        let found = |name: &str| check(&seen, name)["found"].as_str().unwrap().to_owned();
        assert!(found("NVIDIA driver").starts_with(&format!("{VERSION} in /usr/lib/")));
        assert!(found("NVIDIA programs").contains("nvidia-smi"));
        let libraries = check(&seen, "NVIDIA libraries")["details"].as_array().unwrap();
        assert!(libraries.iter().any(|name| name == "libcuda.so.1"), "{libraries:?}");
        let left_out = check(&seen, "NVIDIA, left out")["details"].to_string();
        assert!(left_out.contains("libnvidia-empty.so.580.159.04: it is empty"), "{left_out}");
        let gpus = seen["checks"].as_array().unwrap().iter();
        let gpus: Vec<_> = gpus.filter(|check| check["name"] == "NVIDIA GPU").collect();
        assert_eq!(gpus.len(), 4);
        assert_eq!((&gpus[0]["status"], &gpus[1]["status"]), (&"ok".into(), &"warning".into()));
        assert!(gpus[1]["found"].as_str().unwrap().contains("closed to you"), "{}", gpus[1]);
        assert!(found("render nodes").contains("/dev/dri/renderD128"));
        let devices = check(&seen, "devices");
        assert_eq!(devices["details"][0], "vendor.com/net=eth0");
        assert!(devices["remedy"].as_str().unwrap().contains("broken.yaml was passed over"));
    });
    with_gpus(&driver("mismatch"), || {
        let text = hrun(["--doctor"]).ok();
        assert!(text.contains("the kernel module has version 590.44.01"), "{text}");
    });
}
