//! Archives that were made to do harm are refused, and nothing is written outside of the image.

use std::fs;
use std::path::Path;

use super::support::archive::{Archive, complains, filtered, header, himage, layout, summed};
use super::support::scratch::{Scratch, fingerprint};

/// What is written in place of a header's size.
fn sized(field: &[u8; 12]) -> [u8; 512] {
    let mut block = header(b'0', b"file", b"", 0o644, 0);
    block[124..136].copy_from_slice(field);
    summed(block)
}

/// The header of a file with holes, of GNU: pieces of data, and the size with holes.
fn with_holes(pieces: &[(u64, u64)], size: u64, stored: u64) -> [u8; 512] {
    let mut block = header(b'S', b"file", b"", 0o644, stored);
    block[257..265].copy_from_slice(b"ustar  \0");
    block[345..].fill(0);
    for (number, (offset, length)) in pieces.iter().enumerate() {
        let at = 386 + number * 24;
        block[at..at + 11].copy_from_slice(format!("{offset:011o}").as_bytes());
        block[at + 12..at + 23].copy_from_slice(format!("{length:011o}").as_bytes());
    }
    block[483..494].copy_from_slice(format!("{size:011o}").as_bytes());
    summed(block)
}

/// What is said of names that lead out.
const OUT: &str = "leads out of the image's root directory by '..'";

/// Archives, and what is said of each.
fn names(outside: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let new = Archive::new;
    let deep = "d/".repeat(600);
    vec![
        ("name that goes up", new().file("../new", "x").end(), OUT),
        ("name that goes up later", new().directory("a").file("a/../../new", "x").end(), OUT),
        ("name that goes up from the root", new().file("/../new", "x").end(), OUT),
        (
            "name of PAX that goes up",
            new().pax(&[("path", b"/a/../../new")]).file("x", "x").end(),
            OUT,
        ),
        ("name that is up", new().directory("..").end(), OUT),
        ("symbolic link that goes up", new().symlink("../new", "x").end(), OUT),
        ("empty name", new().file("", "x").end(), "its name is empty"),
        ("name with NUL", new().pax(&[("path", b"a\0b")]).file("x", "x").end(), "a NUL byte"),
        ("long name", new().long_name("a".repeat(300)).file("x", "x").end(), "longer than 255"),
        (
            "long path",
            new().long_name("aaaaaaaa/".repeat(500)).file("x", "x").end(),
            "longer than 4095",
        ),
        ("deep path", new().long_name(format!("{deep}x")).file("x", "x").end(), "more than 512"),
        (
            "root as a file",
            new().file("./", "").member(b'2', "./", "/", 0o777, "").end(),
            "root directory",
        ),
        ("root as a link", new().symlink(".", outside).end(), "root directory"),
    ]
}

fn links(outside: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let new = Archive::new;
    let secret = format!("{outside}/secret");
    vec![
        ("hard link to outside", new().link("x", &secret).end(), "no such file"),
        ("hard link that goes up", new().link("x", "../outside/secret").end(), OUT),
        (
            "hard link of PAX",
            new().pax(&[("linkpath", secret.as_bytes())]).link("x", "y").end(),
            "no such file",
        ),
        (
            "hard link through a symbolic link",
            new().symlink("out", outside).link("x", "out/secret").end(),
            "no such file",
        ),
        (
            "hard link through a link that goes up",
            new().symlink("out", "../../outside").link("x", "out/secret").end(),
            "no such file",
        ),
        ("hard link to nothing", new().link("x", "y").end(), "no such file"),
        ("hard link to a directory", new().directory("d").link("x", "d").end(), "is a directory"),
        ("hard link to the root", new().link("x", ".").end(), "root directory"),
        ("hard link to itself", new().link("x", "x").end(), "no such file"),
        (
            "loop of links",
            new().symlink("a", "b").symlink("b", "a").file("a/x", "x").end(),
            "without end",
        ),
        ("link to itself", new().symlink("a", "a").file("a/x", "x").end(), "without end"),
        (
            "a file for a directory",
            new().file("a", "x").file("a/b", "x").end(),
            "a file is where a directory",
        ),
        (
            "a link to a file for a directory",
            new().file("f", "x").symlink("a", "f").file("a/b", "x").end(),
            "a file is where a directory",
        ),
        ("empty target", new().symlink("a", "").end(), "link to nothing"),
        (
            "long target",
            new().pax(&[("linkpath", &[b'a'; 5000])]).symlink("a", "b").end(),
            "longer than 4095",
        ),
    ]
}

