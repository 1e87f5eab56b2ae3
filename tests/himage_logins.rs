//! Logins: where they are looked for, when they are shown, and what is said where they do not help.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::himage_pull_lies::Shelf;
use super::himage_pull_logins::{auths, base64};
use super::support::Scratch;
use super::support::live::outcome_in_time;
use super::support::registry::{Himage, USER};
use super::support::web::{Asked, Said, Web, answer};

fn shows_the_password(asked: &Asked) -> bool {
    let basic = format!("Basic {}", base64(format!("{}:{}", USER.0, USER.1).as_bytes()));
    asked.header("authorization") == Some(&basic)
}

fn challenge(challenge: String) -> Said {
    Said::Answer(401, vec![("WWW-Authenticate", challenge)], Vec::new())
}

/// A registry that hides what it has from strangers by a status, and says what it wants to see at /v2/ only.
fn hides(status: u16) -> Web {
    Shelf::new().serve(move |asked, _| match asked.path.as_str() {
        _ if shows_the_password(asked) => None,
        "/v2/" => Some(challenge("Basic realm=\"x\"".into())),
        _ => Some(answer(status, "{\"errors\":[{\"code\":\"NAME_UNKNOWN\"}]}")),
    })
}

/// A registry whose server of tokens answers strangers and those with the password as it is told to.
fn with_tokens(stranger: (u16, &'static str), friend: (u16, &'static str)) -> (Web, Web) {
    let tokens = Web::start(move |asked| {
        let (status, said) = if shows_the_password(asked) { friend } else { stranger };
        answer(status, said)
    });
    let realm = tokens.port;
    let web = Shelf::new().serve(move |asked, _| match asked.header("authorization") {
        Some("Bearer good") => None,
        _ => Some(challenge(format!("Bearer realm=\"http://127.0.0.1:{realm}/token\""))),
    });
    (web, tokens)
}

fn name(web: &Web) -> String {
    format!("127.0.0.1:{}/app", web.port)
}

/// A home with a file of logins in it.
fn home(path: &str, text: &str) -> Scratch {
    let home = Scratch::new();
    home.file(path, text);
    home
}

fn pull_at(himage: &Himage, web: &Web, home: &Path) -> Command {
    let mut command = himage.command(&["pull", &name(web)]);
    command.env("HOME", home);
    command
}

fn docker_login(web: &Web) -> Scratch {
    let text = auths(&format!("127.0.0.1:{}", web.port), USER.0, USER.1);
    home(".docker/config.json", &text)
}

#[test]
fn registries_that_hide_are_shown_the_login() {
    for status in [403, 404] {
        let web = hides(status);
        let himage = Himage::new();
        let home = docker_login(&web);
        outcome_in_time(&mut pull_at(&himage, &web, home.path())).succeeds();
        // Once: what is accepted is shown from then on.
        let asked = web.asked();
        assert_eq!(asked.iter().filter(|asked| asked.path == "/v2/").count(), 1, "{asked:?}");
        // Without one it is said that there may be a way.
        let himage = Himage::new();
        let says = format!("says {status}");
        himage.refuses(&mut himage.command(&["pull", &name(&web)]), &[&says, "skopeo login"]);
        // And one that does not help is shown once, and named.
        let home = docker_login(&web);
        let key = format!("127.0.0.1:{}", web.port);
        home.file(".docker/config.json", auths(&key, USER.0, "wrong"));
        web.forget();
        himage.refuses(&mut pull_at(&himage, &web, home.path()), &[&says]);
        let asked = web.asked();
        let shown = asked.iter().filter(|asked| asked.header("authorization").is_some());
        assert_eq!(shown.count(), 1, "{asked:?}");
    }
}

