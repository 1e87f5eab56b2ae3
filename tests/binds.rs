//! `--bind` and its kin: how a bind is written, and what it shows.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::support::scratch::{chmod, fingerprint, own};
use super::support::{
    Image, Scratch, bind, hrun, in_every_way, lacks, on_host, outcome, probe, tester,
};

#[test]
fn shows_a_directory_with_everything_in_it() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("deep/er/note", "from the host");
    in_every_way(|way| {
        let note =
            way.probe(image.path(), &[&bind(data.path(), ":/data")], "cat /data/deep/er/note");
        assert_eq!(note.ok(), "from the host");
    });
}

#[test]
fn shows_a_single_file() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let note = data.file("note", "from the host");
    in_every_way(|way| {
        let options = [&*bind(&note, ":/etc/note")];
        assert_eq!(way.probe(image.path(), &options, "cat /etc/note").ok(), "from the host");
        assert_eq!(way.probe(image.path(), &options, "kind /etc/note").ok(), "file\n");
    });
}

#[test]
fn shows_the_source_at_its_own_path_by_default() {
    let (image, data) = (Image::tiny(), Scratch::elsewhere());
    data.file("note", "from the host");
    let note = format!("cat {}/note", data.path().display());
    in_every_way(|way| {
        let without = way.probe(image.path(), &[], &note);
        without.refused("ENOENT");
        let with = way.probe(image.path(), &[&bind(data.path(), "")], &note);
        assert_eq!(with.ok(), "from the host");
    });
}

#[test]
fn shows_devices_pipes_and_sockets() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let pipe = data.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = data.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    in_every_way(|way| {
        let options = [
            &*bind(&pipe, ":/run/pipe"),
            &bind(&socket, ":/run/socket"),
            &bind(Path::new("/dev/null"), ":/opt/null"),
        ];
        let kinds = way.probe(image.path(), &options, "kind /run/pipe /run/socket /opt/null");
        assert_eq!(kinds.lines(), ["other", "other", "device"]);
        assert_eq!(way.probe(image.path(), &options, "write /opt/null x").ok(), "ok\n");
    });
}

#[test]
fn read_only_directories_refuse_every_change() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let before = fingerprint(data.path());
    in_every_way(|way| {
        for words in
            ["write /data/note x", "write /data/new x", "mkdir /data/new", "unlink /data/note"]
        {
            let options = [&*bind(data.path(), ":/data:ro")];
            way.probe(image.path(), &options, words).refused("EROFS");
        }
    });
    assert_eq!(fingerprint(data.path()), before);
}

#[test]
fn read_only_files_refuse_writes() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let note = data.file("note", "from the host");
    in_every_way(|way| {
        let options = [&*bind(&note, ":/opt/note:ro")];
        way.probe(image.path(), &options, "write /opt/note x").refused("EROFS");
    });
    assert_eq!(fs::read(note).unwrap(), b"from the host");
}

#[test]
fn a_visible_directory_can_be_made_read_only() {
    let image = Image::tiny();
    let data = Scratch::new();
    let path = data.path().display().to_string();
    in_every_way(|way| {
        let write = format!("write {path}/note x");
        assert_eq!(way.probe(image.path(), &[], &write).ok(), "ok\n");
        let options = [&*bind(data.path(), &format!(":{path}:ro"))];
        way.probe(image.path(), &options, &write).refused("EROFS");
    });
}

#[test]
fn writes_reach_the_host_as_the_callers() {
    let image = Image::tiny();
    in_every_way(|way| {
        for mode in ["", ":rw", ":ro,rw"] {
            let data = Scratch::new();
            let note = data.file("note", "one,");
            let options = [&*bind(data.path(), &format!(":/data{mode}"))];
            way.probe(image.path(), &options, "write /data/note two").ok();
            way.probe(image.path(), &options, "mkdir /data/new").ok();
            assert_eq!(fs::read_to_string(&note).unwrap(), "one,two");
            assert_eq!(fs::metadata(data.join("new")).unwrap().uid(), tester().uid);
        }
    });
}

#[test]
fn writes_to_a_single_file_reach_the_host() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let note = data.file("note", "");
    in_every_way(|way| {
        fs::write(&note, "").unwrap();
        way.probe(image.path(), &[&bind(&note, ":/opt/note")], "write /opt/note x").ok();
        assert_eq!(fs::read(&note).unwrap(), b"x");
    });
}

#[test]
fn optional_passes_over_a_missing_source_without_a_word() {
    let image = Image::tiny();
    in_every_way(|way| {
        let options = ["--bind=/no/such/thing:/data:optional"];
        assert_eq!(way.probe(image.path(), &options, "kind /data").ok(), "missing\n");
    });
}

#[test]
fn optional_shows_what_is_there() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/data:optional,ro")];
        assert_eq!(way.probe(image.path(), &options, "cat /data/note").ok(), "from the host");
        way.probe(image.path(), &options, "write /data/note x").refused("EROFS");
    });
}

