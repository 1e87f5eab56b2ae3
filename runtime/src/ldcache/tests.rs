use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::elf::Order;

/// A library as tests write it: flags, name, path, hwcap.
type Library = (i32, &'static str, &'static str, u64);

const LIBRARIES: &[Library] = &[
    (0x303, "libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1", 0),
    (0x303, "libx.so.10", "/lib/x86_64-linux-gnu/libx.so.10", 0),
    (0x303, "libx.so.9", "/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libx.so.9", 1 << 62 | 1),
    (0x303, "libx.so.9", "/lib/x86_64-linux-gnu/libx.so.9", 0),
    (0x003, "libx.so.9", "/lib32/libx.so.9", 0),
    (0x303, "libc.so.6", "/lib/x86_64-linux-gnu/tls/libc.so.6", 1 << 63),
    (0x303, "libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6", 0),
];

const HWCAPS: [&str; 2] = ["x86-64-v2", "x86-64-v3"];

/// Writes a cache as ldconfig does, with `hwcaps` in an extension if there are any.
fn write(format: Format, libraries: &[Library], hwcaps: &[&str]) -> Vec<u8> {
    let mut libraries = libraries.to_vec();
    if format == Format::Compat && libraries.len() % 2 == 1 {
        libraries.push(*libraries.last().unwrap());
    }
    let (count, is_old) = (libraries.len(), format != Format::New);
    let old_size = if is_old { 16 + 12 * count } else { 0 };
    let new_size = if format == Format::Old { 0 } else { 48 + 24 * count };
    let strings_at = old_size + new_size;
    let mut strings = Vec::new();
    let mut place = |string: &str| {
        let at = strings.len();
        strings.extend_from_slice(string.as_bytes());
        strings.push(0);
        at as u32
    };
    let places: Vec<[u32; 2]> =
        libraries.iter().map(|(_, name, path, _)| [place(name), place(path)]).collect();
    let names: Vec<u32> = hwcaps.iter().map(|name| place(name) + strings_at as u32).collect();
    let mut file = Vec::new();
    if is_old {
        file.extend_from_slice(b"ld.so-1.7.0\0");
        push(&mut file, &[count as u32]);
        // Offsets count from the end of these entries, where the new header may be.
        for ((flags, ..), [name, path]) in libraries.iter().zip(&places) {
            push(&mut file, &[*flags as u32, name + new_size as u32, path + new_size as u32]);
        }
    }
    let extension_at = (strings_at + strings.len()).next_multiple_of(4);
    if new_size > 0 {
        file.extend_from_slice(b"glibc-ld.so.cache1.1");
        let extension = if hwcaps.is_empty() { 0 } else { extension_at as u32 };
        let order = if hwcaps.is_empty() { 0 } else { u32::from_ne_bytes([ORDER_OWN, 0, 0, 0]) };
        push(&mut file, &[count as u32, strings.len() as u32, order, extension, 0, 0, 0]);
        for ((flags, .., hwcap), [name, path]) in libraries.iter().zip(&places) {
            push(&mut file, &[*flags as u32, name + new_size as u32, path + new_size as u32, 0]);
            file.extend_from_slice(&hwcap.to_ne_bytes());
        }
    }
    file.extend_from_slice(&strings);
    if !hwcaps.is_empty() {
        file.resize(extension_at, 0);
        let (at, size) = (extension_at as u32 + 56, 4 * names.len() as u32);
        push(&mut file, &[0xeaa4_2174, 3, 0, 0, at + size, 4, 1, 0, at, size, 9, 0, u32::MAX, 9]);
        push(&mut file, &names);
        file.extend_from_slice(b"test");
    }
    file
}

fn push(file: &mut Vec<u8>, numbers: &[u32]) {
    file.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
}

fn entry(library: &Library) -> Entry<'static> {
    let (flags, name, path, hwcap) = *library;
    Entry { flags, name: name.as_bytes(), path: path.as_bytes(), os_version: 0, hwcap }
}

