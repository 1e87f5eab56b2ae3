//! What `himage` refuses: bad images, bad stores, bad words; nothing half done is left.

use std::fs;

use super::support::keep::{Made, SAYS, Store};
use super::support::{Scratch, as_tester, outcome, program, real};

/// Asserts that an import is refused, and that nothing of it is in the store.
#[track_caller]
fn refused(source: &std::path::Path, parts: &[&str]) {
    let store = Store::new();
    let words = ["import".as_ref(), source.as_os_str(), "app".as_ref()];
    store.himage(words).fails_as("himage", 125, parts);
    for directory in ["trees", "names"] {
        assert_eq!(store.names(directory), [""; 0], "{directory}");
    }
    // A layer may go on where it ended.
    let left = store.names("tmp");
    assert!(left.iter().all(|name| name.ends_with(".part")), "{left:?}");
}

/// The largest blob of a layout: the first layer.
fn layer(made: &Made) -> std::path::PathBuf {
    let blobs = fs::read_dir(made.path("layout/blobs/sha256")).unwrap();
    let blobs = blobs.map(|entry| entry.unwrap().path());
    blobs.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn layers_that_are_not_what_the_manifest_says_are_refused() {
    let made = Made::new();
    let layout = made.path("layout");
    let blob = layer(&made);
    let bytes = fs::read(&blob).unwrap();
    let hex = blob.file_name().unwrap().to_str().unwrap();

    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    fs::write(&blob, &other).unwrap();
    refused(&layout, &[&format!("layer sha256:{hex}: its digest is sha256:"), "and should be"]);
    fs::write(&blob, &bytes[..bytes.len() - 1]).unwrap();
    let sizes = format!("it ends after {} of {} bytes", bytes.len() - 1, bytes.len());
    refused(&layout, &[&format!("fetch sha256:{hex}: {sizes}")]);
    fs::write(&blob, [&bytes[..], b"x"].concat()).unwrap();
    refused(&layout, &[hex, "bytes and should have"]);
    fs::remove_file(&blob).unwrap();
    refused(&layout, &[hex, "is missing in ", "hint: make or copy it again"]);
}

#[test]
fn layers_that_are_not_what_the_configuration_says_are_refused() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app");
    // The configuration of another layer, with the manifest corrected for it.
    made.sh("mkdir x && tar -C x -xf docker.tar && cd x && \
         sed -i 's/\"diff_ids\":\\[\"sha256:..../\"diff_ids\":[\"sha256:0000/' *.json && \
         for tar in *.tar; do gzip -n < $tar > $tar.gz; done && rm *.tar && sed -i 's/\\.tar\"/.tar.gz\"/g' manifest.json && \
         tar -cf ../wrong.tar * && chmod a+r ../wrong.tar");
    let message =
        ["unpack layer sha256:", "unpacked, its digest is sha256:", "should be sha256:0000"];
    refused(&made.path("wrong.tar"), &message);
}

#[test]
fn what_is_no_image_is_refused_by_what_it_is() {
    let scratch = Scratch::new();
    let made = Made::new();
    let file = |name: &str, bytes: &[u8]| scratch.file(name, bytes);
    refused(&file("empty", b""), &["it is empty"]);
    refused(&file("text", b"some text\n"), &["it is no archive", "hint: known are: docker save"]);
    refused(&scratch.join("none"), &["No such file or directory"]);
    refused(
        &real("bookworm").with_extension("sqfs"),
        &["squashfs image", "hint: hrun runs it as it is"],
    );
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..], &[7; 600]].concat();
    refused(&file("a.gz", &gzip), &["read the archive ", "it is damaged"]);
    refused(&file("tar", &[0; 10240]), &["it is no archive"]);

    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app");
    made.sh("gzip < docker.tar > docker.tar.gz; chmod a+r *");
    for name in ["docker.tar", "docker.tar.gz"] {
        let bytes = fs::read(made.path(name)).unwrap();
        let half = file(name, &bytes[..bytes.len() / 2]);
        refused(&half, &["read the archive ", "not complete"]);
    }
    made.sh(
        "mkdir x && tar -C x -xf docker.tar && rm x/*.json && cp x/repositories x/manifest.json",
    );
    made.sh("tar -C x -cf old.tar . && chmod a+r old.tar");
    refused(&made.path("old.tar"), &["manifest.json"]);
    made.sh(
        "sed -i 's/\"annotations\"/\"platform\":{\"os\":\"linux\",\"architecture\":\"riscv64\"},\"annotations\"/' \
         layout/index.json",
    );
    refused(&made.path("layout"), &["no image for linux/", "hint: it is for: linux/riscv64"]);
    fs::write(made.path("layout/index.json"), r#"{"schemaVersion": 2, "manifests": []}"#).unwrap();
    refused(&made.path("layout"), &["there is no image in it"]);
}

