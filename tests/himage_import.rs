//! `himage import`: every form of an image, as others make it, is imported and run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::support::keep::{Made, SAYS, Store};
use super::support::{Outcome, Scratch, command, hrun, outcome, real};

/// Imports an image, and gives back the store.
#[track_caller]
fn imported(source: &Path, name: &str) -> Store {
    let store = Store::new();
    let said = store.himage(["import".as_ref(), source.as_os_str(), name.as_ref()]).ok();
    assert!(said.starts_with(name) && said.contains(" sha256:"), "{said}");
    store.is_sound();
    store
}

/// Asserts that an image with settings and two layers runs.
#[track_caller]
fn runs(store: &Store, name: &str) {
    assert_eq!(store.hrun(&[name]).ok(), SAYS);
    assert_eq!(store.hrun(&[name, "cat", "/etc/layer"]).ok(), "upper\n");
    assert!(!store.hrun(&[name, "ls", "/etc"]).ok().contains("removed"));
}

#[test]
fn layouts_and_archives_of_others_are_imported_and_run() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:registry.example/app:1");
    made.skopeo("oci:layout:app", "oci-archive:oci.tar:app");
    for pack in ["gzip", "zstd -q", "xz -1", "bzip2"] {
        made.sh(&format!("{pack} < docker.tar > docker.tar.{}", &pack[..2]));
    }
    made.sh("zstd -q < oci.tar > oci.tar.zst");
    made.open();
    for form in ["layout", "docker.tar", "oci.tar", "oci.tar.zst", "docker.tar.gz", "docker.tar.zs"]
    {
        let store = imported(&made.path(form), "app:1");
        runs(&store, "app:1");
    }
    for form in ["docker.tar.xz", "docker.tar.bz"] {
        imported(&made.path(form), "app:1");
    }
}

#[test]
fn root_directories_and_their_archives_are_imported_and_run() {
    let made = Made::new();
    made.sh("tar -C bundle/rootfs -cf root.tar .");
    for (pack, name) in [("gzip", "gz"), ("zstd -q", "zst"), ("xz -1", "xz"), ("bzip2", "bz2")] {
        made.sh(&format!("{pack} < root.tar > root.tar.{name}"));
    }
    made.open();
    for form in
        ["root.tar", "root.tar.gz", "root.tar.zst", "root.tar.xz", "root.tar.bz2", "bundle/rootfs"]
    {
        let store = imported(&made.path(form), "root");
        assert_eq!(store.hrun(&["root", "cat", "/etc/layer"]).ok(), "upper\n", "{form}");
        let linked = "[ /etc/layer -ef /etc/linked ] && echo one file";
        assert_eq!(store.hrun(&["root", "sh", "-c", linked]).ok(), "one file\n", "{form}");
    }
}

#[test]
fn an_image_comes_on_standard_input() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app:1");
    made.sh("gzip < docker.tar > docker.tar.gz; chmod a+r *");
    for form in ["docker.tar", "docker.tar.gz"] {
        let store = Store::new();
        let file = fs::File::open(made.path(form)).unwrap();
        let mut words = store.command(["import", "-"]);
        // A pipe, and not the file itself.
        let mut cat =
            std::process::Command::new("cat").stdin(file).stdout(Stdio::piped()).spawn().unwrap();
        outcome(words.stdin(cat.stdout.take().unwrap())).ok();
        assert!(cat.wait().unwrap().success());
        // The archive says what the image is called.
        runs(&store, "app:1");
        store.is_sound();
    }
}

#[test]
fn a_real_system_is_imported_and_run() {
    let scratch = Scratch::new();
    let archive = scratch.join("bookworm.tar.zst");
    let script = "tar -C \"$0\" -c . | zstd -q > \"$1\" && chmod a+r \"$1\"";
    let image = real("bookworm");
    let mut tar = std::process::Command::new("sh");
    assert!(tar.args(["-c", script]).args([&image, &archive]).status().unwrap().success());
    let store = imported(&archive, "debian:12");
    let script = "import sys, json; print(sys.version_info[0])";
    assert_eq!(store.hrun(&["debian:12", "python3", "-c", script]).ok(), "3\n");
    assert_eq!(
        store.hrun(&["debian:12", "cat", "/etc/debian_version"]).ok(),
        fs::read_to_string(image.join("etc/debian_version")).unwrap()
    );
}

