//! Names as people know them from other programs and from web pages: they work, or are answered by what to type.

use super::himage_pull_lies::Shelf;
use super::support::live::outcome_in_time;
use super::support::registry::Himage;
use super::support::web::{Web, answer};
use super::support::{Scratch, command};

#[test]
fn enroots_names_work() {
    let web = Shelf::new().serve(|_, _| None);
    for scheme in ["", "docker://"] {
        let himage = Himage::new();
        let output = himage.run(&["pull", &format!("{scheme}127.0.0.1:{}#app", web.port)]);
        assert!(output.succeeds().starts_with(&format!("127.0.0.1:{}/app:latest ", web.port)));
    }
}

#[test]
fn other_names_are_answered_by_what_to_type_and_asked_of_nobody() {
    // Whatever goes out goes there.
    let out = Web::start(|_| answer(404, ""));
    for (name, hint) in [
        ("oras://ghcr.io/a/b:1", "apptainer pull oras://ghcr.io/a/b:1"),
        ("library://sylabs/examples/lolcow", "apptainer pull library://sylabs/examples/lolcow"),
        ("shub://vsoch/hello-world", "apptainer pull shub://vsoch/hello-world"),
        ("https://depot.galaxyproject.org/singularity/bwa:0.7.17", "hrun ./bwa:0.7.17.sif"),
        (
            "https://x.example/y/z.sif",
            "curl -fL -o z.sif https://x.example/y/z.sif && hrun ./z.sif",
        ),
        ("https://hub.docker.com/r/nvidia/cuda", "himage pull nvidia/cuda"),
        ("hub.docker.com/_/debian", "himage pull debian"),
        ("docker-archive:app.tar", "himage import app.tar"),
        ("oci:layout:tag", "himage import layout --image tag"),
        ("dockerd://app:1", "docker save app:1 | himage import - app:1"),
        ("docker-daemon:app:1", "docker save app:1 | himage import - app:1"),
        ("containers-storage:app", "podman save app | himage import - app"),
        ("podman:app", "podman save app | himage import - app"),
        ("docker:debian", "himage pull debian; "),
        ("docker://user@nvcr.io#nvidia/pytorch", "himage pull nvcr.io/nvidia/pytorch"),
    ] {
        let himage = Himage::new();
        let mut pull = himage.command(&["pull", name]);
        pull.env("https_proxy", format!("http://127.0.0.1:{}", out.port));
        himage.refuses(&mut pull, &[&format!("read '{name}'"), hint]);
        let hrun = outcome_in_time(&mut command([name, "--", "true"]));
        assert_eq!(hrun.status, Some(125), "{}", hrun.stderr);
        assert!(hrun.stderr.contains(hint), "no '{hint}' in:\n{}", hrun.stderr);
    }
    assert!(out.asked().is_empty());
}

#[test]
fn a_name_of_a_sif_file_is_no_name_of_an_image() {
    let scratch = Scratch::new();
    scratch.file("root/bin/sh", "x");
    let himage = Himage::new();
    let source = scratch.join("root");
    let import = &mut himage.command(&["import", source.to_str().unwrap(), "app.sif"]);
    himage.refuses(import, &["himage writes no SIF files", ".sqfs"]);
}
