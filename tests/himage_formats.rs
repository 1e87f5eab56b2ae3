//! Images as others write them: archives, layouts, layers and JSON that Go's tools take.

use std::fs;
use std::path::{Path, PathBuf};

use images::digest::Digest;

use super::support::archive::{Archive, filtered, himage, layout};
use super::support::keep::{Made, SAYS, Store};
use super::support::scratch::Scratch;
use super::support::{as_tester, outcome, program};

/// A root directory of one file.
fn layer() -> Vec<u8> {
    Archive::new().directory("etc").file("etc/name", "inside\n").end()
}

/// Converts an image to a directory, and gives back what is in /etc/name.
#[track_caller]
fn converted(image: &Path, scratch: &Scratch) -> String {
    let made = scratch.join("made");
    himage([Path::new("convert"), image, &made]).ok();
    let name = fs::read_to_string(made.join("rootfs/etc/name")).unwrap();
    fs::remove_dir_all(made).unwrap();
    name
}

/// Asserts that every command takes an image.
#[track_caller]
fn is_taken(image: &Path, scratch: &Scratch) {
    assert_eq!(converted(image, scratch), "inside\n", "{}", image.display());
    let store = Store::new();
    store.himage(["import".as_ref(), image.as_os_str(), "taken".as_ref()]).ok();
    let tree = store.path().join("names/docker.io/library/taken:latest/rootfs");
    assert_eq!(fs::read_to_string(tree.join("etc/name")).unwrap(), "inside\n");
    store.himage(["inspect", "taken"]).ok();
    store.himage(["list"]).ok();
    store.is_sound();
    let json = himage([Path::new("inspect"), image, Path::new("--json")]).ok();
    assert!(json.contains("\"digest\": \"sha256:"), "{json}");
}

/// An archive of docker's list, and its parts under the names that a program gives them.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let archive = Archive::new();
    files.iter().fold(archive, |archive, (name, bytes)| archive.file(name, bytes)).end()
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diffs: Vec<String> = layers.iter().map(|l| format!("\"{}\"", Digest::of(l))).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diffs.join(",")
    )
    .into_bytes()
}

