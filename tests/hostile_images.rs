//! Images that mean harm: whatever is at the places hrun looks at, it starts or says what is wrong,
//! in little time, and nothing on the host is touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::support::live::outcome_in_time;
use super::support::scratch::{chmod, own};
use super::support::{Image, Outcome, Scratch, WAYS, command, driver, in_every_way, lacks, tester};

/// Where hrun looks in an image, or mounts something.
const PLACES: [&str; 28] = [
    "etc",
    "etc/passwd",
    "etc/group",
    "etc/ld.so.cache",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/localtime",
    "etc/machine-id",
    "etc/apt/apt.conf.d",
    "ch",
    "ch/environment",
    "ch/metadata.json",
    ".singularity.d",
    ".singularity.d/env",
    ".singularity.d/env/10-docker.sh",
    ".singularity.d/labels.json",
    ".singularity.d/runscript",
    "image.json",
    "config.json",
    "rootfs",
    "run",
    "tmp",
    "home",
    "dev",
    "proc",
    "sys",
    "srv",
    "bin",
];

/// What a path of the image is that is not what it should be.
#[derive(Clone, Copy, Debug)]
enum Thing {
    Pipe,
    Socket,
    Directory,
    File,
    /// Of 100 GiB, all holes.
    HugeFile,
    Link(&'static str),
    /// A link to itself.
    Circle,
    /// A node, by its numbers; one of a terminal or disk must not even be opened for long.
    Node(SFlag, u64, u64),
    /// A file that nobody may read.
    ClosedFile,
    ClosedDirectory,
    /// A directory with names that no table of mounts or lines of text can hold as they are.
    OddNames,
}

const THINGS: [Thing; 17] = [
    Thing::Pipe,
    Thing::Socket,
    Thing::Directory,
    Thing::File,
    Thing::HugeFile,
    Thing::Link("/proc/self/fd/0"),
    Thing::Link("../../../../../../../../etc/shadow"),
    Thing::Link("/home/tester"),
    Thing::Link("nowhere"),
    Thing::Link("/"),
    Thing::Circle,
    Thing::Node(SFlag::S_IFCHR, 1, 5),
    Thing::Node(SFlag::S_IFCHR, 5, 0),
    Thing::Node(SFlag::S_IFBLK, 8, 0),
    Thing::ClosedFile,
    Thing::ClosedDirectory,
    Thing::OddNames,
];

impl Thing {
    fn make(self, path: &Path) {
        match self {
            Thing::Pipe => mknod(path, SFlag::S_IFIFO, Mode::from_bits_truncate(0o666), 0).unwrap(),
            Thing::Socket => drop(UnixListener::bind(path).unwrap()),
            Thing::Directory => fs::create_dir(path).unwrap(),
            Thing::File => fs::write(path, "data\n").unwrap(),
            Thing::HugeFile => fs::File::create(path).unwrap().set_len(100 << 30).unwrap(),
            Thing::Link(target) => symlink(target, path).unwrap(),
            Thing::Circle => symlink(path.file_name().unwrap(), path).unwrap(),
            Thing::Node(kind, major, minor) => {
                mknod(path, kind, Mode::from_bits_truncate(0o666), makedev(major, minor)).unwrap();
            }
            Thing::ClosedFile => fs::write(path, "").unwrap(),
            Thing::ClosedDirectory => fs::create_dir(path).unwrap(),
            Thing::OddNames => {
                for name in ["a\nb", "\\012", "c d", "\u{1}", "-x"] {
                    fs::create_dir_all(path.join(name)).unwrap();
                }
                symlink("a\nb", path.join("l\n")).unwrap();
                fs::write(path.join("f\t"), "").unwrap();
            }
        }
        match self {
            // Still root's.
            Thing::ClosedFile | Thing::ClosedDirectory => chmod(path, 0),
            _ => own(path),
        }
    }
}

/// All below some directories of the host: what it is, its size, and when it was changed.
fn state(directories: &[&Path]) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
    let mut state = BTreeMap::new();
    let mut todo: Vec<PathBuf> = directories.iter().map(|path| path.to_path_buf()).collect();
    while let Some(path) = todo.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        state.insert(path, (found.mode(), found.size(), found.ctime(), found.ctime_nsec()));
    }
    state
}

/// Asserts that a command ran, or that hrun or the kernel said what is wrong with it.
#[track_caller]
fn assert_fair(outcome: &Outcome, what: &str) {
    match outcome.status {
        Some(0) => {}
        Some(125..=127) => {
            assert!(outcome.stderr.starts_with("hrun: cannot "), "{what}: {}", outcome.stderr);
            assert_eq!(outcome.stderr.matches("hrun: ").count(), 1, "{what}: {}", outcome.stderr);
        }
        _ => panic!("{what}: {outcome:?}"),
    }
}

