//! Callers with something odd: where they are, who they are, what rights hrun would have.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::run::outcome;
use super::support::scratch::copy_program;
use super::support::{
    Image, Outcome, Scratch, WAYS, as_tester, command, hrun_in, lacks, probe, program, real, tester,
};

#[test]
fn a_current_directory_that_was_removed() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    scratch.directory("gone");
    let script = "cd gone && rmdir ../gone && exec \"$@\"";
    let mut shell = as_tester(Path::new("/bin/sh"));
    shell.current_dir(scratch.path()).args(["-c", script, "sh"]).arg(program("hrun"));
    let message = outcome(shell.arg(image.path()).arg("true"))
        .fails(&["cannot find the current directory: No such file or directory"]);
    assert!(message.contains("cd to another directory"), "{message}");
}

#[test]
fn every_current_directory_will_do() {
    let image = Image::tiny();
    image.directory("srv");
    let image = image.path().to_str().unwrap();
    for directory in ["/", "/usr", "/etc", "/proc/self", "/sys", "/dev/shm", "/tmp", "/srv", image]
    {
        for way in WAYS {
            let words = way.iter().copied().chain([image, "probe", "id"]);
            let found = hrun_in(directory.as_ref(), words);
            let is_images = ["/usr", "/etc"].contains(&directory);
            assert_eq!(found.status, Some(0), "{directory} {way:?}: {}", found.stderr);
            assert_eq!(found.stderr.contains("of the image"), is_images, "{}", found.stderr);
            assert_eq!(found.stderr.is_empty(), !is_images, "{}", found.stderr);
        }
    }
}

/// What `su` and `sudo -u` do from root's home directory.
#[test]
fn a_current_directory_that_is_closed() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    for way in WAYS {
        let mut command = command(way);
        command.arg(image.path()).args(["sh", "-c", "exit 0"]).current_dir("/home/other");
        outcome(&mut command).fails(&["cannot start in /home/other", "choose another with --cd"]);
    }
}

/// Runs with a `HOME` from a directory that is not shown inside.
fn runs_with_home(home: &str) {
    let image = Image::tiny();
    for way in WAYS {
        let mut command = command(way);
        command.arg("--no-cwd").arg(image.path()).args(["probe", "id"]);
        command.env("HOME", home).current_dir("/usr");
        let found = outcome(&mut command);
        assert_eq!((found.status, found.stderr.as_str()), (Some(0), ""), "HOME={home} {way:?}");
    }
}

#[test]
fn a_home_that_is_missing_or_odd() {
    let file = Scratch::new().file("file", "");
    for home in ["/nowhere/home", "relative", "", "/", "/proc", file.to_str().unwrap()] {
        runs_with_home(home);
    }
}

/// What a job sees that has no Kerberos ticket for the file server.
#[test]
fn a_home_that_is_closed() {
    runs_with_home("/home/other");
}

#[test]
fn an_environment_with_nothing_in_it() {
    let image = Image::tiny();
    for way in WAYS {
        let mut command = command(way);
        command.arg(image.path()).args(["probe", "env"]);
        let variables = outcome(command.env_clear().env("PATH", "/usr/bin:/bin")).items();
        assert!(variables.contains(&"HRUN_RUNNING=1".to_owned()), "{variables:?}");
    }
    let mut shell = as_tester(Path::new("/usr/bin/env"));
    shell.arg("-i").arg(program("hrun")).arg(image.path()).args(["probe", "id"]);
    assert_eq!(outcome(&mut shell).lines()[0], format!("uid {}", tester().uid));
}

/// A command that becomes `hrun` as a user who is in no database, without any variable.
fn as_nobody_known() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54322", "--clear-groups", "--inh-caps=-all", "--"]);
    command.arg(program("hrun")).env_clear().current_dir("/").stdin(Stdio::null());
    command
}

#[test]
fn a_user_without_an_entry_in_passwd() {
    if lacks("root") {
        return;
    }
    let image = real("bookworm");
    for way in WAYS {
        let mut command = as_nobody_known();
        let script = "id -u; id -g; id -un; echo ~; cd; pwd";
        let lines = outcome(command.args(way).arg(&image).args(["sh", "-c", script])).lines();
        assert_eq!(lines[..2], ["54321", "54322"], "{lines:?}");
    }
}

