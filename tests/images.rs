//! Images as people have them: of distributions, of root, on odd file systems, incomplete, with
//! odd names, in bundles.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::support::scratch::{chmod, copy_program, fingerprint};
use super::support::{
    Image, Outcome, Scratch, Way, bind, hrun, hrun_in, in_every_way, lacks, on_host, outcome,
    program, real, tester,
};

/// Runs a command in an image.
fn run(way: Way, image: &Path, words: &[&str]) -> Outcome {
    way.hrun([&[image.to_str().unwrap()], words].concat())
}

#[test]
fn python_runs_in_debian_images() {
    for name in ["bullseye", "bookworm", "trixie"] {
        let image = real(name);
        in_every_way(|way| {
            assert_eq!(run(way, &image, &["python3", "-c", "print(1)"]).ok(), "1\n", "{name}");
            let release = run(way, &image, &["cat", "/etc/os-release"]).ok();
            assert!(release.contains(name), "{release}");
        });
    }
}

#[test]
fn python_runs_a_script_of_the_current_directory() {
    let (image, here) = (real("bookworm"), Scratch::below(Path::new("/var/tmp")));
    let script = "import os, sys, tempfile\n\
                  print(os.getcwd(), os.getuid(), sys.argv[1:])\n\
                  with tempfile.NamedTemporaryFile() as f: print(os.path.exists(f.name))\n\
                  open('out', 'w').write('done')\n";
    here.file("main.py", script);
    let wanted = format!("{} {} ['-c', '--id=3']\nTrue\n", here.path().display(), tester().uid);
    in_every_way(|way| {
        let words = [image.to_str().unwrap(), "/usr/bin/python3", "main.py", "-c", "--id=3"];
        let mut command = way.command(words);
        assert_eq!(outcome(command.current_dir(here.path())).ok(), wanted);
        assert_eq!(fs::read(here.join("out")).unwrap(), b"done");
        fs::remove_file(here.join("out")).unwrap();
    });
}

#[test]
fn programs_linked_to_musl_run() {
    let image = real("musl");
    in_every_way(|way| {
        let home = format!("musl in {}\n", tester().home.display());
        assert_eq!(run(way, &image, &["/bin/hello"]).ok(), home);
        assert_eq!(run(way, &image, &["hello"]).ok(), home);
        assert_eq!(run(way, &image, &["sh", "-c", "id -un"]).ok(), format!("{}\n", tester().name));
    });
}

#[test]
fn an_image_of_root_that_is_read_only_runs() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny().closed();
    let before = fingerprint(image.path());
    in_every_way(|way| {
        let home = format!("{}\n", tester().home.display());
        assert_eq!(way.probe(image.path(), &[], "cwd").ok(), home);
    });
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn an_image_on_a_read_only_file_system_runs() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let path = image.path().display();
    let setup = format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}");
    in_every_way(|way| {
        let command = way.prober(image.path(), &["--bind=/home/nosuid:/new/er"], "kind /new/er");
        assert_eq!(on_host(&setup, &command).ok(), "directory\n");
    });
}

/// A copy of the image linked to musl on another file system.
fn copy_of_musl(directory: &Path) -> Scratch {
    let copy = Scratch::below(directory);
    let copied = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args([real("musl"), copy.join("image")])
        .status();
    assert!(copied.unwrap().success());
    copy
}

#[test]
fn an_image_on_a_nosuid_and_nodev_file_system_runs() {
    if lacks("root") {
        return;
    }
    let copy = copy_of_musl(Path::new("/home/nosuid"));
    in_every_way(|way| {
        let image = copy.join("image");
        let home = format!("musl in {}\n", tester().home.display());
        assert_eq!(run(way, &image, &["hello"]).ok(), home);
        let script = "echo x > /dev/null && cat /proc/self/comm";
        assert_eq!(run(way, &image, &["sh", "-c", script]).ok(), "cat\n");
    });
}