#[test]
fn a_missing_source_names_who_asked_for_it() {
    let image = Image::tiny();
    in_every_way(|way| {
        way.probe(image.path(), &["--bind=/no/such:/data"], "cwd").fails(&[
            "cannot bind /no/such: No such file or directory",
            "from: --bind /no/such:/data\n",
            "hint: create it on the host",
            "--bind /no/such:/data:optional",
        ]);
        let mut command = way.prober(image.path(), &[], "cwd");
        outcome(command.env("HRUN_BIND", "/no/such:/data"))
            .fails(&["from: --bind /no/such:/data (variable HRUN_BIND)\n"]);
    });
}

#[test]
fn a_source_behind_a_closed_directory_is_an_error_unless_it_is_optional() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let closed = data.directory("closed");
    data.file("closed/note", "");
    std::os::unix::fs::chown(&closed, Some(0), Some(0)).unwrap();
    chmod(&closed, 0o700);
    let note = closed.join("note");
    in_every_way(|way| {
        way.probe(image.path(), &[&bind(&note, ":/note")], "cwd")
            .fails(&["Permission denied", "from: --bind "]);
        let options = [&*bind(&note, ":/note:optional")];
        assert_eq!(way.probe(image.path(), &options, "kind /note").ok(), "missing\n");
    });
}

#[test]
fn every_spelling_of_the_option_means_the_same() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let value = format!("{}:/data", data.path().display());
    let mount = format!("type=bind,src={},dst=/data", data.path().display());
    for options in [
        vec!["--bind", &value],
        vec![&format!("--bind={value}")],
        vec!["-b", &value],
        vec![&format!("-b{value}")],
        vec!["-B", &value],
        vec!["--volume", &value],
        vec!["--mount", &mount],
        vec![&format!("--mount={mount}")],
    ] {
        let note = probe(image.path(), &options, "cat /data/note");
        assert_eq!(note.ok(), "from the host", "{options:?}");
    }
}

#[test]
fn mount_understands_the_fields_of_docker_and_podman() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let source = data.path().display();
    for (fields, is_read_only) in [
        (format!("type=bind,source={source},destination=/data"), false),
        (format!("type=bind,src={source},target=/data,readonly"), true),
        (format!("dst=/data,src={source},ro"), true),
        (format!("type=bind,src={source},dst=/data,readonly=true"), true),
        (format!("type=bind,src={source},dst=/data,ro=false"), false),
        (format!("type=bind,src={source},dst=/data,ro,optional,rw"), false),
    ] {
        let option = format!("--mount={fields}");
        let written = probe(image.path(), &[&option], "write /data/note x");
        assert_eq!(written.status, Some(i32::from(is_read_only)), "{fields}: {written:?}");
    }
    for (fields, part) in [
        ("type=bind,dst=/data", "src= is missing"),
        ("type=tmpfs,dst=/data", "only type=bind is supported"),
        ("type=bind,src=/x,dst=/data,selinux=z", "'selinux=z' is not a field it knows"),
        ("type=bind,src=/x,dst=data", "'data' is not an absolute path"),
    ] {
        let option = format!("--mount={fields}");
        probe(image.path(), &[&option], "cwd").fails(&[part, "from: --mount "]);
    }
}

#[test]
fn one_value_may_hold_several_binds_each_with_options() {
    let (image, data) = (Image::tiny(), Scratch::new());
    for name in ["one", "two", "three"] {
        data.file(&format!("{name}/note"), name);
    }
    let path = |name: &str| data.join(name).display().to_string();
    let list = format!(
        "--bind={}:/1:ro,optional, /no/such:/none:optional,rw,,{}:/2,{}:/3:ro",
        path("one"),
        path("two"),
        path("three")
    );
    in_every_way(|way| {
        for (number, name) in [(1, "one"), (2, "two"), (3, "three")] {
            let words = format!("cat /{number}/note");
            assert_eq!(way.probe(image.path(), &[&list], &words).ok(), name);
        }
        way.probe(image.path(), &[&list], "write /1/new x").refused("EROFS");
        way.probe(image.path(), &[&list], "mkdir /2/new").ok();
        fs::remove_dir(data.join("two/new")).unwrap();
        way.probe(image.path(), &[&list], "write /3/new x").refused("EROFS");
    });
}

#[test]
fn the_variable_holds_a_line_for_each_bind() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let (one, two) = (data.file("1", "one"), data.file("2", "two"));
    let lines = format!("{}:/opt/1\n\n{}:/opt/2:ro\n", one.display(), two.display());
    in_every_way(|way| {
        let see =
            |words: &str| outcome(way.prober(image.path(), &[], words).env("HRUN_BIND", &lines));
        assert_eq!(see("cat /opt/1").ok(), "one");
        assert_eq!(see("cat /opt/2").ok(), "two");
        see("write /opt/2 x").refused("EROFS");
    });
}

