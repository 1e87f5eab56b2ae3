//! Looks for logins: in files, and with the programs that files name.
#![allow(
    clippy::disallowed_methods,
    reason = "reads files of logins and starts credential helpers"
)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::{Failure, shown};
use crate::logins::{Found, Login, Logins, helper_answer};
use crate::program;

/// The places where logins may be.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Files, the first one first.
    pub places: Vec<PathBuf>,
}

/// A login that was found.
pub struct Key {
    /// What to show.
    pub login: Login,
    /// Where it is from, for messages.
    pub from: String,
}

/// Somebody may have to type a passphrase first.
const PATIENCE: Duration = Duration::from_secs(120);

impl Keyring {
    /// The login for a repository, and notes about places that might have had one.
    ///
    /// # Errors
    ///
    /// Fails if a file is there and cannot be understood.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<(Option<Key>, Vec<String>), Failure> {
        let mut notes = Vec::new();
        for path in &self.places {
            let name = path.display();
            let bytes = match read(path) {
                Ok(bytes) => bytes,
                Err(error) if is_absence(&error) => continue,
                Err(error) => {
                    notes.push(format!("{name} cannot be read: {error}"));
                    continue;
                }
            };
            let found = Logins::parse(&bytes).and_then(|logins| logins.find(registry, repository));
            let garbled = |reason| {
                let hint = format!("mend it, or move it away: mv {name} {name}.old");
                Failure::new(format!("the logins in {name} cannot be used: {reason}")).hint(hint)
            };
            match found.map_err(garbled)? {
                Found::Nothing => {}
                Found::Login(login) => {
                    return Ok((Some(Key { login, from: name.to_string() }), notes));
                }
                Found::Helper { name: helper, server } => match ask(&helper, &server) {
                    Ok(Some(login)) => {
                        let from = format!("docker-credential-{helper} ({name})");
                        return Ok((Some(Key { login, from }), notes));
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        notes.push(format!(
                            "docker-credential-{helper}, which {name} names, {reason}"
                        ));
                    }
                },
            }
        }
        Ok((None, notes))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    const LIMIT: u64 = 1 << 20;
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Asks a credential helper; it may know nothing about the server.
fn ask(helper: &str, server: &str) -> Result<Option<Login>, String> {
    let mut command = Command::new(format!("docker-credential-{helper}"));
    let answer =
        program::ask(command.arg("get"), server, PATIENCE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "is not installed".to_owned(),
            io::ErrorKind::TimedOut => format!("does not answer within {} s", PATIENCE.as_secs()),
            _ => format!("cannot be started: {error}"),
        })?;
    if answer.status.success() {
        return helper_answer(&answer.output).map(Some).map_err(str::to_owned);
    }
    let said = String::from_utf8_lossy(&answer.output);
    // The words of the protocol's own library, by which everybody tells this.
    if said.contains("credentials not found") {
        return Ok(None);
    }
    Err(format!("failed: {}", shown(&said)))
}
