//! Whether a request may come in at all: meant for this server, and not sent by a browser for a page elsewhere. Who its
//! client is, the server decides with what it [claims](Claim).

use std::net::IpAddr;
use std::time::Duration;

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::uri::Scheme;
use ::http::{Method, StatusCode};

use super::options::HttpOptions;
use super::problem::{Problem, Result};
use super::response::Response;
use super::state::HttpState;
use crate::http::credentials::Presented;
use crate::http::head::{RequestHead, tokens};
use crate::http::site::Site;
use crate::net::open::OpenConnection;
use crate::net::stream::{ReadHalf, WriteHalf};
use crate::session::Session;
use crate::trust::identity::OWN_CERTIFICATE_NAME;
use crate::trust::tokens::{Secret, TokenId};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What the engine needs of the server that it belongs to.
pub trait Access {
    /// The connection's entry among the open ones.
    fn open(&self) -> &OpenConnection;

    /// The session of a client.
    ///
    /// # Errors
    /// It may not come in, or has presented a token that is none.
    fn session(&mut self, client: &Client<'_>) -> Result<Session>;

    /// Exchanges the secret of a link or a token for a session.
    ///
    /// # Errors
    /// It is no such secret, the link is used up or has expired, or too many wrong secrets came.
    fn sign_in(&mut self, request: &SignInRequest<'_>, client: &Client<'_>) -> Result<SignedIn>;

    /// Ends a session; one that has ended already is none.
    ///
    /// # Errors
    /// That could not be recorded.
    fn sign_out(&mut self, session: TokenId) -> Result<()>;

    /// Serves the chat on a connection that speaks WebSocket from now on, until it ends. Its session is told what it was.
    ///
    /// # Errors
    /// The connection was lost, or ended for what the client has sent.
    fn chat(&mut self, upgraded: Upgraded<'_>) -> crate::error::Result<()>;

    /// Logs a request without a session: it was refused before its client was known, or its client was.
    fn log_refused(&self, head: &RequestHead, outcome: &str);

    /// A request could not be understood: too many of them from one address are an attack.
    fn note_malformed(&mut self);
}

/// Who sends a request.
#[derive(Debug, Clone, Copy)]
pub struct Client<'c> {
    /// What it has presented.
    pub claim: Claim<'c>,
    /// Its address as a trusted proxy says; `None`: that of the connection.
    pub forwarded: Option<IpAddr>,
    /// Whether others on the way cannot read it.
    pub is_encrypted: bool,
}

/// What a client has presented.
#[derive(Debug, Clone, Copy)]
pub enum Claim<'c> {
    /// Nothing that counts: a page elsewhere may have caused the request.
    Nothing,
    /// What its connection has proved.
    Connection,
    /// A token.
    Token(&'c Presented),
    /// The session of a cookie.
    Session(TokenId),
}

/// A connection behind the handshake of WebSocket.
#[derive(Debug)]
pub struct Upgraded<'u> {
    /// Its receiving half.
    pub read: &'u mut ReadHalf,
    /// What was already read from it.
    pub first: Vec<u8>,
    /// Its sending half.
    pub out: WriteHalf,
    /// Who has sent the handshake.
    pub session: &'u mut Session,
}

/// What a browser sends to sign in.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct SignInRequest<'f> {
    /// The secret of a link or a token.
    pub secret: &'f [u8],
    /// The nonce of the page; the same form sent again gets the same session. Empty: it has none.
    pub nonce: &'f [u8],
    /// The session of the cookie that came with it.
    pub session: Option<TokenId>,
}

/// A browser is signed in.
#[derive(Debug)]
pub enum SignedIn {
    /// It gets a session.
    New(NewSession),
    /// The session that came with its request is one of that link or token already.
    Already,
}

/// A session that has just been made.
#[derive(Debug)]
pub struct NewSession {
    /// The secret of its session, for the cookie.
    pub secret: Secret,
    /// How long it lasts.
    pub lasts: Duration,
}

/// Where a connection came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrance {
    /// Whether it is encrypted.
    pub(super) is_encrypted: bool,
    /// Whether only this machine can reach its address.
    pub(super) is_at_loopback: bool,
    /// This end's address; `None`: a Unix socket.
    pub(super) local: Option<IpAddr>,
    /// The other end's address; `None`: a Unix socket.
    pub(super) remote: Option<IpAddr>,
}

/// What is known of a request before its client is.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Where it comes from.
    pub(super) site: Site,
    /// How it came, as its client sees it.
    pub(super) scheme: Scheme,
    /// Its client's address, as a trusted proxy says.
    pub(super) forwarded: Option<IpAddr>,
    /// The origin elsewhere whose pages may read the answer.
    pub(super) cors: Option<HeaderValue>,
}

