//! A connection to an origin: dialled, through a proxy perhaps, encrypted perhaps.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ::http::header::{HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use ::http::{HeaderMap, Method};

use super::error::{Error, Result};
use super::proxy::{Proxies, Proxy};
use super::request::{Request, head_of};
use super::response::ResponseHead;
use super::url::Url;
use super::{Event, Observer};
use crate::http::incoming::Incoming;
use crate::net::dial::{ConnectError, dial};
use crate::net::stream::{Control, ReadHalf, Stream, WriteHalf};
use crate::net::tls::{CredentialsError, HandshakeError, WebClient};

/// How this client introduces itself.
pub const PROGRAM_AND_VERSION: &str = concat!("landline-http-get/", env!("CARGO_PKG_VERSION"));

/// Makes the settings of TLS when they are first needed: a machine's list of roots takes a while to read.
pub type MakeTls = Box<dyn Fn() -> Result<WebClient, CredentialsError> + Send + Sync>;

/// How to connect.
pub struct ConnectOptions {
    /// Time to connect, over all addresses of a name, TLS and a proxy included.
    pub connect_timeout: Duration,
    /// How long nothing may move; `None`: without limit.
    pub stall_timeout: Option<Duration>,
    /// The proxies of the environment.
    pub proxies: Proxies,
    /// Whom TLS trusts, and what it shows.
    pub tls: MakeTls,
    /// What `tls` has made.
    pub made: OnceLock<WebClient>,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connect_timeout, stall_timeout, proxies, .. } = self;
        f.debug_struct("ConnectOptions")
            .field("connect_timeout", connect_timeout)
            .field("stall_timeout", stall_timeout)
            .field("proxies", proxies)
            .finish_non_exhaustive()
    }
}

/// When the whole must be over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deadline {
    /// The time, and the limit that it came of.
    at: Option<(Instant, Duration)>,
}

impl Deadline {
    /// This long from now; `None`: never.
    pub fn after(limit: Option<Duration>) -> Self {
        Self { at: limit.map(|limit| (Instant::now() + limit, limit)) }
    }

    /// The time at which it is over.
    pub fn instant(&self) -> Option<Instant> {
        self.at.map(|(at, _)| at)
    }

    /// What is left of `most`.
    pub fn at_most(&self, most: Duration) -> Duration {
        self.at.map_or(most, |(at, _)| most.min(at.saturating_duration_since(Instant::now())))
    }

    /// What is left; `None`: it has no end.
    pub fn left(&self) -> Option<Duration> {
        self.at.map(|(at, _)| at.saturating_duration_since(Instant::now()))
    }

    /// Fails once it is over.
    ///
    /// # Errors
    /// It is over.
    pub fn check(&self) -> Result<()> {
        match self.at {
            Some((at, limit)) if Instant::now() >= at => Err(Error::TimedOut { what: "the whole", limit }),
            _ => Ok(()),
        }
    }
}

/// A connection over which requests can be sent.
#[derive(Debug)]
pub struct Connection {
    /// What comes.
    pub incoming: Incoming<ReadHalf>,
    /// Where requests go.
    pub write: WriteHalf,
    /// Stops it.
    pub control: Control,
    /// The proxy that the requests themselves go to; `None`: they go to the origin.
    pub proxy: Option<Proxy>,
    /// Whether a request went over it before.
    pub is_used: bool,
}

impl ConnectOptions {
    /// Opens a connection for requests to the origin of `url`.
    ///
    /// # Errors
    /// No connection came about, or the server is not who it should be.
    pub fn open(&self, url: &Url, deadline: Deadline, observer: &dyn Observer) -> Result<Connection> {
        deadline.check()?;
        let begun = Instant::now();
        let limit = deadline.at_most(self.connect_timeout);
        let left = || limit.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        let proxy = self.proxies.for_url(url);
        let origin = url.origin();
        let dialled = proxy.map_or(origin, |proxy| &proxy.origin);
        let mut stream = dial(&dialled.address(), left())?;
        observer.connected(&stream.control());
        let role = if proxy.is_some() { "the proxy " } else { "" };
        let (peer, local) = (stream.peer_address(), stream.local_address());
        observer.remark(&format!("connected to {role}{} at {peer}, from {local}", dialled.host_and_port()));
        if url.is_encrypted() {
            if let Some(proxy) = proxy {
                connect_through(&mut stream, proxy, url, (begun + limit, limit), observer)?;
            }
            stream = self.encrypt(stream, url, left(), observer)?;
        }
        let control = stream.control();
        let (read, write) = stream.split();
        let proxy = proxy.filter(|_| !url.is_encrypted()).cloned();
        Ok(Connection { incoming: Incoming::new(read, Vec::new()), write, control, proxy, is_used: false })
    }

