//! One registry, asked for one repository: what it wants to be shown, and what it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::config::canonical;
use crate::failure::{Failure, Tries};
use crate::http::{Answer, Http, Request};
use crate::keyring::{Key, Keyring};
use crate::logins::{Login, basic};
use crate::manifest::{self, LIMIT};
use crate::trouble;
use crate::url::{Url, escape};

/// A registry and a repository in it.
pub struct Endpoint {
    http: Http,
    /// `https://registry-1.docker.io/`.
    base: Url,
    /// The name under which logins for it are kept.
    registry: String,
    /// With the path of a mirror before it.
    repository: String,
    keyring: Keyring,
    /// The `Authorization` that it accepted last.
    shown: Mutex<Option<String>>,
    /// Whether it has ever answered.
    was_reached: AtomicBool,
}

/// A token is not longer, with all that is said about it.
const TOKEN_LIMIT: u64 = 64 << 10;
/// What a registry says about an error.
const SAID_LIMIT: u64 = 16 << 10;

impl Endpoint {
    /// A registry by its name; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// Says why the name is none.
    pub fn new(
        http: Http,
        registry: &str,
        repository: &str,
        is_plain: bool,
        keyring: Keyring,
    ) -> Result<Self, String> {
        let registry = canonical(registry);
        // Docker Hub's registry has another name than Docker Hub, whose web site is at that.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { &registry };
        let scheme = if is_plain { "http" } else { "https" };
        Ok(Endpoint {
            http,
            base: Url::parse(&format!("{scheme}://{host}/"))?,
            registry,
            repository: repository.to_owned(),
            keyring,
            shown: Mutex::default(),
            was_reached: AtomicBool::new(false),
        })
    }

    /// Who is asked, for messages.
    pub fn server(&self) -> String {
        self.base.server()
    }

    /// Fetches a manifest by its tag or its digest; the digest the registry says it has comes with it.
    ///
    /// # Errors
    ///
    /// Fails if the registry does not have it, does not want to give it, or cannot be asked.
    pub fn manifest(&self, version: &str) -> Result<(Vec<u8>, Option<String>), Failure> {
        let path = format!("/v2/{}/manifests/{version}", self.repository);
        self.again_and_again(|| {
            let mut answer = self.ask(&path, manifest::ACCEPT, 0, "such image")?;
            let digest = answer.header("docker-content-digest").map(str::to_owned);
            Ok((answer.small("a manifest", LIMIT)?, digest))
        })
    }

    /// Asks for a blob, from a byte on, once; it may come from the first byte on nevertheless.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::manifest`].
    pub fn blob(&self, digest: &str, from: u64) -> Result<Answer, Failure> {
        let path = format!("/v2/{}/blobs/{digest}", self.repository);
        self.ask(&path, "*/*", from, "such layer")
    }

    /// Whether it has ever answered: if not, its name may be wrong.
    pub fn was_reached(&self) -> bool {
        self.was_reached.load(Ordering::Relaxed)
    }

