//! Looks at the host, the kernel and the image, decides a plan, and applies it.
//!
//! The modules fall into three kinds that never mix (docs/ARCHITECTURE.md):
//!
//! * **look** reads the world and returns plain data: [`look`];
//! * **decide** is pure: [`options`], [`request`], [`cpus`], [`decide`], [`inject`], [`cdi`], [`ids`],
//!   [`capabilities`], [`seccomp`], [`plan`], [`envfile`], [`passwd`], [`elf`], [`ldcache`],
//!   [`linkage`], [`reference`], [`hints`], [`error`];
//! * **do** makes system calls and decides nothing: [`apply`] over [`sys`].

pub mod apply;
pub mod capabilities;
pub mod cdi;
pub mod cpus;
pub mod decide;
pub mod edits;
pub mod elf;
pub mod envfile;
pub mod error;
pub mod hints;
pub mod ids;
pub mod imageconfig;
pub mod inject;
pub mod ldcache;
pub mod linkage;
pub mod look;
pub mod options;
pub mod origin;
pub mod passwd;
pub mod paths;
pub mod plan;
pub mod ranks;
pub mod reference;
pub mod request;
pub mod seccomp;
pub mod spelling;
pub mod sys;
pub mod text;
pub mod variables;

pub use error::{Error, Result};
