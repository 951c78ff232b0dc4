//! The chat over WebSocket (RFC 6455). A message is a text message: the header's JSON object with the body, as text, in
//! its field `text`.
//!
//! ```text
//! client: chat (again after an error), then as in the exchange of frames, end or a close
//! server: joined (you), events; ping and pong, close: between two messages, by the fan-out too
//! ```

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{Frame, Utf8Bytes};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message as Incoming, WebSocket};

use super::event::Format;
use super::fanout::EventSink;
use super::hub::{EnterRequest, Hub};
use super::member::Member;
use super::state::Who;
use super::{ChatRequest, Request, TEXT_LEN_MAX, check_reserved, who_of};
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::net::stream::{ReadHalf, WriteHalf};
use crate::session::Session;
use crate::trust::peers::Peers;
use crate::wire::header::Header;
use crate::wire::message::Message;

/// The name of the field that has the body.
pub const TEXT_FIELD: &str = "text";
/// Longest message of a client, in bytes: JSON writes two for a line's end or a quote, and names stand beside the text.
pub const WEB_MESSAGE_LEN_MAX: usize = 132 * 1024;
/// How long a client may be silent before it is pinged; after the same time again it is gone. Proxies end connections
/// that are silent for a minute.
pub const WEB_PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long a client may take to enter.
pub const WEB_ENTER_TIME_MAX: Duration = Duration::from_mins(2);
/// Attempts to enter that are refused before the connection ends: a person looks for a free nick.
pub const WEB_ATTEMPTS_MAX: usize = 20;
/// How long a client may take nothing of the last words.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How much is read at a time, in bytes. Each connection has this buffer.
const READ_LEN: usize = 4 * 1024;

/// A connection that speaks WebSocket.
#[expect(missing_debug_implementations, reason = "it holds a question to the server")]
pub struct WebConnection<'c> {
    /// Its receiving half.
    pub read: &'c mut ReadHalf,
    /// What was already read from it.
    pub first: Vec<u8>,
    /// Its sending half.
    pub out: WriteHalf,
    /// Whether the server is stopping.
    pub is_stopping: &'c dyn Fn() -> bool,
}

/// Serves one stay in the chat. While the client is in, only the fan-out writes to the connection, pongs included.
/// `known`: the peers whose names are reserved.
///
/// # Errors
/// The connection was lost, or ended for what the client has sent.
pub fn serve_web_chat(
    connection: WebConnection<'_>,
    session: &mut Session,
    hub: &Hub,
    known: Option<&Peers>,
) -> Result<()> {
    let WebConnection { read, first, mut out, is_stopping } = connection;
    let who = who_of(session);
    read.set_stall(Some(WEB_ENTER_TIME_MAX))?;
    read.set_deadline(Some(Instant::now() + WEB_ENTER_TIME_MAX));
    let mut socket = Socket::new(read, first);
    let (member, name) = match enter(&mut socket, &mut out, &Entry { hub, who: &who, known }) {
        Ok(entered) => entered,
        Err(end) => return finish(&mut socket, &mut out, end, (&[], is_stopping)),
    };
    session.report.about = name;
    socket.source().set_deadline(None);
    socket.source().set_stall(None)?;
    socket.source().set_timeout(Some(WEB_PING_INTERVAL))?;
    let end = talk(&mut socket, &member, &|nick| check_reserved(nick, &who, known));
    session.report.outcome = Some(format!("said {}", member.said()));
    // A closed tab may be one that is loaded again: only `end` says that its client leaves.
    let leftover = if matches!(end, End::Left) { member.leave() } else { member.lose() };
    socket.source().set_stall(Some(CLOSE_TIME))?;
    finish(&mut socket, &mut out, end, (&leftover, is_stopping))
}

/// Where a client wants to enter, and who it is.
struct Entry<'e> {
    hub: &'e Hub,
    who: &'e Who,
    known: Option<&'e Peers>,
}

/// Waits for a `chat` that can be granted; the member, and what it is for the log.
fn enter(socket: &mut Socket<&mut ReadHalf>, out: &mut WriteHalf, entry: &Entry<'_>) -> Result<(Member, String), End> {
    for _ in 0..WEB_ATTEMPTS_MAX {
        let text = socket.next(&mut |answer| out.write_all(&answer))?;
        let refusal = match try_enter(&text, socket.source(), out, entry) {
            Ok(entered) => return Ok(entered),
            Err(Error::Refused(refusal)) => refusal,
            Err(error) => return Err(End::broken(CloseCode::Policy, error.to_string())),
        };
        let message = Message::Error { code: refusal.code, message: refusal.message.into() };
        out.write_all(&text_frame(&message, &[])).map_err(End::Lost)?;
    }
    Err(End::broken(CloseCode::Policy, format!("{WEB_ATTEMPTS_MAX} attempts to enter were refused")))
}