#[test]
fn an_image_without_a_name_is_called_as_it_calls_itself_or_its_file() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:registry.example/group/app:1");
    made.sh("cp -r bundle/rootfs Root; tar -C bundle/rootfs -czf some_root.tar.gz .; mv layout my-layout");
    made.open();
    let store = Store::new();
    for (form, name) in [
        ("docker.tar", "registry.example/group/app:1"),
        ("my-layout", "my-layout:app"),
        ("some_root.tar.gz", "some_root:latest"),
        ("Root", "root:latest"),
    ] {
        let said = store.himage(["import".as_ref(), made.path(form).as_os_str()]).ok();
        assert!(said.starts_with(&format!("{name} sha256:")), "{said}");
        store.hrun(&[name, "true"]).ok();
    }
    made.sh("mv Root 'no name'");
    let message = ["name the image", "hint: himage import ", " NAME"];
    store
        .himage(["import".as_ref(), made.path("no name").as_os_str()])
        .fails_as("himage", 125, &message);
    store.is_sound();
}

/// Imports an image to a place below a directory.
fn import_to(dest: &str, made: &Made, store: &Store, directory: &Scratch) -> Outcome {
    let mut words =
        store.command(["import".as_ref(), made.path("layout").as_os_str(), dest.as_ref()]);
    outcome(words.current_dir(directory.path()))
}

#[test]
fn an_image_is_unpacked_to_a_directory_of_its_own() {
    let (made, store, directory) = (Made::new(), Store::new(), Scratch::new());
    let import = |dest: &str| import_to(dest, &made, &store, &directory);
    let said = import("./app").ok();
    assert!(said.starts_with("./app sha256:"), "{said}");
    // The image as a whole, and its root directory, are the same image.
    for image in ["app", "app/rootfs"] {
        let words = ["--no-home", "--no-cwd"].map(std::path::PathBuf::from);
        let run = hrun(words.into_iter().chain([directory.join(image)]));
        assert_eq!(run.ok(), SAYS);
    }
    import("./app").fails_as(
        "himage",
        125,
        &["import to ./app: it is there already", "hint: choose another name"],
    );
    import("./no/such").fails_as("himage", 125, &["./no/such", "mkdir -p ./no"]);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!store.path().exists(), "the store was not asked for");

    // It can be imported again, with what it says of itself.
    store.himage(["import".as_ref(), directory.join("app").as_os_str(), "again".as_ref()]).ok();
    assert_eq!(store.hrun(&["again"]).ok(), SAYS);
}

#[test]
fn an_image_becomes_a_file_where_the_name_ends_like_one() {
    let (made, store, directory) = (Made::new(), Store::new(), Scratch::new());
    let import = |dest: &str| import_to(dest, &made, &store, &directory);
    let said = import("app.sqfs").ok();
    assert!(said.starts_with("app.sqfs sha256:"), "{said}");
    assert!(fs::read(directory.join("app.sqfs")).unwrap().starts_with(b"hsqs"));
    let words = ["--no-home", "--no-cwd"].map(std::path::PathBuf::from);
    assert_eq!(hrun(words.into_iter().chain([directory.join("app.sqfs")])).ok(), SAYS);
    import("app.sqfs").fails_as("himage", 125, &["import to app.sqfs: it is there already"]);
    import("./app.sif").fails_as("himage", 125, &["no SIF files", ".sqfs"]);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!store.path().exists(), "the store was not asked for");
}

#[test]
fn one_of_several_images_is_chosen() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "oci:several:one");
    made.sh("umoci config --image layout:app --tag other --config.env WHO=other");
    made.skopeo("oci:layout:other", "oci:several:two");
    let several = made.path("several");
    let store = Store::new();
    let import = |more: &[&str]| {
        let words = ["import".as_ref(), several.as_os_str(), "app".as_ref()].into_iter();
        store.himage(words.chain(more.iter().map(AsRef::as_ref)))
    };
    import(&[]).fails_as("himage", 125, &["several images", "--image NAME, of one two"]);
    import(&["--image=three"]).fails_as("himage", 125, &["is called three", "it has: one two"]);
    import(&["--image=two"]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS.replace("image", "other"));
    import(&["--image=one"]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS);
}