#[test]
fn an_image_on_a_noexec_file_system_is_explained() {
    if lacks("root") {
        return;
    }
    let copy = copy_of_musl(Path::new("/home/noexec"));
    let image = copy.join("image");
    // With nothing missing in the image's root, and with something.
    for directory in ["dev", "proc", "sys", "home"] {
        in_every_way(|way| {
            for command in ["/bin/hello", "hello"] {
                run(way, &image, &[command]).fails_with(
                    126,
                    &[
                        "cannot run /bin/hello: Permission denied",
                        "hint: ",
                        "noexec",
                        "keep the image",
                    ],
                );
            }
        });
        fs::create_dir(image.join(directory)).unwrap();
    }
}

#[test]
fn a_program_of_the_host_on_noexec_is_explained() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::below(Path::new("/home/noexec")));
    copy_program(&program("probe"), &data.join("probe"));
    in_every_way(|way| {
        let option = bind(data.path(), ":/data:ro");
        way.hrun([&*option, image.path().to_str().unwrap(), "/data/probe"])
            .fails_with(126, &["cannot run /data/probe: Permission denied", "noexec"]);
    });
}

/// Asserts that a container has all that programs expect.
fn assert_complete(way: Way, image: &Path, what: &str) {
    let see = |words: &str| way.probe(image, &[], words);
    let kinds = see("kind /etc /tmp /dev/null /proc/self/status /sys/kernel /etc/hosts").lines();
    assert_eq!(kinds, ["directory", "directory", "device", "file", "directory", "file"], "{what}");
    assert_eq!(see("cwd").ok(), format!("{}\n", tester().home.display()), "{what}");
    for file in ["/etc/passwd", "/etc/group"] {
        assert!(see(&format!("cat {file}")).ok().contains(&tester().name), "{what}");
    }
    let script = "echo x > /tmp/$$ && busybox rm /tmp/$$ && echo y > $HOME/$$ && \
                  busybox rm $HOME/$$ && echo z > /dev/null && echo fine";
    assert_eq!(run(way, image, &["/bin/busybox", "sh", "-c", script]).ok(), "fine\n", "{what}");
}

#[test]
fn whatever_an_image_lacks_is_there() {
    for missing in
        ["etc/hosts", "etc/passwd", "etc/group", "etc", "tmp", "dev", "proc", "sys", "home", "var"]
    {
        let image = Image::tiny();
        image.file("etc/hosts", "");
        let path = image.join(missing);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        let before = fingerprint(image.path());
        in_every_way(|way| assert_complete(way, image.path(), missing));
        assert_eq!(fingerprint(image.path()), before);
    }
}

#[test]
fn an_image_of_programs_alone_is_completed() {
    let image = Image::bare();
    let before = fingerprint(image.path());
    in_every_way(|way| assert_complete(way, image.path(), "all"));
    assert_eq!(fingerprint(image.path()), before);
}

#[test]
fn an_image_of_programs_alone_that_belongs_to_root_is_completed() {
    if lacks("root") {
        return;
    }
    let image = Image::bare().closed();
    in_every_way(|way| assert_complete(way, image.path(), "all"));
}

#[test]
fn a_single_static_program_is_an_image() {
    let image = Scratch::new();
    let copy = image.join("probe");
    copy_program(&program("probe"), &copy);
    in_every_way(|way| {
        assert_eq!(run(way, image.path(), &["/probe", "kind", "/proc/self"]).status, Some(0));
    });
}

#[test]
fn image_paths_may_have_odd_names() {
    let scratch = Scratch::new();
    for name in ["a b", "a:b", "a,b", "back\\slash", "new\nline", "quote'\"", "caf\u{e9}", "#x"] {
        let parent = scratch.directory(name);
        let image = Image::in_scratch(Scratch::below(&parent));
        let data = Scratch::new();
        in_every_way(|way| {
            let options = [&*bind(data.path(), ":/new/er:ro"), "--root"];
            let seen = way.probe(image.path(), &options, "ls /new");
            assert_eq!(seen.lines(), ["er"], "{name}");
        });
        for option in ["-W", "-w"] {
            Way(&[]).probe(image.path(), &[option], "write /new.txt x").ok();
        }
        assert!(image.join("new.txt").exists());
    }
}

