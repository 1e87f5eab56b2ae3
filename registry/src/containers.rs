//! `registries.conf`: what podman, skopeo and their kin are told about registries (version 2 of the
//! format, and of version 1 what forbids and what is insecure).

use serde::Deserialize;

/// What such files say, the stronger one last.
#[derive(Clone, Debug, Default)]
pub struct Containers(Vec<Registry>);

/// Where an image is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host, and port if there is one.
    pub registry: String,
    /// The path there.
    pub repository: String,
    /// Encryption is used if it can be had, and any certificate believed.
    pub is_insecure: bool,
}

/// What is said about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Who is asked before the registry itself.
    pub mirrors: Vec<Route>,
    /// The registry itself.
    pub own: Route,
    /// It must not be asked.
    pub is_blocked: bool,
    /// The file that says so.
    pub from: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Registry>,
    registries: Old,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Old {
    insecure: List,
    block: List,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    registries: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
    #[serde(skip)]
    from: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

impl Containers {
    /// Puts a file over those before it: what it says of a prefix counts.
    ///
    /// # Errors
    ///
    /// Fails with the number of the line and what is wrong there.
    pub fn overlay(&mut self, text: &str, from: &str) -> Result<(), (usize, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            (line, error.message().to_owned())
        })?;
        let old = |names: List, insecure: bool, blocked: bool| {
            let of = move |prefix| Registry { prefix, insecure, blocked, ..Registry::default() };
            names.registries.into_iter().map(of)
        };
        let insecure = old(file.registries.insecure, true, false);
        let blocked = old(file.registries.block, false, true);
        for mut registry in file.registry.into_iter().chain(insecure).chain(blocked) {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.prefix.is_empty() {
                return Err((1, "a registry has neither prefix nor location".to_owned()));
            }
            from.clone_into(&mut registry.from);
            self.0.retain(|known| known.prefix != registry.prefix);
            self.0.push(registry);
        }
        Ok(())
    }

    /// What is said about a repository, by the longest prefix.
    pub fn way(&self, registry: &str, repository: &str, has_digest: bool) -> Option<Way> {
        let name = format!("{registry}/{repository}");
        let fits = |known: &&Registry| rest_after(&known.prefix, &name).is_some_and(ends_part);
        let known = self.0.iter().filter(fits).max_by_key(|known| known.prefix.len())?;
        let rest = rest_after(&known.prefix, &name).unwrap_or_default();
        let at = |location: &str, is_insecure| {
            let full = if location.is_empty() { name.clone() } else { format!("{location}{rest}") };
            let (registry, repository) = full.split_once('/')?;
            let (registry, repository) = (registry.to_owned(), repository.to_owned());
            Some(Route { registry, repository, is_insecure })
        };
        let serves = |mirror: &&Mirror| match mirror.pull_from_mirror.as_str() {
            "digest-only" => has_digest,
            "tag-only" => !has_digest,
            _ => has_digest || !known.mirror_by_digest_only,
        };
        let mirrors = known.mirror.iter().filter(serves);
        Some(Way {
            mirrors: mirrors.filter_map(|mirror| at(&mirror.location, mirror.insecure)).collect(),
            own: at(&known.location, known.insecure)?,
            is_blocked: known.blocked,
            from: known.from.clone(),
        })
    }
}

/// What follows a prefix in a name; `*.site.org` fits every host below.
fn rest_after<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let Some(below) = prefix.strip_prefix('*') else { return name.strip_prefix(prefix) };
    let (suffix, path) = below.split_at(below.find('/').unwrap_or(below.len()));
    let (host, _) = name.split_once('/')?;
    host.ends_with(suffix).then(|| &name[host.len()..])?.strip_prefix(path)
}

/// Whether a part of a name ends where the rest of it begins.
fn ends_part(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(text: &str, name: &str) -> Option<Way> {
        let mut read = Containers::default();
        read.overlay(text, "file").unwrap();
        let (registry, repository) = name.split_once('/').unwrap();
        read.way(registry, repository, name.contains('@'))
    }

    fn routes(text: &str, name: &str) -> Vec<String> {
        let Some(way) = way(text, name) else { return Vec::new() };
        let all = way.mirrors.iter().chain([&way.own]);
        all.map(|route| {
            let ending = if route.is_insecure { "!" } else { "" };
            format!("{}/{}{ending}", route.registry, route.repository)
        })
        .collect()
    }

    const FILE: &str = r#"
        unqualified-search-registries = ["docker.io"]
        short-name-mode = "enforcing"
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.site:5000/hub"
        insecure = true
        [[registry]]
        prefix = "docker.io/secret"
        blocked = true
        [[registry]]
        prefix = "old.site/group"
        location = "new.site/archive/group"
        [[registry]]
        prefix = "*.lab.site"
        insecure = true
        [[registry]]
        location = "quay.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "quay.mirror"
        [aliases]
        "debian" = "docker.io/library/debian"
    "#;

    #[test]
    fn names_are_led_by_their_longest_prefix() {
        let debian = ["mirror.site:5000/hub/library/debian!", "docker.io/library/debian"];
        assert_eq!(routes(FILE, "docker.io/library/debian"), debian);
        assert_eq!(routes(FILE, "old.site/group/app"), ["new.site/archive/group/app"]);
        assert_eq!(routes(FILE, "old.site/groups/app"), [""; 0]);
        assert_eq!(routes(FILE, "a.lab.site/app"), ["a.lab.site/app!"]);
        assert_eq!(routes(FILE, "lab.site/app"), [""; 0]);
        assert_eq!(routes(FILE, "quay.io/app"), ["quay.io/app"]);
        assert_eq!(routes(FILE, "quay.io/app@"), ["quay.mirror/app@", "quay.io/app@"]);
        assert_eq!(routes(FILE, "docker.io.evil/app"), [""; 0]);
        assert!(way(FILE, "docker.io/secret/x").unwrap().is_blocked);
        assert!(!way(FILE, "docker.io/secrets/x").unwrap().is_blocked);
    }

    #[test]
    fn the_older_format_forbids_as_well() {
        let old = "[registries.search]\nregistries = ['x']\n[registries.insecure]\nregistries = ['a']\n\
                   [registries.block]\nregistries = ['b']\n";
        assert_eq!(routes(old, "a/app"), ["a/app!"]);
        assert!(way(old, "b/app").unwrap().is_blocked);
    }

    #[test]
    fn a_later_file_replaces_what_is_said_of_a_prefix() {
        let mut read = Containers::default();
        read.overlay("[[registry]]\nlocation = 'a'\nblocked = true", "one").unwrap();
        read.overlay("[[registry]]\nlocation = 'a'", "two").unwrap();
        let way = read.way("a", "app", false).unwrap();
        assert_eq!((way.is_blocked, way.from.as_str()), (false, "two"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let mut read = Containers::default();
        assert_eq!(read.overlay("\n[[registry]]\nblocked = 'x'", "f").unwrap_err().0, 3);
        assert!(read.overlay("[[registry]]\ninsecure = true", "f").is_err());
    }
}
