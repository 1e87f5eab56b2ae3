//! Surroundings in which something fails that hardly ever does: threads, files, locks.

use std::fs;
use std::path::Path;

use super::support::archive::complains;
use super::support::keep::Store;
use super::support::live::until;
use super::support::{Image, Scratch, as_tester, lacks, outcome, program};

/// Where there may be no more processes, himage works with one thread or says why not.
#[test]
fn without_threads_there_are_words() {
    let (image, scratch, store) = (Image::tiny(), Scratch::new(), Store::new());
    store.himage(["import".as_ref(), image.path().as_os_str(), "app".as_ref()]).ok();
    let run = |words: &[&Path]| {
        let mut shell = as_tester(Path::new("/bin/bash"));
        shell.args(["-c", "ulimit -u 1; exec \"$0\" --quiet \"$@\""]).arg(program("himage"));
        outcome(shell.args(words).env("HRUN_STORE", store.path()))
    };
    let none = ["start a thread: there may be no more processes", "hint: see ulimit -u"];
    image.file("etc/more", "another image");
    complains(&run(&[Path::new("import"), image.path(), Path::new("more")]), &none);
    complains(&run(&[Path::new("convert"), image.path(), &scratch.join("copy")]), &none);
    run(&[Path::new("verify")]).ok();
    run(&[Path::new("list")]).ok();
    store.is_sound();
}

/// An umask is about others; one that takes the owner's permissions as well stops nothing.
#[test]
fn an_umask_that_takes_everything_is_no_end() {
    let (image, scratch, store) = (Image::tiny(), Scratch::new(), Store::new());
    let run = |words: &[&Path]| {
        let mut shell = as_tester(Path::new("/bin/bash"));
        shell.args(["-c", "umask 0777; exec \"$0\" --quiet \"$@\""]).arg(program("himage"));
        outcome(shell.args(words).env("HRUN_STORE", store.path())).succeeds()
    };
    run(&[Path::new("import"), image.path(), Path::new("app")]);
    for name in ["copy", "copy.sqfs", "copy.tar", "copy.oci"] {
        run(&[Path::new("convert"), Path::new("app"), &scratch.join(name)]);
        store.himage(["inspect".as_ref(), scratch.join(name).as_os_str()]).ok();
    }
    store.is_sound();
}

/// Runs `himage` with calls that fail for one path.
fn with_failure(
    store: &Store,
    path: &Path,
    inject: &str,
    words: &[&str],
) -> super::support::Outcome {
    let scratch = Scratch::new();
    let mut strace = as_tester(Path::new("strace"));
    strace.args(["-f", "-qq", "-o"]).arg(scratch.join("log"));
    strace.arg("-P").arg(path).args(["-e", &format!("inject={inject}")]);
    strace.arg(program("himage")).arg("--quiet").args(words);
    outcome(strace.env("HRUN_STORE", store.path()))
}

/// What cannot be read when the list of files is made would be missing in it for ever.
#[test]
fn an_image_whose_files_cannot_be_listed_is_not_made() {
    if lacks("strace") {
        return;
    }
    let (image, first) = (Image::tiny(), Store::new());
    let source = image.path().to_str().unwrap();
    first.himage(["import", source, "app"]).ok();
    let tree = first.names("trees").pop().unwrap();
    for (file, inject) in [
        ("etc/passwd", "openat:error=EACCES"),
        ("etc/passwd", "statx:error=EACCES"),
        ("etc/group", "openat:error=EIO"),
    ] {
        let store = Store::new();
        let path = store.path().join(format!("tmp/{tree}.tree/rootfs")).join(file);
        let said = with_failure(&store, &path, inject, &["import", source, "app"]);
        complains(&said, &[path.to_str().unwrap()]);
        assert_eq!(store.names("trees"), [""; 0], "{file} {inject}");
        store.himage(["import", source, "app"]).ok();
        store.is_sound();
    }
}

/// Runs `himage` with every close of a file that fails.
fn with_failing_close(store: &Store, words: &[&str]) -> super::support::Outcome {
    let scratch = Scratch::new();
    let mut strace = as_tester(Path::new("strace"));
    strace.args(["-f", "-qq", "-e", "trace=close", "-e", "inject=close:error=EIO", "-o"]);
    strace.arg(scratch.join("log")).arg(program("himage")).arg("--quiet").args(words);
    outcome(strace.env("HRUN_STORE", store.path()))
}

/// What was written may be lost where a file cannot be closed; what was read is not.
#[test]
fn a_file_that_cannot_be_closed_is_no_end_for_those_who_read_and_an_error_for_those_who_write() {
    if lacks("strace") {
        return;
    }
    let (image, store, scratch) = (Image::tiny(), Store::new(), Scratch::new());
    let source = image.path().to_str().unwrap();
    complains(&with_failing_close(&store, &["import", source, "app"]), &["I/O error"]);
    assert_eq!(store.names("trees"), [""; 0]);
    for name in ["copy.tar", "copy.oci"] {
        let to = scratch.join(name);
        let words = ["convert", source, to.to_str().unwrap()];
        complains(&with_failing_close(&store, &words), &["I/O error"]);
        assert!(!to.exists(), "{name}");
    }
    store.himage(["import", source, "app"]).ok();
    for words in [&["list"][..], &["verify"], &["inspect", "app"], &["remove", "app"]] {
        with_failing_close(&store, words).succeeds();
    }
}

/// Who waits for another himage is told so, once, and goes on when that one ends.
#[test]
fn what_is_waited_for_is_told_once() {
    let (image, store) = (Image::tiny(), Store::new());
    let source = image.path().to_str().unwrap();
    store.himage(["import", source, "app"]).ok();
    let lock = fs::File::options().write(true).open(store.path().join("lock")).unwrap();
    lock.lock().unwrap();
    fs::write(store.path().join("lock"), "process 7 on node1\n").unwrap();
    let scratch = Scratch::new();
    let log = scratch.file("log", "");
    let mut command = as_tester(&program("himage"));
    command.args(["import", source, "again"]).env("HRUN_STORE", store.path());
    command.stderr(fs::File::options().append(true).open(&log).unwrap());
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    until("it says what it waits for", || {
        said().contains("waiting for process 7 on node1, which removes images").then_some(())
    });
    assert!(child.try_wait().unwrap().is_none());
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert_eq!(said().matches("waiting for").count(), 1, "{}", said());
}
