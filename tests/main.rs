//! Black-box tests of the real `hrun`, run as an ordinary user (docs/ARCHITECTURE.md, Tests).
//!
//! `make test` runs them; `tests/session.sh` makes what they need and takes it away again.
#![allow(clippy::disallowed_methods, reason = "tests act on the world")]
#![allow(clippy::unwrap_used, reason = "what fails fails its test")]

mod support;

mod bind_links;
mod bind_places;
mod bind_sources;
mod binds;
mod budget;
mod callers;
mod cluster_guide;
mod configuration;
mod descriptors;
mod devices;
mod doctor;
mod drivers;
mod environment;
mod errors_options;
mod exits;
mod failures;
mod gpu;
mod gpu_choice;
mod gpu_clients;
mod hygiene;
mod identity;
mod images;
mod layers;
mod layers_kept;
mod leftovers;
mod linkage;
mod loader_files;
mod metadata;
mod mpi;
mod mpi_host;
mod packed;
mod packed_life;
mod plans;
mod plans_gpu;
mod plans_mpi;
mod plans_run;
mod ranks;
mod ranks_soak;
mod signals;
mod slurm;
mod smoke;
mod visible;
mod visible_system;
mod ways;
