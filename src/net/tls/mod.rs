//! TLS under a stream, by profile; the only place that names rustls.
//!
//! | profile | server | client |
//! |---|---|---|
//! | ours | certificates on both sides, TLS 1.3, ALPN `landline/1`; whose key it is, the policy decides | [`Credentials`] and a [`KeyCheck`] |
//! | web | a client may show a certificate, none is needed; TLS 1.3, ALPN `http/1.1` | [`WebClient`]: the machine's roots, the server's name, TLS 1.3 and 1.2 |
//!
//! A [`ServerTls`] may speak both on one port: the `ClientHello` says which is meant.
//!
//! [`credentials`] is what this end shows, [`verify`] what it accepts from the other end, [`handshake`] brings the two
//! together, [`duplex`] is the encrypted stream that comes of it.

pub mod credentials;
pub mod duplex;
pub mod handshake;
pub mod verify;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, Error, ServerConfig};

pub use credentials::{Credentials, CredentialsError, WebCertificate, WebCertificates};
pub use duplex::{Incoming, Tls};
pub use handshake::{CertificateFault, HandshakeError};
pub use verify::{KeyCheck, WebTrust};

use verify::{KeyOnly, WebVerifier};

/// What both ends of our own protocol agree to speak inside (RFC 7301): nothing that a browser offers.
pub const ALPN: &[u8] = b"landline/1";
/// The same for HTTP/1.1 (RFC 7301, 6).
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// Our own protocol: both ends agreed to [`ALPN`].
    Landline,
    /// HTTP: both ends agreed to [`ALPN_HTTP`], or they agreed to nothing on a port for the web.
    Http,
    /// The client offered nothing to a server that speaks only our protocol; it can still be told so.
    Unsaid,
}

/// What a server's port speaks under TLS.
#[derive(Clone)]
pub struct ServerTls {
    profiles: Profiles,
}

#[derive(Clone)]
enum Profiles {
    Ours(Arc<ServerConfig>),
    Web(Arc<ServerConfig>),
    Both { ours: Arc<ServerConfig>, web: Arc<ServerConfig> },
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.profiles {
            Profiles::Ours(_) => "ServerTls(ours)",
            Profiles::Web(_) => "ServerTls(web)",
            Profiles::Both { .. } => "ServerTls(ours and web)",
        })
    }
}

impl ServerTls {
    /// Our own protocol, with the certificate of `own`. A client must show a certificate, of which only the key counts;
    /// whose it is, the caller decides afterwards.
    ///
    /// # Errors
    /// The key cannot be used for TLS.
    pub fn ours(own: &Credentials) -> Result<Self, CredentialsError> {
        Ok(Self { profiles: Profiles::Ours(ours(own)?) })
    }

    /// HTTP for browsers and other programs, with one of `certificates`. A client with a certificate issued as that of
    /// `own` is may show it; a browser, which has none, is not made to ask its user for one.
    ///
    /// # Errors
    /// As [`ours`](Self::ours).
    pub fn web(own: &Credentials, certificates: &Arc<WebCertificates>) -> Result<Self, CredentialsError> {
        Ok(Self { profiles: Profiles::Web(web(own, certificates)?) })
    }

    /// Both on one port: our own protocol for a client that offers it by [`ALPN`], HTTP for every other one.
    ///
    /// # Errors
    /// As [`ours`](Self::ours).
    pub fn ours_and_web(own: &Credentials, certificates: &Arc<WebCertificates>) -> Result<Self, CredentialsError> {
        Ok(Self { profiles: Profiles::Both { ours: ours(own)?, web: web(own, certificates)? } })
    }

    /// The settings for a client that begins so, and what is spoken where both ends agree to nothing.
    fn for_client(&self, hello: &ClientHello<'_>) -> (Arc<ServerConfig>, Inside) {
        let offers_ours = || hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN));
        match &self.profiles {
            Profiles::Ours(config) => (Arc::clone(config), Inside::Unsaid),
            Profiles::Web(config) => (Arc::clone(config), Inside::Http),
            Profiles::Both { ours, .. } if offers_ours() => (Arc::clone(ours), Inside::Unsaid),
            Profiles::Both { web, .. } => (Arc::clone(web), Inside::Http),
        }
    }
}

fn ours(own: &Credentials) -> Result<Arc<ServerConfig>, CredentialsError> {
    let certificate = Arc::new(SingleCertAndKey::from(Arc::clone(own.key())));
    Ok(server_config(KeyOnly::of_every_client(), certificate, ALPN)?)
}

fn web(own: &Credentials, certificates: &Arc<WebCertificates>) -> Result<Arc<ServerConfig>, CredentialsError> {
    let issuers = own.issuers()?;
    Ok(server_config(KeyOnly::of_some_clients(issuers), Arc::clone(certificates), ALPN_HTTP)?)
}

fn server_config<R: ResolvesServerCert + 'static>(
    verifier: KeyOnly,
    certificates: Arc<R>,
    alpn: &[u8],
) -> Result<Arc<ServerConfig>, Error> {
    let verifier: Arc<dyn ClientCertVerifier> = Arc::new(verifier);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![alpn.to_vec()];
    // Resuming would save 0.2 ms and cost state, and a ticket would outlive a revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The settings of a client of our own protocol; `verdict` judges the server's key.
fn our_client_config(own: &Credentials, verdict: KeyCheck) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyOnly::of_server(verdict)))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own.key()))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nothing about names: what was dialled is no one's business on the way.
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A client of the web's servers: checks their certificate's chain, name and dates, and the key if it is pinned. It
/// shows a certificate of its own only if it was given one.
#[derive(Clone)]
pub struct WebClient {
    config: Arc<ClientConfig>,
}

impl fmt::Debug for WebClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebClient")
    }
}

impl WebClient {
    /// A client that trusts those whom `trust` names. It speaks TLS 1.2 too: much of the web has nothing newer.
    ///
    /// # Errors
    /// Nothing is trusted at all.
    pub fn new(trust: WebTrust) -> Result<Self, CredentialsError> {
        Self::showing(trust, None)
    }

    /// As [`new`](Self::new); to a server that asks for a certificate, it shows `own`.
    ///
    /// # Errors
    /// As there.
    pub fn showing(trust: WebTrust, own: Option<&WebCertificate>) -> Result<Self, CredentialsError> {
        let verifier = Arc::new(WebVerifier::new(trust)?);
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match own {
            Some(own) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own.key())))),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }
}

/// AES-128 first: as safe as the 128 bits of P-256, and a quarter quicker than AES-256 (RFC 8446, B.4;
/// RFC 8446 requires it of everyone). The key exchange has X25519MLKEM768 first.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}
