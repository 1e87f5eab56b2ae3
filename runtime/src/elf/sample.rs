//! Small ELF files made for tests, whose parts stand at known places.

use super::{Abi, Class, Order};

/// What a file is to hold.
#[derive(Clone)]
pub struct Recipe {
    pub abi: Abi,
    pub kind: u16,
    pub interpreter: Option<&'static str>,
    pub soname: Option<&'static str>,
    pub needed: Vec<&'static str>,
    /// `DT_RPATH` and `DT_RUNPATH`, by their tags.
    pub search_paths: Vec<(u64, &'static str)>,
    /// A library, and versions of it, which are weak or not.
    pub needed_versions: Vec<(&'static str, Vec<(&'static str, bool)>)>,
    /// The first one is the base.
    pub defined_versions: Vec<&'static str>,
    /// The owner and the text of a note.
    pub note: Option<(&'static str, &'static str)>,
    /// The note is found by a section, not by a segment.
    pub note_has_section: bool,
    /// Bytes between the headers and the rest.
    pub gap: usize,
}

/// A file, and where its parts are.
pub struct Sample {
    pub abi: Abi,
    pub bytes: Vec<u8>,
    pub headers: usize,
    pub dynamic: usize,
    pub strings: usize,
    pub needed_versions: usize,
    pub defined_versions: usize,
    pub note: usize,
    pub sections: usize,
}

pub const X86_64: Abi = Abi { class: Class::Elf64, order: Order::Little, machine: 62 };
pub const ABIS: [Abi; 4] = [
    X86_64,
    Abi { class: Class::Elf32, order: Order::Little, machine: 3 },
    Abi { class: Class::Elf64, order: Order::Big, machine: 22 },
    Abi { class: Class::Elf32, order: Order::Big, machine: 20 },
];

/// Where files are loaded: addresses are not offsets.
pub const BASE: u64 = 0x40_0000;

/// A library with one of everything.
pub fn library(abi: Abi) -> Recipe {
    Recipe {
        abi,
        kind: 3,
        interpreter: None,
        soname: Some("libcuda.so.1"),
        needed: vec!["libm.so.6", "libc.so.6"],
        search_paths: vec![(29, "$ORIGIN/../lib:/opt/lib")],
        needed_versions: vec![
            ("libm.so.6", vec![("GLIBC_2.29", false)]),
            ("libc.so.6", vec![("GLIBC_2.34", false), ("GLIBC_ABI_DT_RELR", true)]),
        ],
        defined_versions: vec!["libcuda.so.1", "CUDA_1", "CUDA_2"],
        note: Some(("NVIDIA Corporation", r#"{"Driver":[535,550]}"#)),
        note_has_section: false,
        gap: 0,
    }
}

impl Sample {
    /// Overwrites a number of the file's byte order.
    pub fn put(&mut self, at: usize, size: usize, value: u64) -> &mut Self {
        self.bytes[at..at + size].copy_from_slice(&number(self.abi, size, value));
        self
    }

    /// Where a program header is, by its kind.
    pub fn header(&self, kind: u32) -> usize {
        let size = if self.abi.class == Class::Elf64 { 56 } else { 32 };
        let wanted = number(self.abi, 4, kind.into());
        (self.headers..).step_by(size).find(|at| self.bytes[*at..].starts_with(&wanted)).unwrap()
    }

    /// Where the value of an entry of the dynamic section is, by its tag.
    pub fn entry(&self, tag: u64) -> usize {
        let size = self.abi.class.address_size();
        let wanted = number(self.abi, size, tag);
        let mut places = (self.dynamic..).step_by(2 * size);
        places.find(|at| self.bytes[*at..].starts_with(&wanted)).unwrap() + size
    }
}

fn number(abi: Abi, size: usize, value: u64) -> Vec<u8> {
    match abi.order {
        Order::Little => value.to_le_bytes()[..size].to_vec(),
        Order::Big => value.to_be_bytes()[8 - size..].to_vec(),
    }
}

/// The strings so far, and a way to add one.
#[derive(Default)]
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, string: &str) -> u64 {
        if self.0.is_empty() {
            self.0.push(0);
        }
        let at = self.0.len() as u64;
        self.0.extend_from_slice(string.as_bytes());
        self.0.push(0);
        at
    }
}