    fn again_and_again<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut tries = Tries::default();
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(failure) => thread::sleep(tries.wait(failure, self.was_reached())?),
            }
        }
    }

    /// Asks once; if the registry wants to see something first, shows it and asks again.
    fn ask(&self, path: &str, accept: &str, from: u64, what: &str) -> Result<Answer, Failure> {
        let url = Url { path: path.to_owned(), ..self.base.clone() };
        let mut authorization = self.shown().clone();
        let mut is_new = false;
        loop {
            let authorization_now = authorization.as_deref();
            let request =
                Request { url: &url, accept, authorization: authorization_now, from, form: None };
            let mut answer = self.http.send(request)?;
            self.was_reached.store(true, Ordering::Relaxed);
            match answer.status {
                200 => return Ok(answer),
                206 if from > 0 => return Ok(answer),
                401 if !is_new && answer.url.same_server(&url) => {
                    let challenges = challenges(&answer);
                    authorization = Some(self.show(&challenges, authorization)?);
                    is_new = true;
                }
                401 | 403 if answer.url.same_server(&url) => {
                    return Err(self.denied(&mut answer, what));
                }
                _ => return Err(self.unwelcome(&mut answer, what)),
            }
        }
    }

    /// What to show instead of what was refused. Whoever comes first gets it for all.
    fn show(&self, challenges: &[Challenge], refused: Option<String>) -> Result<String, Failure> {
        let mut shown = self.shown();
        if *shown != refused
            && let Some(newer) = &*shown
        {
            return Ok(newer.clone());
        }
        let (key, notes) = self.keyring.find(&self.registry, &self.repository)?;
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let authorization = match (of("bearer"), of("basic"), &key) {
            (_, _, Some(Key { login: Login::Token(token), .. })) => format!("Bearer {token}"),
            (Some(bearer), _, key) => self.token(bearer, key.as_ref())?,
            (None, Some(_), Some(Key { login: Login::Password(user, password), .. })) => {
                basic(user, password)
            }
            (None, Some(_), _) => {
                let reason = format!("{} says 401 Unauthorized", self.server());
                return Err(self.without_login(Failure::new(reason), &notes));
            }
            (None, None, _) => {
                let reason = format!(
                    "{} says 401 Unauthorized, and not what it wants to see",
                    self.server()
                );
                return Err(Failure::new(reason).hint("whoever runs the registry has to mend this"));
            }
        };
        *shown = Some(authorization.clone());
        Ok(authorization)
    }

    /// Gets a token from where the registry says.
    fn token(&self, bearer: &Challenge, key: Option<&Key>) -> Result<String, Failure> {
        let realm = bearer.get("realm").unwrap_or_default();
        let url = Url::parse(realm).map_err(|reason| {
            Failure::new(format!("{} names no server for tokens: {reason}", self.server()))
        })?;
        // A password would go there.
        if self.base.tls && !url.tls {
            let reason = format!(
                "{} wants tokens from {}, which is not encrypted",
                self.server(),
                url.server()
            );
            return Err(Failure::new(reason).hint("whoever runs the registry has to mend this"));
        }
        let usual = format!("repository:{}:pull", self.repository);
        let scope = bearer.get("scope").unwrap_or(&usual);
        let mut query = format!("scope={}", escape(scope));
        if let Some(service) = bearer.get("service") {
            query = format!("service={}&{query}", escape(service));
        }
        let joined = if url.path.contains('?') { '&' } else { '?' };
        let asked = Url { path: format!("{}{joined}{query}", url.path), ..url.clone() };
        let (authorization, form) = match key.map(|key| &key.login) {
            Some(Login::Password(user, password)) => (Some(basic(user, password)), None),
            Some(Login::Identity(token)) => {
                let token = escape(token);
                let form = format!(
                    "grant_type=refresh_token&client_id=himage&refresh_token={token}&{query}"
                );
                (None, Some(form))
            }
            Some(Login::Token(_)) | None => (None, None),
        };
        let request = Request {
            url: if form.is_some() { &url } else { &asked },
            accept: "application/json",
            authorization: authorization.as_deref(),
            from: 0,
            form: form.as_deref(),
        };
        let mut answer = self.http.send(request)?;
        match (answer.status, key) {
            (200, _) => Ok(format!("Bearer {}", token_in(&mut answer)?)),
            (400 | 401 | 403, Some(key)) => {
                let reason = format!(
                    "{} does not accept the login for {} from {}",
                    answer.url.server(),
                    self.registry,
                    key.from
                );
                Err(Failure::new(reason).hint(self.how_to_log_in()))
            }
            _ => Err(self.unwelcome(&mut answer, "token to be had")),
        }
    }

    /// The registry does not want to, whatever is shown to it.
    fn denied(&self, answer: &mut Answer, what: &str) -> Failure {
        let mut failure = self.unwelcome(answer, what);
        match self.keyring.find(&self.registry, &self.repository) {
            Err(failure) => failure,
            Ok((Some(key), _)) => {
                let hint = format!(
                    "the login from {} does not let you have it, or is out of date;\n{}",
                    key.from,
                    self.how_to_log_in()
                );
                failure.hint = Some(hint);
                failure
            }
            Ok((None, notes)) => self.without_login(failure, &notes),
        }
    }

    fn without_login(&self, failure: Failure, notes: &[String]) -> Failure {
        let registry = &self.registry;
        let mut hint = format!(
            "check the name: registries say this of what does not exist, too;\n\
             if it is not for everybody, himage found no login for {registry};\n{}",
            self.how_to_log_in()
        );
        for note in notes {
            hint = format!("{hint}\n({note})");
        }
        failure.hint(hint)
    }

    fn how_to_log_in(&self) -> String {
        let registry = &self.registry;
        let place = self.keyring.places.last();
        let place = place.map(|place| format!(" (himage reads {})", place.display()));
        format!(
            "docker, podman or skopeo write one: skopeo login {registry}{}",
            place.unwrap_or_default()
        )
    }

    /// Words for an answer that is not what was asked for.
    fn unwelcome(&self, answer: &mut Answer, what: &str) -> Failure {
        let said = answer.small("an error", SAID_LIMIT).unwrap_or_default();
        let after = answer.header("retry-after").map(str::to_owned);
        let failure =
            trouble::status_in_words(answer.status, &answer.url, what, &said, after.as_deref());
        if answer.status == 400 && !self.base.tls {
            return failure.hint("it was asked without encryption; if it wants some: --ca FILE, or in himage.toml plain-http = false");
        }
        if answer.status != 404 || trouble::is_a_registrys(&said) || self.is_registry() {
            return failure;
        }
        let reason = format!("{} is no registry: {}", self.server(), failure.reason);
        Failure::new(reason).hint("check the name: HOST[:PORT]/REPOSITORY[:TAG]")
    }

    /// Whether it answers as the specification wants it to where every registry answers.
    fn is_registry(&self) -> bool {
        let url = Url { path: "/v2/".to_owned(), ..self.base.clone() };
        let request =
            Request { url: &url, accept: "*/*", authorization: None, from: 0, form: None };
        self.http.send(request).is_ok_and(|answer| matches!(answer.status, 200 | 401 | 403))
    }

    fn shown(&self) -> MutexGuard<'_, Option<String>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that a registry would accept.
fn challenges(answer: &Answer) -> Vec<Challenge> {
    let headers = answer.headers.get_all("www-authenticate");
    let texts =
        headers.iter().map(|header| String::from_utf8_lossy(header.as_bytes()).into_owned());
    texts.flat_map(|text| challenge::parse(&text)).collect()
}

/// The token in an answer.
fn token_in(answer: &mut Answer) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Said {
        token: Option<String>,
        access_token: Option<String>,
    }
    let server = answer.url.server();
    let bytes = answer.small("a token", TOKEN_LIMIT)?;
    let said: Said = serde_json::from_slice(&bytes).map_err(|error| {
        // The words of the parser, without a piece of what may be a token.
        Failure::new(format!("{server} sends no token but something else (line {})", error.line()))
    })?;
    let token = said.token.or(said.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Failure::new(format!("{server} sends no token")))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!("{server} sends a token that cannot be one")));
    }
    Ok(token)
}
