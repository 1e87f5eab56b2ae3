//! The invariants of docs/ARCHITECTURE.md that can be read off the sources and the binary.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::run::program;

/// All Rust sources of the project, with their text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut todo: Vec<PathBuf> =
        ["cli", "images", "registry", "runtime", "shim", "squashfs", "tests", "benches"]
            .iter()
            .map(|name| root.join(name))
            .collect();
    let mut sources = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(sources.len() > 40, "the sources are somewhere else");
    sources
}

#[test]
fn unsafe_code_has_one_address() {
    let keyword = concat!("un", "safe");
    for (name, text) in sources() {
        let allowed = name.starts_with("runtime/src/sys/");
        let code = text.lines().map(|line| line.split("//").next().unwrap());
        let uses: Vec<&str> = code
            .filter(|line| {
                line.contains(&format!("{keyword} ")) || line.contains(&format!("{keyword}("))
            })
            .collect();
        // The one attribute of the program's entry.
        let entry = name == "cli/hrun/main.rs" && uses.len() == 1 && uses[0].contains("no_mangle");
        assert!(allowed || entry || uses.is_empty(), "{name}: {uses:?}");
    }
}

/// Text of others reaches no terminal but by the functions that write controls out.
#[test]
fn messages_are_written_in_one_place() {
    let writers = ["cli/hrun/report.rs", "cli/himage/report.rs", "runtime/src/sys/group.rs"];
    let ways = ["stderr()", "stdout()", "println!", "eprint!", " print!", "STDERR_FILENO", "dbg!"];
    let mut seen = 0;
    for (name, text) in sources() {
        let is_program = !["tests/", "benches/"].iter().any(|place| name.starts_with(place))
            && !name.contains("/tests");
        if !is_program {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod").next().unwrap();
        let uses = ways.iter().filter(|way| code.contains(**way)).count();
        if writers.contains(&name.as_str()) {
            seen += 1;
            assert!(uses > 0 && code.contains("lines_shown("), "{name} writes text as it is");
        } else {
            assert_eq!(uses, 0, "{name} writes to a terminal, past report.rs");
        }
    }
    assert_eq!(seen, writers.len());
}

#[test]
fn deciding_code_does_no_io() {
    for (name, text) in sources() {
        let decides = [
            "decide/",
            "cdi/",
            "inject/",
            "request/",
            "plan/",
            "elf/",
            "ldcache/",
            "envfile",
            "linkage",
            "cpus",
            "hints",
            "options",
            "passwd",
            "ranks",
            "reference",
            "seccomp",
            "capabilities",
        ];
        let decides = decides.iter().any(|part| name.starts_with(&format!("runtime/src/{part}")));
        if decides && !name.ends_with("tests.rs") {
            assert!(!text.contains("disallowed_methods"), "{name} allows itself I/O");
            for word in ["std::fs", "std::process", "std::thread", "std::net"] {
                assert!(!text.contains(word), "{name} uses {word}");
            }
        }
    }
}

#[test]
fn only_main_prints_errors_and_only_shim_forks() {
    for (name, text) in sources() {
        if name.starts_with("tests/") || name.starts_with("benches/") {
            continue;
        }
        let programs = ["cli/hrun", "cli/himage"];
        if !programs.iter().any(|program| name == format!("{program}/report.rs")) {
            assert!(!text.contains("stderr()"), "{name} writes to standard error");
        }
        let is_macro = |word: &str| text.contains(&format!("{word}!("));
        assert!(
            !["print", "println", "eprint", "eprintln"].iter().any(|word| is_macro(word)),
            "{name}"
        );
        if !name.starts_with("shim/") && !name.starts_with("runtime/src/sys/") {
            let forks =
                ["in_child", "in_background", "fork("].iter().any(|word| text.contains(word));
            assert!(!forks, "{name} forks");
        }
    }
}

#[test]
fn files_and_functions_fit() {
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 520, "{name} has {} lines", lines.len());
        for (first, length) in functions(&lines) {
            assert!(length <= 80, "{name}:{first} is {length} lines long");
        }
    }
}

/// The first line and the length of each function, by the indentation rustfmt gives them.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let starts = |line: &str| {
        let words = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(super) ");
        words.starts_with("fn ") && !line.ends_with(';')
    };
    let mut functions = Vec::new();
    for (first, line) in lines.iter().enumerate().filter(|(_, line)| starts(line)) {
        let ends =
            |end: &&str| indent(end) == indent(line) && matches!(end.trim_start(), "}" | ");");
        let length = lines[first + 1..].iter().position(ends);
        functions.push((first + 1, length.map_or(1, |length| length + 2)));
    }
    functions
}

#[test]
fn the_binary_is_static_and_at_a_fixed_address() {
    let elf = fs::read(program("hrun")).unwrap();
    assert_eq!(&elf[..4], b"\x7fELF");
    let e_type = u16::from_le_bytes([elf[16], elf[17]]);
    assert_eq!(e_type, 2, "ET_EXEC: position-independent code costs start-up time");
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let table = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
    let kinds = (0..half(56)).map(|index| elf[table + index * half(54)]);
    assert!(!kinds.into_iter().any(|kind| kind == 3), "PT_INTERP: it has a dynamic loader");
    assert!(!elf.windows(7).any(|bytes| bytes == b".symtab"), "it is not stripped");
}

/// What starts on 256 nodes at once has nothing of registries and archives in it.
#[test]
fn hrun_speaks_neither_http_nor_tls_nor_tar() {
    let words = ["rustls", "ureq", "HTTP/1.1", "tar-0.4", "failed to read entire block", "sha2-0."];
    let has = |name: &str, word: &str| {
        let binary = fs::read(program(name)).unwrap();
        binary.windows(word.len()).any(|bytes| bytes == word.as_bytes())
    };
    for word in words {
        assert!(!has("hrun", word), "hrun has '{word}' in it");
    }
    // The words are those that a program has which does: himage reads tar archives.
    assert!(has("himage", "failed to read entire block"));
}

#[test]
fn every_decision_is_listed_by_its_number() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
    let mut numbers: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .map(|name| name[..4].to_owned())
        .collect();
    numbers.sort();
    let wanted: Vec<String> = (1..=numbers.len()).map(|number| format!("{number:04}")).collect();
    assert_eq!(numbers, wanted);
}

/// `std` takes a directory that cannot be closed, and a thread that cannot be started, for a fault of the
/// program; himage has its own ways (`images/src/own.rs`, `threads.rs`).
#[test]
fn nothing_in_himage_panics_by_design() {
    for (name, text) in sources() {
        let is_himage = ["cli/himage/", "images/src/", "registry/src/"];
        if !is_himage.iter().any(|part| name.starts_with(part)) || name.ends_with("/docs.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in [
            "fs::read_dir",
            "remove_dir_all",
            "scope.spawn(",
            "thread::spawn(",
            "enable_steady_tick",
            ".expect(",
            ".unwrap()",
            "panic!",
        ] {
            assert!(!code.contains(word), "{name} has {word}");
        }
    }
}
