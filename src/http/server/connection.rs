//! One connection: request after request, each with its answer, until one of both ends it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::http::header::{self, HeaderValue};
use ::http::uri::Scheme;
use ::http::{Method, StatusCode};

use super::admission::{Access, Claim, Client, Entrance, Seen, Upgraded, protect};
use super::exchange::Exchange;
use super::page;
use super::problem::{HttpError, Problem, Result as HttpResult, is_timeout};
use super::request_body::ConnectionBody;
use super::response::Response;
use super::route;
use super::send::{Answered, BrokenOff, SEND_STALL, Sent, send};
use super::sign_in::{self, SignIn};
use super::state::HttpState;
use crate::error::{ConnectionLost, Error, Result};
use crate::http::body::BodyReader;
use crate::http::credentials::Presented;
use crate::http::head::{HeadError, RequestHead, Version, head_len};
use crate::http::incoming::Incoming;
use crate::net::open::OpenConnection;
use crate::net::stream::{ReadHalf, Stream, WriteHalf};
use crate::session::{RequestRecord, RequestReport, Session};
use crate::trust::Peer;
use crate::trust::tokens::TokenId;

/// A whole head, however slowly it trickles in.
const HEAD_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a connection waits for its next request.
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(75);
/// What is left of a body that no handler has read is dropped up to this length, in bytes, to keep the connection.
const DROPPED_LEN_MAX: u64 = 64 * 1024;

/// Refused requests of a guest, one after the other, behind which its connection ends, as with frames.
const REFUSED_MAX: u32 = 100;

/// A connection, and what it needs of the server that it belongs to.
#[expect(missing_debug_implementations, reason = "it holds a trait of the server")]
pub struct Caller<'c> {
    /// The stream.
    pub stream: Stream,
    /// What was already read from it.
    pub first: Vec<u8>,
    /// How long it may be silent between two requests; `None`: without limit.
    pub idle: Option<Duration>,
    /// Who may do what.
    pub access: &'c mut dyn Access,
    /// The state of HTTP.
    pub state: &'c HttpState,
}

/// Serves a connection to its end.
///
/// # Errors
/// Why it was closed before the client closed it.
pub fn serve(caller: Caller<'_>) -> Result<()> {
    let Caller { stream, first, idle, access, state } = caller;
    let entrance = Entrance {
        is_encrypted: stream.tls().is_some(),
        is_at_loopback: stream.is_at_loopback(),
        local: stream.local_ip(),
        remote: stream.peer_ip(),
    };
    let (read, out) = stream.split();
    read.set_stall(Some(SEND_STALL))?;
    let idle = idle.map_or(KEEP_ALIVE_TIME, |idle| idle.min(KEEP_ALIVE_TIME));
    let incoming = Incoming::new(read, first);
    let mut connection = Connection { incoming, out, access, state, idle, entrance, known: None, refused: 0 };
    let ended = connection.run();
    connection.out.close();
    ended
}

struct Connection<'c> {
    incoming: Incoming<ReadHalf>,
    out: WriteHalf,
    access: &'c mut dyn Access,
    state: &'c HttpState,
    idle: Duration,
    entrance: Entrance,
    /// The session of the last request, for the next one of the same client.
    known: Option<Known>,
    /// Requests of a guest that were refused, one after the other.
    refused: u32,
}

/// A session, and what it was given for.
struct Known {
    authorization: Option<HeaderValue>,
    /// The session of its cookie.
    cookie: Option<TokenId>,
    is_foreign: bool,
    scheme: Scheme,
    forwarded: Option<std::net::IpAddr>,
    session: Session,
}

