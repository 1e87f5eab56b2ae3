//! What of the host is visible without asking for it, where the command starts, and the options
//! that change both: `--cd`, `--no-home`, `--no-cwd`, `--contain`.

use std::fs;
use std::path::Path;

use super::support::scratch::chmod;
use super::support::{
    Image, Outcome, Scratch, Way, as_tester, bind, in_every_way, lacks, outcome, probe, program,
    tester,
};

/// A directory of the host that lies in no home directory and not in `/tmp`.
fn elsewhere() -> Scratch {
    let directory = Scratch::elsewhere();
    directory.file("note", "from the host");
    directory
}

/// Runs the probe from a directory of the host.
fn from(directory: &Path, way: Way, image: &Image, options: &[&str], words: &str) -> Outcome {
    outcome(way.prober(image.path(), options, words).current_dir(directory))
}

#[test]
fn the_home_directory_is_at_its_own_path() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let note = data.file("note", "from the host").display().to_string();
    let home = format!("{}\n", tester().home.display());
    in_every_way(|way| {
        assert_eq!(way.probe(image.path(), &[], "env HOME").ok(), home);
        fs::write(&note, "from the host").unwrap();
        let seen = way.probe(image.path(), &["--home"], &format!("cat {note}"));
        assert_eq!(seen.ok(), "from the host");
        way.probe(image.path(), &[], &format!("write {note} !")).ok();
        assert_eq!(fs::read(&note).unwrap(), b"from the host!");
    });
}

#[test]
fn the_home_directory_can_be_left_out() {
    let (image, here) = (Image::tiny(), elsewhere());
    let data = Scratch::new();
    let words = format!("kind {} {}", tester().home.display(), data.path().display());
    in_every_way(|way| {
        let kinds = from(here.path(), way, &image, &["--no-home"], &words);
        assert_eq!(kinds.lines(), ["missing", "missing"]);
        let home = from(here.path(), way, &image, &["--no-home"], "env HOME").ok();
        assert_eq!(home, format!("{}\n", tester().home.display()));
    });
}

#[test]
fn without_home_the_current_directory_below_it_is_still_shown() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let name = data.path().file_name().unwrap().to_str().unwrap();
    in_every_way(|way| {
        let see = |words: &str| from(data.path(), way, &image, &["--no-home"], words);
        assert_eq!(see("cwd").ok(), format!("{}\n", data.path().display()));
        assert_eq!(see(&format!("ls {}", tester().home.display())).lines(), [name]);
    });
}

#[test]
fn the_home_directory_may_be_a_link() {
    let (image, links) = (Image::tiny(), Scratch::elsewhere());
    let home = links.join("home");
    std::os::unix::fs::symlink(&tester().home, &home).unwrap();
    let data = Scratch::new();
    data.file("note", "from the host");
    let note = home.join(data.path().file_name().unwrap()).join("note");
    in_every_way(|way| {
        let see = |words: &str| {
            outcome(way.prober(image.path(), &["--no-cwd"], words).env("HOME", &home))
        };
        assert_eq!(see("env HOME").ok(), format!("{}\n", home.display()));
        assert_eq!(see(&format!("cat {}", note.display())).ok(), "from the host");
        assert_eq!(see("cwd").ok(), format!("{}\n", home.display()));
    });
}

#[test]
fn the_command_line_has_the_last_word_about_home() {
    let image = Image::tiny();
    let words = format!("kind {}", tester().home.display());
    in_every_way(|way| {
        for (option, wanted) in [("--home", "directory\n"), ("--no-cwd", "missing\n")] {
            let mut command = way.prober(image.path(), &[option], &words);
            command.env("HRUN_NO_HOME", "1").current_dir("/");
            assert_eq!(outcome(&mut command).ok(), wanted);
        }
    });
}

#[test]
fn a_home_directory_of_the_system_is_not_shown() {
    let image = Image::tiny();
    image.file("usr/share/mine", "");
    in_every_way(|way| {
        for home in ["/usr/share", "/etc", "/", "/proc"] {
            let mut command = way.prober(image.path(), &[], "ls /usr/share");
            let seen = outcome(command.env("HOME", home));
            // Where one could have expected it.
            let is_said = seen.stderr.contains("the image has its own");
            assert_eq!(is_said, ["/usr/share", "/etc"].contains(&home), "{home}: {}", seen.stderr);
            assert_eq!(seen.succeeds(), "mine\n", "{home}");
        }
    });
}

