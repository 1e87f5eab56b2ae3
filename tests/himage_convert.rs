//! `himage convert`: every form into every other, and nothing is lost on the way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::himage_layers::{NASTY, flattened, in_shell, whole_seconds};
use super::support::archive::{Archive, complains, himage, layout, listing, same};
use super::support::run::program;
use super::support::scratch::{Scratch, checksum};
use super::support::{Image, as_tester, hrun, outcome};

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","created":"2020-01-02T03:04:05Z","author":"somebody","config":{"Env":["COLOUR=blue","PATH=/bin"],"WorkingDir":"/opt","Entrypoint":["/bin/echo"],"Cmd":["a b"],"Labels":{"key":"value"},"ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":[]}}"#;

#[track_caller]
fn convert(from: &Path, to: &Path, options: &[&str]) {
    let words = [Path::new("convert"), from, to];
    let options = options.iter().map(Path::new);
    assert_eq!(himage(words.into_iter().chain(options)).ok(), "", "{from:?} {to:?}");
}

/// A configuration without what says which layers there are.
fn said(config: &Path) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("rootfs");
    object.remove("history");
    value
}

/// A bundle with a tree that has everything.
fn bundle(scratch: &Scratch) -> PathBuf {
    let tree = scratch.directory("bundle/rootfs");
    in_shell(&tree, NASTY);
    in_shell(&tree, "chmod 755 closed");
    scratch.file("bundle/image.json", CONFIG);
    scratch.join("bundle")
}

#[test]
fn a_walk_through_all_forms_loses_nothing() {
    let scratch = Scratch::new();
    let first = bundle(&scratch);
    let wanted = flattened(listing(&first.join("rootfs")));
    let mut from = first.clone();
    // Parts of seconds, and what was before 1970, last until the first squashfs file.
    let mut exact = true;
    for (name, options) in [
        ("one", &[][..]),
        ("two.tar.gz", &[]),
        ("three.d", &[]),
        ("four.oci", &["--compress=zstd"]),
        ("five", &["--format=dir"]),
        ("six.tar", &["--format=docker-archive"]),
        ("seven", &[]),
        ("eight.tar.xz", &[]),
        ("nine.oci", &[]),
        ("ten.sqfs", &[]),
        ("eleven", &[]),
        ("twelve.sqfs", &["--compress=gzip"]),
        ("thirteen.tar.zst", &[]),
        ("last", &[]),
    ] {
        let to = scratch.join(name);
        convert(&from, &to, options);
        exact &= !name.ends_with(".sqfs");
        if to.join("rootfs").is_dir() {
            let found = listing(&to.join("rootfs"));
            match exact {
                true => same(&found, &wanted),
                false => same(&packed_times(&found), &packed_times(&wanted)),
            }
            assert_eq!(said(&to.join("image.json")), said(&first.join("image.json")), "{name}");
        }
        from = to;
    }
    assert_eq!(from, scratch.join("last"));
}

/// Times as a squashfs file has them: whole seconds, none before 1970.
fn packed_times(listing: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let cut = |(name, line): (&String, &String)| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let seconds: i64 = words[1].split('.').next().unwrap().parse().unwrap();
        words[1] = seconds.max(0).to_string();
        (name.clone(), words.join(" "))
    };
    listing.iter().map(cut).filter(|(name, _)| name != "\"odd\"").collect()
}

#[test]
fn hrun_runs_every_form_with_its_configuration() {
    let image = Image::tiny();
    let scratch = Scratch::new();
    scratch.directory("bundle");
    let copied =
        Command::new("cp").arg("-a").args([image.path(), &scratch.join("bundle/rootfs")]).status();
    assert!(copied.unwrap().success());
    scratch.file("bundle/image.json", CONFIG);
    let bundle = scratch.join("bundle");
    assert_eq!(hrun([&bundle]).ok(), "a b\n");
    for (name, options) in [
        ("zstd.sqfs", &["--compress=zstd"][..]),
        ("gzip.sqfs", &["--compress=gzip"]),
        ("xz.sqfs", &["--compress=xz"]),
        ("lz4.sqfs", &["--compress=lz4"]),
        ("none.sqfs", &["--compress=none"]),
        ("directory", &[]),
    ] {
        let to = scratch.join(name);
        convert(&bundle, &to, options);
        assert_eq!(hrun([&to]).ok(), "a b\n", "{name}");
        let see = hrun([to.as_path(), Path::new("sh"), Path::new("-c"), Path::new("echo $COLOUR")]);
        assert_eq!(see.ok(), "blue\n", "{name}");
    }
}

