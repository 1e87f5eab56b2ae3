//! Gets, makes and looks after container images, as an ordinary user.
//!
//! Only this file prints the error of a failed command, and only this file ends the program.
#![allow(clippy::disallowed_methods, reason = "the program talks to its user")]

#[path = "../hrun/config.rs"]
#[allow(dead_code, reason = "hrun and its doctor ask for more of it")]
mod config;
mod convert;
#[cfg(test)]
mod docs;
mod elsewhere;
mod import;
mod inspect;
mod interrupt;
mod list;
mod packing;
mod progress;
mod pull;
mod remove;
mod report;
mod share;
mod store;
mod usage;
mod verify;

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use nix::sys::stat::{Mode, umask};
use runtime::error::Result;

/// The words a command knows.
type Words = fn() -> Command;
/// Runs a command with its words.
type Run = fn(&ArgMatches) -> Result<()>;

/// The commands: how each reads its words, and what runs it.
const COMMANDS: &[(Words, Run)] = &[
    (pull::command, pull::run),
    (import::command, import::run),
    (convert::command, convert::run),
    (list::command, list::run),
    (inspect::command, inspect::run),
    (verify::command, verify::run),
    (remove::command, remove::run),
    (share::command, share::run),
];

/// What himage makes it can read and write itself, whatever the umask.
fn keep_own_permissions() {
    let found = umask(Mode::empty());
    umask(found & (Mode::S_IRWXG | Mode::S_IRWXO));
}

fn main() -> ExitCode {
    // An error says which file, the signal does not.
    runtime::sys::file::outlive_large_files();
    interrupt::watch();
    keep_own_permissions();
    let result = usage::read(std::env::args_os()).and_then(|words| match words {
        Some((name, words)) => {
            let chosen = COMMANDS.iter().find(|(command, _)| command().get_name() == name);
            chosen.map_or(Ok(()), |(_, run)| run(&words))
        }
        None => Ok(()),
    });
    interrupt::give_way();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&error.to_string());
            ExitCode::from(error.status)
        }
    }
}
