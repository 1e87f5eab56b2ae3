//! What hrun thinks a program is linked with, beside what the machine's own loader and binutils say.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use runtime::elf::Object;
use runtime::linkage::Loader;
use runtime::look::directory::DirectoryTree;

use super::support::Scratch;

/// Programs and libraries of this machine with many libraries, plugins' among them.
const OBJECTS: [&str; 7] = [
    "/usr/bin/gdb",
    "/usr/bin/python3",
    "/usr/bin/strace",
    "/usr/bin/orterun",
    "/usr/lib/x86_64-linux-gnu/libmpich.so.12",
    "/usr/lib/x86_64-linux-gnu/libmpi.so.40",
    "/usr/lib/x86_64-linux-gnu/openmpi/lib/openmpi3/mca_pmix_ext3x.so",
];

/// The output of a program of this machine.
fn said(program: &str, words: &[&OsStr]) -> String {
    let output = Command::new(program).args(words).env_remove("LD_LIBRARY_PATH").output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the machine's loader loads, by name, without symbolic links.
fn by_ldd(object: &Path) -> BTreeMap<String, PathBuf> {
    let listed = said("ldd", &[object.as_os_str()]);
    let lines = listed.lines().filter_map(|line| line.trim().split_once(" => "));
    lines
        .map(|(name, found)| {
            let path = found.split(" (").next().unwrap();
            (name.to_owned(), fs::canonicalize(path).unwrap())
        })
        .collect()
}

fn by_hrun(object: &Path) -> BTreeMap<String, PathBuf> {
    let tree = DirectoryTree::new("/");
    let loader = Loader::new(&tree, OsStr::new(""));
    let loaded = loader.load(&[object.to_path_buf()]);
    let libraries = loaded.into_iter().skip(1).map(|linked| {
        let found = linked.found.unwrap_or_else(|| panic!("{:?} is not found", linked.name));
        (linked.name.into_string().unwrap(), found.path)
    });
    // The loader itself is listed by its path.
    libraries.filter(|(name, _)| !name.starts_with("ld-linux")).collect()
}

#[test]
fn libraries_are_found_where_the_loader_finds_them() {
    for object in OBJECTS.map(Path::new) {
        let (own, ldd) = (by_hrun(object), by_ldd(object));
        assert!(!ldd.is_empty());
        assert_eq!(own, ldd, "{}", object.display());
    }
}

/// A library in a directory below another, and a program linked with it.
fn built(scratch: &Scratch, name: &str, flags: &[&str]) -> PathBuf {
    let directory = scratch.join(name);
    fs::create_dir_all(directory.join("lib/deep")).unwrap();
    let compile = |words: &[&str]| {
        let done = Command::new("gcc").args(words).current_dir(&directory).status();
        assert!(done.unwrap().success(), "{words:?}");
    };
    fs::write(directory.join("one.c"), "int one(void) { return 1; }").unwrap();
    fs::write(directory.join("two.c"), "int one(void); int two(void) { return one(); }").unwrap();
    fs::write(directory.join("main.c"), "int two(void); int main(void) { return two(); }").unwrap();
    compile(&["-shared", "-fPIC", "-o", "lib/deep/libone.so", "one.c"]);
    compile(&["-shared", "-fPIC", "-o", "lib/libtwo.so", "two.c", "-Llib/deep", "-lone"]);
    let link = ["-o", "main", "main.c", "-Llib", "-ltwo", "-Wl,-rpath-link=lib/deep"];
    compile(&[&link[..], flags].concat());
    directory.join("main")
}

#[test]
fn search_lists_of_programs_count_as_they_do_for_the_loader() {
    let scratch = Scratch::new();
    let (origin, deep) = ("-Wl,-rpath,$ORIGIN/lib:${ORIGIN}/lib/deep", "-Wl,--disable-new-dtags");
    let handed_down = built(&scratch, "rpath", &[origin, deep]);
    assert_eq!(by_hrun(&handed_down), by_ldd(&handed_down));
    let names: Vec<String> = by_hrun(&handed_down).into_keys().collect();
    assert_eq!(names, ["libc.so.6", "libone.so", "libtwo.so"]);
    // What is in DT_RUNPATH is not for the libraries of libraries.
    let own_only = built(&scratch, "runpath", &[origin, "-Wl,--enable-new-dtags"]);
    let tree = DirectoryTree::new("/");
    let list = scratch.join("runpath/lib/deep");
    for (path, is_found) in [(OsStr::new(""), false), (list.as_os_str(), true)] {
        let loaded = Loader::new(&tree, path).load(std::slice::from_ref(&own_only));
        let one = loaded.iter().find(|linked| linked.name == "libone.so").unwrap();
        assert_eq!(one.found.is_some(), is_found);
        let two = loaded.iter().find(|linked| linked.name == "libtwo.so").unwrap();
        assert!(two.found.as_ref().is_some_and(|found| found.is_listed));
    }
}

#[test]
fn symbols_are_those_that_binutils_list() {
    let tree = DirectoryTree::new("/");
    let loader = Loader::new(&tree, OsStr::new(""));
    for object in OBJECTS.map(Path::new) {
        let symbols = loader.symbols(&fs::canonicalize(object).unwrap()).unwrap();
        let own = |names: &mut dyn Iterator<Item = &[u8]>| -> BTreeSet<String> {
            names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
        };
        let listed = said("nm", &["-D".as_ref(), object.as_os_str()]);
        let nm = |kinds: &str| -> BTreeSet<String> {
            let lines = listed.lines().filter_map(|line| {
                let (kind, name) = line[17..].split_once(' ')?;
                kinds.contains(kind).then(|| name.split('@').next().unwrap().to_owned())
            });
            lines.collect()
        };
        assert_eq!(own(&mut symbols.wanted()), nm("U"), "{}", object.display());
        assert_eq!(own(&mut symbols.defined()), nm("TDBRVWAGSiu"), "{}", object.display());
    }
}

#[test]
fn a_library_says_which_version_it_is() {
    let path = fs::canonicalize(OBJECTS[4]).unwrap();
    let file = runtime::sys::file::File::open_regular(&path).unwrap();
    let object = Object::read(&file).unwrap();
    let version = object.text(&object.symbols().unwrap(), "MPII_Version_string").unwrap().unwrap();
    let said = said("mpichversion", &[]);
    assert!(said.contains(&version), "{version}: {said}");
    assert_eq!(object.text(&object.symbols().unwrap(), "no_such_symbol"), Ok(None));
}
