//! What tests share: the user, images, directories of their own, and a way to run `hrun`.

pub mod archive;
pub mod driver;
pub mod groups;
pub mod image;
pub mod keep;
pub mod launcher;
pub mod live;
pub mod machine;
pub mod mark;
pub mod oci;
pub mod rank;
pub mod registry;
pub mod run;
pub mod scratch;
pub mod session;
pub mod slurm;
pub mod terminal;
pub mod tree;
pub mod variables;
pub mod way;
pub mod web;

pub use image::{Image, real};
pub use live::Live;
pub use machine::on_host;
pub use run::{Outcome, as_tester, bind, command, hrun, hrun_in, outcome, probe, program};
pub use scratch::Scratch;
pub use session::{lacks, tester};
pub use way::{WAYS, Way, in_every_way};
