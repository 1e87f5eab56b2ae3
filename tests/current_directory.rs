//! Where the command starts: what it writes by relative names lands in the current directory, or
//! hrun says where, or nothing starts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use super::packed::Packed;
use super::support::scratch::{chmod, fingerprint};
use super::support::{
    Image, Live, Outcome, Scratch, Way, bind, command, hrun_in, in_every_way, lacks, outcome,
    tester,
};

/// Runs the probe from a directory of the host.
fn from(directory: &Path, way: Way, image: &Path, options: &[&str], words: &str) -> Outcome {
    outcome(way.prober(image, options, words).current_dir(directory))
}

/// Asserts that a run from a directory succeeds with one warning; gives back what it printed.
#[track_caller]
fn warned(outcome: Outcome, parts: &[&str]) -> String {
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("hrun: warning: ").count(), 1, "{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "no '{part}' in: {}", outcome.stderr);
    }
    outcome.stdout
}

/// A path in an image: without the slash in front.
fn inside(path: &Path) -> &str {
    path.to_str().unwrap().trim_start_matches('/')
}

#[test]
fn nothing_starts_where_a_bind_lacks_the_current_directory() {
    let (image, data) = (Image::tiny(), Scratch::new());
    for around in [Scratch::elsewhere(), Scratch::below(Path::new("/tmp"))] {
        let here = around.directory("deep/job");
        let option = bind(data.path(), &format!(":{}", around.path().display()));
        in_every_way(|way| {
            from(&here, way, image.path(), &[&option], "write out x").fails(&[
                &format!("cannot start in the current directory, {}: ", here.display()),
                &format!("{} inside is {} of", around.path().display(), data.path().display()),
                "the host, which has no deep/job",
                "from: --bind ",
                &format!("--bind {}:/work --cd /work", here.display()),
            ]);
            // What the hint says works.
            let options = [&*option, &bind(&here, ":/work"), "--cd=/work"];
            from(&here, way, image.path(), &options, "write out x").ok();
            assert_eq!(fs::read(here.join("out")).unwrap(), b"x");
            from(&here, way, image.path(), &[&option, "--cd=/opt"], "cwd").ok();
            from(&here, way, image.path(), &[&option, "--no-cwd"], "cwd").ok();
            fs::remove_file(here.join("out")).unwrap();
        });
    }
    assert!(!tester().home.join("out").exists());
}

#[test]
fn nothing_starts_below_a_tmp_that_is_another_directory() {
    let (image, data, here) = (Image::tiny(), Scratch::new(), Scratch::below(Path::new("/tmp")));
    let option = bind(data.path(), ":/tmp");
    in_every_way(|way| {
        from(here.path(), way, image.path(), &[&option], "cwd").fails(&[
            "/tmp inside is ",
            "from: --bind ",
            "--cd /work",
        ]);
        // It lies there as well.
        data.directory(here.path().file_name().unwrap().to_str().unwrap());
        let seen = from(here.path(), way, image.path(), &[&option], "cwd");
        let said = format!(
            "starts in {} inside, which is {}",
            here.path().display(),
            data.path().display()
        );
        assert_eq!(warned(seen, &[&said]), format!("{}\n", here.path().display()));
        fs::remove_dir(data.join(here.path().file_name().unwrap())).unwrap();
    });
}

#[test]
fn a_read_only_bind_around_it_is_respected() {
    let (image, around) = (Image::tiny(), Scratch::elsewhere());
    let here = around.directory("deep");
    let option = bind(around.path(), ":");
    let option =
        option.trim_end_matches(':').to_owned() + &format!(":{}:ro", around.path().display());
    in_every_way(|way| {
        let seen = from(&here, way, image.path(), &[&option], "cwd");
        assert_eq!(seen.ok(), format!("{}\n", here.display()));
        from(&here, way, image.path(), &[&option], "write out x").refused("EROFS");
    });
}