/// The list that docker's archives have.
fn list(config: &str, layer: &str) -> Vec<u8> {
    format!(r#"[{{"Config":"{config}","RepoTags":["app:1"],"Layers":["{layer}"]}}]"#).into_bytes()
}

/// The archive of an image as each program writes it, the layer compressed or not.
fn by_builders(layer: &[u8], packed: &[u8], config: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let digest = |bytes: &[u8]| Digest::of(bytes);
    let (named, gzip) = (digest(config).to_string(), format!("{}.tar.gz", digest(packed).hex()));
    let old = format!("{}/layer.tar", digest(layer).hex());
    let json = format!("{}.json", digest(config).hex());
    let version = format!("{}/VERSION", digest(layer).hex());
    let slash = format!("/{}.tar", digest(layer));
    let by_docker = list(&json, &old);
    let by = |config_name: &str, layer_name: &str, layer: &[u8]| {
        let list = list(config_name, layer_name);
        archive(&[(config_name, config), (layer_name, layer), ("manifest.json", &list)])
    };
    let docker = [(&*version, &b"1.0"[..]), (&old, layer), (&json, config)];
    let index = br#"{"schemaVersion":2,"manifests":null}"#;
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let without_images = [("index.json", &index[..]), ("oci-layout", layout)];
    let list = [("manifest.json", &by_docker[..])];
    let names = [format!("app/{old}"), format!("app/{json}")];
    let inside = [(&*names[0], layer), (&names[1], config), ("app/manifest.json", &by_docker)];
    vec![
        ("crane", by(&named, &gzip, packed)),
        ("jib", by("config.json", &gzip, packed)),
        ("docker", archive(&[&docker[..], &list].concat())),
        ("buildpacks", by(&format!("/{json}"), &slash, layer)),
        ("docker 25", archive(&[&without_images[..], &docker, &list].concat())),
        ("in a directory", archive(&inside)),
    ]
}

#[test]
fn archives_of_all_builders_are_taken_by_every_command() {
    let scratch = Scratch::new();
    let (layer, config) = (layer(), config(&[layer()]));
    let packed = filtered("gzip -c", &layer);
    let cases = by_builders(&layer, &packed, &config);
    for (name, bytes) in &cases {
        is_taken(&scratch.file(&format!("{name}.tar"), bytes), &scratch);
    }
    let file = scratch.file("crane.tar.gz", filtered("gzip -c", &cases[0].1));
    is_taken(&file, &scratch);
    // The same, unpacked.
    let unpacked = scratch.directory("unpacked");
    let list = list("config.json", "layer.tar");
    let parts = [("config.json", &config), ("manifest.json", &list), ("layer.tar", &layer)];
    for (name, bytes) in parts {
        scratch.file(&format!("unpacked/{name}"), bytes);
    }
    is_taken(&unpacked, &scratch);
}

/// Replaces a configuration of an image in a layout, whose digests follow.
fn with_config(scratch: &Scratch, name: &str, layers: &[Vec<u8>], config: &str) -> PathBuf {
    let packed: Vec<(&str, Vec<u8>)> = layers.iter().map(|layer| ("", layer.clone())).collect();
    let root = layout(scratch, name, &packed, "");
    let blobs = format!("{name}/blobs/sha256");
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        scratch.file(&format!("{blobs}/{}", digest.hex()), bytes);
        format!(r#""digest":"{digest}","size":{}"#, bytes.len())
    };
    let config = put(config.as_bytes());
    let layers: Vec<String> = layers.iter().map(|layer| format!("{{{}}}", put(layer))).collect();
    let layers = if layers.is_empty() { "null".into() } else { format!("[{}]", layers.join(",")) };
    let manifest = put(format!(r#"{{"config":{{{config}}},"layers":{layers}}}"#).as_bytes());
    let wrong = r#"{"digest":"sha256:12","size":1}"#;
    let index = format!(r#"{{"manifests":[null,{wrong},{{{manifest},"platform":{{}}}}]}}"#);
    scratch.file(&format!("{name}/index.json"), index);
    root
}

#[test]
fn configurations_that_go_reads_are_read() {
    let scratch = Scratch::new();
    let diff = Digest::of(&layer());
    for (number, config) in [
        r#"{"rootfs":{"diff_ids":["DIFF"]}}"#,
        r#"{"architecture":"amd64","os":null,"rootfs":{"diff_ids":["DIFF"]}}"#,
        r#"{"os":"linux","config":{"Labels":{"a":null},"ExposedPorts":{"80":null},"Cmd":"sh"},"rootfs":{"diff_ids":["DIFF"]}}"#,
        r#"{"config":null,"history":null,"rootfs":{"type":null,"diff_ids":["DIFF"]}}"#,
        r#"{"CONFIG":{"env":["A=1"]},"RootFS":{"Diff_IDs":["DIFF"]}}"#,
    ]
    .iter()
    .enumerate()
    {
        let config = config.replace("DIFF", &diff.to_string());
        let image = with_config(&scratch, &number.to_string(), &[layer()], &config);
        is_taken(&image, &scratch);
    }
}

#[test]
fn an_image_without_layers_is_an_empty_directory() {
    let scratch = Scratch::new();
    for (number, config) in
        ["{}", r#"{"rootfs":{"type":"layers","diff_ids":null}}"#, r#"{"rootfs":null}"#]
            .iter()
            .enumerate()
    {
        let image = with_config(&scratch, &number.to_string(), &[], config);
        let made = scratch.join("made");
        himage([Path::new("convert"), &image, &made]).ok();
        assert_eq!(fs::read_dir(made.join("rootfs")).unwrap().count(), 0);
        fs::remove_dir_all(made).unwrap();
        let store = Store::new();
        store.himage(["import".as_ref(), image.as_os_str(), "empty".as_ref()]).ok();
    }
}

/// What the image says in small letters, and as text, is what its command sees.
#[test]
fn hrun_reads_what_was_written_loosely() {
    let made = Made::new();
    let tree = made.path("tree");
    fs::create_dir(&tree).unwrap();
    made.sh("cp -a bundle/rootfs tree/rootfs");
    let layer = made.scratch.join("layer.tar");
    made.sh("tar -C bundle/rootfs -cf layer.tar .");
    let layer = fs::read(layer).unwrap();
    let config = r#"{"config":{"env":["WHO=image","DOLLAR=$HOME"],"workingdir":"/opt/work","entrypoint":"/bin/entry",
        "cmd":["first","second word"],"labels":{"n":null}},"rootfs":{"diff_ids":["DIFF"]}}"#;
    let config = config.replace("DIFF", &Digest::of(&layer).to_string());
    let scratch = Scratch::new();
    let image = with_config(&scratch, "loose", &[layer], &config);
    let store = Store::new();
    store.himage(["import".as_ref(), image.as_os_str(), "loose".as_ref()]).ok();
    let run = store.hrun(&["loose", "sh", "-c", "echo $WHO $DOLLAR $PWD"]);
    assert_eq!(run.ok(), "image $HOME /opt/work\n");
    assert!(SAYS.starts_with("image"));
}

#[test]
fn a_layer_of_no_bytes_changes_nothing() {
    let scratch = Scratch::new();
    let layers = [("", Vec::new()), ("", layer()), ("gzip -c", Vec::new())];
    is_taken(&layout(&scratch, "empty", &layers, ""), &scratch);
}

/// Absolute names, `..` and names below what is no directory, as the kernel would read them in the image.
#[test]
fn names_are_those_of_the_image() {
    let scratch = Scratch::new();
    scratch.file("outside/secret", "nobody's");
    let outside = scratch.join("outside").display().to_string();
    let new = Archive::new;
    let lower = new()
        .directory("/")
        .directory("/etc")
        .file("/etc/name", "below\n")
        .directory("d")
        .file("d/x", "x")
        .end();
    let upper = new()
        .file("/etc/../etc/name", "inside\n")
        .link("/etc/linked", "/etc/name")
        .link("up", "usr/../etc/name")
        .file(format!("{outside}/secret"), "of the image")
        .pax(&[("path", b"/usr/bin/tool"), ("linkpath", b"/etc/name")])
        .link("x", "y")
        .file("d/.wh..wh..opq", "")
        .end();
    // What was a directory is a file now: nothing is left to remove below it.
    let top = new().file("d", "").file("d/.wh.x", "").file("d/.wh..wh..opq", "").end();
    let stores = new().file("images/.wh.mark/file", "kept").end();
    let layers = [lower, upper, top, stores].map(|layer| ("", layer));
    let image = layout(&scratch, "names", &layers, "");
    is_taken(&image, &scratch);
    let made = scratch.join("made");
    himage([Path::new("convert"), &image, &made]).ok();
    let root = made.join("rootfs");
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    for name in ["etc/linked", "up", "usr/bin/tool"] {
        assert_eq!(read(name), "inside\n");
    }
    assert_eq!(read(&format!("{}/secret", &outside[1..])), "of the image");
    assert_eq!(read("images/.wh.mark/file"), "kept");
    assert_eq!(fs::read_to_string(scratch.join("outside/secret")).unwrap(), "nobody's");
    assert!(root.join("d").is_file());
}

#[test]
fn a_record_without_a_value_takes_another_back() {
    let scratch = Scratch::new();
    let layer = Archive::new()
        .directory("etc")
        .pax(&[
            ("path", b"elsewhere"),
            ("mtime", b"1"),
            ("path", b""),
            ("mtime", b""),
            ("size", b""),
        ])
        .file("etc/name", "inside\n")
        .end();
    is_taken(&layout(&scratch, "records", &[("", layer)], ""), &scratch);
}

/// Runs himage so that it says what it notices.
#[track_caller]
fn loudly(words: &[&Path]) -> String {
    let outcome = outcome(as_tester(&program("himage")).args(words));
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome.stderr
}

#[test]
fn what_is_hardly_an_image_is_said() {
    let scratch = Scratch::new();
    let store = scratch.join("store");
    let import = |path: &Path| {
        loudly(&[Path::new("--store"), &store, Path::new("import"), path, Path::new("x")])
    };
    scratch.file("blobs/a", "b");
    let said = import(&scratch.join("blobs"));
    assert!(said.contains("has no bin, etc, usr or lib at its top"), "{said}");
    let inner = archive(&[("rootfs/etc/passwd", b""), ("rootfs/bin/sh", b"")]);
    let said = import(&scratch.file("inner.tar", inner));
    assert!(said.contains("all of it is in rootfs"), "{said}");
    assert!(!import(&scratch.file("root.tar", layer())).contains("taken for"));
    let foreign = config(&[layer()]);
    let foreign = String::from_utf8(foreign).unwrap().replace("amd64", "s390x");
    let said = import(&with_config(&scratch, "foreign", &[layer()], &foreign));
    assert!(said.contains("is for linux/s390x; this machine is linux/"), "{said}");
    let old = archive(&[("0/layer.tar", &layer()), ("0/json", b"{}"), ("repositories", b"{}")]);
    himage([Path::new("import"), &scratch.file("old.tar", old)]).fails_as(
        "himage",
        125,
        &["an archive of Docker before 1.10", "docker load"],
    );
}

#[test]
fn directories_that_skopeo_writes_are_images() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "dir:dir");
    made.sh("rm layout/oci-layout");
    made.open();
    for form in ["dir", "layout"] {
        let store = Store::new();
        store.himage(["import".as_ref(), made.path(form).as_os_str(), "app:1".as_ref()]).ok();
        assert_eq!(store.hrun(&["app:1"]).ok(), SAYS, "{form}");
        himage([Path::new("inspect"), &made.path(form)]).ok();
        let dest = made.path("dest");
        made.sh("chmod 777 .");
        himage([Path::new("convert"), &made.path(form), &dest]).ok();
        assert!(dest.join("rootfs/etc/layer").is_file());
        fs::remove_dir_all(dest).unwrap();
    }
}

/// Adds descriptors to the index of a layout.
fn with_index(made: &Made, change: &dyn Fn(&mut Vec<serde_json::Value>)) {
    let file = made.path("layout/index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(index["manifests"].as_array_mut().unwrap());
    fs::write(file, index.to_string()).unwrap();
}

/// Puts bytes among the blobs, and describes them.
fn blob(made: &Made, bytes: &str) -> serde_json::Value {
    let digest = Digest::of(bytes.as_bytes());
    fs::write(made.path(&format!("layout/blobs/sha256/{}", digest.hex())), bytes).unwrap();
    serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest.to_string(), "size": bytes.len()})
}

