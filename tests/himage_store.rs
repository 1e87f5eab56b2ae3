//! The store: names, layers that are shared, several commands at once, removal, verification.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::support::Outcome;
use super::support::keep::{Made, SAYS, Store};
use super::support::scratch::chmod;

/// A store with an image of two layers, and one more layer under another name.
fn filled(made: &Made) -> Store {
    made.sh("umoci config --image layout:app --tag other --config.env WHO=other");
    made.open();
    let store = Store::new();
    let layout = made.path("layout");
    for (image, name) in [("--image=app", "app:1"), ("--image=other", "other")] {
        store.himage(["import".as_ref(), image.as_ref(), layout.as_os_str(), name.as_ref()]).ok();
    }
    store
}

#[track_caller]
fn import(store: &Store, made: &Made, image: &str, name: &str) -> Outcome {
    let layout = made.path("layout");
    let image = format!("--image={image}");
    store.himage(["import".as_ref(), image.as_ref(), layout.as_os_str(), name.as_ref()])
}

#[test]
fn what_images_share_is_kept_once_and_until_the_last_is_gone() {
    let made = Made::new();
    let store = filled(&made);
    // Two layers; a configuration and a manifest of each.
    assert_eq!(store.names("blobs/sha256").len(), 6);
    assert_eq!(store.names("trees").len(), 2);
    let list = store.himage(["list"]).lines();
    assert_eq!(list.len(), 3, "{list:?}");
    assert!(list[1].starts_with("app:1 ") && list[2].starts_with("other:latest "), "{list:?}");

    let removed = store.himage(["remove", "other"]).ok();
    assert!(removed.starts_with("removed other:latest\nremoved sha256:"), "{removed}");
    assert_eq!(store.names("blobs/sha256").len(), 4);
    assert_eq!(store.hrun(&["app:1"]).ok(), SAYS);
    store.is_sound();

    store.himage(["remove", "app:1"]).ok();
    for directory in ["blobs/sha256", "trees", "names", "tmp"] {
        assert_eq!(store.names(directory), [""; 0], "{directory}");
    }
    store.himage(["remove", "app:1"]).fails_as(
        "himage",
        125,
        &["find app:1: there is no such image"],
    );
}

#[test]
fn an_image_has_several_names_and_a_name_one_image() {
    let made = Made::new();
    let store = filled(&made);
    let digest = fs::read_link(store.path().join("names/docker.io/library/other:latest")).unwrap();
    assert!(digest.is_relative(), "{}", digest.display());
    let digest = digest.file_name().unwrap().to_str().unwrap().to_owned();

    import(&store, &made, "other", "group/second:2").ok();
    assert_eq!(store.names("trees").len(), 2);
    let removed = store.himage(["remove", "other"]).ok();
    assert_eq!(removed, "removed other:latest\n");
    assert_eq!(store.hrun(&["group/second:2"]).ok(), SAYS.replace("image", "other"));

    // Another image takes the name; the one that had it is named by its digest only.
    import(&store, &made, "app", "group/second:2").ok();
    assert_eq!(store.hrun(&["group/second:2"]).ok(), SAYS);
    let list = store.himage(["list"]).ok();
    assert!(list.contains(&format!("\n-               {}", &digest[..12])), "{list}");
    store.himage(["inspect", &digest[..8]]).ok();
    let removed = store.himage(["remove", "--unnamed"]).ok();
    assert!(removed.starts_with(&format!("removed sha256:{digest}\n")), "{removed}");

    // By its digest an image goes with all its names.
    let kept = store.names("trees").pop().unwrap();
    let removed = store.himage(["remove", &format!("sha256:{kept}")]).ok();
    assert!(removed.starts_with("removed group/second:2\nremoved app:1\n"), "{removed}");
    assert_eq!(store.names("names"), [""; 0]);
}