    fn encrypt(&self, stream: Stream, url: &Url, limit: Duration, observer: &dyn Observer) -> Result<Stream> {
        let web = if let Some(web) = self.made.get() {
            web
        } else {
            let made = (self.tls)()?;
            self.made.get_or_init(|| made)
        };
        let host = url.origin().host_and_port();
        let address = || url.origin().address().to_string();
        let stream = stream.connect_web(&url.origin().host, web, limit).map_err(|source| match source {
            HandshakeError::Certificate { .. } | HandshakeError::Untrusted => Error::NotTrusted { host, source },
            HandshakeError::TimedOut(_) => ConnectError::TimedOut { address: address(), after: limit }.into(),
            source => Error::Tls { host, source },
        })?;
        if let Some(tls) = stream.tls() {
            observer.remark(&format!("encrypted: {}", tls.described()));
        }
        Ok(stream)
    }
}

/// A tunnel through a proxy (RFC 9110, 9.3.6).
fn connect_through(
    stream: &mut Stream,
    proxy: &Proxy,
    url: &Url,
    (until, limit): (Instant, Duration),
    observer: &dyn Observer,
) -> Result<()> {
    let host = url.origin().host_and_port();
    let lost = |source: std::io::Error| {
        let what = format!("the proxy {}: {source}", proxy.origin.host_and_port());
        Error::Lost { what, source: Some(source) }
    };
    let mut request = Request::new(Method::CONNECT, url.clone());
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|error| Error::Usage(error.to_string()))?;
        headers.insert(name, value);
        Ok::<(), Error>(())
    };
    put(HOST, &host)?;
    put(USER_AGENT, PROGRAM_AND_VERSION)?;
    if let Some(authorization) = &proxy.authorization {
        put(PROXY_AUTHORIZATION, authorization)?;
    }
    request.headers = headers;
    let lines = request.lines(&host, &[]);
    observer.sent(&lines);
    stream.write_all(&head_of(&lines)).map_err(lost)?;
    let mut bytes = Vec::new();
    let head = loop {
        // One by one: what follows the head is the server's, and TLS wants it from its first byte on.
        let mut byte = [0];
        let left = until.saturating_duration_since(Instant::now());
        match stream.read_within(&mut byte, Some(left)).map_err(lost)? {
            None => return Err(Error::TimedOut { what: "the connection through the proxy", limit }),
            Some(0) => return Err(Error::lost("the proxy hung up before it answered")),
            Some(_) => bytes.extend_from_slice(&byte),
        }
        if let Some((head, _)) = ResponseHead::parse(&bytes)? {
            observer.received(&head);
            if !head.status.is_informational() {
                break head;
            }
            bytes.clear();
        }
    };
    if head.status.is_success() {
        return Ok(());
    }
    Err(Error::Proxy { proxy: proxy.origin.host_and_port(), host, status: head.status })
}

impl Connection {
    /// Sets how long nothing may move, in either direction: the deadline holds for what is written too.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn limit(&self, stall: Option<Duration>, deadline: Deadline) -> Result<()> {
        let stall = stall.map_or_else(|| deadline.left(), |stall| Some(deadline.at_most(stall)));
        self.incoming.source().set_stall(stall).map_err(Error::failed)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write.write_all(bytes)
    }

    /// Whether something came before a request, the end for example: then nothing more is sent over it.
    pub fn has_news(&self) -> bool {
        !self.incoming.buffered().is_empty() || self.incoming.source().ready().unwrap_or(true)
    }

    /// Reads what comes next, past what is buffered.
    ///
    /// # Errors
    /// The connection failed.
    pub fn fill(&mut self) -> std::io::Result<usize> {
        self.incoming.fill()
    }

    /// Ends it.
    pub fn close(self) {
        self.write.abandon();
        self.control.stop();
    }
}

/// Says farewell, so that the server can tell an end from a cut (RFC 8446, 6.1).
impl Drop for Connection {
    fn drop(&mut self) {
        self.write.abandon();
    }
}

impl dyn Observer + '_ {
    /// Something that a person may want to know.
    pub fn remark(&self, text: &str) {
        self.event(Event::Remark(text));
    }

    /// Something that a person should know.
    pub fn notice(&self, text: &str) {
        self.event(Event::Notice(text));
    }

    pub(super) fn sent(&self, lines: &[(Option<HeaderName>, Vec<u8>)]) {
        for (name, line) in lines {
            self.event(Event::Sent(&super::request::shown(name.as_ref(), line)));
        }
        self.event(Event::Sent(b""));
    }

    pub(super) fn received(&self, head: &ResponseHead) {
        for line in &head.lines {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = HeaderName::from_bytes(name).ok();
            self.event(Event::Received(&super::request::shown(name.as_ref(), line)));
        }
        self.event(Event::Received(b""));
    }
}
