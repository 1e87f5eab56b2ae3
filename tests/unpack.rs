//! `--unpack`: a packed image is run from a copy on this node, which its users share, and which is gone
//! when the last of them is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::packed::Packed;
use super::support::live::until;
use super::support::machine::{cover, make_read_only, with_own_mounts};
use super::support::rank::{Waiting, rank};
use super::support::run::{outcome, shell};
use super::support::scratch::chmod;
use super::support::slurm::cluster;
use super::support::{
    Image, Live, Scratch, command, hrun, in_every_way, lacks, probe, program, tester,
};

/// A place for copies, and the option that names it.
struct Place {
    scratch: Scratch,
    option: String,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let option = format!("--unpack={}", scratch.path().display());
        Place { scratch, option }
    }

    /// The directory that hrun makes there.
    fn directory(&self) -> PathBuf {
        self.scratch.join(format!("hrun-images-{}", tester().uid))
    }

    /// The root directories of the copies.
    fn trees(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.extension().is_none()).collect()
    }

    #[track_caller]
    fn one_tree(&self) -> PathBuf {
        let mut trees = self.trees();
        assert_eq!(trees.len(), 1, "{trees:?}");
        trees.remove(0)
    }

    #[track_caller]
    fn becomes_empty(&self) {
        let is_empty = || fs::read_dir(self.scratch.path()).unwrap().next().is_none();
        until("the copy is gone", || is_empty().then_some(()));
    }

    /// The processes of a name that work at this place.
    fn processes(&self, name: &str) -> Vec<Pid> {
        let place = self.scratch.path();
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let has = |pid: &i32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            // They hold the lock of a copy there.
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let mut files = open.filter_map(|entry| fs::read_link(entry.path()).ok());
            comm.trim_end() == name && files.any(|file| file.starts_with(place))
        };
        numbers.filter(has).map(Pid::from_raw).collect()
    }

    /// A command in an image that waits for its standard input to end.
    fn waiting(&self, image: &Path) -> Live {
        let mut command = command(["-q", &self.option, image.to_str().unwrap()]);
        let child = Live::start(command.args(["/bin/probe", "await", "28"]).process_group(0));
        assert_eq!(child.next_line(), format!("ready {}", child.pid()));
        child
    }
}

/// Kills what runs, and waits until that is known.
fn end(child: Live) {
    child.send(Signal::SIGKILL);
    drop(child);
}

#[test]
fn the_copy_is_as_the_image_in_every_way() {
    let image = Image::tiny();
    image.file("etc/deep/note", "from the image\n");
    let (packed, place) = (Packed::new(image.path(), &[]), Place::new());
    in_every_way(|way| {
        let options = ["-q", place.option.as_str()];
        for words in ["args a b", "cwd", "kind / /bin /bin/sh /nothing", "cat /etc/deep/note"] {
            let seen = way.probe(&packed.path, &options, words).ok();
            assert_eq!(seen, way.probe(image.path(), &[], words).ok(), "{words}");
        }
        way.probe(&packed.path, &options, "write /bin/new x").refused("EROFS");
        assert_eq!(way.probe(&packed.path, &options, "exit 7").status, Some(7));
    });
    place.becomes_empty();
}

#[test]
fn it_is_said_once_what_takes_so_long() {
    let (packed, place) = (Packed::tiny(), Place::new());
    let seen = probe(&packed.path, &[&place.option], "args x");
    let tree = place.directory();
    let told = format!("hrun: unpacking {} in {}/", packed.path.display(), tree.display());
    assert_eq!((seen.status, seen.stdout.as_str()), (Some(0), "x\0"));
    assert!(seen.stderr.starts_with(&told) && seen.stderr.lines().count() == 1, "{}", seen.stderr);
    // A directory is run as it is.
    assert_eq!(probe(Image::tiny().path(), &[&place.option], "args x").ok(), "x\0");
    place.becomes_empty();
}

#[test]
fn containers_share_a_copy_and_the_last_one_ends_it() {
    let (packed, place) = (Packed::tiny(), Place::new());
    let first = place.waiting(&packed.path);
    let tree = place.one_tree();
    assert_eq!(fs::metadata(place.directory()).unwrap().mode() & 0o7777, 0o700);
    let made = fs::metadata(&tree).unwrap().ctime_nsec();
    let second = place.waiting(&packed.path);
    // It is not said that anything is unpacked.
    assert_eq!(probe(&packed.path, &[&place.option], "args x").ok(), "x\0");
    end(first);
    until("one is left", || (place.processes("hrun-copy").len() == 1).then_some(()));
    assert_eq!(fs::metadata(place.one_tree()).unwrap().ctime_nsec(), made);
    assert_eq!(probe(&packed.path, &[&place.option], "cat /etc/group").status, Some(0));
    end(second);
    place.becomes_empty();
}

