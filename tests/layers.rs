//! What the command may write to: nothing of the image; the image (`--write`); a layer in memory
//! (`--write-fake`); a layer that is kept (`--overlay`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::support::scratch::{chmod, fingerprint};
use super::support::{
    Image, Scratch, Way, bind, hrun, in_every_way, lacks, on_host, outcome, probe, real, tester,
};

/// The ways of making mounts that leave overlay to be used.
const WITH_OVERLAY: [Way; 3] = [
    Way(&[]),
    Way(&["--assume-missing=mount-setattr"]),
    Way(&["--assume-missing=mount-setattr,pivot-root"]),
];

/// Changes to every kind of place: the root, directories of the image, and those hrun made.
const CHANGES: [&str; 9] = [
    "write /new x",
    "mkdir /new",
    "write /etc/new x",
    "write /etc/app.conf x",
    "unlink /etc/app.conf",
    "write /bin/sh x",
    "mkdir /opt/new",
    "write /home/new x",
    "mkdir /var/new",
];

fn image_of_the_tester() -> Image {
    let image = Image::tiny();
    image.file("etc/app.conf", "the image's");
    image
}

#[test]
fn the_image_is_read_only_even_for_its_owner() {
    let image = image_of_the_tester();
    let before = fingerprint(image.path());
    in_every_way(|way| {
        for change in CHANGES {
            way.probe(image.path(), &[], change).refused("EROFS");
            way.probe(image.path(), &["--root"], change).refused("EROFS");
        }
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn the_image_is_read_only_where_nothing_is_missing() {
    let image = image_of_the_tester();
    for file in ["etc/hosts", "etc/resolv.conf", "etc/machine-id", "etc/localtime"] {
        image.file(file, "");
    }
    image.directory(tester().home.to_str().unwrap().trim_start_matches('/'));
    let before = fingerprint(image.path());
    in_every_way(|way| {
        for change in CHANGES {
            way.probe(image.path(), &[], change).refused("EROFS");
        }
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn files_that_hrun_writes_are_read_only() {
    let image = image_of_the_tester();
    in_every_way(|way| {
        for file in ["/etc/passwd", "/etc/group"] {
            let outcome = way.probe(image.path(), &[], &format!("write {file} x"));
            assert!(matches!(&*outcome.stdout, "EACCES\n" | "EROFS\n"), "{outcome:?}");
        }
    });
}

#[test]
fn no_run_changes_an_image() {
    let (tiny, musl) = (image_of_the_tester(), real("musl"));
    let data = Scratch::new();
    let options = ["--contain", "--root", &bind(data.path(), ":/new/place")];
    for (image, layer) in [(tiny.path(), "tiny"), (&musl, "musl")] {
        let before = fingerprint(image);
        in_every_way(|way| {
            for options in [&[], &options[..1], &options[1..2], &options[2..], &options] {
                let words = [image.to_str().unwrap(), "/bin/true"];
                way.hrun(options.iter().chain(&words)).ok();
            }
        });
        for option in ["--write-fake", &format!("--overlay={}", data.join(layer).display())] {
            hrun([option, image.to_str().unwrap(), "/bin/true"]).ok();
        }
        assert_eq!(fingerprint(image), before);
    }
}

#[test]
fn write_changes_the_users_own_image() {
    in_every_way(|way| {
        for option in ["--write", "-w"] {
            let image = image_of_the_tester();
            let see = |words: &str| way.probe(image.path(), &[option], words).ok();
            see("write /etc/app.conf ,more");
            see("mkdir /opt/new");
            see("unlink /bin/kill");
            assert_eq!(fs::read_to_string(image.join("etc/app.conf")).unwrap(), "the image's,more");
            assert_eq!(fs::metadata(image.join("opt/new")).unwrap().uid(), tester().uid);
            assert!(!image.join("bin/kill").is_symlink());
        }
    });
}

#[test]
fn write_makes_missing_mount_points_in_the_image() {
    let data = Scratch::new();
    let note = data.file("note", "from the host");
    in_every_way(|way| {
        let image = Image::bare();
        let options = ["-w", &bind(data.path(), ":/a/b"), &bind(&note, ":/a/c/note")];
        // The second run finds them.
        for _ in 0..2 {
            assert_eq!(way.probe(image.path(), &options, "cat /a/b/note").ok(), "from the host");
            assert_eq!(way.probe(image.path(), &options, "cat /a/c/note").ok(), "from the host");
        }
        assert!(image.join("a/b").is_dir() && image.join("proc").is_dir());
        assert_eq!(fs::read(image.join("a/c/note")).unwrap(), b"", "only the mount point");
        assert_eq!(fs::read_dir(image.join("a/b")).unwrap().count(), 0);
    });
}

#[test]
fn write_to_somebody_elses_image_is_explained() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny().closed();
    let before = fingerprint(image.path());
    in_every_way(|way| {
        way.probe(image.path(), &["-w"], "cwd").fails(&[
            "cannot make ",
            "Permission denied",
            "hint: --write makes missing mount points in the image",
            "--write-fake",
        ]);
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn write_to_somebody_elses_image_fails_in_the_command_where_nothing_is_missing() {
    if lacks("root") {
        return;
    }
    let image = image_of_the_tester();
    for file in ["etc/hosts", "etc/resolv.conf", "etc/machine-id", "etc/localtime"] {
        image.file(file, "");
    }
    let image = image.closed();
    in_every_way(|way| {
        let options = ["-w", "--no-home", "--no-cwd"];
        way.probe(image.path(), &options, "write /etc/app.conf x").refused("EACCES");
        way.probe(image.path(), &options, "mkdir /opt/new").refused("EACCES");
    });
}

#[test]
fn write_to_a_read_only_file_system_is_explained() {
    if lacks("root") {
        return;
    }
    let image = image_of_the_tester();
    let path = image.path().display();
    let setup = format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}");
    in_every_way(|way| {
        let command = way.prober(image.path(), &["-w"], "cwd");
        on_host(&setup, &command).fails(&["Read-only file system", "hint: ", "--write-fake"]);
    });
}

/// A shell script in an image, as words of a command line.
fn script<'a>(option: &'a str, image: &'a Path, script: &'a str) -> [&'a str; 5] {
    [option, image.to_str().unwrap(), "/bin/sh", "-c", script]
}

#[test]
fn a_fake_layer_takes_every_change_and_forgets_it() {
    let image = image_of_the_tester();
    let before = fingerprint(image.path());
    let changes = "echo more >> /etc/app.conf && cat /etc/app.conf && busybox rm -r /opt && \
                   busybox mkdir -p /opt/new /deep/er && echo x > /deep/er/x && busybox rm /bin/id \
                   && busybox mv /bin/env /bin/env2 && ls / /opt";
    for way in WITH_OVERLAY {
        for option in ["-W", "-W=4m", "--write-fake", "--write-fake=10%", "--writable-tmpfs"] {
            let seen = way.hrun(script(option, image.path(), &format!("cd / && {changes}"))).ok();
            assert!(seen.starts_with("the image'smore\n"), "{option}: {seen}");
            assert!(
                seen.contains("\ndeep\n") && seen.ends_with("/opt:\nnew\n"),
                "{option}: {seen}"
            );
            assert_eq!(way.probe(image.path(), &[option], "kind /deep").ok(), "missing\n");
        }
    }
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn a_fake_layer_is_no_larger_than_asked_for() {
    let image = image_of_the_tester();
    let fill = "busybox dd if=/dev/zero of=/big bs=64k count=32 2>&1";
    let full = hrun(script("-W=1m", image.path(), fill));
    assert_eq!(full.status, Some(1));
    assert!(full.stdout.contains("No space left on device"), "{full:?}");
    hrun(script("-W=4m", image.path(), fill)).ok();
    hrun(script("-W", image.path(), fill)).ok();
}

#[test]
fn what_is_no_size_is_refused() {
    let image = image_of_the_tester();
    for size in ["", "big", "0", "0m", "4mm", "4t", "-1", "4m,mode=777", "m", "1.5g"] {
        for option in ["--write-fake", "--private-tmp"] {
            let option = format!("{option}={size}");
            let part = format!("'{size}' is not a size such as 512m, 2g or 10%");
            probe(image.path(), &[&option], "cwd").fails(&[&part, "from: "]);
        }
    }
}

#[test]
fn a_fake_layer_shows_modes_as_the_image_has_them() {
    let image = image_of_the_tester();
    chmod(&image.join("opt"), 0o750);
    let mode = |path: &str, option: &str| {
        let owner = probe(image.path(), &[option], &format!("owner {path}")).ok();
        owner.trim_end().rsplit(' ').next().unwrap().to_owned()
    };
    let layer = Scratch::new();
    for option in ["-W", &format!("--overlay={}", layer.path().display())] {
        assert_eq!(mode("/", option), "755");
        assert_eq!(mode("/opt", option), "750");
        assert_eq!(mode("/etc", option), "755");
        assert_eq!(mode("/var", option), "755");
    }
}

#[test]
fn a_fake_layer_on_an_image_of_root_takes_files() {
    if lacks("root") {
        return;
    }
    let tiny = image_of_the_tester().closed();
    let touch = "echo x > /var/x && cat /var/x && echo y > /y && cat /y";
    for image in [tiny.path(), &real("bookworm")] {
        for way in WITH_OVERLAY {
            assert_eq!(way.hrun(script("-W", image, touch)).ok(), "x\ny\n");
        }
    }
}

#[test]
fn a_fake_layer_has_destinations_the_image_lacks() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::bare().closed(), Scratch::new());
    data.file("note", "from the host");
    for way in WITH_OVERLAY {
        let options = ["-W", &bind(data.path(), ":/a/b:ro"), &bind(data.path(), ":/a/b/c")];
        let see = |words: &str| way.probe(image.path(), &options, words);
        assert_eq!(see("cat /a/b/note").ok(), "from the host");
        assert_eq!(see("cat /a/b/c/note").ok(), "from the host");
        see("write /a/b/new x").refused("EROFS");
        assert_eq!(see("write /new x").ok(), "ok\n");
        assert_eq!(see("kind /proc/self/status").ok(), "file\n");
    }
}

#[test]
fn a_layer_needs_overlay_and_says_so() {
    let (image, layer) = (image_of_the_tester(), Scratch::new());
    for option in ["-W", &format!("--overlay={}/new", layer.path().display())] {
        let options = ["--assume-missing=overlay", option];
        probe(image.path(), &options, "cwd").fails(&[
            "cannot write to a layer over the image",
            "--assume-missing=overlay takes away what it needs",
            &format!("from: {}", option.replace("-W", "--write-fake").replace('=', " ")),
            "hint: ",
            "--write",
        ]);
    }
    assert!(!layer.join("new").exists());
}

#[test]
fn only_one_place_for_changes_can_be_asked_for() {
    let image = image_of_the_tester();
    for (first, second, parts) in [
        ("-w", "-W", ["cannot use --write-fake", "it contradicts --write"]),
        ("-W=1m", "-w", ["cannot use --write", "it contradicts --write-fake=1m"]),
        ("--overlay=/x", "-w", ["cannot use --write", "it contradicts --overlay /x"]),
        ("-W", "--overlay=/x", ["cannot use --overlay /x", "it contradicts --write-fake"]),
    ] {
        let message = probe(image.path(), &[first, second], "cwd").fails(&parts);
        assert!(message.contains("hint: give one of --write, --write-fake and --overlay"));
    }
    // Given twice, the last counts.
    probe(image.path(), &["-W=1m", "-W=2m"], "write /x x").ok();
}

#[test]
fn the_command_line_wins_over_the_variable() {
    let image = image_of_the_tester();
    let mut command = Way(&["-W"]).prober(image.path(), &[], "write /new x");
    outcome(command.env("HRUN_WRITE", "1")).ok();
    assert!(!image.join("new").exists());
    let mut command = Way(&[]).prober(image.path(), &[], "write /new x");
    outcome(command.env("HRUN_WRITE", "1")).ok();
    assert!(image.join("new").exists());
}
