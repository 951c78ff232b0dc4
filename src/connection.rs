//! A connection: a stream that carries frames, with a greeting at its beginning and a clean close at its end.
//!
//! ```text
//! Stream --split--> ReadHalf  --> Receiver --\
//!                   WriteHalf --> Sender   ---+--> Connection
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ConnectionLost, Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::net::stream::{Control, ReadHalf, Stream, WriteHalf};
use crate::net::tls::Tls;
use crate::wire::channel::{Receiver, Sender, unexpected};
use crate::wire::frame::BODY_LEN_MAX;
use crate::wire::message::{self, Message, VERSION};

/// The receiving half of a connection.
pub type ConnectionReceiver = Receiver<ReadHalf>;
/// The sending half of a connection; its clones share one lock.
pub type ConnectionSender = Sender<WriteHalf>;

/// Length of the pieces in which a list is sent, about, in bytes.
const LISTING_PIECE_LEN: usize = 64 * 1024;
/// Longest list that a client accepts, in bytes.
const LISTING_LEN_MAX: usize = 128 * 1024 * 1024;
/// The same limit in lines: each takes more memory than its bytes.
pub const LISTING_LINES_MAX: usize = 1_000_000;
/// How long a server may take to send `hello`, which it does before it reads any request.
const GREETING_TIME_MAX: Duration = Duration::from_secs(10);

/// A duplex connection that carries frames.
#[derive(Debug)]
pub struct Connection {
    receiver: ConnectionReceiver,
    sender: ConnectionSender,
    control: Control,
    tls: Option<Arc<Tls>>,
    /// On a client: the server's greeting; `None`: it was not read yet.
    greeting: Option<Greeting>,
}

/// The content of the other end's `hello`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Its program and version, for logs.
    pub program: String,
    /// From a server: the verbs that this peer may use. Empty from a client.
    pub verbs: Vec<String>,
}

impl Connection {
    /// A client's connection: queues `hello`, which is sent together with the first request.
    ///
    /// # Errors
    /// The greeting could not be queued; nothing is sent yet.
    pub fn open(stream: Stream, program: &str) -> Result<Self> {
        let connection = Self::over(stream, &[]);
        let hello = Message::Hello { version: VERSION, program: program.into(), verbs: Vec::new() };
        connection.sender.queue(&hello, &[])?;
        Ok(connection)
    }

    /// A server's connection over `stream`, of which `first` was already read: waits for `hello` until `deadline` and
    /// checks the version. `None`: the client closed without a message. Answer with [`welcome`](Self::welcome), or a
    /// refusal.
    ///
    /// # Errors
    /// The first message is not `hello`, or has another version (the client was told), or the connection failed.
    pub fn await_hello(stream: Stream, first: &[u8], deadline: Option<Instant>) -> Result<Option<Self>> {
        let mut connection = Self::over(stream, first);
        connection.greeting = Some(Greeting::default());
        connection.receiver.set_stranger(true);
        connection.set_deadline(deadline);
        match connection.take_hello() {
            Ok(Some(greeting)) => connection.greeting = Some(greeting),
            Ok(None) => return Ok(None),
            Err(error) => {
                connection.say_why(&error);
                connection.close();
                return Err(error);
            }
        }
        connection.receiver.set_stranger(false);
        connection.set_deadline(None);
        Ok(Some(connection))
    }

    /// Answers a client's `hello` with the verbs that it may use.
    ///
    /// # Errors
    /// The connection failed.
    pub fn welcome(&self, program: &str, verbs: &[&'static str]) -> Result<()> {
        let verbs = verbs.iter().map(|verb| (*verb).into()).collect();
        // At once, not together with the first answer, which may take long: the client waits for the greeting with a
        // timeout.
        self.sender.send(&Message::Hello { version: VERSION, program: program.into(), verbs }, &[])
    }

    fn over(stream: Stream, first: &[u8]) -> Self {
        let (control, tls) = (stream.control(), stream.tls().map(Arc::clone));
        let (read, write) = stream.split();
        Self { receiver: Receiver::new(read, first), sender: Sender::new(write), control, tls, greeting: None }
    }

    fn take_hello(&mut self) -> Result<Option<Greeting>> {
        match self.receiver.recv()? {
            None => Ok(None),
            Some(Message::Hello { version: VERSION, program, verbs }) => Ok(Some(Greeting {
                program: program.into_owned(),
                verbs: verbs.into_iter().map(std::borrow::Cow::into_owned).collect(),
            })),
            Some(Message::Hello { version, .. }) => {
                let text =
                    format!("protocol version {version} is not spoken here, only {VERSION}; update one of the two");
                Err(Refusal::new(ErrorCode::Version, text).into())
            }
            Some(Message::Error { code, message }) => Err(Refusal::new(code, message).into()),
            Some(other) => Err(unexpected(&other, "hello")),
        }
    }

    /// The server's greeting; waits for it if necessary.
    ///
    /// # Errors
    /// The server refused the connection, or the connection failed.
    pub fn greeting(&mut self) -> Result<&Greeting> {
        let greeting = if let Some(greeting) = self.greeting.take() {
            greeting
        } else {
            self.sender.flush()?;
            self.set_timeout(Some(GREETING_TIME_MAX))?;
            let greeting = self.take_hello().map_err(|error| match error {
                Error::ConnectionLost(ConnectionLost::TimedOut(_)) => {
                    let text = format!("the server said no hello within {GREETING_TIME_MAX:?}; is it a tcp-server?");
                    ConnectionLost::TimedOut(text).into()
                }
                other => other,
            })?;
            self.set_timeout(None)?;
            greeting.ok_or(ConnectionLost::Closed { wanted: "hello" })?
        };
        Ok(self.greeting.insert(greeting))
    }

    /// Waits for the next message; on a client's new connection, for the server's `hello` before it.
    /// `None` is a clean end.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn recv(&mut self) -> Result<Option<Message<'_>>> {
        self.greeting()?;
        self.receiver.recv()
    }

