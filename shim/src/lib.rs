//! What outlives or surrounds the command; the only code of hrun that forks.
//!
//! Today that is one thing: trying parts of a plan in a child, for `hrun --doctor`. Most runs
//! never come here: the process that was started becomes the command.

pub mod trial;
