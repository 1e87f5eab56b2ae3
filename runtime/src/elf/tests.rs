use std::cell::RefCell;

use proptest::prelude::*;

use super::sample::{ABIS, BASE, Recipe, Sample, X86_64, library};
use super::*;

/// All that can be read of a file, as text.
fn everything(bytes: &[u8]) -> Result<Vec<String>, Flaw> {
    let object = Object::read(&bytes)?;
    let text = |string: OsString| string.display().to_string();
    let mut seen = vec![format!("{:?} {}", object.abi, object.is_shared)];
    seen.extend(object.interpreter.clone().map(text));
    seen.extend(object.soname.clone().map(text));
    seen.extend(object.needed()?.into_iter().map(text));
    seen.extend(object.search_path()?.map(|path| match path {
        SearchPath::First(path) => format!("first {}", path.display()),
        SearchPath::Second(path) => format!("second {}", path.display()),
    }));
    for needed in object.needed_versions()? {
        let weak = if needed.is_weak { " weak" } else { "" };
        seen.push(format!("{} {}{weak}", needed.file.display(), needed.version.display()));
    }
    seen.extend(object.defined_versions()?.into_iter().map(text));
    let note = object.forward_compatibility()?;
    seen.extend(note.map(|note| String::from_utf8_lossy(&note).into_owned()));
    Ok(seen)
}

const EVERYTHING: [&str; 10] = [
    "libcuda.so.1",
    "libm.so.6",
    "libc.so.6",
    "second $ORIGIN/../lib:/opt/lib",
    "libm.so.6 GLIBC_2.29",
    "libc.so.6 GLIBC_2.34",
    "libc.so.6 GLIBC_ABI_DT_RELR weak",
    "CUDA_1",
    "CUDA_2",
    r#"{"Driver":[535,550]}"#,
];

#[test]
fn reads_libraries_of_every_class_and_byte_order() {
    for abi in ABIS {
        for note_has_section in [false, true] {
            for gap in [0, 5000, 100_000] {
                let sample = Recipe { note_has_section, gap, ..library(abi) }.make();
                let seen = everything(&sample.bytes).unwrap();
                assert_eq!(seen[0], format!("{abi:?} true"));
                assert_eq!(seen[1..], EVERYTHING, "{abi:?} {gap}");
            }
        }
    }
}

#[test]
fn reads_programs() {
    for abi in ABIS {
        let loader = "/lib64/ld-linux-x86-64.so.2";
        for gap in [0, 10_000] {
            let recipe =
                Recipe { kind: 2, interpreter: Some(loader), soname: None, gap, ..library(abi) };
            let sample = recipe.make();
            let source = &sample.bytes.as_slice();
            let object = Object::read(source).unwrap();
            assert!(!object.is_shared && object.soname.is_none());
            assert_eq!(object.interpreter.unwrap(), loader);
            let start = Object::read_start(source).unwrap();
            assert_eq!(start.interpreter.unwrap(), loader);
        }
    }
}

#[test]
fn of_two_search_paths_the_newer_kind_counts() {
    let read = |search_paths: &[(u64, &'static str)]| {
        let sample = Recipe { search_paths: search_paths.to_vec(), ..library(X86_64) }.make();
        Object::read(&sample.bytes.as_slice()).unwrap().search_path().unwrap()
    };
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[(15, "/old")]), Some(SearchPath::First("/old".into())));
    assert_eq!(read(&[(15, "/old"), (29, "/new")]), Some(SearchPath::Second("/new".into())));
}

#[test]
fn what_a_file_does_not_have_is_not_there() {
    let mut recipe = library(X86_64);
    (recipe.soname, recipe.note) = (None, None);
    recipe.needed.clear();
    recipe.search_paths.clear();
    recipe.needed_versions.clear();
    recipe.defined_versions.clear();
    assert_eq!(everything(&recipe.make().bytes).unwrap().len(), 1);
    let mut static_program = recipe.make();
    static_program.put(56, 2, 0);
    assert_eq!(everything(&static_program.bytes).unwrap().len(), 1, "no program headers");
}

/// Remembers which bytes were read.
struct Counted<'a>(&'a [u8], RefCell<Vec<(u64, usize)>>);

impl Source for Counted<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.1.borrow_mut().push((offset, buffer.len()));
        self.0.read_at(offset, buffer)
    }
}

#[test]
fn a_large_library_takes_few_small_reads() {
    let sample = Recipe { gap: 5 << 20, ..library(X86_64) }.make();
    let source = Counted(&sample.bytes, RefCell::default());
    let object = Object::read(&source).unwrap();
    assert_eq!(source.1.borrow().len(), 3, "head, dynamic section, soname");
    object.needed().unwrap();
    assert_eq!(source.1.borrow().len(), 4);
    object.needed_versions().unwrap();
    object.defined_versions().unwrap();
    object.forward_compatibility().unwrap();
    let reads = source.1.borrow();
    assert_eq!(reads.len(), 9, "records and names of both, a note");
    assert!(reads.iter().all(|(_, size)| *size <= 4096), "{reads:?}");
}