    /// Waits for an answer; an `error` instead of it is returned as a refusal.
    ///
    /// # Errors
    /// The other end refused, or the connection ended or failed; `wanted` names the expected message.
    pub fn answer_or_refusal(&mut self, wanted: &'static str) -> Result<Message<'_>> {
        self.greeting()?;
        match self.receiver.expect(wanted)? {
            Message::Error { code, message } => Err(Refusal::new(code, message).into()),
            answer => Ok(answer),
        }
    }

    /// Sends a request that is answered by `ok`; returns the path that the answer names.
    ///
    /// # Errors
    /// As [`answer_or_refusal`](Self::answer_or_refusal).
    pub fn request_ok(&mut self, request: &Message<'_>) -> Result<Option<Vec<u8>>> {
        self.sender.send(request, &[])?;
        match self.answer_or_refusal("ok")? {
            Message::Ok { path } => Ok(path.map(std::borrow::Cow::into_owned)),
            other => Err(unexpected(&other, "ok")),
        }
    }

    /// Sends a list, one line of JSON for each entry, as they come; returns how many there were.
    ///
    /// # Errors
    /// The connection failed, or as `entries`.
    pub fn send_listing<T: Serialize>(&mut self, entries: impl IntoIterator<Item = Result<T>>) -> Result<u64> {
        let (mut waiting, mut count) = (Vec::new(), 0);
        for entry in entries {
            serde_json::to_writer(&mut waiting, &entry?).map_err(|error| Error::ours("listing")(error.into()))?;
            waiting.push(b'\n');
            count += 1;
            if waiting.len() >= LISTING_PIECE_LEN {
                self.sender.send(&Message::Data { stream: message::Channel::Main }, &waiting)?;
                waiting.clear();
            }
        }
        if !waiting.is_empty() {
            self.sender.queue(&Message::Data { stream: message::Channel::Main }, &waiting)?;
        }
        self.sender.send(&Message::End { total: None }, &[])?;
        Ok(count)
    }

    /// Waits for a list, one line of JSON for each entry.
    ///
    /// # Errors
    /// As [`answer_or_refusal`](Self::answer_or_refusal), or the list is malformed.
    pub fn listing<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let bad = |why: String| Error::from(Misbehaviour::BadBody { what: "listing", why });
        let add = |line: &[u8], listing: &mut Vec<T>| {
            if line.is_empty() {
                return Ok(());
            }
            if listing.len() >= LISTING_LINES_MAX {
                return Err(bad(format!("it is over the limit of {LISTING_LINES_MAX} lines")));
            }
            listing.push(serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?);
            Ok(())
        };
        let (mut listing, mut lines, mut came) = (Vec::new(), WholeLines::default(), 0);
        loop {
            match self.answer_or_refusal("data or end")? {
                Message::Data { .. } => {}
                Message::End { .. } => break,
                other => return Err(unexpected(&other, "data or end")),
            }
            let piece = self.receiver.body(BODY_LEN_MAX)?;
            came += piece.len();
            if came > LISTING_LEN_MAX {
                return Err(bad(format!("it is over the limit of {LISTING_LEN_MAX} bytes")));
            }
            lines.push(&piece, |line| add(line, &mut listing))?;
        }
        add(&lines.rest, &mut listing)?;
        Ok(listing)
    }

    /// Both halves, for an exchange in which both sides send.
    ///
    /// # Errors
    /// On a client: the greeting did not arrive.
    pub fn halves(&mut self) -> Result<(&mut ConnectionReceiver, &ConnectionSender)> {
        self.greeting()?;
        Ok((&mut self.receiver, &self.sender))
    }

