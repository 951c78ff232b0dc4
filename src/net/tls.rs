//! TLS 1.3 under a stream, with a certificate at each end; the only file that names rustls.
//!
//! ```text
//! plaintext --writer--> Connection --records--> Outgoing --> socket      (under the send lock)
//! socket --> Incoming --records--> Connection --reader--> plaintext      (on the receiving thread)
//! ```
//!
//! The connection's own lock is held only while something is ciphered, never while a socket may
//! sleep. A sender takes the send lock first and keeps it until its records are on the socket, or
//! they would overtake each other. The receiver may have something to say (RFC 8446, 6.2: an alert),
//! but it only *tries* for the send lock and leaves a flag for its holder: two receivers that
//! waited for two full pipes would wait for ever. A key update (4.6.3) is answered with the next
//! write.
//!
//! Who is at the other end is not judged by a certificate's names or dates, only by its key: the
//! handshake proves that the other end holds it (RFC 8446, 4.4.3), and the caller decides.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    DistinguishedName, Error, ServerConfig, ServerConnection, SignatureScheme,
};

use super::gate::TurnedAway;
use super::socket::Socket;

/// What both sides must agree to speak inside (RFC 7301): nothing that a browser offers.
pub const ALPN: &[u8] = b"landline/1";
/// Plaintext that is ciphered before its records go to the socket, in bytes: larger ones fall out of
/// the processor's cache.
const BATCH_LEN_MAX: usize = 256 * 1024;
/// The same where one thread writes to many members of a room, none of whom should wait for another.
const SHARED_BATCH_LEN_MAX: usize = 64 * 1024;
/// Plaintext handed to the connection at once, in bytes: the longest record (RFC 8446, 5.1). It makes a
/// vector for each record, and more of them at a time would be memory that the allocator takes from
/// the kernel and gives back for every batch: a page fault for each page sent.
const RECORD_LEN_MAX: usize = 16 * 1024;
/// Ciphertext read at once on a busy connection, in bytes.
const INCOMING_LEN_BUSY: usize = 256 * 1024;
/// The same on an idle one: 10,000 of them cost 40 MiB.
const INCOMING_LEN_IDLE: usize = 4 * 1024;
/// Silence after which a busy connection's buffer is given back.
const REST_AFTER: Duration = Duration::from_millis(100);
/// Ciphertext of a batch beyond which its buffer is given back after a while.
const OUTGOING_LEN_IDLE: usize = 16 * 1024;

/// The user's key and certificate, ready for both sides of a handshake.
#[derive(Clone)]
pub struct Credentials {
    key: Arc<CertifiedKey>,
    server: Arc<ServerConfig>,
    provider: Arc<CryptoProvider>,
    spki: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Whether the key at the other end (its SPKI in DER: RFC 5280, 4.1.2.7) is the right one.
pub type KeyCheck = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The text is no key and certificate that belong together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(String);

impl Credentials {
    /// Reads a private key (PKCS#8) and its certificate, both PEM, in any order.
    ///
    /// # Errors
    /// Either is missing or cannot be read, or they do not belong together.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CredentialsError> {
        let failed = |what: &str, error: &dyn fmt::Display| CredentialsError(format!("{what}: {error}"));
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| failed("the private key", &error))?;
        let certificate = CertificateDer::from_pem_slice(pem).map_err(|error| failed("the certificate", &error))?;
        let provider = Arc::new(provider());
        let spki = spki_of(&certificate).map_err(|error| failed("the certificate", &error))?;
        let key = CertifiedKey::from_der(vec![certificate], key, &provider)
            .map_err(|error| failed("the key and the certificate", &error))?;
        let key = Arc::new(key);
        let server = server_config(&key, &provider).map_err(|error| failed("TLS", &error))?;
        Ok(Self { key, server, provider, spki })
    }

    /// The public key: SPKI in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn client_config(&self, verdict: KeyCheck) -> Result<ClientConfig, Error> {
        let verifier = Arc::new(KeyOnly { verdict: Some(verdict), provider: Arc::clone(&self.provider) });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Nothing about names: what was dialled is nobody's business on the way.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// AES-128 first: as safe as the 128 bits of P-256, and a quarter quicker than AES-256 (RFC 8446, B.4;
/// RFC 8446 requires it of everybody). The key exchange has X25519MLKEM768 first.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn server_config(key: &Arc<CertifiedKey>, provider: &Arc<CryptoProvider>) -> Result<Arc<ServerConfig>, Error> {
    let verifier = Arc::new(KeyOnly { verdict: None, provider: Arc::clone(provider) });
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Resuming would save 0.2 ms and cost state, and a ticket would outlive a revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info().to_vec())
}

