//! What failed connections and unwelcome answers mean, in words, and what to do about them.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use serde::Deserialize;
use ureq::http::StatusCode;
use ureq::{Error, Timeout};

use crate::failure::{Failure, Kind, shown};
use crate::http::{RESPOND, SILENCE};
use crate::proxy::Proxy;
use crate::url::{Url, is_loopback};

/// What to do where encryption is missing.
pub const PLAIN: &str = "if it has none and you trust the network: --plain-http, or in himage.toml\n\
    [registries.\"HOST:PORT\"]\nplain-http = true";

/// What to do where nobody can be believed.
pub const AUTHORITIES: &str =
    "install ca-certificates, or name a file: --ca FILE, or SSL_CERT_FILE=FILE";

/// Words for a connection that failed.
pub fn in_words(error: Error, url: &Url, proxy: Option<&Proxy>) -> Failure {
    let server = url.server();
    let cut = || Failure::of(Kind::Again(None), format!("{server} has cut the connection"));
    match error {
        Error::Io(error) => io_in_words(&error, url, proxy).unwrap_or_else(cut),
        Error::Rustls(error) => tls_in_words(&error, url),
        Error::HostNotFound => unreachable(url, "its address is not known", proxy),
        Error::Timeout(Timeout::Resolve) => {
            unreachable(url, "looking up its address takes too long", proxy)
        }
        Error::Timeout(Timeout::Connect) => unreachable(url, "it does not answer", proxy),
        Error::Timeout(Timeout::RecvResponse) => {
            let reason = format!("{server} has not answered within {} s", RESPOND.as_secs());
            Failure::of(Kind::Again(None), reason)
        }
        Error::Timeout(_) => {
            let reason = format!("{server} is silent (for {} s)", SILENCE.as_secs());
            Failure::of(Kind::Again(None), reason)
        }
        Error::ConnectProxyFailed(reason) if reason.contains("407") => {
            let name = proxy.map_or("https_proxy", |proxy| proxy.variable);
            Failure::new(format!("the proxy of {name} wants a name and a password (407)"))
                .hint(format!("{name}=http://NAME:PASSWORD@HOST:PORT"))
        }
        Error::ConnectProxyFailed(reason) => {
            let name = proxy.map_or("the proxy", |proxy| proxy.variable);
            let reason = format!("{name} does not lead to {server}: {}", shown(&reason));
            Failure::new(reason).hint(format!("no_proxy={} goes there directly", url.host))
        }
        Error::Protocol(_) | Error::LargeResponseHeader(..) => {
            Failure::new(format!("{server} does not answer as a web server does ({error})"))
        }
        Error::Other(reason) => Failure::new(reason.to_string()),
        error => Failure::new(format!("{server} cannot be asked: {error}")),
    }
}

fn io_in_words(error: &io::Error, url: &Url, proxy: Option<&Proxy>) -> Option<Failure> {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(tls) = tls {
        return Some(tls_in_words(tls, url));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(unreachable(url, "it refuses connections", proxy)),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => {
            Some(unreachable(url, "no way leads there from here", proxy))
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            let reason = format!("{} is silent (for {} s)", url.server(), SILENCE.as_secs());
            Some(Failure::of(Kind::Again(None), reason))
        }
        _ => None,
    }
}

fn unreachable(url: &Url, why: &str, proxy: Option<&Proxy>) -> Failure {
    let failure =
        Failure::of(Kind::Unreachable, format!("{} cannot be reached: {why}", url.server()));
    match proxy {
        Some(proxy) => failure.hint(format!("it is asked through the proxy of {}", proxy.variable)),
        None if is_loopback(&url.host) => failure.hint("is a registry running on this machine?"),
        None => failure.hint(
            "check its name; where only a proxy leads out, set https_proxy=http://HOST:PORT;\n\
             compute nodes often have no way out: pull on a login node",
        ),
    }
}

fn tls_in_words(error: &rustls::Error, url: &Url) -> Failure {
    use rustls::Error as Tls;
    let server = url.server();
    let certificate = |what: String, hint: &str| {
        Failure::new(format!("the certificate of {server} {what}")).hint(hint)
    };
    match error {
        Tls::InvalidMessage(_) => Failure::new(format!("{server} does not speak TLS")).hint(PLAIN),
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let hint = "if the authority is your site's: --ca FILE, or in himage.toml\n\
                        [registries.\"HOST:PORT\"]\nca = [\"/path/of/FILE\"]";
            certificate("is of an authority that nobody here knows".into(), hint)
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => certificate("is for another name".into(), "use the name the certificate is for"),
        Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => certificate("has expired".into(), "check this machine's clock: date"),
        Tls::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => certificate("is not valid yet".into(), "check this machine's clock: date"),
        Tls::InvalidCertificate(reason) => {
            let hint = "a certificate that signs itself is believed if it is named itself: --ca FILE, or in\n\
                        ~/.config/containers/certs.d/HOST:PORT/NAME.crt";
            certificate(format!("cannot be believed ({reason:?})"), hint)
        }
        Tls::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => Failure::new(format!("{server} wants to see a certificate, or another one ({error})"))
            .hint(format!(
                "put it and its key into ~/.config/containers/certs.d/{server}: NAME.cert and NAME.key"
            )),
        // As it is when a connection is cut while keys are exchanged.
        Tls::HandshakeNotComplete => {
            Failure::of(Kind::Again(None), format!("{server} has cut the connection"))
        }
        error => Failure::new(format!("no encryption with {server}: {error}")),
    }
}

