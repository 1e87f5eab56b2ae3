//! Where a bind is shown: a destination never has to exist, and one that does is covered.

use std::fs;
use std::path::PathBuf;

use super::support::scratch::{chmod, fingerprint};
use super::support::{Image, Scratch, bind, in_every_way, lacks, on_host, outcome, real, tester};

/// A directory of the host with a file `name` that says its name.
fn directory_with(name: &str) -> Scratch {
    let data = Scratch::new();
    data.file(name, name);
    data
}

#[test]
fn makes_a_destination_two_levels_deep_in_an_image_of_root() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny().closed(), directory_with("note"));
    let before = fingerprint(image.path());
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/projects/2024/input")];
        let seen = way.probe(image.path(), &options, "cat /projects/2024/input/note");
        assert_eq!(seen.ok(), "note");
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn makes_a_file_two_levels_deep_in_an_image_of_root() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny().closed(), directory_with("note"));
    let before = fingerprint(image.path());
    in_every_way(|way| {
        let options = [&*bind(&data.join("note"), ":/opt/app/settings")];
        assert_eq!(way.probe(image.path(), &options, "cat /opt/app/settings").ok(), "note");
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn makes_destinations_in_a_debian_image() {
    let (image, data) = (real("bookworm"), directory_with("note"));
    let note = data.join("note");
    in_every_way(|way| {
        let cat = |options: &[&str], path: &str| {
            let mut words = options.to_vec();
            words.extend([image.to_str().unwrap(), "cat", path]);
            way.hrun(words).ok()
        };
        assert_eq!(cat(&[&bind(data.path(), ":/scratch/me")], "/scratch/me/note"), "note");
        assert_eq!(
            cat(&[&bind(data.path(), ":/usr/share/me/in")], "/usr/share/me/in/note"),
            "note"
        );
        // /lib is a link to usr/lib.
        assert_eq!(cat(&[&bind(&note, ":/lib/me/note")], "/usr/lib/me/note"), "note");
        assert!(cat(&[&bind(&note, ":/etc/note")], "/etc/os-release").contains("bookworm"));
    });
}

#[test]
fn destinations_may_share_directories_that_are_missing() {
    let image = Image::tiny();
    let (one, two, three) = (directory_with("1"), directory_with("2"), directory_with("3"));
    in_every_way(|way| {
        let options = [
            &*bind(one.path(), ":/new/deep/one"),
            &bind(two.path(), ":/new/two"),
            &bind(&three.join("3"), ":/new/deep/three"),
        ];
        assert_eq!(way.probe(image.path(), &options, "ls /new").lines(), ["deep", "two"]);
        assert_eq!(way.probe(image.path(), &options, "ls /new/deep").lines(), ["one", "three"]);
        assert_eq!(way.probe(image.path(), &options, "cat /new/deep/one/1").ok(), "1");
        assert_eq!(way.probe(image.path(), &options, "cat /new/two/2").ok(), "2");
        assert_eq!(way.probe(image.path(), &options, "cat /new/deep/three").ok(), "3");
    });
}

#[test]
fn what_stands_beside_a_made_destination_is_as_before() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    image.file("lib/app/data", "the image's");
    image.directory("lib/app/empty");
    image.file("lib/app/sub/deep", "deeper");
    image.link("lib/app/link", "data");
    image.link("lib/app/dangling", "nowhere");
    image.link("lib/app/away", "/etc/passwd");
    chmod(&image.join("lib/app/data"), 0o640);
    chmod(&image.join("lib/app/empty"), 0o711);
    chmod(&image.join("lib/app"), 0o750);
    in_every_way(|way| {
        let see = |words: &str| {
            way.probe(image.path(), &[&bind(data.path(), ":/lib/app/new")], words).lines()
        };
        let names = ["away", "dangling", "data", "empty", "link", "new", "sub"];
        assert_eq!(see("ls /lib/app"), names);
        assert_eq!(see("cat /lib/app/data"), ["the image's"]);
        assert_eq!(see("cat /lib/app/link"), ["the image's"]);
        assert_eq!(see("cat /lib/app/sub/deep"), ["deeper"]);
        assert_eq!(
            see("kind /lib/app/link /lib/app/dangling /lib/app/away /lib/app/empty"),
            ["link data", "link nowhere", "link /etc/passwd", "directory"]
        );
        let (uid, gid) = (tester().uid, tester().gid);
        assert_eq!(see("owner /lib/app"), [format!("{uid} {gid} 750")]);
        assert_eq!(see("owner /lib/app/data"), [format!("{uid} {gid} 640")]);
        assert_eq!(see("owner /lib/app/empty"), [format!("{uid} {gid} 711")]);
    });
}

#[test]
fn a_directory_with_2000_entries_gets_one_more() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    for number in 0..2000 {
        image.file(&format!("lib/many/{number}"), "");
    }
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/lib/many/new")];
        assert_eq!(way.probe(image.path(), &options, "cat /lib/many/new/note").ok(), "note");
        assert_eq!(way.probe(image.path(), &options, "ls /lib/many").lines().len(), 2001);
    });
}

