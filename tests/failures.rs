//! Machines and images with something wrong: hrun works all the same, or says what to do.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::support::live::outcome_in_time;
use super::support::machine::{
    fill, remove_from_root, show, with_namespace_setting, with_own_mounts, without_user_namespaces,
};
use super::support::run::outcome;
use super::support::scratch::{chmod, copy_program, own};
use super::support::{
    Image, Scratch, WAYS, as_tester, command, hrun, lacks, probe, program, tester,
};

// User namespaces.

const SYSCTL: &str = "sysctl -w user.max_user_namespaces=65536";

#[test]
fn user_namespaces_switched_off() {
    let image = Image::tiny();
    for way in WAYS {
        let mut command = without_user_namespaces(&program("hrun"));
        let message = outcome(command.args(way).arg(image.path()).arg("true"))
            .fails(&["cannot make user and mount namespaces: ", "user.max_user_namespaces is 0"]);
        assert!(message.contains(SYSCTL), "{message}");
    }
}

#[test]
fn user_namespaces_used_up() {
    let image = Image::bare();
    let setting = "echo 1 > /proc/sys/user/max_user_namespaces && exec unshare -U -r";
    let mut command = with_namespace_setting(&format!("{setting} \"$@\""), &program("hrun"));
    let message = outcome(command.arg(image.path()).arg("true"))
        .fails(&["cannot make user and mount namespaces: ", "all user namespaces are in use"]);
    assert!(message.contains(SYSCTL), "{message}");
}

#[test]
fn user_namespaces_nested_too_deep() {
    let image = Image::tiny();
    let mut command = as_tester(Path::new("/bin/sh"));
    let dive = "depth=$1; shift; [ $depth = 33 ] && exec \"$@\"; exec unshare -U -r \
        sh -c \"$DIVE\" sh $((depth + 1)) \"$@\"";
    command.env("DIVE", dive).args(["-c", dive, "sh", "0"]).arg(program("hrun"));
    outcome(command.arg(image.path()).arg("true"))
        .fails(&["cannot make user and mount namespaces: ", "nested too deep"]);
}

/// The kernel refuses user namespaces in a chroot, with the error number of a security module.
#[test]
fn user_namespaces_forbidden() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    let image = Image::in_scratch(Scratch::below(scratch.path()));
    copy_program(&program("hrun"), &scratch.join("hrun"));
    let proc = scratch.directory("proc");
    scratch.directory("mnt");
    let image = Path::new("/").join(image.path().strip_prefix(scratch.path()).unwrap());
    let user = format!("--userspec={}:{}", tester().uid, tester().gid);
    let message = with_own_mounts(|| {
        show("/proc".as_ref(), &proc);
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(user).arg(scratch.path()).arg("/hrun").arg(image).arg("true").env_clear();
        outcome(&mut command)
            .fails(&["cannot make user and mount namespaces: Operation not permitted"])
    });
    assert!(message.contains("chroot"), "{message}");
    assert!(message.contains("hrun --doctor"), "{message}");
}

// Full and missing directories.

/// Runs in every way, with a mount point to make and a layer, and sees the image.
fn works(image: &Image) {
    let bind = "--bind=/usr/share:/opt/share";
    for way in WAYS {
        let options: Vec<&str> = way.iter().copied().chain([bind]).collect();
        assert_eq!(probe(image.path(), &options, "kind /opt/share").ok(), "directory\n");
    }
    assert_eq!(probe(image.path(), &["--write-fake"], "write /etc/new x").ok(), "ok\n");
}

#[test]
fn full_directories_do_not_matter() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    for directory in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/srv", "/mnt"].map(Path::new) {
        with_own_mounts(|| {
            fill(directory);
            works(&image);
        });
    }
}

#[test]
fn a_full_home_does_not_matter() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny_in(Scratch::below(Path::new("/home/nosuid")));
    with_own_mounts(|| {
        fill(&tester().home);
        own(&tester().home);
        works(&image);
    });
}

/// The root directory in memory is also that of a node without a disk, which cannot be pivoted.
#[test]
fn missing_directories_do_not_matter() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    for name in ["tmp", "mnt", "srv", "run", "var", "opt", "media"] {
        with_own_mounts(|| {
            remove_from_root(name);
            assert!(!Path::new("/").join(name).exists());
            works(&image);
        });
    }
}

#[test]
fn a_temporary_directory_that_is_missing_does_not_matter() {
    let image = Image::tiny();
    let mut command = command([image.path()]);
    command.args(["probe", "id"]).env("TMPDIR", "/nowhere/at/all");
    outcome(&mut command).ok();
}

// Images.

#[test]
fn an_image_that_is_missing() {
    hrun(["/nowhere/image", "true"])
        .fails(&["cannot use /nowhere/image as an image: No such file", "unpacked image"]);
    hrun(["docker://debian:12", "true"])
        .fails(&["cannot use docker://debian:12 as an image: ", "hint: himage pull debian:12"]);
}

#[test]
fn an_image_that_is_closed() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    for name in ["image", "above/image"] {
        let closed = scratch.directory(name.split('/').next().unwrap());
        let image = scratch.directory(name);
        chmod(&closed, 0o700);
        chown(&closed, Some(20002), Some(20002)).unwrap();
        let image = image.display().to_string();
        let message = hrun([image.as_str(), "true"])
            .fails(&[&format!("cannot use {image} as an image: Permission denied")]);
        assert!(message.contains("chmod -R a+rX"), "{message}");
        assert!(message.contains("root_squash"), "{message}");
    }
}

