//! The Container Device Interface: how vendors describe what their devices need in a container.
//!
//! A host keeps *specs*, JSON or YAML files that list devices and, for each, the edits a container
//! needs (<https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>). A
//! [`Registry`] reads them, finds devices by [`QualifiedName`], and [`CdiEdits`] is all that the
//! devices asked for want, merged, in order, as plain data.
//!
//! Nothing is read before a registry is, and no hook of a spec is ever run: hooks expect the
//! rights of root. Those NVIDIA writes are understood and become data; others become notes.

mod edits;
mod hooks;
mod names;
mod registry;
mod spec;
#[cfg(test)]
mod tests;

pub(crate) use self::edits::clean;
pub use self::edits::{
    CdiEdits, CdiMount, CudaCompat, Link, MountContent, Node, NodeType, Numbers, Source,
};
pub use self::names::QualifiedName;
pub use self::registry::{DIRECTORIES, Found, Registry, Resolved};
pub use self::spec::{ContainerEdits, Device, DeviceNode, Format, Hook, Mount, Spec};
