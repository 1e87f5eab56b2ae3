//! SIF files that Apptainer itself has made.

use std::path::Path;
use std::process::Command;

use super::packed::packed_debian;
use super::support::run::outcome;
use super::support::{Scratch, as_tester, command, hrun, lacks, program};

/// What Apptainer makes an image of, as its users write it.
const DEFINITION: &str = "\
Bootstrap: localimage
From: IMAGE

%environment
    export COLOUR=red
    export LONG=\"two words\"

%labels
    Author somebody

%runscript
    echo \"run with $COLOUR: $*\"
";

fn apptainer() -> Command {
    as_tester(&program("apptainer/bin/apptainer"))
}

#[test]
#[ignore = "takes Apptainer (benches/apptainer.sh)"]
fn what_apptainer_builds_is_run() {
    if lacks("apptainer") {
        return;
    }
    let scratch = Scratch::new();
    // A directory of the tester's own: Apptainer keeps owners, which only root can.
    let (directory, image) = (scratch.join("debian"), scratch.join("debian.sif"));
    let mut unpack = as_tester(Path::new("unsquashfs"));
    unpack.args(["-no-progress", "-quiet", "-no-xattrs", "-d"]).arg(&directory);
    // It complains of devices.
    outcome(unpack.arg(packed_debian()));
    assert!(directory.join("usr/bin/perl").is_file());
    let build = |source: &Path, options: &[&str], image: &Path| {
        let mut build = apptainer();
        build.arg("build").args(options).arg(image).arg(source);
        let outcome = outcome(build.env("APPTAINER_CACHEDIR", scratch.directory("cache")));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    };
    build(&directory, &[], &image);
    let text = "cat /etc/debian_version; sha256sum /usr/bin/perl";
    let run = |image: &Path| hrun([image, Path::new("sh"), Path::new("-c"), text.as_ref()]).ok();
    assert_eq!(run(&image), run(&directory));
    let place = format!("--unpack={}", scratch.directory("copy").display());
    let unpacked = outcome(command(["-q", &place]).arg(&image).args(["sh", "-c", text]));
    assert_eq!(unpacked.ok(), run(&directory));

    // Of a definition: environment, labels and script are what Apptainer wrote.
    let definition = DEFINITION.replace("IMAGE", image.to_str().unwrap());
    let (definition, defined) =
        (scratch.file("image.def", definition), scratch.join("defined.sif"));
    build(&definition, &["--fakeroot"], &defined);
    let words = |words: &[&str]| {
        hrun([defined.to_str().unwrap()].into_iter().chain(words.iter().copied())).ok()
    };
    assert_eq!(words(&[]), "run with red: \n");
    assert_eq!(words(&["sh", "-c", "echo \"$COLOUR, $LONG\""]), "red, two words\n");
    assert!(words(&["cat", "/.singularity.d/labels.json"]).contains("somebody"));
    let mut theirs = apptainer();
    let theirs = outcome(theirs.arg("run").arg(&defined).args(["a", "b"]));
    let ours = words(&["/.singularity.d/runscript", "a", "b"]);
    assert_eq!((ours.as_str(), theirs.stdout.as_str()), ("run with red: a b\n", ours.as_str()));
}