#[test]
fn a_home_directory_that_does_not_exist_is_passed_over() {
    let (image, here) = (Image::tiny(), elsewhere());
    in_every_way(|way| {
        for home in ["/home/no-such-user", "relative", ""] {
            let mut command = way.prober(image.path(), &["--no-cwd"], "cwd");
            command.env("HOME", home).current_dir(here.path());
            assert_eq!(outcome(&mut command).ok(), "/\n", "{home}");
        }
    });
}

#[test]
fn the_command_starts_in_the_current_directory() {
    let (image, here) = (Image::tiny(), elsewhere());
    let path = format!("{}\n", here.path().display());
    in_every_way(|way| {
        let see = |words: &str| from(here.path(), way, &image, &[], words);
        assert_eq!(see("cwd").ok(), path);
        assert_eq!(see("env PWD").ok(), path);
        assert_eq!(see("cat note").ok(), "from the host");
        see("write new x").ok();
        assert_eq!(fs::read(here.join("new")).unwrap(), b"x");
        fs::remove_file(here.join("new")).unwrap();
    });
}

#[test]
fn a_current_directory_in_an_empty_directory_of_the_image_is_shown() {
    let (image, here) = (Image::tiny(), elsewhere());
    image.directory(here.path().to_str().unwrap().trim_start_matches('/'));
    in_every_way(|way| {
        assert_eq!(from(here.path(), way, &image, &[], "cat note").ok(), "from the host");
    });
}

#[test]
fn the_current_directory_never_hides_files_of_the_image() {
    let (image, here) = (Image::tiny(), elsewhere());
    let path = here.path().to_str().unwrap();
    image.file(&format!("{}/mine", path.trim_start_matches('/')), "");
    in_every_way(|way| {
        let see = |options: &[&str], words: &str| from(here.path(), way, &image, options, words);
        assert_eq!(see(&["-q"], &format!("ls {path}")).lines(), ["mine"]);
        assert_eq!(see(&["--bind=."], "cat note").ok(), "from the host");
    });
}

#[test]
fn the_current_directory_can_be_left_out() {
    let (image, here) = (Image::tiny(), elsewhere());
    let words = format!("kind {}", here.path().display());
    in_every_way(|way| {
        let see = |words: &str| from(here.path(), way, &image, &["--no-cwd"], words);
        assert_eq!(see(&words).ok(), "missing\n");
        assert_eq!(see("cwd").ok(), format!("{}\n", tester().home.display()));
    });
}

#[test]
fn from_the_root_directory_the_command_starts_there() {
    let image = Image::tiny();
    in_every_way(|way| {
        let see = |options: &[&str]| from(Path::new("/"), way, &image, options, "cwd").ok();
        assert_eq!(see(&[]), "/\n");
        assert_eq!(see(&["--no-cwd"]), format!("{}\n", tester().home.display()));
        assert_eq!(see(&["--no-cwd", "--no-home"]), "/\n");
    });
}

/// An image that says where it wants to start.
fn image_with_work_directory(directory: &str) -> Image {
    let image = Image::tiny();
    image.file("ch/metadata.json", format!("{{\"cwd\": \"{directory}\"}}"));
    image
}

#[test]
fn where_the_current_directory_is_hidden_the_images_work_directory_counts() {
    let (image, here) = (image_with_work_directory("/opt/work"), elsewhere());
    image.directory("opt/work");
    in_every_way(|way| {
        let see = |directory: &Path, options: &[&str]| {
            from(directory, way, &image, options, "cwd").ok().trim_end().to_owned()
        };
        assert_eq!(see(Path::new("/"), &[]), "/");
        assert_eq!(see(Path::new("/"), &["--no-cwd"]), "/opt/work");
        assert_eq!(see(here.path(), &["--no-cwd"]), "/opt/work");
        assert_eq!(see(here.path(), &["--contain"]), "/opt/work");
        assert_eq!(Path::new(&see(here.path(), &[])), here.path());
        assert_eq!(see(here.path(), &["--cd=/opt"]), "/opt");
    });
}