#[test]
fn a_directory_that_is_shown_by_another_name_is_the_same() {
    let (image, around) = (Image::tiny(), Scratch::elsewhere());
    let here = around.directory("real");
    symlink("real", around.join("link")).unwrap();
    let path = format!("{}\n", here.display());
    in_every_way(|way| {
        // The kernel says where a link of the host leads.
        assert_eq!(from(&around.join("link"), way, image.path(), &[], "cwd").ok(), path);
        let option = bind(&around.join("link"), &format!(":{}", here.display()));
        assert_eq!(from(&here, way, image.path(), &[&option], "cwd").ok(), path);
    });
}

#[test]
fn a_bind_that_is_left_out_displaces_nothing() {
    let (image, around) = (Image::tiny(), Scratch::elsewhere());
    let here = around.directory("deep");
    let option = format!("--bind=/no/such:{}:optional", around.path().display());
    in_every_way(|way| {
        let seen = from(&here, way, image.path(), &[&option], "cwd");
        assert_eq!(seen.ok(), format!("{}\n", here.display()));
        let seen = from(&here, way, image.path(), &["--bind=/no/such:/tmp:optional"], "kind /tmp");
        assert_eq!(seen.ok(), "directory\n");
    });
}

#[test]
fn where_the_image_has_files_it_starts_in_its_directory_with_a_warning() {
    let (image, here) = (Image::tiny(), Scratch::elsewhere());
    here.file("note", "from the host");
    let path = format!("{}\n", here.path().display());
    image.file(&format!("{}/mine", inside(here.path())), "");
    let packed = Packed::new(image.path(), &[]);
    let wanted = format!("starts in {} of the image", here.path().display());
    in_every_way(|way| {
        for image in [image.path(), &packed.path] {
            let see = |options: &[&str], words: &str| from(here.path(), way, image, options, words);
            assert_eq!(warned(see(&[], "cwd"), &[&wanted, "--bind ."]), path);
            assert_eq!(warned(see(&[], "ls ."), &[&wanted]), "mine\n");
            assert_eq!(see(&["-q"], "cwd").ok(), path);
            assert_eq!(see(&["--bind=."], "ls .").ok(), "note\n");
            assert_eq!(see(&["--cd=/opt"], "cwd").ok(), "/opt\n");
            assert_eq!(see(&["--no-cwd"], "cwd").ok(), format!("{}\n", tester().home.display()));
        }
    });
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
}

#[test]
fn directories_of_the_system_are_the_images() {
    let image = Image::tiny();
    image.file("usr/local/lib/mine", "");
    image.file("var/log/mine", "");
    in_every_way(|way| {
        for directory in ["/usr/local/lib", "/var/log", "/etc"] {
            let seen = from(Path::new(directory), way, image.path(), &[], "cwd");
            assert_eq!(warned(seen, &["of the image"]), format!("{directory}\n"));
        }
        // There is nothing else that it could mean.
        assert_eq!(from(Path::new("/"), way, image.path(), &[], "cwd").ok(), "/\n");
    });
}

#[test]
fn nothing_starts_where_the_image_has_a_file() {
    let (image, here) = (Image::tiny(), Scratch::elsewhere());
    let deep = here.directory("deep");
    image.file(inside(here.path()), "");
    in_every_way(|way| {
        from(here.path(), way, image.path(), &[], "cwd").fails(&[
            "cannot start in the current directory",
            "it is no directory inside",
            "--cd",
        ]);
        from(&deep, way, image.path(), &[], "cwd").fails(&[
            "cannot start in the current directory",
            "Not a directory",
            "--cd",
        ]);
    });
}

