//! Which capabilities the command has: --cap-keep, --cap-drop and --root.

use std::fs;
use std::path::Path;

use nix::sys::wait::WaitStatus;

use super::support::variables::hrun_with;
use super::support::{Image, Live, Scratch, command, hrun, in_every_way, probe};

const FIELDS: &str = "status CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs";

const CHOWN: u64 = 1;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;

/// All the capabilities this kernel knows.
fn all() -> u64 {
    let last: u32 =
        fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    (2 << last) - 1
}

/// The sets in the order of `FIELDS`.
fn sets(lines: &[String]) -> [u64; 5] {
    assert_eq!(lines[5], "NoNewPrivs:1");
    let value = |line: &String| u64::from_str_radix(line.split_once(':').unwrap().1, 16).unwrap();
    std::array::from_fn(|field| value(&lines[field]))
}

/// Asserts what is in the permitted, effective and bounding sets, and what in the other two.
#[track_caller]
fn assert_sets(options: &[&str], held: u64, inherited: u64) {
    let image = Image::tiny();
    in_every_way(|way| {
        let lines = way.probe(image.path(), options, FIELDS).lines();
        assert_eq!(sets(&lines), [inherited, held, held, held, inherited], "{options:?}");
    });
}

#[test]
fn a_user_keeps_what_is_named_and_no_other() {
    assert_sets(&["--cap-keep=CAP_NET_RAW"], NET_RAW, NET_RAW);
    assert_sets(&["--cap-keep=chown,sys_admin"], CHOWN | SYS_ADMIN, CHOWN | SYS_ADMIN);
    assert_sets(
        &["--cap-keep", "Chown", "--cap-keep=cap_net_raw"],
        CHOWN | NET_RAW,
        CHOWN | NET_RAW,
    );
    assert_sets(&["--cap-keep=all"], all(), all());
    assert_sets(&["--uid=1234", "--cap-keep=chown"], CHOWN, CHOWN);
}

#[test]
fn root_keeps_all_but_what_is_dropped() {
    assert_sets(&["--root"], all(), 0);
    assert_sets(&["--root", "--cap-drop=CAP_SYS_ADMIN"], all() & !SYS_ADMIN, 0);
    assert_sets(&["--root", "--drop-caps=chown,net_raw"], all() & !CHOWN & !NET_RAW, 0);
    assert_sets(&["--root", "--cap-keep=chown,net_raw"], CHOWN | NET_RAW, 0);
    assert_sets(&["--root", "--cap-keep=all", "--cap-drop=chown"], all() & !CHOWN, 0);
    assert_sets(&["--uid=0", "--cap-keep=chown"], CHOWN, 0);
}

#[test]
fn what_is_dropped_is_in_no_set() {
    for options in [
        &["--cap-drop=all"][..],
        &["--cap-drop=chown"],
        &["--root", "--cap-drop=all"],
        &["--uid=0", "--cap-drop=all"],
        &["--cap-keep=chown", "--cap-drop=chown"],
    ] {
        assert_sets(options, 0, 0);
    }
}

#[test]
fn layers_of_configuration_add_up() {
    let image = Image::tiny();
    let words = ["--cap-drop=net_raw", image.path().to_str().unwrap(), "/bin/probe"];
    let words = words.into_iter().chain(FIELDS.split(' '));
    let lines = hrun_with(["HRUN_CAP_DROP=chown", "HRUN_CAP_KEEP=all"], words).lines();
    assert_eq!(sets(&lines)[1], all() & !CHOWN & !NET_RAW);
}

/// What mount(8) says about a tmpfs inside.
fn mounts(options: &[&str]) -> bool {
    let image = Image::tiny();
    let script = "busybox mount -t tmpfs mine /opt 2> /dev/null && echo mounted || echo refused";
    let words = [image.path().to_str().unwrap(), "/bin/sh", "-c", script];
    match hrun([options, &words].concat()).ok().as_str() {
        "mounted\n" => true,
        "refused\n" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn a_capability_is_what_makes_the_difference() {
    assert!(mounts(&["--root"]));
    assert!(!mounts(&["--root", "--cap-drop=sys_admin"]));
    assert!(!mounts(&[]));
    // busybox itself wants to be root.
    assert!(mounts(&["--uid=0", "--cap-keep=sys_admin"]));
    assert!(!mounts(&["--uid=0", "--cap-keep=chown"]));
}

#[test]
fn a_name_that_is_none_is_refused() {
    for (word, reason) in [
        ("--cap-drop=CAP_SYSADMIN", "'CAP_SYSADMIN' is no capability; did you mean CAP_SYS_ADMIN?"),
        ("--cap-keep=chown,net_row", "'net_row' is no capability; did you mean CAP_NET_RAW?"),
        ("--cap-keep=xyzzy", "'xyzzy' is no capability; capabilities(7) lists them"),
        ("--cap-drop=", "it names no capability"),
    ] {
        let name = word.split('=').next().unwrap();
        let attempt = format!("cannot use option {name}: ");
        probe(Image::tiny().path(), &[word], "id").fails(&[
            &attempt,
            reason,
            &format!("from: {name}"),
        ]);
    }
}

#[test]
fn the_plan_says_what_is_kept() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    let options = ["--cap-keep=chown,kill", "--cap-drop=kill"];
    let plan = |format: &str| hrun([&options[..], &[format, image, "true"]].concat()).ok();
    let text = plan("--dry-run");
    let line = text.lines().find(|line| line.starts_with("restrict")).unwrap();
    assert!(line.contains("capabilities CAP_CHOWN only"), "{line}");
    assert!(line.ends_with("[--cap-drop kill]"), "{line}");
    let spec: serde_json::Value = serde_json::from_str(&plan("--dry-run=oci")).unwrap();
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(spec["process"]["capabilities"][set], serde_json::json!(["CAP_CHOWN"]), "{set}");
    }
}

#[test]
fn a_plan_that_is_read_back_keeps_the_same() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let words =
        ["--dry-run=json", "--cap-keep=chown", image.path().to_str().unwrap(), "/bin/probe"];
    let json = hrun(words.into_iter().chain(FIELDS.split(' '))).ok();
    let plan = scratch.file("plan", json);
    let lines = hrun([Path::new("--plan"), &plan]).lines();
    assert_eq!(sets(&lines), [CHOWN; 5]);
}

#[test]
fn who_joins_a_container_has_what_he_asked_for() {
    let image = Image::tiny();
    let words = ["--join-tag=capabilities", image.path().to_str().unwrap(), "/bin/sh", "-c"];
    let script = "probe status CapEff; exec cat";
    let mut first =
        Live::start(&mut command([&["--cap-keep=chown"], &words[..], &[script]].concat()));
    assert_eq!(first.next_line(), "CapEff:0000000000000001");
    // The first has its namespaces still; the second lives in the same.
    let seen = |option: &str| {
        let script = "probe status CapEff; busybox readlink /proc/self/ns/user";
        let mut lines = hrun([&[option], &words[..], &[script]].concat()).lines();
        let namespace = fs::read_link(format!("/proc/{}/ns/user", first.pid())).unwrap();
        assert_eq!(lines.pop().unwrap(), namespace.to_str().unwrap());
        lines.remove(0)
    };
    assert_eq!(seen("--cap-drop=all"), "CapEff:0000000000000000");
    assert_eq!(seen("--cap-keep=net_raw"), "CapEff:0000000000002000");
    first.say("");
    assert!(matches!(first.wait(), WaitStatus::Exited(_, 0)));
}
