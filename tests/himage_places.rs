//! What himage writes images to: nothing of the user's is taken away for them, and `mksquashfs` of
//! every age takes no more of the machine than it may.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::himage_layers::in_shell;
use super::support::archive::{complains, himage};
use super::support::scratch::{Scratch, fingerprint};
use super::support::{Image, as_tester, lacks, outcome, program};

/// A home, a project, a link, a file: whatever is said, they are as they were, and no hint would end them.
#[test]
fn what_is_no_image_is_neither_replaced_nor_advised_to_be_removed() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let home = scratch.directory("home");
    in_shell(&home, "mkdir bin src .config; echo mine > src/work; touch .profile");
    let project = scratch.directory("project.oci");
    in_shell(&project, "mkdir blobs; echo mine > blobs/data; echo {} > index.json");
    let bundle = scratch.directory("bundle");
    in_shell(&bundle, "mkdir rootfs; echo {} > image.json; echo mine > results.csv");
    let file = scratch.file("file", "mine");
    let link = scratch.join("link");
    std::os::unix::fs::symlink("home", &link).unwrap();
    let packed = scratch.directory("packed.sqfs");
    in_shell(&packed, "echo mine > data");
    let before = fingerprint(scratch.path());
    for place in [&home, &project, &bundle, &file, &link, &packed] {
        for words in [&["convert"][..], &["convert", "--force"], &["import"]] {
            let (command, options) = words.split_first().unwrap();
            let words = [Path::new(command), image.path(), place];
            let said = himage(words.into_iter().chain(options.iter().map(Path::new)));
            complains(&said, &[place.to_str().unwrap(), "hint: choose another name"]);
            assert!(!said.stderr.contains("rm "), "{}", said.stderr);
        }
    }
    assert_eq!(fingerprint(scratch.path()), before);
}

#[test]
fn an_empty_directory_is_filled() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    for (command, name, has) in [
        ("convert", "one", "bin/sh"),
        ("import", "two", "rootfs/bin/sh"),
        ("convert", "three.oci", "index.json"),
    ] {
        let place = scratch.directory(name);
        himage([Path::new(command), image.path(), &place]).succeeds();
        assert!(place.join(has).exists(), "{name}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
}

/// On file systems that cannot exchange two names, such as NFS, the old one is never lost: not if the new
/// one cannot be put there, and not if himage is killed before it does.
#[test]
fn what_is_replaced_is_there_until_the_new_one_is() {
    if lacks("strace") {
        return;
    }
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let old = scratch.directory("old");
    in_shell(&old, "mkdir etc usr bin; touch etc/old");
    let convert = |inject: &[&str]| {
        let mut strace = as_tester(Path::new("strace"));
        strace.args(["-f", "-qq", "-e", "inject=renameat2:error=EINVAL"]).args(inject);
        strace.arg("-o").arg(scratch.join("log")).arg(program("himage"));
        outcome(strace.args(["-q", "convert", "--force"]).arg(image.path()).arg(&old))
    };
    let is_old = || old.join("etc/old").exists();
    complains(&convert(&["-e", "inject=renameat:error=EIO:when=2"]), &["I/O error"]);
    assert!(is_old());
    let killed = convert(&["-e", "inject=renameat:error=EIO:signal=SIGKILL:when=2"]);
    assert_ne!(killed.status, Some(0), "{killed:?}");
    assert!(!old.exists());
    // The next one puts it back, whatever it is asked for.
    let words = [Path::new("convert"), image.path(), &old];
    complains(&himage(words), &["it is there already"]);
    assert!(is_old());
    convert(&[]).ok();
    assert!(!is_old() && old.join("bin/sh").exists());
    let left: Vec<_> =
        fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Puts a program `mksquashfs` first on the path, which runs a script; `$real` is the real one.
fn with_mksquashfs(scratch: &Scratch, script: &str) -> Command {
    let text = format!(
        "#!/bin/bash\nreal=/usr/bin/mksquashfs\nlog={}\n{script}",
        scratch.join("log").display()
    );
    let fake = scratch.file("bin/mksquashfs", text);
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = as_tester(&program("himage"));
    command.env("PATH", format!("{}:/usr/bin:/bin", scratch.join("bin").display()));
    command.args(["--quiet", "convert"]);
    command
}

/// What 4.3 knows, and how it says that it does not know something.
const OLD: &str = r#"
case $1 in -version) echo "mksquashfs version 4.3 (2014/05/12)"; exit 0;; esac
printf '%s\n' "$@" > "$log"
for word; do case $word in
    -quiet|-Xcompression-level) printf '%s\n\nSYNTAX:mksquashfs source1 dest\n\tlzo\n\txz\n' "$0: $word unknown option" >&2; exit 1;;
    zstd) printf 'FATAL ERROR:Compressor "zstd" is not supported!\nCompressors available:\n\tgzip (default)\n\txz\n' >&2; exit 1;;
esac; done
exec "$real" "$@" > /dev/null
"#;

#[test]
fn an_old_mksquashfs_is_asked_for_what_it_knows() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let out = scratch.join("out.sqfs");
    let said = outcome(with_mksquashfs(&scratch, OLD).arg(image.path()).arg(&out));
    assert!(
        said.stderr.contains("no zstd here: the file is compressed by gzip"),
        "{}",
        said.stderr
    );
    said.succeeds();
    let shown = Command::new("unsquashfs").arg("-s").arg(&out).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("Compression gzip"));
    // What was asked for and cannot be is an error in its words.
    let mut command = with_mksquashfs(&scratch, OLD);
    command.arg(image.path()).arg(scratch.join("x.sqfs")).arg("--compress=zstd");
    complains(&outcome(&mut command), &["Compressor \"zstd\" is not supported!"]);
}