#[test]
fn reads_all_formats() {
    for libraries in [LIBRARIES, &LIBRARIES[1..], &[]] {
        let expected: Vec<_> = libraries.iter().map(entry).collect();
        let file = write(Format::New, libraries, &HWCAPS);
        let cache = Cache::parse(&file).unwrap();
        assert_eq!((cache.format, cache.entries()), (Format::New, expected.as_slice()));
        assert_eq!(cache.generator, Some(&b"test"[..]));
        assert_eq!(cache.hwcaps, HWCAPS.map(str::as_bytes));
        let named = cache.entries().iter().find_map(|entry| cache.hwcap_name(entry));
        assert_eq!(named, (!libraries.is_empty()).then_some(&b"x86-64-v3"[..]));

        let file = write(Format::Compat, libraries, &[]);
        let cache = Cache::parse(&file).unwrap();
        assert_eq!(
            (cache.format, &cache.entries()[..expected.len()]),
            (Format::Compat, &*expected)
        );
        assert_eq!(cache.generator, None);

        let file = write(Format::Old, libraries, &[]);
        let cache = Cache::parse(&file).unwrap();
        let plain: Vec<_> = expected.iter().map(|entry| Entry { hwcap: 0, ..*entry }).collect();
        assert_eq!((cache.format, cache.entries()), (Format::Old, plain.as_slice()));
    }
}

#[test]
fn the_new_part_may_be_aligned_to_four_bytes() {
    // i386, an odd number of entries: 16 + 12 bytes.
    let old = write(Format::Old, &LIBRARIES[..1], &[]);
    let file = [&old[..28], &write(Format::New, LIBRARIES, &[])].concat();
    let cache = Cache::parse(&file).unwrap();
    assert_eq!((cache.format, cache.entries().len()), (Format::Compat, LIBRARIES.len()));
}

#[test]
fn names_compare_as_in_the_loader() {
    for (left, right, expected) in [
        ("", "", Ordering::Equal),
        ("", "a", Ordering::Less),
        ("liba.so", "libb.so", Ordering::Less),
        ("libx.so.9", "libx.so.10", Ordering::Less),
        ("libx.so.1", "libx.so.01", Ordering::Equal),
        ("libx.so.1", "libx.so.1.0", Ordering::Less),
        ("libx1", "libxa", Ordering::Greater),
        ("libx1", "libx", Ordering::Greater),
        ("libx.so", "libx-1.so", Ordering::Greater),
        ("libx2y3", "libx2y12", Ordering::Less),
        ("libX.so", "libx.so", Ordering::Less),
        ("libx.so.4294967297", "libx.so.1", Ordering::Equal),
        ("libx.so.2147483648", "libx.so.1", Ordering::Less),
        ("libstdc++.so.6", "libstdc.so.6", Ordering::Less),
    ] {
        assert_eq!(compare(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
        assert_eq!(compare(right.as_bytes(), left.as_bytes()), expected.reverse());
    }
    let is_signed = std::ffi::c_char::MIN != 0;
    let expected = if is_signed { Ordering::Less } else { Ordering::Greater };
    assert_eq!(compare(b"lib\xc3\xa9.so", b"lib.so"), expected);
    assert_eq!(compare(b"lib\xc3\xa9", b"lib"), expected, "the end of a name is 0");
}

const OURS: [OwnEntry; 4] = [
    OwnEntry { flags: 0x303, name: b"libx.so.9", path: b"/.hrun/lib64/libx.so.9" },
    OwnEntry { flags: 0x303, name: b"libcuda.so.1", path: b"/.hrun/lib64/libcuda.so.1" },
    OwnEntry { flags: 0x003, name: b"libcuda.so.1", path: b"/.hrun/lib32/libcuda.so.1" },
    OwnEntry { flags: 0x303, name: b"libx.so.11", path: b"/.hrun/lib64/libx.so.11" },
];

fn paths<'a>(cache: &Cache<'a>) -> Vec<&'a str> {
    cache.entries().iter().map(|entry| std::str::from_utf8(entry.path).unwrap()).collect()
}