#[test]
fn an_image_may_be_named_through_links_and_relative_to_here() {
    let image = Image::tiny();
    let parent = image.path().parent().unwrap().to_path_buf();
    symlink(&parent, parent.join("absolute")).unwrap();
    symlink("image", parent.join("relative")).unwrap();
    symlink("absolute/relative", parent.join("both")).unwrap();
    let home = format!("{}\n", parent.display());
    in_every_way(|way| {
        for name in ["image", "image/", "./image", "both", "relative", "image/../image/."] {
            let mut command = way.command([name, "/bin/probe", "cwd"]);
            assert_eq!(outcome(command.current_dir(&parent)).ok(), home, "{name}");
        }
        let mut command = way.command([".", "/bin/probe", "kind", "/bin/probe"]);
        assert_eq!(outcome(command.current_dir(image.path())).ok(), "file\n");
    });
}

#[test]
fn what_is_no_image_is_explained() {
    let data = Scratch::new();
    data.file("text", "hello");
    data.file("image.sqfs", "hsqs....");
    data.file("image.tar.gz", b"\x1f\x8b\x08\x00");
    symlink("loop", data.join("loop")).unwrap();
    for (name, parts) in [
        ("./missing", ["No such file or directory", "hint: IMAGE is the path"]),
        ("missing", ["no such file, and no image of this name in ", "hint: himage pull missing"]),
        ("debian:12", ["no such file, and no image of this name in ", "himage pull debian:12;"]),
        ("text", ["it is a file, but no image", "hint: IMAGE comes before the command"]),
        ("image.sqfs", ["ends before the end of its superblock", "copy or make it again"]),
        ("image.tar.gz", ["it is a compressed archive", "tar -C image.tar.gz.d -xf image.tar.gz"]),
        ("loop", ["Too many symbolic links", "loop"]),
    ] {
        hrun_in(data.path(), [name, "true"]).fails(&parts);
    }
}

#[test]
fn an_image_that_is_closed_to_the_caller_is_explained() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny().closed();
    chmod(image.path(), 0o700);
    in_every_way(|way| {
        way.probe(image.path(), &[], "cwd").fails(&["Permission denied", "chmod -R a+rX IMAGE"]);
    });
}

const BUNDLE: &str = r#"{
    "ociVersion": "1.0.2",
    "root": {"path": "tree"},
    "process": {
        "cwd": "/opt", "user": {"uid": 0, "gid": 0},
        "env": ["GREETING=hello from the bundle"],
        "args": ["/bin/sh", "-c", "echo $GREETING in $PWD"]
    }
}"#;

/// Moves an image into a bundle, under a name, and gives back the bundle's directory.
fn bundle_of(image: &Image, name: &str) -> PathBuf {
    let bundle = image.path().parent().unwrap().join("bundle");
    fs::create_dir(&bundle).unwrap();
    fs::rename(image.path(), bundle.join(name)).unwrap();
    bundle
}

#[test]
fn an_oci_bundle_runs_as_it_says() {
    let image = Image::tiny();
    let bundle = bundle_of(&image, "tree");
    fs::write(bundle.join("config.json"), BUNDLE).unwrap();
    let from_root = |way: Way, words: &[&OsStr]| outcome(way.command(words).current_dir("/"));
    in_every_way(|way| {
        let said = from_root(way, &[bundle.as_os_str()]);
        assert_eq!(said.ok(), "hello from the bundle in /opt\n");
        let words = ["/bin/probe".as_ref(), "env".as_ref(), "GREETING".as_ref()];
        let said = from_root(way, &[&[bundle.as_os_str()], &words[..]].concat());
        assert_eq!(said.ok(), "hello from the bundle\n");
    });
}

static CONFIG_OF_ROOTFS: LazyLock<String> =
    LazyLock::new(|| BUNDLE.replace("\"tree\"", "\"rootfs\""));

const IMAGE_CONFIG: &str = r#"{
    "architecture": "amd64", "os": "linux",
    "config": {
        "Env": ["GREETING=hello from the image"], "WorkingDir": "/opt",
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo $GREETING in $PWD"]
    },
    "rootfs": {"type": "layers", "diff_ids": []}
}"#;

