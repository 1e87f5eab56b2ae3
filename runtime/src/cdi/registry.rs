//! The specs of a host, and the devices they describe.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::names::QualifiedName;
use super::spec::{Device, Format, Spec};
use crate::error::{Error, Result};
use crate::look::files::{self, Files, Kind};
use crate::plan::Note;
use crate::text::nearest;

/// Where specs are kept: those of the administrator, and over them those written at each start of
/// the machine.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// How many names an error lists.
const MAX_LISTED: usize = 16;

/// The specs of a host.
#[derive(Debug)]
pub struct Registry {
    directories: Vec<PathBuf>,
    specs: Vec<(PathBuf, Spec)>,
    /// Where each device is described: in one place, or in several of equal priority, and then it
    /// cannot be used.
    devices: BTreeMap<QualifiedName, Places>,
    /// Files and directories that cannot be used, and why.
    broken: Vec<(PathBuf, String)>,
}

/// Where a device is described.
#[derive(Debug)]
struct Places {
    /// The index of the directory; a higher one wins.
    priority: usize,
    /// Indices of the spec and of the device in it; never empty.
    places: Vec<(usize, usize)>,
}

/// The devices that were asked for, in that order, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved<'a> {
    /// The devices.
    pub devices: Vec<Found<'a>>,
}

/// A device that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// The file that describes it.
    pub file: &'a Path,
    /// The whole of that file.
    pub spec: &'a Spec,
    /// The device.
    pub device: &'a Device,
}

impl Registry {
    /// Reads the specs in some directories of the host, the last of which has the say.
    ///
    /// What cannot be read is remembered, for [`Registry::notes`] and for the error about a device
    /// that is not found. A directory that does not exist has no specs.
    pub fn read(files: &dyn Files, directories: &[PathBuf]) -> Self {
        let mut registry = Registry {
            directories: directories.to_vec(),
            specs: Vec::new(),
            devices: BTreeMap::new(),
            broken: Vec::new(),
        };
        // Two names of one directory, /run/cdi and /var/run/cdi, are not two sets of specs.
        let mut found: Vec<(&Path, PathBuf)> = Vec::new();
        for named in directories {
            let reason = match files::find(files, named) {
                Ok(None) => continue,
                Ok(Some((path, Kind::Directory))) => {
                    found.retain(|(_, other)| *other != path);
                    found.push((named, path));
                    continue;
                }
                Ok(Some(_)) => "it is not a directory".to_owned(),
                Err(errno) => errno.desc().to_owned(),
            };
            registry.broken.push((named.clone(), reason));
        }
        for (priority, (named, path)) in found.iter().enumerate() {
            registry.read_directory(files, priority, named, path);
        }
        registry
    }

    fn read_directory(&mut self, files: &dyn Files, priority: usize, named: &Path, path: &Path) {
        let entries = match files.list(path) {
            Ok(entries) => entries,
            Err(errno) => return self.broken.push((named.into(), errno.desc().to_owned())),
        };
        for (name, kind) in entries {
            let Some(format) = Format::of(Path::new(&name)) else { continue };
            if kind == Kind::Directory {
                continue;
            }
            let file = named.join(&name);
            let read = match files::read(files, &path.join(&name)) {
                Ok(Some(contents)) => Spec::parse(&contents, format),
                Ok(None) => Err("its symbolic link leads nowhere".to_owned()),
                Err(errno) => Err(errno.desc().to_owned()),
            };
            match read {
                Ok(spec) => self.add(priority, file, spec),
                Err(reason) => self.broken.push((file, one_line(&reason))),
            }
        }
    }

    fn add(&mut self, priority: usize, file: PathBuf, spec: Spec) {
        for (index, device) in spec.devices.iter().enumerate() {
            // Spec::parse has looked at the names.
            let Ok(name) = QualifiedName::new(&spec.kind, &device.name) else { continue };
            let places =
                self.devices.entry(name).or_insert_with(|| Places { priority, places: Vec::new() });
            if places.priority != priority {
                *places = Places { priority, places: Vec::new() };
            }
            places.places.push((self.specs.len(), index));
        }
        self.specs.push((file, spec));
    }

