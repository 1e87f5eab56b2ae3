//! Directories for temporary files: the host's, or the command's own (`--private-tmp`, `--contain`).

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Image, Outcome, Scratch, Way, bind, in_every_way, outcome};

/// Runs the probe from a directory of the host.
fn from(directory: &Path, way: Way, image: &Image, options: &[&str], words: &str) -> Outcome {
    outcome(way.prober(image.path(), options, words).current_dir(directory))
}

#[test]
fn tmp_and_tmpdir_are_shared_with_the_host() {
    let (image, here) = (Image::tiny(), Scratch::elsewhere());
    here.file("note", "from the host");
    let tmp = Scratch::below(Path::new("/tmp"));
    tmp.file("note", "from the host");
    in_every_way(|way| {
        for directory in [tmp.path(), here.path()] {
            let see = |words: String| {
                let mut command = way.prober(image.path(), &[], &words);
                outcome(command.env("TMPDIR", directory))
            };
            let path = directory.display();
            assert_eq!(see("env TMPDIR".to_owned()).ok(), format!("{path}\n"));
            assert_eq!(see(format!("cat {path}/note")).ok(), "from the host");
            see(format!("write {path}/new x")).ok();
            fs::remove_file(directory.join("new")).unwrap();
        }
    });
}

#[test]
fn a_tmpdir_the_host_lacks_is_dropped() {
    let image = Image::tiny();
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &[], "env TMPDIR");
        let outcome = outcome(command.env("TMPDIR", "/no/such"));
        assert_eq!((outcome.status, &*outcome.stdout), (Some(1), ""), "{}", outcome.stderr);
    });
}

#[test]
fn a_tmpdir_never_hides_files_of_the_image() {
    let image = Image::tiny();
    image.file("usr/share/mine", "");
    in_every_way(|way| {
        for directory in ["/usr", "/usr/share", "/etc"] {
            let mut command = way.prober(image.path(), &[], "kind /usr/share/mine /usr/sbin");
            let seen = outcome(command.env("TMPDIR", directory));
            let said = format!("warning: the host's {directory} is not shown (TMPDIR): the image");
            assert!(seen.stderr.contains(&said), "{}", seen.stderr);
            assert_eq!(seen.succeeds(), "file\nmissing\n", "{directory}");
        }
        // Other variables that name a directory of the host.
        let mut command = way.prober(image.path(), &[], "kind /usr/share/mine /usr/sbin");
        let seen = outcome(command.env("SLURM_JOB_ID", "1").env("SLURM_CONF", "/usr"));
        assert!(seen.stderr.contains("the host's /usr is not shown"), "{}", seen.stderr);
        assert_eq!(seen.succeeds(), "file\nmissing\n");
    });
}

#[test]
fn a_private_tmp_is_empty_and_forgotten() {
    let image = Image::tiny();
    let tmp = Scratch::below(Path::new("/tmp"));
    let new = PathBuf::from(format!("{}-new", tmp.path().display()));
    in_every_way(|way| {
        for option in ["-t", "--private-tmp", "--private-tmp=8m", "-t=10%", "--contain"] {
            let see = |words: &str| way.probe(image.path(), &[option], words).ok();
            assert_eq!(see("ls /tmp"), "");
            assert!(see("owner /tmp").ends_with(" 1777\n"));
            see(&format!("write {} x", new.display()));
            assert!(!new.exists());
        }
    });
}

#[test]
fn var_tmp_is_the_hosts_or_an_empty_one() {
    let (image, host) = (Image::tiny(), Scratch::below(Path::new("/var/tmp")));
    let lacking = Image::bare();
    image.file("var/tmp/mine", "of the image");
    host.file("note", "from the host");
    let new = host.join("new");
    in_every_way(|way| {
        for image in [image.path(), lacking.path()] {
            let see = |options: &[&str], words: &str| way.probe(image, options, words);
            let note = see(&[], &format!("cat {}/note", host.path().display()));
            assert_eq!(note.ok(), "from the host");
            see(&[], &format!("write {} x", new.display())).ok();
            fs::remove_file(&new).unwrap();
            for option in ["-t", "--private-tmp=8m", "--contain"] {
                assert_eq!(see(&[option], "ls /var/tmp").ok(), "", "{option}");
                assert!(see(&[option], "owner /var/tmp").ok().ends_with(" 1777\n"));
                see(&[option], "write /var/tmp/new x").ok();
                assert!(!Path::new("/var/tmp/new").exists());
            }
            let bound = see(&[&bind(host.path(), ":/var/tmp")], "ls /var/tmp");
            assert_eq!(bound.lines(), ["note"]);
        }
    });
}

#[test]
fn a_var_tmp_that_is_a_link_to_tmp_stays_one() {
    let (image, host) = (Image::tiny(), Scratch::below(Path::new("/tmp")));
    fs::remove_dir(image.join("var/tmp")).unwrap();
    image.link("var/tmp", "../tmp");
    let name = host.path().file_name().unwrap().to_str().unwrap();
    in_every_way(|way| {
        let see = |options: &[&str], words: &str| way.probe(image.path(), options, words);
        assert_eq!(
            see(&[], &format!("kind /tmp/{name} /var/tmp/{name}")).lines(),
            ["directory"; 2]
        );
        for option in ["-t", "--contain"] {
            assert_eq!(see(&[option], "ls /var/tmp").ok(), "");
            see(&[option], "write /var/tmp/new x").ok();
        }
    });
}

#[test]
fn a_private_tmp_holds_the_current_directory_if_that_is_below() {
    let image = Image::tiny();
    let tmp = Scratch::below(Path::new("/tmp"));
    tmp.file("note", "from the host");
    let name = tmp.path().file_name().unwrap().to_str().unwrap();
    in_every_way(|way| {
        let see = |words: &str| from(tmp.path(), way, &image, &["-t"], words);
        assert_eq!(see("cat note").ok(), "from the host");
        assert_eq!(see("ls /tmp").lines(), [name]);
        assert_eq!(from(tmp.path(), way, &image, &["--contain"], "ls /tmp").ok(), "");
    });
}

#[test]
fn a_private_tmp_is_no_larger_than_asked_for() {
    let image = Image::tiny();
    let fill = "busybox dd if=/dev/zero of=/tmp/big bs=64k count=32 2>&1";
    in_every_way(|way| {
        let run =
            |option| way.hrun([option, image.path().to_str().unwrap(), "/bin/sh", "-c", fill]);
        let full = run("--private-tmp=1m");
        assert_eq!(full.status, Some(1));
        assert!(full.stdout.contains("No space left on device"), "{full:?}");
        run("--private-tmp=4m").ok();
    });
}

#[test]
fn temporary_files_work_with_a_private_tmp_and_a_tmpdir_below_tmp() {
    let image = Image::tiny();
    let tmp = Scratch::below(Path::new("/tmp"));
    let script = "echo x > ${TMPDIR:-/tmp}/x && cat ${TMPDIR:-/tmp}/x";
    in_every_way(|way| {
        for option in ["-t", "--contain"] {
            for directory in [tmp.path(), Path::new("/var/tmp/no-such"), Path::new("/tmp")] {
                let words = [option, image.path().to_str().unwrap(), "/bin/sh", "-c", script];
                let mut command = way.command(words);
                assert_eq!(outcome(command.env("TMPDIR", directory)).ok(), "x\n");
            }
        }
    });
    assert!(!tmp.join("x").exists());
}
