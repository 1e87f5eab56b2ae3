//! Attempts to get out of a container, or at what is not the caller's (`tests/fakes/escapes.c`): each
//! fails inside, as the user and with --root, and fails on the bare host unless the user may do it there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::support::live::outcome_in_time;
use super::support::machine::{show, with_own_mounts};
use super::support::scratch::{chmod, copy_program};
use super::support::{Image, Live, Scratch, as_tester, command, lacks, outcome, program};

/// A row of the program's table.
struct Attempt {
    group: String,
    name: String,
    what: String,
    /// The user may do it outside.
    is_fine_outside: bool,
}

fn attempts() -> Vec<Attempt> {
    let lines = outcome(as_tester(&program("escapes")).arg("list")).lines();
    let attempt = |line: &String| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut field = || fields.next().unwrap();
        Attempt {
            group: field(),
            name: field(),
            what: field(),
            is_fine_outside: field() == "inside",
        }
    };
    lines.iter().map(attempt).collect()
}

/// The files and the process that attempts are made on.
struct Stage {
    outside: PathBuf,
    foreign: PathBuf,
    locked: PathBuf,
    _stranger: Live,
    stranger: String,
    _scratches: [Scratch; 2],
}

impl Stage {
    /// Sets it up in the present mount namespace.
    fn new() -> Self {
        // Hidden in the images of this test, which have a /home of their own.
        let (hidden, scratch) = (Scratch::below(Path::new("/home")), Scratch::new());
        let outside = hidden.file("outside", "of the host");
        let foreign = scratch.file("foreign", "of somebody else");
        chown(&foreign, Some(20002), Some(20002)).unwrap();
        chmod(&foreign, 0o600);
        let locked = scratch.directory("locked");
        show(&locked, &locked);
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount(None::<&str>, &locked, None::<&str>, flags, None::<&str>).unwrap();
        let stranger =
            Live::start(as_tester(&program("escapes")).arg("hold").env("OUTSIDE", &outside));
        assert_eq!(stranger.next_line(), "ready");
        let pid = stranger.pid().to_string();
        let scratches = [hidden, scratch];
        Stage {
            outside,
            foreign,
            locked,
            _stranger: stranger,
            stranger: pid,
            _scratches: scratches,
        }
    }

    /// Makes all attempts by a command; what came of each.
    #[track_caller]
    fn try_all(&self, command: &mut Command) -> BTreeMap<String, String> {
        command
            .env("OUTSIDE", &self.outside)
            .env("OUTSIDE_PID", &self.stranger)
            .env("FOREIGN", &self.foreign)
            .env("LOCKED", &self.locked);
        let split = |line: &String| {
            let (name, result) = line.split_once(' ').unwrap();
            (name.to_owned(), result.to_owned())
        };
        outcome_in_time(command).lines().iter().map(split).collect()
    }

    /// Options that show an image what the attempts need of the host.
    fn options(&self) -> [String; 3] {
        let binds = format!("--bind={},{}", self.locked.display(), self.foreign.display());
        ["--no-home".to_owned(), "--no-cwd".to_owned(), binds]
    }
}

fn image() -> Image {
    let image = Image::tiny();
    copy_program(&program("escapes"), &image.join("bin/escapes"));
    image
}

/// What the host looks like to everybody.
fn host() -> [Vec<u8>; 4] {
    let files = ["thread-self/mounts", "sys/kernel/hostname", "sys/kernel/core_pattern", "swaps"];
    files.map(|name| fs::read(format!("/proc/{name}")).unwrap())
}

#[test]
fn every_attempt_fails_inside() {
    if lacks("root") {
        return;
    }
    let attempts = attempts();
    assert!(attempts.len() >= 40, "{} attempts", attempts.len());
    let image = image();
    with_own_mounts(|| {
        let stage = Stage::new();
        let before = host();
        let bare = stage.try_all(as_tester(&program("escapes")).arg("try"));
        for more in [&[][..], &["--root"], &["--cap-keep=all"]] {
            let mut command = command(stage.options());
            let inside =
                stage.try_all(command.args(more).arg(image.path()).args(["escapes", "try"]));
            for Attempt { name, what, is_fine_outside, .. } in &attempts {
                let (bare, inside) = (&bare[name], &inside[name]);
                let refused = |result: &str| result.starts_with('E');
                assert!(refused(inside), "{more:?}: {what}: {inside}, and bare {bare}");
                assert!(*is_fine_outside || refused(bare), "bare: {what}: {bare}");
                // What the machine does not have is no test of hrun.
                if bare == "ENOSYS" || (bare == "ENOENT" && !is_fine_outside) {
                    assert_eq!(inside, bare, "{what}");
                }
            }
        }
        assert_eq!(host(), before);
        assert_eq!(fs::read(&stage.foreign).unwrap(), b"of somebody else");
    });
}

/// An attempt that no machine refuses shows that refusals are seen.
#[test]
fn what_the_host_allows_is_called_an_escape() {
    if lacks("root") {
        return;
    }
    with_own_mounts(|| {
        let bare = Stage::new().try_all(as_tester(&program("escapes")).arg("try"));
        for name in
            ["dotdot", "chroot_climb", "pivot_again", "proc_root", "trace_attach", "descriptors"]
        {
            let wanted = if name == "descriptors" { "EBADF" } else { "escaped" };
            assert_eq!(bare[name], wanted, "{name}");
        }
    });
}

#[test]
fn what_root_does_to_his_mounts_is_not_seen_outside() {
    if lacks("root") {
        return;
    }
    let (image, shared) = (image(), Scratch::new());
    let script = "busybox mount -t tmpfs over /proc && busybox mount -t tmpfs over /tmp && \
         busybox mount -o bind /etc $SHARED && echo x > /tmp/x && busybox umount -l /sys && echo done; \
         exec cat";
    with_own_mounts(|| {
        // As systemd has it: what is mounted anywhere is seen everywhere.
        super::support::machine::set_propagation("/", MsFlags::MS_SHARED);
        let before = host();
        let bind = format!("--bind={}", shared.path().display());
        let mut command = command(["--root", &bind, image.path().to_str().unwrap()]);
        let inside = command.args(["sh", "-c", script]).env("SHARED", shared.path());
        let mut inside = Live::start(inside);
        assert_eq!(inside.next_line(), "done");
        assert_eq!(host(), before);
        assert!(fs::read_dir(shared.path()).unwrap().next().is_none());
        inside.say("");
        inside.wait();
        assert_eq!(host(), before);
    });
}

/// The line of docs/security.md below which the list stands.
const MARK: &str = "<!-- What follows is written by tests/escapes.rs. -->\n";

#[test]
fn the_list_of_attempts_is_in_the_documents() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let text = fs::read_to_string(&file).unwrap();
    let (prose, found) = text.split_once(MARK).expect("docs/security.md has a place for the list");
    let mut list = String::new();
    let mut group = String::new();
    for attempt in attempts() {
        if attempt.group != group {
            list.push_str(&format!("\n### {}\n\n", attempt.group));
            group = attempt.group;
        }
        let note = if attempt.is_fine_outside { " (inside only)" } else { "" };
        list.push_str(&format!("* {}{note}\n", attempt.what));
    }
    if std::env::var_os("HRUN_UPDATE").is_some() {
        fs::write(&file, format!("{prose}{MARK}{list}")).unwrap();
    } else {
        assert_eq!(found, list, "HRUN_UPDATE=1 cargo test escapes writes it anew");
    }
}