#[test]
fn a_link_of_the_image_does_not_lead_tmpdir_over_tmp() {
    let (image, here) = (Image::tiny(), Scratch::below(Path::new("/tmp")));
    fs::remove_dir(image.join("var/tmp")).unwrap();
    image.link("var/tmp", "../tmp");
    here.file("note", "from the host");
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &[], "cat note");
        let seen = outcome(command.env("TMPDIR", "/var/tmp").current_dir(here.path()));
        assert_eq!(warned(seen, &["/var/tmp is not shown: ", "to /tmp"]), "from the host");
        // The path is there by the link alone, and leads elsewhere.
        let below = Scratch::below(Path::new("/var/tmp"));
        from(below.path(), way, image.path(), &[], "cwd")
            .fails(&["cannot start in the current directory, /var/tmp/", "/tmp inside is /tmp of"]);
    });
}

#[test]
fn a_directory_that_is_closed_is_no_reason_to_start_elsewhere() {
    if lacks("root") {
        return;
    }
    let (image, around) = (Image::bare(), Scratch::elsewhere());
    let here = around.directory("closed");
    let run = |options: &[&str]| from(&here, Way(&[]), image.path(), options, "cwd");
    // One's own is no obstacle.
    chmod(&here, 0);
    assert_eq!(run(&[]).ok(), format!("{}\n", here.display()));
    chown(&here, Some(20002), Some(20002)).unwrap();
    let before = fingerprint(image.path());
    for options in [&[][..], &["--write"]] {
        run(options).fails(&["cannot start in ", "Permission denied", "--cd"]);
    }
    assert_eq!(fingerprint(image.path()), before);
    assert_eq!(run(&["--cd=/bin"]).ok(), "/bin\n");
}

#[test]
fn options_beat_what_is_shown_by_default() {
    let image = Image::tiny();
    let tmp = Path::new("/tmp");
    let name = Scratch::below(tmp);
    let name = name.path().file_name().unwrap().to_str().unwrap().to_owned();
    let home = format!("{}\n", tester().home.display());
    in_every_way(|way| {
        let see = |variable: (&str, &str), options: &[&str], words: &str| {
            let mut command = way.prober(image.path(), options, words);
            outcome(command.current_dir(tmp).env(variable.0, variable.1))
        };
        for (variable, options) in [
            (("X", ""), &["--private-tmp=1m"][..]),
            (("HRUN_PRIVATE_TMP", "1m"), &[]),
            (("TMPDIR", "/tmp"), &["-t"]),
            (("PMIX_SERVER_TMPDIR", "/tmp"), &["-t"]),
            (("HOME", "/tmp"), &["-t"]),
        ] {
            let seen = see(variable, options, "ls /tmp").succeeds();
            assert_eq!(seen, "", "{variable:?} {options:?}");
            see(variable, options, &format!("write /tmp/{name}-new x")).succeeds();
            assert!(!tmp.join(format!("{name}-new")).exists(), "{variable:?} {options:?}");
        }
        let seen = see(("X", ""), &["--private-tmp=1m"], "cwd");
        assert_eq!(warned(seen, &["--private-tmp=1m hides /tmp; the command starts in "]), home);
    });
}

#[test]
fn a_private_tmp_is_no_larger_from_below_it() {
    let image = Image::tiny();
    let big = format!("/tmp/big-{}", std::process::id());
    let fill = format!("busybox dd if=/dev/zero of={big} bs=64k count=32 2>&1");
    in_every_way(|way| {
        let words = ["-q", "-t=1m", image.path().to_str().unwrap(), "/bin/sh", "-c", &fill];
        let full = outcome(way.command(words).current_dir("/tmp"));
        assert!(full.stdout.contains("No space left on device"), "{full:?}");
    });
    assert!(!Path::new(&big).exists());
}

#[test]
fn without_home_the_current_directory_does_not_show_it() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let words = format!("kind {}", data.path().display());
    in_every_way(|way| {
        for directory in [&*tester().home, tester().home.parent().unwrap()] {
            let see = |words: &str| from(directory, way, image.path(), &["--no-home"], words);
            assert_eq!(see(&words).ok(), "missing\n", "{}", directory.display());
            assert_eq!(see("cwd").ok(), "/\n");
        }
        let mut command = way.prober(image.path(), &["--no-home"], &words);
        let seen = outcome(command.env("TMPDIR", &tester().home).current_dir("/"));
        assert_eq!(warned(seen, &["(TMPDIR): --no-home leaves it out"]), "missing\n");
    });
}

