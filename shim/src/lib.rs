//! What outlives or surrounds the command; the only code of hrun that forks.
//!
//! Two things: trying parts of a plan in a child, for `hrun --doctor`, and serving a packed image.
//! A directory never comes here: the process that was started becomes the command.

pub mod serve;
pub mod trial;

mod image;
