//! What this machine and its user say about registries: files, variables.
#![allow(clippy::disallowed_methods, reason = "reads configuration files and the environment")]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use images::own;
use nix::unistd::getuid;
use runtime::error::{Error, Result};

use crate::config::Config;
use crate::containers::Containers;
use crate::keyring::Keyring;
use crate::logins;
use crate::notes::Notes;
use crate::proxy::Proxies;
use crate::tls::Trust;

/// The site's file; the user's, which is the stronger one, is `$XDG_CONFIG_HOME/hrun/himage.toml`.
const SITE: &str = "/etc/hrun/himage.toml";

/// Where podman and docker look for certificates, a directory for each registry.
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// What there is to know before a registry is asked.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// What configuration files say.
    pub config: Config,
    /// What the configuration of podman and its kin says.
    pub containers: Containers,
    /// The way out.
    pub proxies: Proxies,
    /// Where logins may be.
    pub keyring: Keyring,
    /// Directories of certificates.
    pub certificates: Vec<PathBuf>,
    /// Where it is said what was used.
    pub notes: Notes,
}

impl Site {
    /// Looks at files and variables.
    ///
    /// # Errors
    ///
    /// Fails on a configuration file of hrun that cannot be read or understood. One of other programs
    /// is warned of, and passed over.
    pub fn look(notes: &Notes) -> Result<Self> {
        let path = |name: &str| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let under_home = |name: &str| path("HOME").map(|home| home.join(name));
        let user = path("XDG_CONFIG_HOME").or_else(|| under_home(".config"));
        let own = user.as_ref().map(|directory| directory.join("hrun/himage.toml"));
        let mut config = Config::default();
        for file in [PathBuf::from(SITE)].into_iter().chain(own) {
            config.overlay(read(&file)?);
        }
        let users = user.map(|directory| directory.join("containers"));
        let named = path("CONTAINERS_REGISTRIES_CONF");
        let certificates = users.iter().map(|directory| directory.join("certs.d"));
        let docker = path("DOCKER_CONFIG").or_else(|| under_home(".docker"));
        Ok(Site {
            config,
            containers: containers(named, users.as_deref(), notes),
            proxies: Proxies::from_variables(&|name| env::var(name).ok()),
            keyring: Keyring {
                places: logins::places(&path, getuid().as_raw()),
                usual: docker.map(|directory| directory.join("config.json")),
                notes: notes.clone(),
            },
            certificates: certificates.chain(CERTIFICATES.map(PathBuf::from)).collect(),
            notes: notes.clone(),
        })
    }

    /// The certificates that podman and docker have for a registry: `*.crt` to believe, `*.cert` and
    /// `*.key` to show.
    pub fn certificates(&self, registry: &str) -> Trust {
        let mut trust = Trust::default();
        for directory in self.certificates.iter().map(|directory| directory.join(registry)) {
            let files = match list(&directory) {
                Ok(files) => files,
                Err(error) => {
                    if error.kind() != io::ErrorKind::NotFound {
                        // Docker's directory is often closed: no reason to warn of it.
                        let name = directory.display();
                        self.notes.tell(&format!("certificates in {name} cannot be read: {error}"));
                    }
                    continue;
                }
            };
            for file in files {
                let key = file.with_extension("key");
                match file.extension().and_then(|ending| ending.to_str()) {
                    Some("crt") => trust.ca.push(file.clone()),
                    Some("cert") if fs::File::open(&key).is_ok() => {
                        trust.identities.push((file.clone(), key));
                    }
                    Some("cert") => {
                        let (file, key) = (file.display(), key.display());
                        let text =
                            format!("{file} is not shown to {registry}: {key} cannot be read");
                        self.notes.warn(&text);
                        continue;
                    }
                    _ => continue,
                }
                self.notes.tell(&format!("{} is for {registry}", file.display()));
            }
        }
        trust
    }
}

/// Reads `registries.conf`: the one that was named, the user's or the site's; then what is put over it.
fn containers(named: Option<PathBuf>, users: Option<&Path>, notes: &Notes) -> Containers {
    let site = Path::new("/etc/containers");
    let users_own = users.map(|directory| directory.join("registries.conf"));
    let main = named.or(users_own.filter(|file| file.is_file()));
    let mut files = vec![main.unwrap_or_else(|| site.join("registries.conf"))];
    for directory in [Some(site), users].into_iter().flatten() {
        let more = list(&directory.join("registries.conf.d")).unwrap_or_default();
        files.extend(more.into_iter().filter(|file| file.extension() == Some("conf".as_ref())));
    }
    let mut found = Containers::default();
    for file in files {
        let name = file.display().to_string();
        let result = match fs::read_to_string(&file) {
            Ok(text) => found.overlay(&text, &name).map_err(|(line, reason)| {
                format!("{name}:{line} cannot be used, and is passed over: {reason}")
            }),
            Err(error) if is_absence(&error) => Ok(()),
            Err(error) => Err(format!("{name} cannot be read: {error}")),
        };
        if let Err(text) = result {
            notes.warn(&text);
        }
    }
    found
}

/// The files of a directory, by name.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let names = own::names(directory)?;
    let mut files: Vec<PathBuf> = names.into_iter().map(|name| directory.join(name)).collect();
    files.sort();
    Ok(files)
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