#[test]
fn an_unpacked_image_runs_as_the_configuration_beside_it_says() {
    let image = Image::tiny();
    let bundle = bundle_of(&image, "rootfs");
    fs::write(bundle.join("image.json"), IMAGE_CONFIG).unwrap();
    in_every_way(|way| {
        for path in [bundle.clone(), bundle.join("rootfs")] {
            let said = outcome(way.command([&path]).current_dir("/"));
            assert_eq!(said.ok(), "hello from the image in /opt\n", "{}", path.display());
        }
    });
}

#[test]
fn a_root_directory_that_is_a_link_is_followed_in_its_bundle() {
    let image = Image::tiny();
    let bundle = bundle_of(&image, "tree");
    symlink("tree", bundle.join("rootfs")).unwrap();
    let outside = Scratch::new();
    for (name, config) in [("image.json", IMAGE_CONFIG), ("config.json", &*CONFIG_OF_ROOTFS)] {
        fs::write(bundle.join(name), config).unwrap();
        in_every_way(|way| {
            for path in [bundle.clone(), bundle.join("rootfs")] {
                let said = outcome(way.command([&path]).current_dir("/")).ok();
                assert!(said.ends_with(" in /opt\n"), "{}: {said}", path.display());
            }
        });
        // One that leads out, or nowhere, is named.
        for (target, wanted) in [
            (outside.path().to_str().unwrap(), "that its root is "),
            ("no/such", "rootfs is a link that leads to no directory"),
        ] {
            fs::remove_file(bundle.join("rootfs")).unwrap();
            symlink(target, bundle.join("rootfs")).unwrap();
            hrun([&bundle]).fails(&["cannot use ", wanted, "hint: "]);
        }
        fs::remove_file(bundle.join("rootfs")).unwrap();
        symlink("tree", bundle.join("rootfs")).unwrap();
        fs::remove_file(bundle.join(name)).unwrap();
    }
}

#[test]
fn a_broken_configuration_is_named() {
    let image = Image::tiny();
    let bundle = bundle_of(&image, "rootfs");
    let config = bundle.join("image.json");
    fs::write(&config, "{").unwrap();
    hrun([&bundle]).fails(&[config.to_str().unwrap(), "hint: repair the file, or remove it"]);
}

#[test]
fn a_container_can_start_another() {
    let (outer, inner) = (Image::tiny(), Image::tiny());
    inner.file("opt/note", "of the inner image");
    let option = bind(&program("hrun"), ":/opt/hrun:ro");
    let inner = inner.path().to_str().unwrap().to_owned();
    in_every_way(|way| {
        for options in [&[][..], &["--root"], &["-W"]] {
            if way.0.iter().any(|option| option.contains("overlay")) && options == ["-W"] {
                continue;
            }
            let outer = [outer.path().to_str().unwrap(), "/opt/hrun"];
            let words = [way.0, &[&*inner, "/bin/probe", "cat", "/opt/note"]].concat();
            let seen = way.hrun([options, &[&option], &outer, &words].concat());
            assert_eq!(seen.ok(), "of the inner image", "{options:?}");
        }
    });
}

#[test]
fn the_container_of_a_container_has_all_it_needs() {
    let (outer, inner) = (Image::tiny(), Image::bare());
    let option = bind(&program("hrun"), ":/opt/hrun:ro");
    in_every_way(|way| {
        let see = |words: &[&str]| {
            let outer = [&option, outer.path().to_str().unwrap(), "/opt/hrun"];
            let inner = [inner.path().to_str().unwrap(), "/bin/probe"];
            way.hrun([&outer[..], way.0, &inner, words].concat())
        };
        assert_eq!(see(&["cwd"]).ok(), format!("{}\n", tester().home.display()));
        assert_eq!(see(&["kind", "/dev/null", "/proc/self/status"]).lines(), ["device", "file"]);
        assert!(see(&["cat", "/etc/passwd"]).ok().contains(&tester().name));
        see(&["write", "/etc/new", "x"]).refused("EROFS");
    });
}
