//! `himage pull` from registries that want to see a login: passwords, tokens, and who must never see them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::himage_pull_lies::Shelf;
use super::support::Scratch;
use super::support::live::outcome_in_time;
use super::support::registry::{Authority, Himage, Kind, Layout, Registry, USER, noise};
use super::support::scratch::chmod;
use super::support::web::{Asked, Said, Web, answer};

/// A registry that wants a password, with an image that skopeo has pushed with it.
fn with_password() -> (Registry, String) {
    let registry = Registry::with_password();
    let (layout, _) = Layout::of(&[("data", b"for some")]);
    let credentials = format!("--dest-creds={}:{}", USER.0, USER.1);
    registry.push(&layout, "app", "group/app", &[&credentials]);
    let name = registry.name("group/app");
    (registry, name)
}

/// A file of logins in which there is one for a registry.
pub fn auths(key: &str, user: &str, password: &str) -> String {
    json!({ "auths": { key: { "auth": base64(format!("{user}:{password}").as_bytes()) } } })
        .to_string()
}

pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let all = three.iter().fold(0, |all, byte| all << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter =
                if place <= three.len() { LETTERS[all >> (18 - 6 * place) & 63] } else { b'=' };
            text.push(char::from(letter));
        }
    }
    text
}

/// A command that pulls, with a file of logins at a place and a variable that names it.
fn pull_with(himage: &Himage, name: &str, variable: &str, value: PathBuf) -> Command {
    let mut command = himage.command(&["pull", name]);
    command.env(variable, value);
    command
}

#[test]
fn logins_are_found_where_programs_keep_them() {
    let (registry, name) = with_password();
    let key = format!("127.0.0.1:{}", registry.port);
    let logins = auths(&key, USER.0, USER.1);
    for (variable, file, value) in [
        ("DOCKER_CONFIG", "docker/config.json", "docker"),
        ("HOME", ".docker/config.json", ""),
        ("REGISTRY_AUTH_FILE", "any.json", "any.json"),
        ("XDG_RUNTIME_DIR", "containers/auth.json", ""),
        ("XDG_CONFIG_HOME", "containers/auth.json", ""),
        ("HOME", ".config/containers/auth.json", ""),
    ] {
        let scratch = Scratch::new();
        scratch.file(file, &logins);
        let himage = Himage::new();
        let mut pull = pull_with(&himage, &name, variable, scratch.join(value));
        let outcome = outcome_in_time(&mut pull);
        assert_eq!(outcome.status, Some(0), "{variable} {file}: {}", outcome.stderr);
    }
}

#[test]
fn skopeos_own_login_is_enough() {
    let (registry, name) = with_password();
    let scratch = Scratch::new();
    let file = scratch.directory("logins").join("auth.json");
    let mut login = super::support::as_tester("/usr/bin/skopeo".as_ref());
    login
        .args(["login", "--tls-verify=false", "--username", USER.0, "--password", USER.1])
        .arg(format!("--authfile={}", file.display()))
        .arg(format!("127.0.0.1:{}", registry.port));
    assert_eq!(outcome_in_time(&mut login).status, Some(0));
    let himage = Himage::new();
    let outcome = outcome_in_time(&mut pull_with(&himage, &name, "REGISTRY_AUTH_FILE", file));
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
}

#[test]
fn helpers_are_asked() {
    let (registry, name) = with_password();
    let scratch = Scratch::new();
    let program = |answer: &str| {
        let script = format!("#!/bin/sh\n[ \"$1\" = get ] && cat > asked && {answer}\n");
        chmod(&scratch.file("docker-credential-test", script), 0o755);
    };
    let key = format!("127.0.0.1:{}", registry.port);
    let path = format!("{}:/usr/bin:/bin", scratch.path().display());
    let pull = |himage: &Himage, logins: serde_json::Value| {
        scratch.file("config.json", logins.to_string());
        let mut pull = pull_with(himage, &name, "DOCKER_CONFIG", scratch.path().into());
        pull.env("PATH", &path).current_dir(scratch.path());
        pull
    };
    let answer = json!({ "ServerURL": key, "Username": USER.0, "Secret": USER.1 });
    program(&format!("echo '{answer}'"));
    for logins in [json!({ "credHelpers": { &key: "test" } }), json!({ "credsStore": "test" })] {
        let himage = Himage::new();
        let outcome = outcome_in_time(&mut pull(&himage, logins));
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert_eq!(fs::read_to_string(scratch.join("asked")).unwrap(), key);
    }
    // One that knows nothing, one that fails, one that is not there.
    let himage = Himage::new();
    program("{ echo credentials not found in native keychain; exit 1; }");
    let logins = json!({ "credsStore": "test" });
    let words = himage.refuses(&mut pull(&himage, logins.clone()), &["401", "found no login"]);
    assert!(!words.contains("docker-credential-test"), "{words}");
    program("{ echo the keyring is locked; exit 1; }");
    himage.refuses(&mut pull(&himage, logins), &["401", "docker-credential-test", "is locked"]);
    let missing = json!({ "credsStore": "desktop" });
    himage.refuses(
        &mut pull(&himage, missing),
        &["401", "docker-credential-desktop", "not installed"],
    );
}