#[test]
fn nothing_at_any_place_makes_hrun_hang_or_touch_the_host() {
    if lacks("root") {
        return;
    }
    let home = Scratch::new();
    home.file("mine", "of the user");
    let tree = driver::driver("h100");
    let given = |path: &Path| format!("--driver-root={}", path.display());
    for place in PLACES {
        for thing in THINGS {
            let image = Image::tiny();
            let at = image.join(place);
            image.directory(Path::new(place).parent().unwrap().to_str().unwrap());
            if at.exists() {
                fs::rename(&at, image.path().with_file_name("away")).unwrap();
            }
            thing.make(&at);
            let before = state(&[home.path(), image.path()]);
            let mut command = command(["--nv=optional", "--seccomp=fakeroot", &given(&tree)]);
            command.arg(image.path()).args(["probe", "exit", "0"]).env("HOME", home.path());
            let outcome = outcome_in_time(&mut command);
            assert_fair(&outcome, &format!("{place} is {thing:?}"));
            assert_eq!(state(&[home.path(), image.path()]), before, "{place} is {thing:?}");
        }
    }
}

/// What hrun says about some of them, so that the message is of use.
#[test]
fn what_cannot_be_read_is_named() {
    for (place, thing, reason) in [
        ("ch/metadata.json", Thing::Pipe, "EOF while parsing"),
        ("ch/metadata.json", Thing::Directory, "Is a directory"),
        ("ch/metadata.json", Thing::HugeFile, "File too large"),
        ("ch/environment", Thing::Circle, "Too many symbolic links"),
        (".singularity.d/labels.json", Thing::File, "expected value at line 1"),
    ] {
        let image = Image::tiny();
        image.directory(Path::new(place).parent().unwrap().to_str().unwrap());
        thing.make(&image.join(place));
        let outcome = outcome_in_time(command([image.path()]).arg("true"));
        outcome.fails(&[&format!("read the image's metadata in /{place}: {reason}"), "hint: "]);
    }
    let bundle = Scratch::new();
    bundle.directory("rootfs");
    for name in ["image.json", "config.json"] {
        Thing::HugeFile.make(&bundle.join(name));
        let outcome = outcome_in_time(command([bundle.path()]).arg("true"));
        outcome.fails(&[&format!("{name}: File too large")]);
        fs::remove_file(bundle.join(name)).unwrap();
    }
    for place in ["dev", "proc", "sys"] {
        let image = Image::tiny();
        fs::remove_dir(image.join(place)).unwrap();
        Thing::File.make(&image.join(place));
        let outcome = outcome_in_time(command([image.path()]).arg("true"));
        outcome.fails(&[&format!("cannot bind /{place}: Not a directory")]);
    }
}

#[test]
fn odd_names_are_there_after_all() {
    let names = ["a\nb", "\\012", "c d", "-x", "\u{1}", "caf\u{e9}"];
    in_every_way(|way| {
        let image = Image::tiny();
        for name in names {
            // Directories that mount points have to be made in, and those beside them.
            image.file(&format!("etc/{name}/file"), name);
            image.file(&format!("{name}/file"), name);
        }
        for name in names {
            for parent in ["", "/etc"] {
                let file = format!("{parent}/{name}/file");
                let bind = format!("--bind=/usr:{parent}/{name}/new");
                let command = &mut way.command([&bind, image.path().to_str().unwrap()]);
                let seen = outcome_in_time(command.args(["cat", &file])).ok();
                assert_eq!(seen, name, "{file:?}");
            }
        }
    });
}

/// A directory of 100,000 entries, in which mount points are missing.
fn crowd(directory: &Path, links: bool) {
    for number in 0..100_000 {
        let path = directory.join(format!("entry{number}"));
        match links {
            true => symlink("nowhere", path).unwrap(),
            false => drop(fs::File::create(path).unwrap()),
        }
    }
}

#[test]
fn a_crowded_directory_is_completed_or_named() {
    for (place, links) in [("etc", false), ("etc", true), ("", false)] {
        let image = Image::tiny();
        crowd(&image.join(place), links);
        for way in WAYS {
            let outcome = outcome_in_time(command(way).arg(image.path()).args([
                "probe",
                "kind",
                "/etc/hosts",
            ]));
            // Without overlay each file is a mount, and the kernel allows so many.
            if outcome.status == Some(0) {
                assert_eq!(outcome.ok(), "file\n");
            } else {
                assert!(!way.is_empty() && !links, "{outcome:?}");
                outcome.fails(&["cannot bind", "No space left on device", "hint: too many mounts"]);
            }
        }
    }
}