/// Numbers of different sizes, one after the other.
fn record(abi: Abi, fields: &[(usize, u64)]) -> Vec<u8> {
    fields.iter().flat_map(|(size, value)| number(abi, *size, *value)).collect()
}

impl Recipe {
    pub fn make(&self) -> Sample {
        let abi = self.abi;
        let mut strings = Strings::default();
        let needed_versions = self.make_needed_versions(&mut strings);
        let defined_versions = self.make_defined_versions(&mut strings);
        let mut dynamic: Vec<_> = self.needed.iter().map(|name| (1, strings.add(name))).collect();
        dynamic.extend(self.search_paths.iter().map(|(tag, path)| (*tag, strings.add(path))));
        dynamic.extend(self.soname.map(|soname| (14, strings.add(soname))));
        let size = abi.class.address_size();
        let (header, segment) = if size == 8 { (64, 56) } else { (52, 32) };
        let align = |at: usize| at.next_multiple_of(8);

        let mut at = header + 4 * segment + self.gap;
        let mut place = |size: usize| {
            let start = at;
            at = align(at + size);
            start
        };
        let interpreter = self.interpreter.unwrap_or_default();
        let interpreter_at = place(interpreter.len() + 1);
        let strings_at = place(strings.0.len());
        let needed_at = place(needed_versions.len());
        let defined_at = place(defined_versions.len());
        let address = |at: usize| BASE + at as u64;
        dynamic.extend([(5, address(strings_at)), (10, strings.0.len() as u64)]);
        if !needed_versions.is_empty() {
            dynamic.push((0x6fff_fffe, address(needed_at)));
        }
        if !defined_versions.is_empty() {
            dynamic.push((0x6fff_fffc, address(defined_at)));
        }
        dynamic.push((0, 0));
        let dynamic: Vec<u8> = dynamic
            .iter()
            .flat_map(|(tag, value)| record(abi, &[(size, *tag), (size, *value)]))
            .collect();
        let dynamic_at = place(dynamic.len());
        let note = self.make_note();
        let note_at = place(note.len());
        let names = b"\0.shstrtab\0.note.cuda.fwd_compatibility\0";
        let names_at = place(names.len());
        let sections_at = place(0);
        let sections = self.make_sections((note_at, note.len()), (names_at, names.len()));

        let note_kind = if self.note_has_section { 0 } else { 4 };
        let segments = [
            (1, 0, sections_at),
            (2, dynamic_at, dynamic.len()),
            (if interpreter.is_empty() { 0 } else { 3 }, interpreter_at, interpreter.len() + 1),
            (note_kind, note_at, note.len()),
        ];
        let mut bytes = self.make_header(header, segment, sections_at);
        bytes.extend(segments.iter().flat_map(|segment| self.make_segment(*segment)));
        for (at, part) in [
            (interpreter_at, interpreter.as_bytes()),
            (strings_at, &strings.0),
            (needed_at, &needed_versions),
            (defined_at, &defined_versions),
            (dynamic_at, &dynamic),
            (note_at, &note),
            (names_at, names),
            (sections_at, &sections),
        ] {
            bytes.resize(bytes.len().max(at), 0);
            bytes.extend_from_slice(part);
        }
        Sample {
            abi,
            bytes,
            headers: header,
            dynamic: dynamic_at,
            strings: strings_at,
            needed_versions: needed_at,
            defined_versions: defined_at,
            note: note_at,
            sections: sections_at,
        }
    }

