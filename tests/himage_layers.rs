//! Layers are unpacked as others do it: umoci for layers, GNU tar for archives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::archive::{Archive, filtered, himage, layout, listing, same};
use super::support::scratch::Scratch;
use super::support::{as_tester, outcome, program};

/// Unpacks layers, and gives back the root directory.
#[track_caller]
fn unpacked(scratch: &Scratch, layers: &[(&str, Vec<u8>)]) -> PathBuf {
    let image = layout(scratch, "layout", layers, "");
    let made = scratch.join("made");
    himage([Path::new("convert"), &image, &made]).ok();
    made.join("rootfs")
}

/// The names in a tree, with types and what they hold, for tests that compare few files.
fn names(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let metadata = path.symlink_metadata().unwrap();
        let holds = if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "/".to_owned()
        } else if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else {
            String::from_utf8(fs::read(&path).unwrap()).unwrap()
        };
        if !name.is_empty() {
            found.insert(name, holds);
        }
    }
    found
}

/// Layers, and the names that are there after them.
type Case<'a> = (&'a str, Vec<Archive>, &'a [(&'a str, &'a str)]);

fn cases() -> Vec<Case<'static>> {
    [marks(), opaque_directories(), replacements(), links()].concat()
}

fn lower() -> Archive {
    let new = Archive::new().directory("d").file("d/one", "1").file("d/two", "2");
    new.directory("d/e").file("d/e/three", "3")
}

fn marks() -> Vec<Case<'static>> {
    let new = Archive::new;
    vec![
        (
            "one file goes",
            vec![lower(), new().file("d/.wh.one", "")],
            &[("d", "/"), ("d/two", "2"), ("d/e", "/"), ("d/e/three", "3")],
        ),
        (
            "what is not there goes",
            vec![lower(), new().file("d/.wh.x", "").file("no/.wh.x", "")],
            &[("d", "/"), ("d/one", "1"), ("d/two", "2"), ("d/e", "/"), ("d/e/three", "3")],
        ),
        (
            "what this layer has stays",
            vec![lower(), new().file("d/one", "new").file("d/.wh.one", "")],
            &[("d", "/"), ("d/one", "new"), ("d/two", "2"), ("d/e", "/"), ("d/e/three", "3")],
        ),
        (
            "it goes and comes",
            vec![lower(), new().file(".wh.d", "").directory("d").file("d/new", "n")],
            &[("d", "/"), ("d/new", "n")],
        ),
        (
            "it comes and goes",
            vec![lower(), new().directory("d").file("d/new", "n").file(".wh.d", "")],
            &[("d", "/"), ("d/new", "n")],
        ),
    ]
}

fn opaque_directories() -> Vec<Case<'static>> {
    let new = Archive::new;
    vec![
        (
            "opaque first",
            vec![lower(), new().directory("d").file("d/.wh..wh..opq", "").file("d/new", "n")],
            &[("d", "/"), ("d/new", "n")],
        ),
        (
            "opaque last",
            vec![
                lower(),
                new()
                    .directory("d")
                    .file("d/new", "n")
                    .file("d/e/new", "m")
                    .file("d/.wh..wh..opq", ""),
            ],
            &[("d", "/"), ("d/new", "n"), ("d/e", "/"), ("d/e/new", "m")],
        ),
        (
            "opaque without its directory",
            vec![lower(), new().file("d/e/new", "m").file("d/.wh..wh..opq", "")],
            &[("d", "/"), ("d/e", "/"), ("d/e/new", "m")],
        ),
        (
            "opaque root",
            vec![lower(), new().file(".wh..wh..opq", "").file("x", "x")],
            &[("x", "x")],
        ),
        (
            "two layers on",
            vec![lower(), new().file("d/.wh..wh..opq", ""), new().file("d/one", "again")],
            &[("d", "/"), ("d/one", "again")],
        ),
    ]
}

