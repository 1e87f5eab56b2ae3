//! Names and passwords for registries, where docker, podman and skopeo keep them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use serde::Deserialize;
use serde_json::error::Category;

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

/// A file of logins. Whatever is `null` in it is not there: programs write it so.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logins {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    cred_helpers: Option<BTreeMap<String, Option<String>>>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Logins {
    /// Reads a file. One without a word in it, or with `null`, has no logins.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, without a word of what stands in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Ok(Logins::default());
        }
        let read: Option<Logins> = serde_json::from_slice(bytes).map_err(|error| {
            let kind = match error.classify() {
                Category::Data => "not a file of logins",
                Category::Eof => "cut off",
                Category::Io | Category::Syntax => "not JSON",
            };
            format!("it is {kind} (line {}, column {})", error.line(), error.column())
        })?;
        Ok(read.unwrap_or_default())
    }

    /// What the file says about a repository: about itself, about groups it is in, about its registry.
    ///
    /// # Errors
    ///
    /// Fails if there is an entry that cannot be understood.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Found, String> {
        let names = names(registry, repository);
        for name in &names {
            let helper = self.cred_helpers.iter().flatten().find(|(key, _)| same(key, name));
            if let Some((server, Some(name))) = helper
                && !name.is_empty()
            {
                return helper_named(name, server);
            }
            let entry = self.auths.iter().flatten().find(|(key, _)| same(key, name));
            if let Some((key, Some(entry))) = entry
                && let Some(login) = entry.login().map_err(|reason| format!("'{key}' {reason}"))?
            {
                return Ok(Found::Login(login));
            }
        }
        match self.creds_store.as_deref().unwrap_or_default() {
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
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Login::Token(token)));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Login::Identity(token)));
        }
        let Some(auth) = given(&self.auth) else {
            let password = self.password.clone().unwrap_or_default();
            return Ok(given(&self.username).map(|user| Login::Password(user, password)));
        };
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&STANDARD, lenient).decode(auth.trim());
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

/// A file in which there may be logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub path: PathBuf,
    /// How it is written.
    pub form: Form,
}

/// How files of logins are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As docker writes them, and after it podman, skopeo and apptainer.
    Docker,
    /// As netrc, which enroot reads.
    Netrc,
}

/// Where files of logins of the user of this number may be, the first one first.
pub fn places(variable: &dyn Fn(&str) -> Option<PathBuf>, user: u32) -> Vec<Place> {
    let home = variable("HOME");
    let under_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let config = variable("XDG_CONFIG_HOME").or_else(|| under_home(".config"));
    // Where podman keeps them for a user without a session, as in a batch job.
    let without_session = || Some(PathBuf::from(format!("/run/containers/{user}")));
    let session = variable("XDG_RUNTIME_DIR").map(|directory| directory.join("containers"));
    let apptainer = variable("APPTAINER_CONFIGDIR").or_else(|| under_home(".apptainer"));
    let singularity = variable("SINGULARITY_CONFIGDIR").or_else(|| under_home(".singularity"));
    let enroot = variable("ENROOT_CONFIG_PATH")
        .or_else(|| config.as_ref().map(|directory| directory.join("enroot")));
    let within =
        |directory: Option<PathBuf>, name: &str| directory.map(|directory| directory.join(name));
    let places = [
        (variable("REGISTRY_AUTH_FILE"), Form::Docker),
        (within(variable("DOCKER_CONFIG"), "config.json"), Form::Docker),
        (within(session.or_else(without_session), "auth.json"), Form::Docker),
        (within(config, "containers/auth.json"), Form::Docker),
        (under_home(".docker/config.json"), Form::Docker),
        (within(apptainer, "docker-config.json"), Form::Docker),
        (within(singularity, "docker-config.json"), Form::Docker),
        (within(enroot, ".credentials"), Form::Netrc),
    ];
    let mut found: Vec<Place> = Vec::new();
    for (path, form) in places {
        if let Some(path) = path
            && !found.iter().any(|known| known.path == path)
        {
            found.push(Place { path, form });
        }
    }
    found
}

/// The variables in which apptainer and singularity look for a login, for whatever registry.
pub const VARIABLES: [(&str, &str); 2] = [
    ("APPTAINER_DOCKER_USERNAME", "APPTAINER_DOCKER_PASSWORD"),
    ("SINGULARITY_DOCKER_USERNAME", "SINGULARITY_DOCKER_PASSWORD"),
];

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
