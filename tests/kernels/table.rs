//! What depends on the kernel, tried on those of four releases of Debian in several configurations:
//! every cell of docs/kernels.md is as `rows.rs` has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::boot;
use super::rows::{CHECKS, CONFIGURATIONS, Cell, Place, Row, SUITES, has_little_of_v1};
use crate::support::scratch::copy_program;
use crate::support::{Scratch, lacks, outcome, program, real};

/// What a boot has printed: the lines of checks, by configuration and check, and of the machine.
type Lines = BTreeMap<(String, String), String>;

/// hrun, an image as a directory and packed, and the scripts.
fn payload() -> Scratch {
    const APPLETS: [&str; 11] = [
        "awk", "chown", "dd", "mount", "nproc", "readlink", "rm", "sed", "sha1sum", "sleep",
        "umount",
    ];
    let payload = Scratch::new();
    let image = payload.join("image");
    outcome(Command::new("cp").arg("-a").args([&real("musl"), &image])).ok();
    for name in ["escapes", "calls"] {
        copy_program(&program(name), &image.join("bin").join(name));
    }
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", image.join("bin").join(applet)).unwrap();
    }
    let mut pack = Command::new("mksquashfs");
    pack.arg(&image).arg(payload.join("image.sqfs"));
    outcome(pack.args(["-quiet", "-no-progress", "-all-root"])).ok();
    for name in ["hrun", "old", "docker-seccomp.json"] {
        copy_program(&program(name), &payload.join(name));
    }
    payload.file("data/note", "from the host\n");
    for name in ["test.sh", "checks.sh"] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(name);
        payload.file(name, fs::read(script).unwrap());
    }
    payload
}

/// Boots the kernel of a release with control groups of a version, and makes all checks.
#[track_caller]
fn lines(suite: &str, groups: &str, payload: &Scratch) -> Lines {
    let variables = [("VM_GROUPS", groups), ("VM_ROOT", "overlay"), ("VM_SECONDS", "290")];
    let text = boot(suite, &variables, payload, None);
    println!("{suite}, version {groups}:\n{text}");
    // The kernel's own lines have no tabs.
    let rows = text.lines().filter_map(|line| line.split_once('\t'));
    let cells = rows.filter_map(|(configuration, row)| {
        let (check, said) = row.split_once('\t')?;
        Some(((configuration.to_owned(), check.to_owned()), said.to_owned()))
    });
    cells.collect()
}

/// What is not as it should be of the checks of a configuration.
fn faults(place: Place, lines: &Lines) -> Vec<String> {
    let mut faults = Vec::new();
    let expected = CHECKS.iter().filter_map(|(name, _)| Some((*name, Row::of(name, place)?)));
    for (name, row) in expected.clone() {
        match lines.get(&(place.configuration.to_owned(), name.to_owned())) {
            Some(said) if is_like(row.line, said) => {}
            said => faults.push(format!("{place:?}, {name}:\n{said:?}\nis not\n{}\n", row.line)),
        }
    }
    let names: BTreeSet<&str> = expected.map(|(name, _)| name).collect();
    let made = lines.keys().filter(|(of, _)| of == place.configuration).map(|(_, name)| name);
    let unknown = made.filter(|name| !names.contains(name.as_str()));
    faults.extend(unknown.map(|name| format!("{place:?}, {name}: not in the table")));
    faults
}

/// Whether a text is that of a pattern, in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| is_like(rest, &text[at..]))
}

