//! What outlives or surrounds the command; the only code of hrun that forks.
//!
//! Parts of a plan are tried in a child, for `hrun --doctor`; somebody stays to remove the control groups
//! of limits, to serve a packed image or remove its copy, or to watch over a command in a PID namespace. Most runs never
//! come here: the process that was started becomes the command.

mod ahead;
mod ear;
mod image;
pub mod init;
pub mod serve;
pub mod source;
pub mod supervise;
mod tell;
pub mod trial;
pub mod unpack;
mod voice;
pub mod watch;
mod witness;
