//! Names and passwords for registries, where docker, podman and skopeo keep them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use serde::Deserialize;

use crate::config::canonical;

/// What somebody shows to be let in. It is never printed: there is no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password(String, String),
    /// What is given for tokens, instead of a password.
    Identity(String),
    /// A token that registries take as it is.
    Token(String),
}

/// What a file says about a registry.
#[derive(PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// This.
    Login(Login),
    /// That a program knows.
    Helper {
        /// The program is `docker-credential-` and this.
        name: String,
        /// What it knows the registry by.
        server: String,
    },
}

/// A file of logins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl Logins {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, without a word of what stands in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| {
            let kind = if error.is_data() { "not a file of logins" } else { "not JSON" };
            format!("it is {kind} (line {}, column {})", error.line(), error.column())
        })
    }

    /// What the file says about a repository: about itself, about groups it is in, about its registry.
    ///
    /// # Errors
    ///
    /// Fails if there is an entry that cannot be understood.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Found, String> {
        let names = names(registry, repository);
        for name in &names {
            let helper = self.cred_helpers.iter().find(|(key, _)| same(key, name));
            if let Some((server, name)) = helper.filter(|(_, name)| !name.is_empty()) {
                return helper_named(name, server);
            }
            let entry = self.auths.iter().find(|(key, _)| same(key, name));
            if let Some((key, Some(entry))) = entry
                && let Some(login) = entry.login().map_err(|reason| format!("'{key}' {reason}"))?
            {
                return Ok(Found::Login(login));
            }
        }
        match self.creds_store.as_str() {
            "" => Ok(Found::Nothing),
            // The name under which Docker has always kept it.
            name if canonical(registry) == "docker.io" => {
                helper_named(name, "https://index.docker.io/v1/")
            }
            name => helper_named(name, registry),
        }
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Login::Token(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Identity(self.identitytoken.clone())));
        }
        if self.auth.is_empty() {
            let login = Login::Password(self.username.clone(), self.password.clone());
            return Ok((!self.username.is_empty()).then_some(login));
        }
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&STANDARD, lenient).decode(self.auth.trim());
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or("has an 'auth' that is not base64 of a text")?;
        // Some programs fill the field up with NULs.
        let (user, password) =
            text.trim_end_matches('\0').split_once(':').ok_or("has an 'auth' without ':'")?;
        Ok(Some(Login::Password(user.to_owned(), password.to_owned())))
    }
}

/// What a credential helper answered.
///
/// # Errors
///
/// Says that it is no answer.
pub fn helper_answer(bytes: &[u8]) -> Result<Login, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| "did not answer in JSON")?;
    Ok(match answer.username.as_str() {
        "<token>" => Login::Identity(answer.secret),
        _ => Login::Password(answer.username, answer.secret),
    })
}

/// The `Authorization` header of a name and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Where files of logins may be, the first one first.
pub fn places(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let home = variable("HOME");
    let under_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let config = variable("XDG_CONFIG_HOME").or_else(|| under_home(".config"));
    let places = [
        variable("REGISTRY_AUTH_FILE"),
        variable("DOCKER_CONFIG").map(|directory| directory.join("config.json")),
        variable("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
        config.map(|directory| directory.join("containers/auth.json")),
        under_home(".docker/config.json"),
    ];
    let mut found: Vec<PathBuf> = Vec::new();
    for place in places.into_iter().flatten() {
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

/// The names under which a login may be kept, the narrowest first.
fn names(registry: &str, repository: &str) -> Vec<String> {
    let registries: &[&str] = match canonical(registry).as_str() {
        "docker.io" => &["docker.io", "index.docker.io", "registry-1.docker.io"],
        _ => &[registry],
    };
    let mut names = Vec::new();
    for registry in registries {
        let mut path = format!("{registry}/{repository}");
        while let Some(slash) = path.rfind('/') {
            names.push(path.clone());
            path.truncate(slash);
        }
    }
    names.extend(registries.iter().map(|registry| (*registry).to_owned()));
    names
}

/// Whether a key of a file is meant; Docker's were addresses once.
fn same(key: &str, name: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let key = match bare {
        Some(address) => address.split('/').next().unwrap_or_default(),
        None => {
            let key = key.trim_end_matches('/');
            key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
        }
    };
    key.eq_ignore_ascii_case(name)
}

fn helper_named(name: &str, server: &str) -> Result<Found, String> {
    if name.contains('/') {
        return Err(format!("'{name}' is no name of a credential helper"));
    }
    Ok(Found::Helper { name: name.to_owned(), server: server.to_owned() })
}

#[cfg(test)]
mod tests;