#[test]
#[ignore = "boots virtual machines: make test-kernels"]
fn every_cell_is_as_it_is_documented() {
    if lacks("qemu") {
        return;
    }
    let payload = payload();
    let (mut releases, mut found) = (Vec::new(), Vec::new());
    for (suite, _) in SUITES {
        let [new, old] = ["2", "1"].map(|groups| lines(suite, groups, &payload));
        let of_machine =
            |lines: &Lines, name: &str| lines[&("machine".to_owned(), name.to_owned())].clone();
        assert_eq!(of_machine(&new, "root"), "794c7630", "the root directory is on an overlay");
        assert_eq!(of_machine(&new, "hidden"), "yes", "hidepid is in force");
        let has_little = has_little_of_v1(suite);
        let controllers = if has_little { "cpu pids" } else { "cpu cpuset memory pids" };
        assert_eq!(of_machine(&old, "groups"), controllers);
        for (configuration, _) in CONFIGURATIONS {
            let lines = if configuration == "v1" { &old } else { &new };
            found.extend(faults(Place { suite, configuration }, lines));
        }
        releases.push(of_machine(&new, "release"));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    if std::env::var_os("HRUN_UPDATE").is_some() {
        fs::write(file(), document(&releases)).unwrap();
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kernels.md")
}

/// Releases of kernels differ with the day on which they are fetched; all else must not.
#[test]
fn the_document_is_what_was_seen() {
    let found = fs::read_to_string(file()).expect("HRUN_UPDATE=1 make test-kernels writes it");
    let releases: Vec<String> = SUITES
        .iter()
        .map(|(suite, _)| {
            let row = found.lines().find(|line| line.starts_with(&format!("| {suite} | ")));
            row.unwrap().split(" | ").nth(1).unwrap().to_owned()
        })
        .collect();
    assert_eq!(found, document(&releases), "HRUN_UPDATE=1 make test-kernels writes it anew");
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    assert!(fs::read_to_string(map).unwrap().contains("(kernels.md)"), "it is linked");
}

#[test]
fn every_check_works_somewhere() {
    for (name, _) in CHECKS {
        let places = SUITES.iter().flat_map(|(suite, _)| {
            CONFIGURATIONS.map(|(configuration, _)| Place { suite, configuration })
        });
        let cells = places.filter_map(|place| Row::of(name, place)).map(|row| row.cell);
        assert!(cells.into_iter().any(|cell| !matches!(cell, Cell::Refused)), "{name}");
    }
}

/// The document, for kernels of these releases.
fn document(releases: &[String]) -> String {
    let mut text = START.to_owned();
    writeln!(text, "| Debian | Linux | |\n|---|---|---|").unwrap();
    for ((suite, why), release) in SUITES.iter().zip(releases) {
        writeln!(text, "| {suite} | {release} | {why} |").unwrap();
    }
    text.push_str(MIDDLE);
    let mut notes: Vec<String> = Vec::new();
    for (configuration, title) in CONFIGURATIONS {
        writeln!(
            text,
            "## {title}\n\n| |{}",
            SUITES.map(|(suite, _)| format!(" {suite} |")).concat()
        )
        .unwrap();
        writeln!(text, "|---|{}", "---|".repeat(SUITES.len())).unwrap();
        for (name, what) in CHECKS {
            let rows = SUITES.map(|(suite, _)| Row::of(name, Place { suite, configuration }));
            // What is not tried in a configuration is no row of it.
            if rows.iter().all(Option::is_some) {
                let cells = rows.into_iter().flatten().map(|row| cell(row, &mut notes));
                writeln!(text, "| {what} | {} |", cells.collect::<Vec<_>>().join(" | ")).unwrap();
            }
        }
        text.push('\n');
    }
    text.push_str("## Why\n\n");
    for (index, note) in notes.iter().enumerate() {
        writeln!(text, "{}. {note}", index + 1).unwrap();
    }
    text
}

/// What a table says, with the number of its note.
fn cell(row: &Row, notes: &mut Vec<String>) -> String {
    let (word, note) = match row.cell {
        Cell::Works => return "works".to_owned(),
        Cell::Otherwise(word, note) => (word, note.to_owned()),
        Cell::Refused => {
            let words = row.line.split('|').filter(|line| !line.starts_with("from: "));
            let words = words.take_while(|line| !line.contains("status "));
            let words: Vec<String> = words.map(|line| line.replace('*', "…")).collect();
            ("refused", format!("`{}`, with status 125.", words.join("` `")))
        }
    };
    let index = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    format!("{word} ({})", index + 1)
}

const START: &str = "\
# Kernels

Written by `make test-kernels` (`tests/kernels/`), which boots Debian's kernels in virtual machines and tries
every cell as an ordinary user: what a check prints is what `tests/kernels/rows.rs` says, or the run fails.
With `HRUN_UPDATE=1` it writes this page anew.

";

const MIDDLE: &str = "
Nobody has run hrun on Red Hat's 4.18 (RHEL 8) yet: that kernel is not to be had here. What it lacks is taken away from
newer ones by a filter of system calls, so the ways hrun has without them are seen to work; the kernel itself is not
seen. The rest of the machine: a root directory on a file system of its own, `/dev/fuse` open to everybody, the module
overlay loaded, an image that belongs to another user, and one of the user's own where it is written to.

* **works**: the same on every kernel. A directory is shown with a writable and a read-only bind where the image has
  nothing. A packed image shows the same, the bytes of a program are those of the original, and nothing is
  left of its server. Ranks of a step are in one set of namespaces, and the second opens the memory of the first. With `--pid`
  there is an init, status and signals are the command's, and SIGTERM comes once. Limits are what the kernel has for the
  command; who takes more memory is killed. Docker's profile forbids what it should and nothing else. Root
  mounts, and gives files away only with `fakeroot`. Layers take changes and keep them. A container is
  listed, and joined with its environment, directory and mounts. Every attempt of [security.md](security.md) to get out fails, as the user,
  with `--root` and with all capabilities. Then no process, group, mount or file is left.
* Anything else has a number, and an explanation below.

The configurations are: control groups of version 2 with a group that is the user's, and of version 1, each as
[limits.md](limits.md) tells administrators to hand them over; every system call newer than Linux 4.18 failing with `ENOSYS`,
mount_setattr(2), openat2(2), clone3(2), close_range(2) and pidfd_open(2) among them, as under an old filter; `/proc` mounted with
`hidepid=2`; and user namespaces switched off in two ways. Debian's setting for that, `kernel.unprivileged_userns_clone`, is in all
these kernels.

";
