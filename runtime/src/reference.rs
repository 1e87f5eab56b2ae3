//! Names of images, as people write them for registries: `debian:12`, `ghcr.io/org/app@sha256:...`.
//!
//! Read as Docker reads them: what stands before the first `/` is a registry if it could be no part
//! of a repository's name (it has a dot or a colon, or is `localhost`); without one it is Docker Hub's, whose official
//! images lie in `library/`; without tag and digest the tag is `latest`. How other programs write
//! names, [`crate::spelling`] knows.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::spelling::{self, Foreign};

/// The registry of names that have none.
pub const DOCKER_HUB: &str = "docker.io";

/// The name of an image in a registry, complete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host, and port if it has one: `docker.io`, `localhost:5000`.
    pub registry: String,
    /// Path in the registry: `library/debian`.
    pub repository: String,
    /// `latest`, if there is no digest either.
    pub tag: Option<String>,
    /// `sha256:` and 64 digits.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// Fails if it is no name of an image; the error says which part of it is none.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(Foreign { reason, hint }) = spelling::foreign(text) {
            let attempt = format!("read '{text}' as the name of an image");
            return Err(Error::new(attempt, reason).hint(hint));
        }
        read(&spelling::plain(text)).map_err(|reason| {
            Error::new(format!("read '{text}' as the name of an image"), reason)
                .hint("names look like debian:12 or registry.example.org:5000/group/app:1.2")
        })
    }

    /// The name as people write it: without what stands for itself.
    pub fn familiar(&self) -> String {
        let short = self.short();
        // It may look like something else then: docker:debian.
        if spelling::foreign(&short).is_some() { self.to_string() } else { short }
    }

    fn short(&self) -> String {
        let name = match (self.registry.as_str(), self.repository.strip_prefix("library/")) {
            (DOCKER_HUB, Some(official)) => official.to_owned(),
            (DOCKER_HUB, None) => self.repository.clone(),
            (registry, _) => format!("{registry}/{}", self.repository),
        };
        name + &self.ending()
    }

    /// Where a store keeps the link to the image of this name, below `names`; of tag and digest
    /// the digest counts.
    pub fn path(&self) -> PathBuf {
        let ending = match &self.digest {
            Some(digest) => format!("@{digest}"),
            None => self.ending(),
        };
        PathBuf::from(format!("{}/{}{ending}", self.registry, self.repository))
    }

    fn ending(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.ending())
    }
}

fn read(text: &str) -> std::result::Result<Reference, String> {
    let (text, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(read_digest(digest)?)),
        None => (text, None),
    };
    let (registry, rest) = match text.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DOCKER_HUB, text),
    };
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    if !is_host(registry) {
        return Err(format!("'{registry}' is no name of a registry"));
    }
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(format!("'{tag}' is no tag: letters, digits, '_', '.' and '-', at most 128"));
    }
    if let Some(part) = path.split('/').find(|part| !is_component(part)) {
        return Err(match part {
            "" => "a part of it is empty".to_owned(),
            _ if part.chars().any(char::is_uppercase) => {
                format!("'{part}' has capital letters, which a repository has not")
            }
            _ => format!("'{part}' is no part of a repository's name"),
        });
    }
    let repository = match path.contains('/') || registry != DOCKER_HUB {
        true => path.to_owned(),
        false => format!("library/{path}"),
    };
    if registry.len() + repository.len() >= 255 {
        return Err("it is longer than 255 characters".to_owned());
    }
    let latest = digest.is_none().then_some("latest");
    let tag = tag.or(latest).map(str::to_owned);
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// Whether the first part of a name is a registry: it could not be a part of a repository's name.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

fn is_host(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    has_port
        && match address {
            Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
            None => host.split('.').all(is_name),
        }
}

/// Small letters and digits, in groups with `.`, `_`, `__` or any number of `-` between them.
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_word(*first)
        && is_word(*last)
        && bytes
            .split(|byte| is_word(*byte))
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && tag.len() <= 128
}