#[test]
fn a_work_directory_the_image_lacks_is_passed_over() {
    let image = image_with_work_directory("/no/such");
    in_every_way(|way| {
        let seen = from(Path::new("/"), way, &image, &["--no-cwd"], "cwd").ok();
        assert_eq!(seen, format!("{}\n", tester().home.display()));
    });
}

#[test]
fn cd_chooses_the_start_directory() {
    let (image, here) = (Image::tiny(), elsewhere());
    image.link("start", "../../opt");
    for option in ["--cd=/opt", "--workdir=/opt", "--pwd=/opt", "-c/opt", "--cd=/start"] {
        in_every_way(|way| {
            assert_eq!(way.probe(image.path(), &[option], "cwd").ok(), "/opt\n");
        });
    }
    in_every_way(|way| {
        let options = ["--cd", "/data/new", &bind(here.path(), ":/data/new")];
        assert_eq!(way.probe(image.path(), &options, "cat note").ok(), "from the host");
        assert_eq!(way.probe(image.path(), &options, "env PWD").ok(), "/data/new\n");
    });
}

#[test]
fn a_start_directory_that_is_none_names_who_asked_for_it() {
    let image = Image::tiny();
    image.file("etc/app.conf", "");
    in_every_way(|way| {
        way.probe(image.path(), &["--cd=/no/such"], "cwd").fails(&[
            "cannot start in /no/such: No such file or directory",
            "from: --cd /no/such\n",
            "add --bind /no/such",
        ]);
        let mut command = way.prober(image.path(), &[], "cwd");
        outcome(command.env("HRUN_CD", "/no/such"))
            .fails(&["from: --cd /no/such (variable HRUN_CD)"]);
        way.probe(image.path(), &["--cd=/etc/app.conf"], "cwd")
            .fails(&["cannot start in /etc/app.conf: Not a directory", "from: --cd"]);
        way.probe(image.path(), &["--cd=opt"], "cwd").fails(&["'opt' is not an absolute path"]);
    });
}

#[test]
fn a_closed_start_directory_is_explained() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    image.directory("opt/closed");
    let image = image.closed();
    chmod(&image.join("opt/closed"), 0o700);
    in_every_way(|way| {
        way.probe(image.path(), &["--cd=/opt/closed"], "cwd").fails(&[
            "cannot start in /opt/closed: Permission denied",
            "from: --cd /opt/closed\n",
            "hint: the directory is closed to you",
        ]);
    });
}

#[test]
fn a_removed_current_directory_is_explained() {
    let (image, here) = (Image::tiny(), Scratch::new());
    let script = "rmdir \"$PWD\" && exec \"$@\"";
    let mut command = as_tester(Path::new("/bin/sh"));
    command.args(["-c", script, "sh"]).arg(program("hrun")).arg(image.path());
    command.args(["/bin/probe", "cwd"]).current_dir(here.directory("gone"));
    outcome(&mut command).fails(&["find the current directory", "cd to another directory"]);
}

#[test]
fn contain_hides_home_and_current_directory() {
    let (image, here, data) = (Image::tiny(), elsewhere(), Scratch::new());
    data.file("note", "");
    let home = tester().home.display().to_string();
    in_every_way(|way| {
        let see = |words: &str| from(here.path(), way, &image, &["--contain"], words);
        assert_eq!(see(&format!("ls {home}")).ok(), "");
        assert_eq!(see("env HOME").ok(), format!("{home}\n"));
        assert_eq!(see("cwd").ok(), format!("{home}\n"));
        assert_eq!(see(&format!("kind {}", here.path().display())).ok(), "missing\n");
        let owner = format!("{} {} 700\n", tester().uid, tester().gid);
        assert_eq!(see(&format!("owner {home}")).ok(), owner);
        see(&format!("write {home}/new x")).ok();
        assert!(!tester().home.join("new").exists());
    });
}