#[test]
fn several_imports_at_once_make_one_image() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app:1");
    let store = Store::new();
    let forms = ["layout", "layout", "docker.tar", "layout", "docker.tar", "bundle/rootfs"];
    let names = ["one", "two", "three", "four", "five", "six"];
    let commands: Vec<_> = forms
        .iter()
        .zip(names)
        .map(|(form, name)| {
            let source = made.path(form);
            let mut command = store.command(["import".as_ref(), source.as_os_str(), name.as_ref()]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for command in commands {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    // skopeo writes layers that are not compressed into its archive: another manifest.
    assert_eq!(store.names("trees").len(), 3);
    for name in &names[..5] {
        assert_eq!(store.hrun(&[name]).ok(), SAYS);
    }
    store.is_sound();
}

#[test]
fn what_was_changed_is_found() {
    let made = Made::new();
    let store = filled(&made);
    store.himage(["verify"]).ok();
    let tree = store.path().join("names/docker.io/library/app:1").canonicalize().unwrap();
    let change = |file: PathBuf| {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let mode = file.metadata().unwrap().permissions().mode();
        chmod(&file, 0o644);
        fs::write(&file, bytes).unwrap();
        chmod(&file, mode & 0o7777);
    };
    change(tree.join("rootfs/etc/passwd"));
    fs::remove_file(tree.join("rootfs/etc/group")).unwrap();
    let outcome = store.himage(["verify", "app:1"]);
    assert_eq!(outcome.status, Some(125));
    for part in [
        "himage: app:1: etc/passwd is changed: ",
        "himage: app:1: etc/group is missing\n",
        "himage: cannot verify app:1: it is not what it was\n",
        "hint: get it anew: himage remove app:1",
    ] {
        assert!(outcome.stderr.contains(part), "no {part} in\n{}", outcome.stderr);
    }
    store.himage(["verify", "other"]).ok();

    // A layer: both images have it.
    let blob = fs::read_dir(store.path().join("blobs/sha256")).unwrap();
    let blob =
        blob.map(|entry| entry.unwrap().path()).max_by_key(|path| path.metadata().unwrap().len());
    change(blob.unwrap());
    let outcome = store.himage(["verify", "other"]);
    assert!(outcome.stderr.contains(" has the digest sha256:"), "{}", outcome.stderr);

    // As the hint says; the damaged layer is still there for the other image.
    store.himage(["remove", "app:1"]).ok();
    import(&store, &made, "app", "app:1").fails_as(
        "himage",
        125,
        &["was damaged, and is removed: try again"],
    );
    import(&store, &made, "app", "app:1").ok();
    assert_eq!(store.hrun(&["app:1"]).ok(), SAYS);
    store.is_sound();
}

#[test]
fn a_broken_image_is_listed_and_can_be_removed() {
    let made = Made::new();
    let store = filled(&made);
    let link = store.path().join("names/docker.io/library/app:1");
    fs::write(link.join("image.json"), "{").unwrap();
    let list = store.himage(["list"]).lines();
    assert!(list[1].contains(" broken "), "{list:?}");
    let remedy = ["image.json: ", "hint: himage remove "];
    store.himage(["inspect", "app:1"]).fails_as("himage", 125, &remedy);
    store.himage(["remove", "app:1"]).ok();
    import(&store, &made, "app", "app:1").ok();
    store.is_sound();
}

#[test]
fn a_store_that_may_only_be_read_is_read() {
    let made = Made::new();
    let store = filled(&made);
    // All but the trees themselves, as their files have their modes for themselves.
    let close = |mode: &str| {
        let script = "find \"$0\" -name rootfs -prune -o ! -type l -exec chmod \"$1\" {} +";
        let mut sh = std::process::Command::new("sh");
        assert!(sh.args(["-c", script]).arg(store.path()).arg(mode).status().unwrap().success());
    };
    close("a-w");
    store.himage(["list"]).ok();
    store.himage(["verify"]).ok();
    store.himage(["inspect", "app:1"]).ok();
    assert_eq!(store.hrun(&["app:1"]).ok(), SAYS);
    let remedy = ["Permission denied", "hint: choose a directory you may write to: --store DIR"];
    import(&store, &made, "app", "third").fails_as("himage", 125, &remedy);
    store.himage(["remove", "app:1"]).fails_as("himage", 125, &["Permission denied"]);
    close("u+w");
    store.is_sound();
}

/// A tree has directories its owner has closed to himself, files nobody may write, and much else.
#[test]
fn closed_directories_are_removed_as_well() {
    let made = Made::new();
    made.sh("mkdir -p bundle/rootfs/closed/inner; touch bundle/rootfs/closed/inner/file");
    made.sh("chmod 500 bundle/rootfs/closed/inner; chmod 0 bundle/rootfs/closed");
    made.sh("tar -C bundle/rootfs -cf root.tar .; chmod a+r root.tar; chmod -R u+rwX bundle");
    let store = Store::new();
    store.himage(["import".as_ref(), made.path("root.tar").as_os_str(), "closed".as_ref()]).ok();
    store.himage(["verify"]).ok();
    store.himage(["remove", "closed"]).ok();
    assert_eq!(store.names("trees"), [""; 0]);
    assert_eq!(store.names("tmp"), [""; 0]);
}