fn read_digest(text: &str) -> std::result::Result<String, String> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match text.split_once(':') {
        Some(("sha256", digits)) if digits.len() == 64 && digits.bytes().all(is_digit) => {
            Ok(text.to_owned())
        }
        Some(("sha256", _)) => Err("a digest is sha256: and 64 digits, 0 to 9 and a to f".into()),
        _ => Err("only digests of the form sha256:... are known".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn reads(text: &str, full: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), full);
        assert_eq!(reference.familiar(), familiar);
        for again in [full, familiar] {
            assert_eq!(Reference::parse(again).as_ref(), Ok(&reference), "{again}");
        }
    }

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        reads("debian", "docker.io/library/debian:latest", "debian:latest");
        reads("debian:12", "docker.io/library/debian:12", "debian:12");
        reads("docker.io/debian", "docker.io/library/debian:latest", "debian:latest");
        reads("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c");
        reads("library/debian:12", "docker.io/library/debian:12", "debian:12");
        reads(
            "nvcr.io/nvidia/pytorch:24.10-py3",
            "nvcr.io/nvidia/pytorch:24.10-py3",
            "nvcr.io/nvidia/pytorch:24.10-py3",
        );
        reads("docker://debian:12", "docker.io/library/debian:12", "debian:12");
        reads("nvcr.io#a/b:1", "nvcr.io/a/b:1", "nvcr.io/a/b:1");
        let docker = "docker.io/library/docker:debian";
        reads(docker, docker, docker);
        reads("localhost/app", "localhost/app:latest", "localhost/app:latest");
        reads("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest");
        reads("[::1]:5000/a/b:1", "[::1]:5000/a/b:1", "[::1]:5000/a/b:1");
        reads(
            "10.1.2.3:80/a__b/c--d.e:x",
            "10.1.2.3:80/a__b/c--d.e:x",
            "10.1.2.3:80/a__b/c--d.e:x",
        );
        reads("Host/app", "Host/app:latest", "Host/app:latest");
    }

    #[test]
    fn a_digest_needs_no_tag() {
        let name = format!("debian@{DIGEST}");
        reads(&name, &format!("docker.io/library/{name}"), &name);
        let name = format!("debian:12@{DIGEST}");
        reads(&name, &format!("docker.io/library/{name}"), &name);
        let path = Reference::parse(&name).unwrap().path();
        assert_eq!(path, PathBuf::from(format!("docker.io/library/debian@{DIGEST}")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, reason) in [
            ("", "empty"),
            ("/", "empty"),
            ("/img", "empty"),
            ("./img", "registry"),
            ("../img", "registry"),
            ("img/", "empty"),
            ("a//b", "empty"),
            ("Debian", "capital"),
            ("debian/Twelve", "capital"),
            ("a:b:c", "tag"),
            ("debian:", "tag"),
            ("debian:.x", "tag"),
            ("img.d", ""),
            ("a___b", "part"),
            ("-a", "part"),
            ("a-", "part"),
            ("a b", "part"),
            ("h\u{f6}he", "part"),
            ("host.example:0/a", "registry"),
            ("host.example:99999/a", "registry"),
            ("host..example/a", "registry"),
            ("[::g]:5000/a", "registry"),
            ("debian@sha256:12", "64 digits"),
            ("debian@sha512:12", "only digests"),
            ("debian@", "only digests"),
            ("host.example/..", "part"),
        ] {
            match Reference::parse(text) {
                Err(error) => {
                    let words = error.to_string();
                    assert!(!reason.is_empty() && words.contains(reason), "{text}: {words}");
                }
                Ok(reference) => assert_eq!(reason, "", "{text} is {reference}"),
            }
        }
        assert!(Reference::parse(&"a".repeat(300)).is_err());
        assert!(Reference::parse(&format!("a:{}", "b".repeat(129))).is_err());
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_store(text in "[a-zA-Z0-9._/:@\\[\\]-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                let path = reference.path();
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert!(path.components().count() >= 2);
                prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