#[test]
fn without_a_login_it_is_said_how_to_make_one() {
    let (registry, name) = with_password();
    let himage = Himage::new();
    let key = format!("127.0.0.1:{}", registry.port);
    let pull = &mut himage.command(&["pull", &name]);
    let login = format!("skopeo login {key}");
    himage
        .refuses(pull, &["says 401 Unauthorized", "found no login", &login, ".docker/config.json"]);
    let scratch = Scratch::new();
    let file = scratch.file("auth.json", auths(&key, USER.0, "wrong-word"));
    let mut wrong = pull_with(&himage, &name, "REGISTRY_AUTH_FILE", file.clone());
    let place = file.display().to_string();
    let words = himage.refuses(&mut wrong, &["says 401", &place, &login]);
    assert!(!words.contains("wrong-word"), "{words}");
    scratch.file("auth.json", "{nonsense");
    let mut garbled = pull_with(&himage, &name, "REGISTRY_AUTH_FILE", file);
    let outcome = outcome_in_time(&mut garbled);
    assert_eq!(outcome.status, Some(125));
    for part in [&place, "not JSON", "mv ", "says 401", "found no login"] {
        assert!(outcome.stderr.contains(part), "no '{part}' in:\n{}", outcome.stderr);
    }
}

/// A server of tokens that a real registry believes: it signs what that registry verifies.
struct Tokens {
    registry: Registry,
    web: Web,
}

impl Tokens {
    /// Everybody may have tokens for `open/app`; for `group/app` the password is wanted.
    fn start() -> Self {
        let authority = Arc::new(Authority::new());
        let bundle = authority.file();
        let signer = authority.clone();
        let certificate = fs::read_to_string(authority.file()).unwrap();
        let chain: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
        let web = Web::start(move |asked| {
            let scope = asked.query("scope").unwrap_or_default();
            let basic = format!("Basic {}", base64(format!("{}:{}", USER.0, USER.1).as_bytes()));
            let may = match asked.header("authorization") {
                Some(shown) if shown == basic => true,
                Some(_) => return answer(401, "{}"),
                None => scope.contains(":open/app:"),
            };
            let key = signer.scratch().join("ca.key");
            let token = token(&key, &chain, if may { &scope } else { "" });
            answer(200, json!({ "token": token, "expires_in": 60 }).to_string())
        });
        let realm = format!("http://127.0.0.1:{}/token?x=y", web.port);
        let registry = Registry::of(|_| Kind {
            auth: format!(
                "{{ token: {{ realm: '{realm}', service: tests, issuer: tests, rootcertbundle: {} }} }}",
                bundle.display()
            ),
            ..Kind::default()
        });
        Tokens { registry, web }
    }
}

/// A signed token (JWT, ES256) for a scope, in the form docker-registry reads.
fn token(key: &std::path::Path, chain: &str, scope: &str) -> String {
    let url =
        |bytes: &[u8]| base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let access: Vec<_> = match scope.split(':').collect::<Vec<_>>().as_slice() {
        [kind, name, actions] => {
            let actions: Vec<_> = actions.split(',').collect();
            vec![json!({ "type": kind, "name": name, "actions": actions })]
        }
        _ => Vec::new(),
    };
    let head = json!({ "typ": "JWT", "alg": "ES256", "x5c": [chain] });
    let claims = json!({
        "iss": "tests", "sub": "tester", "aud": "tests", "iat": now, "nbf": now - 10, "exp": now + 60,
        "jti": "1", "access": access,
    });
    let text =
        format!("{}.{}", url(head.to_string().as_bytes()), url(claims.to_string().as_bytes()));
    let scratch = Scratch::new();
    let message = scratch.file("message", &text);
    let mut openssl = Command::new("openssl");
    let output = openssl.args(["dgst", "-sha256", "-sign"]).arg(key).arg(message).output().unwrap();
    assert!(output.status.success());
    format!("{text}.{}", url(&plain_signature(&output.stdout)))
}

