//! What this end shows: this user's own key and certificate, and the certificates of a server for the web.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, Error, RootCertStore};

use super::provider;

/// A key, a certificate or a list of roots cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(String);

impl CredentialsError {
    /// `what` failed because of `error`.
    pub(super) fn of(what: &str, error: &dyn fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl From<Error> for CredentialsError {
    fn from(error: Error) -> Self {
        Self::of("TLS", &error)
    }
}

/// The user's key and certificate, ready for both sides of a handshake.
#[derive(Clone)]
pub struct Credentials {
    key: Arc<CertifiedKey>,
    spki: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads a private key (PKCS#8) and its certificate, both PEM, in any order.
    ///
    /// # Errors
    /// Either is missing or cannot be read, or they do not belong together.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CredentialsError> {
        let certificate =
            CertificateDer::from_pem_slice(pem).map_err(|error| CredentialsError::of("the certificate", &error))?;
        let spki = spki_of(&certificate).map_err(|error| CredentialsError::of("the certificate", &error))?;
        let key = certified(vec![certificate], pem)?;
        Ok(Self { key, spki })
    }

    /// The public key: SPKI in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |certificate| certificate.as_ref())
    }

    /// Key and certificate.
    pub(super) const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The name that has issued such a certificate: each identity's is its own issuer, and all bear one name.
    pub(super) fn issuers(&self) -> Result<Vec<DistinguishedName>, Error> {
        let mut own = RootCertStore::empty();
        for certificate in self.key.cert.iter().cloned() {
            own.add(certificate)?;
        }
        Ok(own.subjects())
    }
}

/// The key in `pem`, checked against the first certificate of `chain`.
fn certified(chain: Vec<CertificateDer<'static>>, pem: &[u8]) -> Result<Arc<CertifiedKey>, CredentialsError> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| CredentialsError::of("the private key", &error))?;
    let certified = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| CredentialsError::of("the key and the certificate", &error))?;
    Ok(Arc::new(certified))
}

/// A certificate's public key: SPKI in DER.
pub(super) fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info().to_vec())
}

/// A certificate that a server shows to the web, with its chain and key.
#[derive(Clone)]
pub struct WebCertificate {
    key: Arc<CertifiedKey>,
}

impl fmt::Debug for WebCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebCertificate")
    }
}

impl WebCertificate {
    /// The certificate of this user's own key: a browser warns of it, since no authority has signed it.
    pub fn own(own: &Credentials) -> Self {
        Self { key: Arc::clone(&own.key) }
    }

    /// Reads a chain, the server's own certificate first, and its private key (PKCS#8, PKCS#1 or SEC 1), both PEM.
    ///
    /// # Errors
    /// Either is missing or cannot be read, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let failed = |error: &dyn fmt::Display| CredentialsError::of("the certificate chain", error);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| failed(&error))?;
        let Some(first) = chain.first() else { return Err(failed(&"there is no certificate in it")) };
        spki_of(first).map_err(|error| failed(&error))?;
        Ok(Self { key: certified(chain, key)? })
    }

    /// Key and chain.
    pub(super) const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether it was issued for `name`.
    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let certificate = self.key.cert.first().map(ParsedCertificate::try_from);
        certificate.is_some_and(|parsed| parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok()))
    }
}

/// The certificates of a server for the web: which one a client gets, the name that it asks for says (SNI: RFC 6066, 3).
/// They can be replaced while the server runs, as when one is renewed.
#[derive(Debug)]
pub struct WebCertificates {
    now: RwLock<CertificateSet>,
}

#[derive(Debug)]
struct CertificateSet {
    /// For a client that names no server, or none that is known here.
    default: WebCertificate,
    /// Those beside it.
    others: Vec<WebCertificate>,
}

impl WebCertificates {
    /// `default` is for clients that name no server, or one that none of these was issued for.
    pub fn new(default: WebCertificate, others: Vec<WebCertificate>) -> Arc<Self> {
        Arc::new(Self { now: RwLock::new(CertificateSet { default, others }) })
    }

    /// Shows these from the next handshake on; open connections stay as they are.
    pub fn replace(&self, default: WebCertificate, others: Vec<WebCertificate>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = CertificateSet { default, others };
    }

    fn chosen(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| {
            let mut all = std::iter::once(&now.default).chain(&now.others);
            all.find(|certificate| certificate.is_for(&name))
        });
        Arc::clone(&named.unwrap_or(&now.default).key)
    }
}

impl ResolvesServerCert for WebCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.chosen(hello.server_name()))
    }
}