/// The configuration of an image that runs a program of its work directory.
const RELATIVE: &str = r#"{
    "architecture": "amd64", "os": "linux",
    "config": {"WorkingDir": "DIRECTORY", "Entrypoint": ["./app"], "Cmd": ["of the image"]},
    "rootfs": {"type": "layers", "diff_ids": []}
}"#;

#[test]
fn the_images_own_command_starts_in_its_work_directory() {
    let (image, here) = (Image::tiny(), Scratch::new());
    let app = "#!/bin/sh\necho \"$1 in $PWD\"\n";
    image.program("opt/app", app);
    image.program("app", app);
    let theirs = here.file("app", "#!/bin/sh\necho of the caller\n");
    chmod(&theirs, 0o755);
    in_every_way(|way| {
        for (directory, wanted) in [("/opt", "of the image in /opt\n"), ("", "of the image in /\n")]
        {
            image.file(".hrun/image.json", RELATIVE.replace("DIRECTORY", directory));
            let run = |words: &[&str]| {
                let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
                let words = [&[image.path().as_os_str()], &words[..]].concat();
                outcome(way.command(words).current_dir(here.path()))
            };
            assert_eq!(run(&[]).ok(), wanted);
            assert_eq!(run(&["./app"]).ok(), "of the caller\n");
        }
    });
    image.file(".hrun/image.json", RELATIVE.replace("DIRECTORY", "/no/such"));
    let seen = hrun_in(here.path(), [image.path()]);
    assert_eq!(warned(seen, &["work directory /no/such is not there"]), "of the image in /\n");
}

#[test]
fn who_joins_a_container_starts_in_what_it_shows() {
    if lacks("root") {
        return;
    }
    let (image, data, here) = (Image::tiny(), Scratch::new(), Scratch::elsewhere());
    let deep = here.directory("deep");
    let option = bind(data.path(), &format!(":{}", here.path().display()));
    let words: [&OsStr; 6] = [
        option.as_ref(),
        "--cd=/".as_ref(),
        image.path().as_os_str(),
        "sh".as_ref(),
        "-c".as_ref(),
        "echo up; cat".as_ref(),
    ];
    let first = Live::start(&mut command(words));
    assert_eq!(first.next_line(), "up");
    let pid = format!("--join-pid={}", first.pid().as_raw());
    let join = |directory: &Path, options: &[&str]| {
        let options = [&[pid.as_str()], options].concat();
        from(directory, Way(&[]), image.path(), &options, "cwd")
    };
    let home = format!("{}\n", tester().home.display());
    assert_eq!(join(&tester().home, &[]).ok(), home);
    assert_eq!(join(here.path(), &["--cd=/opt"]).ok(), "/opt\n");
    warned(join(here.path(), &[]), &["the command starts in "]);
    join(&deep, &[]).fails(&["cannot start in the current directory", "--join-pid", "--cd DIR"]);
}

#[test]
fn without_path_programs_are_the_images() {
    let (image, here) = (Image::tiny(), Scratch::new());
    let trap = here.file("ls", "#!/bin/sh\necho trapped\n");
    chmod(&trap, 0o755);
    in_every_way(|way| {
        for options in
            [&["--unset-env=PATH"][..], &["--unset-env=*"], &["--env=PATH="], &["--env=PATH=:/bin"]]
        {
            let words = [options, &[image.path().to_str().unwrap(), "ls", "/opt"]].concat();
            let seen = outcome(way.command(words).current_dir(here.path()));
            assert_eq!(seen.ok(), "", "{options:?}");
        }
        let words = ["--env=PATH=.:/bin", image.path().to_str().unwrap(), "ls"];
        let seen = outcome(way.command(words).current_dir(here.path()));
        assert_eq!(seen.ok(), "trapped\n");
    });
}