/// The two numbers of an ECDSA signature, each of 32 bytes, from their encoding (DER).
fn plain_signature(der: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        plain.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = &rest[2 + length..];
    }
    plain
}

#[test]
fn tokens_are_fetched_for_everybody_and_for_those_with_a_password() {
    let tokens = Tokens::start();
    let (layout, _) = Layout::of(&[("data", b"by token")]);
    let credentials = format!("--dest-creds={}:{}", USER.0, USER.1);
    for name in ["open/app", "group/app"] {
        tokens.registry.push(&layout, "app", name, &[&credentials]);
    }
    tokens.web.forget();
    let himage = Himage::new();
    himage.run(&["pull", &tokens.registry.name("open/app")]).succeeds();
    let asked = tokens.web.asked();
    assert_eq!(asked.len(), 1, "one token for all: {asked:?}");
    assert!(asked[0].header("authorization").is_none());
    assert_eq!(asked[0].query("scope").as_deref(), Some("repository:open/app:pull"));
    assert_eq!(asked[0].query("service").as_deref(), Some("tests"));
    assert_eq!(asked[0].query("x").as_deref(), Some("y"));

    let name = tokens.registry.name("group/app");
    let himage = Himage::new();
    himage.refuses(&mut himage.command(&["pull", &name]), &["401", "found no login"]);
    let scratch = Scratch::new();
    let key = format!("127.0.0.1:{}", tokens.registry.port);
    let file = scratch.file("auth.json", auths(&key, USER.0, USER.1));
    outcome_in_time(&mut pull_with(&himage, &name, "REGISTRY_AUTH_FILE", file.clone())).succeeds();
    scratch.file("auth.json", auths(&key, USER.0, "wrong"));
    let himage = Himage::new();
    let mut wrong = pull_with(&himage, &name, "REGISTRY_AUTH_FILE", file.clone());
    himage.refuses(&mut wrong, &["does not accept the login", file.to_str().unwrap()]);
}

/// A registry behind a server that wants a token and honours each so many times only.
fn rationed(registry: &Registry, uses: usize) -> (Web, Web) {
    let valid: Arc<Mutex<(usize, usize)>> = Arc::default();
    let given = valid.clone();
    let tokens = Web::start(move |_| {
        let mut valid = given.lock().unwrap();
        *valid = (valid.0 + 1, uses);
        answer(200, json!({ "access_token": format!("t{}", valid.0) }).to_string())
    });
    let (port, realm) = (registry.port, tokens.port);
    let web = Web::start(move |asked| {
        let mut valid = valid.lock().unwrap();
        let token = format!("Bearer t{}", valid.0);
        if asked.header("authorization") == Some(&token) && valid.1 > 0 {
            valid.1 -= 1;
            return Said::Forward(port);
        }
        let challenge = format!("Bearer realm=\"http://127.0.0.1:{realm}/\",service=\"s\"");
        Said::Answer(401, vec![("WWW-Authenticate", challenge)], Vec::new())
    });
    (web, tokens)
}

#[test]
fn tokens_that_have_expired_are_fetched_anew() {
    let registry = Registry::start();
    let (layout, _) = Layout::of(&[("data", b"x")]);
    registry.push(&layout, "app", "app", &[]);
    let (web, tokens) = rationed(&registry, 1);
    let himage = Himage::new();
    himage.run(&["pull", &format!("127.0.0.1:{}/app", web.port)]).succeeds();
    // Manifest, configuration, layer: each has used one up.
    assert_eq!(tokens.asked().len(), 3);
    // And those that nobody ever honours are not fetched for ever.
    let (web, tokens) = rationed(&registry, 0);
    let himage = Himage::new();
    let pull = &mut himage.command(&["pull", &format!("127.0.0.1:{}/app", web.port)]);
    himage.refuses(pull, &["says 401", "found no login"]);
    assert_eq!(tokens.asked().len(), 1);
}