#[test]
fn covers_a_directory_of_the_image() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    image.file("opt/app/old", "");
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/opt/app")];
        assert_eq!(way.probe(image.path(), &options, "ls /opt/app").lines(), ["note"]);
    });
}

#[test]
fn covers_a_file_of_the_image() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    image.file("etc/app.conf", "the image's");
    in_every_way(|way| {
        let options = [&*bind(&data.join("note"), ":/etc/app.conf")];
        assert_eq!(way.probe(image.path(), &options, "cat /etc/app.conf").ok(), "note");
    });
    assert_eq!(fs::read(image.join("etc/app.conf")).unwrap(), b"the image's");
}

#[test]
fn covers_what_hrun_shows_by_itself() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    in_every_way(|way| {
        for path in ["/etc/passwd", "/etc/hosts", "/dev/null"] {
            let options = [&*bind(&data.join("note"), &format!(":{path}"))];
            assert_eq!(way.probe(image.path(), &options, &format!("cat {path}")).ok(), "note");
        }
        for path in ["/tmp", "/etc", "/sys", "/home"] {
            let options = [&*bind(data.path(), &format!(":{path}")), "--cd=/"];
            assert_eq!(way.probe(image.path(), &options, &format!("ls {path}")).lines(), ["note"]);
        }
    });
}

#[test]
fn a_directory_cannot_cover_a_file_nor_a_file_a_directory() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    image.file("etc/app.conf", "");
    in_every_way(|way| {
        way.probe(image.path(), &[&bind(data.path(), ":/etc/app.conf")], "cwd").fails(&[
            "at /etc/app.conf: Not a directory",
            "from: --bind",
            "hint: a directory cannot cover the file that is there",
        ]);
        way.probe(image.path(), &[&bind(&data.join("note"), ":/opt")], "cwd").fails(&[
            "at /opt: Is a directory",
            "from: --bind",
            "hint: a file cannot cover the directory that is there",
        ]);
        way.probe(image.path(), &[&bind(data.path(), ":/etc/app.conf/below")], "cwd")
            .fails(&["Not a directory", "from: --bind"]);
    });
}

#[test]
fn a_bind_below_another_works_in_both_orders() {
    let (image, outer, inner) = (Image::tiny(), directory_with("outer"), directory_with("inner"));
    outer.directory("sub");
    let options = [bind(outer.path(), ":/data"), bind(inner.path(), ":/data/sub")];
    in_every_way(|way| {
        for order in [[0, 1], [1, 0]].map(|order| order.map(|number: usize| &*options[number])) {
            assert_eq!(way.probe(image.path(), &order, "ls /data").lines(), ["outer", "sub"]);
            assert_eq!(way.probe(image.path(), &order, "ls /data/sub").lines(), ["inner"]);
        }
    });
    assert!(outer.join("sub").read_dir().unwrap().next().is_none());
}

#[test]
fn a_destination_missing_below_a_read_only_bind_is_made() {
    let (image, outer, inner) = (Image::tiny(), directory_with("outer"), directory_with("inner"));
    outer.file("deep/file", "deep");
    let before = fingerprint(outer.path());
    in_every_way(|way| {
        let options = [
            &*bind(outer.path(), ":/data:ro"),
            &bind(inner.path(), ":/data/new/er"),
            &bind(inner.path(), ":/data/deep/new"),
            &bind(&inner.join("inner"), ":/data/file"),
        ];
        let see = |words: &str| way.probe(image.path(), &options, words);
        assert_eq!(see("ls /data").lines(), ["deep", "file", "new", "outer"]);
        assert_eq!(see("ls /data/deep").lines(), ["file", "new"]);
        assert_eq!(see("cat /data/new/er/inner").ok(), "inner");
        assert_eq!(see("cat /data/deep/file").ok(), "deep");
        assert_eq!(see("cat /data/file").ok(), "inner");
        see("write /data/outer x").refused("EROFS");
        see("write /data/deep/more x").refused("EROFS");
        see("write /data/new/more x").refused("EROFS");
        assert_eq!(see("write /data/new/er/inner.log x").ok(), "ok\n");
    });
    assert_eq!(fingerprint(outer.path()), before);
}

/// An ordinary user's overlay cannot have a layer with locked mounts below it.
#[test]
fn a_destination_is_made_below_a_read_only_bind_with_mounts_in_it() {
    if lacks("root") {
        return;
    }
    let (image, outer, inner) = (Image::tiny(), directory_with("outer"), directory_with("inner"));
    let below = outer.directory("below").display().to_string();
    let setup = format!("mount -t tmpfs below {below} && echo deep > {below}/note");
    in_every_way(|way| {
        let options = [&*bind(outer.path(), ":/data:ro"), &bind(inner.path(), ":/data/new")];
        let see = |words| on_host(&setup, &way.prober(image.path(), &options, words));
        assert_eq!(see("cat /data/new/inner").ok(), "inner");
        assert_eq!(see("cat /data/below/note").ok(), "deep\n");
        see("write /data/below/more x").refused("EROFS");
    });
}