#[test]
fn what_is_no_bind_is_refused() {
    let image = Image::tiny();
    for (value, part) in [
        (":/data", "':/data' has no source"),
        ("", "it names no source"),
        (" , ,", "it names no source"),
        ("/a:/b:readonly", "'readonly' is not one of ro, rw, optional, norec"),
        ("/a:/b:ro:rw", "has more than SRC:DST:OPT; write a colon of a path as \\:"),
        ("/a:b", "destination 'b' is not an absolute path"),
        ("/a:../b", "destination '../b' is not an absolute path"),
        ("/a:/b/../c", "has a '..' in it; write the path without"),
        ("/a:/", "destination '/' is the image itself"),
        ("/a://.", "destination '/' is the image itself"),
    ] {
        let option = format!("--bind={value}");
        probe(image.path(), &[&option], "cwd").fails(&[part, "from: --bind"]);
    }
    probe(image.path(), &["--bind=/"], "cwd").fails(&[
        "cannot bind / at /",
        "from: --bind /\n",
        "hint: give a destination: --bind /:/host",
    ]);
    hrun(["--bind"]).fails(&["--bind"]);
}

#[test]
fn norec_works_where_nothing_is_mounted_below() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/data:norec,ro")];
        assert_eq!(way.probe(image.path(), &options, "cat /data/note").ok(), "from the host");
        way.probe(image.path(), &options, "write /data/note x").refused("EROFS");
    });
}

/// A script that mounts a tmpfs with a file on `data/below`, and one on that.
fn mount_below(data: &Scratch) -> String {
    let below = data.directory("below");
    let (below, uid) = (below.display(), tester().uid);
    format!(
        "mount -t tmpfs -o uid={uid} below {below} && echo deep > {below}/note &&
         mkdir {below}/again && mount -t tmpfs -o uid={uid} again {below}/again"
    )
}

#[test]
fn norec_above_another_mount_is_explained() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let setup = mount_below(&data);
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/data:norec")];
        on_host(&setup, &way.prober(image.path(), &options, "cwd")).fails(&[
            "Invalid argument",
            ":/data:norec",
            "hint: an ordinary user cannot take apart what is mounted below",
            "leave out norec",
        ]);
    });
}

#[test]
fn what_is_mounted_below_the_source_is_seen_too() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let setup = mount_below(&data);
    in_every_way(|way| {
        let see = |words| {
            let options = [&*bind(data.path(), ":/data")];
            on_host(&setup, &way.prober(image.path(), &options, words))
        };
        assert_eq!(see("cat /data/below/note").ok(), "deep\n");
        assert_eq!(see("write /data/below/again/new x").ok(), "ok\n");
    });
}

#[test]
fn read_only_covers_what_is_mounted_below() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let setup = mount_below(&data);
    in_every_way(|way| {
        let see = |words| {
            let options = [&*bind(data.path(), ":/data:ro")];
            on_host(&setup, &way.prober(image.path(), &options, words))
        };
        assert_eq!(see("cat /data/below/note").ok(), "deep\n");
        see("write /data/below/new x").refused("EROFS");
        see("write /data/below/again/new x").refused("EROFS");
    });
}

#[test]
fn read_only_passes_over_mounts_in_closed_directories() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    let closed = data.directory("closed").display().to_string();
    let setup = format!(
        "mount -t tmpfs -o mode=700 closed {closed} && mkdir {closed}/in &&
         mount -t tmpfs in {closed}/in"
    );
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/data:ro")];
        let seen = on_host(&setup, &way.prober(image.path(), &options, "cat /data/note"));
        assert_eq!(seen.ok(), "from the host");
    });
}

/// The flags of the mount at a path inside.
fn mount_flags(mounts: &[String], path: &str) -> Vec<String> {
    let line = mounts.iter().rev().find_map(|line| line.strip_prefix(&format!("{path} ")));
    line.unwrap_or_else(|| panic!("no {path} in {mounts:?}"))
        .split(',')
        .map(str::to_owned)
        .collect()
}

#[test]
fn flags_of_the_hosts_mounts_are_kept() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let options =
        ["--bind=/home/nosuid:/a:ro", "--bind=/home/nosuid:/b", "--bind=/home/noexec:/c:ro"];
    in_every_way(|way| {
        let mounts = way.probe(image.path(), &options, "mounts").lines();
        for (path, wanted) in [
            ("/a", &["ro", "nosuid", "nodev"][..]),
            ("/b", &["rw", "nosuid", "nodev"]),
            ("/c", &["ro", "noexec"]),
        ] {
            let flags = mount_flags(&mounts, path);
            for flag in wanted {
                assert!(flags.iter().any(|other| other == flag), "no {flag} in {path} {flags:?}");
            }
        }
    });
}

#[test]
fn a_file_that_is_bound_keeps_its_owner_and_mode() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let note = data.file("note", "");
    own(&note);
    chmod(&note, 0o640);
    let owner = format!("{} {} 640\n", tester().uid, tester().gid);
    in_every_way(|way| {
        let seen = way.probe(image.path(), &[&bind(&note, ":/opt/note:ro")], "owner /opt/note");
        assert_eq!(seen.ok(), owner);
    });
}