#[test]
fn standard_output_that_takes_nothing() {
    for option in ["--help", "--version", "--doctor", "--doctor=json"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command([option]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        Outcome::new(output.wait_with_output().unwrap())
            .fails(&["cannot write to standard output: ", "No space left on device"]);
    }
}

/// A copy of hrun that belongs to root, on a file system that honours its mode.
fn privileged_copy(scratch: &Scratch, mode: u32) -> PathBuf {
    let copy = scratch.join("hrun");
    copy_program(&program("hrun"), &copy);
    chown(&copy, Some(0), Some(0)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
    copy
}

#[test]
fn setuid_and_setgid_copies_are_refused() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    for mode in [0o4755, 0o2755, 0o6755] {
        let scratch = Scratch::new();
        let copy = privileged_copy(&scratch, mode);
        for words in [&["true"][..], &["--doctor"], &["--dry-run"]] {
            let mut command = as_tester(&copy);
            let message = match words[0].starts_with("--") {
                true => outcome(command.args(words).arg(image.path()).arg("true")),
                false => outcome(command.arg(image.path()).args(words)),
            }
            .fails(&["setuid, setgid or with file capabilities"]);
            assert!(message.contains("chmod u-s,g-s"), "{message}");
        }
    }
    let scratch = Scratch::new();
    let copy = privileged_copy(&scratch, 0o755);
    outcome(as_tester(&copy).arg(image.path()).arg("true")).ok();
}

#[test]
fn a_copy_with_file_capabilities_is_refused() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    for set in ["cap_net_raw=ep", "cap_sys_admin=p", "cap_setuid,cap_dac_override=ep"] {
        let scratch = Scratch::new();
        let copy = privileged_copy(&scratch, 0o755);
        let given = Command::new("setcap").arg(set).arg(&copy).status();
        assert!(given.unwrap().success());
        let message = outcome(as_tester(&copy).arg(image.path()).arg("true"))
            .fails(&["setuid, setgid or with file capabilities"]);
        assert!(message.contains("setcap -r"), "{message}");
    }
}

const NO_CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"];

#[test]
fn real_root_may_use_it_and_gets_no_capabilities() {
    if lacks("root") {
        return;
    }
    let image = real("bookworm");
    for way in WAYS {
        let start = || {
            let mut command = Command::new(program("hrun"));
            command.env_clear().env("HOME", "/root").env("PATH", "/usr/bin:/bin").current_dir("/");
            command.args(way).arg(&image);
            command
        };
        assert_eq!(outcome(start().args(["id", "-u"])).ok(), "0\n");
        let status = outcome(start().args(["grep", "-E", "^Cap|NoNewPrivs", "/proc/self/status"]));
        for line in status.lines() {
            let (name, value) = line.split_once(":\t").unwrap();
            let expected = if name == "NoNewPrivs" { "1" } else { "0000000000000000" };
            assert_eq!(value, expected, "{name}");
        }
    }
}

#[test]
fn the_command_has_no_capabilities() {
    let image = Image::tiny();
    for options in [&[][..], &["--uid=0"], &["--uid=0", "--gid=0"], &["--uid=1234"]] {
        let fields = NO_CAPABILITIES[..4].join(" ");
        for line in probe(image.path(), options, &format!("status {fields} NoNewPrivs")).lines() {
            let expected = if line.starts_with("NoNew") { "NoNewPrivs:1" } else { &line[..7] };
            assert_eq!(line.trim_end_matches('0'), expected, "{options:?}");
        }
    }
}

#[test]
fn hrun_runs_inside_hrun() {
    let (image, inner) = (Image::tiny(), Image::tiny());
    copy_program(&program("hrun"), &image.join("bin/hrun"));
    for outer_way in WAYS {
        for inner_way in WAYS {
            let mut command = command(outer_way);
            command.arg(image.path()).arg("hrun").args(inner_way).arg(inner.path());
            let lines = outcome(command.args(["probe", "id"])).lines();
            assert_eq!(lines[0], format!("uid {}", tester().uid));
        }
    }
}
