//! Symbolic links on the way to a destination: they lead where they lead for the command inside,
//! and never to the host.

use std::fs;
use std::os::unix::fs::symlink;

use super::support::scratch::fingerprint;
use super::support::{Image, Scratch, bind, in_every_way, tester};

/// A directory of the host with a file `note`.
fn data() -> Scratch {
    let data = Scratch::new();
    data.file("note", "from the host");
    data
}

#[test]
fn relative_links_are_followed() {
    let (image, data) = (Image::tiny(), data());
    image.file("lib/real/old", "");
    image.link("opt/link", "../lib/real");
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/opt/link")];
        assert_eq!(way.probe(image.path(), &options, "ls /lib/real").lines(), ["note"]);
        assert_eq!(way.probe(image.path(), &options, "kind /opt/link").ok(), "link ../lib/real\n");
    });
}

#[test]
fn absolute_links_are_followed_inside() {
    let (image, data) = (Image::tiny(), data());
    // A path that exists on the host as well, and is writable there.
    let outside = Scratch::new();
    let path = outside.path().to_str().unwrap();
    image.directory(path.trim_start_matches('/'));
    image.link("opt/link", path);
    in_every_way(|way| {
        let options = ["--no-home", "--no-cwd", &bind(data.path(), ":/opt/link")];
        assert_eq!(way.probe(image.path(), &options, &format!("ls {path}")).lines(), ["note"]);
    });
    assert!(outside.path().read_dir().unwrap().next().is_none());
}

#[test]
fn links_in_the_middle_of_a_destination_are_followed() {
    let (image, data) = (Image::tiny(), data());
    image.link("var/run", "/run");
    image.link("run/app", "../opt/app");
    image.directory("opt/app");
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/var/run/app/new/deep")];
        assert_eq!(way.probe(image.path(), &options, "ls /opt/app/new/deep").lines(), ["note"]);
    });
}