#[test]
fn contain_still_makes_binds() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let home = tester().home.display().to_string();
    in_every_way(|way| {
        let options = [
            "--contain",
            &*bind(data.path(), &format!(":{home}/deep/data")),
            &bind(data.path(), ":/tmp/data"),
            &bind(&data.join("note"), ":/opt/note"),
        ];
        for path in [format!("{home}/deep/data/note"), "/tmp/data/note".into(), "/opt/note".into()]
        {
            let seen = way.probe(image.path(), &options, &format!("cat {path}"));
            assert_eq!(seen.ok(), "from the host", "{path}");
        }
        assert_eq!(way.probe(image.path(), &options, &format!("ls {home}")).lines(), ["deep"]);
    });
}

#[test]
fn contain_without_home_shows_the_images() {
    let image = Image::tiny();
    image.directory("home/mine");
    in_every_way(|way| {
        let seen = way.probe(image.path(), &["--contain", "--no-home"], "ls /home");
        assert_eq!(seen.lines(), ["mine"]);
    });
}

#[test]
fn a_bind_of_home_or_tmp_replaces_what_is_shown_by_default() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let home = tester().home.display().to_string();
    in_every_way(|way| {
        for options in [&[][..], &["--contain"], &["--no-home"], &["-t"]] {
            for place in [&*home, "/tmp"] {
                let mut options = options.to_vec();
                let bind = bind(data.path(), &format!(":{place}:ro"));
                options.extend([&*bind, "--cd=/"]);
                let seen = way.probe(image.path(), &options, &format!("ls {place}"));
                assert_eq!(seen.lines(), ["note"], "{options:?}");
            }
        }
    });
}

#[test]
fn variables_that_name_the_root_directory_do_not_replace_the_image() {
    let image = Image::tiny();
    image.file("mine", "");
    in_every_way(|way| {
        for variable in ["TMPDIR", "PMIX_SERVER_TMPDIR", "SLURM_CONF"] {
            let mut command = way.prober(image.path(), &[], "kind /mine");
            command.env("SLURM_JOB_ID", "1").env(variable, "/");
            assert_eq!(outcome(&mut command).ok(), "file\n", "{variable}");
        }
    });
}

#[test]
fn everything_that_is_mounted_can_be_reached() {
    let image = Image::tiny();
    in_every_way(|way| {
        let mounts = way.probe(image.path(), &["--bind=/opt:/new/opt"], "mounts").lines();
        let points: Vec<&str> = mounts.iter().map(|line| line.split(' ').next().unwrap()).collect();
        let words = format!("kind {}", points.join(" "));
        let kinds = way.probe(image.path(), &["--bind=/opt:/new/opt"], &words).lines();
        for (point, kind) in points.iter().zip(kinds) {
            // The session shows a node of its own at /dev/fuse.
            assert!(matches!(&*kind, "directory" | "file" | "device"), "{point} is {kind}");
        }
    });
}

#[test]
fn the_callers_umask_keeps_nothing_from_being_seen() {
    let (image, data) = (Image::bare(), Scratch::new());
    data.file("note", "from the host");
    let script = "umask 077 && exec \"$@\"";
    in_every_way(|way| {
        let mut command = as_tester(Path::new("/bin/sh"));
        command.args(["-c", script, "sh"]).arg(program("hrun")).args(way.0);
        command.arg(bind(data.path(), ":/new/place")).arg(image.path());
        command.args(["/bin/probe", "cat", "/new/place/note"]);
        assert_eq!(outcome(&mut command).ok(), "from the host");
    });
}

#[test]
fn nothing_of_the_host_is_visible_that_need_not_be() {
    let image = Image::tiny();
    in_every_way(|way| {
        assert_eq!(way.probe(image.path(), &[], "ls /opt").ok(), "");
        assert_eq!(way.probe(image.path(), &[], "kind /usr/lib /boot").lines(), ["missing"; 2]);
        let home = tester().home.file_name().unwrap().to_str().unwrap();
        assert_eq!(way.probe(image.path(), &[], "ls /home").lines(), [home]);
        let root = probe(image.path(), &[], "ls /").lines();
        assert_eq!(way.probe(image.path(), &[], "ls /").lines(), root);
    });
}
