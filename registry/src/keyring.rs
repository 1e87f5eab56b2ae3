//! Looks for logins: in files, and with the programs that files name.
#![allow(
    clippy::disallowed_methods,
    reason = "reads files of logins and starts credential helpers"
)]

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::config::canonical;
use crate::failure::shown;
use crate::logins::{Form, Found, Login, Logins, Place, VARIABLES, helper_answer};
use crate::netrc;
use crate::notes::Notes;
use crate::program;
use crate::url::host_and_port;

/// The places where logins may be.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Files, the first one first.
    pub places: Vec<Place>,
    /// The file that docker writes.
    pub usual: Option<PathBuf>,
    /// Where it is said which of them was used, and which could not be.
    pub notes: Notes,
}

/// A login that was found.
pub struct Key {
    /// What to show.
    pub login: Login,
    /// Where it is from, for messages.
    pub from: String,
    /// It names no registry: it is shown only where there is no way without one.
    pub is_for_any: bool,
}

/// Somebody may have to type a passphrase first.
const PATIENCE: Duration = Duration::from_secs(120);

impl Keyring {
    /// The login for a repository, and notes about places that might have had one. `tokens` is the
    /// server that gives tokens for it, under whose name enroot keeps logins.
    ///
    /// What cannot be understood is warned of, and passed over: most images are for everybody.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
        tokens: Option<&str>,
    ) -> (Option<Key>, Vec<String>) {
        let mut notes = Vec::new();
        for place in &self.places {
            let name = place.path.display();
            let bytes = match read(&place.path) {
                Ok(bytes) => bytes,
                Err(error) if is_absence(&error) => continue,
                Err(error) => {
                    notes.push(format!("{name} cannot be read: {error}"));
                    continue;
                }
            };
            let found = match place.form {
                Form::Docker => of_docker(&bytes, &name.to_string(), registry, repository),
                Form::Netrc => of_netrc(&bytes, &name.to_string(), registry, tokens),
            };
            match found {
                Ok(Some(key)) => {
                    self.notes.tell(&format!("the login for {registry} is from {}", key.from));
                    return (Some(key), notes);
                }
                Ok(None) => {}
                Err(Trouble::Garbled(text)) => self.notes.warn(&text),
                Err(Trouble::Useless(text)) => notes.push(text),
            }
        }
        (of_variables(), notes)
    }

    /// Whether there is a file that may know a login by the name of a server for tokens.
    pub fn knows_servers_for_tokens(&self) -> bool {
        self.places.iter().any(|place| place.form == Form::Netrc && place.path.is_file())
    }
}

/// Why a place has no login.
enum Trouble {
    /// The file is damaged, which its owner should know.
    Garbled(String),
    /// It names something that does not work, which counts only if there is no other login.
    Useless(String),
}

fn of_docker(
    bytes: &[u8],
    name: &str,
    registry: &str,
    repository: &str,
) -> Result<Option<Key>, Trouble> {
    let garbled = |reason| {
        let text = format!(
            "the logins in {name} cannot be used: {reason}; mend it, or move it away: mv {name} {name}.old"
        );
        Trouble::Garbled(text)
    };
    let found = Logins::parse(bytes).and_then(|logins| logins.find(registry, repository));
    let key = |login, from| Key { login, from, is_for_any: false };
    match found.map_err(garbled)? {
        Found::Nothing => Ok(None),
        Found::Login(login) => Ok(Some(key(login, name.to_owned()))),
        Found::Helper { name: helper, server } => {
            let from = format!("docker-credential-{helper} ({name})");
            let useless = |reason| {
                Trouble::Useless(format!(
                    "docker-credential-{helper}, which {name} names, {reason}"
                ))
            };
            let login = ask(&helper, &server).map_err(useless)?;
            Ok(login.map(|login| key(login, from)))
        }
    }
}

fn of_netrc(
    bytes: &[u8],
    name: &str,
    registry: &str,
    tokens: Option<&str>,
) -> Result<Option<Key>, Trouble> {
    let host = host_and_port(registry).map_or(registry, |(host, _)| host);
    let mut hosts = vec![registry, host];
    if canonical(registry) == "docker.io" {
        hosts.extend(["registry-1.docker.io", "index.docker.io"]);
    }
    hosts.extend(tokens);
    let useless = |reason: String| Trouble::Useless(format!("{name} has a login whose {reason}"));
    let variable = |name: &str| env::var(name).ok();
    match netrc::find(&String::from_utf8_lossy(bytes), &hosts, &variable) {
        None => Ok(None),
        Some(netrc::Entry::Password(user, password)) => {
            let login = Login::Password(user, password);
            Ok(Some(Key { login, from: name.to_owned(), is_for_any: false }))
        }
        Some(netrc::Entry::Command) => {
            Err(useless("password is what a command prints, which himage does not run".into()))
        }
        Some(netrc::Entry::Unset(name)) => {
            Err(useless(format!("password is the variable {name}, which is not set")))
        }
    }
}

fn of_variables() -> Option<Key> {
    VARIABLES.iter().find_map(|(user, password)| {
        let given = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let login = Login::Password(given(user)?, given(password)?);
        Some(Key { login, from: format!("{user}, {password}"), is_for_any: true })
    })
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
