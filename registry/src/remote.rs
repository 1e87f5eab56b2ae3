//! An image in a registry.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use images::digest::{self, Digest};
use images::reference::Reference;
use images::source::{Described, Source};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use runtime::error::{Error, Result};
use serde::Deserialize;

use crate::blob::{Blob, NOT_WHAT_WAS_PUSHED};
use crate::config::canonical;
use crate::containers::Route;
use crate::endpoint::{Encryption, Endpoint};
use crate::failure::Failure;
use crate::http::Http;
use crate::manifest::{self, LIMIT, Manifest};
use crate::platform::{Platform, choose};
use crate::site::Site;
use crate::url::{host_and_port, is_loopback};

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The platform the image should be for; this machine's if nothing is said.
    pub platform: Option<Platform>,
    /// The registry is asked without encryption.
    pub plain_http: bool,
    /// Files of certificate authorities.
    pub ca: Vec<PathBuf>,
}

/// What is kept here already, by its digest.
type Kept<'a> = dyn Fn(&Digest) -> Option<Vec<u8>> + Send + Sync + 'a;

/// An image in a registry, by its name.
pub struct Remote<'a> {
    name: Reference,
    platform: Platform,
    /// Mirrors, and the registry itself as the last one.
    endpoints: Vec<Endpoint>,
    kept: Box<Kept<'a>>,
    found: OnceLock<Found>,
    given_up: GivenUp,
}

/// Blobs that nobody gave, by their digests, and why. Who asks again is told the same at once: all
/// that can be tried has been tried.
type GivenUp = Arc<Mutex<BTreeMap<String, Error>>>;

/// Which image the name means.
#[derive(Clone)]
struct Found {
    /// Who said so: the first one to ask for the rest.
    endpoint: usize,
    digest: Digest,
    manifest: Given,
}

/// How much of the manifest is there.
#[derive(Clone)]
enum Given {
    Whole(Vec<u8>),
    /// Its size, from an index.
    Size(u64),
}

/// An index may list others, but nobody nests them deeper.
const DEPTH: usize = 3;

impl<'a> Remote<'a> {
    /// An image by its name; nothing is asked yet. What is `kept` will not be asked for.
    ///
    /// # Errors
    ///
    /// Fails if a registry's name is no name of a host.
    pub fn new(
        name: Reference,
        choices: &Choices,
        site: &Site,
        kept: Box<Kept<'a>>,
    ) -> Result<Self> {
        let routes = routes(&name, site)?;
        let endpoints = routes.iter().map(|route| {
            let is_own = canonical(&route.registry) == canonical(&name.registry);
            endpoint(route, choices, site, is_own).map_err(|reason| {
                Error::new(format!("ask the registry '{}'", route.registry), reason)
            })
        });
        Ok(Remote {
            platform: choices.platform.clone().unwrap_or_else(Platform::here),
            endpoints: endpoints.collect::<Result<_>>()?,
            kept,
            found: OnceLock::new(),
            given_up: GivenUp::default(),
            name,
        })
    }

    /// The small thing of a digest, if it is kept here, whole.
    fn kept(&self, digest: &Digest) -> Option<Vec<u8>> {
        (self.kept)(digest).filter(|bytes| Digest::of(bytes) == *digest)
    }

