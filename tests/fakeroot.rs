//! --seccomp=fakeroot: package managers install in a real image, as a user who has one id.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::live::outcome_in_time;
use super::support::{Outcome, Scratch, command, lacks, real, tester};

/// A copy of the image with a repository; it belongs to the tester, as one that he has unpacked.
fn own_copy(scratch: &Scratch) -> PathBuf {
    own_copy_of("packages", scratch)
}

fn own_copy_of(name: &str, scratch: &Scratch) -> PathBuf {
    let copy = scratch.join("image");
    let copied = Command::new("cp").arg("-a").args([&real(name), &copy]).status();
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

/// A package of files that belong to others, with a user of its own, made and installed by rpm(8).
const SPEC: &str = "\
Name: owned
Version: 1
Release: 1
Summary: files of others
License: none
%description
Files of others.
%install
mkdir -p %{buildroot}/opt/owned/shared
cp /bin/true %{buildroot}/opt/owned/program
cp /bin/false %{buildroot}/opt/owned/pinging
echo data > %{buildroot}/opt/owned/data
ln -s data %{buildroot}/opt/owned/link
%pre
id -u owner > /dev/null 2>&1 || useradd --system owner
%post
chown -R owner:mail /opt/owned/shared
%files
%attr(4755, bin, mail) /opt/owned/program
%attr(755, root, root) %caps(cap_net_raw=ep) /opt/owned/pinging
%attr(2775, daemon, games) %dir /opt/owned/shared
%attr(640, owner, games) /opt/owned/data
%attr(-, games, games) /opt/owned/link
";

#[test]
#[ignore = "wants another image: make test-full"]
fn rpm_gives_files_to_others() {
    let scratch = Scratch::below(Path::new("/var/tmp"));
    let image = own_copy_of("rpm", &scratch);
    let install = format!(
        "mkdir /opt/made; cd /opt/made; cat > owned.spec <<'END'\n{SPEC}END\n\
         rpmbuild -bb --quiet --define '_topdir /opt/made' --define '__os_install_post :' owned.spec\n\
         rpm --install --force-debian --nodeps RPMS/*/owned-1-1.*.rpm\n"
    );
    let look = "rpm --query --queryformat '%{name}\\n' owned\n\
                rpm --verify --nodeps --nouser --nogroup owned\n\
                cd /opt/owned\n\
                stat -c '%A %n' program shared data; cat link; grep -o ^owner: /etc/passwd\n\
                rpm --erase --force-debian owned; ls /opt/owned";
    for write in ["--write-fake", "--write"] {
        let script = format!("{install}{look}");
        let seen = as_root(&image, &[write, "--seccomp=fakeroot"], &script);
        let wanted = "owned\n-rwsr-xr-x program\ndrwxrwsr-x shared\n-rw-r----- data\ndata\n\
                      owner:\n";
        assert_eq!((seen.stdout.as_str(), seen.status), (wanted, Some(0)), "{write} {seen:?}");
    }
    let refused = as_root(&image, &["--write-fake"], &install.replace("mkdir", "mkdir -p"));
    assert_ne!(refused.status, Some(0));
    assert!(refused.stderr.contains("chown failed"), "{refused:?}");
}
