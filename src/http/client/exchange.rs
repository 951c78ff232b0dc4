//! One request and its response: sent, awaited, read. What has gone wrong on the way says whose move is next.

use std::io;
use std::time::{Duration, Instant};

use ::http::header::{CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use ::http::{Method, StatusCode};

use super::connection::{Connection, Deadline};
use super::error::{Error, Result};
use super::request::{Request, head_of};
use super::response::ResponseHead;
use super::{Client, Observer};
use crate::http::body::{BodyError, BodyLength, BodyReader};
use crate::http::resumable::UPLOAD_RESUMPTION_SUPPORTED;

/// Interim responses before the final one: a server may say "early hints" or "processing" now and then.
pub const INTERIM_RESPONSES_MAX: usize = 100;
/// Longest content that is sent without a question, in bytes; before longer content the server can say whether it wants
/// it (RFC 9110, 10.1.1).
const UNASKED_LEN: u64 = 1024 * 1024;
/// How long an answer to that question is waited for: many servers know it not.
const CONTINUE_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes of an unwanted body that are read so that its connection can be used again.
const DISCARDED_LEN_MAX: u64 = 256 * 1024;

/// A response: its head, and the body that is still to be read.
#[derive(Debug)]
pub struct Response {
    /// The head.
    pub head: ResponseHead,
    /// How the body is delimited.
    pub length: BodyLength,
    body: BodyReader,
    connection: Connection,
    deadline: Deadline,
    stall: Option<Duration>,
    /// Whether all of the request was sent.
    is_sent: bool,
}

/// What to do with interim responses.
pub type OnInterim<'i> = &'i mut dyn FnMut(&ResponseHead);

impl Client {
    /// Sends `request` over a connection that is idle, or a new one, and waits for the head of its response.
    ///
    /// # Errors
    /// No connection came about, it was lost, or what came is no response.
    pub fn exchange(
        &self,
        request: &Request,
        deadline: Deadline,
        observer: &dyn Observer,
        on_interim: OnInterim<'_>,
    ) -> Result<Response> {
        let response = self.exchange_once(request, (deadline, observer), on_interim)?;
        // RFC 9110, 10.1.1: a server that does not know the question is sent the content without it.
        if response.head.status == StatusCode::EXPECTATION_FAILED && request.asks_first {
            response.abandon();
            let unasked = Request { asks_first: false, ..request.clone() };
            let connection = self.connect.open(&request.url, deadline, observer)?;
            return self.exchange_over(connection, &unasked, (deadline, observer), on_interim);
        }
        Ok(response)
    }

    /// Over a connection that is idle, or a new one if the server has closed that or there is none.
    fn exchange_once(
        &self,
        request: &Request,
        (deadline, observer): (Deadline, &dyn Observer),
        on_interim: OnInterim<'_>,
    ) -> Result<Response> {
        if let Some(connection) = self.take_idle(request.url.origin()) {
            observer.remark(&format!("the connection to {} is used again", request.url.origin().host_and_port()));
            let is_replayable = request.content.as_ref().is_none_or(super::content::Content::is_replayable);
            let answered = self.exchange_over(connection, request, (deadline, observer), on_interim);
            match answered {
                // RFC 9112, 9.3.1: the server has closed it at the same moment.
                Err(Error::Lost { what, .. }) if is_replayable && is_idempotent(&request.method) => {
                    observer.remark(&format!("the server had closed the connection ({what}); a new one"));
                }
                answered => return answered,
            }
        }
        let connection = self.connect.open(&request.url, deadline, observer)?;
        self.exchange_over(connection, request, (deadline, observer), on_interim)
    }

    fn exchange_over(
        &self,
        connection: Connection,
        request: &Request,
        (deadline, observer): (Deadline, &dyn Observer),
        on_interim: OnInterim<'_>,
    ) -> Result<Response> {
        let stall = self.connect.stall_timeout;
        connection.limit(stall, deadline)?;
        let mut exchange = Exchange { connection, deadline, stall, observer, interims: 0 };
        let is_sent = exchange.send(request, on_interim)?;
        let head = exchange.await_final(stall.map(|stall| (Instant::now() + stall, stall)), on_interim)?;
        let length = head.body_length(&request.method)?;
        exchange.limit(None)?;
        observer.remark(&delimited(length, &request.method, head.status));
        let Exchange { connection, .. } = exchange;
        let body = BodyReader::new(length);
        Ok(Response { head, length, body, connection, deadline, stall, is_sent })
    }
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE].contains(method)
}

/// How the body is delimited, for who wants to learn.
fn delimited(length: BodyLength, method: &Method, status: StatusCode) -> String {
    match length {
        BodyLength::None if method == Method::HEAD => "there is no body, since the request was HEAD".to_owned(),
        BodyLength::None => format!("there is no body: {} never has one", status.as_u16()),
        BodyLength::Known(len) => format!("the body has {len} bytes, as Content-Length says"),
        BodyLength::Chunked => "the body comes in chunks, each with its length, until one of length 0".to_owned(),
        BodyLength::ToEnd => {
            "the body goes to the end of the connection: neither Content-Length nor chunks delimit it".to_owned()
        }
    }
}

