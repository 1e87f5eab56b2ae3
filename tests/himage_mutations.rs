//! Images that were changed by chance: whatever they say, himage and hrun end with a message or with an
//! image, in time, and nothing outside of it changes. Deterministic: a number gives the input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packed::{Packed, sif};
use super::support::archive::{Archive, filtered, layout, summed};
use super::support::scratch::{Scratch, fingerprint};
use super::support::{Image, Outcome, as_tester, outcome, program};

/// How long a command may take, in seconds, on a machine that is busy.
const PATIENCE: &str = "60";

/// Numbers that look like chance and are the same each time (xorshift64*).
struct Chance(u64);

impl Chance {
    fn of(number: u64) -> Self {
        Chance((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }

    fn of_these<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.below(these.len())]
    }

    /// Changes some bytes: one by one, in pieces that move, or by an end that comes early.
    fn change(&mut self, bytes: &mut Vec<u8>, unit: usize) {
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = *self.of_these(&[0, 1, 0x7f, 0x80, 0xff, b'/', b'.', b'0', b'9']),
                2 => {
                    let end = (at + 1 + self.below(8)).min(bytes.len());
                    let byte = *self.of_these(&[0, 0xff, b'7', b'.']);
                    bytes[at..end].fill(byte);
                }
                3 if self.below(4) == 0 => bytes.truncate(at),
                4 | 5 => {
                    // A block in the place of another one.
                    let (from, to) = (at - at % unit, self.below(bytes.len()));
                    let to = to - to % unit;
                    let count = unit.min(bytes.len() - from).min(bytes.len() - to);
                    bytes.copy_within(from..from + count, to);
                }
                6 => {
                    let word = self.of_these(&["../", "/", "null", "-1", "\"", ".wh.", "{}", "[]"]);
                    let end = (at + word.len()).min(bytes.len());
                    bytes[at..end].copy_from_slice(&word.as_bytes()[..end - at]);
                }
                _ => bytes[at] = self.below(256) as u8,
            }
        }
    }

    /// Changes headers of an archive, and makes their sums right again, so that they are believed.
    fn change_archive(&mut self, bytes: &mut Vec<u8>) {
        self.change(bytes, 512);
        if self.below(8) == 0 {
            return;
        }
        for block in bytes.as_chunks_mut::<512>().0 {
            if &block[257..262] == b"ustar" {
                *block = summed(*block);
            }
        }
    }
}

/// What is changed, and how.
struct Seeds {
    archives: Vec<Vec<u8>>,
    streams: Vec<Vec<u8>>,
    packed: Vec<Vec<u8>>,
    json: PathBuf,
    layers: Vec<Vec<u8>>,
}

fn seeds(scratch: &Scratch) -> Seeds {
    let outside = scratch.join("outside").display().to_string();
    let root = Archive::new()
        .directory("etc")
        .file("etc/name", "some text")
        .symlink("out", &outside)
        .file("out/new", "x")
        .link("etc/linked", "etc/name")
        .pax(&[("path", b"etc/long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"1")])
        .file("x", "y")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"4096"),
        ])
        .file("holes", [&b"1\n0\n5\n"[..], &[0; 506], b"12345"].concat())
        .member(b'3', "null", "", 0o666, "")
        .long_name(format!("{}x", "d/".repeat(80)))
        .file("x", "deep");
    let marks =
        Archive::new().file("etc/.wh.name", "").file("etc/.wh..wh..opq", "").file("etc/z", "z");
    let (root, marks) = (root.end(), marks.end());
    let layers = [("", root.clone()), ("", marks.clone())];
    let image = layout(
        scratch,
        "seed",
        &layers,
        "\"Env\":[\"A=1\"],\"Cmd\":[\"sh\"],\"Labels\":{\"a\":\"b\"}",
    );
    let tar = scratch.join("seed.tar");
    let mut pack = Command::new("tar");
    outcome(pack.arg("-C").arg(&image).arg("-cf").arg(&tar).args(["--format=ustar", "."])).ok();
    let docker = scratch.join("docker.tar");
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet"]);
    copy.arg(format!("oci:{}:test", image.display()));
    outcome(copy.arg(format!("docker-archive:{}:app:1", docker.display()))).ok();
    let tree = Image::tiny();
    let squashfs =
        |how: &str| fs::read(Packed::new(tree.path(), &["-comp", how, "-b", "4K"]).path).unwrap();
    let (zstd, lzo) = (squashfs("zstd"), squashfs("lzo"));
    let launched = [&b"#!/usr/bin/env run-singularity\n"[..], &zstd].concat();
    Seeds {
        streams: ["gzip -c", "zstd -q -c", "xz -c", "bzip2 -c"]
            .map(|how| filtered(how, &root))
            .to_vec(),
        archives: vec![
            root.clone(),
            marks.clone(),
            fs::read(tar).unwrap(),
            fs::read(docker).unwrap(),
        ],
        packed: vec![sif(&zstd, 1), sif(&lzo, 1), lzo, zstd, launched],
        json: image,
        layers: vec![root, marks],
    }
}

