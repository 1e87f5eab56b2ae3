//! Other users of the machine: what they can change, what they may have made first, what they may read.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::himage_layers::in_shell;
use super::support::archive::{Archive, complains, himage};
use super::support::keep::Store;
use super::support::live::outcome_in_time;
use super::support::scratch::{Scratch, chmod, own};
use super::support::{Image, Outcome, as_tester, lacks, outcome, program, tester};

/// Whatever others may write to in a tree.
fn open_to_others(root: &Path) -> Vec<String> {
    let found = Command::new("find").arg(root).args(["!", "-type", "l", "-perm", "/022"]).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    found.lines().map(str::to_owned).collect()
}

/// An archive of a root directory in which everything is everybody's.
fn open_image(scratch: &Scratch) -> PathBuf {
    let archive = Archive::new()
        .member(b'5', "etc", "", 0o777, "")
        .member(b'5', "usr", "", 0o775, "")
        .member(b'5', "bin", "", 0o755, "")
        .member(b'0', "bin/tool", "", 0o777, "#!/bin/sh\n")
        .member(b'0', "etc/passwd", "", 0o666, "root:x:0:0:root:/root:/bin/sh\n")
        .member(b'5', "tmp", "", 0o1777, "")
        .member(b'5', "opt/group tree", "", 0o3775, "");
    scratch.file("open.tar", archive.end())
}

#[test]
fn what_is_unpacked_is_writable_by_its_owner_only() {
    let scratch = Scratch::new();
    let archive = open_image(&scratch);
    let store = Store::new();
    store.himage(["import".as_ref(), archive.as_os_str(), "open".as_ref()]).ok();
    store.himage(["verify"]).ok();
    assert_eq!(open_to_others(&store.path()), [""; 0]);
    let word = |name: &str| scratch.join(name);
    for (command, from, to) in [
        ("import", &archive, word("imported")),
        ("convert", &archive, word("converted")),
        ("import", &archive, word("imported.sqfs")),
        ("convert", &archive, word("packed.sqfs")),
        ("convert", &word("packed.sqfs"), word("unpacked")),
        ("convert", &word("converted"), word("copied")),
        ("convert", &word("copied"), word("copied.oci")),
    ] {
        store.himage([command.as_ref(), from.as_os_str(), to.as_os_str()]).succeeds();
        assert_eq!(open_to_others(&to), [""; 0], "{command} {}", to.display());
    }
    // In a file, which only its owner can change, the image's directories for everybody are what they were.
    for file in ["packed.sqfs", "imported.sqfs"] {
        let list = Command::new("unsquashfs").arg("-lls").arg(word(file)).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert!(list.contains("drwxrwxrwt") && list.contains("/tmp\n"), "{file}: {list}");
    }
    store.himage(["convert".as_ref(), "open".as_ref(), word("out.tar").as_os_str()]).ok();
    let list = Command::new("tar").arg("-tvf").arg(word("out.tar")).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("drwxrwxrwt") && list.contains("drwxr-xr-x"), "{list}");
}

#[test]
fn a_copy_on_the_node_is_writable_by_its_owner_only() {
    let scratch = Scratch::new();
    let image = Image::tiny();
    let tool = image.program("opt/tool", "#!/bin/sh\n");
    chmod(&tool, 0o777);
    chmod(&image.directory("opt/open"), 0o1777);
    let packed = scratch.join("x.sqfs");
    let made = Command::new("mksquashfs").arg(image.path()).arg(&packed).arg("-quiet").output();
    assert!(made.unwrap().status.success());
    own(&packed);
    let words = ["--unpack", packed.to_str().unwrap(), "ls", "-ld", "/opt/tool", "/opt/open"];
    let listed = super::support::hrun(words).succeeds();
    assert!(listed.contains("-rwxr-xr-x") && listed.contains("drwxr-xr-t"), "{listed}");
}