    /// The names of all devices, sorted, those in conflict included.
    pub fn names(&self) -> impl Iterator<Item = &QualifiedName> {
        self.devices.keys()
    }

    /// What is wrong with the specs: files that cannot be used, devices that are described twice.
    pub fn notes(&self) -> Vec<Note> {
        let broken = self.broken.iter().map(|(path, reason)| passed_over(path, reason));
        let conflicts = self.devices.iter().filter(|(_, places)| places.places.len() > 1);
        let conflicts = conflicts.map(|(name, places)| {
            format!("device {name} cannot be used: it is in {}", self.files(places))
        });
        broken.chain(conflicts).map(Note::info).collect()
    }

    /// Finds devices.
    ///
    /// # Errors
    ///
    /// Fails for a device that no usable spec describes, with what there is instead and why specs
    /// were passed over, and for one that two specs of equal priority describe.
    pub fn resolve(&self, asked: &[QualifiedName]) -> Result<Resolved<'_>> {
        let mut devices: Vec<Found<'_>> = Vec::new();
        let mut seen: Vec<&QualifiedName> = Vec::new();
        for name in asked {
            let found = self.find(name)?;
            if !seen.contains(&name) {
                seen.push(name);
                devices.push(found);
            }
        }
        Ok(Resolved { devices })
    }

    fn find(&self, name: &QualifiedName) -> Result<Found<'_>> {
        let Some(places) = self.devices.get(name) else { return Err(self.unknown(name)) };
        match places.places[..] {
            [(spec, device)] => {
                let (file, spec) = &self.specs[spec];
                Ok(Found { file, spec, device: &spec.devices[device] })
            }
            _ => {
                let reason = format!("it is described twice, in {}", self.files(places));
                let hint = "one of the files must go, or move to a directory of higher priority";
                Err(Error::new(attempt(name), reason).hint(hint))
            }
        }
    }

    /// Words the error about a device that no spec describes.
    fn unknown(&self, name: &QualifiedName) -> Error {
        let siblings: Vec<&str> = self.siblings(name.kind()).collect();
        let mut kinds: Vec<&str> = self.names().map(QualifiedName::kind).collect();
        kinds.dedup();
        let reason = if !siblings.is_empty() {
            format!("there is no such device; of {} there are {}", name.kind(), list(&siblings))
        } else if !kinds.is_empty() {
            format!("there are no devices of {}; there are some of {}", name.kind(), list(&kinds))
        } else {
            "no devices are described on this host".to_owned()
        };
        let mut hints = Vec::new();
        if siblings.is_empty() {
            let kind = nearest(name.kind(), kinds.into_iter());
            if let Some(kind) = kind.filter(|kind| self.siblings(kind).any(|d| d == name.device()))
            {
                hints.push(format!("did you mean {kind}={}?", name.device()));
            }
        } else if let Some(device) = nearest(name.device(), siblings.into_iter()) {
            hints.push(format!("did you mean {}={device}?", name.kind()));
        }
        let directories: Vec<_> = self.directories.iter().map(|path| path.display()).collect();
        hints.push(format!("descriptions of devices (CDI) are read from {}", list(&directories)));
        hints.extend(self.broken.iter().map(|(path, reason)| passed_over(path, reason)));
        Error::new(attempt(name), reason).hint(hints.join("\n"))
    }

    /// The names of the devices of a kind.
    fn siblings(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.names().filter(move |name| name.kind() == kind).map(QualifiedName::device)
    }

    fn files(&self, places: &Places) -> String {
        let files: Vec<_> =
            places.places.iter().map(|(spec, _)| self.specs[*spec].0.display()).collect();
        list(&files)
    }
}

fn attempt(name: &QualifiedName) -> String {
    format!("find the device {name}")
}

fn passed_over(path: &Path, reason: &str) -> String {
    format!("{} was passed over: {reason}", path.display())
}

/// Words of a parser as part of a sentence.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(items: &[impl Display]) -> String {
    let mut text: Vec<String> = items.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if items.len() > MAX_LISTED {
        text.push(format!("{} more", items.len() - MAX_LISTED));
    }
    text.join(", ")
}