/// One on its way.
struct Exchange<'e> {
    connection: Connection,
    deadline: Deadline,
    stall: Option<Duration>,
    observer: &'e dyn Observer,
    /// Interim responses that have come.
    interims: usize,
}

impl Exchange<'_> {
    /// Sends the request; whether all of it was sent.
    fn send(&mut self, request: &Request, on_interim: OnInterim<'_>) -> Result<bool> {
        let more = self.framing(request)?;
        let target = match &self.connection.proxy {
            // RFC 9112, 3.2.2.
            Some(_) => request.url.to_string(),
            None => request.url.target(),
        };
        let lines = request.lines(&target, &more);
        self.observer.sent(&lines);
        self.connection.is_used = true;
        let head = head_of(&lines);
        let Some(content) = &request.content else {
            let sent = self.connection.send(&head);
            return self.sent(sent).map(|()| true);
        };
        let is_chunked = content.len().is_none();
        let sent = self.connection.send(&head);
        self.sent(sent)?;
        if more.iter().any(|(name, _)| *name == EXPECT) && !self.may_continue(on_interim)? {
            return Ok(false);
        }
        self.limit(None)?;
        let mut broken = None;
        let is_whole = content.send(request.content_from, &mut |piece| {
            self.deadline.check()?;
            if !self.may_go_on(on_interim)? {
                return Ok(false);
            }
            match send_piece(&mut self.connection, piece, is_chunked) {
                Ok(()) => {
                    self.observer.event(super::Event::Moved(piece.len() as u64));
                    Ok(true)
                }
                Err(error) => {
                    broken = Some(error);
                    Ok(false)
                }
            }
        })?;
        // A server that refuses may have said why before it closed; if not, waiting for the head fails.
        if let Some(error) = broken {
            self.observer.remark(&format!("sending ended early: {error}"));
        } else if is_whole && is_chunked {
            let sent = self.connection.send(b"0\r\n\r\n");
            return Ok(sent.is_ok());
        }
        Ok(is_whole)
    }

    /// The fields that say where the content ends, and the question whether it is wanted.
    fn framing(&self, request: &Request) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let mut more = Vec::new();
        if let Some(authorization) = self.connection.proxy.as_ref().and_then(|proxy| proxy.authorization.as_deref()) {
            let value = HeaderValue::from_str(authorization).map_err(|error| Error::Usage(error.to_string()))?;
            more.push((PROXY_AUTHORIZATION, value));
        }
        if request.content.is_some() {
            let len = request.content_len();
            more.push(match len {
                Some(len) => (CONTENT_LENGTH, HeaderValue::from(len)),
                None => (TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
            });
            if request.asks_first && len.is_none_or(|len| len > UNASKED_LEN) {
                more.push((EXPECT, HeaderValue::from_static("100-continue")));
            }
        }
        Ok(more)
    }

    fn sent(&self, sent: io::Result<()>) -> Result<()> {
        sent.map_err(|error| self.failed(error))
    }

    /// Waits a moment for the word to go on; `false`: a final response came instead, and stays to be read.
    fn may_continue(&mut self, on_interim: OnInterim<'_>) -> Result<bool> {
        let until = Instant::now() + CONTINUE_TIME_MAX;
        loop {
            match ResponseHead::parse(self.connection.incoming.buffered())? {
                Some((head, _)) if !head.status.is_informational() => return Ok(false),
                Some((head, len)) => {
                    self.connection.incoming.consume(len);
                    self.interim(&head, on_interim)?;
                    if head.status == StatusCode::CONTINUE {
                        return Ok(true);
                    }
                }
                None => {
                    self.connection.incoming.source().set_deadline(Some(until));
                    match self.connection.fill() {
                        Ok(0) => return Err(Error::lost("the server hung up before it answered")),
                        Ok(_) => {}
                        Err(error) if is_timeout(&error) => {
                            self.observer.remark("no word whether the content is wanted; it is sent");
                            return Ok(true);
                        }
                        Err(error) => return Err(self.failed(error)),
                    }
                }
            }
        }
    }

    /// Whether more of the content is wanted. An interim response may come at any time, and says nothing against it; a
    /// final one, or the end, stays to be read.
    fn may_go_on(&mut self, on_interim: OnInterim<'_>) -> Result<bool> {
        loop {
            while let Some((head, len)) = ResponseHead::parse(self.connection.incoming.buffered())? {
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Ok(false);
                }
                self.connection.incoming.consume(len);
                self.interim(&head, on_interim)?;
            }
            if !self.connection.incoming.source().ready().unwrap_or(true) {
                return Ok(true);
            }
            // What is wrong with the connection is told where the final response is awaited.
            if !self.connection.fill().is_ok_and(|len| len > 0) {
                return Ok(false);
            }
        }
    }

    fn interim(&mut self, head: &ResponseHead, on_interim: OnInterim<'_>) -> Result<()> {
        self.interims += 1;
        if self.interims > INTERIM_RESPONSES_MAX {
            let why = format!("over {INTERIM_RESPONSES_MAX} interim responses, and none that is final");
            return Err(Error::Unexpected(why));
        }
        self.observer.received(head);
        on_interim(head);
        Ok(())
    }

    /// Waits for the head of the final response.
    fn await_final(&mut self, until: Option<(Instant, Duration)>, on_interim: OnInterim<'_>) -> Result<ResponseHead> {
        self.limit(until)?;
        loop {
            match ResponseHead::parse(self.connection.incoming.buffered())? {
                Some((head, len)) => {
                    self.connection.incoming.consume(len);
                    if head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return Err(Error::Unexpected(
                            "the server switches to a protocol that was not requested".into(),
                        ));
                    }
                    if !head.status.is_informational() {
                        self.observer.received(&head);
                        return Ok(head);
                    }
                    self.interim(&head, on_interim)?;
                }
                None => match self.connection.fill() {
                    Ok(0) => {
                        let is_empty = self.connection.incoming.buffered().is_empty();
                        let when = if is_empty { "before it answered" } else { "in the head of its response" };
                        return Err(Error::lost(format!("the server hung up {when}")));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(self.failed(error)),
                },
            }
        }
    }

    /// Sets until when reading may go on: the earlier one of this and the whole's.
    fn limit(&self, until: Option<(Instant, Duration)>) -> Result<()> {
        self.deadline.check()?;
        let until = until.map(|(until, _)| until);
        let both = self.deadline.instant().into_iter().chain(until).min();
        self.connection.incoming.source().set_deadline(both);
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        failed(error, self.deadline, self.stall)
    }
}