fn sizes() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let new = Archive::new;
    let many: Vec<u8> =
        (0..20).fold(new(), |archive, _| archive.pax(&[("comment", b"x")])).file("x", "x").end();
    vec![
        ("negative size", new().raw(sized(b"-0000000001\0")).end(), "no number that can be"),
        ("negative size of base 256", new().raw(sized(&[0xff; 12])).end(), "no number that can be"),
        (
            "overflowing size",
            new().raw(sized(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")).end(),
            "no number that can be",
        ),
        (
            "greatest size",
            new().raw(sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")).end(),
            "not complete",
        ),
        ("size of letters", new().raw(sized(b"0000000000z\0")).end(), "no number that can be"),
        ("size of PAX", new().pax(&[("size", b"-1")]).file("x", "x").end(), "makes no sense"),
        (
            "huge size of PAX",
            new().pax(&[("size", b"18446744073709551615")]).file("x", "x").end(),
            "beyond any",
        ),
        (
            "overflowing size of PAX",
            new().pax(&[("size", b"99999999999999999999999")]).file("x", "x").end(),
            "makes no sense",
        ),
        (
            "huge extended header",
            new().raw(header(b'x', b"x", b"", 0o644, 1 << 40)).end(),
            "larger than 1 MiB",
        ),
        (
            "huge long name",
            new().raw(header(b'L', b"x", b"", 0o644, 2 << 20)).raw(vec![b'a'; 2 << 20]).end(),
            "larger than 1 MiB",
        ),
        (
            "huge long target",
            new().raw(header(b'K', b"x", b"", 0o644, 1 << 34)).end(),
            "larger than 1 MiB",
        ),
        (
            "huge global header",
            new().raw(header(b'g', b"x", b"", 0o644, 1 << 34)).end(),
            "larger than 1 MiB",
        ),
        ("headers without end", many, "headers without end"),
    ]
}

fn broken() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let new = Archive::new;
    vec![
        (
            "broken record",
            new().member(b'x', "x", "", 0o644, "99 path=x\n").file("x", "x").end(),
            "an extended header is damaged",
        ),
        (
            "record without a length",
            new().member(b'x', "x", "", 0o644, "path=x\n").file("x", "x").end(),
            "an extended header is damaged",
        ),
        ("cut in a header", new().file("x", "x").raw([1; 100]).cut(), "not complete"),
        ("cut in contents", new().file("x", "some text").cut()[..515].to_vec(), "not complete"),
        (
            "cut in a long name",
            new().long_name("a".repeat(200)).cut()[..600].to_vec(),
            "not complete",
        ),
        (
            "no header",
            new().file("x", "x").raw([b'a'; 1024]).end(),
            "no header where one should be",
        ),
        (
            "wrong sum",
            new()
                .file("x", "x")
                .raw({
                    let mut block = header(b'0', b"y", b"", 0o644, 0);
                    block[0] = b'z';
                    block
                })
                .end(),
            "no header where one should be",
        ),
        ("no archive", vec![b'a'; 5000], "it is no tar archive"),
        ("unknown type", new().member(b'Q', "x", "", 0o644, "").end(), "of a kind that no archive"),
        (
            "several volumes",
            new().member(b'M', "x", "", 0o644, "").end(),
            "of a kind that no archive",
        ),
    ]
}

fn holes() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let new = Archive::new;
    vec![
        (
            "holes out of order",
            new().raw(with_holes(&[(1024, 512), (0, 512)], 2048, 1024)).raw([b'x'; 1024]).end(),
            "pieces where none can be",
        ),
        (
            "holes that overflow",
            new()
                .raw(with_holes(&[(0o77777777777, 0o77777777777)], 2048, 512))
                .raw([b'x'; 512])
                .end(),
            "pieces where none can be",
        ),
        (
            "holes of another size",
            new().raw(with_holes(&[(0, 512)], 2048, 1024)).raw([b'x'; 1024]).end(),
            "does not have the size",
        ),
        (
            "endless map of holes",
            new()
                .pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.realsize", b"5"),
                ])
                .file("x", "99999999999999\n")
                .end(),
            "has no end",
        ),
        (
            "odd map of holes",
            new()
                .pax(&[("GNU.sparse.size", b"5"), ("GNU.sparse.map", b"1,2,3")])
                .file("x", "x")
                .end(),
            "not complete",
        ),
    ]
}

