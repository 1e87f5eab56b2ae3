//! What outlives or surrounds the command; the only code of hrun that forks.
//!
//! Parts of a plan are tried in a child, for `hrun --doctor`; and somebody stays to remove the control
//! groups of limits. Most runs never come here: the process that was started becomes the command.

pub mod init;
pub mod supervise;
pub mod trial;
pub mod watch;
