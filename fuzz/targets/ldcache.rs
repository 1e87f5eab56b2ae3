//! Loader caches: one that is written for an image has all of the image's entries and ours, in the
//! order in which the loader searches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::elf::Abi;
use runtime::ldcache::{Cache, Entry, Format, OwnEntry, compare, extended, flags_of};

const STRING_LIMIT: usize = 4 << 10;

fn check_entries(cache: &Cache) {
    for entry in cache.entries() {
        for string in [entry.name, entry.path] {
            assert!(!string.contains(&0) && string.len() < STRING_LIMIT);
        }
        if let Some(name) = cache.hwcap_name(entry) {
            assert!(cache.hwcaps.contains(&name) && entry.hwcap >> 62 & 1 == 1);
        }
    }
}

/// What the loader must find: ours before the image's of the same name, all in descending order.
fn expected<'a>(image: &Cache<'a>, ours: &[OwnEntry<'a>]) -> Vec<Entry<'a>> {
    let own = |own: &OwnEntry<'a>| {
        let OwnEntry { flags, name, path } = *own;
        Entry { flags, name, path, os_version: 0, hwcap: 0 }
    };
    let mut entries: Vec<Entry> = ours.iter().map(own).collect();
    entries.extend_from_slice(image.entries());
    entries.sort_by(|left, right| compare(right.name, left.name));
    entries
}

fuzz_target!(|file: &[u8]| {
    let cache = match Cache::parse(file) {
        Ok(cache) => cache,
        Err(flaw) => return assert!(!flaw.to_string().is_empty()),
    };
    check_entries(&cache);

    let flags = flags_of(Abi::NATIVE, Some(&cache)).expect("the machine's own ABI is known");
    let mut ours = vec![
        OwnEntry { flags, name: b"libcuda.so.1", path: b"/.hrun/lib64/libcuda.so.1" },
        OwnEntry { flags: 0x003, name: b"libcuda.so.1", path: b"/.hrun/lib32/libcuda.so.1" },
    ];
    // Names of the image's, as a driver in the image has them.
    let names = cache.entries().iter().step_by(3).take(4);
    ours.extend(names.map(|entry| OwnEntry { flags, name: entry.name, path: b"/.hrun/ours" }));

    let written = extended(Some(&cache), &ours);
    let again = Cache::parse(&written).expect("the loader takes what hrun wrote");
    check_entries(&again);
    assert_eq!(again.entries(), expected(&cache, &ours));
    assert_eq!((again.format, &again.hwcaps), (Format::New, &cache.hwcaps));
    assert!(again.generator.is_some_and(|generator| generator.starts_with(b"hrun ")));

    let nothing_new = extended(Some(&again), &[]);
    let nothing_new = Cache::parse(&nothing_new).expect("the loader takes what hrun wrote");
    assert_eq!(nothing_new.entries(), again.entries());
    assert_eq!(nothing_new.hwcaps, again.hwcaps);
});
