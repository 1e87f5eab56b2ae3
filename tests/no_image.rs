//! Directories that are no images: none is written to, or taken for an image that has its name; and
//! images that are kept in a store are changed by no command.

use std::fs;
use std::path::Path;

use super::support::keep::{Made, Store};
use super::support::scratch::{checksum, copy_program, fingerprint};
use super::support::{Image, Outcome, Scratch, Way, hrun, hrun_in, in_every_way, outcome, program};

/// Directories of users, as they have them.
fn projects() -> Vec<Scratch> {
    let empty = Scratch::new();
    let sources = Scratch::new();
    sources.file("Makefile", "all:\n");
    sources.file("src/main.c", "");
    // What python -m venv or a prefix of one's own looks like.
    let prefix = Scratch::new();
    for name in ["bin/python3", "bin/activate", "etc/app.conf", "lib/python3/x.py"] {
        prefix.file(name, "");
    }
    vec![empty, sources, prefix]
}

#[test]
fn a_directory_that_is_no_image_is_not_written_to() {
    for project in projects() {
        let directory = project.path().to_str().unwrap();
        let before = fingerprint(project.path());
        in_every_way(|way| {
            // As docker's and podman's users have it: -w DIR IMAGE COMMAND.
            for option in ["-w", "--write"] {
                let mut command = way.command([option, directory, "img", "cmd"]);
                outcome(command.current_dir(project.path())).fails(&[
                    &format!("cannot write to {directory}: it is no image: "),
                    "from: --write\n",
                    &format!("hrun --cd {directory} img ..."),
                    &format!("mkdir -p {directory}/usr/bin"),
                ]);
            }
            let mut command = way.command(["--home", directory, "img", "cmd"]);
            outcome(command.current_dir(project.path())).fails_with(127, &["cannot run img: "]);
        });
        let layer = format!("--overlay={directory}/layer");
        for option in ["-W", "--write-fake", &layer] {
            hrun_in(project.path(), [option, directory, "img", "cmd"]).fails_with(
                127,
                &["cannot run img: ", "is perhaps no image", "hrun --cd ", "img ..."],
            );
        }
        assert_eq!(fingerprint(project.path()), before);
    }
}

#[test]
fn what_the_hint_says_makes_it_an_image() {
    let image = Scratch::new();
    copy_program(&program("probe"), &image.join("probe"));
    let path = image.path().to_str().unwrap();
    let run = |options: &[&str], words: &[&str]| hrun([options, &[path], words].concat());
    run(&[], &["/probe", "cwd"]).ok();
    run(&["-w"], &["/probe", "write", "/new", "x"]).fails(&["it is no image", "usr/bin"]);
    image.directory("usr/bin");
    run(&["-w"], &["/probe", "write", "/new", "x"]).ok();
    assert_eq!(fs::read(image.join("new")).unwrap(), b"x");
}

#[test]
fn nothing_is_made_for_a_command_that_is_not_there() {
    let (image, layer) = (Image::bare(), Scratch::new());
    let before = fingerprint(image.path());
    let option = format!("--overlay={}", layer.join("new").display());
    let run = |way: Way, option: &str| {
        for command in ["no-such-program", "/no/such", "./such"] {
            way.hrun([option, image.path().to_str().unwrap(), command]).fails_with(
                127,
                &[&format!("cannot run {command}: No such file"), "no such program inside"],
            );
        }
    };
    in_every_way(|way| run(way, "--write"));
    run(Way(&[]), &option);
    assert_eq!(fingerprint(image.path()), before);
    assert!(!layer.join("new").exists());
    hrun(["--write", image.path().to_str().unwrap(), "true"]).ok();
}

/// A store with an image called `app`, and the path of that.
fn store() -> (Store, Made) {
    let (store, made) = (Store::new(), Made::new());
    let layout = made.path("layout");
    store.himage(["import".as_ref(), layout.as_os_str(), "hello".as_ref()]).ok();
    (store, made)
}

fn tree(store: &Store) -> std::path::PathBuf {
    store.path().join("names/docker.io/library/hello:latest").canonicalize().unwrap()
}

#[test]
fn an_image_of_a_store_is_not_written_to() {
    let (store, _made) = store();
    let tree = tree(&store);
    let before = checksum(&tree);
    let link = store.path().join("names/docker.io/library/hello:latest");
    for named in [Path::new("hello"), &link, &tree, &tree.join("rootfs")] {
        let named = named.to_str().unwrap();
        store.hrun(&["--write", named, "touch", "/new"]).fails(&[
            &format!("cannot write to the image {named}: it is kept in the store "),
            "from: --write\n",
            &format!("himage convert {named} DIR && hrun --write DIR"),
            &format!("hrun --overlay DIR {named}"),
        ]);
    }
    assert_eq!(checksum(&tree), before);
    store.himage(["verify"]).ok();
    // What the hint says works.
    let scratch = Scratch::new();
    let copy = scratch.join("copy");
    store.himage(["convert".as_ref(), "hello".as_ref(), copy.as_os_str()]).ok();
    store.hrun(&["--write", copy.to_str().unwrap(), "touch", "/new"]).ok();
    assert_eq!(checksum(&tree), before);
}

/// Runs what the store calls hello from a directory.
fn hello(store: &Store, directory: &Path, named: &str, words: &[&str]) -> Outcome {
    let option = format!("--store={}", store.path().display());
    hrun_in(directory, [&[&*option, named], words].concat())
}

#[test]
fn a_directory_or_file_that_is_no_image_does_not_hide_one_of_the_store() {
    let (store, _made) = store();
    let (with_directory, with_file, with_image) = (Scratch::new(), Scratch::new(), Scratch::new());
    with_directory.file("hello/main.c", "");
    with_file.file("hello", "#!/bin/sh\n");
    let image = Image::in_scratch(Scratch::below(with_image.path()));
    fs::rename(image.path(), with_image.join("hello")).unwrap();
    for scratch in [&with_directory, &with_file] {
        let seen = hello(&store, scratch.path(), "hello", &["cat", "/etc/layer"]);
        let said = "warning: ./hello is no image; the image hello:latest of the store is run";
        assert!(seen.stderr.contains(said), "{seen:?}");
        assert_eq!(seen.succeeds(), "upper\n");
    }
    hello(&store, with_directory.path(), "./hello", &["cat"]).fails_with(127, &["no image"]);
    hello(&store, with_file.path(), "./hello", &["cat"]).fails(&["it is a file, but no image"]);
    hello(&store, with_image.path(), "hello", &["probe", "cwd"]).ok();
}
