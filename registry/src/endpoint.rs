//! One registry, asked for one repository: what it wants to be shown, and what it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::config::canonical;
use crate::failure::{Failure, Kind, Tries};
use crate::http::{Answer, Http, Request};
use crate::keyring::{Key, Keyring};
use crate::logins::{Login, basic};
use crate::manifest::{self, LIMIT};
use crate::notes::Notes;
use crate::trouble::{self, LAYER};
use crate::url::{Url, escape};

/// A registry and a repository in it.
pub struct Endpoint {
    http: Http,
    /// `https://registry-1.docker.io/`.
    address: Url,
    /// The same without encryption, where that will do if there is none.
    plain_address: Option<Url>,
    /// The one of them that is asked.
    chosen: OnceLock<Url>,
    /// The name under which logins for it are kept.
    registry: String,
    /// With the path of a mirror before it.
    repository: String,
    keyring: Keyring,
    /// The `Authorization` that it accepted last.
    shown: Mutex<Option<Shown>>,
    /// Whether it has ever answered.
    was_reached: AtomicBool,
}

/// Whether a registry is asked with encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Always.
    Always,
    /// Never.
    Never,
    /// Where it can be had.
    IfPossible,
}

/// What is shown to a registry.
#[derive(Clone, PartialEq, Eq)]
struct Shown {
    /// The header.
    authorization: String,
    /// Where the login is from that is in it, or that it was got by.
    login: Option<String>,
}

/// A token is not longer, with all that is said about it.
const TOKEN_LIMIT: u64 = 64 << 10;
/// What a registry says about an error.
const SAID_LIMIT: u64 = 16 << 10;
/// Who may help where a registry contradicts itself.
const MEND: &str = "whoever runs the registry has to mend this";

impl Endpoint {
    /// A registry by its name; nothing is asked yet. `http` makes what asks it, given its address.
    ///
    /// # Errors
    ///
    /// Says why the name is none.
    pub fn new(
        http: impl FnOnce(Url) -> Http,
        registry: &str,
        repository: &str,
        encryption: Encryption,
        keyring: Keyring,
    ) -> Result<Self, String> {
        let registry = canonical(registry);
        // Docker Hub's registry has another name than Docker Hub, whose web site is at that.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { &registry };
        let scheme = if encryption == Encryption::Never { "http" } else { "https" };
        let address = Url::parse(&format!("{scheme}://{host}/"))?;
        let plain_address = match encryption {
            Encryption::IfPossible => Some(Url::parse(&format!("http://{host}/"))?),
            Encryption::Always | Encryption::Never => None,
        };
        Ok(Endpoint {
            http: http(address.clone()),
            address,
            plain_address,
            chosen: OnceLock::new(),
            registry,
            repository: repository.to_owned(),
            keyring,
            shown: Mutex::default(),
            was_reached: AtomicBool::new(false),
        })
    }

    /// Who is asked, for messages.
    pub fn server(&self) -> String {
        self.base().server()
    }

    /// Where it is asked. If encryption is a matter of what it has, that is tried first.
    fn base(&self) -> &Url {
        self.chosen.get_or_init(|| {
            let Some(plain) = &self.plain_address else { return self.address.clone() };
            match self.version_check(&self.address) {
                Ok(_) => self.address.clone(),
                Err(_) => plain.clone(),
            }
        })
    }

    /// Asks where every registry answers.
    fn version_check(&self, base: &Url) -> Result<Answer, Failure> {
        let url = Url { path: "/v2/".to_owned(), ..base.clone() };
        self.http.send(Request::get(&url))
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
        self.ask(&path, "*/*", from, LAYER)
    }

    /// Asks for a blob where the manifest says that it is, which is no registry: nothing is shown there.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::blob`].
    pub fn blob_at(&self, url: &Url, from: u64) -> Result<Answer, Failure> {
        // Nothing secret is asked for: its digest is in the manifest.
        let request = Request { from, may_be_plain: true, ..Request::get(url) };
        let mut answer = self.http.send(request)?;
        match answer.status {
            200 | 206 => Ok(answer),
            _ => Err(self.unwelcome(&mut answer, LAYER)),
        }
    }

