//! What an image says about itself: variables, work directory, default command, user.

use std::path::{Path, PathBuf};

use super::support::scratch::chmod;
use super::support::variables::{environment, hrun_with, variables};
use super::support::{Image, Outcome, Scratch, hrun, probe, tester};

/// An image's root directory in a bundle, with files beside it.
struct Bundle {
    scratch: Scratch,
    root: PathBuf,
}

impl Bundle {
    /// A bundle whose root directory has a name.
    fn with_root(name: &str) -> Self {
        let scratch = Scratch::new();
        let image = Image::tiny();
        // The tiny image's own directory goes away with it.
        let root = scratch.join(name);
        std::fs::rename(image.path(), &root).unwrap();
        Bundle { scratch, root }
    }

    /// A bundle with an OCI image configuration, as `himage` keeps it.
    fn with_image_configuration(config: &str) -> Self {
        let bundle = Bundle::with_root("rootfs");
        let image = format!(
            r#"{{"architecture": "amd64", "os": "linux",
                 "rootfs": {{"type": "layers", "diff_ids": []}}, "config": {config}}}"#
        );
        bundle.scratch.file("image.json", image);
        bundle
    }

    /// A bundle for an OCI runtime.
    fn with_runtime_configuration(root: &str, process: &str) -> Self {
        let bundle = Bundle::with_root(root);
        let spec = format!(
            r#"{{"ociVersion": "1.0.2", "root": {{"path": "{root}"}}, "process": {process}}}"#
        );
        bundle.scratch.file("config.json", spec);
        bundle
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }
}

const IMAGE_CONFIGURATION: &str = r#"{
    "Env": ["PATH=/opt/app:/bin", "WHO=oci", "DOLLAR=$HOME ${X} 'q'", "EMPTY=", "no equals sign"],
    "WorkingDir": "/opt/work",
    "Entrypoint": ["/bin/probe", "args"],
    "Cmd": ["--flag", "two words", ""],
    "User": "1234:5678",
    "Labels": {"maintainer": "nobody"}
}"#;

/// Runs an image without a command, from a directory the image does not show.
#[track_caller]
fn run_image(image: &Path, options: &[&str]) -> Outcome {
    let home = ["--no-home", "--no-cwd"].map(Path::new);
    hrun(home.into_iter().chain(options.iter().map(Path::new)).chain([image]))
}

#[test]
fn an_oci_image_configuration_beside_the_tree_applies() {
    let bundle = Bundle::with_image_configuration(IMAGE_CONFIGURATION);
    std::fs::create_dir(bundle.root.join("opt/work")).unwrap();
    // The bundle and its root directory are the same image.
    for image in [bundle.path(), &bundle.root] {
        let seen = variables(image, &["WHO", "DOLLAR", "EMPTY", "no equals sign"], &[], &[]);
        assert_eq!(seen, ["WHO=oci", "DOLLAR=$HOME ${X} 'q'", "EMPTY=", "no equals sign"]);
        assert_eq!(run_image(image, &[]).items(), ["--flag", "two words", ""]);
        assert_eq!(probe(image, &["--no-home", "--no-cwd"], "cwd").ok(), "/opt/work\n");
    }
    let path = environment(bundle.path(), &["PATH=/bin"], &[]).remove("PATH");
    assert_eq!(path.as_deref(), Some("/opt/app:/bin"));
}

#[test]
fn a_command_takes_the_place_of_entry_point_and_arguments() {
    let bundle = Bundle::with_image_configuration(IMAGE_CONFIGURATION);
    assert_eq!(probe(bundle.path(), &[], "args x").items(), ["x"]);
}