    /// What the name means now: it takes one request, once.
    fn found(&self) -> Result<&Found> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let mut in_vain = Vec::new();
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            match self.find(endpoint) {
                Ok((digest, manifest)) => {
                    let found = Found { endpoint: number, digest, manifest };
                    return Ok(self.found.get_or_init(|| found));
                }
                Err(failure) => in_vain.push(failure),
            }
        }
        let own = in_vain.pop().unwrap_or_else(|| Failure::new("there is nobody to ask"));
        let failure = in_vain.iter().fold(own, |failure, mirror| {
            failure.also(&format!("a mirror was asked first: {}", mirror.reason))
        });
        Err(self.error(failure))
    }

    /// Asks one registry what the name means.
    fn find(&self, endpoint: &Endpoint) -> std::result::Result<(Digest, Given), Failure> {
        let asked = self.name.digest.as_deref();
        let version = asked.or(self.name.tag.as_deref()).unwrap_or("latest");
        let (mut bytes, said) = endpoint.manifest(version)?;
        let mut digest = Digest::of(&bytes);
        let said = said.map(|said| said.to_ascii_lowercase());
        if let Some(wanted) = asked.or(said.as_deref())
            && digest.to_string() != wanted
            // A registry may count by another algorithm, if nobody asked for one.
            && (asked.is_some() || wanted.starts_with("sha256:"))
        {
            let reason = format!(
                "{} sends a manifest of digest {digest} that should be {}",
                endpoint.server(),
                wanted.escape_debug()
            );
            return Err(Failure::new(reason).hint(NOT_WHAT_WAS_PUSHED));
        }
        for _ in 0..DEPTH {
            let images = match self.read(endpoint, &bytes)? {
                Manifest::Image(_) => return Ok((digest, Given::Whole(bytes))),
                Manifest::Index(images) => images,
            };
            let image = choose(&images, &self.platform).map_err(|there_are| {
                let reason = format!("it has no image for {}", self.platform);
                Failure::new(reason).hint(match there_are.first() {
                    Some(first) => format!(
                        "it has images for {}: --platform {first} pulls one",
                        there_are.join(", ")
                    ),
                    None => "the list of its images names no platform".to_owned(),
                })
            })?;
            digest = Digest::wanted(image).map_err(|error| Failure::new(error.to_string()))?;
            if !is_index(image) {
                return Ok((digest, Given::Size(image.size())));
            }
            bytes = self.manifest(endpoint, digest, image.size())?;
        }
        Err(Failure::new(format!("{} has lists in lists in lists of images", endpoint.server())))
    }

    /// Fetches a manifest of which digest and size are known.
    fn manifest(
        &self,
        endpoint: &Endpoint,
        digest: Digest,
        size: u64,
    ) -> std::result::Result<Vec<u8>, Failure> {
        if let Some(bytes) = self.kept(&digest) {
            return Ok(bytes);
        }
        let server = endpoint.server();
        let lies =
            |reason: String| Failure::new(format!("{server} {reason}")).hint(NOT_WHAT_WAS_PUSHED);
        if size > LIMIT {
            return Err(lies(format!("lists a manifest of {size} bytes")));
        }
        let (bytes, _) = endpoint.manifest(&digest.to_string())?;
        if bytes.len() as u64 != size {
            return Err(lies(format!("sends {} bytes of a manifest of {size}", bytes.len())));
        }
        let found = Digest::of(&bytes);
        if found != digest {
            let reason = format!("sends a manifest of digest {found} that should be {digest}");
            return Err(lies(reason));
        }
        Ok(bytes)
    }

    fn read(&self, endpoint: &Endpoint, bytes: &[u8]) -> std::result::Result<Manifest, Failure> {
        manifest::read(bytes).map_err(|unfit| {
            let failure =
                Failure::new(format!("what {} has is {}", endpoint.server(), unfit.reason));
            match unfit.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })
    }

    /// The manifest of the image, from whoever has it.
    fn image_manifest(&self, found: &Found) -> Result<(Vec<u8>, ImageManifest)> {
        let mut last = None;
        for endpoint in &self.endpoints[found.endpoint..] {
            let given = match &found.manifest {
                Given::Whole(bytes) => Ok(bytes.clone()),
                Given::Size(size) => self.manifest(endpoint, found.digest, *size),
            };
            match given.and_then(|bytes| Ok((self.read(endpoint, &bytes)?, bytes))) {
                Ok((Manifest::Image(image), bytes)) => return Ok((bytes, *image)),
                Ok((Manifest::Index(_), _)) => {
                    let reason =
                        format!("{} lists a list of images as one image", endpoint.server());
                    last = Some(Failure::new(reason).hint(NOT_WHAT_WAS_PUSHED));
                }
                Err(failure) => last = Some(failure),
            }
        }
        Err(self.error(last.unwrap_or_else(|| Failure::new("there is nobody to ask"))))
    }

    fn config(&self, found: &Found, image: &ImageManifest) -> Result<Vec<u8>> {
        let config = image.config();
        if config.size() > LIMIT {
            let reason = format!("its configuration has {} bytes", config.size());
            return Err(self.error(Failure::new(reason)));
        }
        let digest = Digest::wanted(config)?;
        if let Some(bytes) = self.kept(&digest) {
            return Ok(bytes);
        }
        let endpoints = &self.endpoints[found.endpoint..];
        let mut blob = Blob::open(endpoints, config, 0).map_err(|failure| self.error(failure))?;
        let mut bytes = Vec::new();
        let read = blob.read_to_end(&mut bytes);
        read.map_err(|error| self.error(Failure::from(error)))?;
        let size = bytes.len() as u64;
        let what = "the image's configuration";
        digest::verify(what, config, Digest::of(&bytes), size).map_err(|error| {
            let reason = format!("{} sends another image's configuration", blob.server());
            self.error(Failure::new(reason).hint(format!("{error}\n{NOT_WHAT_WAS_PUSHED}")))
        })?;
        Ok(bytes)
    }

    /// Whether the image runs where it is wanted: an image alone is given to whoever asks.
    fn is_for_the_platform(&self, config: &[u8]) -> Result<()> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            os: String,
        }
        let config: Config = serde_json::from_slice(config).map_err(|error| {
            self.error(Failure::new(format!("its configuration is none: {error}")))
        })?;
        let says_nothing = config.architecture.is_empty() || config.os.is_empty();
        if says_nothing || self.platform.fits(&config.os, &config.architecture) {
            return Ok(());
        }
        let there = format!("{}/{}", config.os, config.architecture);
        let there = there.escape_debug();
        let reason = format!("the image is for {there}, not for {}", self.platform);
        Err(self
            .error(Failure::new(reason).hint(format!("--platform {there} pulls it all the same"))))
    }

    fn attempt(&self) -> String {
        format!("pull {}", self.name.familiar())
    }

    fn error(&self, failure: Failure) -> Error {
        failure.into_error(self.attempt())
    }
}

