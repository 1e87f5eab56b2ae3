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
mod capabilities;
mod cluster_guide;
mod configuration;
mod descriptors;
mod devices;
mod doctor;
mod drivers;
mod enter;
mod environment;
mod errors_options;
mod escapes;
mod exits;
mod failures;
mod fakeroot;
mod gpu;
mod gpu_choice;
mod gpu_clients;
mod himage_import;
mod himage_kill;
mod himage_pull;
mod himage_pull_lies;
mod himage_pull_logins;
mod himage_refuse;
mod himage_store;
mod hostile_images;
mod hygiene;
mod identity;
mod images;
mod kernels;
mod launchers;
mod layers;
mod layers_kept;
mod leftovers;
mod limits;
mod limits_end;
mod limits_plans;
mod limits_ranks;
mod linkage;
mod loader_files;
mod metadata;
mod mpi;
mod mpi_host;
mod mpi_matrix;
mod packed;
mod packed_life;
mod pids;
mod plans;
mod plans_gpu;
mod plans_mpi;
mod plans_run;
mod ranks;
mod ranks_soak;
mod ranks_strain;
mod seccomp;
mod signals;
mod slurm;
mod smoke;
mod visible;
mod visible_system;
mod ways;
