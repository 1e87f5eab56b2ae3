//! Gets, makes and looks after container images, as an ordinary user.
//!
//! Only this file prints the error of a failed command, and only this file ends the program.
#![allow(clippy::disallowed_methods, reason = "the program talks to its user")]

mod convert;
mod import;
mod pull;
mod store;

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use runtime::error::Result;

/// The commands: how each reads its words, and what runs it.
const COMMANDS: &[(fn() -> Command, fn(&ArgMatches) -> Result<()>)] =
    &[(import::command, import::run), (pull::command, pull::run), (convert::command, convert::run)];

fn main() -> ExitCode {
    let matches = Command::new("himage")
        .about("Gets, makes and looks after container images")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommands(COMMANDS.iter().map(|(command, _)| command()))
        .get_matches();
    let Some((name, words)) = matches.subcommand() else { return ExitCode::SUCCESS };
    let chosen = COMMANDS.iter().find(|(command, _)| command().get_name() == name);
    match chosen.map_or(Ok(()), |(_, run)| run(words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("himage: {error}");
            ExitCode::from(error.status)
        }
    }
}