    fn make_header(&self, header: usize, segment: usize, sections: usize) -> Vec<u8> {
        let (abi, size) = (self.abi, self.abi.class.address_size());
        let order = if abi.order == Order::Little { 1 } else { 2 };
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend_from_slice(&[if size == 8 { 2 } else { 1 }, order, 1, 0]);
        bytes.resize(16, 0);
        let (section, count) =
            (if size == 8 { 64 } else { 40 }, 3 * u64::from(self.note_has_section));
        bytes.extend(record(
            abi,
            &[
                (2, self.kind.into()),
                (2, abi.machine.into()),
                (4, 1),
                (size, 0),
                (size, header as u64),
                (size, sections as u64),
                (4, 0),
                (2, header as u64),
                (2, segment as u64),
                (2, 4),
                (2, section),
                (2, count),
                (2, 1),
            ],
        ));
        bytes
    }

    fn make_segment(&self, (kind, at, length): (u64, usize, usize)) -> Vec<u8> {
        let (at, length) = (at as u64, length as u64);
        let address = BASE + at;
        match self.abi.class {
            Class::Elf64 => record(
                self.abi,
                &[
                    (4, kind),
                    (4, 4),
                    (8, at),
                    (8, address),
                    (8, address),
                    (8, length),
                    (8, length),
                    (8, 4),
                ],
            ),
            Class::Elf32 => record(
                self.abi,
                &[
                    (4, kind),
                    (4, at),
                    (4, address),
                    (4, address),
                    (4, length),
                    (4, length),
                    (4, 4),
                    (4, 4),
                ],
            ),
        }
    }

    /// An empty section, the names, and the note.
    fn make_sections(&self, note: (usize, usize), names: (usize, usize)) -> Vec<u8> {
        if !self.note_has_section {
            return Vec::new();
        }
        let size = self.abi.class.address_size();
        let section = |name: u64, kind: u64, (at, length): (usize, usize)| {
            record(
                self.abi,
                &[
                    (4, name),
                    (4, kind),
                    (size, 0),
                    (size, 0),
                    (size, at as u64),
                    (size, length as u64),
                    (4, 0),
                    (4, 0),
                    (size, 4),
                    (size, 0),
                ],
            )
        };
        [section(0, 0, (0, 0)), section(1, 3, names), section(11, 7, note)].concat()
    }

    fn make_needed_versions(&self, strings: &mut Strings) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, (file, versions)) in self.needed_versions.iter().enumerate() {
            let count = versions.len() as u64;
            let next = if index + 1 == self.needed_versions.len() { 0 } else { 16 + 16 * count };
            let fields = [(2, 1), (2, count), (4, strings.add(file)), (4, 16), (4, next)];
            bytes.extend(record(self.abi, &fields));
            for (index, (version, is_weak)) in versions.iter().enumerate() {
                let next = if index + 1 == versions.len() { 0 } else { 16 };
                let (flags, name) = (if *is_weak { 2 } else { 0 }, strings.add(version));
                bytes.extend(record(self.abi, &[(4, 7), (2, flags), (2, 2), (4, name), (4, next)]));
            }
        }
        bytes
    }

    fn make_defined_versions(&self, strings: &mut Strings) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, name) in self.defined_versions.iter().enumerate() {
            let next = if index + 1 == self.defined_versions.len() { 0 } else { 28 };
            let flags = u64::from(index == 0);
            let fields = [
                (2, 1),
                (2, flags),
                (2, index as u64 + 1),
                (2, 1),
                (4, 7),
                (4, 20),
                (4, next),
                (4, strings.add(name)),
                (4, 0),
            ];
            bytes.extend(record(self.abi, &fields));
        }
        bytes
    }

    /// A note of somebody else, then the one that was asked for.
    fn make_note(&self) -> Vec<u8> {
        let Some((owner, text)) = self.note else { return Vec::new() };
        let mut bytes = Vec::new();
        for (owner, text) in [("GNU", "{no}"), (owner, text)] {
            let sizes = [(4, owner.len() as u64 + 1), (4, text.len() as u64), (4, 1)];
            bytes.extend(record(self.abi, &sizes));
            for part in [[owner.as_bytes(), &[0]].concat(), text.as_bytes().to_vec()] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        bytes
    }
}
