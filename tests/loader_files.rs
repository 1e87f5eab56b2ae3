//! What a dynamic loader reads, as hrun reads and writes it: beside ldconfig and readelf.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use runtime::elf::{Flaw, Object};
use runtime::ldcache::{Cache, Entry, Format, OwnEntry, extended, flags_of};
use runtime::sys::file::File;

use super::support::run::outcome;
use super::support::{Scratch, lacks, real};

const DEBIAN: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// What `ldconfig -p` says of a cache: its libraries, one a line, without the lines around them.
fn listed(cache: &Path) -> Vec<String> {
    let mut command = Command::new("/sbin/ldconfig");
    let lines = outcome(command.arg("-p").arg("-C").arg(cache).env("LC_ALL", "C")).lines();
    // Before glibc 2.36 it also says which kernel a library needs.
    let line = |line: &String| match line.strip_prefix('\t')?.split_once(", OS ABI: ") {
        Some((start, rest)) => Some(format!("{start}){}", rest.split_once(')')?.1)),
        None => Some(line[1..].to_owned()),
    };
    lines.iter().filter_map(line).collect()
}

/// An entry as `ldconfig -p` words it.
fn worded(cache: &Cache, entry: &Entry) -> String {
    let mut kind = match entry.flags {
        0x303 => "libc6,x86-64".to_owned(),
        0x3 => "libc6".to_owned(),
        flags => panic!("flags {flags:#x} are of no test image"),
    };
    if let Some(name) = cache.hwcap_name(entry) {
        kind += &format!(", hwcap: \"{}\"", text(name));
    } else if entry.hwcap != 0 {
        kind += &format!(", hwcap: {:#018x}", entry.hwcap);
    }
    format!("{} ({kind}) => {}", text(entry.name), text(entry.path))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn assert_listed_alike(file: &Path) {
    let contents = fs::read(file).unwrap();
    let cache = Cache::parse(&contents).unwrap();
    let ours: Vec<String> = cache.entries().iter().map(|entry| worded(&cache, entry)).collect();
    assert!(!ours.is_empty());
    assert_eq!(ours, listed(file), "{}", file.display());
}

/// Libraries that an image has, and one it has not.
fn own_libraries() -> [(&'static str, String); 3] {
    ["libc.so.6", "libz.so.1", "libcuda.so.1"].map(|name| (name, format!("/.hrun/lib64/{name}")))
}

fn own_entries<'a>(libraries: &'a [(&str, String)], flags: i32) -> Vec<OwnEntry<'a>> {
    let entry = |(name, path): &'a (&str, String)| OwnEntry {
        flags,
        name: name.as_bytes(),
        path: path.as_bytes(),
    };
    libraries.iter().map(entry).collect()
}

#[test]
fn caches_of_images_list_what_ldconfig_lists() {
    if lacks("ldconfig") {
        return;
    }
    for image in DEBIAN {
        assert_listed_alike(&real(image).join("etc/ld.so.cache"));
    }
}

#[test]
fn ldconfig_lists_our_libraries_first_and_then_all_of_the_image() {
    if lacks("ldconfig") {
        return;
    }
    let scratch = Scratch::new();
    for image in DEBIAN {
        let original = real(image).join("etc/ld.so.cache");
        let contents = fs::read(&original).unwrap();
        let cache = Cache::parse(&contents).unwrap();
        let sh = fs::canonicalize(real(image).join("bin/sh")).unwrap();
        let abi = Object::read(&File::open_regular(&sh).unwrap()).unwrap().abi;
        let flags = flags_of(abi, Some(&cache)).unwrap();
        let libraries = own_libraries();
        let written = extended(Some(&cache), &own_entries(&libraries, flags));
        let copy = scratch.file(image, &written);
        assert_listed_alike(&copy);
        let mut listed = listed(&copy);
        for (name, path) in &libraries {
            let first =
                listed.iter().position(|line| line.starts_with(&format!("{name} ("))).unwrap();
            assert!(listed.remove(first).ends_with(&format!(" => {path}")), "{image}: {name}");
        }
        assert_eq!(listed, self::listed(&original), "{image}");
    }
}

const OURS: OwnEntry = OwnEntry { flags: 0x303, name: b"libz.so.1", path: b"/mnt/libz.so.1" };