/// What a layer is called where there is none.
pub const LAYER: &str = "such layer";

/// Words for an answer that is not what was asked for.
///
/// `said` is the beginning of what came with it; `what` was asked for.
pub fn status_in_words(
    status: u16,
    url: &Url,
    what: &str,
    said: &[u8],
    after: Option<&str>,
) -> Failure {
    let server = url.server();
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut reason = format!("{server} says {status} {}", name.unwrap_or_default());
    reason.truncate(reason.trim_end().len());
    if let Some(message) = message(said) {
        reason = format!("{reason} ({message})");
    }
    let seconds = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    match status {
        404 | 410 if what == LAYER => Failure::of(Kind::Missing, reason).hint(
            "a layer of the image is missing there: have the image pushed again, or tell who runs the registry",
        ),
        404 | 410 => Failure::of(Kind::Missing, reason).hint(format!(
            "there is no {what}: check name and tag (skopeo list-tags docker://NAME shows all of them)"
        )),
        429 => Failure::of(Kind::Again(seconds), reason).hint(
            "it limits how much one may fetch: wait, log in, or name a mirror of your site in himage.toml",
        ),
        408 | 500 | 502 | 503 | 504 => Failure::of(Kind::Again(seconds), reason)
            .hint("the registry, or what stands before it, has trouble: try later"),
        _ => Failure::new(reason),
    }
}

/// The message of a registry's error.
fn message(said: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let said: Said = serde_json::from_slice(said).ok()?;
    let first = said.errors.first()?;
    let text = if first.message.is_empty() { &first.code } else { &first.message };
    (!text.is_empty()).then(|| shown(text))
}

/// Whether an answer is a registry's: it has errors of the form the specification gives them.
pub fn is_a_registrys(said: &[u8]) -> bool {
    message(said).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("https://quay.io:444/v2/").unwrap()
    }

    fn status(status: u16, said: &str, after: Option<&str>) -> Failure {
        status_in_words(status, &url(), "such image", said.as_bytes(), after)
    }

    #[test]
    fn answers_are_named_with_what_the_registry_says() {
        let said =
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let failure = status(404, said, None);
        assert_eq!(failure.reason, "quay.io:444 says 404 Not Found (manifest unknown)");
        assert_eq!(failure.kind, Kind::Missing);
        assert_eq!(status(403, "<html>", None).reason, "quay.io:444 says 403 Forbidden");
        assert_eq!(status(777, r#"{"errors":[]}"#, None).reason, "quay.io:444 says 777");
        let hostile = r#"{"errors":[{"code":"X","message":"a\u001b[2Jb\nhimage: fine"}]}"#;
        assert_eq!(
            status(400, hostile, None).reason,
            "quay.io:444 says 400 Bad Request (a [2Jb himage: fine)"
        );
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let seconds = |count| Kind::Again(Some(Duration::from_secs(count)));
        assert_eq!(status(429, "", Some("7")).kind, seconds(7));
        assert_eq!(status(503, "", Some(" 0 ")).kind, seconds(0));
        assert_eq!(status(500, "", Some("Wed, 21 Oct 2026 07:28:00 GMT")).kind, Kind::Again(None));
        assert_eq!(status(501, "", None).kind, Kind::Final);
        let cut = in_words(Error::Io(io::ErrorKind::UnexpectedEof.into()), &url(), None);
        assert_eq!(cut.kind, Kind::Again(None));
        let refused = in_words(Error::Io(io::ErrorKind::ConnectionRefused.into()), &url(), None);
        assert_eq!(refused.kind, Kind::Unreachable);
        assert_eq!(in_words(Error::HostNotFound, &url(), None).kind, Kind::Unreachable);
    }

    #[test]
    fn certificates_are_named_with_the_remedy() {
        let words =
            |error| in_words(Error::Rustls(rustls::Error::InvalidCertificate(error)), &url(), None);
        let unknown = words(CertificateError::UnknownIssuer);
        assert!(unknown.reason.contains("authority") && unknown.hint.unwrap().contains("--ca"));
        assert!(words(CertificateError::Expired).hint.unwrap().contains("date"));
        assert!(words(CertificateError::NotValidForName).reason.contains("another name"));
        // As it comes out of a handshake.
        let wrapped =
            io::Error::other(rustls::Error::InvalidCertificate(CertificateError::Expired));
        assert!(in_words(Error::Io(wrapped), &url(), None).reason.contains("expired"));
    }
}
