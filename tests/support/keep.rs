//! Stores of images, and images in every form that others make, for `himage`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::image::Image;
use super::run::{Outcome, as_tester, command, outcome, program};
use super::scratch::Scratch;

/// A store of the tester's.
#[derive(Debug)]
pub struct Store {
    scratch: Scratch,
}

impl Store {
    pub fn new() -> Self {
        Store { scratch: Scratch::new() }
    }

    pub fn path(&self) -> PathBuf {
        self.scratch.join("store")
    }

    /// A command that becomes `himage` with this store.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = as_tester(&program("himage"));
        // Of what takes long on a busy machine it would say so.
        command.env("HRUN_STORE", self.path()).arg("--quiet").args(arguments);
        command
    }

    /// Runs `himage`.
    #[track_caller]
    pub fn himage<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// Runs `hrun` with this store, away from home, so that the image's work directory counts.
    #[track_caller]
    pub fn hrun(&self, arguments: &[&str]) -> Outcome {
        let away = ["--no-home", "--no-cwd"];
        let mut command = command(away.iter().chain(arguments));
        outcome(command.env("HRUN_STORE", self.path()))
    }

    /// Asserts that every image is what it was, and that nothing is unfinished.
    #[track_caller]
    pub fn is_sound(&self) {
        self.himage(["verify"]).ok();
        assert_eq!(names(&self.path().join("tmp")), [""; 0], "something is unfinished");
    }

    /// The names of files in a directory of the store, in order.
    pub fn names(&self, directory: &str) -> Vec<String> {
        names(&self.path().join(directory))
    }
}

fn names(directory: &Path) -> Vec<String> {
    let list = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An image of two layers with settings of its own, as an OCI layout that umoci has made.
#[derive(Debug)]
pub struct Made {
    pub scratch: Scratch,
}

/// What the image says of itself.
pub const SETTINGS: [&str; 12] = [
    "--config.env=WHO=image",
    "--config.env=DOLLAR=$HOME",
    "--config.workingdir=/opt/work",
    "--config.entrypoint=/bin/sh",
    "--config.entrypoint=/bin/entry",
    "--config.cmd=first",
    "--config.cmd=second word",
    "--config.label=maintainer=nobody",
    "--config.label=version=1",
    "--os=linux",
    "--author=nobody",
    "--created=2024-05-06T07:08:09Z",
];

/// What running the image says.
pub const SAYS: &str = "image $HOME /opt/work first,second word\n";

impl Made {
    pub fn new() -> Self {
        let made = Made { scratch: Scratch::new() };
        let image = Image::tiny();
        image.directory("opt/work");
        image.program("bin/entry", "echo \"$WHO $DOLLAR $PWD $1,$2\"\n");
        image.file("etc/layer", "lower\n");
        image.file("etc/removed", "lower\n");
        std::fs::hard_link(image.join("etc/layer"), image.join("etc/linked")).unwrap();
        made.run(Command::new("umoci").args(["init", "--layout", "layout"]));
        made.umoci(&["new"]);
        made.umoci(&["unpack", "bundle"]);
        made.sh(&format!(
            "cp -a {}/. bundle/rootfs/ && chown -R 0:0 bundle",
            image.path().display()
        ));
        made.umoci(&["repack", "--refresh-bundle", "bundle"]);
        made.sh("echo upper > bundle/rootfs/etc/layer && rm bundle/rootfs/etc/removed");
        made.umoci(&["repack", "bundle"]);
        made.umoci(&[&["config"], &SETTINGS[..]].concat());
        made.run(Command::new("umoci").args(["gc", "--layout", "layout"]));
        made.open();
        made
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn umoci(&self, arguments: &[&str]) {
        let image = ["--image", "layout:app"];
        let (command, rest) = arguments.split_first().unwrap();
        self.run(Command::new("umoci").arg(command).args(image).args(rest));
    }

    /// Copies an image with skopeo: `skopeo("oci:layout:app", "docker-archive:a.tar:app:1")`.
    #[track_caller]
    pub fn skopeo(&self, from: &str, to: &str) {
        self.run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", from, to]));
        self.open();
    }

    /// Runs a script in the directory.
    #[track_caller]
    pub fn sh(&self, script: &str) {
        self.run(Command::new("sh").args(["-ec", script]));
    }

    /// Lets the tester read everything.
    #[track_caller]
    pub fn open(&self) {
        self.run(Command::new("chmod").args(["-R", "a+rX", "."]));
    }

    #[track_caller]
    fn run(&self, command: &mut Command) {
        let output = command.current_dir(self.scratch.path()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
}
