//! Both sides of a handshake, each within a limit of time, and what can go wrong in it.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::server::{Accepted, Acceptor};
use rustls::{CertificateError, ClientConnection, Connection, Error};

use super::credentials::{Credentials, spki_of};
use super::duplex::{Incoming, Outgoing, Tls, feed};
use super::verify::KeyCheck;
use super::{ALPN, ALPN_HTTP, Inside, ServerTls, WebClient, our_client_config};
use crate::net::gate::TurnedAway;
use crate::net::socket::Socket;

/// No encrypted stream came about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What answered does not speak TLS; its first bytes.
    #[error("the other end does not speak TLS")]
    NotTls(Vec<u8>),
    /// The verdict on the server's key was no.
    #[error("the other end's key is not the one that was expected")]
    Untrusted,
    /// The certificate of a server of the web is not accepted.
    #[error("the other end's certificate is not accepted: {why}")]
    Certificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// The same for a person, with the name or the date.
        why: String,
    },
    /// It took too long.
    #[error("the TLS handshake was not over within {0:?}")]
    TimedOut(Duration),
    /// The other end hung up in the middle.
    #[error("the other end hung up in the middle of the TLS handshake")]
    Closed,
    /// The other end speaks TLS, and not inside it what we speak.
    #[error("the other end did not agree to speak {0} inside TLS (ALPN)")]
    OtherProtocol(&'static str),
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

/// What is wrong with a certificate of the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It was issued for another name.
    WrongName,
    /// No authority that is trusted here has signed it.
    UnknownIssuer,
    /// Anything else: it is malformed, revoked, for another purpose, or its signature is wrong.
    Invalid,
}

/// The server's side of a handshake, of which `first` was already read. What is spoken inside, and with it which
/// certificate is asked for and shown, the client's first message says.
///
/// # Errors
/// [`HandshakeError`]; the other end was told, as far as TLS has words for it.
pub fn accept(
    socket: &Socket,
    first: &[u8],
    server: &ServerTls,
    limit: Duration,
) -> Result<(Tls, Incoming), HandshakeError> {
    let mut handshake = Handshake::begin(socket, first, limit);
    let hello = handshake.hello()?;
    let (config, unsaid) = server.for_client(&hello.client_hello());
    match hello.into_connection(config) {
        Ok(connection) => handshake.finish(connection.into(), unsaid),
        Err((error, mut alert)) => {
            handshake.tell(|bytes| alert.write_all(bytes));
            Err(failed(error, unsaid))
        }
    }
}

/// The client's side of a handshake of our own protocol; `verdict` is asked before anything of ours but the
/// `ClientHello` is sent.
///
/// # Errors
/// [`HandshakeError`].
pub fn connect(
    socket: &Socket,
    own: &Credentials,
    verdict: KeyCheck,
    limit: Duration,
) -> Result<(Tls, Incoming), HandshakeError> {
    let failed = |error| failed(error, Inside::Landline);
    let config = our_client_config(own, verdict).map_err(failed)?;
    // Never sent (SNI is off) and never checked; the type wants one.
    let name = ServerName::try_from("landline.invalid").map_err(|error| HandshakeError::Failed(error.to_string()))?;
    let connection = ClientConnection::new(config.into(), name).map_err(failed)?;
    let handshake = Handshake::begin(socket, &[], limit);
    let (tls, incoming) = handshake.finish(connection.into(), Inside::Unsaid)?;
    match tls.inside() {
        Inside::Landline => Ok((tls, incoming)),
        Inside::Http | Inside::Unsaid => Err(HandshakeError::OtherProtocol(OURS)),
    }
}

/// The client's side of a handshake with a server of the web, called `host`: a name or an IP address.
///
/// # Errors
/// [`HandshakeError`].
pub fn connect_web(
    socket: &Socket,
    host: &str,
    web: &WebClient,
    limit: Duration,
) -> Result<(Tls, Incoming), HandshakeError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| HandshakeError::Failed(format!("{host:?} is no name of a server: {error}")))?;
    let connection = ClientConnection::new(web.config.clone(), name).map_err(|error| failed(error, Inside::Http))?;
    Handshake::begin(socket, &[], limit).finish(connection.into(), Inside::Http)
}

/// What our own protocol is called in an error.
const OURS: &str = "landline/1";

