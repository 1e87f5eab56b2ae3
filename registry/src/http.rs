//! Requests: connections, encryption, proxies, redirects.

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector as _, SocksConnector, TcpConnector,
};
use ureq::{Agent, BodyReader, Proxy};

use crate::failure::{Failure, Kind};
use crate::pace::{Pace, TOO_SLOW, Verdict};
use crate::proxy::Proxies;
use crate::resolver::Getent;
use crate::tls::Trust;
use crate::trouble;
use crate::url::{Url, host_and_port, is_loopback};

/// How requests are made in the name of one registry.
#[derive(Debug)]
pub struct Http {
    proxies: Proxies,
    trust: Trust,
    /// The registry itself, which may be shown a certificate.
    own: Url,
    /// Registries that are asked without encryption because somebody said so.
    plain: Vec<String>,
    /// One for each way out: its connections are used again.
    agents: Mutex<Vec<(bool, Option<String>, Agent)>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Of whom.
    pub url: &'a Url,
    /// In which forms the answer may be.
    pub accept: &'a str,
    /// What is shown, to this server only.
    pub authorization: Option<&'a str>,
    /// The first byte that is wanted.
    pub from: u64,
    /// A form to send; without one, something is got.
    pub form: Option<&'a str>,
    /// Whether it may go without encryption: nothing secret is in it, nor in what depends on the answer.
    pub may_be_plain: bool,
}

impl<'a> Request<'a> {
    /// Asks for what is at an address, in whatever form.
    pub fn get(url: &'a Url) -> Self {
        Request {
            url,
            accept: "*/*",
            authorization: None,
            from: 0,
            form: None,
            may_be_plain: false,
        }
    }
}

/// What was answered.
pub struct Answer {
    /// The status: 200, 404.
    pub status: u16,
    /// Who answered in the end.
    pub url: Url,
    /// What was said about it.
    pub headers: HeaderMap,
    /// What was asked for.
    pub body: BodyReader<'static>,
}

/// A name is looked up and a connection made within this.
const CONNECT: Duration = Duration::from_secs(30);
/// The head of an answer has come by then.
pub const RESPOND: Duration = Duration::from_secs(120);
/// A connection that is silent for so long is given up.
pub const SILENCE: Duration = Duration::from_secs(60);
/// So many times at most an answer may be to ask somebody else.
const REDIRECTS: usize = 5;

impl Http {
    /// No connection is made yet.
    pub fn new(proxies: Proxies, trust: Trust, own: Url, plain: Vec<String>) -> Self {
        Http { proxies, trust, own, plain, agents: Mutex::default() }
    }

    /// Whether a server may be asked without encryption: this machine itself, and whom somebody named.
    pub fn may_be_plain(&self, url: &Url) -> bool {
        let is_it = |name: &String| {
            let (host, port) = host_and_port(name).unwrap_or_default();
            host.eq_ignore_ascii_case(&url.host) && port.unwrap_or(80) == url.port
        };
        is_loopback(&url.host) || self.plain.iter().any(is_it)
    }

    /// Makes a request, and follows where the answer leads.
    ///
    /// What is shown to one server is never shown to another one, not even on the way back from it.
    ///
    /// # Errors
    ///
    /// Fails as connections fail. Any status that leads nowhere is an answer.
    pub fn send(&self, request: Request) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization;
        for _ in 0..=REDIRECTS {
            if !url.tls && !request.may_be_plain && !self.may_be_plain(&url) {
                let reason = format!("{} would be asked without encryption", url.server());
                return Err(Failure::new(reason).hint(trouble::PLAIN));
            }
            let answer = self.once(Request { url: &url, authorization, ..request })?;
            let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
            let (301 | 302 | 303 | 307 | 308, Some(location), None) =
                (answer.status, location, request.form)
            else {
                return Ok(answer);
            };
            let there = url.join(location).map_err(|reason| {
                Failure::new(format!("{} sends us to no address: {reason}", url.server()))
            })?;
            if url.tls && !there.tls {
                let reason = format!(
                    "{} sends us to {}, which is not encrypted",
                    url.server(),
                    there.server()
                );
                return Err(Failure::new(reason).hint("whoever runs the registry has to mend this"));
            }
            authorization = authorization.filter(|_| there.same_server(&url));
            url = there;
        }
        Err(Failure::new(format!("{} sends us around in circles", request.url.server())))
    }

    fn once(&self, request: Request) -> Result<Answer, Failure> {
        let url = request.url;
        let proxy = self.proxies.of(url);
        let in_words = |error| trouble::in_words(error, url, proxy);
        let agent = self.agent(url)?;
        let address = url.to_string();
        let sent = match request.form {
            Some(form) => {
                let post = agent.post(&address).content_type("application/x-www-form-urlencoded");
                post.header("Accept", request.accept).send(form)
            }
            None => {
                let mut get = agent.get(&address).header("Accept", request.accept);
                if let Some(authorization) = request.authorization {
                    get = get.header("Authorization", authorization);
                }
                if request.from > 0 {
                    get = get.header("Range", format!("bytes={}-", request.from));
                }
                get.call()
            }
        };
        let (parts, body) = sent.map_err(in_words)?.into_parts();
        Ok(Answer {
            status: parts.status.as_u16(),
            url: url.clone(),
            headers: parts.headers,
            body: body.into_reader(),
        })
    }

    /// The agent for an address: encrypted or not, through a proxy or not.
    fn agent(&self, url: &Url) -> Result<Agent, Failure> {
        let proxy = self.proxies.of(url);
        let address = proxy.map(|proxy| proxy.address.clone());
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = agents.iter().find(|(tls, proxy, _)| *tls == url.tls && *proxy == address);
        if let Some((_, _, agent)) = known {
            return Ok(agent.clone());
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("himage/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_send_request(Some(CONNECT))
            .timeout_recv_response(Some(RESPOND))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .proxy(None);
        if let Some(proxy) = proxy {
            let ureqs = Proxy::new(&proxy.address).map_err(|error| {
                let reason = format!("{} names no proxy: {error}", proxy.variable);
                let hint =
                    format!("{0}=http://HOST:PORT, or {0}=socks5h://HOST:PORT", proxy.variable);
                Failure::new(reason).hint(hint)
            })?;
            config = config.proxy(Some(ureqs));
        }
        let connections =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default());
        let is_encrypted =
            url.tls || address.as_ref().is_some_and(|address| address.starts_with("https:"));
        let agent = match is_encrypted {
            true => {
                let connections = connections.chain(self.trust.connector(&self.own)?);
                Agent::with_parts(config.build(), connections, Getent)
            }
            false => Agent::with_parts(config.build(), connections, Getent),
        };
        agents.push((url.tls, address, agent.clone()));
        Ok(agent)
    }
}

impl Answer {
    /// Reads what was answered, if it fits into so many bytes.
    ///
    /// # Errors
    ///
    /// Fails if it is larger or does not come, and if the connection is cut.
    pub fn small(&mut self, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let server = self.url.server();
        let mut pace = Pace::begin();
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let count = self
                .body
                .read(&mut buffer)
                .map_err(|error| trouble::in_words(ureq::Error::from(error), &self.url, None))?;
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() as u64 > limit {
                let reason = format!("{server} sends {what} of more than {} KiB", limit >> 10);
                return Err(Failure::new(reason));
            }
            if pace.count(count) == Verdict::Slow {
                let reason = format!("{server} {TOO_SLOW} of {what}");
                return Err(Failure::of(Kind::Again(None), reason));
            }
        }
    }

    /// What a header says, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