/// Writes the layout anew, with one of its JSON files changed, or a layer, and digests that are right.
fn changed_layout(seeds: &Seeds, scratch: &Scratch, name: &str, chance: &mut Chance) -> PathBuf {
    let mut layers = seeds.layers.clone();
    let mut config =
        "\"Env\":[\"A=1\",null],\"Cmd\":\"sh\",\"Labels\":{\"a\":null}".to_owned().into_bytes();
    match chance.below(3) {
        0 => {
            let one = chance.below(layers.len());
            chance.change_archive(&mut layers[one]);
        }
        1 => chance.change(&mut config, 4),
        _ => {}
    }
    let config = String::from_utf8_lossy(&config).into_owned();
    let layers: Vec<(&str, Vec<u8>)> = layers.into_iter().map(|layer| ("", layer)).collect();
    let image = layout(scratch, name, &layers, &config);
    if chance.below(3) == 0 {
        let index = image.join("index.json");
        let mut bytes = fs::read(seeds.json.join("index.json")).unwrap();
        bytes = if chance.below(2) == 0 { fs::read(&index).unwrap() } else { bytes };
        chance.change(&mut bytes, 4);
        fs::write(index, bytes).unwrap();
    }
    image
}

/// Runs a program as the tester, until it takes too long.
fn in_time(name: &str, words: &[&Path]) -> Outcome {
    let mut command = as_tester(Path::new("/usr/bin/timeout"));
    outcome(command.args(["--signal=KILL", PATIENCE]).arg(program(name)).args(words))
}

#[track_caller]
fn ends_soundly(what: &str, outcome: &Outcome) {
    assert!(outcome.signal.is_none() && outcome.status != Some(137), "{what}: {outcome:?}");
    assert!(matches!(outcome.status, Some(0 | 125..=127)), "{what}: {outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:?}");
    let is_said = outcome.status == Some(0) || outcome.stderr.contains(": cannot ");
    assert!(is_said, "{what}: {outcome:?}");
    let is_plain = |letter: char| !letter.is_control() || letter == '\n';
    assert!(outcome.stderr.chars().all(is_plain), "{what}: {:?}", outcome.stderr);
}

/// Makes the inputs of these numbers, one after another, and gives them to himage and hrun.
fn mutate(numbers: impl Iterator<Item = u64>) {
    let scratch = Scratch::new();
    scratch.file("outside/secret", "nobody's");
    scratch.directory("outside/directory");
    let before = fingerprint(&scratch.join("outside"));
    let seeds = seeds(&scratch);
    let dest = scratch.join("made");
    let mut taken = 0;
    for number in numbers {
        let mut chance = Chance::of(number);
        let what = format!("input {number}");
        let (input, is_packed) = match number % 4 {
            0 | 1 => {
                let mut bytes = chance.of_these(&seeds.archives).clone();
                chance.change_archive(&mut bytes);
                (scratch.file("input", bytes), false)
            }
            2 if chance.below(4) == 0 => {
                let mut bytes = chance.of_these(&seeds.streams).clone();
                chance.change(&mut bytes, 16);
                (scratch.file("input", bytes), false)
            }
            2 => (changed_layout(&seeds, &scratch, "input", &mut chance), false),
            _ => {
                let mut bytes = chance.of_these(&seeds.packed).clone();
                // Where most of its tables are.
                let tables = bytes.len().min(6 << 10);
                let mut tail = bytes.split_off(bytes.len() - tables);
                match chance.below(2) {
                    0 => chance.change(&mut tail, 8),
                    _ => chance.change(&mut bytes, 8),
                }
                bytes.extend(tail);
                (scratch.file("input", bytes), true)
            }
        };
        let quiet = Path::new("--quiet");
        let done = in_time("himage", &[quiet, Path::new("convert"), &input, &dest]);
        ends_soundly(&what, &done);
        match done.status {
            Some(0) => {
                taken += 1;
                fs::remove_dir_all(&dest).unwrap();
            }
            _ => assert!(!dest.exists(), "{what}"),
        }
        if is_packed {
            ends_soundly(
                &what,
                &in_time("hrun", &[Path::new("--dry-run"), &input, Path::new("true")]),
            );
        }
        assert_eq!(fingerprint(&scratch.join("outside")), before, "{what}");
        match input.is_dir() {
            true => fs::remove_dir_all(input).unwrap(),
            false => fs::remove_file(input).unwrap(),
        }
    }
    // Else they would be refused at the first byte, and nothing would be asked of the rest.
    assert!(taken > 0);
    let names: Vec<_> =
        fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".himage-")), "{names:?}");
}

#[test]
fn some_images_that_were_changed_end_soundly() {
    mutate(0..240);
}

/// A share of 18,000, as threads of the harness run them side by side.
fn share(number: u64) {
    mutate(number * 4500..(number + 1) * 4500);
}

#[test]
#[ignore = "4,500 inputs, minutes: make test-full"]
fn images_that_were_changed_end_soundly_1() {
    share(1);
}

#[test]
#[ignore = "4,500 inputs, minutes: make test-full"]
fn images_that_were_changed_end_soundly_2() {
    share(2);
}

#[test]
#[ignore = "4,500 inputs, minutes: make test-full"]
fn images_that_were_changed_end_soundly_3() {
    share(3);
}

#[test]
#[ignore = "4,500 inputs, minutes: make test-full"]
fn images_that_were_changed_end_soundly_4() {
    share(4);
}
