//! `registries.conf`, by which podman and skopeo know mirrors, and what may not be asked.

use std::process::Command;

use super::himage_pull_lies::Shelf;
use super::support::Scratch;
use super::support::live::outcome_in_time;
use super::support::registry::{Authority, Himage, Layout, Registry, free_port};
use super::support::web::{Web, answer};

/// A user's configuration with this file in it.
fn config(text: &str) -> Scratch {
    let config = Scratch::new();
    config.file("containers/registries.conf", text);
    config
}

fn pull(himage: &Himage, name: &str, config: &Scratch) -> Command {
    let mut pull = himage.command(&["pull", name, "-v"]);
    pull.env("XDG_CONFIG_HOME", config.path());
    pull
}

#[track_caller]
fn pulled(name: &str, config: &Scratch) -> String {
    let outcome = outcome_in_time(&mut pull(&Himage::new(), name, config));
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    outcome.stderr
}

#[test]
fn mirrors_and_other_places_are_asked() {
    let registry = Registry::start();
    let (layout, _) = Layout::of(&[("data", b"mirrored")]);
    registry.push(&layout, "app", "hub/library/debian:12", &[]);
    registry.push(&layout, "app", "archive/group/app:1", &[]);
    let here = format!("127.0.0.1:{}", registry.port);
    let text = format!(
        "unqualified-search-registries = ['example.invalid']\n\
         [[registry]]\nlocation = 'docker.io'\n\
         [[registry.mirror]]\nlocation = '127.0.0.1:{}'\n\
         [[registry.mirror]]\nlocation = '{here}/hub'\n\
         [[registry]]\nprefix = 'old.invalid/group'\nlocation = '{here}/archive/group'\n",
        free_port()
    );
    let file = config(&text);
    let words = pulled("debian:12", &file);
    let from = file.join("containers/registries.conf").display().to_string();
    assert!(
        words.contains(&format!("{here}/hub/library/debian is asked, as {from} says")),
        "{words}"
    );
    pulled("old.invalid/group/app:1", &file);
    // What is put over it, and what himage's own file says.
    file.file(
        "containers/registries.conf.d/50-more.conf",
        format!("[[registry]]\nprefix = 'new.invalid'\nlocation = '{here}/archive'\n"),
    );
    pulled("new.invalid/group/app:1", &file);
    file.file("hrun/himage.toml", "[registries.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n");
    let himage = Himage::new();
    let mut other = pull(&himage, "debian:12", &file);
    // No way leads to Docker Hub itself.
    other.env("https_proxy", format!("http://127.0.0.1:{}", free_port()));
    let outcome = outcome_in_time(&mut other);
    assert!(
        outcome.stderr.contains("a mirror was asked first: 127.0.0.1:1 "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_is_blocked_is_not_asked() {
    let web = Web::start(|_| answer(404, "{}"));
    let here = format!("127.0.0.1:{}", web.port);
    let file = config(&format!("[[registry]]\nprefix = '{here}/secret'\nblocked = true\n"));
    let himage = Himage::new();
    let from = file.join("containers/registries.conf").display().to_string();
    let mut refused = pull(&himage, &format!("{here}/secret/app"), &file);
    himage.refuses(&mut refused, &[&from, "blocked = true"]);
    assert!(web.asked().is_empty());
    outcome_in_time(&mut pull(&himage, &format!("{here}/secrets/app"), &file));
    assert!(!web.asked().is_empty());
}

/// `insecure = true`: encryption if there is some, whatever the certificate, else none.
#[test]
fn an_insecure_registry_needs_no_certificate() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:elsewhere");
    let shelf = Shelf::new();
    let encrypted = Web::start_tls(&certificate, &key, move |asked| shelf.honest(asked));
    let plain = Shelf::new().serve(|_, _| None);
    for port in [encrypted.port, plain.port] {
        let here = format!("127.0.0.1:{port}");
        let text = format!("[[registry]]\nlocation = '{here}'\ninsecure = true\n");
        pulled(&format!("{here}/app"), &config(&text));
    }
    let name = format!("127.0.0.1:{}/app", encrypted.port);
    let file = config("");
    file.file(
        "hrun/himage.toml",
        format!("[registries.\"127.0.0.1:{}\"]\nplain-http = false\n", encrypted.port),
    );
    let himage = Himage::new();
    let refused = outcome_in_time(&mut pull(&himage, &name, &file));
    assert!(refused.stderr.contains("the certificate of 127.0.0.1"), "{}", refused.stderr);
}

#[test]
fn a_garbled_file_is_passed_over_with_a_warning() {
    let web = Shelf::new().serve(|_, _| None);
    let file = config("\n[[registry]\n");
    let words = pulled(&format!("127.0.0.1:{}/app", web.port), &file);
    let place = file.join("containers/registries.conf").display().to_string();
    assert!(words.contains(&format!("{place}:2 cannot be used")), "{words}");
}
