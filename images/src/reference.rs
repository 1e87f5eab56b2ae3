//! Names of images; `hrun` reads the same.

pub use runtime::reference::Reference;
