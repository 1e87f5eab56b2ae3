//! Specs as vendors write them, and as nobody should.

mod hostile;
mod merge;
mod random;
mod registry;
mod tree;

use std::path::PathBuf;

use self::tree::Tree;
use super::*;
use crate::error::Error;

const NVIDIA: &str = include_str!("testdata/nvidia.yaml");
const AMD: &str = include_str!("testdata/amd.json");
const INTEL: &str = include_str!("testdata/intel.yaml");

fn directories() -> Vec<PathBuf> {
    DIRECTORIES.map(PathBuf::from).to_vec()
}

fn name(text: &str) -> QualifiedName {
    QualifiedName::parse(text).unwrap()
}

/// A host with the specs of three vendors, `/var/run` a link as everywhere.
fn host() -> Tree {
    Tree::new()
        .link("/var/run", "/run")
        .file("/run/cdi/nvidia.yaml", NVIDIA)
        .file("/etc/cdi/amd.json", AMD)
        .file("/etc/cdi/intel.yml", INTEL)
        .file("/etc/cdi/README", "not a spec")
}

fn edits(tree: &Tree, asked: &[&str]) -> CdiEdits {
    let registry = Registry::read(tree, &directories());
    let asked: Vec<_> = asked.iter().map(|asked| name(asked)).collect();
    CdiEdits::of(&registry.resolve(&asked).unwrap())
}

fn refused(tree: &Tree, asked: &str) -> Error {
    Registry::read(tree, &directories()).resolve(&[name(asked)]).unwrap_err()
}

/// The edits of device `v.com/c=d`, whose edits are given as YAML in one line.
fn edits_of(device: &str) -> CdiEdits {
    let spec = format!(
        "{{cdiVersion: 1.1.0, kind: v.com/c, devices: [{{name: d, containerEdits: {device}}}]}}"
    );
    edits(&Tree::new().file("/etc/cdi/v.yaml", &spec), &["v.com/c=d"])
}

/// What is wrong with a spec in YAML.
fn fault(spec: &str) -> String {
    Spec::parse(spec.as_bytes(), Format::Yaml).unwrap_err()
}