/// Unpacks an archive, plain and as a layer, and gives back what is said of it.
#[track_caller]
fn refused(scratch: &Scratch, name: &str, archive: &[u8], said: &str) {
    let file = scratch.file("archive", archive);
    let image = layout(scratch, "layout", &[("", archive.to_vec())], "");
    for from in [file, image] {
        let to = scratch.join("made");
        let outcome = himage([Path::new("convert"), &from, &to]);
        assert!(outcome.stderr.contains(said), "{name}: no '{said}' in\n{}", outcome.stderr);
        complains(&outcome, &["hint: "]);
        assert!(!to.exists(), "{name}");
    }
    fs::remove_dir_all(scratch.join("layout")).unwrap();
}

#[test]
fn hostile_archives_are_refused() {
    let scratch = Scratch::new();
    scratch.file("outside/secret", "nobody's");
    let outside = scratch.join("outside").display().to_string();
    let before = fingerprint(&scratch.join("outside"));
    let cases: Vec<_> = [names(&outside), links(&outside), sizes(), broken(), holes()].concat();
    assert!(cases.len() > 55, "{}", cases.len());
    for (name, archive, said) in cases {
        refused(&scratch, name, &archive, said);
    }
    assert_eq!(fingerprint(&scratch.join("outside")), before);
    // Nothing but what the test itself made.
    let mut left: Vec<_> =
        fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["archive", "outside"]);
}

#[test]
fn marks_that_mark_nothing_are_refused() {
    let scratch = Scratch::new();
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        let layer = Archive::new().directory("a").file(name, "").end();
        let image = layout(&scratch, "layout", &[("", layer)], "");
        let outcome = himage([Path::new("convert"), &image, &scratch.join("made")]);
        complains(&outcome, &[".wh."]);
        assert!(!scratch.join("made").exists());
        fs::remove_dir_all(image).unwrap();
    }
}

/// Links that lead out lead to the same place within the image.
#[test]
fn links_stay_in_the_image() {
    let scratch = Scratch::new();
    scratch.file("outside/secret", "nobody's");
    scratch.directory("outside/inner");
    let outside = scratch.join("outside").display().to_string();
    let before = fingerprint(&scratch.join("outside"));
    let new = Archive::new;
    let ways: Vec<(&str, Archive)> = vec![
        ("absolute", new().symlink("out", &outside)),
        ("up", new().symlink("out", format!("../../../../../../..{outside}"))),
        ("of links", new().symlink("a", "b").symlink("b", &outside).symlink("out", "a")),
        ("in parts", new().symlink("top", "/").symlink("out", format!("top{outside}"))),
        ("over a directory", new().directory("out").symlink("out", &outside)),
        ("over a file", new().file("out", "x").symlink("out", &outside)),
        ("by a hard link", new().symlink("first", &outside).link("out", "first")),
    ];
    for (name, archive) in ways {
        let layer = archive
            .file("out/new", "x")
            .directory("out/inner/new")
            .symlink("out/link", "x")
            .file("out/secret", "changed")
            .member(b'0', "out/inner/.wh.new", "", 0o644, "")
            .end();
        let second = new().file("out/.wh.secret", "").file("out/inner/.wh..wh..opq", "").end();
        let image = layout(&scratch, "layout", &[("", layer), ("", second)], "");
        let made = scratch.join("made");
        assert_eq!(himage([Path::new("convert"), &image, &made]).ok(), "", "{name}");
        let inside = made.join("rootfs").join(&outside[1..]);
        assert_eq!(fs::read(inside.join("new")).unwrap(), b"x", "{name}");
        assert!(!inside.join("secret").exists() && inside.join("inner").is_dir(), "{name}");
        assert_eq!(fs::read_dir(inside.join("inner")).unwrap().count(), 0, "{name}");
        assert_eq!(fingerprint(&scratch.join("outside")), before, "{name}");
        fs::remove_dir_all(made).unwrap();
        fs::remove_dir_all(image).unwrap();
    }
}

/// A few kilobytes that become gigabytes are refused, unless their user says what they are. That
/// files of zeros are no such thing, tests/himage_holes.rs shows.
#[test]
fn bombs_are_refused() {
    let scratch = Scratch::new();
    let script = "{ head -c 5G /dev/zero | zstd -q -1 -c; }";
    let file = scratch.file("bomb.tar.zst", filtered(script, b""));
    assert!(file.metadata().unwrap().len() < 2 << 20);
    let made = scratch.join("made");
    complains(
        &himage([Path::new("convert"), &file, &made]),
        &["larger than 4096 MiB without compression", "--any-size"],
    );
    assert!(!made.exists());
    himage([Path::new("--any-size"), Path::new("convert"), &file, &made]).ok();
    assert_eq!(fs::read_dir(made).unwrap().count(), 0);
}
