//! Encrypted connections: which certificates are believed, and which one is shown.
#![allow(clippy::disallowed_methods, reason = "reads certificates and keys")]

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use crate::failure::Failure;
use crate::trouble;
use crate::url::Url;

/// What a registry is believed by, and what is shown to it.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Files of certificates beside the system's: authorities, or the registry's own.
    pub ca: Vec<PathBuf>,
    /// Pairs of files, a certificate and its key, of which the first is shown to the registry itself.
    pub identities: Vec<(PathBuf, PathBuf)>,
    /// Any certificate is believed: a file of configuration says that the network is trusted.
    pub is_blind: bool,
}

impl Trust {
    /// A connector that encrypts; the identity is shown to this server only.
    ///
    /// # Errors
    ///
    /// Fails on a file that was named and cannot be used, and if there is no certificate to believe.
    pub fn connector(&self, own: &Url) -> Result<Encrypting, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(self.verifier(&provider)?);
        let config = || {
            let builder = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|error| Failure::new(error.to_string()))?;
            Ok::<_, Failure>(builder.dangerous().with_custom_certificate_verifier(verifier.clone()))
        };
        let usual = Arc::new(config()?.with_no_client_auth());
        let identity = match self.identities.first() {
            None => None,
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let unusable = |error: &dyn fmt::Display| {
                    Failure::new(format!("the key {} cannot be used: {error}", key.display()))
                };
                let bytes = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&error))?;
                let config = config()?.with_client_auth_cert(chain, bytes);
                Some(Arc::new(config.map_err(|error| unusable(&error))?))
            }
        };
        Ok(Encrypting { usual, identity, own: own.clone() })
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut named = Vec::new();
        for path in &self.ca {
            let found = certificates(path)?;
            roots.add_parsable_certificates(found.iter().cloned());
            named.extend(found);
        }
        if roots.is_empty() && named.is_empty() && !self.is_blind {
            let reason = "no CA certificates are installed, so TLS servers cannot be verified";
            return Err(Failure::new(reason).hint(trouble::AUTHORITIES));
        }
        let usual =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Verifier {
            usual: usual.ok(),
            named,
            is_blind: self.is_blind,
            provider: provider.clone(),
        })
    }
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let name = path.display();
    let bytes =
        fs::read(path).map_err(|error| Failure::new(format!("{name} cannot be read: {error}")))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).flatten().collect();
    if found.is_empty() {
        let hint = "it should have a part that begins with -----BEGIN CERTIFICATE-----";
        return Err(Failure::new(format!("{name} has no certificate in it")).hint(hint));
    }
    Ok(found)
}

/// Believes what authorities have signed, and a certificate that was named itself, byte for byte:
/// whatever such a one says of being an authority, who named it meant the server that has its key.
/// Its time and its names count all the same.
#[derive(Debug)]
struct Verifier {
    usual: Option<Arc<WebPkiServerVerifier>>,
    named: Vec<CertificateDer<'static>>,
    is_blind: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_blind {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = || Err(CertificateError::UnknownIssuer.into());
        let verified = self.usual.as_ref().map_or_else(unknown, |usual| {
            usual.verify_server_cert(certificate, intermediates, name, ocsp, now)
        });
        match verified {
            // The time was compared before: "no authority", and "an authority, no server" (Other).
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            )) if self.named.iter().any(|named| named == certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Encrypts the connections that others make, as addresses want it.
pub struct Encrypting {
    usual: Arc<ClientConfig>,
    identity: Option<Arc<ClientConfig>>,
    /// The server that the identity is shown to.
    own: Url,
}

impl Encrypting {
    fn config(&self, details: &ConnectionDetails) -> &Arc<ClientConfig> {
        let url = Url::parse(&details.uri.to_string());
        let identity = self.identity.as_ref();
        identity.filter(|_| url.is_ok_and(|url| url.same_server(&self.own))).unwrap_or(&self.usual)
    }
}

impl fmt::Debug for Encrypting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypting").finish_non_exhaustive()
    }
}

impl<In: Transport> Connector<In> for Encrypting {
    type Out = Either<In, Encrypted>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| Error::Tls("the name of the server cannot be in a certificate"))?;
        let mut connection = ClientConnection::new(self.config(details).clone(), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let stream = StreamOwned { conn: connection, sock: socket };
        Ok(Some(Either::B(Encrypted { buffers, stream })))
    }
}

/// A connection that is encrypted.
pub struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