fn try_enter(text: &str, read: &ReadHalf, out: &WriteHalf, entry: &Entry<'_>) -> Result<(Member, String)> {
    let Message::Chat { room, nick, options } = Message::of(Header::parse(text.as_bytes())?)? else {
        return Err(Refusal::new(ErrorCode::BadRequest, "the first message is chat").into());
    };
    let Entry { hub, who, known } = *entry;
    let request = ChatRequest { room: &room, nick: &nick, options: &options };
    let (room, nick) = request.names(who, known)?;
    let shown = nick.as_str().to_owned();
    let sink = EventSink { writer: out.clone(), format: Format::WebSocket, control: read.control() };
    let member = hub.enter(EnterRequest { room, nick, options: &options, who: who.clone(), sink })?;
    let name = format!("{shown} in {}", member.room());
    Ok((member, name))
}

/// Serves the member's requests until something ends it.
fn talk(
    socket: &mut Socket<&mut ReadHalf>,
    member: &Member,
    check_nick: &dyn Fn(&super::Name) -> Result<(), Refusal>,
) -> End {
    let answer = &mut |answer| {
        member.answer(answer);
        Ok(())
    };
    loop {
        let text = match socket.next(answer) {
            Ok(text) => text,
            Err(end) => return end,
        };
        match carry_out(&text, member, check_nick) {
            Ok(true) => {}
            Ok(false) => return End::Left,
            Err(Error::Refused(refusal)) => {
                member.tell(Message::Error { code: refusal.code, message: refusal.message.into() }, &[]);
            }
            Err(error) => return End::broken(CloseCode::Policy, error.to_string()),
        }
    }
}

/// The body of a message.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

/// Carries out one request; `false`: the client leaves.
fn carry_out(json: &str, member: &Member, check_nick: &dyn Fn(&super::Name) -> Result<(), Refusal>) -> Result<bool> {
    let message = Message::of(Header::parse(json.as_bytes())?)?;
    if matches!(message, Message::End { .. }) {
        return Ok(false);
    }
    let bad = |why: String| Refusal::new(ErrorCode::BadRequest, why);
    let Body { text } = serde_json::from_str(json).map_err(|error| bad(format!("the field text: {error}")))?;
    let request = Request::of(message)?;
    if text.len() > usize::try_from(TEXT_LEN_MAX).unwrap_or(usize::MAX) {
        let refusal = bad(format!("a text of {} bytes is longer than {TEXT_LEN_MAX}; send it as a file", text.len()));
        let Request::Say(fields) = &request else { return Err(refusal.into()) };
        let Some(id) = fields.id else { return Err(refusal.into()) };
        // Its client would otherwise send it again.
        member.tell(Message::Refused { id, code: refusal.code, message: refusal.message.into() }, &[]);
        return Ok(true);
    }
    request.serve(member, &text, check_nick)?;
    Ok(true)
}

/// Why a connection ends.
enum End {
    /// The client has said that it leaves.
    Left,
    /// The client closes the connection; the answer to that.
    Closed(Vec<u8>),
    /// What came cannot be taken.
    Broken { code: CloseCode, why: String },
    /// Nothing came, not even an answer to a ping.
    Silent,
    /// The connection has failed or ended.
    Lost(io::Error),
}

impl End {
    const fn broken(code: CloseCode, why: String) -> Self {
        Self::Broken { code, why }
    }
}

/// Says why the connection ends, behind what was not sent yet.
fn finish(
    socket: &mut Socket<&mut ReadHalf>,
    out: &mut WriteHalf,
    end: End,
    (leftover, is_stopping): (&[u8], &dyn Fn() -> bool),
) -> Result<()> {
    let (last, ended) = match end {
        End::Left => (close_frame(CloseCode::Normal, ""), Ok(())),
        End::Closed(answer) => (answer, Ok(())),
        End::Broken { code, why } => {
            let ended = ConnectionLost::Socket(io::Error::other(format!("closed with {}: {why}", u16::from(code))));
            (close_frame(code, &why), Err(ended.into()))
        }
        // What is to be sent has waited for this long already.
        End::Silent => return Err(ConnectionLost::TimedOut("no answer to a ping".into()).into()),
        End::Lost(_) if is_stopping() => (close_frame(CloseCode::Away, "the server stops"), Ok(())),
        End::Lost(error) => return Err(error.into()),
    };
    out.write_all(leftover)?;
    out.write_all(&last)?;
    // Not a frame more is looked at.
    socket.source().set_deadline(Some(Instant::now()));
    ended
}