#[test]
fn a_background_child_keeps_the_copy() {
    let (packed, place) = (Packed::tiny(), Place::new());
    let script =
        "$hrun -q $place $image busybox sh -c 'sleep 60 >/dev/null 2>&1 <&- & echo $!' | cat";
    let child = outcome(shell(&packed.path, script).env("place", &place.option)).ok();
    until("the first process is gone", || (place.processes("busybox").is_empty()).then_some(()));
    assert!(place.one_tree().join("bin/busybox").is_file());
    kill(Pid::from_raw(child.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    place.becomes_empty();
}

#[test]
fn an_image_that_has_changed_is_unpacked_anew() {
    let (image, place) = (Image::tiny(), Place::new());
    image.file("etc/note", "old");
    let packed = Packed::new(image.path(), &[]);
    let note = || probe(&packed.path, &["-q", &place.option], "cat /etc/note").ok();
    let before = place.waiting(&packed.path);
    assert_eq!(note(), "old");
    image.file("etc/note", "new");
    let times = fs::metadata(&packed.path).unwrap().modified().unwrap();
    fs::write(&packed.path, fs::read(Packed::new(image.path(), &[]).path).unwrap()).unwrap();
    // What people do who copy with `cp -p` or `rsync -t`.
    fs::File::options().write(true).open(&packed.path).unwrap().set_modified(times).unwrap();
    assert_eq!(note(), "new");
    end(before);
    place.becomes_empty();
}

#[test]
fn ranks_of_a_step_share_a_copy() {
    let (packed, place, home) = (Packed::tiny(), Place::new(), Scratch::new());
    let script = "cat /etc/group > /dev/null && readlink /proc/self/ns/mnt";
    let ranks = (0..8).map(|number| {
        let options = [place.option.as_str()];
        let mut rank = rank("unpack", &packed.path, &options, script);
        let rank = rank.env("SLURM_LOCALID", number.to_string());
        rank.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let ranks: Vec<_> = ranks.collect();
    for rank in ranks {
        let output = rank.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    place.becomes_empty();
    // Whichever is the first: it is killed, and others go on.
    let start = || Waiting::start("unpack-on", &packed.path, &["-q", &place.option], &home);
    let (first, second, third) = (start(), start(), start());
    assert_eq!(first.namespaces(), third.namespaces());
    first.kill();
    second.end();
    assert!(place.one_tree().join("bin/busybox").is_file());
    assert_eq!(place.processes("hrun-copy").len(), 1);
    third.end();
    place.becomes_empty();
}

#[test]
fn who_breaks_off_leaves_nothing() {
    let (packed, place) = (Packed::debian(), Place::new());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut child = Live::start(
            command([&place.option, packed.path.to_str().unwrap(), "true"]).stderr(Stdio::null()),
        );
        until("it unpacks", || place.trees().first()?.join("usr").exists().then_some(()));
        child.send(signal);
        assert_eq!(child.wait(), WaitStatus::Signaled(child.pid(), signal, false));
        place.becomes_empty();
    }
}

#[test]
fn what_was_left_half_made_is_not_run() {
    let (packed, place) = (Packed::debian(), Place::new());
    let options = ["-q", &place.option, packed.path.to_str().unwrap()];
    let child = Live::start(&mut command(options.iter().chain(&["true"])));
    until("it unpacks", || place.trees().first()?.join("usr").exists().then_some(()));
    let unpacker = until("it has a process", || place.processes("hrun-unpack").pop());
    kill(unpacker, Signal::SIGSTOP).unwrap();
    end(child);
    kill(unpacker, Signal::SIGKILL).unwrap();
    assert!(!place.one_tree().join("usr/bin/python3.11").exists() || place.trees().len() == 1);
    let sum = "sha256sum /usr/lib/x86_64-linux-gnu/libc.so.6 /usr/bin/perl";
    let seen = hrun(options.iter().copied().chain(["sh", "-c", sum])).ok();
    assert_eq!(seen, hrun([packed.path.to_str().unwrap(), "sh", "-c", sum]).ok());
    place.becomes_empty();
}

#[test]
fn a_process_that_is_killed_while_it_unpacks_is_told() {
    let (packed, place) = (Packed::debian(), Place::new());
    let mut hrun = command(["-q", &place.option, packed.path.to_str().unwrap(), "true"]);
    let mut child = hrun.stderr(Stdio::piped()).spawn().unwrap();
    let unpacker = until("it has a process", || place.processes("hrun-unpack").pop());
    kill(unpacker, Signal::SIGKILL).unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let text: String = lines.map(|line| line.unwrap() + "\n").collect();
    assert_eq!(child.wait().unwrap().code(), Some(125));
    assert!(text.contains("cannot unpack the image") && text.contains("was killed"), "{text}");
    place.becomes_empty();
}

#[test]
fn what_everybody_has_left_is_swept_and_what_is_used_is_not() {
    let (packed, other, place) = (Packed::tiny(), Packed::tiny(), Place::new());
    let child = place.waiting(&packed.path);
    let tree = place.one_tree();
    let keeper = place.processes("hrun-copy").pop().unwrap();
    kill(keeper, Signal::SIGKILL).unwrap();
    until("it is gone", || place.processes("hrun-copy").is_empty().then_some(()));
    // Nobody holds the copy any more, but somebody runs in it.
    assert_eq!(probe(&other.path, &["-q", &place.option], "args x").ok(), "x\0");
    until("the other is gone", || (place.trees() == [tree.clone()]).then_some(()));
    end(child);
    assert_eq!(probe(&other.path, &["-q", &place.option], "args x").ok(), "x\0");
    place.becomes_empty();
}

#[test]
fn directories_that_are_no_good_are_refused() {
    let (packed, place) = (Packed::tiny(), Place::new());
    let fails = |option: &str, parts: &[&str]| {
        let words = ["-q", option, packed.path.to_str().unwrap(), "true"];
        hrun(words).fails(parts)
    };
    fails("--unpack=/nowhere", &["cannot unpack", "No such file", "from: --unpack=/nowhere"]);
    fails("--unpack=/etc/passwd", &["Not a directory", "must be a directory of this node"]);
    fails("--unpack=/usr", &["cannot unpack", "denied", "choose a directory", "--unpack=DIR"]);
    fs::create_dir(place.directory()).unwrap();
    chmod(&place.directory(), 0o755);
    // Somebody else's, or one that others can look into, is passed by.
    let words = ["-q", &place.option, packed.path.to_str().unwrap(), "true"];
    hrun(words).ok();
    assert_eq!(fs::read_dir(place.directory()).unwrap().count(), 0);
    if lacks("root") {
        return;
    }
    fs::remove_dir(place.directory()).unwrap();
    with_own_mounts(|| {
        make_read_only(place.scratch.path());
        fails(&place.option, &["Read-only file system", "choose a directory"]);
    });
    with_own_mounts(|| {
        cover(place.scratch.path(), "size=64k");
        fails(&place.option, &["No space left on device", "two to four times", "--unpack=DIR"]);
        assert_eq!(fs::read_dir(place.scratch.path()).unwrap().count(), 0);
    });
}

#[test]
fn a_damaged_image_is_named() {
    let (image, place) = (Image::tiny(), Place::new());
    image.file("opt/large", vec![b'x'; 3 << 20]);
    let packed = Packed::new(image.path(), &["-comp", "gzip"]);
    // The first block of the first file.
    fs::File::options().write(true).open(&packed.path).unwrap().write_all_at(&[0; 40], 96).unwrap();
    let words = ["-q", &place.option, packed.path.to_str().unwrap(), "true"];
    hrun(words).fails(&["cannot unpack the image", "I/O error", "is damaged"]);
    place.becomes_empty();
}

#[test]
fn the_plan_names_the_copy() {
    let (packed, place) = (Packed::tiny(), Place::new());
    let words = ["-q", &place.option, packed.path.to_str().unwrap(), "/bin/probe", "args", "x"];
    let plan = hrun(["--dry-run"].iter().chain(&words)).ok();
    assert!(plan.lines().any(|line| line.starts_with("unpack")), "{plan}");
    assert!(plan.contains(&format!("[{}]", place.option)), "{plan}");
    place.becomes_empty();
    let json = hrun(["--dry-run=json"].iter().chain(&words)).ok();
    let file = place.scratch.file("plan.json", json);
    assert_eq!(hrun(["--plan", file.to_str().unwrap()]).ok(), "x\0");
    fs::remove_file(file).unwrap();
    place.becomes_empty();
    // In the job's own directory, if it has one on a disk of this node; inside, the image is known by
    // its file.
    let job = Scratch::below(Path::new("/var/tmp"));
    let words = ["--dry-run", "--unpack", packed.path.to_str().unwrap(), "true"];
    let plan = outcome(command(words).env("SLURM_TMPDIR", job.path())).ok();
    assert!(plan.contains(&format!("{}/hrun-images-", job.path().display())), "{plan}");
    assert!(plan.contains(&format!("HRUN_IMAGE={}", packed.path.display())), "{plan}");
}

#[test]
fn a_step_of_slurm_shares_a_copy_which_is_gone_after_it() {
    if lacks("root") {
        return;
    }
    let (packed, place) = (Packed::debian(), Place::new());
    let (hrun, image) = (program("hrun"), packed.path.to_str().unwrap());
    let script = "readlink /proc/self/ns/mnt; sha256sum /usr/bin/perl";
    let words = ["--overcommit", "-N1", "-n4", hrun.to_str().unwrap(), &place.option, image];
    let outcome = cluster().srun(&[&words[..], &["sh", "-c", script]].concat());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(outcome.stderr.matches("hrun: unpacking").count() <= 1, "{}", outcome.stderr);
    assert_eq!(outcome.stdout.lines().filter(|line| line.ends_with("/usr/bin/perl")).count(), 4);
    place.becomes_empty();
}
