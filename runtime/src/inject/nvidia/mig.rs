//! The parts of GPUs that are divided (MIG), and the nodes that give access to them.
//!
//! A MIG device is a compute instance within a GPU instance. Who may open the nodes
//! `/dev/nvidia-caps/nvidia-capN` of both, and that of the GPU, may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::gpus::{decimal, field, read};
use crate::look::directory::DirectoryTree;

/// The numbers of all parts there could be.
const NUMBERS: &str = "/proc/driver/nvidia-caps/mig-minors";

/// The parts there are.
const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";

/// 32 GPUs of 15 instances of 8 make a list of 110 KiB.
const SIZE_LIMIT: usize = 256 << 10;

/// A part of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The number of the GPU's node.
    pub gpu: u32,
    /// The number of the GPU instance.
    pub instance: u32,
    /// The number of the compute instance in it; without, the GPU instance as a whole.
    pub compute: Option<u32>,
}

/// The numbers of the nodes that give access to parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes(BTreeMap<Part, u32>);

impl Nodes {
    /// Looks for the nodes of some GPUs, which are named by the numbers of their own nodes.
    ///
    /// What a part itself says comes before the list.
    pub fn look(files: &DirectoryTree, gpus: &[u32]) -> Self {
        let mut nodes = BTreeMap::new();
        for gpu in gpus {
            for part in parts(files, *gpu) {
                if let Some(number) = number(files, part) {
                    nodes.insert(part, number);
                }
            }
        }
        let list = read(files, Path::new(NUMBERS), SIZE_LIMIT).unwrap_or_default();
        for (part, number) in parse_numbers(&list) {
            nodes.entry(part).or_insert(number);
        }
        Nodes(nodes)
    }

    /// All nodes that belong to a GPU, whether the parts exist now or not.
    pub fn of_gpu(&self, gpu: u32) -> BTreeSet<u32> {
        let own = self.0.iter().filter(|(part, _)| part.gpu == gpu);
        own.map(|(_, number)| *number).collect()
    }

    /// The two nodes of a MIG device: that of the GPU instance, that of the compute instance.
    pub fn of_device(&self, gpu: u32, instance: u32, compute: u32) -> Option<[u32; 2]> {
        let number = |compute| self.0.get(&Part { gpu, instance, compute }).copied();
        Some([number(None)?, number(Some(compute))?])
    }
}

/// The node with a number.
pub fn node(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/nvidia-caps/nvidia-cap{number}"))
}

/// The parts of a GPU there are now.
fn parts(files: &DirectoryTree, gpu: u32) -> Vec<Part> {
    let directory = Path::new(CAPABILITIES).join(format!("gpu{gpu}/mig"));
    let mut parts = Vec::new();
    for (name, instance) in numbered(files, &directory, "gi") {
        parts.push(Part { gpu, instance, compute: None });
        let computes = numbered(files, &directory.join(name), "ci");
        parts.extend(computes.into_iter().map(|(_, compute)| Part {
            gpu,
            instance,
            compute: Some(compute),
        }));
    }
    parts
}

/// The names in a directory that are a word and a number.
fn numbered(files: &DirectoryTree, directory: &Path, word: &str) -> Vec<(String, u32)> {
    let names = files.names(directory, &|name| name.starts_with(word.as_bytes()));
    let names = names.unwrap_or_default();
    let numbered = |name: &OsStr| {
        let name = name.to_str()?;
        Some((name.to_owned(), number_after(name, word)?))
    };
    names.iter().filter_map(|name| numbered(name)).collect()
}

/// The number of the node of a part, by the part's own file.
fn number(files: &DirectoryTree, part: Part) -> Option<u32> {
    let Part { gpu, instance, compute } = part;
    let compute = compute.map(|compute| format!("/ci{compute}")).unwrap_or_default();
    let path = format!("{CAPABILITIES}/gpu{gpu}/mig/gi{instance}{compute}/access");
    parse_access(&read(files, Path::new(&path), SIZE_LIMIT)?)
}

/// The number in the file of a part: `DeviceFileMinor: 12`.
pub fn parse_access(text: &[u8]) -> Option<u32> {
    field(&String::from_utf8_lossy(text), "DeviceFileMinor").and_then(decimal)
}

/// The parts in the list of numbers, whose lines are `gpu0/gi1/ci0/access 13`.
pub fn parse_numbers(text: &[u8]) -> Vec<(Part, u32)> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(Part, u32)> {
    let mut words = line.split_whitespace();
    let (path, number, None) = (words.next()?, words.next()?, words.next()) else { return None };
    let names: Vec<&str> = path.split('/').collect();
    let (gpu, instance, compute) = match names.as_slice() {
        [gpu, instance, "access"] => (gpu, instance, None),
        [gpu, instance, compute, "access"] => (gpu, instance, Some(number_after(compute, "ci")?)),
        _ => return None,
    };
    let (gpu, instance) = (number_after(gpu, "gpu")?, number_after(instance, "gi")?);
    Some((Part { gpu, instance, compute }, decimal(number)?))
}

/// The number in `gi12`.
fn number_after(name: &str, word: &str) -> Option<u32> {
    decimal(name.strip_prefix(word)?)
}

#[cfg(test)]
mod tests;