/// One `WRITE` for a chunk and its frame (RFC 9112, 7.1).
fn send_piece(connection: &mut Connection, piece: &[u8], is_chunked: bool) -> io::Result<()> {
    if !is_chunked {
        return connection.send(piece);
    }
    if piece.is_empty() {
        return Ok(());
    }
    let front = format!("{:x}\r\n", piece.len());
    connection.send(&[front.as_bytes(), piece, b"\r\n"].concat())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn failed(error: io::Error, deadline: Deadline, stall: Option<Duration>) -> Error {
    if let Err(over) = deadline.check() {
        return over;
    }
    match stall.filter(|_| is_timeout(&error)) {
        Some(stall) => Error::Lost { what: format!("nothing came for {stall:?}"), source: Some(error) },
        None => Error::failed(error),
    }
}

impl Response {
    /// Reads the next bytes of the body; 0 is its end.
    ///
    /// # Errors
    /// The connection was lost, or the body breaks off.
    pub fn read(&mut self, dest: &mut [u8]) -> Result<usize> {
        self.body.read(&mut self.connection.incoming, dest).map_err(|error| match error {
            BodyError::Io(error) => failed(error, self.deadline, self.stall),
            BodyError::Short(_) | BodyError::NoLastChunk | BodyError::Chunk(_) => Error::lost(error.to_string()),
        })
    }

    /// Bytes of the body that were read.
    pub const fn received(&self) -> u64 {
        self.body.received()
    }

    /// The length of the body; `None`: it is not known before its end.
    pub const fn body_len(&self) -> Option<u64> {
        match self.length {
            BodyLength::None => Some(0),
            BodyLength::Known(len) => Some(len),
            BodyLength::Chunked | BodyLength::ToEnd => None,
        }
    }

    /// Whether the response says so, and the request was sent whole: then `client` may use the connection again.
    /// A short rest of the body is read and dropped.
    pub fn done(mut self, client: &Client, origin: &super::url::Origin) {
        let mut waste = [0; 4096];
        // One that goes to the end of the connection leaves nothing that could be used.
        let is_short =
            self.body.left().is_some_and(|left| left <= DISCARDED_LEN_MAX) || self.length == BodyLength::Chunked;
        let mut dropped = 0;
        while is_short && !self.body.is_over() && dropped < DISCARDED_LEN_MAX {
            match self.read(&mut waste) {
                Ok(0) | Err(_) => break,
                Ok(len) => dropped += len as u64,
            }
        }
        let is_usable = self.is_sent
            && self.body.is_over()
            && self.length != BodyLength::ToEnd
            && self.head.keeps_alive()
            && !self.connection.has_news();
        if is_usable {
            client.keep_idle(origin.clone(), self.connection);
        } else {
            self.connection.close();
        }
    }

    /// Ends the connection: what is left of the body is not wanted.
    pub fn abandon(self) {
        self.connection.close();
    }

    /// Whether an interim response offered to go on with an upload that breaks.
    pub fn is_resumption_offer(head: &ResponseHead) -> bool {
        head.status.as_u16() == UPLOAD_RESUMPTION_SUPPORTED
    }
}