#[test]
fn ours_are_first_among_those_of_a_name() {
    let file = write(Format::New, LIBRARIES, &HWCAPS);
    let image = Cache::parse(&file).unwrap();
    let written = extended(Some(&image), &OURS);
    let cache = Cache::parse(&written).unwrap();
    assert_eq!(
        paths(&cache),
        [
            "/lib/x86_64-linux-gnu/libz.so.1",
            "/.hrun/lib64/libx.so.11",
            "/lib/x86_64-linux-gnu/libx.so.10",
            "/.hrun/lib64/libx.so.9",
            "/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libx.so.9",
            "/lib/x86_64-linux-gnu/libx.so.9",
            "/lib32/libx.so.9",
            "/.hrun/lib64/libcuda.so.1",
            "/.hrun/lib32/libcuda.so.1",
            "/lib/x86_64-linux-gnu/tls/libc.so.6",
            "/lib/x86_64-linux-gnu/libc.so.6",
        ]
    );
    assert_eq!(cache.hwcaps, image.hwcaps);
    assert_eq!(cache.hwcap_name(&cache.entries()[4]), Some(&b"x86-64-v3"[..]));
    assert_eq!(cache.entries()[9].hwcap, 1 << 63, "a legacy mask stays");
    assert!(cache.generator.unwrap().starts_with(b"hrun "));
    assert_eq!(written[28], ORDER_OWN);
}

#[test]
fn an_image_without_a_cache_gets_ours() {
    let cache = extended(None, &OURS);
    let cache = Cache::parse(&cache).unwrap();
    assert_eq!((cache.format, cache.entries().len()), (Format::New, OURS.len()));
    assert_eq!(Cache::parse(&extended(None, &[])).unwrap().entries(), []);
}

#[test]
fn flags_are_those_of_the_images_libc() {
    let abi = |class, machine| Abi { class, order: Order::Little, machine };
    let (x86_64, arm) = (abi(Class::Elf64, 62), abi(Class::Elf32, 40));
    for (abi, expected) in [
        (x86_64, Some(0x303)),
        (abi(Class::Elf32, 62), Some(0x803)),
        (abi(Class::Elf32, 3), Some(3)),
        (abi(Class::Elf64, 183), Some(0xa03)),
        (arm, Some(0x903)),
        (abi(Class::Elf64, 21), Some(0x503)),
        (abi(Class::Elf64, 243), Some(0x1003)),
        (abi(Class::Elf64, 0), None),
    ] {
        assert_eq!(flags_of(abi, None), expected, "{abi:?}");
    }
    let libraries =
        [(0x303, "libc.so.6", "/a", 0), (0xb03, "libc.so.6", "/b", 0), (3, "libc.so.6", "/c", 0)];
    let file = write(Format::New, &libraries, &[]);
    let image = Cache::parse(&file).unwrap();
    assert_eq!(flags_of(arm, Some(&image)), Some(0xb03));
    assert_eq!(flags_of(x86_64, Some(&image)), Some(0x303));
    assert_eq!(flags_of(abi(Class::Elf64, 183), Some(&image)), Some(0xa03));
}

