//! ELF files: what is read of one stands in it, in a few small reads, and what follows its end
//! changes nothing.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use runtime::elf::{Abi, Flaw, NeededVersion, Object, SearchPath, Source};
use runtime::sys;

/// No read may be larger, whatever a file says of itself.
const READ_LIMIT: usize = 4 << 20;

/// How many strings of a kind are looked for in the file.
const LOOKED_FOR: usize = 64;

/// A file that is watched while it is read.
struct Watched<'a>(&'a [u8]);

impl Source for Watched<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        assert!(buffer.len() <= READ_LIMIT, "a read of {} bytes", buffer.len());
        self.0.read_at(offset, buffer)
    }
}

/// All that can be read of a file.
#[derive(Debug, PartialEq)]
struct Everything {
    abi: Abi,
    is_shared: bool,
    interpreter: Option<OsString>,
    soname: Option<OsString>,
    needed: Result<Vec<OsString>, Flaw>,
    search_path: Result<Option<SearchPath>, Flaw>,
    needed_versions: Result<Vec<NeededVersion>, Flaw>,
    defined_versions: Result<Vec<OsString>, Flaw>,
    symbols: Result<Vec<OsString>, Flaw>,
    forward_compatibility: Result<Option<Vec<u8>>, Flaw>,
}

impl Everything {
    fn of(file: &[u8]) -> Result<Self, Flaw> {
        let source = Watched(file);
        let object = Object::read(&source)?;
        Ok(Everything {
            abi: object.abi,
            is_shared: object.is_shared,
            interpreter: object.interpreter.clone(),
            soname: object.soname.clone(),
            needed: object.needed(),
            search_path: object.search_path(),
            needed_versions: object.needed_versions(),
            defined_versions: object.defined_versions(),
            symbols: object.symbols().map(|symbols| {
                let name = |name: &[u8]| OsStr::from_bytes(name).to_owned();
                let mut names: Vec<OsString> = symbols.wanted().map(name).collect();
                names.extend(symbols.defined().map(name));
                names
            }),
            forward_compatibility: object.forward_compatibility(),
        })
    }

    fn strings(&self) -> impl Iterator<Item = &OsStr> {
        let needed = self.needed.iter().flatten().take(LOOKED_FOR);
        let defined = self.defined_versions.iter().flatten().take(LOOKED_FOR);
        let versions = self.needed_versions.iter().flatten().take(LOOKED_FOR);
        let versions = versions.flat_map(|needed| [&needed.file, &needed.version]);
        let path = self.search_path.iter().flatten().map(|path| match path {
            SearchPath::First(path) | SearchPath::Second(path) => path,
        });
        let symbols = self.symbols.iter().flatten().take(LOOKED_FOR);
        let single = self.interpreter.iter().chain(&self.soname).chain(path);
        single.chain(needed).chain(defined).chain(versions).chain(symbols).map(OsString::as_os_str)
    }

    fn is_sound(&self) -> bool {
        self.needed.is_ok()
            && self.search_path.is_ok()
            && self.needed_versions.is_ok()
            && self.defined_versions.is_ok()
            && self.symbols.is_ok()
            && self.forward_compatibility.is_ok()
    }
}

fuzz_target!(|file: &[u8]| {
    let read = match Everything::of(file) {
        Ok(read) => read,
        Err(flaw) => return assert!(!flaw.to_string().is_empty()),
    };
    for string in read.strings() {
        let ended = [string.as_bytes(), b"\0"].concat();
        assert!(sys::find(file, &ended).is_some(), "{string:?} is not in the file");
    }
    if let Ok(Some(json)) = &read.forward_compatibility {
        assert!(json.starts_with(b"{") && sys::find(file, json).is_some());
    }

    let start = Object::read_start(&file).expect("the kernel reads less than a loader");
    assert_eq!((start.abi, start.is_shared), (read.abi, read.is_shared));
    assert_eq!((&start.interpreter, start.soname), (&read.interpreter, None));

    // Longer than the piece that is read first, so that all else is read from the file.
    let longer = [file, &[0xa5; 8 << 10]].concat();
    match Everything::of(&longer) {
        Ok(longer) if read.is_sound() => assert_eq!(longer, read),
        Ok(_) => {}
        Err(flaw) => panic!("{flaw}, with more bytes behind the end"),
    }
});
