//! What hrun is started with: a umask, limits, and parts of the host that cannot be looked at.

use std::path::{Path, PathBuf};

use super::support::machine::OWN_ETC;
use super::support::scratch::chmod;
use super::support::{
    Image, Outcome, Scratch, Way, as_tester, bind, command, in_every_way, lacks, on_host, outcome,
    program, real, tester,
};

/// Runs hrun by a shell that does something before.
fn after(preparation: &str, words: &[&str]) -> Outcome {
    let mut shell = as_tester(Path::new("/bin/bash"));
    let script = format!("{preparation}; exec \"$@\"");
    shell.args(["-c", &script, "bash"]).arg(program("hrun")).args(words);
    outcome(&mut shell)
}

#[test]
fn what_hrun_makes_has_the_same_modes_under_every_umask() {
    let (image, data, layers) = (real("bookworm"), Scratch::new(), Scratch::new());
    data.file("note", "seen");
    let bind = bind(data.path(), ":/opt/made/for/this");
    let image = image.to_str().unwrap();
    let paths = "/ /etc/passwd /etc/group /opt/made /opt/made/for /tmp /home";
    let script = format!("stat -c '%a %n' {paths}; cat /opt/made/for/this/note /etc/passwd; umask");
    for (number, option) in ["", "--write-fake", "--overlay"].iter().enumerate() {
        let modes = |umask: &str| {
            let mut words = vec![bind.clone()];
            match *option {
                "" => {}
                "--overlay" => {
                    let layer = layers.join(format!("{number}-{umask}"));
                    words.push(format!("--overlay={}", layer.display()));
                }
                other => words.push(other.to_owned()),
            }
            words.extend([image, "sh", "-c", &script].map(str::to_owned));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut seen = after(&format!("umask {umask}"), &words).lines();
            assert_eq!(seen.pop().unwrap(), umask, "the command has the caller's");
            seen
        };
        let usual = modes("0022");
        assert_eq!(usual[..2], ["755 /", "444 /etc/passwd"], "{option}");
        for umask in ["0077", "0777", "0000"] {
            assert_eq!(modes(umask), usual, "umask {umask} {option}");
        }
    }
}

#[test]
fn a_limit_of_file_sizes_is_named() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    after("ulimit -f 0", &[image, "true"]).fails(&[
        "cannot write file",
        "File too large",
        "hint: a limit of file sizes",
        "ulimit -f",
    ]);
    // One that is high enough is the command's, and so is the signal.
    let bookworm = real("bookworm");
    let bookworm = bookworm.to_str().unwrap();
    let seen = after("ulimit -f 900", &[bookworm, "bash", "-c", "ulimit -f"]);
    assert_eq!(seen.ok(), "900\n");
    let ignored = "grep SigIgn /proc/self/status";
    let bookworm = real("bookworm");
    let bookworm = bookworm.to_str().unwrap();
    let seen =
        ["ulimit -f 900", ":"].map(|limit| after(limit, &[bookworm, "sh", "-c", ignored]).ok());
    assert_eq!(seen[0], seen[1]);
    // himage says the same of its own files.
    let mut himage = as_tester(Path::new("/bin/bash"));
    let out = Scratch::new();
    let script = "ulimit -f 0; exec \"$@\"";
    himage.args(["-c", script, "bash"]).arg(program("himage")).arg("-q").arg("convert");
    himage.arg(image).arg(out.join("x.tar"));
    let message = outcome(&mut himage);
    assert_eq!((message.status, message.signal), (Some(125), None), "{message:?}");
    assert!(message.stderr.contains("File too large"), "{}", message.stderr);
}

/// What is said without any option, and with `-q`.
#[track_caller]
fn warns(run: impl Fn(&[&str]) -> Outcome, parts: &[&str]) {
    let told = run(&[]);
    assert_eq!(told.status, Some(0), "{}", told.stderr);
    assert!(told.stderr.starts_with("hrun: warning: "), "{}", told.stderr);
    assert_eq!(told.stderr.lines().count(), 1, "{}", told.stderr);
    for part in parts {
        assert!(told.stderr.contains(part), "no '{part}' in {}", told.stderr);
    }
    run(&["--quiet"]).ok();
}