#[test]
fn other_metadata_becomes_an_oci_configuration_and_stays() {
    let image = Image::tiny();
    image.file("ch/environment", "COLOUR=blue\nBOTH=$COLOUR:x\nPATH=/own:$PATH\n");
    image.file("ch/metadata.json", r#"{"cwd": "/opt", "labels": {"a": "b"}}"#);
    let scratch = Scratch::new();
    let (packed, oci, made) = (scratch.join("x.sqfs"), scratch.join("x.oci"), scratch.join("made"));
    convert(image.path(), &packed, &[]);
    convert(&packed, &oci, &[]);
    convert(&oci, &made, &[]);
    let said = said(&made.join("image.json"));
    let wanted = serde_json::json!({
        "Env": ["BOTH=blue:x", "COLOUR=blue", "PATH=/own:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "WorkingDir": "/opt",
        "Labels": {"a": "b"},
    });
    assert_eq!(said["config"], wanted);
    assert_eq!(
        fs::read(made.join("rootfs/ch/environment")).unwrap(),
        fs::read(image.join("ch/environment")).unwrap()
    );
    // A tree that says nothing of itself stays a tree.
    let plain = Image::tiny();
    let (packed, made) = (scratch.join("y.sqfs"), scratch.join("plain"));
    convert(plain.path(), &packed, &[]);
    convert(&packed, &made, &[]);
    assert!(made.join("bin/sh").exists() && !made.join("rootfs").exists());
    same(&whole_seconds(&listing(&made)), &whole_seconds(&flattened(listing(plain.path()))));
}

#[test]
fn the_same_tree_makes_the_same_file() {
    let scratch = Scratch::new();
    let first = bundle(&scratch);
    for (number, name) in
        ["x.sqfs", "x.tar", "x.tar.gz", "x.tar.zst", "x.oci"].into_iter().enumerate()
    {
        let make = |directory: &str, from: &Path| {
            let to = scratch.directory(&format!("{directory}{number}")).join(name);
            convert(from, &to, &[]);
            to
        };
        let copy = make("copy", &first).with_file_name("copied");
        convert(&first, &copy, &["--format=dir"]);
        let (one, other) = (make("one", &first), make("other", &copy));
        let sum = |path: &Path| match path.is_dir() {
            true => checksum(path),
            false => format!("{:?}", images::digest::Digest::of(&fs::read(path).unwrap())),
        };
        // A copy has the modes that himage gives.
        let again = make("again", &copy);
        assert_eq!(sum(&other), sum(&again), "{name}");
        assert_eq!(sum(&one), sum(&make("twice", &first)), "{name}");
    }
}

#[test]
fn what_is_there_stays_unless_told_otherwise() {
    let image = Image::tiny();
    let scratch = Scratch::new();
    let file = scratch.file("x.sqfs", "precious");
    let directory = scratch.directory("made");
    scratch.file("made/precious", "x");
    let old = scratch.directory("old");
    in_shell(&old, "mkdir etc usr bin; touch etc/old");
    for to in [&file, &old] {
        complains(
            &himage([Path::new("convert"), image.path(), to]),
            &["it is there already", "--force"],
        );
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    for to in [&file, &old] {
        convert(image.path(), to, &["--force"]);
    }
    assert!(fs::read(&file).unwrap().starts_with(b"hsqs"));
    assert!(old.join("bin/sh").exists() && !old.join("etc/old").exists());
    for force in [&[][..], &["--force"]] {
        let words = [Path::new("convert"), image.path(), &directory];
        let outcome = himage(words.into_iter().chain(force.iter().map(Path::new)));
        complains(&outcome, &["it is a directory that is no image", "choose another name"]);
        assert!(!outcome.stderr.contains("rm "), "{}", outcome.stderr);
    }
    assert_eq!(fs::read(directory.join("precious")).unwrap(), b"x");
    assert_eq!(left(&scratch), ["made", "old", "x.sqfs"]);
}

/// The names in a directory, hidden ones too.
fn left(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn mistakes_are_explained() {
    let image = Image::tiny();
    let scratch = Scratch::new();
    let tree = image.path().to_str().unwrap();
    let to = |name: &str| scratch.join(name).display().to_string();
    let text = scratch.file("text", "no image at all\n".repeat(100)).display().to_string();
    for (words, parts) in [
        (vec![tree, &to("x.sif")], vec!["himage writes no SIF files", ".sqfs"]),
        (vec![tree, &to("x"), "--compress=zstd"], vec!["a directory is not compressed"]),
        (vec![tree, &to("x.tar.gz"), "--compress=zstd"], vec!["say different things"]),
        (
            vec![tree, &to("x.tar"), "--compress=lz4", "--format=docker-archive"],
            vec!["lz4 is for squashfs", "zstd, gzip"],
        ),
        (vec![tree, &to("x.oci"), "--compress=xz"], vec!["OCI images have gzip, zstd or none"]),
        (vec![tree, &to("no/x.sqfs")], vec!["No such file or directory", "mkdir -p"]),
        (vec![&to("missing"), &to("x")], vec!["read", "missing", "No such file"]),
        (vec![&text, &to("x")], vec!["it is no tar archive"]),
        (
            vec![tree, image.join("opt/x.sqfs").to_str().unwrap()],
            vec!["it lies in the image it is made of"],
        ),
    ] {
        let words: Vec<&str> = ["convert"].into_iter().chain(words.iter().copied()).collect();
        complains(&himage(&words), &parts);
    }
    image.file("var/.wh.x", "");
    let words = ["convert", tree, &to("x.oci")];
    complains(&himage(words), &["var/.wh.x", "another file is gone"]);
    assert_eq!(left(&scratch), ["text"]);
}

#[test]
fn a_file_that_cannot_be_read_is_not_left_out() {
    let image = Image::tiny();
    let closed = image.file("opt/closed", "x");
    in_shell(image.path(), "chmod 0 opt/closed");
    let scratch = Scratch::new();
    for name in ["x.sqfs", "x.tar", "x.oci", "x"] {
        let outcome = himage([Path::new("convert"), image.path(), &scratch.join(name)]);
        complains(&outcome, &["opt/closed: Permission denied", "chmod u+rX"]);
    }
    assert!(left(&scratch).is_empty() && closed.exists());
}

#[test]
fn without_mksquashfs_the_remedy_is_told() {
    let image = Image::tiny();
    let scratch = Scratch::new();
    let mut command = as_tester(Path::new("/usr/bin/env"));
    command
        .arg("PATH=/nonexistent")
        .arg(program("himage"))
        .args(["--quiet", "convert"])
        .arg(image.path())
        .arg(scratch.join("x.sqfs"));
    complains(&outcome(&mut command), &["run mksquashfs", "apt install squashfs-tools"]);
    assert!(left(&scratch).is_empty());
}

/// Whenever it is killed, nothing that looks finished is there, and the next one clears up.
#[test]
fn a_killed_command_leaves_nothing_that_looks_finished() {
    let scratch = Scratch::new();
    let big = scratch.directory("big");
    in_shell(
        &big,
        "for i in $(seq 300); do head -c 20000 /dev/urandom > $i; done; mkdir d bin etc usr; ln 1 d/1",
    );
    let layer = Archive::new().file("x", "x").end();
    let image = layout(&scratch, "layout", &[("gzip -c", layer)], "");
    let wanted = listing(&big);
    for (name, from, rounds) in [
        ("a", &big, 6),
        ("b.sqfs", &big, 6),
        ("c.tar", &big, 6),
        ("d.oci", &big, 6),
        ("e", &image, 2),
    ] {
        let to = scratch.join(name);
        for round in 0..rounds {
            let mut command = as_tester(&program("himage"));
            command.args(["--quiet", "convert"]).args([from, &to]).arg("--force");
            let mut child = command.spawn().unwrap();
            // Not synchronisation: a moment that differs from round to round.
            std::thread::sleep(std::time::Duration::from_millis(7 * round * round));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert!(status.signal() == Some(9) || status.success());
            if name == "a" && to.exists() {
                same(&listing(&to), &wanted);
            }
            if name == "b.sqfs" && to.exists() {
                outcome(Command::new("unsquashfs").arg("-s").arg(&to)).ok();
            }
        }
        convert(from, &to, &["--force"]);
    }
    assert_eq!(left(&scratch), ["a", "b.sqfs", "big", "c.tar", "d.oci", "e", "layout"]);
}
