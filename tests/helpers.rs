//! Processes that hrun leaves beside a command are closed to it, and so is every hrun on its way into a container
//! (`tests/fakes/escapes.c`, `helpers` and `watch`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::packed::Packed;
use super::packed_life::keepers;
use super::support::groups::Delegated;
use super::support::live::{outcome_in_time, until};
use super::support::machine::{cover, with_own_mounts};
use super::support::run::outcome;
use super::support::scratch::copy_program;
use super::support::{Image, Live, Scratch, command, lacks, program, rank, real, tester};

/// What a command may be, as far as its rights go.
const RIGHTS: [&[&str]; 3] = [&[], &["--root"], &["--root", "--cap-keep=all"]];

fn image() -> Image {
    let image = Image::tiny();
    copy_program(&program("escapes"), &image.join("bin/escapes"));
    image
}

/// What came of all that is tried at processes of hrun by a command: by name, what was tried, results.
#[track_caller]
fn tried(options: &[&str], image: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut words = command(options.iter().copied());
    let seen = outcome_in_time(words.arg(image).args(["escapes", "helpers"])).ok();
    let mut results: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in seen.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, name, what, result] = words[..] else { panic!("{line}") };
        assert!(["EPERM", "EACCES"].contains(&result), "{options:?}: {line}");
        results.entry(name.to_owned()).or_default().insert(what.to_owned());
    }
    results
}

/// Tries everything, and asserts that these processes were there to be tried at.
#[track_caller]
fn all_are_closed(names: &[&str], options: &[&str], image: &Path) {
    // One that has just been made is called hrun.
    until(&format!("{names:?} are there, {options:?}"), || {
        let results = tried(options, image);
        let count = |name: &&str| results.get(*name).map_or(0, BTreeSet::len);
        names.iter().all(|name| count(name) == 13).then_some(())
    });
}

fn contained<'a>(rights: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    [rights, &["-q", "--contain"], options].concat()
}

#[test]
fn helpers_are_closed_in_every_kind_of_start() {
    let (image, place) = (image(), Scratch::new());
    let packed = Packed::new(image.path(), &[]);
    let unpack = format!("--unpack={}", place.path().display());
    let layer = format!("--overlay={}", place.join("layer").display());
    for rights in RIGHTS {
        all_are_closed(&["hrun-layer"], &contained(rights, &[&layer]), image.path());
        all_are_closed(&["hrun-image"], &contained(rights, &[]), &packed.path);
        all_are_closed(&["hrun-copy"], &contained(rights, &[&unpack]), &packed.path);
        all_are_closed(&["hrun-init", "hrun-ear"], &contained(rights, &["--pid"]), image.path());
        all_are_closed(&["hrun-init", "hrun-ear"], &contained(rights, &["--pid"]), &packed.path);
        all_are_closed(
            &["hrun-init", "hrun-ear"],
            &contained(rights, &["--pid", &unpack]),
            &packed.path,
        );
    }
}

/// Whoever comes later sees the processes of all who came before, by the list of processes of the host.
#[test]
fn helpers_are_closed_to_those_who_join() {
    let image = image();
    let packed = Packed::new(image.path(), &[]);
    let names = ["hrun", "hrun-ear", "hrun-image", "hrun-init", "hrun-witness"];
    for (number, rights) in RIGHTS.into_iter().enumerate() {
        let tag = format!("--join-tag=closed-{}-{number}", std::process::id());
        let join = [rights, &["--contain", &tag]].concat();
        let mut first = command([&join[..], &["--pid"]].concat());
        let mut first = Live::start(first.arg(&packed.path).args(["sh", "-c", "echo up; cat"]));
        assert_eq!(first.next_line(), "up");
        until("there is a witness", || {
            (keepers(&packed.path, "hrun-witness").len() == 1).then_some(())
        });
        // With other mounts, and another list of processes.
        all_are_closed(&names, &[&join[..], &["--bind=/usr:/mnt"]].concat(), &packed.path);
        all_are_closed(&["hrun-init", "hrun-ear"], &[&join[..], &["--pid"]].concat(), &packed.path);
        let pid = format!("--join-pid={}", first.pid());
        let inside = [rights, &[&pid, "--cd=/"]].concat();
        all_are_closed(&["hrun-init", "hrun-ear"], &inside, &packed.path);
        first.say("");
        first.wait();
    }
}

#[test]
fn the_watcher_of_a_group_is_closed() {
    if lacks("root") || lacks("limit-cgroups") {
        return;
    }
    let (image, groups) = (image(), Delegated::new());
    let parent = groups.option();
    for rights in RIGHTS {
        let options = [rights, &[parent.as_str(), "--memory=64m"]].concat();
        all_are_closed(&["hrun-limits"], &options, image.path());
    }
}

#[test]
fn what_is_left_out_cannot_be_reached_by_the_server_of_an_image() {
    let (image, secret) = (image(), Scratch::below(Path::new("/home")));
    let file = secret.file("secret", "of the host");
    let packed = Packed::new(image.path(), &[]);
    let script = "for process in /proc/[0-9]*; do \
        cat $process/root$1 $process/cwd$1 2> /dev/null; echo x 2> /dev/null > $process/root$1; done; true";
    for rights in RIGHTS {
        let mut words = command(rights.iter().copied());
        words.arg("--contain").arg(&packed.path).args(["sh", "-c", script, "sh"]).arg(&file);
        assert_eq!(outcome_in_time(&mut words).stdout, "");
        assert_eq!(fs::read_to_string(&file).unwrap(), "of the host");
    }
}