#[test]
fn what_is_kept_beside_an_image_does_not_stop_it() {
    let made = Made::new();
    let empty = blob(&made, "{}").to_string();
    let signature = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        empty.replace("image.manifest", "image.config"),
        empty.replace("vnd.oci.image.manifest.v1", "vnd.dev.cosign.simplesigning.v1"),
    );
    let sbom = format!(
        r#"{{"schemaVersion":2,"artifactType":"application/spdx+json","config":{empty},"layers":[{empty}]}}"#
    );
    let (signature, sbom) = (blob(&made, &signature), blob(&made, &sbom));
    with_index(&made, &|images| images.extend([signature.clone(), sbom.clone()]));
    made.open();
    let store = Store::new();
    store.himage(["import".as_ref(), made.path("layout").as_os_str(), "app".as_ref()]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS);
    with_index(&made, &|images| *images = vec![sbom.clone()]);
    store.himage(["import".as_ref(), made.path("layout").as_os_str(), "app".as_ref()]).fails_as(
        "himage",
        125,
        &["no image of a container, but application/spdx+json"],
    );
}

#[test]
fn images_of_one_name_are_told_apart_by_short_digests() {
    let made = Made::new();
    made.sh("umoci config --image layout:app --tag other --config.env WHO=other");
    with_index(&made, &|images| {
        for image in images.iter_mut() {
            image["annotations"]["org.opencontainers.image.ref.name"] = "1".into();
        }
    });
    made.open();
    let layout = made.path("layout");
    let words =
        |more: &'static str| ["import".as_ref(), layout.as_os_str(), "app".as_ref(), more.as_ref()];
    let store = Store::new();
    let said = store.himage(&words("--image=1")[..]);
    assert_eq!(said.status, Some(125));
    let list = said.stderr.split("--image NAME, of ").nth(1).unwrap().trim().to_owned();
    let names: Vec<&str> = list.split(' ').collect();
    assert!(names.len() == 2 && names[0] != names[1] && names[0].starts_with("1@"), "{list}");
    let mut seen = Vec::new();
    for name in names {
        let digits = name.strip_prefix("1@").unwrap();
        for image in [name.to_owned(), format!("sha256:{}", &digits[..7]), digits.to_owned()] {
            let option = format!("--image={image}");
            let words = ["import".as_ref(), layout.as_os_str(), "app".as_ref(), option.as_ref()];
            store.himage(words).ok();
        }
        seen.push(store.hrun(&["app"]).ok());
    }
    seen.sort();
    assert_eq!(seen, [SAYS, &SAYS.replace("image", "other")]);
    // The hint is true wherever it is said.
    for command in ["convert", "inspect"] {
        let dest = made.path("dest");
        let mut words = vec![Path::new(command), &layout];
        words.extend((command == "convert").then_some(&*dest));
        himage(words).fails_as(
            "himage",
            125,
            &["choose one: himage import ", "--image NAME, of 1@"],
        );
    }
}

