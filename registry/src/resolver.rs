//! Addresses of hosts, without the C library: in a static program its resolver would load the
//! host's modules, of whatever version (docs/decisions/0022).
#![allow(clippy::disallowed_methods, reason = "reads /etc/hosts and starts getent")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::program;

/// Asks, in this order: the name itself, `/etc/hosts`, and `getent`, which asks whatever the
/// machine is configured to ask.
#[derive(Debug)]
pub struct Getent;

impl Resolver for Getent {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(usual));
        let patience = if timeout.after.is_not_happening() { LONG } else { *timeout.after };
        let mut found = self.empty();
        let most = 16;
        for address in addresses(host, patience)?.into_iter().take(most) {
            found.push(SocketAddr::new(address, port));
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

const LONG: Duration = Duration::from_secs(30);

fn addresses(host: &str, patience: Duration) -> Result<Vec<IpAddr>, ureq::Error> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = in_hosts(&hosts, host);
    if !known.is_empty() {
        return Ok(known);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let mut getent = Command::new("getent");
    match program::ask(getent.args(["ahosts", host]), "", patience) {
        Ok(answer) => Ok(in_answer(&String::from_utf8_lossy(&answer.output))),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(ureq::Error::Timeout(ureq::Timeout::Resolve))
        }
        Err(error) => {
            let words = format!("getent, which looks up {host}, cannot be started: {error}");
            Err(ureq::Error::Other(words.into()))
        }
    }
}

/// The addresses of a host in `/etc/hosts`.
fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.push(address);
        }
    }
    found
}

/// The addresses that `getent ahosts` printed, each once.
fn in_answer(answer: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in answer.lines() {
        let Some(Ok(address)) = line.split_whitespace().next().map(str::parse) else { continue };
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn hosts_are_read() {
        let hosts = "127.0.0.1\tlocalhost\n#1.1.1.1 hub\n10.0.0.1 hub.site.org HUB # hub2\n\
                     fe80::1 hub\nnonsense hub\n\n::1";
        assert_eq!(in_hosts(hosts, "hub"), addresses(&["10.0.0.1", "fe80::1"]));
        assert_eq!(in_hosts(hosts, "Hub.Site.Org"), addresses(&["10.0.0.1"]));
        assert!(in_hosts(hosts, "hub2").is_empty());
    }

    #[test]
    fn answers_of_getent_are_read() {
        let answer = "192.0.2.1  STREAM hub.site.org\n192.0.2.1  DGRAM  \n192.0.2.1  RAW    \n\
                      2001:db8::1  STREAM \n";
        assert_eq!(in_answer(answer), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert!(in_answer("").is_empty());
    }

    #[test]
    fn numbers_are_addresses() {
        assert_eq!(super::addresses("[::1]", LONG).unwrap(), addresses(&["::1"]));
        assert_eq!(super::addresses("10.1.2.3", LONG).unwrap(), addresses(&["10.1.2.3"]));
    }
}
