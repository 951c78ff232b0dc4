//! HTTP on this server: whose session a request has, and what connections of HTTP share.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Server;
use super::access::PresentedToken;
use super::connection::admit;
use super::sign_in::SignInForm;
use crate::chat::web::{WebConnection, serve_web_chat};
use crate::error::{Error, Result};
use crate::http::credentials::Presented;
use crate::http::head::RequestHead;
use crate::http::server::problem::Result as HttpResult;
use crate::http::server::{
    Access, Caller, CertificateFiles, Claim, Client, HttpOptions, HttpState, SignInRequest, SignedIn, Upgraded, serve,
};
use crate::net::Stream;
use crate::net::budget::Whose;
use crate::net::gate::{Rank, TurnedAway};
use crate::net::open::OpenConnection;
use crate::net::origin::origin_of;
use crate::net::service::Accepted;
use crate::net::tls::{CredentialsError, ServerTls, WebCertificate, WebCertificates};
use crate::session::Session;
use crate::trust::identity::Identity;
use crate::trust::policy::Proof;
use crate::trust::tokens::TokenId;
use crate::trust::tokens::retries::Retries;
use crate::trust::{Peer, Services};

/// HTTP, as this server has it.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) state: HttpState,
    certificates: Arc<WebCertificates>,
    /// `None`: the own identity's certificate is shown.
    files: Option<Mutex<WatchedCertificate>>,
}

/// A certificate's files, and how they looked when they were read.
#[derive(Debug)]
struct WatchedCertificate {
    files: CertificateFiles,
    stamp: Stamp,
}

/// Device and inode, size and time of the last change of both files; `None`: one is not there.
type Stamp = Option<[(u64, u64, u64, i64, i64); 2]>;

impl WatchedCertificate {
    fn stamp(files: &CertificateFiles) -> Stamp {
        let of = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
        };
        Some([of(&files.chain)?, of(&files.key)?])
    }
}

impl Http {
    /// # Errors
    /// The certificate cannot be used.
    pub(super) fn new(options: HttpOptions, identity: &Identity) -> Result<Self> {
        // How the files look is noted first, so that a renewal meanwhile is seen.
        let watch = |files: CertificateFiles| WatchedCertificate { stamp: WatchedCertificate::stamp(&files), files };
        let watched = options.certificate.clone().map(watch);
        let certificate = match &watched {
            None => WebCertificate::own(identity.credentials()),
            Some(watched) => read_certificate(&watched.files)?,
        };
        let certificates = WebCertificates::new(certificate, Vec::new());
        let files = watched.map(Mutex::new);
        let state = HttpState::new(options, &identity.derived_secret());
        Ok(Self { state, certificates, files })
    }

    /// The TLS of a port for HTTP; for our own protocol too, if `speaks_frames`.
    ///
    /// # Errors
    /// The own key cannot be used.
    pub(super) fn tls(&self, identity: &Identity, speaks_frames: bool) -> Result<ServerTls, CredentialsError> {
        let own = identity.credentials();
        if speaks_frames {
            ServerTls::ours_and_web(own, &self.certificates)
        } else {
            ServerTls::web(own, &self.certificates)
        }
    }

    /// Reads the certificate again if it was renewed. One that cannot be used leaves the old one in place.
    pub(super) fn renew(&self) {
        let Some(watched) = &self.files else { return };
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = WatchedCertificate::stamp(&watched.files);
        if stamp == watched.stamp {
            return;
        }
        watched.stamp = stamp;
        match read_certificate(&watched.files) {
            Ok(certificate) => {
                self.certificates.replace(certificate, Vec::new());
                tracing::info!(chain = %watched.files.chain.display(), "the certificate was read again");
            }
            Err(error) => {
                tracing::error!(error = error.with_cause(), "the certificate cannot be used; the old one stays");
            }
        }
    }
}

fn read_certificate(files: &CertificateFiles) -> Result<WebCertificate> {
    let read = |path: &Path| std::fs::read(path).map_err(Error::ours(path.to_string_lossy()));
    let (chain, key) = (read(&files.chain)?, read(&files.key)?);
    WebCertificate::from_pem(&chain, &key)
        .map_err(|error| Error::ours(files.chain.to_string_lossy())(io::Error::other(error)))
}

impl Server {
    /// Serves HTTP on a connection that has proved this.
    pub(super) fn serve_http(
        &self,
        http: &Http,
        (stream, first): (Stream, Vec<u8>),
        accepted: &mut Accepted,
        proof: Proof,
    ) -> Result<()> {
        let mut access = HttpAccess { server: self, http, accepted, proof, remote: stream.peer_ip() };
        let idle = self.service.idle_timeout();
        serve(Caller { stream, first, idle, access: &mut access, state: &http.state })
    }
}