fn replacements() -> Vec<Case<'static>> {
    let new = Archive::new;
    vec![
        ("a directory becomes a file", vec![lower(), new().file("d", "f")], &[("d", "f")]),
        (
            "a file becomes a directory",
            vec![lower(), new().directory("d/one").file("d/one/x", "x")],
            &[
                ("d", "/"),
                ("d/one", "/"),
                ("d/one/x", "x"),
                ("d/two", "2"),
                ("d/e", "/"),
                ("d/e/three", "3"),
            ],
        ),
        ("a directory becomes a link", vec![lower(), new().symlink("d", "e")], &[("d", "-> e")]),
        (
            "a link becomes a directory",
            vec![new().directory("e").symlink("d", "e"), new().directory("d").file("d/x", "x")],
            &[("d", "/"), ("d/x", "x"), ("e", "/")],
        ),
    ]
}

fn links() -> Vec<Case<'static>> {
    let new = Archive::new;
    vec![
        (
            "the link stays a link",
            vec![new().directory("e").symlink("d", "e"), new().file("d/x", "x")],
            &[("d", "-> e"), ("e", "/"), ("e/x", "x")],
        ),
        (
            "absolute links",
            vec![
                new().directory("run").directory("var").symlink("var/run", "/run"),
                new().file("var/run/x", "x"),
            ],
            &[("run", "/"), ("run/x", "x"), ("var", "/"), ("var/run", "-> /run")],
        ),
        (
            "links to what is missing",
            vec![new().symlink("var/run", "/run/deep"), new().file("var/run/x", "x")],
            &[
                ("run", "/"),
                ("run/deep", "/"),
                ("run/deep/x", "x"),
                ("var", "/"),
                ("var/run", "-> /run/deep"),
            ],
        ),
        (
            "relative links to what is missing",
            vec![new().symlink("var/run", "../run"), new().file("var/run/x", "x")],
            &[("run", "/"), ("run/x", "x"), ("var", "/"), ("var/run", "-> ../run")],
        ),
        (
            "the last of several counts",
            vec![
                new()
                    .file("x", "1")
                    .directory("x")
                    .file("x/y", "y")
                    .symlink("x", "z")
                    .file("x", "2"),
            ],
            &[("x", "2")],
        ),
        (
            "hard links to lower layers",
            vec![lower(), new().link("d/link", "d/one").file("d/.wh.one", "")],
            &[("d", "/"), ("d/link", "1"), ("d/two", "2"), ("d/e", "/"), ("d/e/three", "3")],
        ),
        (
            "a hard link over a file",
            vec![lower(), new().link("d/one", "d/two").link("d/one", "d/one")],
            &[("d", "/"), ("d/one", "2"), ("d/two", "2"), ("d/e", "/"), ("d/e/three", "3")],
        ),
        (
            "names of AUFS",
            vec![
                new()
                    .directory(".wh..wh.plnk")
                    .file(".wh..wh.plnk/1.2", "x")
                    .file(".wh..wh.aufs", ""),
                new().file("x", "x"),
            ],
            &[("x", "x")],
        ),
        (
            "dots and slashes",
            vec![new().directory("./").file("./d//./x", "x")],
            &[("d", "/"), ("d/x", "x")],
        ),
    ]
}

#[test]
fn layers_lie_upon_each_other() {
    for (name, layers, wanted) in cases() {
        let scratch = Scratch::new();
        let layers: Vec<_> = layers.into_iter().map(|layer| ("gzip -c", layer.end())).collect();
        let image = layout(&scratch, "layout", &layers, "");
        let outcome = himage([Path::new("convert"), &image, &scratch.join("made")]);
        assert_eq!((outcome.stderr.as_str(), outcome.status), ("", Some(0)), "{name}");
        let wanted = wanted.iter().map(|(name, holds)| ((*name).to_owned(), (*holds).to_owned()));
        assert_eq!(names(&scratch.join("made/rootfs")), wanted.collect(), "{name}");
    }
}

#[test]
fn umoci_unpacks_the_same() {
    let mut compared = 0;
    for (name, layers, _) in cases() {
        // It removes a file before it makes it a link to itself, and knows no AUFS.
        if name.contains("AUFS") || name == "a hard link over a file" {
            continue;
        }
        let scratch = Scratch::new();
        let layers: Vec<_> = layers.into_iter().map(|layer| ("gzip -c", layer.end())).collect();
        let root = unpacked(&scratch, &layers);
        let bundle = by_umoci(&scratch);
        assert_eq!(names(&root), names(&bundle), "{name}");
        compared += 1;
    }
    assert!(compared > 15);
}