/// Where the image's own loader finds a library that `dpkg-deb` is linked to.
///
/// The cache is shown at its place in the image, and a directory of the host at `/mnt`.
fn found_by_the_loader(image: &Path, cache: &Path, directory: &Path, library: &str) -> String {
    let script = "mount --bind \"$2\" \"$1/etc/ld.so.cache\" && mount --bind \"$3\" \"$1/mnt\" && \
                  exec chroot \"$1\" /lib64/ld-linux-x86-64.so.2 --list /usr/bin/dpkg-deb";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
    let lines = outcome(command.arg(image).arg(cache).arg(directory)).lines();
    let line = lines.iter().find_map(|line| line.trim().strip_prefix(&format!("{library} => ")));
    line.unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn loaders_of_many_ages_take_our_library() {
    if lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    for image in DEBIAN {
        let image = real(image);
        let contents = fs::read(image.join("etc/ld.so.cache")).unwrap();
        let cache = Cache::parse(&contents).unwrap();
        let theirs = cache.entries().iter().find(|entry| entry.name == b"libz.so.1").unwrap();
        let plain = scratch.file("plain", extended(Some(&cache), &[]));
        assert_eq!(theirs.flags, OURS.flags);
        let ours = scratch.file("ours", extended(Some(&cache), &[OURS]));
        let only = scratch.file("only", extended(None, &[OwnEntry { path: b"/mnt/none", ..OURS }]));
        let directory = scratch.directory("libraries");
        let original = image.join(text(&theirs.path[1..]));
        fs::copy(fs::canonicalize(original).unwrap(), directory.join("libz.so.1")).unwrap();
        let found = |cache: &Path| found_by_the_loader(&image, cache, &directory, "libz.so.1");
        assert_eq!(found(&plain), text(theirs.path));
        assert_eq!(found(&ours), "/mnt/libz.so.1");
        // What is listed and not there is searched in the usual directories.
        assert!(found(&only).ends_with("lib/x86_64-linux-gnu/libz.so.1"));
    }
}

#[test]
fn every_format_of_ldconfig_is_read() {
    // ldconfig changes its root directory.
    if lacks("ldconfig") || lacks("root") {
        return;
    }
    let scratch = Scratch::new();
    for image in DEBIAN {
        let image = real(image);
        let mut names = Vec::new();
        for (word, format) in
            [("old", Format::Old), ("new", Format::New), ("compat", Format::Compat)]
        {
            let file = make_cache(&scratch, &image, word);
            let contents = fs::read(&file).unwrap();
            let cache = Cache::parse(&contents).unwrap();
            assert_eq!(cache.format, format);
            // Entries for better hardware are in the new format only.
            let plain = cache.entries().iter().filter(|entry| entry.hwcap == 0);
            let mut plain: Vec<_> =
                plain.map(|entry| (text(entry.name), text(entry.path))).collect();
            plain.dedup();
            names.push(plain);
            assert_listed_alike(&file);
            let copy = scratch.file(&format!("extended-{word}"), extended(Some(&cache), &[]));
            assert_eq!(listed(&copy), listed(&file));
        }
        assert!(names[0].len() > 20);
        assert_eq!((&names[0], &names[0]), (&names[1], &names[2]));
    }
}

/// Makes a cache of an image's libraries. The image is shown to ldconfig read-only, and only `/tmp`
/// in it, where the cache goes, is the scratch directory.
fn make_cache(scratch: &Scratch, image: &Path, format: &str) -> PathBuf {
    let directory = scratch.directory("made");
    let script = "mount --bind \"$1\" /mnt && mount -o remount,bind,ro /mnt && \
                  mount --bind \"$2\" /mnt/tmp && \
                  exec /sbin/ldconfig -X -c \"$3\" -C /tmp/cache -r /mnt";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
    let made = outcome(command.arg(image).arg(&directory).arg(format));
    assert_eq!(made.status, Some(0), "{}", made.stderr);
    let file = scratch.join(format!("{format}-cache"));
    fs::rename(directory.join("cache"), &file).unwrap();
    file
}

/// What `readelf -d` says of libraries: soname and needed libraries, by path.
fn dynamic_sections(paths: &[PathBuf]) -> BTreeMap<PathBuf, (Option<String>, Vec<String>)> {
    let mut command = Command::new("readelf");
    let said = outcome(command.args(["-W", "-d"]).args(paths).env("LC_ALL", "C"));
    let mut found = BTreeMap::new();
    let mut current = (None, Vec::new());
    let mut path = PathBuf::new();
    let quoted = |line: &str| {
        line.split_once('[').and_then(|(_, rest)| rest.rsplit_once(']')).unwrap().0.to_owned()
    };
    for line in said.stdout.lines() {
        if let Some(name) = line.strip_prefix("File: ") {
            found.insert(path, std::mem::take(&mut current));
            path = PathBuf::from(name);
        } else if line.contains("(SONAME)") {
            current.0 = Some(quoted(line));
        } else if line.contains("(NEEDED)") {
            current.1.push(quoted(line));
        }
    }
    found.insert(path, current);
    found.remove(Path::new(""));
    found
}

/// The library directories of an image; one, where `/lib` is a link to `/usr/lib`.
fn directories(image: &str) -> Vec<PathBuf> {
    let directory = |name| fs::canonicalize(real(image).join(name)).unwrap();
    let mut directories =
        ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(directory).to_vec();
    directories.dedup();
    directories
}

/// The files of a directory that are libraries by their name.
fn libraries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let is_library =
        |path: &PathBuf| path.file_name().unwrap().as_bytes().windows(3).any(|word| word == b".so");
    let mut libraries: Vec<PathBuf> = files.map(|entry| entry.path()).filter(is_library).collect();
    libraries.sort();
    libraries
}