#[test]
fn bad_words_are_refused_with_the_remedy() {
    let store = Store::new();
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["start: a command is missing", "himage --help"]),
        (&["imprt"], &["do 'imprt': there is no such command", "did you mean import?"]),
        (&["import"], &["<SOURCE> is missing"]),
        (&["import", "a", "b", "c"], &["use 'c': it is a word too many"]),
        (
            &["list", "--jsn"],
            &["use option --jsn: there is no such option", "did you mean --json?"],
        ),
        (&["list", "--store"], &["--store", "its value is missing"]),
        (&["import", "/", "Bad"], &["read 'Bad' as the name of an image", "capital letters"]),
        (&["remove"], &["is missing"]),
        (&["remove", "nothing"], &["find nothing: there is no such image in ", "himage list"]),
        (&["inspect", "nothing"], &["find nothing: there is no such image in "]),
        (&["verify", "nothing"], &["find nothing: there is no such image in "]),
    ];
    for (words, parts) in cases {
        store.himage(*words).fails_as("himage", 125, parts);
    }
    assert_eq!(store.himage(["list"]).lines().len(), 1);
    assert!(store.himage(["--help"]).ok().contains("import"));
    assert!(store.himage(["--version"]).ok().starts_with("himage "));
}

#[test]
fn a_directory_with_other_files_is_no_store() {
    let scratch = Scratch::new();
    scratch.file("store/notes.txt", "mine");
    let made = Made::new();
    let mut words = as_tester(&program("himage"));
    words
        .arg("import")
        .arg(made.path("layout"))
        .arg("app")
        .env("HRUN_STORE", scratch.join("store"));
    let message =
        ["as a store: it is a directory with other files in it", "hint: choose another one"];
    outcome(&mut words).fails_as("himage", 125, &message);
    assert_eq!(fs::read_dir(scratch.join("store")).unwrap().count(), 1);
}

/// A full file system is named, and the same command succeeds when there is room.
#[test]
fn a_full_disk_is_no_end() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app");
    made.sh("gzip < docker.tar > docker.tar.gz; chmod a+r *");
    let place = Scratch::new();
    // In a user namespace everybody may mount a tmpfs.
    let script = "mount -t tmpfs -o size=64m store \"$PLACE\" || exit 99
        head -c $((64 * 1024 * 1024 - ROOM * 1024)) /dev/zero > \"$PLACE/ballast\" || exit 98
        export HRUN_STORE=\"$PLACE/store\"
        \"$himage\" import \"$SOURCE\" app; echo \"status $?\"
        [ -z \"$(ls -A \"$HRUN_STORE/trees\" \"$HRUN_STORE/names\" | grep -v :)\" ] || echo left
        rm \"$PLACE/ballast\"
        \"$himage\" -q import \"$SOURCE\" app && \"$himage\" verify";
    for source in ["layout", "docker.tar", "docker.tar.gz", "bundle/rootfs"] {
        for room in ["64", "900", "2000"] {
            let mut shell = as_tester(std::path::Path::new("unshare"));
            shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
            shell.env("himage", program("himage")).env("ROOM", room);
            shell.env("PLACE", place.path()).env("SOURCE", made.path(source));
            let outcome = outcome(&mut shell);
            let said = format!("{source} {room}: {}{}", outcome.stdout, outcome.stderr);
            assert_eq!(outcome.status, Some(0), "{said}");
            assert!(outcome.stdout.starts_with("status 125\n"), "{said}");
            assert!(outcome.stderr.contains("No space left on device"), "{said}");
            assert!(outcome.stderr.contains("hint: "), "{said}");
            assert!(!outcome.stdout.contains("left"), "{said}");
            assert!(outcome.stdout.contains(" is as it was\n"), "{said}");
        }
    }
    let store = Store::new();
    store.himage(["import".as_ref(), made.path("layout").as_os_str(), "app".as_ref()]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS);
}