    /// Where what is worth knowing is said.
    pub fn notes(&self) -> &Notes {
        &self.keyring.notes
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
    ///
    /// Some registries hide what they have from strangers: 403 and 404 are asked again with a login, if
    /// there is one that was not shown.
    fn ask(&self, path: &str, accept: &str, from: u64, what: &str) -> Result<Answer, Failure> {
        let url = Url { path: path.to_owned(), ..self.base().clone() };
        let mut shown = self.shown().clone();
        let (mut was_challenged, mut has_shown_all, mut from) = (false, false, from);
        loop {
            let authorization = shown.as_ref().map(|shown| shown.authorization.as_str());
            let request = Request { accept, authorization, from, ..Request::get(&url) };
            let mut answer = self.http.send(request)?;
            self.was_reached.store(true, Ordering::Relaxed);
            match answer.status {
                200 | 206 => return Ok(answer),
                // It cannot begin there: from the first byte on, then.
                416 if from > 0 => from = 0,
                401 if !was_challenged && answer.url.same_server(&url) => {
                    shown = Some(self.show(&challenges(&answer), shown, false)?);
                    was_challenged = true;
                }
                401 | 403 | 404 if answer.url == url => {
                    let has_login = shown.as_ref().is_some_and(|shown| shown.login.is_some());
                    let better = match has_login || has_shown_all {
                        true => None,
                        false => self.show_login(&answer, shown.clone())?,
                    };
                    match better {
                        Some(better) => (shown, has_shown_all) = (Some(better), true),
                        None if answer.status == 404 => {
                            return Err(self.missing(&mut answer, shown.as_ref(), what));
                        }
                        None => return Err(self.denied(&mut answer, shown.as_ref(), what)),
                    }
                }
                401 | 403 => return Err(self.denied_elsewhere(&mut answer, what)),
                _ => return Err(self.unwelcome(&mut answer, what)),
            }
        }
    }

    /// What to show instead of what was refused. Whoever comes first gets it for all.
    ///
    /// A login that names no registry is shown if all else was refused, or `is_last`.
    fn show(
        &self,
        challenges: &[Challenge],
        refused: Option<Shown>,
        is_last: bool,
    ) -> Result<Shown, Failure> {
        let mut shown = self.shown();
        if *shown != refused
            && let Some(newer) = &*shown
        {
            return Ok(newer.clone());
        }
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let (bearer, is_basic) = (of("bearer"), of("basic").is_some());
        let (key, notes) = self.find_login(bearer);
        let from = key.as_ref().map(|key| key.from.clone());
        let with_login = |authorization| Shown { authorization, login: from.clone() };
        let as_stranger = |authorization| Shown { authorization, login: None };
        let new = match (bearer, &key) {
            (_, Some(Key { login: Login::Token(token), .. })) => {
                with_login(format!("Bearer {token}"))
            }
            (Some(bearer), Some(key)) if key.is_for_any && !is_last => {
                let token = self.token(bearer, None, &notes).map(as_stranger);
                token.or_else(|_| self.token(bearer, Some(key), &notes).map(with_login))?
            }
            (Some(bearer), Some(key)) => with_login(self.token(bearer, Some(key), &notes)?),
            (Some(bearer), None) => as_stranger(self.token(bearer, None, &notes)?),
            (None, Some(Key { login: Login::Password(user, password), .. })) if is_basic => {
                with_login(basic(user, password))
            }
            (None, _) if is_basic => {
                let reason = format!("{} says 401 Unauthorized", self.server());
                return Err(self.without_login(Failure::new(reason), &notes));
            }
            (None, _) => {
                let reason = format!(
                    "{} says 401 Unauthorized, and not what it wants to see",
                    self.server()
                );
                return Err(Failure::new(reason).hint(MEND));
            }
        };
        *shown = Some(new.clone());
        Ok(new)
    }

    /// What to show where strangers are refused or told that there is nothing, if there is a login.
    fn show_login(
        &self,
        answer: &Answer,
        refused: Option<Shown>,
    ) -> Result<Option<Shown>, Failure> {
        let may_have = self.keyring.find(&self.registry, &self.repository, None).0.is_some()
            || self.keyring.knows_servers_for_tokens();
        if !may_have {
            return Ok(None);
        }
        let mut wanted = challenges(answer);
        if wanted.is_empty() {
            wanted = self.version_check(self.base()).map_or(Vec::new(), |it| challenges(&it));
        }
        let of = |scheme: &str| wanted.iter().find(|challenge| challenge.scheme == scheme);
        let has_way = of("bearer").is_some() || of("basic").is_some();
        if !has_way || self.find_login(of("bearer")).0.is_none() {
            return Ok(None);
        }
        self.show(&wanted, refused, true).map(Some)
    }

    fn find_login(&self, bearer: Option<&Challenge>) -> (Option<Key>, Vec<String>) {
        let realm = bearer.and_then(|bearer| Url::parse(bearer.get("realm")?).ok());
        let tokens = realm.as_ref().map(|realm| realm.host.as_str());
        self.keyring.find(&self.registry, &self.repository, tokens)
    }

    /// Gets a token from where the registry says.
    fn token(
        &self,
        bearer: &Challenge,
        key: Option<&Key>,
        notes: &[String],
    ) -> Result<String, Failure> {
        let realm = bearer.get("realm").unwrap_or_default();
        let mut url = Url::parse(realm).map_err(|reason| {
            Failure::new(format!("{} names no server for tokens: {reason}", self.server()))
        })?;
        let base = self.base();
        // What stands behind a proxy that encrypts often does not know that it does.
        if base.tls && !url.tls && url.host == base.host && url.port == 80 {
            url = Url { tls: true, port: base.port, ..url };
        }
        // A password would go there; a stranger has nothing to lose.
        if base.tls && !url.tls && key.is_some() {
            let (server, tokens) = (self.server(), url.server());
            let reason = format!("{server} wants tokens from {tokens}, which is not encrypted");
            return Err(Failure::new(reason).hint(MEND));
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
            accept: "application/json",
            authorization: authorization.as_deref(),
            form: form.as_deref(),
            may_be_plain: key.is_none(),
            ..Request::get(if form.is_some() { &url } else { &asked })
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
            (401 | 403, None) => {
                let failure = self.unwelcome(&mut answer, "token to be had");
                Err(self.without_login(failure, notes))
            }
            _ => Err(self.unwelcome(&mut answer, "token to be had")),
        }
    }

    /// The registry does not want to, whatever is shown to it.
    fn denied(&self, answer: &mut Answer, shown: Option<&Shown>, what: &str) -> Failure {
        let mut failure = self.unwelcome(answer, what);
        if let Some(from) = shown.and_then(|shown| shown.login.as_ref()) {
            let hint = format!(
                "the login from {from} does not let you have it, or is out of date;\n{}",
                self.how_to_log_in()
            );
            failure.hint = Some(hint);
            return failure;
        }
        match self.keyring.find(&self.registry, &self.repository, None) {
            (Some(key), _) => failure.hint(format!(
                "it was not shown the login from {}: it does not say that it wants to see one",
                key.from
            )),
            (None, notes) => self.without_login(failure, &notes),
        }
    }

    /// Where a registry sends us, no login is shown: another one would not help.
    fn denied_elsewhere(&self, answer: &mut Answer, what: &str) -> Failure {
        let failure = self.unwelcome(answer, what);
        let reason = format!("{}, where {} sends us", failure.reason, self.server());
        Failure { reason, ..failure }.hint(
            "a login does not help there: try again, as such addresses expire; else tell who runs the registry",
        )
    }

    /// The registry does not have it, or does not tell strangers of it.
    fn missing(&self, answer: &mut Answer, shown: Option<&Shown>, what: &str) -> Failure {
        let failure = self.unwelcome(answer, what);
        if shown.is_some_and(|shown| shown.login.is_some()) || failure.kind != Kind::Missing {
            return failure;
        }
        let (key, notes) = self.keyring.find(&self.registry, &self.repository, None);
        let failure = match key {
            Some(_) => failure,
            None => failure.also(&format!(
                "some registries say this to strangers of what is not for everybody (skopeo login {})",
                self.registry
            )),
        };
        notes.iter().fold(failure, |failure, note| failure.also(&format!("({note})")))
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
        let place = self.keyring.usual.as_ref();
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
        if answer.status == 400 && !self.base().tls {
            return failure.hint("it was asked without encryption; if it wants some: --ca FILE, or in himage.toml plain-http = false");
        }
        // Who has given a manifest is one.
        let is_one = what == LAYER || trouble::is_a_registrys(&said);
        if answer.status != 404 || is_one || self.is_registry() {
            return failure;
        }
        let reason = format!("{} is no registry: {}", self.server(), failure.reason);
        Failure::new(reason).hint("check the name: HOST[:PORT]/REPOSITORY[:TAG]")
    }

    /// Whether it answers as the specification wants it to where every registry answers.
    fn is_registry(&self) -> bool {
        let answer = self.version_check(self.base());
        answer.is_ok_and(|answer| matches!(answer.status, 200 | 401 | 403))
    }

    fn shown(&self) -> MutexGuard<'_, Option<Shown>> {
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
    let given = [said.token, said.access_token];
    let token = given.into_iter().flatten().find(|token| !token.is_empty());
    let token = token.ok_or_else(|| Failure::new(format!("{server} sends no token")))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!("{server} sends a token that cannot be one")));
    }
    Ok(token)
}
