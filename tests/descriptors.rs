//! Descriptors: the command gets those the caller passed, at their numbers, and no other.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::packed::Packed;
use super::support::run::{outcome, shell};
use super::support::{Image, Live, Scratch, WAYS, command};

/// Binds, environment files and layers: all that makes hrun open files of its own.
struct Setups {
    scratch: Scratch,
}

impl Setups {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.file("host/file", "of the host");
        scratch.file("env", "A=1\n");
        scratch.file("records", "B=2\0C=3\0");
        scratch.directory("layer");
        Setups { scratch }
    }

    /// Sets of options, each a line for the shell.
    fn lines(&self) -> Vec<String> {
        let at = |name: &str| self.scratch.join(name).display().to_string();
        let everything = format!(
            "--bind={host}:/opt/host:ro --bind={file}:/opt/file --set-env={env} \
             --set-env0={records} --private-tmp --uid=0",
            host = at("host"),
            file = at("host/file"),
            env = at("env"),
            records = at("records"),
        );
        let mut lines = Vec::new();
        for way in WAYS {
            let way = way.join(" ");
            lines.extend([way.clone(), format!("{way} --contain"), format!("{way} {everything}")]);
        }
        lines.push(format!("--write-fake {everything}"));
        lines.push(format!("--overlay={} {everything}", at("layer")));
        lines.push("--write".to_owned());
        lines
    }
}

/// The descriptors of the probe run bare and run in an image, by one shell.
#[track_caller]
fn bare_and_inside(image: &Image, opened: &str, options: &str) -> (Vec<String>, Vec<String>) {
    let script =
        format!("{opened}\n$probe fds && echo -- && $hrun {options} $image probe fds && echo --");
    let shown = outcome(shell(image.path(), &script).stdin(Stdio::piped())).ok();
    let parts: Vec<Vec<String>> =
        shown.split("--\n").map(|part| part.lines().map(str::to_owned).collect()).collect();
    (parts[0].clone(), parts[1].clone())
}

#[test]
fn nothing_is_open_inside_that_was_not_open_before() {
    let (image, setups) = (Image::tiny(), Setups::new());
    for options in setups.lines() {
        let (bare, inside) = bare_and_inside(&image, ":", &options);
        assert_eq!(bare, inside, "{options}");
    }
}

#[test]
fn inherited_descriptors_keep_their_numbers() {
    let (image, setups) = (Image::tiny(), Setups::new());
    for options in setups.lines() {
        let opened = "exec 3<&0 4>&1 7<&0 10>&2 63>&1 200<&0";
        let (bare, inside) = bare_and_inside(&image, opened, &options);
        assert_eq!(bare, inside, "{options}");
        for number in [3, 4, 7, 10, 63, 200] {
            let start = format!("{number} pipe:");
            assert!(bare.iter().any(|line| line.starts_with(&start)), "{bare:?}");
        }
    }
}

#[test]
fn a_thousand_inherited_descriptors_are_kept() {
    let image = Image::tiny();
    let opened = "for number in {3..1000}; do eval \"exec $number<&0\"; done";
    let (bare, inside) = bare_and_inside(&image, opened, "");
    assert_eq!(bare, inside);
    assert!(bare.len() > 1000, "{}", bare.len());
}

#[test]
fn inherited_descriptors_can_be_read_and_written() {
    let image = Image::tiny();
    for way in WAYS {
        let (test, theirs) = UnixStream::pair().unwrap();
        let script = format!(
            "exec 7<&0 63>&0 </dev/null\n\
             exec $hrun {} $image sh -c 'read line <&7; echo \"got $line\" >&63'",
            way.join(" ")
        );
        let mut child = shell(image.path(), &script).stdin(OwnedFd::from(theirs)).spawn().unwrap();
        (&test).write_all(b"a word\n").unwrap();
        let mut line = String::new();
        BufReader::new(&test).read_line(&mut line).unwrap();
        assert_eq!(line, "got a word\n");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn files_that_cannot_be_seen_inside_stay_open() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    scratch.file("file", "first\nsecond\n");
    let script = format!(
        "cd {}; exec 7<file; read line <&7\n\
         exec $hrun --contain $image sh -c 'read line <&7; echo $line'",
        scratch.path().display()
    );
    let rest_of_file = outcome(&mut shell(image.path(), &script)).ok();
    assert_eq!(rest_of_file, "second\n");
}

/// Tells in an exit status which standard streams are closed: 1 for input, 2 for output, 4 for
/// errors.
const CLOSED: &str = "sum=0; [ -L /proc/self/fd/0 ] || sum=1; \
    [ -L /proc/self/fd/1 ] || sum=$((sum + 2)); [ -L /proc/self/fd/2 ] || sum=$((sum + 4)); exit $sum";

#[test]
fn closed_standard_streams_stay_closed() {
    let (image, setups) = (Image::tiny(), Setups::new());
    let closings = [("", 0), ("<&-", 1), (">&-", 2), ("2>&-", 4), ("<&- >&- 2>&-", 7)];
    for options in setups.lines() {
        for (closing, expected) in closings {
            let script = format!("exec $hrun {options} $image sh -c '{CLOSED}' {closing}");
            let status = outcome(&mut shell(image.path(), &script)).status;
            assert_eq!(status, Some(expected), "{options} {closing}");
        }
    }
}

/// Starts with helpers, and those that join a container.
#[test]
fn closed_standard_streams_stay_closed_in_every_kind_of_start() {
    let (image, place) = (Image::tiny(), Scratch::new());
    let packed = Packed::new(image.path(), &[]);
    let tag = format!("--join-tag=streams-{}", std::process::id());
    let mut first = command([tag.as_str(), image.path().to_str().unwrap()]);
    let mut first = Live::start(first.args(["sh", "-c", "echo up; cat"]));
    assert_eq!(first.next_line(), "up");
    let join = format!("--join-pid={}", first.pid());
    let unpack = format!("-q --unpack={}", place.path().display());
    let (image, packed) = (image.path(), packed.path.as_path());
    let starts = [
        ("", packed),
        (unpack.as_str(), packed),
        ("--pid", image),
        ("--pid", packed),
        ("--root", packed),
        (tag.as_str(), image),
        (join.as_str(), image),
        ("--cpus=1", packed),
    ];
    for (options, image) in starts {
        for closed in 0..8 {
            let closing = |number: i32, text| if closed >> number & 1 == 1 { text } else { "" };
            let closing = [closing(0, "<&-"), closing(1, ">&-"), closing(2, "2>&-")].join(" ");
            let script = format!("exec $hrun {options} $image sh -c '{CLOSED}' {closing}");
            let status = outcome(&mut shell(image, &script)).status;
            assert_eq!(status, Some(closed), "{options} {} {closing}", image.display());
        }
    }
    first.say("");
    first.wait();
}

#[test]
fn the_exit_status_is_right_where_nobody_can_be_told_why() {
    let image = Image::tiny();
    for (words, status) in [("--bind=/nowhere $image true", 125), ("$image nosuch", 127)] {
        let script = format!("exec $hrun {words} >&- 2>&-");
        assert_eq!(outcome(&mut shell(image.path(), &script)).status, Some(status));
    }
}

#[test]
fn an_environment_file_may_be_a_descriptor() {
    let image = Image::tiny();
    for option in ["--set-env=<(echo A=of a pipe)", "--set-env0=<(printf 'A=of a pipe\\0')"] {
        let script = format!("exec $hrun {option} $image probe env A");
        assert_eq!(outcome(&mut shell(image.path(), &script)).ok(), "of a pipe\n");
    }
}