/// Checks that the other end owns the key in its certificate, and asks the verdict about that key.
/// A server asks nothing here: its policy decides afterwards, so that a refusal can be polite.
struct KeyOnly {
    verdict: Option<KeyCheck>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for KeyOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOnly")
    }
}

impl KeyOnly {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let spki = spki_of(certificate)?;
        if self.verdict.as_ref().is_none_or(|verdict| verdict(&spki)) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not offered, so nothing is ever signed its way.
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
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for KeyOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
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
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// No encrypted stream came about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What answered does not speak TLS; its first bytes.
    #[error("the other end does not speak TLS")]
    NotTls(Vec<u8>),
    /// The verdict on the server's key was no.
    #[error("the other end's key is not the one that was expected")]
    Untrusted,
    /// It took too long.
    #[error("the TLS handshake was not over within {0:?}")]
    TimedOut(Duration),
    /// The other end hung up in the middle.
    #[error("the other end hung up in the middle of the TLS handshake")]
    Closed,
    /// The other end speaks TLS, and not inside it what we speak.
    #[error("the other end did not agree to speak landline/1 inside TLS (ALPN)")]
    OtherProtocol,
    /// Either side found something wrong.
    #[error("TLS handshake: {0}")]
    Failed(String),
    /// No thread was left for it; nothing was read or sent.
    #[error(transparent)]
    Busy(TurnedAway),
    /// The operating system reported an error on the socket.
    #[error("TLS handshake")]
    Socket(#[from] io::Error),
}

/// Ciphertext that has come and was not yet looked at: `start <= end <= bytes.len()`.
#[derive(Debug)]
pub struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn with(first: &[u8]) -> Self {
        let mut bytes = first.to_vec();
        bytes.resize(INCOMING_LEN_IDLE.max(first.len()), 0);
        Self { bytes, start: 0, end: first.len() }
    }

    fn unused(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads what has come, with `read`; 0 bytes is the end of the stream. A buffer that was filled grows.
    fn fill(&mut self, read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.end == self.bytes.len() && self.bytes.len() < INCOMING_LEN_BUSY && self.end > 0 {
            self.bytes = vec![0; INCOMING_LEN_BUSY];
        }
        self.start = 0;
        self.end = 0;
        self.end = read(&mut self.bytes)?.min(self.bytes.len());
        Ok(self.end)
    }

    /// Gives a busy exchange's memory back.
    fn rest(&mut self) {
        if self.bytes.len() > INCOMING_LEN_IDLE && self.start == self.end {
            *self = Self::with(&[]);
        }
    }
}

/// Records on their way to the socket: `sent <= bytes.len()`.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn send(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.bytes.clear();
        Ok(())
    }

    /// Gives a busy exchange's memory back.
    fn rest(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Sends all of it, however long the other end takes.
    fn send_all(&mut self, mut socket: &Socket) -> io::Result<()> {
        self.send(|bytes| socket.write(bytes))
    }

    /// Sends what the socket takes at once.
    fn try_send(&mut self, socket: &Socket) -> io::Result<()> {
        self.send(|bytes| socket.try_write(&[IoSlice::new(bytes)]))
    }
}

