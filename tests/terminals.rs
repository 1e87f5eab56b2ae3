//! What others wrote reaches a terminal as letters only: names of files, metadata of images, headers
//! of archives, other processes' environments.

use std::ffi::OsStr;
use std::fs;

use serde_json::Value;

use super::support::archive::{Archive, himage, layout};
use super::support::keep::Store;
use super::support::scratch::own;
use super::support::{Image, Live, Outcome, Scratch, command, hrun, outcome};

/// A title for the window, a colour, and the same in C1; none of them may come through.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{9b}31mx\u{7f}";
/// How it is written.
const TAME: &str = r"\x1b]0;owned\x07\u009b31mx\x7f";

/// What was printed, which must be letters and ends of lines.
#[track_caller]
fn printed(outcome: &Outcome) -> String {
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
    assert_eq!(control, None, "{text:?}");
    text
}

#[track_caller]
fn tamed(outcome: &Outcome) -> String {
    let text = printed(outcome);
    assert!(text.contains(TAME), "{text}");
    text
}

/// A bundle of an image configuration in which all text is evil.
fn evil_bundle() -> (Scratch, Image) {
    let scratch = Scratch::new();
    let image = Image::tiny_in(Scratch::new());
    fs::rename(image.path(), scratch.join("rootfs")).unwrap();
    let evil = serde_json::to_string(EVIL).unwrap();
    let config = format!(
        r#"{{"architecture": "amd64", "os": "linux", "rootfs": {{"type": "layers", "diff_ids": []}},
            "config": {{"Env": ["EVIL={0}"], "User": {evil}, "WorkingDir": "/{0}", "Cmd": [{evil}],
            "Labels": {{"a{0}": {evil}}}}}}}"#,
        evil.trim_matches('"')
    );
    scratch.file("image.json", config);
    (scratch, image)
}

#[test]
fn metadata_of_an_image() {
    let (bundle, _image) = evil_bundle();
    let image = bundle.path().to_str().unwrap();
    for words in [&["--dry-run", image][..], &["-v", image, "/bin/true"], &[image]] {
        tamed(&hrun(words));
    }
    let text = tamed(&himage(["inspect", image]));
    assert!(text.contains(&format!("\nuser        {TAME}\n")), "{text}");
    assert!(text.contains(&format!("\nlabel       a{TAME}={TAME}\n")), "{text}");
    // Programs get what is there.
    let json = himage(["inspect", "--json", image]);
    printed(&json);
    let facts: Value = serde_json::from_str(&json.ok()).unwrap();
    assert_eq!(facts["user"], EVIL);
    let plan = hrun(["--dry-run=json", image]);
    printed(&plan);
    // The work directory is not there, which is said.
    assert!(plan.succeeds().contains(r"\u001b]0;owned\u0007\u009b31mx\u007f"));
}

#[test]
fn names_of_files_in_errors_notes_and_hints() {
    let (scratch, image) = (Scratch::new(), Image::tiny());
    let image = image.path().to_str().unwrap();
    let evil = format!("{EVIL}\nhrun: forged");
    let file = scratch.file(&evil, "{");
    let file = file.to_str().unwrap();
    let bind = format!("--bind={file}/nowhere");
    let profile = format!("--seccomp={file}");
    for words in [
        &[&bind, image, "true"][..],
        &[&profile, image, "true"],
        &["--plan", file],
        &[image, "--", &evil],
        &[file, "true"],
        &["--cd", &evil, image, "true"],
        &["--home", &evil, image, "true"],
        &[&evil, "true"],
    ] {
        let text = tamed(&hrun(words));
        assert!(!text.contains("\nhrun: forged"), "{text}");
    }
    let text = tamed(&outcome(command(["--doctor"]).env("HOME", file)));
    assert!(!text.contains("\nhrun: forged"), "{text}");
    for words in
        [&["import", file, "name"][..], &["inspect", file], &["convert", file, "/tmp/x.tar"]]
    {
        let text = printed(&himage(words));
        assert!(!text.contains("\nhrun: forged"), "{text}");
    }
}

#[test]
fn environments_of_other_containers() {
    let image = Image::tiny();
    let step = format!("{EVIL}\n1 forged");
    let words = [image.path().as_os_str(), "/bin/sh".as_ref(), "-c".as_ref()];
    let script = OsStr::new("export HRUN_IMAGE=\"$EVIL\"; exec sh -c 'echo up; cat'");
    let mut start = command(words.into_iter().chain([script]));
    let live = Live::start(start.env("EVIL", &step));
    assert_eq!(live.next_line(), "up");
    let listed = hrun(["--ps"]);
    let text = tamed(&listed);
    assert!(!text.contains("\n1 forged"), "{text}");
    let json: Value = serde_json::from_str(&hrun(["--ps=json"]).ok()).unwrap();
    let images = json.as_array().unwrap().iter().map(|container| &container["image"]);
    assert!(images.into_iter().any(|image| *image == step), "{json}");
}

#[test]
fn archives_and_what_a_store_has_of_them() {
    let scratch = Scratch::new();
    let name = format!("etc/{EVIL}\nhimage: forged");
    let bad = Archive::new().link(&name, EVIL).end();
    let good = Archive::new().file(&name, "1").file("bin/x", "2").end();
    let config = r#""Env":["A=1"]"#;
    let store = Store::new();
    for (image, layer) in [("bad", bad), ("good", good)] {
        let layout = layout(&scratch, image, &[("", layer)], config);
        let imported = store.himage(["import".as_ref(), layout.as_os_str(), OsStr::new(image)]);
        match image {
            "bad" => assert!(printed(&imported).contains("it is a hard link to"), "{imported:?}"),
            _ => drop(imported.ok()),
        }
    }
    let tree = fs::read_dir(store.path().join("trees")).unwrap().next().unwrap().unwrap().path();
    let file = tree.join("rootfs").join(&name);
    fs::remove_file(&file).unwrap();
    fs::write(tree.join(format!("rootfs/etc/{EVIL}")), "new").unwrap();
    own(&tree.join(format!("rootfs/etc/{EVIL}")));
    let text = tamed(&store.himage(["verify", "-q"]));
    assert!(!text.contains("\nhimage: forged"), "{text}");
}