impl Source for Remote<'_> {
    fn image(&self) -> Result<Described> {
        let found = self.found()?;
        let (manifest_bytes, manifest) = self.image_manifest(found)?;
        let config = self.config(found, &manifest)?;
        self.is_for_the_platform(&config)?;
        Ok(Described { manifest_bytes, manifest, config, name: Some(self.name.to_string()) })
    }

    fn blob(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let digest = blob.digest().to_string();
        if let Some(error) = given_up(&self.given_up).get(&digest) {
            return Err(error.clone());
        }
        let give_up = GiveUp { all: self.given_up.clone(), digest, attempt: self.attempt() };
        let endpoints = &self.endpoints[self.found()?.endpoint..];
        match Blob::open(endpoints, blob, from) {
            Ok(blob) => Ok(Box::new(Watched { blob, give_up })),
            Err(failure) => Err(give_up.because(failure)),
        }
    }
}

/// Reads a blob, and remembers if that cannot be done.
struct Watched<'a> {
    blob: Blob<'a>,
    give_up: GiveUp,
}

/// Remembers that a blob cannot be had.
struct GiveUp {
    all: GivenUp,
    digest: String,
    attempt: String,
}

impl GiveUp {
    fn because(&self, failure: Failure) -> Error {
        let error = failure.into_error(self.attempt.clone());
        given_up(&self.all).insert(self.digest.clone(), error.clone());
        error
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.blob
            .read(buffer)
            .map_err(|error| io::Error::other(self.give_up.because(Failure::from(error))))
    }
}

fn given_up(all: &GivenUp) -> std::sync::MutexGuard<'_, BTreeMap<String, Error>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is asked for an image, in this order: mirrors, and the registry as the last one. What
/// himage.toml says of mirrors counts before registries.conf.
fn routes(name: &Reference, site: &Site) -> Result<Vec<Route>> {
    let (registry, repository) = (&name.registry, &name.repository);
    let way = site.containers.way(registry, repository, name.digest.is_some());
    if let Some(way) = way.as_ref().filter(|way| way.is_blocked) {
        let reason = format!("{} forbids it (blocked = true)", way.from);
        return Err(Error::new(format!("pull {}", name.familiar()), reason)
            .hint("ask who looks after this machine which registries are allowed"));
    }
    let route = |registry: &str, repository: String| Route {
        registry: registry.to_owned(),
        repository,
        is_insecure: false,
    };
    let mirrors = site.config.rules(registry).mirrors.map(|mirrors| {
        let at = |mirror: &String| match mirror.split_once('/') {
            Some((host, path)) => route(host, format!("{}/{repository}", path.trim_matches('/'))),
            None => route(mirror, repository.clone()),
        };
        mirrors.iter().map(at).collect::<Vec<_>>()
    });
    let said_by = way.as_ref().map(|way| way.from.clone());
    let (listed, own) = match way {
        Some(way) => (way.mirrors, way.own),
        None => (Vec::new(), route(registry, repository.clone())),
    };
    let is_listed = mirrors.is_none();
    let routes: Vec<Route> = mirrors.unwrap_or(listed).into_iter().chain([own]).collect();
    if let Some(from) = said_by.filter(|_| is_listed) {
        for route in &routes {
            let (registry, repository) = (&route.registry, &route.repository);
            site.notes.tell(&format!("{registry}/{repository} is asked, as {from} says"));
        }
    }
    Ok(routes)
}

/// A registry, with what the user and the site say about it.
fn endpoint(
    route: &Route,
    choices: &Choices,
    site: &Site,
    is_own: bool,
) -> std::result::Result<Endpoint, String> {
    let registry = route.registry.as_str();
    let rules = site.config.rules(registry);
    let mut trust = site.certificates(registry);
    trust.ca.extend(rules.ca.unwrap_or_default());
    trust.ca.extend(choices.ca.iter().cloned());
    let here = host_and_port(registry).is_some_and(|(host, _)| is_loopback(host));
    let encryption = match rules.plain_http {
        _ if is_own && choices.plain_http => Encryption::Never,
        Some(true) => Encryption::Never,
        Some(false) => Encryption::Always,
        None if route.is_insecure => Encryption::IfPossible,
        // On this machine nobody listens in; who names an authority wants encryption there, too.
        None if here && trust.ca.is_empty() => Encryption::Never,
        None => Encryption::Always,
    };
    trust.is_blind = encryption == Encryption::IfPossible;
    let mut plain = site.config.plain();
    plain.extend((encryption != Encryption::Always).then(|| registry.to_owned()));
    let http = |own| Http::new(site.proxies.clone(), trust, own, plain);
    Endpoint::new(http, registry, &route.repository, encryption, site.keyring.clone())
}

fn is_index(image: &Descriptor) -> bool {
    let docker = "application/vnd.docker.distribution.manifest.list.v2+json";
    *image.media_type() == MediaType::ImageIndex || image.media_type().to_string() == docker
}