#[test]
fn libraries_are_read_as_readelf_reads_them() {
    if lacks("readelf") {
        return;
    }
    let mut todo = vec![PathBuf::from("/usr/lib/x86_64-linux-gnu")];
    todo.extend(DEBIAN.into_iter().flat_map(directories));
    for directory in todo {
        let libraries = libraries(&directory);
        let expected = dynamic_sections(&libraries);
        let mut count = 0;
        for path in &libraries {
            let name = path.display();
            let file = File::open_regular(path).unwrap();
            let object = match Object::read(&file) {
                // A text file for the linker.
                Err(Flaw::NotElf) => continue,
                object => object.unwrap_or_else(|flaw| panic!("{name}: {flaw}")),
            };
            let strings = |names: Vec<OsString>| -> Vec<String> {
                names.iter().map(|name| name.to_str().unwrap().to_owned()).collect()
            };
            let needed = strings(object.needed().unwrap());
            let soname = object.soname.as_ref().map(|soname| soname.to_str().unwrap().to_owned());
            assert_eq!((soname, needed), expected[path], "{name}");
            assert_eq!(object.forward_compatibility(), Ok(None), "{name}");
            assert!(object.is_shared, "{name}");
            count += 1;
        }
        assert!(count > 20, "{}", directory.display());
    }
}

#[test]
fn a_system_defines_all_versions_it_needs() {
    for image in DEBIAN {
        let directories = directories(image);
        let find = |name: &OsStr| {
            let found =
                directories.iter().map(|directory| directory.join(name)).find(|path| path.exists());
            found.unwrap_or_else(|| panic!("{image} has no {}", name.display()))
        };
        let (mut checked, mut of_libc) = (0, 0);
        for path in directories.iter().flat_map(|directory| libraries(directory)) {
            let file = File::open_regular(&path).unwrap();
            let Ok(object) = Object::read(&file) else { continue };
            for needed in object.needed_versions().unwrap() {
                let library = File::open_regular(&find(&needed.file)).unwrap();
                let defined = Object::read(&library).unwrap().defined_versions().unwrap();
                let is_there = defined.contains(&needed.version);
                assert!(is_there || needed.is_weak, "{}: {needed:?}", path.display());
                of_libc += usize::from(needed.file == "libc.so.6");
                checked += 1;
            }
        }
        assert!(checked > 100 && of_libc > 50, "{image}: {checked} {of_libc}");
    }
}

#[test]
fn versions_are_read_as_readelf_reads_them() {
    if lacks("readelf") {
        return;
    }
    // A version that is needed stands in a line with "Name:" and "Version:", one that is defined
    // in a line with "Name:" and "Index:".
    let mut command = Command::new("readelf");
    let path = fs::canonicalize("/usr/lib/x86_64-linux-gnu/libstdc++.so.6").unwrap();
    let said = outcome(command.args(["-W", "-V"]).arg(&path).env("LC_ALL", "C")).ok();
    let named = |line: &str| {
        line.split_once("Name: ").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned())
    };
    let is_base = |line: &str| line.contains("Flags: BASE");
    let lines = |what: &'static str| {
        let lines = said.lines().filter(move |line| line.contains(what) && !is_base(line));
        lines.filter_map(named).collect::<Vec<String>>()
    };
    let file = File::open_regular(&path).unwrap();
    let object = Object::read(&file).unwrap();
    let text = |string: OsString| string.into_string().unwrap();
    let needed = object.needed_versions().unwrap().into_iter();
    assert_eq!(needed.map(|needed| text(needed.version)).collect::<Vec<_>>(), lines(" Version: "));
    let defined = object.defined_versions().unwrap().into_iter();
    assert_eq!(defined.map(text).collect::<Vec<_>>(), lines(" Index: "));
    assert!(lines(" Version: ").len() > 5 && lines(" Index: ").len() > 30);
}
