//! What this machine and its user say about registries: files, variables.
#![allow(clippy::disallowed_methods, reason = "reads configuration files and the environment")]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use nix::unistd::getuid;
use runtime::error::{Error, Result};

use crate::config::Config;
use crate::keyring::Keyring;
use crate::logins;
use crate::notes::Notes;
use crate::proxy::Proxies;

/// The site's file; the user's, which is the stronger one, is `$XDG_CONFIG_HOME/hrun/himage.toml`.
const SITE: &str = "/etc/hrun/himage.toml";

/// What there is to know before a registry is asked.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// What configuration files say.
    pub config: Config,
    /// The way out.
    pub proxies: Proxies,
    /// Where logins may be.
    pub keyring: Keyring,
}

impl Site {
    /// Looks at files and variables.
    ///
    /// # Errors
    ///
    /// Fails on a configuration file that cannot be read or understood.
    pub fn look(notes: &Notes) -> Result<Self> {
        let path = |name: &str| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let home = || path("HOME").map(|home| home.join(".config"));
        let user = path("XDG_CONFIG_HOME").or_else(home);
        let user = user.map(|directory| directory.join("hrun/himage.toml"));
        let mut config = Config::default();
        for file in [PathBuf::from(SITE)].into_iter().chain(user) {
            config.overlay(read(&file)?);
        }
        let docker =
            path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker")));
        Ok(Site {
            config,
            proxies: Proxies::from_variables(&|name| env::var(name).ok()),
            keyring: Keyring {
                places: logins::places(&path, getuid().as_raw()),
                usual: docker.map(|directory| directory.join("config.json")),
                notes: notes.clone(),
            },
        })
    }
}

fn read(path: &Path) -> Result<Config> {
    let attempt = |line: &str| format!("read configuration file {}{line}", path.display());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // A home directory that is closed or gone holds no configuration.
        Err(error) if is_absence(&error) => return Ok(Config::default()),
        Err(error) => return Err(Error::new(attempt(""), error.to_string())),
    };
    Config::parse(&text)
        .map_err(|(line, reason)| Error::new(attempt(&format!(":{line}")), reason).hint(EXAMPLE))
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

const EXAMPLE: &str = "[registries.\"docker.io\"]\n\
                       mirrors = [\"hub.example.org:5000/dockerhub\"]\n\
                       [registries.\"hub.example.org:5000\"]\n\
                       ca = [\"/etc/pki/site.pem\"]\n\
                       plain-http = false";