/// One connection's access.
struct HttpAccess<'a> {
    server: &'a Server,
    http: &'a Http,
    accepted: &'a mut Accepted,
    /// What the connection has proved.
    proof: Proof,
    /// The other end's address; `None`: a Unix socket.
    remote: Option<IpAddr>,
}

impl Access for HttpAccess<'_> {
    fn open(&self) -> &OpenConnection {
        &self.accepted.open
    }

    fn session(&mut self, client: &Client<'_>) -> HttpResult<Session> {
        let options = &self.http.state.options;
        // A page of a site that people upload to or sign in at is not to act with what its reader may do.
        let is_static = options.shows_index || options.is_spa;
        let grant = match client.claim {
            Claim::Token(Presented { name, secret }) if !is_static => {
                let token = PresentedToken { name: name.as_deref(), ..presented(TokenId::of(secret), client) };
                self.server.authorize_token(token, self.accepted)?
            }
            Claim::Session(id) if !is_static => self.server.authorize_session(presented(id, client), self.accepted)?,
            Claim::Connection if !is_static => self.server.authorize_and_note(self.proof, self.accepted)?,
            Claim::Nothing | Claim::Connection | Claim::Token(_) | Claim::Session(_) => {
                self.server.authorize_and_note(Proof::Nothing, self.accepted)?
            }
        };
        if grant.services != Services::NONE {
            let rank = if grant.peer.is_known() { Rank::Known } else { Rank::Guest };
            admit(&mut self.accepted.ticket, rank)?;
        }
        if grant.peer.is_known() {
            self.accepted.note_known(self.server.service.gate().log_budget());
        }
        let mut session = self.server.session(grant, self.accepted)?;
        if let Some(address) = client.forwarded {
            session.address = format!("{address} through {}", self.accepted.address);
            session.origin = origin_of(address);
            if let Peer::Guest { address, .. } = &mut session.peer {
                address.clone_from(&session.address);
            }
        }
        Ok(session)
    }

    fn sign_in(&mut self, request: &SignInRequest<'_>, client: &Client<'_>) -> HttpResult<SignedIn> {
        let SignInRequest { secret, nonce, session } = *request;
        let (key, secret) = (Retries::key(secret, nonce), presented(TokenId::of(secret), client));
        Ok(self.server.sign_in(&SignInForm { secret, key, session }, self.accepted)?)
    }

    fn sign_out(&mut self, session: TokenId) -> HttpResult<()> {
        Ok(self.server.sign_out(session, self.accepted)?)
    }

    fn chat(&mut self, upgraded: Upgraded<'_>) -> Result<()> {
        let Upgraded { read, first, out, session } = upgraded;
        let open = &self.accepted.open;
        // A stop is not to wait for those who talk: they are told, and come back.
        open.set_in_exchange(false);
        if open.stopping() {
            read.control().stop_reading();
        }
        let known = self.server.known_peers.now().0.ok();
        let connection = WebConnection { read, first, out, is_stopping: &|| open.stopping() };
        serve_web_chat(connection, session, &self.server.hub, known.as_deref())
    }

    fn log_refused(&self, head: &RequestHead, outcome: &str) {
        let origin = self.accepted.ticket.origin();
        let budget = self.server.service.gate().log_budget();
        if budget.allows(Whose::Address(origin), || origin.to_string()) {
            tracing::info!(
                connection = self.accepted.id(),
                peer = %self.accepted.address,
                verb = head.method.as_str(),
                about = head.target.raw_path.as_str(),
                host = head.authority.as_ref().map_or("", |authority| authority.as_str()),
                outcome,
                "refused"
            );
        }
    }

    fn note_malformed(&mut self) {
        // What a trusted proxy passes on is another's.
        if self.remote.is_some_and(|remote| self.http.state.options.trusted_proxies.contains(&remote)) {
            return;
        }
        self.server.service.gate().note_failure(self.accepted.ticket.origin(), 1);
    }
}

/// A secret as this client has presented it, under no name.
const fn presented(id: TokenId, client: &Client<'_>) -> PresentedToken<'static> {
    PresentedToken { id, name: None, forwarded: client.forwarded, is_encrypted: client.is_encrypted }
}

/// What a connection beyond a limit is told where only HTTP is served.
pub(super) fn last_word(why: &TurnedAway) -> Vec<u8> {
    let text = format!("{why}\n");
    let len = text.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\
         Retry-After: 60\r\nConnection: close\r\n\r\n{text}"
    )
    .into_bytes()
}