#[test]
fn the_target_of_a_dangling_link_is_made() {
    let (image, data) = (Image::tiny(), data());
    image.link("opt/link", "../nowhere/deep");
    image.link("etc/app.conf", "/run/app/app.conf");
    let before = fingerprint(image.path());
    in_every_way(|way| {
        let options =
            [&*bind(data.path(), ":/opt/link"), &bind(&data.join("note"), ":/etc/app.conf")];
        for path in ["/opt/link/note", "/nowhere/deep/note", "/etc/app.conf", "/run/app/app.conf"] {
            let seen = way.probe(image.path(), &options, &format!("cat {path}"));
            assert_eq!(seen.ok(), "from the host", "{path}");
        }
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn a_loop_of_links_is_an_error() {
    let (image, data) = (Image::tiny(), data());
    image.link("opt/one", "two");
    image.link("opt/two", "one");
    in_every_way(|way| {
        for rest in [":/opt/one", ":/opt/two/below"] {
            way.probe(image.path(), &[&bind(data.path(), rest)], "cwd")
                .fails(&["Too many symbolic links", "from: --bind"]);
        }
    });
}

#[test]
fn links_cannot_climb_out_of_the_image() {
    let (image, data) = (Image::tiny(), data());
    let outside = Scratch::new();
    let path = outside.path().to_str().unwrap();
    // The image lies some directories below the host's root; from its own root, `..` leads nowhere.
    image.directory(path.trim_start_matches('/'));
    image.link("opt/up", &format!("../../../../../../../..{path}"));
    image.link("opt/etc", "../../../../../../../../etc/app");
    in_every_way(|way| {
        let options = [
            "--no-home",
            "--no-cwd",
            &bind(data.path(), ":/opt/up"),
            &bind(data.path(), ":/opt/etc"),
        ];
        assert_eq!(way.probe(image.path(), &options, &format!("ls {path}")).lines(), ["note"]);
        assert_eq!(way.probe(image.path(), &options, "ls /etc/app").lines(), ["note"]);
    });
    assert!(outside.path().read_dir().unwrap().next().is_none());
    assert!(!fs::exists("/etc/app").unwrap());
}

#[test]
fn links_in_a_bound_directory_lead_to_files_inside() {
    let (image, outer, data) = (Image::tiny(), Scratch::new(), data());
    symlink("/opt/app", outer.join("link")).unwrap();
    in_every_way(|way| {
        let options = [&*bind(outer.path(), ":/data"), &bind(data.path(), ":/data/link")];
        assert_eq!(way.probe(image.path(), &options, "ls /opt/app").lines(), ["note"]);
    });
}

#[test]
fn forty_links_are_followed_and_forty_one_are_not() {
    let (image, data) = (Image::tiny(), data());
    for number in 1..=41 {
        image.link(&format!("opt/{number}"), &(number - 1).to_string());
    }
    image.directory("opt/0");
    in_every_way(|way| {
        let options = [&*bind(data.path(), ":/opt/40")];
        assert_eq!(way.probe(image.path(), &options, "ls /opt/0").lines(), ["note"]);
        way.probe(image.path(), &[&bind(data.path(), ":/opt/41")], "cwd")
            .fails(&["Too many symbolic links"]);
    });
}

#[test]
fn a_link_to_the_root_is_no_destination() {
    let (image, data) = (Image::tiny(), data());
    image.link("opt/root", "/");
    in_every_way(|way| {
        way.probe(image.path(), &[&bind(data.path(), ":/opt/root")], "cwd").fails(&[
            "/opt/root",
            "the image itself",
            "from: --bind",
        ]);
    });
}

#[test]
fn a_bind_below_another_works_in_both_orders_through_links() {
    let (image, outer, data) = (Image::tiny(), Scratch::new(), data());
    outer.directory("tool");
    image.directory("usr/bin");
    image.link("sbin", "usr/bin");
    let options = [bind(outer.path(), ":/usr/bin"), bind(data.path(), ":/sbin/tool")];
    in_every_way(|way| {
        for order in [[0, 1], [1, 0]].map(|order| order.map(|number: usize| &*options[number])) {
            assert_eq!(way.probe(image.path(), &order, "ls /usr/bin/tool").lines(), ["note"]);
        }
    });
}

#[test]
fn the_last_of_two_binds_at_one_place_wins_through_links() {
    let (image, one, two) = (Image::tiny(), Scratch::new(), data());
    image.directory("opt/deep/place");
    image.link("short", "opt/deep/place");
    in_every_way(|way| {
        let options = [&*bind(one.path(), ":/opt/deep/place"), &bind(two.path(), ":/short")];
        assert_eq!(way.probe(image.path(), &options, "ls /opt/deep/place").lines(), ["note"]);
    });
}

#[test]
fn a_home_below_a_link_is_shown() {
    let image = Image::tiny();
    fs::remove_dir(image.join("home")).unwrap();
    image.link("home", "var/home");
    let home = Scratch::new();
    home.file("note", "from the host");
    in_every_way(|way| {
        let words = format!("cat {}/note", home.path().display());
        assert_eq!(way.probe(image.path(), &[], &words).ok(), "from the host");
        let words = format!("kind /var{}", tester().home.display());
        assert_eq!(way.probe(image.path(), &[], &words).ok(), "directory\n");
    });
}

#[test]
fn links_of_the_host_are_followed_to_the_source() {
    let (image, data) = (Image::tiny(), data());
    let links = Scratch::new();
    symlink(data.path(), links.join("absolute")).unwrap();
    symlink("absolute", links.join("relative")).unwrap();
    symlink("loop", links.join("loop")).unwrap();
    symlink("/no/such", links.join("dangling")).unwrap();
    in_every_way(|way| {
        for name in ["absolute", "relative"] {
            let options = [&*bind(&links.join(name), ":/data:ro")];
            assert_eq!(way.probe(image.path(), &options, "ls /data").lines(), ["note"]);
        }
        way.probe(image.path(), &[&bind(&links.join("loop"), ":/data")], "cwd")
            .fails(&["Too many symbolic links", "from: --bind"]);
        way.probe(image.path(), &[&bind(&links.join("dangling"), ":/data")], "cwd")
            .fails(&["No such file or directory", "from: --bind"]);
    });
}