#[test]
fn what_is_read_is_limited_for_any_size_a_file_tells() {
    let mut sample = Recipe { gap: 10_000, ..library(X86_64) }.make();
    for size in [65_537, u64::from(u32::MAX), u64::MAX] {
        for kind in [PT_DYNAMIC, 4] {
            let at = sample.header(kind) + 32;
            sample.put(at, 8, size);
        }
        let source = Counted(&sample.bytes, RefCell::default());
        let object = Object::read_start(&source).unwrap();
        assert_eq!(object.read_dynamic().err(), Some(Flaw::TooLarge { what: "dynamic section" }));
        assert_eq!(object.forward_compatibility(), Err(Flaw::TooLarge { what: "notes" }));
        assert!(source.1.borrow().iter().all(|(_, size)| *size <= 4096));
    }
}

/// A file that is damaged by a function, and what is said of it.
type Hostile = (fn(&mut Sample), &'static str);

/// Of a 64-bit file: at 32 is the place of the program headers, at 54 their size, at 56 their
/// number. In one, the offset is at 8, the address at 16, the size at 32.
const HOSTILE: &[Hostile] = &[
    (|sample| sample.bytes.clear(), "it is empty"),
    (|sample| sample.bytes.truncate(3), "it is no ELF file"),
    (|sample| sample.bytes.truncate(5), "it ends at byte 5, within its file header"),
    (|sample| sample.bytes.truncate(63), "it ends at byte 63, within its file header"),
    (|sample| sample.bytes[1] = b'e', "it is no ELF file"),
    (|sample| sample.bytes[..8].copy_from_slice(b"!<arch>\n"), "it is no ELF file"),
    (|sample| sample.bytes[4] = 3, "its class is 3"),
    (|sample| sample.bytes[5] = 0, "its byte order is 0"),
    (|sample| sample.bytes.truncate(64), "its program headers would be at byte 64, behind its end"),
    (|sample| sample.bytes.truncate(100), "it ends at byte 100, within its program headers"),
    (
        |sample| _ = sample.put(32, 8, u64::MAX),
        "its program headers would be at byte 18446744073709551615, behind its end",
    ),
    (|sample| _ = sample.put(54, 2, 0), "its size of a program header is 0"),
    (|sample| _ = sample.put(54, 2, 57), "its size of a program header is 57"),
    (
        |sample| _ = sample.put(56, 2, 0xffff),
        "the size of its program headers is beyond that of any sound file",
    ),
    (
        |sample| _ = sample.put(sample.header(2) + 8, 8, 1 << 40),
        "its dynamic section would be at byte 1099511627776, behind its end",
    ),
    (
        |sample| _ = sample.put(sample.header(2) + 32, 8, u64::MAX),
        "the size of its dynamic section is beyond that of any sound file",
    ),
    (
        |sample| _ = sample.put(sample.header(1) + 16, 8, u64::MAX),
        "its string table would be at address 0x400128, which no segment loads",
    ),
    (
        |sample| _ = sample.put(sample.header(1) + 8, 8, u64::MAX),
        "its soname would be at byte 18446744073709551615, behind its end",
    ),
    (
        |sample| _ = sample.put(sample.entry(5), 8, 0),
        "its string table would be at address 0x0, which no segment loads",
    ),
    (|sample| _ = sample.put(sample.entry(14), 8, 1 << 32), "its soname would be at byte"),
    (
        |sample| {
            sample.put(sample.entry(10), 8, u64::MAX);
            sample.put(sample.entry(14), 8, u64::MAX);
        },
        "its soname would be at byte 18446744073709551615, behind its end",
    ),
    (|sample| _ = sample.put(sample.entry(1), 8, 1 << 32), "its needed libraries would be at byte"),
    (|sample| _ = sample.put(sample.needed_versions, 2, 2), "its kind of version records is 2"),
    (|sample| _ = sample.put(sample.needed_versions + 8, 4, 0xffff_ffff), "it ends at byte"),
    (|sample| _ = sample.put(sample.needed_versions + 12, 4, 0x1000_0000), "it ends at byte"),
    (
        |sample| _ = sample.put(sample.entry(0x6fff_fffe), 8, 16),
        "its needed versions would be at address 0x10, which no segment loads",
    ),
    (|sample| _ = sample.put(sample.defined_versions, 2, 0), "its kind of version records is 0"),
    (|sample| _ = sample.put(sample.defined_versions + 28 + 12, 4, 0xffff_fff0), "it ends at byte"),
    (|sample| _ = sample.put(sample.header(4) + 32, 8, 1000), "it ends at byte"),
    (
        |sample| _ = sample.put(sample.header(4) + 8, 8, u64::MAX - 1),
        "its notes would be at byte 18446744073709551614, behind its end",
    ),
];

#[test]
fn hostile_files_are_refused_with_a_reason() {
    for (index, (damage, said)) in HOSTILE.iter().enumerate() {
        let mut sample = library(X86_64).make();
        damage(&mut sample);
        let flaw = everything(&sample.bytes).expect_err("is refused").to_string();
        assert!(flaw.starts_with(said), "hostile file {index}: {flaw}");
    }
}

#[test]
fn chains_end() {
    let mut sample = library(X86_64).make();
    let (needed, defined) = (sample.needed_versions, sample.defined_versions);
    sample.put(needed + 12, 4, 0);
    let seen = everything(&sample.bytes).unwrap();
    assert!(!seen.iter().any(|line| line.contains("GLIBC_2.34")), "zero is the end: {seen:?}");
    sample.put(defined + 16, 4, 0);
    assert!(!everything(&sample.bytes).unwrap().iter().any(|line| line.contains("CUDA_1")));

    // 100,000 records, each of which starts the same chain of 100,000 names.
    let mut bytes = library(X86_64).make();
    let mut chain = Vec::new();
    for _ in 0..100_000 {
        chain.extend_from_slice(&[1, 0, 1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0]);
    }
    bytes.bytes.truncate(bytes.sections);
    let at = bytes.bytes.len() as u64;
    bytes.bytes.extend(chain);
    bytes.put(bytes.entry(0x6fff_fffe), 8, BASE + at);
    bytes.put(bytes.header(1) + 32, 8, u64::MAX);
    let flaw = everything(&bytes.bytes).expect_err("is refused");
    assert_eq!(flaw, Flaw::TooLarge { what: "list of versions" });
}

#[test]
fn strings_without_end_are_refused() {
    let mut sample = Recipe { gap: 10_000, ..library(X86_64) }.make();
    let strings = sample.strings as u64;
    let end = sample.bytes.len();
    sample.bytes.resize(end + 300, b'x');
    sample.put(sample.entry(10), 8, u64::MAX);
    sample.put(sample.entry(14), 8, end as u64 - strings);
    let flaw = everything(&sample.bytes).expect_err("is refused");
    assert_eq!(flaw, Flaw::Truncated { what: "soname", at: end as u64 + 300 });
    sample.bytes.resize(end + 100_000, b'x');
    let flaw = everything(&sample.bytes).expect_err("is refused");
    assert_eq!(flaw, Flaw::TooLarge { what: "soname" });
}

#[test]
fn only_nvidias_note_with_json_counts() {
    for (owner, text) in [("NVIDIA", "{}"), ("NVIDIA Corporation", "1.0"), ("", "{}")] {
        let sample = Recipe { note: Some((owner, text)), ..library(X86_64) }.make();
        assert_eq!(everything(&sample.bytes).unwrap().last().unwrap(), "CUDA_2", "{owner}");
    }
    let sample = Recipe { note_has_section: true, ..library(X86_64) }.make();
    let note = |damage: fn(&mut Sample)| {
        let mut sample = Recipe { note_has_section: true, ..library(X86_64) }.make();
        damage(&mut sample);
        Object::read_start(&sample.bytes.as_slice()).unwrap().forward_compatibility()
    };
    assert!(sample.note < sample.sections);
    let json = Ok(Some(br#"{"Driver":[535,550]}"#.to_vec()));
    assert_eq!(note(|_| {}), json);
    assert_eq!(note(|sample| _ = sample.put(40, 8, 0)), Ok(None), "no section table");
    assert_eq!(note(|sample| _ = sample.put(58, 2, 63)), Ok(None));
    assert_eq!(note(|sample| _ = sample.put(62, 2, 9)), Ok(None), "names are in no section");
    assert_eq!(note(|sample| _ = sample.put(sample.sections + 128, 4, 1 << 31)), Ok(None));
    assert_eq!(note(|sample| _ = sample.put(sample.note, 4, u64::from(u32::MAX))), Ok(None));
    assert_eq!(note(|sample| _ = sample.put(sample.note + 4, 4, 1 << 31)), Ok(None));
    let outside = Flaw::Outside { what: "section headers", at: 1 << 50 };
    assert_eq!(note(|sample| _ = sample.put(40, 8, 1 << 50)), Err(outside));
}

#[test]
fn what_cannot_be_read_says_so() {
    struct Broken;
    impl Source for Broken {
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
            Err(Errno::EISDIR)
        }
    }
    let flaw = Object::read(&Broken).err().map(|flaw| flaw.to_string());
    assert_eq!(flaw.as_deref(), Some("it cannot be read: Is a directory"));
}

/// A generator of numbers that are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn no_damage_makes_the_reader_panic() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    let samples = ABIS.map(|abi| Recipe { note_has_section: true, ..library(abi) }.make().bytes);
    const CASES: usize = if cfg!(debug_assertions) { 60_000 } else { 3_000_000 };
    for case in 0..CASES {
        let mut bytes = samples[case % samples.len()].clone();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len());
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1][numbers.below(6)];
        }
        if case % 8 == 0 {
            bytes.truncate(numbers.below(bytes.len()));
        }
        refused += usize::from(everything(&bytes).is_err());
    }
    assert!(refused > CASES / 10 && refused < CASES * 9 / 10, "{refused}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, keep in 0usize..64) {
        let _ = everything(&bytes);
        let mut after_header = library(X86_64).make().bytes;
        after_header.truncate(keep.max(20));
        after_header.extend_from_slice(&bytes);
        let _ = everything(&after_header);
    }
}
