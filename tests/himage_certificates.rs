//! Certificates: those that are believed because they were named, and those that are shown.

use std::fs;
use std::path::PathBuf;

use super::himage_pull_lies::Shelf;
use super::support::Scratch;
use super::support::live::outcome_in_time;
use super::support::registry::{Authority, Himage, Kind, Layout, Registry};
use super::support::scratch::own;
use super::support::web::Web;

/// What makes a certificate that signs itself; `openssl req -x509` makes an authority if nothing else is said.
fn self_signed(maker: &Authority, name: &str, more: &str) -> (PathBuf, PathBuf) {
    maker.openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
         {more} -keyout {name}.key -out {name}.pem"
    ));
    let files =
        (maker.scratch().join(format!("{name}.pem")), maker.scratch().join(format!("{name}.key")));
    own(&files.1);
    files
}

/// A directory for certificates as podman looks for it, with files in it.
fn certs_d(registry: &str, files: &[(&str, &PathBuf)]) -> Scratch {
    let config = Scratch::new();
    for (name, file) in files {
        let bytes = fs::read(file).unwrap();
        config.file(&format!("containers/certs.d/{registry}/{name}"), bytes);
    }
    config
}

#[test]
fn a_certificate_that_signs_itself_is_believed_if_it_is_named() {
    let maker = Authority::new();
    for (kind, more) in
        [("authority", ""), ("server", "-addext basicConstraints=critical,CA:FALSE")]
    {
        let more = format!("{more} -addext subjectAltName=DNS:localhost");
        let (certificate, key) = self_signed(&maker, kind, &more);
        let shelf = Shelf::new();
        let web = Web::start_tls(&certificate, &key, move |asked| shelf.honest(asked));
        let registry = format!("localhost:{}", web.port);
        let name = format!("{registry}/app");
        let ca = certificate.to_str().unwrap();
        let outcome = Himage::new().run(&["pull", &name, "--ca", ca]);
        assert_eq!(outcome.status, Some(0), "{kind}: {}", outcome.stderr);
        let config = certs_d(&registry, &[("own.crt", &certificate)]);
        let himage = Himage::new();
        let mut pull = himage.command(&["pull", &name]);
        outcome_in_time(pull.env("XDG_CONFIG_HOME", config.path())).succeeds();
        // It is a matter of its bytes, not of what it says of itself.
        let (other, _) = self_signed(&maker, "other", &more);
        let himage = Himage::new();
        let mut pull = himage.command(&["pull", &name, "--ca", other.to_str().unwrap()]);
        himage.refuses(&mut pull, &["the certificate of localhost:"]);
    }
}

#[test]
fn a_named_certificate_counts_for_its_own_names_and_time() {
    let maker = Authority::new();
    let (certificate, key) = self_signed(&maker, "named", "-addext subjectAltName=DNS:elsewhere");
    let shelf = Shelf::new();
    let web = Web::start_tls(&certificate, &key, move |asked| shelf.honest(asked));
    let himage = Himage::new();
    let name = format!("localhost:{}/app", web.port);
    let mut pull = himage.command(&["pull", &name, "--ca", certificate.to_str().unwrap()]);
    himage.refuses(&mut pull, &["is for another name"]);
    // One that a stranger's authority has signed is no authority itself.
    let stranger = Authority::new();
    let (certificate, key) = stranger.sign("DNS:localhost");
    let shelf = Shelf::new();
    let web = Web::start_tls(&certificate, &key, move |asked| shelf.honest(asked));
    let name = format!("localhost:{}/app", web.port);
    Himage::new().run(&["pull", &name, "--ca", certificate.to_str().unwrap()]).succeeds();
    let (old, key) = (stranger.scratch().join("old.pem"), stranger.scratch().join("server.key"));
    stranger.openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -extfile names -out old.pem",
    );
    let shelf = Shelf::new();
    let web = Web::start_tls(&old, &key, move |asked| shelf.honest(asked));
    let himage = Himage::new();
    let name = format!("localhost:{}/app", web.port);
    let mut pull = himage.command(&["pull", &name, "--ca", old.to_str().unwrap()]);
    himage.refuses(&mut pull, &["has expired"]);
}

#[test]
fn a_certificate_is_shown_to_the_registry_it_is_for() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:localhost,IP:127.0.0.1");
    let registry = Registry::of(|_| Kind {
        http: format!(
            ", tls: {{ certificate: {}, key: {}, clientcas: [{}] }}",
            certificate.display(),
            key.display(),
            authority.file().display()
        ),
        ..Kind::default()
    });
    let host = format!("localhost:{}", registry.port);
    let pair = [("ca.crt", &authority.file()), ("me.cert", &certificate), ("me.key", &key)];
    let config = certs_d(&host, &pair);
    let directory = config.join(format!("containers/certs.d/{host}"));
    let (layout, _) = Layout::of(&[("data", b"for members")]);
    let option = format!("--dest-cert-dir={}", directory.display());
    registry.push(&layout, "app", "app", &[&option]);
    let pull = |himage: &Himage, config: &Scratch| {
        let mut pull = himage.command(&["pull", "-v", &format!("{host}/app")]);
        pull.env("XDG_CONFIG_HOME", config.path());
        pull
    };
    let outcome = outcome_in_time(&mut pull(&Himage::new(), &config));
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let shown = format!("{} is for {host}", directory.join("me.cert").display());
    assert!(outcome.stderr.contains(&shown), "{}", outcome.stderr);
    // Without it, and with one that cannot be read.
    let himage = Himage::new();
    let without = outcome_in_time(&mut pull(&himage, &certs_d(&host, &pair[..1])));
    assert_eq!(without.status, Some(125), "{}", without.stderr);
    assert!(without.stderr.contains("wants to see a certificate"), "{}", without.stderr);
    let closed = outcome_in_time(&mut pull(&himage, &certs_d(&host, &pair[..2])));
    assert!(closed.stderr.contains("me.key cannot be read"), "{}", closed.stderr);
}