fn close_frame(code: CloseCode, why: &str) -> Vec<u8> {
    // 5.5: at most 125 bytes, two of which are the code.
    let mut len = why.len().min(120);
    while !why.is_char_boundary(len) {
        len -= 1;
    }
    let reason = why.get(..len).unwrap_or_default().to_owned().into();
    bytes_of(Frame::close(Some(CloseFrame { code, reason })))
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    // Writing into memory does not fail.
    drop(frame.format(&mut bytes));
    bytes
}

/// Receives messages. What the protocol answers by itself is given to its caller, who knows whose turn it is to write.
struct Socket<R> {
    frames: WebSocket<Source<R>>,
    /// Whether a ping has not been answered yet.
    is_pinged: bool,
}

/// Where frames come from, and where the answers to them are put.
struct Source<R> {
    read: R,
    answers: Vec<u8>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        self.read.read(dest)
    }
}

impl<R> Write for Source<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answers.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<R: Read> Socket<R> {
    /// A server's side, which has read `first` already.
    fn new(read: R, first: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_LEN)
            .write_buffer_size(0)
            .max_message_size(Some(WEB_MESSAGE_LEN_MAX))
            .max_frame_size(Some(WEB_MESSAGE_LEN_MAX));
        let source = Source { read, answers: Vec::new() };
        let frames = WebSocket::from_partially_read(source, first, Role::Server, Some(config));
        Self { frames, is_pinged: false }
    }

    fn source(&self) -> &R {
        &self.frames.get_ref().read
    }

    /// The next text message.
    ///
    /// # Errors
    /// Why there is none.
    fn next(&mut self, answer: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> Result<Utf8Bytes, End> {
        loop {
            let received = self.frames.read();
            self.is_pinged &= received.is_err();
            match received {
                Ok(Incoming::Text(text)) => return Ok(text),
                Ok(Incoming::Ping(_)) => answer(self.answers()).map_err(End::Lost)?,
                Ok(Incoming::Pong(_) | Incoming::Frame(_)) => {}
                Ok(Incoming::Binary(_)) => {
                    return Err(End::broken(CloseCode::Unsupported, "messages here are text".into()));
                }
                Ok(Incoming::Close(_)) => return Err(End::Closed(self.answers())),
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock && !self.is_pinged => {
                    self.is_pinged = true;
                    answer(bytes_of(Frame::ping(Vec::new()))).map_err(End::Lost)?;
                }
                Err(error) => return Err(ended(error)),
            }
        }
    }

    /// What the protocol answers to what has come.
    fn answers(&mut self) -> Vec<u8> {
        // It is written into memory; behind a close it says that nothing more can be.
        drop(self.frames.flush());
        std::mem::take(&mut self.frames.get_mut().answers)
    }
}

/// What an error of the protocol means (RFC 6455, 7.4.1).
fn ended(error: tungstenite::Error) -> End {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            End::Silent
        }
        tungstenite::Error::Io(error) => End::Lost(error),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            End::Lost(io::ErrorKind::UnexpectedEof.into())
        }
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            let why = format!("a message is longer than {WEB_MESSAGE_LEN_MAX} bytes");
            End::broken(CloseCode::Size, why)
        }
        tungstenite::Error::Utf8(why) => End::broken(CloseCode::Invalid, why),
        error => End::broken(CloseCode::Protocol, error.to_string()),
    }
}

/// A message as one frame from a server, which is not masked (RFC 6455, 5.1).
pub fn text_frame(message: &Message<'_>, body: &[u8]) -> Vec<u8> {
    let frame = Frame::message(json(message, body), OpCode::Data(Data::Text), true);
    bytes_of(frame)
}