impl Entrance {
    /// Looks at a request.
    pub(super) fn look(&self, head: &RequestHead, options: &HttpOptions) -> Seen {
        let forwarded = self.forwarded(head, options);
        let says_tls = || head.text(&FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let is_encrypted = if forwarded.is_some() { says_tls() } else { self.is_encrypted };
        let scheme = if is_encrypted { Scheme::HTTPS } else { Scheme::HTTP };
        let site = Site::of(&head.method, &head.headers, head.authority.as_ref(), &scheme);
        let origin = head.headers.get(header::ORIGIN);
        let is_listed =
            |origin: &&HeaderValue| options.cors.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
        Seen { site, scheme, forwarded, cors: origin.filter(is_listed).cloned() }
    }

    /// The address that the nearest proxy that is not trusted gives; `None`: the connection is not a trusted proxy's, or
    /// it says of no one else.
    fn forwarded(&self, head: &RequestHead, options: &HttpOptions) -> Option<IpAddr> {
        let is_trusted = |address: &IpAddr| options.trusted_proxies.contains(&address.to_canonical());
        self.remote.filter(is_trusted)?;
        let said: Vec<&str> = tokens(&head.headers, &FORWARDED_FOR).collect();
        // Each proxy adds the address that it sees at the end; what stands before that, any client may have written.
        let addresses = said.iter().rev().map_while(|text| text.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let mut nearest = None;
        for address in addresses {
            nearest = Some(address.to_canonical());
            if !is_trusted(&address) {
                break;
            }
        }
        nearest
    }

    /// Refuses what is not meant for this server, and what a page elsewhere may not let a browser send.
    ///
    /// # Errors
    /// Why.
    pub(super) fn check(&self, head: &RequestHead, seen: &Seen, state: &HttpState) -> Result<()> {
        // The name in the own certificate: who takes that certificate for proof dials it.
        let is_certified = |host: &str| self.is_encrypted && host == OWN_CERTIFICATE_NAME;
        if let (Some(authority), Some(local)) = (&head.authority, self.local)
            && !state.names.has(authority.host(), Some(local))
            && !is_certified(authority.host())
        {
            let message = format!(
                "{} is not a name of this server: its operator can add it; a page of another name could have led here",
                authority.host()
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, message).into());
        }
        if state.options.requires_tls && seen.scheme == Scheme::HTTP {
            return Err(to_tls(head).into());
        }
        let is_safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let may_read = is_safe && seen.cors.is_some();
        if !is_safe && matches!(seen.site, Site::Foreign | Site::Navigation) {
            let message = format!("{} is refused: a page of another origin sends it", head.method);
            return Err(Problem::new(StatusCode::FORBIDDEN, message).into());
        }
        // What listens on loopback only is not for pages from elsewhere, whatever guests may do.
        let is_private = self.is_at_loopback && seen.forwarded.is_none();
        if is_private && seen.site.is_foreign() && !may_read {
            let message = "refused: a page of another origin sends this, and this server is for this machine only";
            return Err(Problem::new(StatusCode::FORBIDDEN, message).into());
        }
        Ok(())
    }
}

/// The same address over TLS, on the same port (RFC 9110, 15.4.9).
fn to_tls(head: &RequestHead) -> Problem {
    let message = "this server is to be reached over TLS: https, on the same port";
    let Some(authority) = &head.authority else { return Problem::new(StatusCode::UPGRADE_REQUIRED, message) };
    let query = head.target.query_for_redirect().map_or(String::new(), |query| format!("?{query}"));
    let location = format!("https://{authority}{}{query}", head.target.raw_path);
    Problem::new(StatusCode::PERMANENT_REDIRECT, message).with_text(header::LOCATION, &location)
}

/// Adds what every answer has: how a browser is to treat it.
pub(super) fn protect(response: &mut Response, seen: &Seen, options: &HttpOptions) {
    let headers = &mut response.headers;
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(CORP, "same-origin");
    // With no-referrer a form of ours would send no Origin that is ours.
    set(header::REFERRER_POLICY, "same-origin");
    if !options.cors.is_empty() {
        response.headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = &seen.cors {
        response.headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
        response.headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        response.headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Range"));
    }
    // Those of the operator take the place of ours; several of one name are all sent.
    for (name, _) in &options.headers {
        response.headers.remove(name);
    }
    for (name, value) in &options.headers {
        response.headers.append(name.clone(), value.clone());
    }
}