#[test]
fn entry_point_and_default_arguments_need_not_both_be_there() {
    let run = |config: &str| {
        let bundle = Bundle::with_image_configuration(config);
        run_image(bundle.path(), &[]).ok()
    };
    assert_eq!(run(r#"{"Entrypoint": ["/bin/echo", "entry"]}"#), "entry\n");
    assert_eq!(run(r#"{"Cmd": ["/bin/echo", "cmd"]}"#), "cmd\n");
    assert_eq!(run(r#"{"Entrypoint": null, "Cmd": ["echo", "found by PATH"]}"#), "found by PATH\n");
}

#[test]
fn the_work_directory_counts_only_where_nothing_better_is_known() {
    let bundle = Bundle::with_image_configuration(r#"{"WorkingDir": "/opt"}"#);
    let cwd = |options: &[&str]| probe(bundle.path(), options, "cwd").ok();
    assert_eq!(cwd(&["--no-cwd", "--no-home"]), "/opt\n");
    assert_eq!(cwd(&["--cd=/etc"]), "/etc\n");
    let home = tester().home.display().to_string() + "\n";
    assert_eq!(cwd(&[]), home);

    // One that is missing is passed over.
    let bundle = Bundle::with_image_configuration(r#"{"WorkingDir": "/no/such"}"#);
    let cwd = |options: &[&str]| probe(bundle.path(), options, "cwd").ok();
    assert_eq!(cwd(&["--contain"]), home);
    assert_eq!(cwd(&["--no-cwd", "--no-home"]), "/\n");
}

#[test]
fn the_images_user_is_only_a_note() {
    let bundle = Bundle::with_image_configuration(r#"{"User": "1234", "Cmd": ["/bin/true"]}"#);
    assert_eq!(run_image(bundle.path(), &[]).ok(), "");
    let outcome = run_image(bundle.path(), &["-v"]);
    assert!(
        outcome.stderr.contains("hrun: note: the image asks for user 1234; it runs as you\n"),
        "{}",
        outcome.stderr
    );
    let id = format!("uid {}\n", tester().uid);
    assert!(probe(bundle.path(), &[], "id").ok().starts_with(&id));
}

#[test]
fn the_users_home_stays_whatever_the_image_says() {
    let bundle = Bundle::with_image_configuration(r#"{"Env": ["HOME=/root"]}"#);
    let home = format!("HOME={}", tester().home.display());
    assert_eq!(variables(bundle.path(), &["HOME"], &[], &[]), [home]);
}

#[test]
fn an_oci_runtime_bundle_applies() {
    let process = r#"{
        "cwd": "/opt", "args": ["/bin/probe", "args", "from", "config.json"],
        "env": ["WHO=bundle", "DOLLAR=$HOME"], "user": {"uid": 7, "gid": 8}}"#;
    for root in ["rootfs", "tree"] {
        let bundle = Bundle::with_runtime_configuration(root, process);
        let seen = variables(bundle.path(), &["WHO", "DOLLAR"], &[], &[]);
        assert_eq!(seen, ["WHO=bundle", "DOLLAR=$HOME"]);
        assert_eq!(run_image(bundle.path(), &[]).items(), ["from", "config.json"]);
        let away = ["--no-cwd", "--no-home"];
        assert_eq!(probe(bundle.path(), &away, "cwd").ok(), "/opt\n");
        let notes = run_image(bundle.path(), &["-v"]).stderr;
        assert!(notes.contains("the image asks for user 7:8; it runs as you"), "{notes}");
    }
    let bundle = Bundle::with_runtime_configuration("rootfs", process);
    assert_eq!(run_image(&bundle.root, &[]).items(), ["from", "config.json"]);
}

#[test]
fn a_runtime_bundle_may_name_its_root_by_an_absolute_path() {
    let image = Image::tiny();
    let bundle = Scratch::new();
    let root = image.path().display();
    let spec = format!(r#"{{"ociVersion": "1.0.2", "root": {{"path": "{root}"}}}}"#);
    bundle.file("config.json", spec);
    assert_eq!(hrun([bundle.path(), Path::new("/bin/echo"), Path::new("ran")]).ok(), "ran\n");
}

#[test]
fn an_application_may_have_a_config_json() {
    let image = Image::bare();
    for json in [r#"{"port": 8080}"#, "[]", "{"] {
        image.file("config.json", json);
        assert_eq!(hrun([image.path(), Path::new("/bin/echo"), Path::new("ran")]).ok(), "ran\n");
    }
}

#[test]
fn charliecloud_metadata_applies() {
    let image = Image::tiny();
    image.file(
        "ch/metadata.json",
        r#"{"arch": "amd64", "cwd": "/opt", "env": {"WHO": "json", "DOLLAR": "$HOME"},
            "history": [], "labels": {"a": "b"}, "shell": ["/bin/sh", "-c"], "volumes": []}"#,
    );
    let seen = variables(image.path(), &["WHO", "DOLLAR"], &[], &[]);
    assert_eq!(seen, ["WHO=json", "DOLLAR=$HOME"]);
    assert_eq!(probe(image.path(), &["--no-cwd", "--no-home"], "cwd").ok(), "/opt\n");

    // Where the file that users edit exists, it alone has the say.
    image.file("ch/environment", "OTHER=1\n");
    assert_eq!(variables(image.path(), &["WHO", "OTHER"], &[], &[]), ["WHO", "OTHER=1"]);
}

#[test]
fn charliecloud_environments_follow_charliecloud() {
    let image = Image::tiny();
    image.file(
        "ch/environment",
        "QUOTED='a b'\nDOUBLE=\"dq\"\nSPACE= x \nHASH=x # y\nBRACES=${WHO}:/x\nITEM=$WHO:/x\n\
         REST=$WHO/x\nINNER=a$WHO:$NO:z\nLATER=$ITEM\n\nno equals sign\n",
    );
    let names = ["QUOTED", "DOUBLE", "SPACE", "HASH", "BRACES", "ITEM", "REST", "INNER", "LATER"];
    assert_eq!(
        variables(image.path(), &names, &["WHO=/who"], &[]),
        [
            "QUOTED=a b",
            "DOUBLE=\"dq\"",
            "SPACE= x ",
            "HASH=x # y",
            // `${` is no expansion: the item names a variable `{WHO}`, which is not set.
            "BRACES=/x",
            "ITEM=/who:/x",
            "REST=",
            "INNER=a$WHO:z",
            "LATER=/who:/x",
        ]
    );
}

/// An image as Singularity and Apptainer make it of a Docker image and a definition file.
pub fn singularity_image(environment: &str) -> Image {
    let image = Image::tiny();
    image.file(
        ".singularity.d/env/10-docker2singularity.sh",
        "#!/bin/sh\nexport PATH=\"/opt/app:/bin\"\nexport LANG=\"${LANG:-\"C.UTF-8\"}\"\n\
         export TORCH=\"${TORCH:-\"2.4\"}\"\n",
    );
    image.file(".singularity.d/env/90-environment.sh", environment);
    image.file(".singularity.d/labels.json", r#"{"org.label-schema.schema-version": "1.0"}"#);
    image
}

#[test]
fn singularitys_run_script_is_the_default_command() {
    let image = singularity_image("");
    image.program(".singularity.d/runscript", "#!/bin/sh\necho run script: $TORCH\n");
    assert_eq!(run_image(image.path(), &[]).ok(), "run script: 2.4\n");
    assert_eq!(hrun([image.path(), Path::new("echo"), Path::new("mine")]).ok(), "mine\n");
}

#[test]
fn broken_metadata_is_named_with_the_remedy() {
    let remedy = "hint: repair the file, or remove it: an image runs without metadata";
    let fails = |image: &Path, file: &str| {
        let message = format!("cannot read the image's metadata in {file}: ");
        run_image(image, &[]).fails(&[&message, "line 1", remedy]);
    };
    let bundle = Bundle::with_root("rootfs");
    let file = bundle.scratch.file("image.json", "{\"config\": ");
    fails(bundle.path(), file.to_str().unwrap());
    fails(&bundle.root, file.to_str().unwrap());

    let bundle = Bundle::with_root("rootfs");
    let file = bundle.scratch.file("config.json", "{\"ociVersion\": 7}");
    fails(bundle.path(), file.to_str().unwrap());

    let image = Image::tiny();
    image.file("ch/metadata.json", "{\"cwd\": 1}");
    fails(image.path(), "/ch/metadata.json");

    let image = singularity_image("");
    image.file(".singularity.d/labels.json", "not JSON");
    fails(image.path(), "/.singularity.d/labels.json");
}

#[test]
fn unreadable_metadata_is_named() {
    let image = Image::tiny();
    let file = image.file("ch/environment", "A=1\n");
    chmod(&file, 0o000);
    run_image(image.path(), &[]).fails(&["metadata in /ch/environment: Permission denied"]);
}

#[test]
fn metadata_that_is_a_link_is_read_inside_the_image() {
    let image = Image::tiny();
    image.file("opt/environment", "WHO=image\n");
    image.link("ch/environment", "/opt/environment");
    assert_eq!(variables(image.path(), &["WHO"], &[], &[]), ["WHO=image"]);

    // A link that leads nowhere inside is no metadata, whatever the host has there.
    let secret = Scratch::new();
    let file = secret.file("environment", "WHO=host\n");
    let image = Image::tiny();
    image.link("ch/environment", file.to_str().unwrap());
    assert_eq!(variables(image.path(), &["WHO"], &[], &[]), ["WHO"]);
}

#[test]
fn without_metadata_the_users_shell_runs() {
    let image = Image::tiny();
    image.program("bin/bash", "#!/bin/sh\necho my shell\n");
    assert_eq!(hrun_with(["SHELL=/bin/bash"], [image.path()]).ok(), "my shell\n");
}

#[test]
fn a_shell_the_environment_names_comes_before_that_of_passwd() {
    let image = Image::tiny();
    image.program("bin/my-shell", "#!/bin/sh\necho my shell\n");
    assert_eq!(
        variables(image.path(), &["SHELL"], &["SHELL=/bin/my-shell"], &[]),
        ["SHELL=/bin/my-shell"]
    );
    assert_eq!(hrun_with(["SHELL=/bin/my-shell"], [image.path()]).ok(), "my shell\n");
}

#[test]
fn without_metadata_and_shell_bin_sh_runs() {
    let image = Image::tiny();
    std::fs::remove_file(image.join("bin/sh")).unwrap();
    image.program("bin/sh", "#!/bin/busybox sh\necho bin sh\n");
    for shell in ["SHELL=/no/such/shell", "SHELL=", "SHELL=relative"] {
        assert_eq!(hrun_with([shell], [image.path()]).ok(), "bin sh\n", "{shell}");
    }
}

/// JSON may hold what no variable and no argument can.
#[test]
fn a_nul_in_metadata_is_an_error_that_names_it() {
    let cut = Bundle::with_image_configuration(r#"{"Env": ["A=1", "CUT=a\u0000b"]}"#);
    let path = cut.path().to_str().unwrap();
    hrun([path, "/bin/probe", "env", "A"])
        .fails(&["cannot use the image's metadata in ", "variable CUT has a NUL byte in it"]);
    let cut = Bundle::with_image_configuration(r#"{"Cmd": ["/bin/true", "a\u0000b"]}"#);
    hrun([cut.path()]).fails(&["the command has a NUL byte in it"]);
}
