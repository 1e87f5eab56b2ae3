//! Which requests go through a proxy: `https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`.

use std::net::IpAddr;

use crate::url::{Url, host_and_port, is_loopback};

/// The proxies of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    except: Vec<Exception>,
}

/// A proxy, and the variable that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// As it is written in the variable.
    pub address: String,
    /// The name of the variable.
    pub variable: &'static str,
}

/// Servers that are asked directly.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    /// A host and all below its name, at one port or at any.
    Name(String, Option<u16>),
    /// Addresses that begin with so many bits of this one.
    Network(IpAddr, u32),
}

impl Proxies {
    /// Reads the variables; names in small letters come first, as everywhere.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 4]| {
            names.into_iter().find_map(|name| {
                let address = variable(name).filter(|address| !address.is_empty())?;
                Some(Proxy { address, variable: name })
            })
        };
        let except = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Proxies {
            https: first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            except: except.split([',', ' ']).filter_map(|item| exception(item.trim())).collect(),
        }
    }

    /// The proxy for an address; never one for this machine itself.
    pub fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.tls { &self.https } else { &self.http };
        let direct = is_loopback(&url.host) || self.except.iter().any(|it| it.covers(url));
        proxy.as_ref().filter(|_| !direct)
    }
}

impl Exception {
    fn covers(&self, url: &Url) -> bool {
        match self {
            Exception::Everything => true,
            Exception::Name(name, port) => {
                let below = url.host.strip_suffix(name.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    && port.is_none_or(|port| port == url.port)
            }
            Exception::Network(network, bits) => {
                let bare = url.host.trim_start_matches('[').trim_end_matches(']');
                bare.parse().is_ok_and(|address| begins_with(address, *network, *bits))
            }
        }
    }
}

fn exception(item: &str) -> Option<Exception> {
    if item == "*" {
        return Some(Exception::Everything);
    }
    if let Some((network, bits)) = item.split_once('/') {
        let network: IpAddr = network.parse().ok()?;
        return Some(Exception::Network(network, bits.parse().ok()?));
    }
    if let Ok(address) = item.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(Exception::Network(address, 128));
    }
    let (name, port) = host_and_port(item.trim_start_matches('*').trim_start_matches('.'))?;
    Some(Exception::Name(name.to_ascii_lowercase(), port))
}

fn begins_with(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits.min(32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits.min(128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Proxies::from_variables(&|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[track_caller]
    fn through(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.of(&Url::parse(url).unwrap()).map(|proxy| proxy.address.clone())
    }

    #[test]
    fn each_scheme_has_its_own() {
        let set = proxies(&[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:2"), ("HTTP_PROXY", "c:3")]);
        assert_eq!(through(&set, "https://quay.io/").as_deref(), Some("a:1"));
        assert_eq!(through(&set, "http://quay.io/").as_deref(), Some("c:3"));
        let set = proxies(&[("ALL_PROXY", "d:4"), ("https_proxy", "")]);
        assert_eq!(through(&set, "https://quay.io/").as_deref(), Some("d:4"));
        assert_eq!(through(&proxies(&[]), "https://quay.io/"), None);
    }

    #[test]
    fn this_machine_is_asked_directly() {
        let set = proxies(&[("all_proxy", "d:4")]);
        for url in ["http://localhost:5000/", "https://127.0.0.1/", "http://[::1]:5000/"] {
            assert_eq!(through(&set, url), None, "{url}");
        }
    }

    #[test]
    fn exceptions_are_names_networks_and_ports() {
        let except = "site.org, .inner.net,*.star.net,10.1.0.0/16,192.0.2.7,[2001:db8::1],fc00::/7,p.org:5000,,%";
        let set = proxies(&[("https_proxy", "p:1"), ("NO_PROXY", except)]);
        for host in [
            "site.org",
            "hub.site.org",
            "SITE.ORG:5000",
            "inner.net",
            "a.b.inner.net",
            "x.star.net",
            "10.1.255.1",
            "192.0.2.7",
            "[2001:db8::1]:444",
            "[fd00::1]",
            "p.org:5000",
        ] {
            assert_eq!(through(&set, &format!("https://{host}/")), None, "{host}");
        }
        for host in
            ["website.org", "site.org.evil", "10.2.0.1", "192.0.2.8", "[2001:db8::2]", "p.org"]
        {
            assert!(through(&set, &format!("https://{host}/")).is_some(), "{host}");
        }
        let set = proxies(&[("https_proxy", "p:1"), ("no_proxy", "*")]);
        assert_eq!(through(&set, "https://quay.io/"), None);
    }
}