#[test]
fn links_by_the_thousand_end_somewhere() {
    let image = Image::tiny();
    // Each of three levels goes through the next eight times: 512 links in one path.
    for (name, next) in [("a", "b"), ("b", "c"), ("c", "d")] {
        image.link(name, &[next; 8].join("/"));
    }
    image.link("d", ".");
    fs::remove_dir(image.join("home")).unwrap();
    image.link("home", "a");
    for number in 0..60 {
        image.link(&format!("farm/l{number}"), &format!("l{}", number + 1));
    }
    fs::remove_file(image.join("etc/group")).unwrap();
    image.link("etc/group", "/farm/l0/group");
    let before = state(&[image.path()]);
    for way in WAYS {
        assert_fair(
            &outcome_in_time(command(way).arg(image.path()).arg("true")),
            "a farm of links",
        );
    }
    assert_eq!(state(&[image.path()]), before);
}

#[test]
fn variables_that_grow_and_grow_are_refused() {
    let doubled = |reference: &dyn Fn(usize) -> String| {
        let lines = (1..60).map(|number| format!("A{number}={0}:{0}\n", reference(number - 1)));
        "A0=0123456789\n".to_owned() + &lines.collect::<String>()
    };
    let charliecloud = Image::tiny();
    charliecloud.file("ch/environment", doubled(&|number| format!("$A{number}")));
    let singularity = Image::tiny();
    let script = doubled(&|number| format!("${{A{number}}}"));
    let script = script.replace('\n', "\"\n").replace('=', "=\"").replace("A", "export A");
    let script = script.replace("{export ", "{");
    singularity.file(".singularity.d/env/10-docker2singularity.sh", script);
    for image in [&charliecloud, &singularity] {
        let message = outcome_in_time(command([image.path()]).arg("true")).fails(&[
            "cannot set A2",
            "have become longer than 64 MiB",
            "from: image",
        ]);
        assert!(message.len() < 500, "{message}");
    }
    // What a user writes himself fares no other way.
    let scratch = Scratch::new();
    let file = scratch.file("a.env", doubled(&|number| format!("$A{number}")));
    let option = format!("--set-env={}", file.display());
    outcome_in_time(command([&option]).arg(Image::tiny().path()).arg("true"))
        .fails(&["cannot set A2", "a.env:2"]);
}

#[test]
fn large_files_of_an_image_are_read_in_time() {
    let image = Image::tiny();
    let lines = |line: &dyn Fn(usize) -> String| (0..300_000).map(line).collect::<String>();
    image.file("etc/passwd", lines(&|n| format!("user{n}:x:{}:1::/:\n", n + 30_000)));
    image.file("etc/group", lines(&|n| format!("group{n}:x:{}:\n", n + 30_000)));
    image.file("ch/environment", lines(&|n| format!("NAME{}=x\n", n % 1000)));
    in_every_way(|way| {
        let command = &mut way.command([image.path().to_str().unwrap(), "id", "-un"]);
        assert_eq!(outcome_in_time(command).ok(), format!("{}\n", tester().name));
    });
    image.file("ch/metadata.json", "[".repeat(1_000_000));
    outcome_in_time(command([image.path()]).arg("true")).fails(&["/ch/metadata.json"]);
}

#[test]
fn a_bundles_root_stays_in_the_bundle() {
    let scratch = Scratch::new();
    let beside = scratch.directory("beside");
    let bundle = scratch.directory("bundle");
    let configuration = |root: &str| {
        let root = serde_json::json!({"path": root});
        let spec = serde_json::json!({"ociVersion": "1.0.2", "root": root});
        scratch.file("bundle/config.json", spec.to_string());
    };
    symlink("/", bundle.join("everything")).unwrap();
    symlink(&beside, bundle.join("elsewhere")).unwrap();
    for (root, parts) in [
        ("/", &["this machine's own root directory"][..]),
        ("everything", &["this machine's own root directory"]),
        ("../../../../../../..", &["this machine's own root directory"]),
        ("../beside", &["outside of it", "hint: if that is the image, name it: hrun /"]),
        ("elsewhere", &["outside of it"]),
    ] {
        configuration(root);
        for options in [&[][..], &["--write"]] {
            let before = state(&[scratch.path()]);
            outcome_in_time(command(options).arg(&bundle).arg("true")).fails(parts);
            assert_eq!(state(&[scratch.path()]), before, "{root}");
        }
    }
    for root in ["/", "//", "/.", bundle.join("everything").to_str().unwrap()] {
        outcome_in_time(command([root]).arg("true")).fails(&["this machine's own root directory"]);
    }
}

/// A pipe that somebody holds open, and has written nothing or much to.
#[test]
fn nobody_waits_for_a_pipe_with_a_writer() {
    for written in [0, 40_000] {
        let image = Image::tiny();
        image.directory("ch");
        let pipe = image.join("ch/environment");
        Thing::Pipe.make(&pipe);
        let mut writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        writer.write_all(&vec![b'x'; written]).unwrap();
        let outcome = outcome_in_time(command([image.path()]).arg("true"));
        assert_fair(&outcome, "a pipe");
    }
}
