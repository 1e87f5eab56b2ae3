//! Images that mksquashfs made, and what is read of them.
#![allow(clippy::disallowed_methods, reason = "tests act on the world")]
#![allow(clippy::unwrap_used, reason = "what fails fails its test")]

mod support;

mod extract;
mod oracle;
mod properties;