/// A cache that is damaged by a function, and what is said of it.
type Hostile = (Format, fn(&mut Vec<u8>), &'static str);

fn put(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

/// The sections of the extension follow after 8 bytes, 16 bytes each.
fn put_in_extension(file: &mut [u8], at: usize, value: u32) {
    let extension = word(file, 32) as usize;
    put(file, extension + at, value);
}

const HOSTILE: &[Hostile] = &[
    (Format::New, |file| file.clear(), "it is no cache of ldconfig"),
    (Format::New, |file| file.truncate(19), "it is no cache of ldconfig"),
    (Format::New, |file| file[17] = b'2', "it is no cache of ldconfig"),
    (Format::New, |file| file.truncate(47), "it ends before its headers do"),
    (Format::New, |file| file.truncate(48), "it ends before its entries do"),
    (Format::New, |file| put(file, 20, u32::MAX), "it ends before its entries do"),
    (Format::New, |file| file[28] = 1, "it is for machines of another byte order"),
    (Format::New, |file| file[28] = 5 - ORDER_OWN, "it is for machines of another byte order"),
    (
        Format::New,
        |file| put(file, 52, u32::MAX),
        "there is no name of a library at its byte 4294967295",
    ),
    (
        Format::New,
        |file| put(file, 56, u32::MAX),
        "there is no path of a library at its byte 4294967295",
    ),
    (
        Format::New,
        |file| {
            let end = file.len() as u32;
            put(file, 56, end);
            file.extend_from_slice(b"/lib/without/an/end");
        },
        "there is no path of a library at its byte",
    ),
    (
        Format::New,
        |file| {
            let end = file.len() as u32;
            put(file, 52, end);
            file.resize(file.len() + 10_000, b'x');
            file.push(0);
        },
        "there is no name of a library at its byte",
    ),
    (Format::New, |file| put(file, 32, u32::MAX), "its extension is damaged"),
    (Format::New, |file| file[32] ^= 1, "its extension is damaged"),
    (Format::New, |file| put(file, 32, 48), "its extension is damaged"),
    (Format::New, |file| put_in_extension(file, 4, u32::MAX), "its extension is damaged"),
    (Format::New, |file| put_in_extension(file, 4, 257), "its extension is damaged"),
    (Format::New, |file| put_in_extension(file, 20, u32::MAX), "its extension is damaged"),
    (Format::New, |file| put_in_extension(file, 32, u32::MAX), "its extension is damaged"),
    (Format::New, |file| put_in_extension(file, 36, 6), "its extension is damaged"),
    (
        Format::New,
        |file| put_in_extension(file, 56, u32::MAX),
        "there is no name of glibc-hwcaps at its byte 4294967295",
    ),
    (Format::Old, |file| file.truncate(11), "it is no cache of ldconfig"),
    (Format::Old, |file| file.truncate(13), "it ends before its entries do"),
    (Format::Old, |file| put(file, 12, u32::MAX), "it ends before its entries do"),
    (Format::Old, |file| put(file, 20, u32::MAX), "there is no name of a library at its byte"),
    (Format::Old, |file| put(file, 24, 1 << 20), "there is no path of a library at its byte"),
    (Format::Compat, |file| put(file, 16 + 12 * 8 + 20, 1 << 28), "it ends before its entries do"),
    (Format::Compat, |file| file.truncate(16 + 12 * 8 + 30), "it ends before its headers do"),
];

#[test]
fn hostile_caches_are_refused_with_a_reason() {
    for (index, (format, damage, said)) in HOSTILE.iter().enumerate() {
        let hwcaps = if *format == Format::New { &HWCAPS[..] } else { &[] };
        let mut file = write(*format, LIBRARIES, hwcaps);
        damage(&mut file);
        let flaw = Cache::parse(&file).expect_err("is refused").to_string();
        assert!(flaw.starts_with(said), "hostile cache {index}: {flaw}");
    }
    assert_eq!(Cache::parse(&vec![0; SIZE_LIMIT + 1]).err(), Some(Flaw::TooLarge));
}

#[test]
fn strings_that_are_shared_are_not_multiplied() {
    // 2000 entries whose names and paths are one string of 4000 bytes: 16 MB, if copied.
    let path = format!("/{}", "x".repeat(4000));
    let mut file = b"glibc-ld.so.cache1.1".to_vec();
    let (count, strings) = (2000, 48 + 24 * 2000);
    push(&mut file, &[count, 0, 0, 0, 0, 0, 0]);
    for _ in 0..count {
        push(&mut file, &[0x303, strings, strings, 0, 0, 0]);
    }
    file.extend_from_slice(path.as_bytes());
    file.push(0);
    let cache = Cache::parse(&file).unwrap();
    assert!(extended(Some(&cache), &OURS).len() < file.len() + 1000);
}

/// Libraries with names that are often the same, or the same to the loader.
fn libraries() -> impl Strategy<Value = Vec<Library>> {
    const NAMES: [&str; 8] =
        ["liba.so.1", "liba.so.01", "liba.so.10", "libb.so", "libb.so.2", "lib\u{e9}.so", "", "l9"];
    let hwcap = prop_oneof![Just(0), Just(1 << 62), Just(1 << 62 | 1), Just(1 << 63), Just(77)];
    let flags = prop_oneof![Just(0x303), Just(3), any::<i32>()];
    let paths = prop_oneof![Just("/lib/a"), Just("/lib/b"), Just("")];
    vec((flags, proptest::sample::select(&NAMES[..]), paths, hwcap), 0..20).prop_map(|mut all| {
        all.sort_by(|left, right| compare(right.1.as_bytes(), left.1.as_bytes()));
        all
    })
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Old), Just(Format::New), Just(Format::Compat)]
}