/// The JSON object of a message with its body.
pub fn json(message: &Message<'_>, body: &[u8]) -> Vec<u8> {
    let mut object = Vec::with_capacity(body.len() + 160);
    drop(message.write_header(0, &mut object));
    if body.is_empty() || object.pop() != Some(b'}') {
        return object;
    }
    object.extend_from_slice(format!(",\"{TEXT_FIELD}\":").as_bytes());
    drop(serde_json::to_writer(&mut object, &String::from_utf8_lossy(body)));
    object.push(b'}');
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::SayFields;

    #[test]
    fn a_message_is_an_object_with_its_text() {
        let fields = SayFields { nick: Some("ann".into()), ..SayFields::default() };
        let said = json(&Message::Say { fields }, "hi \"du\" 收到".as_bytes());
        assert_eq!(String::from_utf8(said).unwrap(), r#"{"type":"say","nick":"ann","text":"hi \"du\" 收到"}"#);
        assert_eq!(json(&Message::Rooms, b""), br#"{"type":"rooms"}"#);
        assert_eq!(text_frame(&Message::Rooms, b"").get(..2), Some(&[0x81, 16][..]), "5.2: FIN, text, not masked");
    }

    /// Bytes that come one at a time.
    struct Trickle<'b>(&'b [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
            let len = dest.len().min(1);
            self.0.read(&mut dest[..len])
        }
    }

    /// A frame of a client with a key of zeros, which masks nothing.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let len = payload.len();
        let mut frame = vec![first];
        match len {
            0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
            126..=0xffff => frame.extend([&[0xfe], &u16::try_from(len).unwrap().to_be_bytes()[..]].concat()),
            _ => frame.extend([&[0xff], &(len as u64).to_be_bytes()[..]].concat()),
        }
        [&frame[..], &[0; 4], payload].concat()
    }

    /// The texts that come, how it ends (the code of a close, or a word), and what was answered.
    fn outcome(bytes: &[u8]) -> (Vec<String>, String, Vec<u8>) {
        let (mut socket, mut texts, mut answers) = (Socket::new(Trickle(bytes), Vec::new()), Vec::new(), Vec::new());
        loop {
            let next = socket.next(&mut |answer| {
                answers.extend(answer);
                Ok(())
            });
            let end = match next {
                Ok(text) => {
                    texts.push(text.to_string());
                    continue;
                }
                Err(End::Broken { code, .. }) => u16::from(code).to_string(),
                Err(End::Closed(answer)) => {
                    answers.extend(answer);
                    "closed".into()
                }
                Err(End::Lost(_)) => "lost".into(),
                Err(End::Left | End::Silent) => "silent".into(),
            };
            return (texts, end, answers);
        }
    }

    #[test]
    fn frames_of_any_cut_are_messages_and_others_end_with_their_code() {
        let long = "x".repeat(WEB_MESSAGE_LEN_MAX);
        for (clause, frames, texts, end) in [
            ("5.2: one frame", vec![masked(0x81, b"hi")], vec!["hi"], "lost"),
            ("5.2: 16 bits of length", vec![masked(0x81, &b"y".repeat(200))], vec![&*"y".repeat(200)], "lost"),
            ("5.2: 64 bits of length", vec![masked(0x81, long.as_bytes())], vec![&*long], "lost"),
            ("5.4: fragments", vec![masked(0x01, b"a"), masked(0x00, b""), masked(0x80, b"b")], vec!["ab"], "lost"),
            (
                "5.4: a ping between fragments",
                vec![masked(0x01, b"a"), masked(0x89, b"p"), masked(0x80, b"b")],
                vec!["ab"],
                "lost",
            ),
            ("5.1: not masked", vec![vec![0x81, 2, b'h', b'i']], vec![], "1002"),
            ("5.2: a reserved bit", vec![masked(0xc1, b"hi")], vec![], "1002"),
            ("5.2: an unknown opcode", vec![masked(0x83, b"hi")], vec![], "1002"),
            ("5.4: no message to continue", vec![masked(0x80, b"hi")], vec![], "1002"),
            ("5.5: a long ping", vec![masked(0x89, &[0; 126])], vec![], "1002"),
            ("5.5: a ping in fragments", vec![masked(0x09, b"p")], vec![], "1002"),
            ("5.6: binary", vec![masked(0x82, b"hi")], vec![], "1003"),
            ("8.1: not UTF-8", vec![masked(0x81, b"\xff")], vec![], "1007"),
            ("8.1: not UTF-8 at the end", vec![masked(0x01, b"\xe4"), masked(0x80, b"")], vec![], "1007"),
            ("10.4: 2 GiB announced", vec![vec![0x81, 0xff, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]], vec![], "1009"),
            ("10.4: too long in fragments", vec![masked(0x01, long.as_bytes()), masked(0x00, b"y")], vec![], "1009"),
            ("5.5.1: a close", vec![masked(0x88, &[3, 0xe8]), masked(0x81, b"late")], vec![], "closed"),
            ("7.1.5: no close", vec![masked(0x81, b"hi").into_iter().take(4).collect()], vec![], "lost"),
        ] {
            let (found, found_end, _) = outcome(&frames.concat());
            assert_eq!((found, &*found_end), (texts.into_iter().map(str::to_owned).collect(), end), "{clause}");
        }
        assert_eq!(outcome(&masked(0x89, b"p")).2, [0x8a, 1, b'p'], "5.5.3: the same in the pong, not masked");
        assert_eq!(outcome(&masked(0x88, &[3, 0xe8])).2, [0x88, 2, 3, 0xe8], "5.5.1: the same code");
    }

    #[test]
    fn a_close_says_why_within_its_125_bytes() {
        let frame = close_frame(CloseCode::Policy, &"\u{20ac}".repeat(100));
        assert_eq!(frame.get(..4), Some(&[0x88, 122, 3, 0xf0][..]));
        assert!(std::str::from_utf8(frame.get(4..).unwrap()).is_ok());
    }
}
