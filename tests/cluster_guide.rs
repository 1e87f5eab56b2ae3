//! The commands of a cluster's guide work as they are printed there.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::variables::command_with;
use super::support::{Image, Outcome, Scratch, hrun, hrun_in, real};

/// Debian's Python and what it needs, and nothing else: no `/home`, no `/etc`, no `/tmp`.
struct PythonImage {
    root: PathBuf,
    _scratch: Scratch,
}

/// What of a Debian image Python consists of.
const PARTS: &str = "bin lib lib64 usr/bin/python3* usr/lib/python3* usr/lib64 \
    usr/lib/*-linux-gnu/ld-linux* usr/lib/*-linux-gnu/lib[cm].so* usr/lib/*-linux-gnu/libz.so* \
    usr/lib/*-linux-gnu/libexpat.so*";

impl PythonImage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let root = scratch.directory("python");
        let script = format!("cp -a --parents {PARTS} \"$0\"");
        let mut copy = Command::new("sh");
        copy.args(["-c", &script]).arg(&root).current_dir(real("bookworm"));
        assert!(copy.status().unwrap().success());
        PythonImage { root, _scratch: scratch }
    }
}

/// A user's home directory as the guide has it: experiments, a repository and a library.
fn home() -> Scratch {
    let home = Scratch::new();
    home.directory("experiments");
    home.file("experiments/input.txt", "data\n");
    home.file("lib/library.py", "NAME = 'library'\n");
    home.file("settings.py", "NAME = 'settings'\n");
    home.file("experiments/here.py", "NAME = 'here'\n");
    home.file(
        "repo/main.py",
        "import os, sys\n\
         import here, library, settings\n\
         print(sys.argv[1:])\n\
         print(os.getcwd(), open('input.txt').read().strip())\n\
         print(here.NAME, library.NAME, settings.NAME)\n\
         print(os.path.expanduser('~'))\n",
    );
    home
}

#[test]
fn the_guides_command_runs_a_script_with_its_settings() {
    let image = PythonImage::new();
    let home = home();
    let user = home.path().to_str().unwrap();
    // A directory of the host that the image lacks, below nothing that is shown inside.
    let elsewhere = Scratch::below(Path::new("/var/tmp"));
    elsewhere.file("config.env", format!("PYTHONPATH=.:{user}:{user}/lib\n"));
    let words = [
        "--set-env=config.env",
        &format!("--cd={user}/experiments"),
        image.root.to_str().unwrap(),
        "/usr/bin/python3",
        &format!("{user}/repo/main.py"),
        "--",
        "--id=3",
    ];
    let mut command = command_with([format!("HOME={user}")], words);
    let seen = Outcome::new(command.current_dir(elsewhere.path()).output().unwrap()).lines();
    assert_eq!(
        seen,
        ["['--', '--id=3']", &format!("{user}/experiments data"), "here library settings", user,]
    );
}

#[test]
fn options_behind_the_image_belong_to_the_command() {
    let image = real("bookworm");
    let image = image.to_str().unwrap();
    let print = "import sys; print(sys.argv)";
    assert_eq!(hrun([image, "python3", "-c", "print(1)"]).ok(), "1\n");
    assert_eq!(hrun([image, "--", "python3", "-c", "print(1)"]).ok(), "1\n");
    assert_eq!(hrun(["--", image, "python3", "-c", "print(1)"]).ok(), "1\n");
    let seen = hrun([image, "python3", "-c", print, "-v", "--help", "--bind", "-b"]).ok();
    assert_eq!(seen, "['-c', '-v', '--help', '--bind', '-b']\n");
}

#[test]
fn no_word_of_the_command_is_eaten() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    let args = |before: &[&str], after: &[&str]| hrun([before, &[image], after].concat()).items();
    let words = ["/bin/probe", "args", "--version", "-h", "--", "--set-env=A=1", "", "-", "a b"];
    assert_eq!(args(&[], &words), words[2..]);
    assert_eq!(args(&["-q", "--"], &words), words[2..]);
    // One `--` behind IMAGE is hrun's; a second one is the command's.
    assert_eq!(args(&[], &["--", "/bin/probe", "args", "--", "x"]), ["--", "x"]);
    assert_eq!(args(&["--"], &["--", "/bin/probe", "args"]), [""; 0]);
}

#[test]
fn without_a_command_the_images_own_runs() {
    let image = Image::tiny();
    image.program(".singularity.d/runscript", "#!/bin/sh\necho the image itself \"$@\"\n");
    assert_eq!(hrun([image.path()]).ok(), "the image itself\n");
    assert_eq!(hrun([image.path(), Path::new("--")]).ok(), "the image itself\n");
}

#[test]
fn an_image_may_be_named_from_where_it_lies() {
    let home = Scratch::new();
    let image = Image::in_scratch(home);
    let parent = image.path().parent().unwrap();
    for name in ["image", "./image", "image/", "image/../image"] {
        assert_eq!(hrun_in(parent, [name, "/bin/echo", "ran"]).ok(), "ran\n", "{name}");
    }
}
