//! Runs a command in a container image, as an ordinary user.
//!
//! Only this file prints the error of a failed run, and only this file ends the program.
#![allow(clippy::disallowed_methods, reason = "the program talks to its user")]
#![cfg_attr(not(test), no_main)]

mod args;
mod config;
#[cfg(test)]
mod docs;
mod doctor;
mod help;
mod oci;
mod report;
mod run;

use runtime::sys::memory::Arena;

/// The process lives for a millisecond and gives nothing back (docs/decisions/0009).
#[global_allocator]
static MEMORY: Arena = Arena::new();

/// Starts the program, called by the C library.
///
/// It takes the place of Rust's own start-up code, which makes some twenty system calls hrun has
/// no use for and leaves `SIGPIPE` ignored in the command (docs/decisions/0001).
#[cfg(not(test))]
#[allow(unsafe_code, reason = "the symbol is the one the C library calls, and defined once")]
#[unsafe(no_mangle)]
pub extern "C" fn main() -> std::ffi::c_int {
    start().into()
}

#[cfg(test)]
fn main() -> std::process::ExitCode {
    start().into()
}

/// Runs the command line and gives back the exit status.
fn start() -> u8 {
    let invocation = args::read(std::env::args_os().skip(1));
    match run::run(invocation) {
        Ok(status) => status,
        Err(error) => {
            report::say(&error.to_string());
            error.status
        }
    }
}