    /// The receiving half; on a client, after the greeting.
    pub const fn receiver(&mut self) -> &mut ConnectionReceiver {
        &mut self.receiver
    }

    /// The sending half.
    pub const fn sender(&self) -> &ConnectionSender {
        &self.sender
    }

    /// The handle that stops this connection from another thread.
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Whether a message has arrived that was not read: so a sender in the middle of a file notices a refusal.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn has_incoming(&self) -> Result<bool> {
        Ok(self.receiver.buffered() > 0 || self.receiver.stream().ready()?)
    }

    /// How long a wait for the other end may last; `None`: without limit.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.receiver.stream().set_timeout(timeout)
    }

    /// How long nothing may move on this connection, neither in nor out, where no other limit is set; `None`: without
    /// limit.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_stall(&self, limit: Option<Duration>) -> io::Result<()> {
        self.receiver.stream().set_stall(limit)
    }

    /// The time after which reading fails, however slowly bytes arrive; `None`: no limit.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.receiver.stream().set_deadline(deadline);
    }

    /// 32 bytes that only the two ends of this connection can compute (RFC 8446, 7.5); `None` on a plain connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn export(&self, label: &[u8]) -> Result<Option<[u8; 32]>> {
        Ok(self.tls.as_ref().map(|tls| tls.export(label)).transpose()?)
    }

    /// Tells the other end why this connection is about to be closed, if it can still be told.
    pub fn say_why(&self, error: &Error) {
        let refusal = match error {
            Error::Refused(refusal) => refusal.clone(),
            Error::PeerMisbehaved(what) => Refusal::new(ErrorCode::BadFrame, what.to_string()),
            Error::ConnectionLost(ConnectionLost::TimedOut(clock)) => {
                Refusal::new(ErrorCode::TimedOut, format!("timed out: {clock}"))
            }
            Error::ConnectionLost(_) | Error::NotConnected(_) => return,
            Error::Ours { object, source } => Refusal::from_io(object, source),
        };
        if let Err(error) = self.sender.refuse(&refusal) {
            tracing::debug!(%error, "the reason for closing could not be sent");
        }
    }

    /// Closes the connection so that the last message arrives.
    pub fn close(self) {
        if let Err(error) = self.sender.flush() {
            tracing::debug!(%error, "the connection was gone before it was closed");
        }
        self.sender.lock().stream().close();
    }
}

/// Splits bytes that arrive in pieces into lines of text.
#[derive(Debug, Default)]
struct WholeLines {
    /// The beginning of an unfinished line; it contains no line end.
    rest: Vec<u8>,
}

impl WholeLines {
    /// Takes a piece, and passes the lines that it completes to `add`. They are not kept. Each byte is read once,
    /// however small the pieces and long the lines.
    ///
    /// # Errors
    /// The error of `add`.
    fn push(&mut self, piece: &[u8], mut add: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut parts = piece.split(|byte| *byte == b'\n');
        self.rest.extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            add(&self.rest)?;
            self.rest.clear();
            self.rest.extend_from_slice(part);
        }
        Ok(())
    }
}

impl Drop for Connection {
    /// Sends TLS `close_notify`: without it, the other end would take the end of the stream for a truncation.
    fn drop(&mut self) {
        self.sender.lock().stream().abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut whole, mut found) = (WholeLines::default(), Vec::new());
        for piece in pieces {
            let add = |line: &[u8]| {
                found.push(line.to_vec());
                Ok(())
            };
            whole.push(&piece, add).unwrap();
        }
        (found, whole.rest)
    }

    #[test]
    fn lines_are_whole_however_they_are_cut_into_pieces() {
        let text = b"one\n\nthree\nfour";
        let want = (vec![b"one".to_vec(), vec![], b"three".to_vec()], b"four".to_vec());
        for len in 1..=text.len() {
            assert_eq!(lines(text.chunks(len).map(<[u8]>::to_vec)), want, "{len}");
        }
        assert_eq!(
            lines([b"a\n".to_vec(), Vec::new(), b"\n".to_vec()].into_iter()),
            (vec![b"a".to_vec(), vec![]], vec![])
        );
    }

    /// A sender may send one line as long as the list's limit, a byte at a time: reading all of it again for every byte
    /// would take days.
    #[test]
    fn a_long_line_that_comes_a_byte_at_a_time_is_looked_at_once() {
        let len = 1 << 20;
        let (found, rest) = lines(std::iter::repeat_n(vec![b'x'], len).chain([b"\ny".to_vec()]));
        assert_eq!((found.len(), found[0].len(), rest), (1, len, b"y".to_vec()));
    }
}