/// First bytes of a file, what hrun calls it, and the command that unpacks it.
fn files_that_are_no_image() -> [(Vec<u8>, &'static str, &'static str); 6] {
    let at = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 1024];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    };
    [
        (at(257, b"ustar"), "tar archive", "tar -C FILE.d -xf FILE && hrun FILE.d"),
        (at(0, b"\x1f\x8b"), "compressed archive", "mkdir FILE.d && tar -C FILE.d -xf FILE"),
        (at(0, b"\x28\xb5\x2f\xfd"), "compressed archive", "tar -C FILE.d -xf FILE"),
        (at(0, b"\xfd7zXZ\0"), "compressed archive", "tar -C FILE.d -xf FILE"),
        (b"text\n".to_vec(), "no image", "hrun [OPTION]... IMAGE"),
        (Vec::new(), "no image", "hrun [OPTION]... IMAGE"),
    ]
}

#[test]
fn a_file_that_is_no_image() {
    let scratch = Scratch::new();
    for (number, (bytes, what, remedy)) in files_that_are_no_image().into_iter().enumerate() {
        let file = scratch.file(&format!("file{number}"), bytes).display().to_string();
        let message = hrun([file.as_str(), "true"])
            .fails(&[&format!("cannot use {file} as an image: it is a"), what]);
        assert!(message.contains(&remedy.replace("FILE", &file)), "{message}");
    }
}

#[test]
fn a_bzip2_archive_is_no_image() {
    let scratch = Scratch::new();
    let file = scratch.file("image.tar.bz2", b"BZh91AY&SY").display().to_string();
    hrun([file.as_str(), "true"]).fails(&["it is a compressed archive", "tar -C "]);
}

#[test]
fn the_command_that_unpacks_an_archive_works() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let archive = scratch.join("image.tar.gz");
    let mut pack = Command::new("tar");
    pack.arg("-czf").arg(&archive).arg("-C").arg(image.path()).arg(".");
    assert!(pack.status().unwrap().success());
    own(&archive);
    let message = hrun([archive.as_os_str(), OsStr::new("true")]).fails(&["hint: unpack it: "]);
    let advice = message.split("unpack it: ").nth(1).unwrap().trim();
    let mut shell = as_tester(Path::new("/bin/sh"));
    let programs = program("hrun").parent().unwrap().display().to_string();
    shell.args(["-c", &format!("{advice} probe cwd")]);
    shell.env("PATH", format!("{programs}:/usr/bin:/bin"));
    assert_eq!(outcome(&mut shell).ok().trim(), tester().home.to_str().unwrap());
}

#[test]
fn a_path_through_a_file_is_no_image() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "").join("image").display().to_string();
    hrun([path.as_str(), "true"]).fails(&[&format!("cannot use {path} as an image: ")]);
}

#[test]
fn devices_are_no_images() {
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        let mut command = command([device, "true"]);
        outcome_in_time(&mut command).fails(&[&format!("cannot use {device} as an image: ")]);
    }
}

#[test]
fn a_pipe_is_no_image() {
    let scratch = Scratch::new();
    let pipe = scratch.join("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o666)).unwrap();
    own(&pipe);
    let mut command = command([pipe.as_os_str(), OsStr::new("true")]);
    outcome_in_time(&mut command).fails(&[&format!("cannot use {} as an image: ", pipe.display())]);
}

#[test]
fn a_socket_is_no_image() {
    let scratch = Scratch::new();
    let socket = scratch.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    own(&socket);
    outcome_in_time(&mut command([socket.as_os_str(), OsStr::new("true")]))
        .fails(&[&format!("cannot use {} as an image: ", socket.display())]);
}

#[test]
fn an_empty_directory_lacks_the_command() {
    let scratch = Scratch::new();
    hrun([scratch.path().as_os_str(), OsStr::new("true")])
        .fails_with(127, &["cannot run true: ", "no such program inside"]);
}

#[test]
fn an_image_with_nothing_but_programs_works_in_every_way() {
    let image = Image::bare();
    for way in WAYS {
        probe(image.path(), way, "id").ok();
    }
}

/// Asserts that both binds are seen, in every way.
fn shows_at(image: &Image, targets: [&str; 2]) {
    let binds = targets.map(|target| format!("--bind=/usr/share:{target}"));
    for way in WAYS {
        let options: Vec<&str> =
            way.iter().copied().chain(binds.each_ref().map(|b| &**b)).collect();
        let seen = probe(image.path(), &options, &format!("kind {} {}", targets[0], targets[1]));
        assert_eq!(seen.ok(), "directory\ndirectory\n", "{options:?}");
    }
}

#[test]
fn mount_points_in_the_root_directory_are_made_in_every_way() {
    shows_at(&Image::tiny(), ["/scratch", "/data/set"]);
}

#[test]
fn mount_points_below_one_that_is_made_are_made_in_every_way() {
    shows_at(&Image::tiny(), ["/opt/made/one", "/opt/made/two"]);
}
