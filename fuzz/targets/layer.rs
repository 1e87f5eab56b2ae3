//! Layers: whatever an archive says, nothing outside of its root directory changes, its owner can
//! read and remove what was made, and what was unpacked can be packed and unpacked again.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use images::unpack::{self, Form, Limits, Report};
use libfuzzer_sys::fuzz_target;

/// Small enough to write often.
const LIMITS: Limits = Limits { entries: 200, bytes: 1 << 20 };

thread_local! {
    static PLACE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// A directory with a root directory and one outside of it, in memory.
fn place() -> PathBuf {
    PLACE.with_borrow_mut(|place| {
        let make = || {
            let place = PathBuf::from(format!("/dev/shm/hrun-fuzz-layer-{}", std::process::id()));
            let _ = fs::remove_dir_all(&place);
            fs::create_dir_all(place.join("outside/directory")).expect("there is room");
            fs::write(place.join("outside/file"), "nobody's").expect("there is room");
            place
        };
        place.get_or_insert_with(make).clone()
    })
}

/// What would be different if anything were changed.
fn outside(place: &Path) -> Vec<(PathBuf, i64, i64, u64)> {
    let names = ["", "outside", "outside/file", "outside/directory"];
    let facts = names.map(|name| {
        let at = place.join(name).symlink_metadata().expect("it is still there");
        let links = if at.is_dir() { 0 } else { at.nlink() };
        // The place itself has the root directory made and removed in it.
        let changed = if name.is_empty() { (0, 0) } else { (at.ctime(), at.ctime_nsec()) };
        (place.join(name), changed.0, changed.1, links)
    });
    facts.to_vec()
}

fn check(directory: &Path) {
    for entry in fs::read_dir(directory).expect("its owner can list it") {
        let entry = entry.expect("it can be read");
        let at = entry.metadata().expect("it is there");
        if at.is_dir() {
            assert_eq!(at.mode() & 0o700, 0o700);
            check(&entry.path());
        } else if at.is_file() {
            assert_eq!(at.mode() & 0o6400, 0o400);
        } else {
            assert!(at.is_symlink());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let place = place();
    let root = place.join("root");
    fs::create_dir(&root).expect("there is room");
    // Where links of the seeds lead.
    symlink(place.join("outside"), root.join("out")).expect("there is room");
    let before = outside(&place);
    for form in [Form::Layer, Form::Plain] {
        let mut report = Report::within(LIMITS);
        let done = unpack::archive(&mut &bytes[..], form, &root, &mut report);
        let done = done.and_then(|()| unpack::finish(&root, &mut report));
        if let Err(error) = &done {
            assert!(!error.to_string().is_empty());
        }
        assert!(report.bytes <= LIMITS.bytes);
        assert_eq!(outside(&place), before);
        check(&root);
    }
    fs::remove_dir_all(&root).expect("its owner can remove it");
    let names: Vec<_> = fs::read_dir(&place).expect("it is there").collect();
    assert_eq!(names.len(), 1, "{names:?}");
});
