//! Addresses on the web, as far as registries use them.

use std::fmt;

/// An address: `https://host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether the connection is encrypted: https.
    pub tls: bool,
    /// The host, in small letters; an IPv6 address has its brackets.
    pub host: String,
    /// The port, also where it was not written.
    pub port: u16,
    /// Path and query, from the first slash on.
    pub path: String,
}

impl Url {
    /// Reads an absolute address.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it: the scheme, the host, the port, a name and password in it, or a
    /// character that has no place in an address.
    pub fn parse(text: &str) -> Result<Url, String> {
        let refuse = |reason: &str| Err(format!("'{}' {reason}", text.escape_debug()));
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("has a character that has no place in an address");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("is no address: it has no https://");
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return refuse("is neither https nor http"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return refuse("has a user's name in it");
        }
        let Some((host, port)) = host_and_port(authority) else {
            return refuse("has no host, or no port, that could be one");
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url {
            tls,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: format!("{slash}{path}"),
        })
    }

    /// Where a `Location:` leads from here.
    ///
    /// # Errors
    ///
    /// As [`Url::parse`].
    pub fn join(&self, location: &str) -> Result<Url, String> {
        let scheme = if self.tls { "https" } else { "http" };
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        let here = self.path.split('?').next().unwrap_or_default();
        let path = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{here}{location}")
        } else {
            let directory = &here[..here.rfind('/').map_or(0, |slash| slash + 1)];
            format!("{directory}{location}")
        };
        Url::parse(&format!("{scheme}://{}{}", self.authority(), without_dots(&path)))
    }

    /// Whether two addresses are of one server: what may be told to the one may be told to the other.
    pub fn same_server(&self, other: &Url) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// Host and port as a name of the server; the port is left out where everybody knows it.
    pub fn server(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { self.authority() }
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.server(), self.path)
    }
}

/// A path and query in which `.` and `..` are done (RFC 3986, 5.2.4).
fn without_dots(text: &str) -> String {
    let (path, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(part),
        }
        if is_last && matches!(part, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// Takes `host`, `host:port` or `[address]:port` apart.
pub fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let colon = match authority.rfind(']') {
        Some(bracket) if authority[bracket + 1..].is_empty() => None,
        Some(bracket) if authority[bracket + 1..].starts_with(':') => Some(bracket + 1),
        Some(_) => return None,
        None => authority.find(':'),
    };
    let (host, port) = match colon {
        Some(colon) => (&authority[..colon], Some(authority[colon + 1..].parse().ok()?)),
        None => (authority, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            // Nor could it be told from an option of a program that looks it up.
            !host.is_empty() && !host.starts_with('-') && host.bytes().all(letter)
        }
    };
    fits.then_some((host, port))
}

/// Whether a host is this machine itself, by its name alone.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Writes text as it goes into a query: everything but letters, digits and `-._~` as `%XX`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_taken_apart() {
        let plain = url("http://LocalHost:5000/v2/?a=b#c");
        assert_eq!((plain.tls, plain.host.as_str(), plain.port), (false, "localhost", 5000));
        assert_eq!(plain.path, "/v2/?a=b");
        assert_eq!(url("https://quay.io").to_string(), "https://quay.io/");
        assert_eq!(url("https://quay.io?x").path, "/?x");
        assert_eq!(url("https://[::1]:8/x").host, "[::1]");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "quay.io/v2",
            "ftp://quay.io/",
            "https://",
            "https:///v2/",
            "https://user:secret@quay.io/",
            "https://quay.io:99999/",
            "https://quay.io:/",
            "https://[::1/",
            "https://-x/",
            "https://[::1]x/",
            "https://a b/",
            "https://quay.io/\r\nHost:evil",
            "https://quay.io/\u{e9}",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn locations_lead_on_from_where_they_were_said() {
        let here = url("https://quay.io:444/v2/a/blobs/x?y=1");
        for (location, there) in [
            ("https://cdn.quay.io/z?k=http://x", "https://cdn.quay.io/z?k=http://x"),
            ("//cdn.quay.io/z", "https://cdn.quay.io/z"),
            ("/z?k=http://x", "https://quay.io:444/z?k=http://x"),
            ("z", "https://quay.io:444/v2/a/blobs/z"),
            ("?y=2", "https://quay.io:444/v2/a/blobs/x?y=2"),
            ("../../b/z?k=../x", "https://quay.io:444/v2/b/z?k=../x"),
            ("../../../../../z", "https://quay.io:444/z"),
            ("/a/./b/..", "https://quay.io:444/a/"),
            ("./z", "https://quay.io:444/v2/a/blobs/z"),
            ("/a//b/", "https://quay.io:444/a//b/"),
        ] {
            assert_eq!(here.join(location).unwrap(), url(there), "{location}");
        }
        assert!(here.join("file:///etc/passwd").is_err());
    }

    #[test]
    fn servers_are_told_apart() {
        assert!(url("https://a/x").same_server(&url("https://A:443/y")));
        for other in ["http://a/x", "https://b/x", "https://a:444/x", "https://a.evil/x"] {
            assert!(!url("https://a/x").same_server(&url(other)), "{other}");
        }
    }

    #[test]
    fn loopback_is_known_by_its_names() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.evil.org", "127.0.0.1.evil.org", "128.0.0.1", "[::2]", "1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("repository:a/b:pull&x=é"), "repository%3Aa%2Fb%3Apull%26x%3D%C3%A9");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(base in "https?://[a-z]{1,8}(:[0-9]{1,3})?/.{0,20}", text in ".{0,60}") {
            let _ = Url::parse(&text);
            if let Ok(here) = Url::parse(&base)
                && let Ok(there) = here.join(&text)
            {
                prop_assert_eq!(Url::parse(&there.to_string()).unwrap(), there);
            }
        }
    }
}