#[test]
fn the_plain_variant_comes_before_one_for_newer_machines() {
    let made = Made::new();
    made.sh("umoci config --image layout:app --tag newer --config.env WHO=newer");
    let amd64 = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    with_index(&made, &|images| {
        for image in images.iter_mut() {
            let is_newer = image["annotations"]["org.opencontainers.image.ref.name"] == "newer";
            image["platform"] = serde_json::json!({"os": "linux", "architecture": amd64});
            if is_newer {
                image["platform"]["variant"] = "v9".into();
            }
            image.as_object_mut().unwrap().remove("annotations");
        }
        images.sort_by_key(|image| image["platform"]["variant"].is_null());
    });
    made.open();
    let store = Store::new();
    store.himage(["import".as_ref(), made.path("layout").as_os_str(), "app".as_ref()]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS);
}

#[test]
fn the_kernels_names_of_machines_are_known() {
    let made = Made::new();
    with_index(&made, &|images| {
        let here = serde_json::json!({"os": "linux", "architecture": std::env::consts::ARCH});
        images[0]["platform"] = here;
        let mut other = images[0].clone();
        other["platform"]["architecture"] = "s390x".into();
        images.push(other);
    });
    made.open();
    let store = Store::new();
    store.himage(["import".as_ref(), made.path("layout").as_os_str(), "app".as_ref()]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS);
}

#[test]
fn streams_that_are_large_or_padded_are_no_damage() {
    let scratch = Scratch::new();
    let zeros = [&filtered("gzip -c", &layer())[..], &[0; 3000]].concat();
    for (name, bytes) in [
        ("zeros.tar.gz", zeros),
        ("long.tar.zst", filtered("zstd -q --ultra --long=31 -c", &layer())),
        ("large.tar.xz", filtered("xz --lzma2=dict=512MiB -c", &layer())),
    ] {
        let file = scratch.file(name, bytes);
        let made = scratch.join("made");
        himage([Path::new("convert"), &file, &made]).ok();
        assert_eq!(fs::read_to_string(made.join("etc/name")).unwrap(), "inside\n", "{name}");
        fs::remove_dir_all(made).unwrap();
    }
}

#[test]
fn a_name_like_a_sif_file_is_none_of_the_store() {
    let (scratch, store) = (Scratch::new(), Store::new());
    let file = scratch.file("root.tar", layer());
    for name in ["app.sif", "app.simg"] {
        let words = ["import".as_ref(), file.as_os_str(), name.as_ref()];
        store.himage(words).fails_as("himage", 125, &["himage writes no SIF files", ".sqfs"]);
    }
}