proptest! {
    #[test]
    fn extended_is_ours_then_theirs(
        theirs in libraries(),
        ours in libraries(),
        format in any_format(),
        times in 1..3,
    ) {
        let hwcaps = if format == Format::New { &HWCAPS[..] } else { &[] };
        let file = write(format, &theirs, hwcaps);
        let image = Cache::parse(&file).unwrap();
        let ours: Vec<Entry> = ours.iter().map(|ours| Entry { hwcap: 0, ..entry(ours) }).collect();
        let own = ours.iter().map(|entry| {
            OwnEntry { flags: entry.flags, name: entry.name, path: entry.path }
        });
        let own: Vec<OwnEntry> = own.collect();
        let mut written = extended(Some(&image), &own);
        let mut expected = ours.clone();
        expected.extend(image.entries());
        for _ in 1..times {
            written = extended(Some(&Cache::parse(&written).unwrap()), &own);
            expected.splice(0..0, ours.iter().copied());
        }
        expected.sort_by(|left, right| compare(right.name, left.name));
        let cache = Cache::parse(&written).unwrap();
        prop_assert_eq!(cache.entries(), expected.as_slice());
        prop_assert_eq!(&cache.hwcaps, &image.hwcaps);
        prop_assert_eq!(cache.format, Format::New);
        prop_assert!(cache.generator.is_some());
    }

    #[test]
    fn the_order_is_total(names in vec("[a0-9.\u{e9}]{0,6}", 3)) {
        let order = |left: usize, right: usize| {
            compare(names[left].as_bytes(), names[right].as_bytes())
        };
        prop_assert_eq!(order(0, 1), order(1, 0).reverse());
        if order(0, 1) == order(1, 2) {
            prop_assert_eq!(order(0, 2), order(0, 1));
        }
    }

    #[test]
    fn any_bytes_are_a_cache_or_not(bytes: Vec<u8>, format in any_format(), keep in 12usize..200) {
        let _ = Cache::parse(&bytes);
        let mut file = write(format, LIBRARIES, &[]);
        file.truncate(keep);
        file.extend_from_slice(&bytes);
        if let Ok(cache) = Cache::parse(&file) {
            let written = extended(Some(&cache), &OURS);
            prop_assert_eq!(Cache::parse(&written).unwrap().entries().len(), cache.entries().len() + 4);
        }
    }
}

#[test]
fn no_damage_makes_the_parser_or_the_writer_panic() {
    let files = [
        write(Format::Old, LIBRARIES, &[]),
        write(Format::New, LIBRARIES, &HWCAPS),
        write(Format::Compat, LIBRARIES, &[]),
    ];
    let (mut state, mut refused) = (0x9e37_79b9_7f4a_7c15u64, 0);
    // Xorshift: the same numbers in every run.
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    const CASES: usize = if cfg!(debug_assertions) { 50_000 } else { 3_000_000 };
    for case in 0..CASES {
        let mut file = files[case % files.len()].clone();
        for _ in 0..=below(3) {
            let at = below(file.len());
            file[at] = [0, 1, 0x7f, 0x80, 0xff, file[at] ^ 4][below(6)];
        }
        if case % 8 == 0 {
            file.truncate(below(file.len()));
        }
        match Cache::parse(&file) {
            Ok(cache) => {
                let written = extended(Some(&cache), &OURS);
                let count = Cache::parse(&written).unwrap().entries().len();
                assert_eq!(count, cache.entries().len() + OURS.len());
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > CASES / 10 && refused < CASES * 9 / 10, "{refused}");
}