#[test]
fn a_home_that_cannot_be_looked_at_is_missed_aloud() {
    if lacks("root") {
        return;
    }
    let (image, closed) = (Image::tiny(), Scratch::new());
    let home = closed.directory("above/home");
    chmod(&closed.join("above"), 0);
    warns(
        |options| {
            let mut command = command(options);
            outcome(command.arg(image.path()).args(["/bin/probe", "id"]).env("HOME", &home))
        },
        &[home.to_str().unwrap(), "is not shown: Permission denied (default)"],
    );
    let endless = Scratch::new();
    let home = endless.join("loop");
    std::os::unix::fs::symlink("loop", &home).unwrap();
    warns(
        |options| {
            let mut command = command(options.iter().chain(&["--no-config"]));
            outcome(command.arg(image.path()).args(["/bin/probe", "id"]).env("HOME", &home))
        },
        &["is not shown: Too many"],
    );
}

#[test]
fn files_of_the_host_that_cannot_be_read_are_missed_aloud() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    for (change, parts) in [
        ("ln -sf resolv.conf /etc/resolv.conf", &["/etc/resolv.conf is not shown: Too many"][..]),
        ("ln -sf hosts /etc/hosts", &["/etc/hosts is not shown", "injector network"]),
        ("chmod 0 /etc/passwd", &["this host's /etc/passwd", "Permission denied"]),
        ("chmod 0 /etc/group", &["this host's /etc/group", "Permission denied"]),
    ] {
        let setup = format!("{OWN_ETC}; {change}");
        warns(|options| on_host(&setup, &Way(&[]).prober(image.path(), options, "id")), parts);
    }
    // Missing ones are not missed.
    let setup = format!("{OWN_ETC}; rm -f /etc/resolv.conf /etc/hosts /etc/machine-id");
    on_host(&setup, &Way(&[]).prober(image.path(), &[], "id")).ok();
}

#[test]
fn a_home_below_usr_is_shown() {
    if lacks("root") {
        return;
    }
    let home = PathBuf::from("/usr/local/games/tester");
    let uid = tester().uid;
    let setup = format!(
        "mount -t tmpfs homes /usr/local/games; cd /usr/local/games; mkdir tester; \
         echo mine > tester/note; chown -R {uid} tester; cd /"
    );
    for image in [real("bookworm"), real("musl")] {
        in_every_way(|way| {
            let mut see = way.command([&image]);
            see.args(["/bin/sh", "-c", "cd; pwd; cat note; echo new > new; ls"]);
            let seen = on_host(&setup, see.env("HOME", &home)).lines();
            assert_eq!(seen, [home.to_str().unwrap(), "mine", "new", "note"]);
        });
    }
    // What the image has there is not hidden.
    let image = Image::tiny();
    image.file("usr/local/games/tester/note", "the image's");
    warns(
        |options| {
            let mut command = Way(&[]).prober(image.path(), options, "id");
            on_host(&setup, command.env("HOME", &home))
        },
        &["home directory /usr/local/games/tester is not shown: the image has its own"],
    );
}

#[test]
fn without_proc_the_hint_names_it() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let command = Way(&[]).prober(image.path(), &[], "id");
    on_host("mount -t tmpfs none /proc", &command)
        .fails(&["cannot make user and mount namespaces", "hint: there is no /proc here"]);
}

#[test]
fn a_configuration_for_other_runtimes_says_what_it_lacks() {
    let (image, packed) =
        (real("bookworm"), super::support::session::images().join("bookworm.sqfs"));
    let see = |options: &[&str], image: &Path| {
        let mut command = command(["--dry-run=oci"]);
        outcome(command.args(options).arg(image).arg("true"))
    };
    let said = |outcome: Outcome, part: &str| {
        assert_eq!(outcome.status, Some(0));
        let words = outcome.stderr;
        assert!(words.starts_with("hrun: warning: ") && words.contains(part), "{words}");
    };
    see(&[], &image).ok();
    said(see(&["--write-fake"], &image), "no layer for what is written");
    said(see(&[], &packed), "himage convert IMAGE DIR");
    see(&["--quiet"], &packed).ok();
    assert!(see(&["-v"], &image).stderr.contains("note: runc takes no user namespace"));
    assert!(!see(&["-v", "--root"], &image).stderr.contains("runc takes"));
}
