//! `hrun --doctor`: what hrun needs from a machine, tried and explained.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use nix::mount::MsFlags;

use super::support::live::outcome_in_time;
use super::support::machine::{
    cover, fill, remove_from_root, set_propagation, with_own_mounts, without_user_namespaces,
};
use super::support::run::{outcome, shell};
use super::support::{Image, Outcome, Scratch, WAYS, command, hrun, lacks, program, tester};

const CHECKS: [&str; 16] = [
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
