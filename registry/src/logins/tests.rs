use proptest::prelude::*;

use super::*;

fn found(file: &str, registry: &str, repository: &str) -> Result<String, String> {
    let logins = Logins::parse(file.as_bytes())?;
    Ok(match logins.find(registry, repository)? {
        Found::Nothing => "nothing".into(),
        Found::Login(Login::Password(user, password)) => format!("{user} {password}"),
        Found::Login(Login::Identity(token)) => format!("identity {token}"),
        Found::Login(Login::Token(token)) => format!("token {token}"),
        Found::Helper { name, server } => format!("{name} {server}"),
    })
}

#[track_caller]
fn finds(file: &str, registry: &str, wanted: &str) {
    assert_eq!(found(file, registry, "group/app").as_deref(), Ok(wanted), "{file}");
}

#[test]
fn docker_and_podman_are_understood() {
    // user:pass:word
    let auth = r#"{"auths":{"hub.org:5000":{"auth":"dXNlcjpwYXNzOndvcmQ="}}}"#;
    finds(auth, "hub.org:5000", "user pass:word");
    finds(auth, "hub.org", "nothing");
    finds(&auth.replace("dQ==", "dQ"), "hub.org:5000", "user pass:word");
    finds(r#"{"auths":{"a.b":{"username":"u","password":"p"}}}"#, "a.b", "u p");
    finds(r#"{"auths":{"a.b":{"auth":"dTpw","identitytoken":"t"}}}"#, "a.b", "identity t");
    finds(r#"{"auths":{"a.b":{"registrytoken":"t"}}}"#, "a.b", "token t");
    finds(r#"{"auths":{"a.b":{}},"HttpHeaders":{"x":"y"}}"#, "a.b", "nothing");
    finds(r#"{"auths":{"a.b":null}}"#, "a.b", "nothing");
    finds("{}", "a.b", "nothing");
}

#[test]
fn docker_hub_has_several_names() {
    for key in [
        "https://index.docker.io/v1/",
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "https://registry-1.docker.io/v2/",
        "docker.io/v1/",
    ] {
        finds(&format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}}}}"#), "docker.io", "u p");
    }
}

#[test]
fn the_narrowest_name_counts() {
    let file = r#"{"auths":{"a.b":{"auth":"dTpw"},"a.b/group":{"auth":"djpx"},
                   "a.b/group/app2":{"auth":"dzpy"}}}"#;
    finds(file, "a.b", "v q");
    assert_eq!(found(file, "a.b", "group/app2").as_deref(), Ok("w r"));
    assert_eq!(found(file, "a.b", "groups/app2").as_deref(), Ok("u p"));
}

#[test]
fn helpers_are_named() {
    let file = r#"{"auths":{"a.b":{}},"credHelpers":{"gcr.io":"gcloud"},"credsStore":"pass"}"#;
    finds(file, "gcr.io", "gcloud gcr.io");
    finds(file, "a.b", "pass a.b");
    finds(file, "docker.io", "pass https://index.docker.io/v1/");
    assert!(found(r#"{"credsStore":"../../evil"}"#, "a.b", "c").is_err());
}

#[test]
fn answers_of_helpers_are_read() {
    let answer = |text: &str| {
        helper_answer(text.as_bytes()).map(|login| match login {
            Login::Password(user, password) => format!("{user} {password}"),
            Login::Identity(token) => format!("identity {token}"),
            Login::Token(token) => format!("token {token}"),
        })
    };
    assert_eq!(answer(r#"{"ServerURL":"a.b","Username":"u","Secret":"s"}"#), Ok("u s".into()));
    assert_eq!(answer(r#"{"Username":"<token>","Secret":"s"}"#), Ok("identity s".into()));
    assert!(answer("credentials not found").is_err());
}

#[test]
fn what_is_wrong_is_said_without_the_secret() {
    for file in [
        r#"{"auths":{"a.b":{"auth":"secret-%"}}}"#,
        r#"{"auths":{"a.b":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":["secret"]}"#,
        r#"{"auths":{"a.b":"secret"}}"#,
        r#"{"auths":{"a.b":{"auth":"secret"}"#,
    ] {
        let reason = found(file, "a.b", "c").expect_err(file);
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[test]
fn what_is_empty_or_null_says_nothing() {
    for file in [
        "",
        " \n",
        "null",
        "{}",
        r#"{"auths":null}"#,
        r#"{"credHelpers":null,"credsStore":null}"#,
        r#"{"auths":{"a.b":{"auth":null,"username":null}},"credHelpers":{"a.b":null}}"#,
        "\u{feff}{}",
    ] {
        finds(file, "a.b", "nothing");
    }
    assert!(found(r#"{"auths":{"a.b""#, "a.b", "c").unwrap_err().contains("cut off"));
}

#[test]
fn files_are_looked_for_where_programs_put_them() {
    let look = |set: &[(&str, &str)]| {
        let variable = |name: &str| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
        };
        let paths = places(&variable, 7).into_iter().map(|place| place.path.display().to_string());
        paths.collect::<Vec<_>>()
    };
    let set = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1"), ("DOCKER_CONFIG", "/h/.docker")];
    let wanted = [
        "/h/.docker/config.json",
        "/run/user/1/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.apptainer/docker-config.json",
        "/h/.singularity/docker-config.json",
        "/h/.config/enroot/.credentials",
    ];
    assert_eq!(look(&set), wanted);
    let set = [("APPTAINER_CONFIGDIR", "/a"), ("ENROOT_CONFIG_PATH", "/e"), ("HOME", "/h")];
    let wanted = [
        "/run/containers/7/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
        "/a/docker-config.json",
        "/h/.singularity/docker-config.json",
        "/e/.credentials",
    ];
    assert_eq!(look(&set), wanted);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Logins::parse(&bytes).map(|logins| logins.find("a.b", "c").is_ok());
        let _ = helper_answer(&bytes);
    }
}