/// An encrypted stream's state, shared by its halves.
pub struct Tls {
    connection: Mutex<Connection>,
    /// The send lock; taken before the connection's.
    outgoing: Mutex<Outgoing>,
    /// The receiver has something to send and did not get the send lock.
    is_answer_waiting: AtomicBool,
    /// There is memory to give back when the connection is at rest.
    is_outgoing_large: AtomicBool,
    /// Something was left in `outgoing` by the last one who did not wait; to be looked at without its lock.
    has_unsent: AtomicBool,
    speaks_ours: bool,
    peer_spki: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The server's side of a handshake, of which `first` was already read.
///
/// # Errors
/// [`HandshakeError`]; the other end was told, as far as TLS has words for it.
pub fn accept(
    socket: &Socket,
    first: &[u8],
    credentials: &Credentials,
    limit: Duration,
) -> Result<(Tls, Incoming), HandshakeError> {
    let connection = ServerConnection::new(Arc::clone(&credentials.server));
    shake_hands(socket, connection.map_err(failed)?.into(), first, limit)
}

/// The client's side of a handshake; `verdict` is asked before anything of ours but the
/// `ClientHello` is sent.
///
/// # Errors
/// [`HandshakeError`].
pub fn connect(
    socket: &Socket,
    credentials: &Credentials,
    verdict: KeyCheck,
    limit: Duration,
) -> Result<(Tls, Incoming), HandshakeError> {
    let config = credentials.client_config(verdict).map_err(failed)?;
    // Never sent (SNI is off) and never checked; the type wants one.
    let name = ServerName::try_from("landline.invalid").map_err(|error| HandshakeError::Failed(error.to_string()))?;
    let connection = ClientConnection::new(Arc::new(config), name);
    let (tls, incoming) = shake_hands(socket, connection.map_err(failed)?.into(), &[], limit)?;
    if tls.speaks_ours { Ok((tls, incoming)) } else { Err(HandshakeError::OtherProtocol) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors; they all mean: failed")]
fn failed(error: Error) -> HandshakeError {
    use rustls::AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => HandshakeError::Untrusted,
        Error::NoApplicationProtocol | Error::AlertReceived(Alert::NoApplicationProtocol) => {
            HandshakeError::OtherProtocol
        }
        other => HandshakeError::Failed(other.to_string()),
    }
}

fn shake_hands(
    socket: &Socket,
    mut connection: Connection,
    first: &[u8],
    limit: Duration,
) -> Result<(Tls, Incoming), HandshakeError> {
    // Batches are bounded by whoever writes, so nothing is turned away in the middle of one.
    connection.set_buffer_limit(None);
    let deadline = Instant::now() + limit;
    let mut incoming = Incoming::with(first);
    let mut outgoing = Outgoing::default();
    let mut is_first = true;
    loop {
        while connection.wants_write() {
            connection.write_tls(&mut outgoing.bytes)?;
        }
        outgoing.send_all(socket)?;
        if !connection.is_handshaking() {
            break;
        }
        if incoming.start == incoming.end {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !socket.readable(Some(left))? {
                return Err(HandshakeError::TimedOut(limit));
            }
            let mut reader = socket;
            if incoming.fill(&mut |dest| reader.read(dest))? == 0 {
                return Err(HandshakeError::Closed);
            }
        }
        // RFC 8446, 5.1: a handshake begins with a handshake record or an alert.
        if std::mem::take(&mut is_first) && !matches!(incoming.unused().first(), Some(0x15 | 0x16)) {
            return Err(HandshakeError::NotTls(incoming.unused().to_vec()));
        }
        if let Err(error) = feed(&mut connection, &mut incoming) {
            // The other end is told with an alert, if it still listens.
            while connection.wants_write() && connection.write_tls(&mut outgoing.bytes).is_ok() {}
            drop(outgoing.try_send(socket));
            return Err(failed(error));
        }
    }
    let speaks_ours = connection.alpn_protocol() == Some(ALPN);
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let peer_spki = certificate.ok_or(Error::NoCertificatesPresented).and_then(spki_of).map_err(failed)?;
    let tls = Tls {
        connection: Mutex::new(connection),
        outgoing: Mutex::new(outgoing),
        is_answer_waiting: AtomicBool::new(false),
        is_outgoing_large: AtomicBool::new(false),
        has_unsent: AtomicBool::new(false),
        speaks_ours,
        peer_spki,
    };
    Ok((tls, incoming))
}

/// Hands one piece of what has come to the connection. Piece by piece: it takes no more while
/// plaintext waits in it.
fn feed(connection: &mut Connection, incoming: &mut Incoming) -> Result<(), Error> {
    let mut unused = incoming.unused();
    let before = unused.len();
    // Reading from memory fails only if the connection takes no more, which the caller has made sure of.
    connection.read_tls(&mut unused).map_err(|error| Error::General(error.to_string()))?;
    incoming.start += before - unused.len();
    connection.process_new_packets().map(|_| ())
}

impl Tls {
    /// The other end's public key: SPKI in DER.
    pub fn peer_spki(&self) -> &[u8] {
        &self.peer_spki
    }

    /// Whether the other end agreed to speak [`ALPN`] inside; one that offers nothing at all can still
    /// be told so.
    pub const fn speaks_ours(&self) -> bool {
        self.speaks_ours
    }

    /// 32 bytes that both ends of this connection can compute and nobody else (RFC 8446, 7.5).
    ///
    /// # Errors
    /// The connection is closed.
    pub fn export(&self, label: &[u8]) -> io::Result<[u8; 32]> {
        let connection = self.connection();
        connection.export_keying_material([0; 32], label, None).map_err(io::Error::other)
    }

    /// Reads into `slices` what is there, waiting with `read` if that is nothing; 0 is a proper end.
    ///
    /// # Errors
    /// `UnexpectedEof` if the stream ended without the other end's farewell (RFC 8446, 6.1), whatever
    /// `read` says, or the records are not what they should be.
    pub fn read(
        &self,
        socket: &Socket,
        incoming: &mut Incoming,
        slices: &mut [IoSliceMut<'_>],
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if let Some(len) = self.decipher(incoming, slices, socket)? {
                return Ok(len);
            }
            self.rest(socket, incoming)?;
            self.fill(incoming, read)?;
        }
    }

    /// Gives a busy exchange's memory back when nothing has come for a while.
    fn rest(&self, socket: &Socket, incoming: &mut Incoming) -> io::Result<()> {
        let is_outgoing_large = self.is_outgoing_large.load(Ordering::Relaxed);
        if (is_outgoing_large || incoming.bytes.len() > INCOMING_LEN_IDLE) && !socket.readable(Some(REST_AFTER))? {
            incoming.rest();
            // Whoever is sending needs it still.
            if let (true, Ok(mut outgoing)) = (is_outgoing_large, self.outgoing.try_lock()) {
                outgoing.rest();
                self.is_outgoing_large.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether a [`read`](Self::read) would find something without waiting.
    ///
    /// # Errors
    /// The socket failed.
    pub fn ready(&self, socket: &Socket, incoming: &mut Incoming) -> io::Result<bool> {
        loop {
            // Errors and ends are something to find, too.
            if !matches!(self.decipher(incoming, &mut [], socket), Ok(None)) {
                return Ok(true);
            }
            if !socket.readable(Some(Duration::ZERO))? {
                return Ok(false);
            }
            let mut reader = socket;
            self.fill(incoming, &mut |dest| reader.read(dest))?;
        }
    }

    fn fill(&self, incoming: &mut Incoming, read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        // What was wrong with the last records is said again, if what came before them was delivered first.
        self.connection().process_new_packets().map_err(io::Error::other)?;
        if incoming.fill(read)? == 0 {
            // The connection has to know: it tells an end from a truncation.
            self.connection().read_tls(&mut io::empty())?;
        }
        Ok(())
    }

    /// Deciphers as much of what has come as fits; `None`: more must come first. With no slices it
    /// says whether there is anything.
    fn decipher(
        &self,
        incoming: &mut Incoming,
        slices: &mut [IoSliceMut<'_>],
        socket: &Socket,
    ) -> io::Result<Option<usize>> {
        let mut connection = self.connection();
        let mut filled = 0;
        let result = 'all: {
            if slices.is_empty() {
                break 'all peek(&mut connection, incoming);
            }
            for slice in slices {
                match decipher_into(&mut connection, incoming, slice) {
                    Ok((len, is_full)) => {
                        filled += len;
                        if !is_full {
                            break;
                        }
                    }
                    // What came before the end is delivered first; the end is found again.
                    Err(_) if filled > 0 => break,
                    Err(End::Clean) => break 'all Ok(Some(0)),
                    Err(End::Broken(error)) => break 'all Err(error),
                }
            }
            Ok(Some(filled).filter(|filled| *filled > 0))
        };
        let has_answer = connection.wants_write();
        drop(connection);
        if has_answer {
            self.is_answer_waiting.store(true, Ordering::SeqCst);
            self.send_answer(socket);
        }
        result
    }

    /// Writes a batch of what `slices` hold, and waits until it is on the socket.
    ///
    /// # Errors
    /// The socket failed.
    pub fn write(&self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing();
        outgoing.send_all(socket)?;
        let taken = self.encipher(&mut outgoing, slices, BATCH_LEN_MAX)?;
        outgoing.send_all(socket)?;
        self.let_go(outgoing);
        self.send_answer(socket);
        Ok(taken)
    }

    /// Writes a batch of what `slices` hold without waiting; what the socket did not take is kept,
    /// and nothing more is taken until it has gone. With no slices it only sends what is left.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was taken, or the socket failed.
    pub fn try_write(&self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = match self.outgoing.try_lock() {
            Ok(outgoing) => outgoing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        outgoing.try_send(socket)?;
        let taken = self.encipher(&mut outgoing, slices, SHARED_BATCH_LEN_MAX)?;
        match outgoing.try_send(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.let_go(outgoing);
        self.send_answer(socket);
        Ok(taken)
    }

    /// Whether something that [`try_write`](Self::try_write) took has not left yet.
    pub fn has_unsent(&self) -> bool {
        self.has_unsent.load(Ordering::SeqCst)
    }

    fn let_go(&self, outgoing: MutexGuard<'_, Outgoing>) {
        self.has_unsent.store(!outgoing.is_empty(), Ordering::SeqCst);
        drop(outgoing);
    }

    /// Says farewell (`close_notify`: RFC 8446, 6.1): without it the other end must take what it has
    /// for a part. Waits until everything before it is on the socket.
    pub fn close(&self, socket: &Socket) {
        let mut outgoing = self.outgoing();
        if let Err(error) = self.farewell(&mut outgoing).and_then(|()| outgoing.send_all(socket)) {
            tracing::debug!(%error, "the connection was gone before its farewell");
        }
    }

    /// As [`close`](Self::close), without waiting: for a connection that is dropped in the middle of things.
    pub fn abandon(&self, socket: &Socket) {
        if let Ok(mut outgoing) = self.outgoing.try_lock() {
            // Nobody is left to hear of an error.
            drop(self.farewell(&mut outgoing).and_then(|()| outgoing.try_send(socket)));
        }
    }

    fn farewell(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        let mut connection = self.connection();
        connection.send_close_notify();
        take_records(&mut connection, outgoing)
    }

    fn encipher(&self, outgoing: &mut Outgoing, slices: &[IoSlice<'_>], limit: usize) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        // What is left of a frame by its header's length goes along, or it would be a batch of its own.
        let limit = if total <= limit + RECORD_LEN_MAX { total } else { limit };
        let mut connection = self.connection();
        let mut taken = 0;
        for slice in slices {
            let Some(part) = slice.get(..slice.len().min(limit - taken)).filter(|part| !part.is_empty()) else {
                continue;
            };
            for record in part.chunks(RECORD_LEN_MAX) {
                connection.writer().write_all(record)?;
                take_records(&mut connection, outgoing)?;
            }
            taken += part.len();
        }
        take_records(&mut connection, outgoing)?;
        self.is_outgoing_large.store(outgoing.bytes.capacity() > OUTGOING_LEN_IDLE, Ordering::Relaxed);
        Ok(taken)
    }

    /// Sends what the receiver left for whoever holds the send lock, without waiting. The flag is
    /// looked at after the lock was let go, or an answer that came just then would stay.
    fn send_answer(&self, socket: &Socket) {
        while self.is_answer_waiting.load(Ordering::SeqCst) {
            // Whoever holds the lock comes by here when it lets go.
            let Ok(mut outgoing) = self.outgoing.try_lock() else { return };
            self.is_answer_waiting.store(false, Ordering::SeqCst);
            let ciphered = take_records(&mut self.connection(), &mut outgoing);
            // What does not leave now leaves with the next write; a lost connection is found by whoever reads.
            drop(ciphered.and_then(|()| outgoing.try_send(socket)));
            self.let_go(outgoing);
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves the connection's finished records behind those that are on their way.
fn take_records(connection: &mut Connection, outgoing: &mut Outgoing) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(&mut outgoing.bytes)?;
    }
    Ok(())
}

/// Whether there is plaintext, or an end, in what has come.
fn peek(connection: &mut Connection, incoming: &mut Incoming) -> io::Result<Option<usize>> {
    loop {
        match io::BufRead::fill_buf(&mut connection.reader()) {
            Ok(bytes) => return Ok(Some(bytes.len())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if incoming.start == incoming.end {
            return Ok(None);
        }
        feed(connection, incoming).map_err(io::Error::other)?;
    }
}

/// rustls points to its manual here.
fn in_our_words(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let text = "it was cut without a farewell: the other end was stopped or killed, or has revoked this peer";
        return io::Error::new(io::ErrorKind::UnexpectedEof, text);
    }
    error
}

/// Nothing more will come.
enum End {
    /// The other end said farewell.
    Clean,
    /// It did not, or what came cannot be deciphered.
    Broken(io::Error),
}

/// Fills `dest` from what has come; returns how much, and whether it is full.
fn decipher_into(connection: &mut Connection, incoming: &mut Incoming, dest: &mut [u8]) -> Result<(usize, bool), End> {
    let mut filled = 0;
    loop {
        let Some(rest) = dest.get_mut(filled..).filter(|rest| !rest.is_empty()) else { return Ok((filled, true)) };
        match connection.reader().read(rest) {
            Ok(0) if filled == 0 => return Err(End::Clean),
            Ok(0) => return Ok((filled, false)),
            Ok(len) => {
                filled += len;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if filled == 0 => return Err(End::Broken(in_our_words(error))),
            Err(_) => return Ok((filled, false)),
        }
        if incoming.start == incoming.end {
            return Ok((filled, false));
        }
        if let Err(error) = feed(connection, incoming) {
            return if filled == 0 { Err(End::Broken(io::Error::other(error))) } else { Ok((filled, false)) };
        }
    }
}