/// What others may write to is named, and how to close it.
#[test]
fn a_tree_that_others_may_write_to_is_a_flaw() {
    let scratch = Scratch::new();
    let store = Store::new();
    let archive = open_image(&scratch);
    store.himage(["import".as_ref(), archive.as_os_str(), "open".as_ref()]).ok();
    let tree = store.path().join("names/docker.io/library/open:latest").canonicalize().unwrap();
    chmod(&tree.join("rootfs/bin/tool"), 0o777);
    let outcome = store.himage(["verify"]);
    assert_eq!(outcome.status, Some(125));
    for part in [
        "open:latest: bin/tool may be written by others\n",
        "hint: close it to them: chmod -R go-w ",
    ] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let hint = outcome.stderr.split("them: ").nth(1).unwrap().trim().to_owned();
    in_shell(scratch.path(), &hint);
    store.himage(["verify"]).ok();
}

/// A store as it was made before stores had a mark, with a tree that others may write to.
fn without_mark(scratch: &Scratch) -> Store {
    let store = Store::new();
    let archive = open_image(scratch);
    store.himage(["import".as_ref(), archive.as_os_str(), "open".as_ref()]).ok();
    fs::remove_file(store.path().join("hrun-store")).unwrap();
    let tree = store.path().join("names/docker.io/library/open:latest").canonicalize().unwrap();
    chmod(&tree.join("rootfs/bin/tool"), 0o777);
    store
}

#[test]
fn an_older_store_is_taken_over_and_closed() {
    let scratch = Scratch::new();
    let store = without_mark(&scratch);
    let archive = scratch.join("open.tar");
    store.himage(["import".as_ref(), archive.as_os_str(), "again".as_ref()]).ok();
    assert!(store.names("").contains(&"hrun-store".to_owned()));
    assert_eq!(open_to_others(&store.path()), [""; 0]);
    store.is_sound();
}