/// Who is asked in a registry's place is told nothing that was meant for the registry.
#[test]
fn no_login_goes_where_a_registry_sends_us() {
    let (layout, image) = Layout::of(&[("data", &noise(4096))]);
    let manifest = layout.blobs[image["digest"].as_str().unwrap()].clone();
    let blobs = layout.blobs.clone();
    let elsewhere = Web::start(move |asked| {
        let digest = asked.path.rsplit('/').next().unwrap();
        blobs.get(digest).map_or_else(|| answer(404, ""), |blob| answer(200, blob.clone()))
    });
    let (there, hops) = (elsewhere.port, AtomicUsize::new(0));
    let web = Web::start(move |asked: &Asked| {
        if asked.header("authorization").is_none() {
            return Said::Answer(
                401,
                vec![("WWW-Authenticate", "Basic realm=x".into())],
                Vec::new(),
            );
        }
        if asked.path.contains("/manifests/") {
            return answer(200, manifest.clone());
        }
        // To another port, and to another name of the same machine.
        let name =
            if hops.fetch_add(1, Ordering::Relaxed) == 0 { "127.0.0.1" } else { "localhost" };
        let location = format!("http://{name}:{there}{}", asked.path);
        Said::Answer(307, vec![("Location", location)], Vec::new())
    });
    let scratch = Scratch::new();
    let key = format!("127.0.0.1:{}", web.port);
    let file = scratch.file("auth.json", auths(&key, USER.0, USER.1));
    let himage = Himage::new();
    let name = format!("{key}/app");
    outcome_in_time(&mut pull_with(&himage, &name, "REGISTRY_AUTH_FILE", file)).succeeds();
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|it| it.header("authorization").is_none()), "{asked:?}");
}

/// A token server that is not encrypted would get the password of one that is. A stranger has none to lose.
#[test]
fn no_password_goes_where_it_could_be_read() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:localhost");
    let tokens = Web::start(|_| answer(200, "{\"token\":\"t\"}"));
    let (realm, shelf) = (tokens.port, Shelf::new());
    let web = Web::start_tls(&certificate, &key, move |asked| {
        if asked.header("authorization") == Some("Bearer t") {
            return shelf.honest(asked);
        }
        let challenge = format!("Bearer realm=\"http://127.0.0.1:{realm}/token\"");
        Said::Answer(401, vec![("WWW-Authenticate", challenge)], Vec::new())
    });
    let ca = authority.file();
    let registry = format!("localhost:{}", web.port);
    let words = ["pull", &format!("{registry}/app"), "--ca", ca.to_str().unwrap()];
    let himage = Himage::new();
    let scratch = Scratch::new();
    let file = scratch.file("auth.json", auths(&registry, USER.0, USER.1));
    let mut with_login = himage.command(&words);
    with_login.env("REGISTRY_AUTH_FILE", file);
    himage.refuses(&mut with_login, &["wants tokens from 127.0.0.1", "not encrypted"]);
    assert!(tokens.asked().is_empty());
    himage.run(&words).succeeds();
    assert!(tokens.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

/// A registry behind what encrypts for it names itself without encryption.
#[test]
fn a_token_server_on_the_same_host_is_asked_with_encryption() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("DNS:localhost");
    let shelf = Shelf::new();
    let basic = format!("Basic {}", base64(format!("{}:{}", USER.0, USER.1).as_bytes()));
    let web = Web::start_tls(&certificate, &key, move |asked| {
        match asked.header("authorization") {
            Some("Bearer t") => return shelf.honest(asked),
            Some(shown) if shown == basic => return answer(200, "{\"token\":\"t\"}"),
            _ => {}
        }
        let challenge = "Bearer realm=\"http://localhost/service/token\"".to_owned();
        Said::Answer(401, vec![("WWW-Authenticate", challenge)], Vec::new())
    });
    let ca = authority.file();
    let registry = format!("localhost:{}", web.port);
    let scratch = Scratch::new();
    let file = scratch.file("auth.json", auths(&registry, USER.0, USER.1));
    let himage = Himage::new();
    let mut pull =
        himage.command(&["pull", &format!("{registry}/app"), "--ca", ca.to_str().unwrap()]);
    outcome_in_time(pull.env("REGISTRY_AUTH_FILE", file)).succeeds();
}