/// What went wrong, where `inside` was to be spoken.
#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors; they all mean: failed")]
fn failed(error: Error, inside: Inside) -> HandshakeError {
    use rustls::AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => HandshakeError::Untrusted,
        Error::InvalidCertificate(ref why) if let Some(fault) = fault(why) => {
            HandshakeError::Certificate { fault, why: why.to_string() }
        }
        Error::InvalidCertificate(why) if inside == Inside::Http => {
            HandshakeError::Certificate { fault: CertificateFault::Invalid, why: why.to_string() }
        }
        Error::NoApplicationProtocol | Error::AlertReceived(Alert::NoApplicationProtocol) => {
            HandshakeError::OtherProtocol(if inside == Inside::Http { "http/1.1" } else { OURS })
        }
        other => HandshakeError::Failed(other.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors; they all mean: failed")]
const fn fault(error: &CertificateError) -> Option<CertificateFault> {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(CertificateFault::Expired),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some(CertificateFault::NotYetValid)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(CertificateFault::WrongName)
        }
        CertificateError::UnknownIssuer => Some(CertificateFault::UnknownIssuer),
        _ => None,
    }
}

/// A handshake under way.
struct Handshake<'s> {
    socket: &'s Socket,
    incoming: Incoming,
    outgoing: Outgoing,
    deadline: Instant,
    limit: Duration,
    /// Nothing of the other end's was looked at yet.
    is_first: bool,
}

impl<'s> Handshake<'s> {
    fn begin(socket: &'s Socket, first: &[u8], limit: Duration) -> Self {
        Self {
            socket,
            incoming: Incoming::with(first),
            outgoing: Outgoing::default(),
            deadline: Instant::now() + limit,
            limit,
            is_first: true,
        }
    }

    /// Waits for bytes of the other end, unless some are left.
    fn wait(&mut self) -> Result<(), HandshakeError> {
        if self.incoming.is_empty() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.socket.readable(Some(left))? {
                return Err(HandshakeError::TimedOut(self.limit));
            }
            let mut reader = self.socket;
            if self.incoming.fill(&mut |dest| reader.read(dest))? == 0 {
                return Err(HandshakeError::Closed);
            }
        }
        // RFC 8446, 5.1: a handshake begins with a handshake record or an alert.
        if std::mem::take(&mut self.is_first) && !matches!(self.incoming.unused().first(), Some(0x15 | 0x16)) {
            return Err(HandshakeError::NotTls(self.incoming.unused().to_vec()));
        }
        Ok(())
    }

    /// The client's first message.
    fn hello(&mut self) -> Result<Accepted, HandshakeError> {
        let mut acceptor = Acceptor::default();
        loop {
            self.wait()?;
            self.incoming.take(|unused| acceptor.read_tls(unused))?;
            match acceptor.accept() {
                Ok(Some(hello)) => return Ok(hello),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    self.tell(|bytes| alert.write_all(bytes));
                    return Err(failed(error, Inside::Unsaid));
                }
            }
        }
    }

    /// The rest of it. `unsaid` is what is spoken inside where both ends have agreed to nothing.
    fn finish(mut self, mut connection: Connection, unsaid: Inside) -> Result<(Tls, Incoming), HandshakeError> {
        // Batches are bounded by the writers, so nothing is turned away in the middle of one.
        connection.set_buffer_limit(None);
        loop {
            while connection.wants_write() {
                connection.write_tls(self.outgoing.buffer())?;
            }
            self.outgoing.send_all(self.socket)?;
            if !connection.is_handshaking() {
                break;
            }
            self.wait()?;
            if let Err(error) = feed(&mut connection, &mut self.incoming) {
                self.tell(|bytes| {
                    while connection.wants_write() && connection.write_tls(bytes)? > 0 {}
                    Ok(())
                });
                return Err(failed(error, unsaid));
            }
        }
        let inside = match connection.alpn_protocol() {
            Some(ALPN) => Inside::Landline,
            Some(ALPN_HTTP) => Inside::Http,
            _ => unsaid,
        };
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let peer_spki = certificate.map(spki_of).transpose().map_err(|error| failed(error, unsaid))?;
        Ok((Tls::new(connection, self.outgoing, inside, peer_spki), self.incoming))
    }

    /// The other end is told with an alert, if it still listens.
    fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        drop(write(self.outgoing.buffer()));
        drop(self.outgoing.try_send(self.socket));
    }
}