/// Every name that himage has not given keeps a directory from being a store, and stays.
#[test]
fn directories_of_others_uses_are_no_stores() {
    let scratch = Scratch::new();
    for name in [
        "tmp/results.part",
        "tmp/notes",
        "trees/oak",
        "names/people",
        "blobs/photo.jpg",
        "blobs/sha256/readme",
        "index.json",
        "lock/file",
    ] {
        let store = without_mark(&scratch);
        let file = store.path().join(name);
        if name == "lock/file" {
            let _ = fs::remove_file(store.path().join("lock"));
        }
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let old = ["-d", "30 days ago"];
        assert!(Command::new("touch").args(old).arg(&file).status().unwrap().success());
        for path in [&file, file.parent().unwrap()] {
            own(path);
        }
        for words in
            [&["remove", "open"][..], &["import", "/dev/null", "x"], &["remove", "--unnamed"]]
        {
            let outcome = store.himage(words);
            complains(&outcome, &["as a store: it is a directory with other files in it: "]);
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine", "{name}");
    }
}

/// An OCI layout keeps its blobs, and so does what is left of one; a directory that merely has one of a
/// store's names, too.
#[test]
fn what_looks_like_a_store_is_not_emptied() {
    let blob = format!("blobs/sha256/{}", "ab".repeat(32));
    for files in [
        &["oci-layout", "index.json", &blob][..],
        &[&blob],
        &["trees/oak"],
        &["names/list"],
        &["tmp/old"],
    ] {
        let scratch = Scratch::new();
        for file in files {
            scratch.file(&format!("project/{file}"), "mine");
        }
        let before = super::support::scratch::fingerprint(&scratch.join("project"));
        let project = scratch.join("project");
        for words in [&["remove", "--unnamed"][..], &["import", "/dev/null", "x"], &["share"]] {
            let words = [&["--store", project.to_str().unwrap()], words].concat();
            complains(&himage(&words), &["as a store: it is a directory with other files in it"]);
        }
        assert_eq!(super::support::scratch::fingerprint(&project), before);
    }
}

/// What was put into a store by hand is no image, and stays.
#[test]
fn only_names_that_himage_gives_are_removed() {
    let scratch = Scratch::new();
    let store = Store::new();
    let archive = open_image(&scratch);
    store.himage(["import".as_ref(), archive.as_os_str(), "open".as_ref()]).ok();
    for file in ["tmp/notes", "blobs/sha256/notes", "trees/notes"] {
        let file = store.path().join(file);
        fs::write(&file, "mine").unwrap();
        own(&file);
    }
    store.himage(["remove", "open"]).ok();
    for file in ["tmp/notes", "blobs/sha256/notes", "trees/notes"] {
        assert_eq!(fs::read(store.path().join(file)).unwrap(), b"mine", "{file}");
    }
}

/// Runs `himage` and gives up if it does not end.
fn in_time(store: &Store, words: &[&str]) -> Outcome {
    outcome_in_time(&mut store.command(words))
}

/// Links that were made while others could write in the store.
#[test]
fn links_in_a_store_are_not_followed() {
    let scratch = Scratch::new();
    let archive = open_image(&scratch);
    let archive = archive.to_str().unwrap();
    let precious = scratch.file("precious", "mine");
    let first = Store::new();
    first.himage(["import", archive, "open"]).ok();
    let layer = first.names("blobs/sha256");
    let tree = first.names("trees").pop().unwrap();
    let link = |store: &Store, name: &str, target: &Path| {
        let path = store.path().join(name);
        let _ = fs::remove_file(&path);
        symlink(target, &path).unwrap();
        own(&path);
    };
    let new = || {
        let store = Store::new();
        store.himage(["import", archive, "open"]).ok();
        store.himage(["remove", "open"]).ok();
        store
    };
    for kind in ["part", "lock"] {
        let store = new();
        for digest in &layer {
            link(&store, &format!("tmp/{digest}.{kind}"), &precious);
        }
        complains(&in_time(&store, &["import", archive, "open"]), &["it is a symbolic link"]);
    }
    let store = new();
    link(&store, &format!("tmp/{tree}.tree.lock"), &precious);
    complains(
        &in_time(&store, &["import", archive, "open"]),
        &["it is a symbolic link", "remove it"],
    );
    let store = new();
    link(&store, "lock", &precious);
    complains(&in_time(&store, &["import", archive, "open"]), &["it is a symbolic link"]);
    // A second name, and a pipe.
    let store = new();
    for digest in &layer {
        fs::hard_link(&precious, store.path().join(format!("tmp/{digest}.part"))).unwrap();
    }
    complains(&in_time(&store, &["import", archive, "open"]), &["a second name"]);
    let store = new();
    let pipe = store.path().join(format!("tmp/{tree}.tree.lock"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    own(&pipe);
    complains(&in_time(&store, &["import", archive, "open"]), &["it is no regular file"]);
    // A directory of the user's in the place of one of the store's.
    for part in ["blobs/sha256", "tmp", "trees"] {
        let store = new();
        fs::remove_dir(store.path().join(part)).unwrap();
        let project = scratch.directory("project");
        let kept = scratch.file(&format!("project/{}", "cd".repeat(32)), "mine");
        link(&store, part, &project);
        for words in [&["import", archive, "open"][..], &["remove", "--unnamed"]] {
            complains(&in_time(&store, words), &[part, "it is a symbolic link"]);
        }
        assert_eq!(fs::read(&kept).unwrap(), b"mine");
    }
    assert_eq!(fs::read(&precious).unwrap(), b"mine");
}

#[test]
fn a_store_that_others_may_write_to_is_closed_with_a_word() {
    let scratch = Scratch::new();
    let store = Store::new();
    let archive = open_image(&scratch);
    store.himage(["import".as_ref(), archive.as_os_str(), "open".as_ref()]).ok();
    chmod(&store.path().join("tmp"), 0o777);
    chmod(&store.path(), 0o775);
    let outcome = store.himage(["import".as_ref(), archive.as_os_str(), "again".as_ref()]);
    for part in ["store could be written by others (mode 775), no longer\n", "tmp could be written"]
    {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    outcome.succeeds();
    assert_eq!(open_to_others(&store.path()), [""; 0]);
    // An umask that lets the group write is no reason for words.
    let other = Store::new();
    let mut shell = as_tester(Path::new("/bin/sh"));
    shell.args(["-ec", "umask 000; \"$1\" -q import \"$2\" x; \"$1\" -q verify", "sh"]);
    shell.arg(program("himage")).arg(&archive).env("HRUN_STORE", other.path());
    outcome_of(&mut shell).ok();
    assert_eq!(open_to_others(&other.path()), [""; 0]);
}

fn outcome_of(command: &mut Command) -> Outcome {
    outcome(command)
}

/// Becomes another user, with the tester's store.
fn as_other(store: &Store, program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "20002",
        "--regid",
        "20002",
        "--clear-groups",
        "--inh-caps=-all",
        "--",
    ]);
    command.arg(program).args(words).env_clear().env("HOME", "/home/other");
    command.env("PATH", "/usr/bin:/bin").env("HRUN_STORE", store.path()).current_dir("/home/other");
    command
}

/// Where other users come to, too.
fn in_the_open() -> (Scratch, PathBuf) {
    let scratch = Scratch::below(Path::new("/tmp"));
    chmod(scratch.path(), 0o755);
    let store = scratch.join("store");
    (scratch, store)
}

#[test]
fn others_read_a_store_that_is_shared_and_write_none() {
    if lacks("root") {
        return;
    }
    let (place, path) = in_the_open();
    let image = Image::tiny();
    image.file("opt/private/file", "text\n");
    chmod(&image.join("opt/private/file"), 0o600);
    chmod(&image.join("opt/private"), 0o700);
    let himage = |umask: &str, words: &[&str]| {
        let mut shell = as_tester(Path::new("/bin/sh"));
        let script = format!("umask {umask}; exec \"$0\" --quiet \"$@\"");
        shell.args(["-c", &script]).arg(program("himage")).args(words).env("HRUN_STORE", &path);
        outcome_of(&mut shell)
    };
    let source = image.path().to_str().unwrap();
    himage("077", &["import", source, "app"]).ok();
    let other = |name: &str, words: &[&str]| {
        let mut command = as_other(&Store::new(), &program(name), words);
        outcome_of(command.env("HRUN_STORE", &path))
    };
    // Not shared: what cannot be read is not called changed.
    let said = other("himage", &["-q", "verify"]);
    complains(&said, &["Permission denied"]);
    assert!(!said.stderr.contains("is changed"), "{}", said.stderr);
    let open = Command::new("chmod").args(["-R", "a+rX"]).arg(&path).status();
    assert!(open.unwrap().success());
    let tree = path.join("names/docker.io/library/app:latest").canonicalize().unwrap();
    chmod(&tree.join("rootfs/opt/private"), 0o700);
    let said = other("himage", &["-q", "verify"]);
    assert_eq!(said.status, Some(125));
    assert!(said.stderr.contains("opt/private cannot be read\n"), "{}", said.stderr);
    assert!(said.stderr.contains("you may not read all of it"), "{}", said.stderr);
    assert!(
        !said.stderr.contains("changed") && !said.stderr.contains("missing"),
        "{}",
        said.stderr
    );

    let words = himage("077", &["share"]).ok();
    assert!(words.starts_with("others read it: hrun --store "), "{words}");
    let first = image.file("opt/second", "second\n");
    chmod(&first, 0o600);
    himage("077", &["import", source, "second"]).ok();
    for name in ["app", "second"] {
        let words = ["--no-home", "--no-cwd", name, "cat", "/opt/private/file"];
        assert_eq!(other("hrun", &words).ok(), "text\n", "{name}");
    }
    other("himage", &["-q", "verify"]).ok();
    himage("077", &["verify"]).ok();
    assert_eq!(open_to_others(&path), [""; 0]);
    for words in [&["remove", "app"][..], &["import", "/bin", "x"], &["share"]] {
        let said = other("himage", &[&["-q"], words].concat());
        complains(&said, &["it belongs to another user", "hrun --store DIR NAME"]);
    }
    drop(place);
}

/// A site's store stands behind the user's own.
#[test]
fn several_stores_are_read_and_the_first_is_written() {
    let (own, site, image) = (Store::new(), Store::new(), Image::tiny());
    image.file("etc/which", "site\n");
    let source = image.path().to_str().unwrap();
    site.himage(["import", source, "both"]).ok();
    site.himage(["import", source, "site"]).ok();
    image.file("etc/which", "own\n");
    let both = format!("{}:{}", own.path().display(), site.path().display());
    let himage = |words: &[&str]| outcome(own.command(words).env("HRUN_STORE", &both));
    himage(&["import", source, "both"]).ok();
    assert_eq!((own.names("trees").len(), site.names("trees").len()), (1, 1));
    let which = |name: &str, stores: &str| {
        let words = ["--no-home", "--no-cwd", name, "cat", "/etc/which"];
        let mut command = super::support::command(words);
        command.env("HRUN_STORE", stores).env("XDG_DATA_HOME", own.path().parent().unwrap());
        outcome(&mut command)
    };
    assert_eq!(which("both", &both).ok(), "own\n");
    assert_eq!(which("site", &both).ok(), "site\n");
    // Nothing before the colon: the caller's own, which is another directory here.
    let behind = format!(":{}", site.path().display());
    assert_eq!(which("both", &behind).ok(), "site\n");
    which("none", &both)
        .fails(&["no image of this name in", &format!(" or {}", site.path().display())]);
    let list = himage(&["list"]).ok();
    assert_eq!((list.matches("both:latest").count(), list.matches("site:latest").count()), (2, 1));
    himage(&["inspect", "site"]).ok();
    himage(&["verify", "site"]).ok();
    assert_eq!(himage(&["verify"]).lines().len(), 2);
    complains(&himage(&["remove", "site"]), &["find site: there is no such image in ", "store"]);
}

/// Names in a directory for everybody that somebody has made first.
#[test]
fn names_that_others_made_first_are_neither_used_nor_waited_for() {
    if lacks("root") {
        return;
    }
    let (image, scratch) = (Image::tiny(), Scratch::below(Path::new("/tmp")));
    chmod(scratch.path(), 0o1777);
    let mine = Scratch::new();
    let closed = mine.directory("closed");
    chmod(&closed, 0o500);
    let script = format!(
        "umask 0; mkdir .out.sqfs.himage-1; mkfifo .out.sqfs.himage-1/lock
         mkdir .out.sqfs.himage-2; ln -s {0} .out.sqfs.himage-2/lock
         ln -s {0} .out.sqfs.himage-3; mkdir .out.sqfs.himage-4; touch .out.sqfs.himage-4/lock
         mkdir .out.sqfs.himage-4/inner; ln -s {0} .out.sqfs.himage-4/inner/link",
        closed.display()
    );
    let mut others = as_other(&Store::new(), Path::new("/bin/sh"), &["-ec", &script]);
    outcome_of(others.current_dir(scratch.path())).ok();
    let before = scratch.join(".out.sqfs.himage-4/lock").metadata().unwrap().ino();
    for options in [&["--force"][..], &["--force", "--compress=gzip"]] {
        let mut command = as_tester(&program("himage"));
        command.args(["--quiet", "convert"]).arg(image.path()).arg(scratch.join("out.sqfs"));
        outcome_in_time(command.args(options)).ok();
    }
    assert_eq!(closed.metadata().unwrap().permissions().mode() & 0o777, 0o500);
    assert_eq!(scratch.join(".out.sqfs.himage-4/lock").metadata().unwrap().ino(), before);
    let made = scratch.join("out.sqfs").metadata().unwrap();
    assert_eq!((made.uid(), made.mode() & 0o022), (tester().uid, 0));
}
