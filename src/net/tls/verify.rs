//! What this end accepts from the other one: of our own protocol the key alone, of the web's servers a certificate
//! with its chain, name and dates.
//!
//! Who is at the other end of our own protocol is not judged by a certificate's names or dates, only by its key: the
//! handshake proves that the other end holds it (RFC 8446, 4.4.3), and the caller decides.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::credentials::{CredentialsError, spki_of};
use super::provider;

/// Whether the key at the other end (its SPKI in DER: RFC 5280, 4.1.2.7) is the right one.
pub type KeyCheck = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Checks that the other end owns the key in its certificate, and asks the verdict about that key.
/// A server asks nothing here: its policy decides afterwards, so that a refusal can be polite.
pub(super) struct KeyOnly {
    verdict: Option<KeyCheck>,
    is_mandatory: bool,
    issuers: Vec<DistinguishedName>,
}

impl fmt::Debug for KeyOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOnly")
    }
}

impl KeyOnly {
    /// For a client: the verdict judges the server's key.
    pub(super) fn of_server(verdict: KeyCheck) -> Self {
        Self { verdict: Some(verdict), is_mandatory: true, issuers: Vec::new() }
    }

    /// For a server whose clients all show a certificate.
    pub(super) const fn of_every_client() -> Self {
        Self { verdict: None, is_mandatory: true, issuers: Vec::new() }
    }

    /// For a server that asks for a certificate of these issuers (RFC 8446, 4.2.4), and for none else.
    pub(super) const fn of_some_clients(issuers: Vec<DistinguishedName>) -> Self {
        Self { verdict: None, is_mandatory: false, issuers }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let spki = spki_of(certificate)?;
        if self.verdict.as_ref().is_none_or(|verdict| verdict(&spki)) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

fn check_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
}

fn schemes() -> Vec<SignatureScheme> {
    provider().signature_verification_algorithms.supported_schemes()
}

/// TLS 1.2 is offered to the web's servers only, so nothing is signed its way here.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".into())
}

impl ServerCertVerifier for KeyOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for KeyOnly {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.issuers
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// Whose certificates a client of the web accepts.
#[derive(Clone)]
pub struct WebTrust {
    /// `None`: no authority is asked, the pinned key alone counts.
    roots: Option<RootCertStore>,
    pin: Option<KeyCheck>,
}

impl fmt::Debug for WebTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, pin } = self;
        let roots = roots.as_ref().map(RootCertStore::len);
        f.debug_struct("WebTrust").field("roots", &roots).field("is_pinned", &pin.is_some()).finish()
    }
}

impl WebTrust {
    /// No authority yet.
    pub fn none() -> Self {
        Self { roots: Some(RootCertStore::empty()), pin: None }
    }

    /// Only the server whose key `pin` accepts, whatever its certificate says of names, dates and authorities: who has
    /// the key is known, so nobody else is asked.
    pub fn key_alone(pin: KeyCheck) -> Self {
        Self { roots: None, pin: Some(pin) }
    }

    /// The authorities that this machine trusts: where its system keeps them, or what `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name.
    ///
    /// # Errors
    /// There are none.
    pub fn of_this_machine() -> Result<Self, CredentialsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A machine's list often has one that is too old to be read.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or_else(|| "there are none".into(), ToString::to_string);
            return Err(CredentialsError::of("this machine's root certificates", &why));
        }
        Ok(Self { roots: Some(roots), pin: None })
    }

    /// The authorities in `pem` too.
    ///
    /// # Errors
    /// There is no certificate in it, or one that cannot be read.
    pub fn and_pem(mut self, pem: &[u8]) -> Result<Self, CredentialsError> {
        let failed = |error: &dyn fmt::Display| CredentialsError::of("the root certificates", error);
        let roots = self.roots.get_or_insert_with(RootCertStore::empty);
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
        if roots.len() == before { Err(failed(&"there is no certificate in them")) } else { Ok(self) }
    }

    /// Only a server whose key `pin` accepts, whatever an authority has signed.
    #[must_use]
    pub fn pinned(self, pin: KeyCheck) -> Self {
        Self { pin: Some(pin), ..self }
    }
}

/// Checks a server's certificate as the web does, and its key where that is pinned.
#[derive(Debug)]
pub(super) struct WebVerifier {
    /// `None`: the key alone counts.
    chain: Option<Arc<WebPkiServerVerifier>>,
    key: Option<KeyOnly>,
}

impl WebVerifier {
    pub(super) fn new(trust: WebTrust) -> Result<Self, CredentialsError> {
        let WebTrust { roots, pin } = trust;
        let chain_of = |roots| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let chain = roots.map(chain_of).transpose();
        let chain = chain.map_err(|error| CredentialsError::of("the root certificates", &error))?;
        Ok(Self { chain, key: pin.map(KeyOnly::of_server) })
    }
}

impl ServerCertVerifier for WebVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        self.key.as_ref().map_or(Ok(()), |key| key.check(end_entity))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