/// What umoci makes of the layout.
#[track_caller]
fn by_umoci(scratch: &Scratch) -> PathBuf {
    let bundle = scratch.join("bundle");
    let image = format!("{}:test", scratch.join("layout").display());
    let mut command = as_tester(Path::new("/usr/bin/umoci"));
    let done = outcome(command.args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    assert_eq!(done.status, Some(0), "{done:?}");
    bundle.join("rootfs")
}

/// A tree with all that archives can hold, made by a shell in a directory; the same names in each
/// layer, changed.
pub const NASTY: &str = r#"
umask 022
mkdir -p -- plain/deep closed var run "$(printf 'new\nline')" "$(printf 'no\377text')" 'sp ace' ' ' '-rf' '*'
echo text > plain/file; : > plain/empty; head -c 70000 /dev/urandom > plain/random
echo a > "$(printf 'new\nline/x\ty')"; echo b > "$(printf 'no\377text/\001')"
long=$(printf 'n%.0s' $(seq 200)); mkdir "$long"; echo long > "$long/$long"; ln -s "$long/$long" long-link
ln "$long/$long" hard-long
ln plain/file plain/deep/hard; ln plain/file another
ln -s /run var/run; ln -s nowhere dangling; ln -s plain/deep to-deep; ln -s ../.. plain/up
echo closed > closed/file; chmod 600 closed/file
printf '#!/bin/sh\n' > program; chmod 755 program
printf x > odd; chmod 421 odd
mkdir shared; chmod 1777 shared
truncate -s 5M hole; echo middle | dd of=hole bs=1 seek=2000000 conv=notrunc status=none
truncate -s 1M only-hole; echo end >> only-hole
setfattr -n user.text -v "some text" plain/file
setfattr -n user.lines -v "$(printf 'a\nb=c\nd')" plain/random
setfattr -n user.dir -v x plain
touch -d '2001-02-03 04:05:06.789012345' plain/file; touch -d '1969-12-31 23:00:00.5Z' odd
touch -hd '1999-01-02 03:04:05' dangling; touch -d '2010-01-01 00:00:00.25' plain/deep plain
chmod 555 plain/deep; chmod 0 closed
"#;

#[track_caller]
pub fn in_shell(directory: &Path, script: &str) {
    let mut command = as_tester(Path::new("/bin/sh"));
    outcome(command.args(["-ec", script]).current_dir(directory)).ok();
}

/// What is done to modes on the way: the owner can read and remove all, nobody else can write, and
/// nobody becomes anybody.
pub fn flattened(listing: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let flatten = |line: String| {
        let (mode, rest) = line.split_once(' ').unwrap();
        let mode = u32::from_str_radix(mode, 8).unwrap();
        let mode = match mode & 0o170_000 {
            0o040_000 => mode & !0o022 | 0o700,
            0o100_000 => mode & !0o6022 | 0o400,
            _ => mode,
        };
        format!("{mode:o} {rest}")
    };
    listing.into_iter().map(|(name, line)| (name, flatten(line))).collect()
}

#[test]
fn archives_of_gnu_tar_come_back_as_they_were() {
    let scratch = Scratch::new();
    let tree = scratch.directory("tree");
    in_shell(&tree, NASTY);
    let wanted = flattened(listing(&tree));
    for (number, options) in [
        "--format=posix --xattrs",
        "--format=posix --xattrs -S --sparse-version=1.0",
        "--format=posix --xattrs -S --sparse-version=0.1",
        "--format=posix --xattrs -S --sparse-version=0.0",
        "--format=gnu -S",
        "--format=gnu",
        "--format=oldgnu -S",
    ]
    .iter()
    .enumerate()
    {
        for form in ["cat", "gzip -c", "zstd -q -c", "xz -0 -c", "bzip2 -c"]
            .iter()
            .skip(usize::from(number != 0) * 4)
        {
            let name = format!("{number}.tar");
            let script = format!("tar {options} --sort=name -C \"$1\" -cf - . | {form} > \"$2\"");
            let archive = scratch.join(&name);
            // As root: one file is closed to its owner.
            let made =
                Command::new("sh").args(["-ec", &script, "sh"]).args([&tree, &archive]).status();
            assert!(made.unwrap().success());
            let made = scratch.join("made");
            assert_eq!(himage([Path::new("convert"), &archive, &made]).ok(), "", "{options}");
            let found = listing(&made);
            match *options {
                options if options.contains("posix") => same(&found, &wanted),
                // Neither parts of seconds nor attributes.
                _ => same(&whole_seconds(&found), &whole_seconds(&wanted)),
            }
            fs::remove_dir_all(&made).unwrap();
        }
    }
}

/// Without parts of seconds and without attributes.
pub fn whole_seconds(listing: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let cut = |line: &String| {
        let mut words: Vec<&str> =
            line.split(' ').filter(|word| !word.starts_with("user.")).collect();
        words[1] = words[1].split('.').next().unwrap();
        words.join(" ")
    };
    listing.iter().map(|(name, line)| (name.clone(), cut(line))).collect()
}

#[test]
fn umoci_and_gnu_tar_see_the_same_in_a_real_tree() {
    let scratch = Scratch::new();
    let (lower, upper) = (scratch.directory("lower"), scratch.directory("upper"));
    in_shell(&lower, NASTY);
    in_shell(
        &upper,
        "mkdir -p plain shared/new; echo changed > plain/file; : > plain/.wh.random; : > .wh.program
         echo in > shared/new/file; ln shared/new/file shared/again; ln -s shared link; : > shared/.wh..wh..opq
         touch -d '2020-01-01 00:00:00.125' plain shared shared/new",
    );
    let layer = |tree: &Path| {
        let script = "tar --format=posix --xattrs --sort=name -C \"$1\" -cf - .";
        Command::new("sh").args(["-ec", script, "sh"]).arg(tree).output().unwrap().stdout
    };
    let layers = [("gzip -c", layer(&lower)), ("gzip -c", layer(&upper))];
    let root = unpacked(&scratch, &layers);
    let bundle = by_umoci(&scratch);
    let (found, wanted) = (listing(&root), flattened(listing(&bundle)));
    same(&found, &wanted);
}

#[test]
fn only_owners_can_write_and_they_can_read_and_remove_what_was_unpacked() {
    let scratch = Scratch::new();
    let archive = Archive::new()
        .member(b'5', "d", "", 0, "")
        .member(b'5', "d/e", "", 0o555, "")
        .member(b'0', "d/e/none", "", 0, "none")
        .member(b'0', "d/setuid", "", 0o6755, "x")
        .member(b'5', "d/group", "", 0o2775, "")
        .member(b'5', "d/all", "", 0o1777, "")
        .end();
    let root = unpacked(&scratch, &[("", archive)]);
    let mode = |name: &str| root.join(name).metadata().unwrap().mode() & 0o7777;
    let modes = ["d", "d/e", "d/e/none", "d/setuid", "d/group", "d/all"].map(mode);
    assert_eq!(modes, [0o700, 0o755, 0o400, 0o755, 0o2755, 0o1755], "{modes:?}");
    let remove = "cat made/rootfs/d/e/none && rm -rf made && test ! -e made";
    in_shell_says(&scratch, remove, "none");
}

#[track_caller]
fn in_shell_says(scratch: &Scratch, script: &str, wanted: &str) {
    let mut command = as_tester(Path::new("/bin/sh"));
    let said = outcome(command.args(["-ec", script]).current_dir(scratch.path())).ok();
    assert_eq!(said, wanted);
}

#[test]
fn what_users_cannot_make_is_left_out_by_name() {
    let scratch = Scratch::new();
    let lower = Archive::new().file("dev/null", "a file").end();
    let device = |kind: u8, name: &str| Archive::new().member(kind, name, "", 0o666, "").cut();
    let upper = Archive::new()
        .raw(device(b'3', "dev/null"))
        .raw(device(b'4', "dev/sda"))
        .raw(device(b'6', "run/pi\npe"))
        .link("dev/zero", "dev/null")
        .pax(&[
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.own", b"1"),
        ])
        .file("file", "x")
        .end();
    let image = layout(&scratch, "layout", &[("", lower), ("", upper)], "");
    let mut command = as_tester(&program("himage"));
    let done = outcome(command.arg("convert").args([&image, &scratch.join("made")]));
    assert_eq!((done.status, done.stdout.as_str()), (Some(0), ""));
    let root = scratch.join("made/rootfs");
    let wanted = [
        "left out: \"dev/null\" (a character device)",
        "left out: \"dev/sda\" (a block device)",
        "left out: \"run/pi\\npe\" (a named pipe)",
        "left out: \"dev/zero\" (a hard link to what was left out)",
        "left out: the attribute security.capability of \"file\"",
        "left out: the attribute user.overlay.opaque of \"file\"",
    ];
    let said = done.stderr.lines().filter_map(|line| line.strip_prefix("himage: "));
    let said: Vec<&str> = said.filter(|line| line.starts_with("left out")).collect();
    assert_eq!(said, wanted);
    assert_eq!(names(&root).into_keys().collect::<Vec<_>>(), ["dev", "file", "run"]);
    let listing = listing(&root);
    assert!(listing["\"file\""].contains(" user.own=0x31"), "{listing:?}");
    assert!(!listing["\"file\""].contains("overlay"), "{listing:?}");
}

#[test]
fn streams_of_several_members_and_with_more_behind_them() {
    let scratch = Scratch::new();
    let archive = Archive::new().file("x", "x".repeat(5000)).file("y", "y").end();
    for how in ["gzip -c", "zstd -q -c", "xz -c", "bzip2 -c"] {
        let parts = [filtered(how, &archive[..2000]), filtered(how, &archive[2000..])].concat();
        let file = scratch.file("archive", parts);
        let made = scratch.join("made");
        assert_eq!(himage([Path::new("convert"), &file, &made]).ok(), "", "{how}");
        assert_eq!(fs::read(made.join("y")).unwrap(), b"y");
        fs::remove_dir_all(made).unwrap();
    }
    // What follows the end is nobody's, but belongs to the digest.
    let longer = [&archive[..], &[7; 3000]].concat();
    let root = unpacked(&scratch, &[("gzip -c", longer)]);
    assert_eq!(names(&root).len(), 2);
}

#[test]
fn compressed_streams_that_are_cut_or_broken() {
    let scratch = Scratch::new();
    let random = filtered("head -c 200000 /dev/urandom; true", b"");
    let archive = Archive::new().file("x", random).end();
    for how in ["gzip -c", "zstd -q -c", "xz -c", "bzip2 -c"] {
        let whole = filtered(how, &archive);
        let mut broken = whole.clone();
        let middle = broken.len() / 2;
        broken[middle..middle + 64].fill(0x55);
        for bytes in [&whole[..whole.len() - 20], &whole[..100], &broken] {
            let file = scratch.file("archive", bytes);
            let made = scratch.join("made");
            let outcome = himage([Path::new("convert"), &file, &made]);
            super::support::archive::complains(&outcome, &["hint: "]);
            assert!(!made.exists(), "{how}");
        }
    }
}

#[test]
fn a_closed_directory_does_not_stop_what_comes_after() {
    let scratch = Scratch::new();
    let lower = Archive::new().member(b'5', "d", "", 0o000, "").file("d/x", "x").end();
    let upper = Archive::new().file("d/y", "y").file("d/.wh.x", "").end();
    let root = unpacked(&scratch, &[("", lower), ("", upper)]);
    assert_eq!(names(&root).into_keys().collect::<Vec<_>>(), ["d", "d/y"]);
    // The layer that wrote in it did not say when.
    let d = root.join("d").metadata().unwrap();
    assert_eq!((d.mtime(), d.permissions().mode() & 0o777), (0o14000000000, 0o700));
    assert_eq!(root.as_os_str().as_bytes().last(), Some(&b's'));
}