#[test]
fn a_refusal_without_a_way_to_log_in_is_not_blamed_on_the_login() {
    let web = Shelf::new().serve(|_, _| Some(answer(403, "{}")));
    let himage = Himage::new();
    let home = docker_login(&web);
    let words = himage.refuses(&mut pull_at(&himage, &web, home.path()), &["says 403"]);
    assert!(words.contains("was not shown the login"), "{words}");
    assert!(web.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn files_without_a_word_stop_no_pull() {
    let (web, _tokens) = with_tokens((200, "{\"token\":\"good\"}"), (401, ""));
    for (text, is_garbled) in [
        ("", false),
        ("null", false),
        ("{\"auths\":null}", false),
        ("{\"auths\":{\"127.0.0.1\":null},\"credsStore\":null}", false),
        ("{\"auths\":{\"a", true),
        ("\"text\"", true),
        ("nonsense", true),
    ] {
        let home = home(".docker/config.json", text);
        let himage = Himage::new();
        let outcome = outcome_in_time(&mut pull_at(&himage, &web, home.path()));
        assert_eq!(outcome.status, Some(0), "{text}: {}", outcome.stderr);
        let file = home.join(".docker/config.json");
        let warning = format!("the logins in {} cannot be used: it is ", file.display());
        let warnings = outcome.stderr.matches(&warning).count();
        assert_eq!(warnings, usize::from(is_garbled), "{text}: {}", outcome.stderr);
    }
}

#[test]
fn logins_of_other_programs_are_found() {
    let (web, tokens) = with_tokens((401, ""), (200, "{\"token\":\"good\"}"));
    let key = format!("127.0.0.1:{}", web.port);
    let docker = auths(&key, USER.0, USER.1);
    let netrc = format!("machine {key} login {} password {}\n", USER.0, USER.1);
    // By the server of tokens, as enroot has it; here it has the registry's own address.
    let by_host = format!("machine 127.0.0.1 login {} password {}\n", USER.0, USER.1);
    for (file, text) in [
        (".apptainer/docker-config.json", &docker),
        (".singularity/docker-config.json", &docker),
        (".config/enroot/.credentials", &netrc),
        (".config/enroot/.credentials", &by_host),
    ] {
        let (home, himage) = (home(file, text), Himage::new());
        let mut pull = pull_at(&himage, &web, home.path());
        let outcome = outcome_in_time(pull.arg("-v"));
        assert_eq!(outcome.status, Some(0), "{file}: {}", outcome.stderr);
        let from = format!("the login for {key} is from {}", home.join(file).display());
        assert!(outcome.stderr.contains(&from), "{}", outcome.stderr);
    }
    assert!(tokens.asked().iter().all(shows_the_password), "it was shown at once");
    let elsewhere = home("own/.credentials", &netrc);
    let himage = Himage::new();
    let mut pull = himage.command(&["pull", &name(&web)]);
    outcome_in_time(pull.env("ENROOT_CONFIG_PATH", elsewhere.join("own"))).succeeds();
    // What himage does not do is said.
    let command = home(".config/enroot/.credentials", &netrc.replace(USER.1, "$(cat secret)"));
    let himage = Himage::new();
    himage.refuses(
        &mut pull_at(&himage, &web, command.path()),
        &["401", "what a command prints", "enroot/.credentials"],
    );
}

/// They name no registry: one that lets strangers in does not see them.
#[test]
fn variables_are_the_last_resort() {
    for names in ["APPTAINER", "SINGULARITY"] {
        let with_variables = |himage: &Himage, web: &Web| {
            let mut pull = himage.command(&["pull", &name(web)]);
            pull.env(format!("{names}_DOCKER_USERNAME"), USER.0);
            pull.env(format!("{names}_DOCKER_PASSWORD"), USER.1);
            outcome_in_time(&mut pull)
        };
        let (web, tokens) = with_tokens((401, ""), (200, "{\"token\":\"good\"}"));
        with_variables(&Himage::new(), &web).succeeds();
        assert!(!shows_the_password(&tokens.asked()[0]));
        let (web, tokens) = with_tokens((200, "{\"token\":\"good\"}"), (401, ""));
        with_variables(&Himage::new(), &web).succeeds();
        assert!(!tokens.asked().iter().any(shows_the_password));
        // A token for strangers that opens nothing.
        let (web, _tokens) =
            with_tokens((200, "{\"token\":\"no\"}"), (200, "{\"token\":\"good\"}"));
        with_variables(&Himage::new(), &web).succeeds();
    }
}

#[test]
fn a_token_has_one_of_two_names() {
    for said in [
        "{\"token\":\"\",\"access_token\":\"good\"}",
        "{\"token\":null,\"access_token\":\"good\"}",
        "{\"token\":\"good\",\"access_token\":\"\"}",
    ] {
        let (web, _tokens) = with_tokens((200, said), (401, ""));
        Himage::new().run(&["pull", &name(&web)]).succeeds();
    }
}

#[test]
fn strangers_that_get_no_token_are_told_how_to_log_in() {
    for status in [401, 403] {
        let said = json!({ "errors": [{ "code": "DENIED", "message": "access forbidden" }] });
        let said: &str = said.to_string().leak();
        let (web, _tokens) = with_tokens((status, said), (401, ""));
        let himage = Himage::new();
        let login = format!("skopeo login 127.0.0.1:{}", web.port);
        let pull = &mut himage.command(&["pull", &name(&web)]);
        himage.refuses(pull, &["access forbidden", "found no login", &login]);
    }
}

/// A store of blobs that refuses has not heard of the registry's logins.
#[test]
fn a_refusal_where_a_registry_sends_us_is_no_matter_of_logins() {
    let web = Shelf::new().serve(|asked, shelf| {
        if asked.path.starts_with("/bucket/") {
            return Some(answer(403, "<Error>expired</Error>"));
        }
        let location = format!("/bucket/{}", shelf.layer);
        let there = vec![("Location", location)];
        asked.path.ends_with(&shelf.layer).then(|| Said::Answer(307, there, Vec::new()))
    });
    let himage = Himage::new();
    let home = docker_login(&web);
    for mut pull in [himage.command(&["pull", &name(&web)]), pull_at(&himage, &web, home.path())] {
        let words = himage.refuses(&mut pull, &["says 403", "sends us", "try again"]);
        assert!(!words.contains("skopeo login") && !words.contains("let you have"), "{words}");
    }
}

/// Neither a name nor a password goes over the network in the clear.
#[test]
fn a_plain_token_server_elsewhere_is_shown_no_password() {
    let web =
        Shelf::new().serve(|_, _| Some(challenge("Bearer realm=\"http://192.0.2.1/\"".to_owned())));
    let himage = Himage::new();
    let home = docker_login(&web);
    himage.refuses(&mut pull_at(&himage, &web, home.path()), &["without encryption"]);
}
