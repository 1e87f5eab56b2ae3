//! Images: where they come from, how they are unpacked and packed, and where they are kept.
//!
//! `himage` is made of this; nothing of it is linked into `hrun`.
#![allow(clippy::disallowed_methods, reason = "reads and writes images")]

pub mod compression;
pub mod digest;
pub mod failure;
pub mod local;
pub mod own;
pub mod pack;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod said;
pub mod source;
pub mod store;
mod threads;
pub mod unpack;