/// What an image says of itself is shown wherever it is, in the same words.
#[test]
fn an_image_is_inspected_wherever_it_is() {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app:1");
    let store = imported(&made.path("layout"), "app:1");
    let json = |image: &Path| -> Value {
        let output = store.himage(["inspect".as_ref(), image.as_os_str(), "--json".as_ref()]).ok();
        serde_json::from_str(&output).unwrap()
    };
    let kept = json(Path::new("app:1"));
    for image in [made.path("layout"), made.path("docker.tar")] {
        let facts = json(&image);
        for name in ["env", "workdir", "entrypoint", "cmd", "labels", "platform", "created"] {
            assert_eq!(facts[name], kept[name], "{name} of {}", image.display());
        }
    }
    assert_eq!(json(&made.path("layout"))["digest"], kept["digest"]);
    assert_eq!(kept["names"], serde_json::json!(["docker.io/library/app:1"]));
    assert_eq!(kept["labels"]["version"], "1");
    assert_eq!(kept["entrypoint"], serde_json::json!(["/bin/sh", "/bin/entry"]));

    let text = store.himage(["inspect", "app:1"]).ok();
    for line in
        ["env         WHO=image\n", "workdir     /opt/work\n", "label       maintainer=nobody\n"]
    {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    // What hrun runs besides: a directory, a squashfs file.
    let tree = json(&store.path().join("names/docker.io/library/app:1"));
    assert_eq!(tree["workdir"], "/opt/work");
    let packed = real("bookworm").with_extension("sqfs");
    assert_eq!(json(&packed)["tree"], packed.to_str().unwrap());
}

#[test]
fn hrun_finds_an_image_by_its_name() {
    let made = Made::new();
    let store = imported(&made.path("layout"), "registry.example/group/app:1");
    let name = "registry.example/group/app:1";
    runs(&store, name);
    // By an option, and by configuration, as by the variable.
    let by = |words: &[&str]| -> Outcome { outcome(&mut command(words)) };
    let option = format!("--store={}", store.path().display());
    let away = ["--no-home", "--no-cwd"];
    assert_eq!(by(&[away[0], away[1], &option, name]).ok(), SAYS);
    let config = Scratch::new();
    config.file("hrun/config.toml", format!("store = \"{}\"\n", store.path().display()));
    let mut words = command([away[0], away[1], name]);
    assert_eq!(outcome(words.env("XDG_CONFIG_HOME", config.path())).ok(), SAYS);
    // himage reads the same configuration.
    let mut words = store.command(["list"]);
    let list = outcome(words.env_remove("HRUN_STORE").env("XDG_CONFIG_HOME", config.path()));
    assert!(list.ok().contains(name));

    // Without any of them, it is below the home directory.
    let data = Scratch::new();
    symlink(store.path(), data.join("hrun")).unwrap();
    let mut words = command([away[0], away[1], name]);
    assert_eq!(outcome(words.env("XDG_DATA_HOME", data.path())).ok(), SAYS);

    let missing = ["no such file, and no image of this name in ", "hint: himage pull app:2;"];
    store.hrun(&["app:2"]).fails(&missing);
    store.hrun(&["docker://app:2"]).fails(&missing);
    store.hrun(&["./app:2"]).fails(&["./app:2", "No such file"]);
    // A file of that name comes first.
    let tiny = super::support::Image::tiny();
    symlink(tiny.path(), config.join("app")).unwrap();
    let mut words = command(["app", "/bin/probe", "args", "x"]);
    assert_eq!(outcome(words.current_dir(config.path())).items(), ["x"]);
}

/// Configuration inside of an image that was packed counts, before what other programs wrote.
#[test]
fn the_configuration_of_a_packed_image_is_inside() {
    let image = super::support::Image::tiny();
    let config = r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Env": ["WHO=packed"], "Entrypoint": ["/bin/sh", "-c", "echo $WHO"]}}"#;
    image.file(".hrun/image.json", config);
    image.file("ch/environment", "WHO=charliecloud\n");
    assert_eq!(hrun([image.path()]).ok(), "packed\n");
    let store = imported(image.path(), "packed");
    assert_eq!(store.hrun(&["packed"]).ok(), "packed\n");
}
