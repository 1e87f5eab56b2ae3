//! Looks at the world and returns plain data: host, kernel, image, program.
//!
//! These modules only read. They never decide what a fact means for the container.
#![allow(clippy::disallowed_methods, reason = "this is where the host is read")]

pub mod cgroup;
pub mod containers;
pub mod contents;
pub mod cpus;
pub mod directory;
pub mod facts;
pub mod files;
pub mod filesystem;
pub mod host;
pub mod image;
pub mod kernel;
pub mod magic;
pub mod metadata;
pub mod packed;
pub mod program;
pub mod remedy;
mod scripts;
pub mod sif;
pub mod stored;
