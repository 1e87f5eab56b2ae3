//! --seccomp=fakeroot: package managers install in a real image, as a user who has one id.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::live::outcome_in_time;
use super::support::{Outcome, Scratch, command, lacks, real, tester};

/// A copy of the image with a repository, which belongs to the tester, as one that he has unpacked.
fn own_copy(scratch: &Scratch) -> PathBuf {
    let copy = scratch.join("image");
    let copied = Command::new("cp").arg("-a").args([&real("packages"), &copy]).status();
    assert!(copied.unwrap().success());
    if tester().is_other {
        let owner = format!("{}:{}", tester().uid, tester().gid);
        let given = Command::new("chown").args(["-R", &owner]).arg(&copy).status();
        assert!(given.unwrap().success());
    }
    copy
}

/// Runs a script as root in an image.
fn as_root(image: &Path, options: &[&str], script: &str) -> Outcome {
    let mut command = command(options);
    command.arg("--root").arg(image).args(["sh", "-ec", script]);
    outcome_in_time(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

const INSTALL: &str = "apt-get -qq update > /dev/null && \
    apt-get -qq --yes --no-install-recommends install cron uuid-runtime iputils-ping man-db";

/// Installs packages and looks at what they should have done.
#[track_caller]
fn installs(image: &Path, options: &[&str]) {
    let seen = as_root(
        image,
        options,
        &format!(
            "({INSTALL}) > /dev/null 2>&1\n\
             dpkg-query -W -f '${{db:Status-Status}}\\n' cron uuid-runtime iputils-ping man-db\n\
             dpkg --audit; dpkg --verify\n\
             stat -c %A /usr/bin/crontab; getcap /usr/bin/ping\n\
             grep -o '^uuidd:x:[1-9]' /etc/passwd; grep -o '^crontab:x:[1-9]' /etc/group"
        ),
    );
    let wanted = ["installed"; 4].into_iter().chain([
        "-rwxr-sr-x",
        "/usr/bin/ping cap_net_raw=ep",
        "uuidd:x:1",
        "crontab:x:1",
    ]);
    assert_eq!(seen.stdout.lines().collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{seen:?}");
}

#[test]
fn apt_installs_into_a_layer_and_into_the_image() {
    let scratch = Scratch::below(Path::new("/var/tmp"));
    let image = own_copy(&scratch);
    let fakeroot = "--seccomp=fakeroot";
    installs(&image, &["--write-fake", fakeroot]);
    assert!(!image.join("etc/apt/apt.conf.d/zz-hrun").exists(), "nothing was written to the image");
    assert!(!image.join("usr/bin/crontab").exists());
    installs(&image, &["--write", fakeroot]);
    // The mount point of a file that is there only while the image runs.
    assert_eq!(fs::read(image.join("etc/apt/apt.conf.d/zz-hrun")).unwrap(), b"");
    assert!(image.join("usr/bin/crontab").exists());
}

#[test]
fn without_it_apt_fails() {
    let scratch = Scratch::below(Path::new("/var/tmp"));
    let failed = as_root(&own_copy(&scratch), &["--write-fake"], INSTALL);
    assert_ne!(failed.status, Some(0), "{failed:?}");
}

#[test]
fn users_are_added_and_files_are_given_away() {
    let scratch = Scratch::below(Path::new("/var/tmp"));
    let image = own_copy(&scratch);
    for write in ["--write-fake", "--write"] {
        let script = "useradd -m -d /opt/alice -u 1234 alice; usermod -a -G mail alice\n\
             groupadd -g 4321 builders; chown -R alice:builders /opt/alice\n\
             chown bin:daemon /etc/issue; chgrp -h mail /usr/bin/awk\n\
             install -o daemon -g games -m 2755 /bin/true /opt/true; stat -c %A /opt/true\n\
             mknod -m 666 /opt/null c 1 3 || true; mkfifo -m 600 /opt/fifo; stat -c %F /opt/fifo\n\
             dpkg -i /repository/cron-daemon-common_*.deb > /dev/null 2>&1; grep -c ^crontab /etc/group\n\
             cd /opt; tar --create --owner=bin --group=mail /etc/issue 2> /dev/null |\n\
             tar --extract --same-owner --numeric-owner && echo extracted\n\
             setpriv --reuid 1 --regid 1 --clear-groups true && echo set\n\
             id -u; ls -d /opt/alice; grep -c alice /etc/passwd /etc/shadow";
        let seen = as_root(&image, &[write, "--seccomp=fakeroot"], script);
        let wanted =
            "-rwxr-sr-x\nfifo\n1\nextracted\nset\n0\n/opt/alice\n/etc/passwd:1\n/etc/shadow:1\n";
        assert_eq!((seen.stdout.as_str(), seen.status), (wanted, Some(0)), "{write} {seen:?}");
    }
}

#[test]
fn an_image_of_somebody_else_stays_his() {
    if lacks("root") {
        return;
    }
    let script = "chown 20001 /etc/issue && echo pretended; echo x > /etc/issue || echo refused";
    let seen = as_root(&real("packages"), &["--write-fake", "--seccomp=fakeroot"], script);
    assert_eq!(seen.stdout, "pretended\nrefused\n", "{seen:?}");
}