#[test]
fn nothing_is_made_in_the_users_own_directories() {
    let (image, outer, inner) = (Image::tiny(), directory_with("outer"), directory_with("inner"));
    let before = fingerprint(outer.path());
    let host = outer.path().display().to_string();
    in_every_way(|way| {
        let outer = &*bind(outer.path(), ":/data");
        way.probe(image.path(), &[outer, &bind(inner.path(), ":/data/new/er")], "cwd").fails(&[
            &format!("{host}/new/er does not exist, and /data shows the host's own files"),
            "from: --bind",
            &format!("mkdir -p {host}/new/er"),
            "or bind /data read-only",
        ]);
        let file = bind(&inner.join("inner"), ":/data/file");
        way.probe(image.path(), &[outer, &file], "cwd").fails(&[&format!("touch {host}/file")]);
    });
    assert_eq!(fingerprint(outer.path()), before);
}

#[test]
fn nothing_is_made_in_the_home_directory() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    let home = tester().home.join("no-such-directory");
    let option = bind(data.path(), &format!(":{}", home.display()));
    in_every_way(|way| {
        let hint = format!("mkdir -p {}", home.display());
        way.probe(image.path(), &[&option], "cwd").fails(&[&hint]);
    });
    assert!(!home.exists());
}

#[test]
fn binds_nest_in_each_other() {
    let image = Image::tiny();
    let (one, two, three) = (directory_with("1"), directory_with("2"), directory_with("3"));
    in_every_way(|way| {
        let options = [
            &*bind(three.path(), ":/a/b/c"),
            &bind(one.path(), ":/a:ro"),
            &bind(two.path(), ":/a/b:ro"),
        ];
        assert_eq!(way.probe(image.path(), &options, "ls /a").lines(), ["1", "b"]);
        assert_eq!(way.probe(image.path(), &options, "ls /a/b").lines(), ["2", "c"]);
        assert_eq!(way.probe(image.path(), &options, "ls /a/b/c").lines(), ["3"]);
        assert_eq!(way.probe(image.path(), &options, "mkdir /a/b/c/new").ok(), "ok\n");
        fs::remove_dir(three.join("new")).unwrap();
    });
}

#[test]
fn the_last_of_two_binds_at_one_place_wins() {
    let (image, one, two) = (Image::tiny(), directory_with("one"), directory_with("two"));
    in_every_way(|way| {
        let options = [&*bind(one.path(), ":/data"), &bind(two.path(), ":/data/")];
        assert_eq!(way.probe(image.path(), &options, "ls /data").lines(), ["two"]);
        let options = [options[1], options[0]];
        assert_eq!(way.probe(image.path(), &options, "ls /data").lines(), ["one"]);
    });
}

#[test]
fn the_command_line_wins_over_the_variable() {
    let (image, one, two) = (Image::tiny(), directory_with("one"), directory_with("two"));
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &[&bind(one.path(), ":/data")], "ls /data");
        command.env("HRUN_BIND", format!("{}:/data", two.path().display()));
        assert_eq!(outcome(&mut command).lines(), ["one"]);
    });
}

#[test]
fn needless_dots_and_slashes_in_a_destination_do_no_harm() {
    let (image, data) = (Image::tiny(), directory_with("note"));
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/opt//./new/.//")];
        assert_eq!(way.probe(image.path(), &options, "ls /opt/new").lines(), ["note"]);
    });
}

#[test]
fn three_hundred_binds_are_made() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let paths: Vec<PathBuf> = (0..300)
        .map(|number| data.file(&format!("{number}/note"), number.to_string()))
        .map(|note| note.parent().unwrap().to_path_buf())
        .collect();
    let places = ["/opt", "/new", "/etc/app", "/a/b/c"];
    let options: Vec<String> = paths
        .iter()
        .enumerate()
        .map(|(number, path)| bind(path, &format!(":{}/{number}", places[number % 4])))
        .collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    in_every_way(|way| {
        assert_eq!(way.probe(image.path(), &options, "ls /a/b/c").lines().len(), 75);
        assert_eq!(way.probe(image.path(), &options, "cat /a/b/c/299/note").ok(), "299");
        assert_eq!(way.probe(image.path(), &options, "cat /opt/0/note").ok(), "0");
    });
}

#[test]
fn a_mount_of_hrun_s_own_gives_way_to_a_bind_around_it() {
    // The image's resolv.conf leads into a directory the user covers, where its target is missing.
    let (image, run) = (Image::tiny(), Scratch::new());
    image.link("etc/resolv.conf", "../run/resolve/stub-resolv.conf");
    in_every_way(|way| {
        let seen = way.probe(image.path(), &[&bind(run.path(), ":/run")], "ls /run");
        assert_eq!(seen.ok(), "");
    });
    assert!(run.path().read_dir().unwrap().next().is_none());
}