/// A new one may be made without zstd as well.
#[test]
fn without_zstd_it_is_gzip() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let script = OLD.replace("4.3 (2014/05/12)", "4.6 (2023)").replace("-quiet|", "");
    let mut command = with_mksquashfs(&scratch, &script.replace("-Xcompression-level", "-nothing"));
    let said = outcome(command.arg(image.path()).arg(scratch.join("out.sqfs")));
    assert!(said.stderr.contains("compressed by gzip"), "{}", said.stderr);
    said.succeeds();
}

#[test]
fn why_mksquashfs_failed_is_told() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    const FULL: &str = "echo 'Write failed because No space left on device'; echo 'FATAL ERROR:Failed to write to output filesystem'";
    for (script, words) in [
        ("kill -KILL $$".to_owned(), "mksquashfs was killed by SIGKILL (9)\n  hint: if the memory"),
        ("kill -TERM $$".to_owned(), "mksquashfs was killed by SIGTERM (15)\n"),
        (
            format!("{{ {FULL}; }} >&2; exit 1"),
            "mksquashfs fails: Write failed because No space left on device\n",
        ),
        ("exit 1".to_owned(), "mksquashfs fails: it does not say why\n"),
    ] {
        let script = format!("[ $1 = -version ] && exec $real -version; {script}");
        let mut command = with_mksquashfs(&scratch, &script);
        let said = outcome(command.arg(image.path()).arg(scratch.join("out.sqfs")));
        complains(&said, &[words]);
    }
    assert!(!scratch.join("out.sqfs").exists());
}

/// As many processors as the process may use, or as the user says; and so much memory.
#[test]
fn processors_and_memory_are_the_users() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    const LOG: &str = "[ $1 = -version ] || echo \"$@\" > \"$log\"; exec $real \"$@\"";
    let log = || fs::read_to_string(scratch.join("log")).unwrap();
    let out = scratch.join("out.sqfs");
    let mut command = with_mksquashfs(&scratch, LOG);
    let program = program("himage");
    let path = format!("{}:/usr/bin:/bin", scratch.join("bin").display());
    let mut bound = as_tester(Path::new("taskset"));
    bound.args(["-c", "0"]).arg(program).args(["--quiet", "convert"]).env("PATH", path);
    outcome(bound.arg(image.path()).arg(&out)).ok();
    assert!(log().contains(" -processors 1 "), "{}", log());
    command.arg("--force").arg(image.path()).arg(&out);
    outcome(command.args(["--processors=3", "--memory=96M"])).ok();
    assert!(log().contains(" -processors 3 ") && log().contains(" -mem 96M "), "{}", log());
    for (option, words) in [
        ("--processors=0", "use --processors 0: it is no number of processors"),
        ("--processors=all", "it is no number"),
        ("--memory=1", "it is no size of 1M or more"),
        ("--memory=lots", "--memory 512M"),
    ] {
        let image = image.path().to_str().unwrap();
        complains(&himage(["convert", image, "x.sqfs", option]), &[words]);
    }
}

/// What is unpacked on the way lies where the user wants it, and nothing is left there.
#[test]
fn temporary_files_are_where_the_user_wants_them() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let archive = scratch.join("image.tar");
    himage([Path::new("convert"), image.path(), &archive]).ok();
    let temporary = scratch.directory("temporary");
    // The tree that is packed is the first word.
    const LOG: &str = "[ $1 = -version ] || echo \"$1 $2\" > \"$log\"; exec $real \"$@\"";
    let packed_from = |environment: &[(&str, &Path)], options: &[&str]| {
        let mut command = with_mksquashfs(&scratch, LOG);
        command.envs(environment.iter().copied());
        command.arg(&archive).arg(scratch.join("out.sqfs")).arg("--force").args(options);
        outcome(&mut command).ok();
        let log = fs::read_to_string(scratch.join("log")).unwrap();
        let (from, to) =
            log.trim().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(
            Path::new(&to).starts_with(scratch.path()) && !Path::new(&to).starts_with(&temporary)
        );
        Path::new(&from).starts_with(&temporary)
    };
    assert!(!packed_from(&[], &[]));
    assert!(packed_from(&[("TMPDIR", &temporary)], &[]));
    assert!(packed_from(&[("HIMAGE_TMPDIR", &temporary), ("TMPDIR", Path::new("/none"))], &[]));
    assert!(packed_from(&[], &[&format!("--tmpdir={}", temporary.display())]));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    // A directory is made where it will be, and needs no other.
    let mut command = as_tester(&program("himage"));
    command.env("TMPDIR", "/none").args(["-q", "convert"]).arg(&archive);
    outcome(command.arg(scratch.join("directory"))).ok();
    let mut command = as_tester(&program("himage"));
    command.env("TMPDIR", "/none").args(["-q", "import"]).arg(&archive);
    complains(
        &outcome(command.arg(scratch.join("x.sqfs"))),
        &["temporary files", "/none", "TMPDIR"],
    );
}