impl Connection<'_> {
    fn run(&mut self) -> Result<()> {
        loop {
            if self.access.open().set_in_exchange(false) {
                return Ok(());
            }
            let head = match self.read_head()? {
                None => return Ok(()),
                Some(Ok(head)) => head,
                Some(Err(error)) => return self.refuse_head(error),
            };
            if self.access.open().set_in_exchange(true) || !self.exchange(&head)? {
                return Ok(());
            }
            self.incoming.shrink();
        }
    }

    /// The next head; `None`: the client has closed the connection, or has nothing more to send.
    fn read_head(&mut self) -> Result<Option<std::result::Result<RequestHead, HeadError>>> {
        self.incoming.source().set_deadline(None);
        self.incoming.source().set_timeout(Some(self.idle))?;
        let mut is_begun = false;
        loop {
            let buffered = self.incoming.buffered();
            match head_len(buffered) {
                Err(error) => return Ok(Some(Err(error))),
                Ok(Some(len)) => {
                    let head = RequestHead::parse(buffered.get(..len).unwrap_or_default());
                    self.incoming.consume(len);
                    return Ok(Some(head));
                }
                Ok(None) if !buffered.is_empty() && !std::mem::replace(&mut is_begun, true) => {
                    self.incoming.source().set_deadline(Some(Instant::now() + HEAD_TIME_MAX));
                }
                Ok(None) => {}
            }
            match self.incoming.fill() {
                Ok(0) if is_begun => return Err(ConnectionLost::Closed { wanted: "the rest of a request" }.into()),
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if is_timeout(&error) && !is_begun => return Ok(None),
                Err(error) if is_timeout(&error) => {
                    let why = "the head did not come within 20 s";
                    return Ok(Some(Err(HeadError { status: StatusCode::REQUEST_TIMEOUT, why })));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers a head that cannot be understood; the connection ends with it, since it is out of step.
    fn refuse_head(&mut self, error: HeadError) -> Result<()> {
        let answered = Answered { method: Method::GET, version: Version::Http11, is_persistent: false };
        send(self.state, &mut self.out, &answered, Problem::new(error.status, error.why).response())
            .map_err(|broken_off| broken_off.error)?;
        self.access.note_malformed();
        let why = format!("answered {}: {error}", error.status.as_u16());
        Err(ConnectionLost::Socket(io::Error::other(why)).into())
    }

    /// Serves one request; whether another one can follow.
    fn exchange(&mut self, head: &RequestHead) -> Result<bool> {
        let started = Instant::now();
        let seen = self.entrance.look(head, &self.state.options);
        let sign_in = SignIn::of(head, self.state);
        let checked = self.entrance.check(head, &seen, self.state).and_then(|()| match sign_in {
            None => self.session(head, &seen),
            // Whatever its client has presented, since that may be over.
            Some(_) => self.access.session(&Client { claim: Claim::Nothing, ..client_of(&seen) }),
        });
        let mut body = ConnectionBody {
            incoming: &mut self.incoming,
            out: &mut self.out,
            reader: BodyReader::new(head.body),
            length: head.body,
            version: head.version,
            awaits_continue: head.expects_continue,
            started: None,
        };
        let (mut session, result) = match checked {
            Err(error) => (None, Err(error)),
            Ok(mut session) => {
                session.report = RequestReport { about: head.target.shown(), ..RequestReport::default() };
                let (state, site, scheme) = (self.state, seen.site, seen.scheme.clone());
                let mut exchange = Exchange { state, head, session: &mut session, site, scheme, body: &mut body };
                let result = match sign_in {
                    None => route::respond(exchange),
                    Some(wanted) => wanted.respond(&mut exchange, self.access, &client_of(&seen)),
                };
                (Some(session), result)
            }
        };
        let is_droppable = body.reader.left().is_some_and(|left| left <= DROPPED_LEN_MAX);
        let awaits = body.awaits_continue && !body.reader.is_over();
        let answered = Answered {
            method: head.method.clone(),
            version: head.version,
            is_persistent: head.is_persistent
                && is_droppable
                && !awaits
                && !self.access.open().stopping()
                && self.refused < REFUSED_MAX,
        };
        let is_upgrade = result.as_ref().is_ok_and(|response| response.status == StatusCode::SWITCHING_PROTOCOLS);
        let open = self.access.open();
        let Answer { mut outcome, sent, mut ended } =
            answer(self.state, body.out, (head, &answered, &seen, session.as_ref()), (result, open));
        let is_in_step = ended.as_ref().is_ok_and(|is_persistent| *is_persistent) && body.drop_rest(DROPPED_LEN_MAX);
        let received = body.reader.received();
        let is_guests = session.as_ref().is_none_or(|session| matches!(session.peer, Peer::Guest { .. }));
        self.refused = if is_guests && outcome.is_refused() { self.refused + 1 } else { 0 };
        if let (true, true, Some(session)) = (is_upgrade, ended.is_ok(), &mut session) {
            (outcome, ended) = self.serve_upgraded(session);
        }
        let request = Logged { head, outcome, elapsed: started.elapsed(), received, sent };
        match session.take() {
            Some(mut session) => {
                request.log(&mut session);
                session.memory.settle();
                match sign_in {
                    None => self.remember(head, seen, session),
                    // Who it was until now has perhaps signed out.
                    Some(_) => self.known = None,
                }
            }
            None => self.access.log_refused(head, request.outcome.as_str()),
        }
        ended.map(|goes_on| goes_on && is_in_step)
    }

    /// Serves what comes behind a handshake; how it ended. No request comes behind it.
    fn serve_upgraded(&mut self, session: &mut Session) -> (Outcome, Result<bool>) {
        let (read, first) = self.incoming.take();
        let ended = self.access.chat(Upgraded { read, first, out: self.out.clone(), session });
        let outcome = match &ended {
            Ok(()) => Outcome::Served("101".into()),
            Err(error) => {
                let why = why_cut(self.access.open()).map_or_else(|| error.with_cause(), str::to_owned);
                Outcome::Failed(format!("101, ended: {why}"))
            }
        };
        (outcome, ended.map(|()| false))
    }

    /// The session of the client that sends this.
    fn session(&mut self, head: &RequestHead, seen: &Seen) -> HttpResult<Session> {
        let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
        let (authorization, is_one) = (values.next(), values.next().is_none());
        let cookie = sign_in::presented(head, &seen.scheme);
        let is_same = |known: &Known| {
            is_one
                && known.cookie == cookie
                && known.authorization.as_ref() == authorization
                && known.is_foreign == seen.site.is_foreign()
                && known.scheme == seen.scheme
                && known.forwarded == seen.forwarded
        };
        if let Some(known) = self.known.take_if(|known| is_same(known)) {
            return Ok(known.session);
        }
        let presented = Presented::of(&head.headers).map_err(|bad| Problem::unauthorized(bad.to_string()))?;
        // A browser adds what it knows to what a page elsewhere lets it send.
        let claim = match (&presented, cookie) {
            _ if seen.site.is_foreign() => Claim::Nothing,
            (Some(presented), _) => Claim::Token(presented),
            (None, Some(cookie)) => Claim::Session(cookie),
            (None, None) => Claim::Connection,
        };
        self.access.session(&Client { claim, ..client_of(seen) })
    }

    fn remember(&mut self, head: &RequestHead, seen: Seen, session: Session) {
        let cookie = sign_in::presented(head, &seen.scheme);
        let Seen { site, scheme, forwarded, .. } = seen;
        let authorization = head.headers.get(header::AUTHORIZATION).cloned();
        self.known = Some(Known { authorization, cookie, is_foreign: site.is_foreign(), scheme, forwarded, session });
    }
}

/// Who sends a request that presents nothing.
fn client_of(seen: &Seen) -> Client<'static> {
    let is_encrypted = seen.scheme == Scheme::HTTPS;
    Client { claim: Claim::Nothing, forwarded: seen.forwarded, is_encrypted }
}

/// How a request was answered.
struct Answer {
    /// For the log.
    outcome: Outcome,
    /// Bytes of the body that were sent.
    sent: u64,
    /// Whether the connection can be used for another request; or why it is lost.
    ended: Result<bool>,
}

/// Sends what a handler has returned.
fn answer(
    state: &HttpState,
    out: &mut WriteHalf,
    (head, answered, seen, session): (&RequestHead, &Answered, &Seen, Option<&Session>),
    (result, open): (HttpResult<Response>, &OpenConnection),
) -> Answer {
    let (mut response, refused) = match result {
        Ok(response) => (response, None),
        Err(HttpError::Problem(problem)) => {
            let mut response = sign_in::page_for(&problem, head, state)
                .or_else(|| page::problem(&problem, head, state, session))
                .unwrap_or_else(|| problem.response());
            sign_in::drop_basic(&mut response, head, seen);
            sign_in::end_cookie(&mut response, &problem, head, seen);
            (response, Some(problem.message))
        }
        Err(HttpError::Lost(error)) => {
            let why = why_cut(open).map_or_else(|| error.with_cause(), str::to_owned);
            return Answer { outcome: Outcome::Failed(format!("broken off: {why}")), sent: 0, ended: Err(error) };
        }
    };
    if head.target.has_share() {
        // The address itself is a secret, wherever it leads.
        response.headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
    }
    protect(&mut response, seen, &state.options);
    let status = response.status.as_u16();
    match (send(state, out, answered, response), refused) {
        (Ok(Sent { len, is_persistent }), refused) => {
            let served = || Outcome::Served(status.to_string());
            let outcome = refused.map_or_else(served, |why| Outcome::Refused(format!("{status}: {why}")));
            Answer { outcome, sent: len, ended: Ok(is_persistent) }
        }
        (Err(BrokenOff { len, error }), _) => {
            let why = why_cut(open).map_or_else(|| error.to_string(), str::to_owned);
            let outcome = Outcome::Failed(format!("{status}, broken off: {why}"));
            Answer { outcome, sent: len, ended: Err(Error::ConnectionLost(ConnectionLost::from_io(error))) }
        }
    }
}

/// Why this server has cut the connection; `None`: it has not.
fn why_cut(open: &OpenConnection) -> Option<&'static str> {
    let why = if open.stopping() { "the server stopped" } else { "revoked, or allowed less now" };
    open.is_cut().load(Ordering::SeqCst).then_some(why)
}

/// How a request ended, for the log.
enum Outcome {
    Served(String),
    Refused(String),
    Failed(String),
}

impl Outcome {
    const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    fn as_str(&self) -> &str {
        let (Self::Served(text) | Self::Refused(text) | Self::Failed(text)) = self;
        text
    }
}

/// A request, for the log.
struct Logged<'l> {
    head: &'l RequestHead,
    outcome: Outcome,
    elapsed: Duration,
    received: u64,
    sent: u64,
}

impl Logged<'_> {
    fn log(&self, session: &mut Session) {
        let outcome = self.outcome.as_str();
        let more = session.report.outcome.take();
        let outcome = more.map_or_else(|| outcome.to_owned(), |more| format!("{outcome}, {more}"));
        let record = RequestRecord {
            verb: self.head.method.as_str(),
            elapsed: self.elapsed,
            received: self.received,
            sent: self.sent,
            outcome: &outcome,
        };
        match self.outcome {
            Outcome::Refused(_) => session.log_refused(&record),
            Outcome::Served(_) | Outcome::Failed(_) => session.log(&record),
        }
    }
}