#[test]
fn nobody_reads_the_command_line_and_the_environment_in_helpers() {
    let packed = Packed::tiny();
    let mut words = command(["--pid", "-e", "TOKEN=hidden-word"]);
    words.arg(&packed.path).args(["sh", "-c", "echo up; cat"]).env("OTHER", "hidden-word");
    let mut live = Live::start(&mut words);
    assert_eq!(live.next_line(), "up");
    let supervisor = live.pid().as_raw();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let at = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let name = String::from_utf8_lossy(&at("comm")).trim_end().to_owned();
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let status = String::from_utf8_lossy(&at("status")).into_owned();
        let is_ours = number == Some(supervisor)
            || status.contains(&format!("\nPPid:\t{supervisor}\n"))
            || keepers(&packed.path, "hrun-image").iter().any(|it| Some(it.as_raw()) == number);
        if !is_ours || !name.starts_with("hrun") {
            continue;
        }
        let words = [at("cmdline"), at("environ")].concat();
        let words: Vec<&[u8]> =
            words.split(|byte| *byte == 0).filter(|it| !it.is_empty()).collect();
        assert_eq!(words, [name.as_bytes()], "{name}");
        seen.insert(name);
    }
    let names = ["hrun", "hrun-ear", "hrun-image", "hrun-init"].map(str::to_owned);
    assert_eq!(seen, BTreeSet::from(names));
    live.say("");
    live.wait();
}

/// So many joins while somebody inside looks for what they have open.
#[test]
fn who_joins_is_not_caught() {
    let image = image();
    for rights in RIGHTS {
        let tag = format!("--join-tag=caught-{}-{}", std::process::id(), rights.len());
        let options = [rights, &["--contain", &tag]].concat();
        let mut watcher = command(&options);
        let mut watcher = Live::start(watcher.arg(image.path()).args(["escapes", "watch"]));
        assert_eq!(watcher.next_line(), "ready");
        let pid = format!("--join-pid={}", watcher.pid());
        for _ in 0..50 {
            outcome(command(&options).arg(image.path()).arg("true")).ok();
            outcome(command([&pid, "--cd=/"]).args(rights).arg(image.path()).arg("true")).ok();
        }
        watcher.say("");
        let (caught, seen) = {
            let line = watcher.next_line();
            let (caught, seen) = line.split_once(" of ").unwrap();
            (caught.parse::<u32>().unwrap(), seen.parse::<u32>().unwrap())
        };
        watcher.wait();
        assert!(seen > 50, "it looks often enough: {seen}");
        assert_eq!(caught, 0, "{rights:?}, of {seen}");
    }
}

/// The start time of a process, as the file of a meeting has it.
fn started(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// A rank that has gone to namespaces of its own, in which it is root, would have others come there.
#[test]
fn a_line_that_names_other_namespaces_is_not_believed() {
    let (image, step) = (real("bookworm"), "forged");
    let script = "exec unshare --user --map-root-user --mount sh -c 'echo up; cat'";
    let mut forger = Live::start(&mut rank::rank(step, &image, &[], script));
    assert_eq!(forger.next_line(), "up");
    let pid = forger.pid().as_raw();
    let number = |name: &str| fs::metadata(format!("/proc/{pid}/ns/{name}")).unwrap().ino();
    let file = rank::file(step);
    let text = fs::read_to_string(&file).unwrap();
    let layout = text.lines().next().unwrap().split(' ').nth(4).unwrap();
    let (user, mount) = (number("user"), number("mnt"));
    let line = format!("{pid:x} {:x} {user:x} {mount:x} {layout} 0", started(pid));
    fs::write(&file, format!("{line:<63}\n{text}")).unwrap();
    let script = "stat -Lc %i /proc/self/ns/user; grep CapEff /proc/self/status";
    let seen = outcome_in_time(&mut rank::rank(step, &image, &[], script)).ok();
    let lines: Vec<&str> = seen.lines().collect();
    assert_ne!(lines[0], user.to_string(), "it is where the forger wants it");
    assert_eq!(lines[1], "CapEff:\t0000000000000000");
    forger.say("");
    forger.wait();
}

#[test]
fn where_ranks_meet_is_not_shown() {
    let (image, home) = (Image::tiny(), Scratch::new());
    let step = "hidden";
    let waiting = rank::Waiting::start(step, image.path(), &[], &home);
    let file = rank::file(step);
    assert!(file.is_file());
    let directory = file.parent().unwrap().to_str().unwrap();
    let script = format!("ls -A {directory}; echo x > {directory}/x && cat {directory}/x");
    // In the step, and in any other container.
    let bind = format!("--bind={}", home.path().display());
    let mut rank = rank::rank(step, image.path(), &[&bind], &script);
    assert_eq!(outcome(&mut rank).ok(), "x\n");
    let mut other = command([image.path().as_os_str()]);
    assert_eq!(outcome(other.args(["sh", "-c", &script])).ok(), "x\n");
    assert!(!file.with_file_name("x").exists());
    waiting.end();
}

#[test]
fn a_link_in_the_place_of_the_meeting_leads_nowhere() {
    if lacks("root") {
        return;
    }
    let (image, home) = (Image::tiny(), &tester().home);
    let place = format!("/dev/shm/hrun-{}", tester().uid);
    let kept = Scratch::new();
    with_own_mounts(|| {
        cover(Path::new("/dev/shm"), "size=1m");
        // Another user makes it first; a mount on it would hide what it leads to.
        symlink(home, &place).unwrap();
        let words = [image.path().to_str().unwrap(), "ls", home.to_str().unwrap()];
        let seen = outcome(&mut command(words)).ok();
        let name = kept.path().file_name().unwrap().to_str().unwrap();
        assert!(seen.lines().any(|line| line == name), "{seen}");
    });
}
