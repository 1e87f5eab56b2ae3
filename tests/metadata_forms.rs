//! What an image says about itself is the same in whatever form and spelling it is said.

use super::metadata::singularity_image;
use super::packed::Packed;
use super::support::variables::variables;
use super::support::{Image, Scratch, as_tester, hrun, outcome, program};

/// A bundle with a configuration of the image.
fn bundle(config: &str) -> Scratch {
    let scratch = Scratch::new();
    let image = Image::tiny();
    std::fs::rename(image.path(), scratch.join("rootfs")).unwrap();
    scratch.file("image.json", config);
    scratch
}

#[test]
fn configurations_are_read_as_the_tools_read_them_that_made_them() {
    for config in [
        r#"{"config": {"Env": ["A=1"], "Cmd": ["/bin/echo", "ran"]}}"#,
        r#"{"architecture": null, "os": null, "rootfs": null, "config": {"Env": ["A=1"], "Entrypoint": null,
            "Cmd": ["/bin/echo", "ran"], "Labels": {"a": null}, "ExposedPorts": {"80/tcp": null}}}"#,
        r#"{"Config": {"env": ["A=1"], "entrypoint": "/bin/echo", "cmd": "ran"}, "created": 7}"#,
    ] {
        let bundle = bundle(config);
        assert_eq!(hrun([bundle.path()]).ok(), "ran\n", "{config}");
        assert_eq!(variables(bundle.path(), &["A"], &[], &[]), ["A=1"], "{config}");
    }
    let bundle = bundle(r#"{"config": {"Env": {"A": "1"}}}"#);
    hrun([bundle.path()]).fails(&["image.json", "its Env is no list"]);
}

#[test]
fn a_nul_byte_is_refused_by_name() {
    let bundle = bundle(r#"{"config": {"Env": ["GOOD=1", "BAD=a\u0000b"]}}"#);
    hrun([bundle.path()]).fails(&[
        "image.json",
        "variable BAD has a NUL byte in it",
        "repair the file",
    ]);
    let bundle = self::bundle(r#"{"config": {"Cmd": ["/bin/echo", "a\u0000b"]}}"#);
    hrun([bundle.path()]).fails(&["the command has a NUL byte in it"]);
    let image = Image::tiny();
    image.file("ch/environment", b"BAD=a\0b\n");
    hrun([image.path()]).fails(&["variable BAD has a NUL byte in it"]);
}

/// What `enroot import` writes beside the files of an image.
fn enroot_image(local: &str) -> Packed {
    let image = Image::tiny();
    image
        .file("etc/environment", "PATH=/opt/app:/bin\nWHO=enroot\nTWO=a b $HOME 'c'\nLINES=x\ny\n");
    image.file(
        "etc/rc",
        "# maintainer somebody\n\nmkdir -p \"/opt/work\" 2> /dev/null\n\
         cd \"/opt/work\" && unset OLDPWD || exit 1\n\nif [ -s /etc/rc.local ]; then\n    . /etc/rc.local\nfi\n\n\
         if [ $# -gt 0 ]; then\n    exec '/bin/echo' \"$@\"\nelse\n    exec '/bin/echo' 'it'\\''s' 'here'\nfi\n",
    );
    image.file("etc/rc.local", local);
    image.directory("opt/work");
    Packed::new(image.path(), &[])
}

#[test]
fn images_of_enroot_have_variables_directory_and_command() {
    let image = enroot_image("# nothing\n");
    let seen = variables(image.path.as_path(), &["WHO", "TWO", "LINES"], &["WHO=host"], &[]);
    assert_eq!(seen, ["WHO=enroot", "TWO=a b $HOME 'c'", "LINES=x\ny"]);
    assert_eq!(hrun([image.path.as_path()]).ok(), "it's here\n");
    let away = ["--no-home", "--no-cwd", image.path.to_str().unwrap(), "/bin/probe", "cwd"];
    assert_eq!(hrun(away).ok(), "/opt/work\n");
    // Where more is said than words, the script says it.
    let image = enroot_image("set -- changed\n");
    assert_eq!(hrun([image.path.as_path()]).ok(), "changed\n");
}

#[test]
fn variables_for_logins_are_not_the_images() {
    let image = Image::tiny();
    image.file("etc/environment", "WHO=login\n");
    assert_eq!(variables(image.path(), &["WHO"], &[], &[]), ["WHO"]);
    image.file("etc/rc", "#!/bin/sh\ncd /\nexec /sbin/getty\n");
    assert_eq!(variables(image.path(), &["WHO"], &[], &[]), ["WHO"]);
}

#[test]
fn scripts_of_an_image_run_in_every_form_of_it() {
    let script = "export A=\"$(echo two words)\"\nif [ -n \"$TORCH\" ]; then B=b; export B; fi\n";
    let image = singularity_image(script);
    let names = ["A", "B", "TORCH", "JAVA_HOME"];
    let expected = ["A=two words", "B=b", "TORCH=2.4", "JAVA_HOME=/tmp"];
    let host = ["JAVA_HOME=/tmp", "A=host"];
    assert_eq!(variables(image.path(), &names, &host, &[]), expected);
    let scratch = Scratch::new();
    let mut from = image.path().to_path_buf();
    for name in ["one.sqfs", "two", "three.tar.gz", "four.oci", "five", "six.sqfs"] {
        let to = scratch.join(name);
        let mut convert = as_tester(&program("himage"));
        let converted = outcome(convert.arg("convert").arg(&from).arg(&to));
        assert_eq!(converted.status, Some(0), "{converted:?}");
        // Other programs read the configuration only.
        let lost = "left out: from the configuration, for other programs than hrun: 90-environment.sh: export A=";
        assert_eq!(converted.stderr.contains(lost), name == "four.oci", "{converted:?}");
        if !name.ends_with(".oci") && !name.ends_with(".gz") {
            assert_eq!(variables(&to, &names, &host, &[]), expected, "{name}");
        }
        from = to;
    }
}
