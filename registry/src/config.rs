//! `himage.toml`: what a site or a user says about registries.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::url::host_and_port;

/// What is said about registries, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    registries: BTreeMap<String, Rules>,
}

/// What is said about one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    /// Registries, with a path if there is one, that are asked before it, in this order.
    pub mirrors: Option<Vec<String>>,
    /// Files of certificate authorities that are believed beside those of the system.
    pub ca: Option<Vec<PathBuf>>,
    /// Whether it is asked without encryption.
    pub plain_http: Option<bool>,
}

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// Fails with the number of the line and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let read: Config = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            (line, error.message().to_owned())
        })?;
        let line_of = |word: &str| {
            text.lines().position(|line| line.contains(word)).map_or(1, |line| line + 1)
        };
        for (name, rules) in &read.registries {
            if host_and_port(name).is_none() {
                let reason = format!("'{name}' is no registry: a host, or host:port");
                return Err((line_of(name), reason));
            }
            for mirror in rules.mirrors.iter().flatten() {
                if host_and_port(mirror.split('/').next().unwrap_or_default()).is_none() {
                    let reason = format!("'{mirror}' is no mirror: host, host:port or host/path");
                    return Err((line_of(mirror), reason));
                }
            }
            if let Some(file) = rules.ca.iter().flatten().find(|file| !file.is_absolute()) {
                let name = file.display().to_string();
                return Err((line_of(&name), format!("'{name}' is no absolute path")));
            }
        }
        let registries =
            read.registries.into_iter().map(|(name, rules)| (canonical(&name), rules)).collect();
        Ok(Config { registries })
    }

    /// Puts a stronger file over this one: what it says about a registry counts, key by key.
    pub fn overlay(&mut self, stronger: Config) {
        for (name, rules) in stronger.registries {
            let known = self.registries.entry(name).or_default();
            known.mirrors = rules.mirrors.or(known.mirrors.take());
            known.ca = rules.ca.or(known.ca.take());
            known.plain_http = rules.plain_http.or(known.plain_http);
        }
    }

    /// The registries that are asked without encryption.
    pub fn plain(&self) -> Vec<String> {
        let plain = self.registries.iter().filter(|(_, rules)| rules.plain_http == Some(true));
        plain.map(|(name, _)| name.clone()).collect()
    }

    /// What is said about a registry.
    pub fn rules(&self, registry: &str) -> Rules {
        self.registries.get(&canonical(registry)).cloned().unwrap_or_default()
    }
}

/// One name for all of Docker Hub's.
pub fn canonical(registry: &str) -> String {
    match registry.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let config = Config::parse(
            "[registries.\"docker.io\"]\nmirrors = [\"hub.site.org:5000/dockerhub\"]\n\
             [registries.\"hub.site.org:5000\"]\nca = [\"/etc/pki/site.pem\"]\nplain-http = false\n",
        )
        .unwrap();
        let mirrors = config.rules("index.docker.io").mirrors.unwrap();
        assert_eq!(mirrors, ["hub.site.org:5000/dockerhub"]);
        assert_eq!(config.rules("Hub.Site.Org:5000").plain_http, Some(false));
        assert_eq!(config.rules("quay.io"), Rules::default());
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn the_stronger_file_counts_key_by_key() {
        let mut config =
            Config::parse("[registries.a]\nmirrors = [\"b\"]\nplain-http = true").unwrap();
        let stronger = "[registries.a]\nmirrors = []\n[registries.c]\nplain-http = true";
        config.overlay(Config::parse(stronger).unwrap());
        let rules = config.rules("a");
        assert_eq!((rules.mirrors, rules.plain_http), (Some(vec![]), Some(true)));
        assert_eq!(config.rules("c").plain_http, Some(true));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (text, line, words) in [
            ("\n[registries.a]\nmirror = [\"b\"]", 3, "unknown field"),
            ("x = 1", 1, "unknown field"),
            ("\n[registries.\"https://a\"]\n", 2, "is no registry"),
            ("[registries.a]\nmirrors = [\"https://b\"]", 2, "is no mirror"),
            ("[registries.a]\nca = [\"b.pem\"]", 2, "absolute"),
            ("[registries.a]\nplain-http = \"yes\"", 2, "boolean"),
            ("[registries", 1, ""),
        ] {
            let (found, reason) = Config::parse(text).unwrap_err();
            assert!(found == line && reason.contains(words), "{text:?}: {found}: {reason}");
        }
    }
}
