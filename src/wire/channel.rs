//! The two halves of a connection: typed messages over any stream.
//!
//! A [`Receiver`] belongs to one thread. A [`Sender`] can be cloned: its lock is the connection's send lock, which is
//! shared only by the clones of this sender.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{FrameReader, FrameWriter};
use super::header::Header;
use super::message::Message;
use crate::error::{ConnectionLost, Misbehaviour, Refusal, Result};

/// Initial size of the buffer for a whole body, in bytes, if the announced length is not less.
const BODY_LEN_FIRST: usize = 16 * 1024;

/// Receives messages, one at a time. The part of a body that the caller does not read is skipped.
#[derive(Debug)]
pub struct Receiver<R> {
    frames: FrameReader<R>,
    peer_ended: bool,
}

impl<R: Read> Receiver<R> {
    /// Receives from `stream`, of which `first` was already read.
    pub fn new(stream: R, first: &[u8]) -> Self {
        Self { frames: FrameReader::new(stream, first), peer_ended: false }
    }

    /// Waits for the next message. `None` is a clean end of the connection.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::error::Error::Refused) for an unknown type or a missing field: the connection
    /// is still in step. Everything else ends the connection.
    pub fn recv(&mut self) -> Result<Option<Message<'_>>> {
        if !self.frames.next_header()? {
            return Ok(None);
        }
        if let Some((message, total_size)) = Message::of_frequent(self.frames.header()) {
            self.frames.begin_body(total_size)?;
            return Ok(Some(message));
        }
        let header = Header::parse(self.frames.header())?;
        self.frames.begin_body(header.total_size())?;
        let message = Message::of(header)?;
        self.peer_ended |= matches!(message, Message::End { .. });
        Ok(Some(message))
    }

    /// As [`recv`](Self::recv), with the header copied to `json`, so that the message does not borrow the connection: a
    /// request is used while its exchange goes on.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_request<'j>(&mut self, json: &'j mut Vec<u8>) -> Result<Option<Message<'j>>> {
        if !self.frames.next_header()? {
            return Ok(None);
        }
        if let Some((message, total_size)) = Message::of_frequent(self.frames.header()) {
            self.frames.begin_body(total_size)?;
            return Ok(Some(message));
        }
        json.clear();
        json.extend_from_slice(self.frames.header());
        let header = Header::parse(json)?;
        self.frames.begin_body(header.total_size())?;
        let message = Message::of(header)?;
        self.peer_ended |= matches!(message, Message::End { .. });
        Ok(Some(message))
    }

    /// Waits for a message where the connection may not end: `wanted` names the expected message.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`ConnectionLost::Closed`].
    pub fn expect(&mut self, wanted: &'static str) -> Result<Message<'_>> {
        self.recv()?.ok_or_else(|| ConnectionLost::Closed { wanted }.into())
    }

    /// Reads some of the present message's body; 0 is its end.
    ///
    /// # Errors
    /// The connection ended inside the body, or the socket failed.
    pub fn read_body(&mut self, dest: &mut [u8]) -> Result<usize> {
        self.frames.read_body(dest)
    }

    /// Fills `dest` from the present body, or up to the body's end; returns the number of bytes.
    ///
    /// # Errors
    /// As [`read_body`](Self::read_body).
    pub fn fill_from_body(&mut self, dest: &mut [u8]) -> Result<usize> {
        let mut filled = 0_usize;
        while let Some(rest) = dest.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.frames.read_body(rest)? {
                0 => break,
                came => filled = filled.saturating_add(came),
            }
        }
        Ok(filled)
    }

    /// Bytes of the present body that have not been read.
    pub fn body_left(&self) -> u32 {
        self.frames.body_left()
    }

    /// The whole present body, if it is at most `limit` bytes long. Memory grows with the bytes received, not with the
    /// announced length.
    ///
    /// # Errors
    /// The body is longer than `limit` (it will be skipped), or as [`read_body`](Self::read_body).
    pub fn body(&mut self, limit: u32) -> Result<Vec<u8>> {
        let announced = self.frames.body_left();
        if announced > limit {
            return Err(Misbehaviour::BodyTooLarge { announced: announced.into(), limit }.into());
        }
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        let mut filled = 0_usize;
        while filled < announced {
            if filled == body.len() {
                // Twice what was received: memory and the size of the reads grow with it.
                body.resize(announced.min(filled.saturating_mul(2).max(BODY_LEN_FIRST)), 0);
            }
            match self.frames.read_body(body.get_mut(filled..).unwrap_or_default())? {
                0 => break,
                came => filled = filled.saturating_add(came),
            }
        }
        body.truncate(filled);
        Ok(body)
    }

    /// The present body as text.
    ///
    /// # Errors
    /// It is longer than `limit` or not UTF-8, or as [`read_body`](Self::read_body).
    pub fn body_text(&mut self, limit: u32) -> Result<String> {
        String::from_utf8(self.body(limit)?)
            .map_err(|error| Misbehaviour::BadBody { what: "text", why: error.to_string() }.into())
    }

    /// Whether the other side has sent `end` since [`begin_exchange`](Self::begin_exchange).
    pub const fn peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Starts an exchange: the other side has not ended it yet.
    pub fn begin_exchange(&mut self) {
        self.peer_ended = false;
        self.frames.rest();
    }

    /// Discards what the other side still sends for this exchange, up to its `end`.
    ///
    /// # Errors
    /// The connection ended or failed first.
    pub fn discard_exchange(&mut self) -> Result<()> {
        while !self.peer_ended {
            match self.recv() {
                Ok(Some(_)) | Err(crate::error::Error::Refused(_)) => {}
                Ok(None) => return Err(ConnectionLost::Closed { wanted: "end" }.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sets whether the other end has not sent `hello` yet; then shorter frames are accepted.
    pub const fn set_stranger(&mut self, is_stranger: bool) {
        self.frames.set_stranger(is_stranger);
    }

    /// The stream under the messages.
    pub const fn stream(&self) -> &R {
        self.frames.stream()
    }

    /// Bytes that were received and not read as messages yet.
    pub fn buffered(&self) -> usize {
        self.frames.buffered()
    }

    /// Bytes that were read as messages so far.
    pub fn taken(&self) -> u64 {
        self.frames.received().saturating_sub(u64::try_from(self.frames.buffered()).unwrap_or(0))
    }
}

/// Sends messages; clones share one stream and one lock.
#[derive(Debug)]
pub struct Sender<W> {
    frames: Arc<Mutex<FrameWriter<W>>>,
}

impl<W> Clone for Sender<W> {
    fn clone(&self) -> Self {
        Self { frames: Arc::clone(&self.frames) }
    }
}

impl<W: Write> Sender<W> {
    /// Sends to `stream`.
    pub fn new(stream: W) -> Self {
        Self { frames: Arc::new(Mutex::new(FrameWriter::new(stream))) }
    }

    /// Sends a message with a body (which may be empty), after all queued messages.
    ///
    /// # Errors
    /// The socket failed, or the header would be longer than a header may be.
    pub fn send(&self, message: &Message<'_>, body: &[u8]) -> Result<()> {
        let mut frames = self.lock();
        frames.queue(|json| message.write_header(body.len(), json), body)?;
        Ok(frames.flush()?)
    }

    /// Queues a message; the next [`send`](Self::send) or [`flush`](Self::flush) sends it.
    ///
    /// # Errors
    /// As [`send`](Self::send): a long body is sent at once.
    pub fn queue(&self, message: &Message<'_>, body: &[u8]) -> Result<()> {
        Ok(self.lock().queue(|json| message.write_header(body.len(), json), body)?)
    }

    /// Sends all queued messages.
    ///
    /// # Errors
    /// The socket failed.
    pub fn flush(&self) -> Result<()> {
        Ok(self.lock().flush()?)
    }

    /// Sends a message unless this side's exchange is over by then: `is_over` is read under the send lock, so that
    /// nothing follows an `end` that another thread has sent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_unless(&self, is_over: &AtomicBool, message: &Message<'_>, body: &[u8]) -> Result<()> {
        let mut frames = self.lock();
        if is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        frames.queue(|json| message.write_header(body.len(), json), body)?;
        Ok(frames.flush()?)
    }

    /// Sends bytes that are whole frames, or the rest of a frame that other code began.
    ///
    /// # Errors
    /// The socket failed.
    pub fn send_raw(&self, frames: &[u8]) -> Result<()> {
        let mut writer = self.lock();
        writer.flush()?;
        writer.stream_mut().write_all(frames)?;
        writer.count_sent(frames.len());
        Ok(())
    }

    /// Sends a refusal.
    ///
    /// # Errors
    /// The socket failed.
    pub fn refuse(&self, refusal: &Refusal) -> Result<()> {
        let message = Message::Error { code: refusal.code, message: refusal.message.as_str().into() };
        self.send(&message, &[])
    }

    /// Locks the writer of the frames, for callers that write whole frames to its stream.
    pub fn lock(&self) -> MutexGuard<'_, FrameWriter<W>> {
        // A thread that panicked while it held the lock has ended its connection: the lock can still be used.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.lock().sent()
    }
}

/// One message as the bytes of one frame, encoded once for many receivers.
///
/// # Errors
/// The header would be longer than a header may be.
pub fn encode(message: &Message<'_>, body: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut frames = FrameWriter::new(&mut bytes);
    frames.queue(|json| message.write_header(body.len(), json), body)?;
    frames.flush()?;
    Ok(bytes)
}

/// The error for a message that is not permitted here.
pub fn unexpected(got: &Message<'_>, wanted: &'static str) -> crate::error::Error {
    Misbehaviour::Unexpected { got: got.name().to_owned(), wanted }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorCode};
    use crate::wire::frame::{BODY_LEN_MAX, HEADER_LEN_MAX};
    use crate::wire::message::{Attributes, Channel, CommandForm, ExecOptions};
    use proptest::prelude::*;

    /// A stream that returns one byte for each read, as the slowest network would.
    struct OneByteAtATime<'b>(&'b [u8]);

    impl Read for OneByteAtATime<'_> {
        fn read(&mut self, dest: &mut [u8]) -> std::io::Result<usize> {
            let len = dest.len().min(1);
            self.0.read(&mut dest[..len])
        }
    }

    /// Receives everything: each message's header as JSON, and its body.
    fn receive_all(stream: impl Read) -> Result<Vec<(String, Vec<u8>)>> {
        let mut receiver = Receiver::new(stream, &[]);
        let mut all = Vec::new();
        loop {
            let mut json = Vec::new();
            match receiver.recv() {
                Ok(Some(message)) => message.write_header(0, &mut json).unwrap(),
                Ok(None) => return Ok(all),
                Err(Error::Refused(refusal)) => json = refusal.code.as_str().into(),
                Err(error) => return Err(error),
            }
            all.push((String::from_utf8(json).unwrap(), receiver.body(BODY_LEN_MAX)?));
        }
    }

    fn conversation() -> Vec<u8> {
        let attributes = Attributes { size: 5, mtime_ns: Some(-1), mode: Some(0o600) };
        [
            encode(&Message::Hello { version: 1, program: "t".into(), verbs: vec!["a".into()] }, &[]),
            encode(&Message::Put { path: b"a\xff"[..].into(), name: b"n"[..].into(), attributes }, &[]),
            encode(&Message::Data { stream: Channel::Main }, b"hello"),
            encode(
                &Message::Exec {
                    form: CommandForm::Shell,
                    path: None,
                    place: None,
                    options: ExecOptions::default(),
                    modes: None,
                },
                b"ls",
            ),
            encode(&Message::End { total: None }, &[]),
        ]
        .map(Result::unwrap)
        .concat()
    }

    #[test]
    fn a_byte_at_a_time_is_the_same_conversation() {
        let bytes = conversation();
        let whole = receive_all(&bytes[..]).unwrap();
        assert_eq!(whole.len(), 5);
        assert_eq!(receive_all(OneByteAtATime(&bytes)).unwrap(), whole);
    }

    #[test]
    fn a_conversation_cut_anywhere_is_a_clean_end_or_a_lost_line() {
        let bytes = conversation();
        let mut clean_ends = 0;
        for cut in 0..=bytes.len() {
            match receive_all(&bytes[..cut]) {
                Ok(_) => clean_ends += 1,
                Err(Error::ConnectionLost(ConnectionLost::InsideFrame { missing })) => {
                    assert!(missing > 0, "cut at {cut}");
                }
                Err(error) => panic!("cut at {cut}: {error}"),
            }
        }
        assert_eq!(clean_ends, 6, "before the first frame and behind each of the five");
    }

    #[test]
    fn a_flipped_bit_never_panics_and_never_takes_memory() {
        let bytes = conversation();
        let mut survived = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                // An error or other messages: what counts is that it ends, within the bytes received.
                if let Ok(all) = receive_all(&flipped[..]) {
                    survived += 1;
                    assert!(all.iter().map(|(_, body)| body.len()).sum::<usize>() <= bytes.len());
                }
            }
        }
        assert!(survived > 0, "some flips only change a letter");
    }

    #[test]
    fn lies_about_lengths_are_named() {
        let frame = |len: i32, json: &[u8]| [&len.to_le_bytes()[..], json].concat();
        for (bytes, want) in [
            (frame(0, b""), "frame header length 0 is outside 2..=65535"),
            (frame(1, b"{"), "frame header length 1 is outside"),
            (frame(-1, b"{}"), "frame header length -1 is outside"),
            (frame(65_536, b"{}"), "frame header length 65536 is outside"),
            (frame(2, b"[]"), "frame header begins with byte 0x5b"),
            (frame(2, b"{x"), "frame header cannot be read"),
            (frame(3, b"{}"), "the connection ended inside a frame, 1 bytes short"),
            (frame(30, br#"{"type":"data","total_size":"5"}"#), "frame header cannot be read"),
            (frame(31, br#"{"type":"data","total_size":-5}"#), "frame header cannot be read"),
            (frame(32, br#"{"type":"data","total_size":5.5}"#), "frame header cannot be read"),
            (frame(33, br#"{"type":"data","total_size":null}"#), "frame header cannot be read"),
            (frame(36, br#"{"type":"data","total_size":4194305}"#), "frame body of 4194305 bytes is over the limit"),
            (frame(28, br#"{"type":"data","type":"data"}"#), "frame header cannot be read"),
        ] {
            let error = receive_all(&bytes[..]).unwrap_err();
            assert!(error.to_string().starts_with(want), "{error}, not {want}");
        }
    }

    #[test]
    fn deep_json_is_refused_and_an_unknown_type_leaves_the_line_in_step() {
        let bomb = format!("{{\"type\":\"pwd\",\"x\":{}", "[".repeat(HEADER_LEN_MAX - 18));
        let frame = [&i32::try_from(bomb.len()).unwrap().to_le_bytes()[..], bomb.as_bytes()].concat();
        assert!(matches!(receive_all(&frame[..]), Err(Error::PeerMisbehaved(Misbehaviour::BadHeader(_)))));
        let unknown = br#"{"type":"fly","total_size":3}"#;
        let frame = [&i32::try_from(unknown.len()).unwrap().to_le_bytes()[..], unknown, b"abc"].concat();
        let bytes = [frame, encode(&Message::Pwd, &[]).unwrap()].concat();
        let all = receive_all(&bytes[..]).unwrap();
        assert_eq!(all, [("unknown-type".into(), b"abc".to_vec()), (r#"{"type":"pwd"}"#.into(), vec![])]);
    }

    #[test]
    fn a_header_that_would_be_too_long_is_not_sent() {
        let path = vec![b'x'; HEADER_LEN_MAX];
        let mut bytes = Vec::new();
        let sender = Sender::new(&mut bytes);
        assert!(sender.send(&Message::Cd { path: path.into() }, &[]).is_err());
        sender.send(&Message::Pwd, &[]).unwrap();
        drop(sender);
        assert_eq!(receive_all(&bytes[..]).unwrap().len(), 1);
    }

    #[test]
    fn what_was_queued_leaves_together_and_in_order() {
        let mut bytes = Vec::new();
        let sender = Sender::new(&mut bytes);
        sender.queue(&Message::Data { stream: Channel::Main }, b"a").unwrap();
        sender.queue(&Message::Data { stream: Channel::Main }, &vec![b'b'; 100_000]).unwrap();
        sender.send(&Message::End { total: None }, b"").unwrap();
        let sent = sender.sent();
        drop(sender);
        assert_eq!(sent, u64::try_from(bytes.len()).unwrap());
        let lens: Vec<usize> = receive_all(&bytes[..]).unwrap().iter().map(|(_, body)| body.len()).collect();
        assert_eq!(lens, [1, 100_000, 0]);
    }

    #[test]
    fn an_exchange_is_discarded_up_to_its_end() {
        let bytes = [
            encode(&Message::Data { stream: Channel::Main }, b"rest"),
            encode(&Message::End { total: None }, &[]),
            encode(&Message::Pwd, &[]),
        ]
        .map(Result::unwrap)
        .concat();
        let mut receiver = Receiver::new(&bytes[..], &[]);
        receiver.begin_exchange();
        receiver.discard_exchange().unwrap();
        assert_eq!(receiver.recv().unwrap(), Some(Message::Pwd));
        receiver.begin_exchange();
        assert!(matches!(
            receiver.discard_exchange(),
            Err(Error::ConnectionLost(ConnectionLost::Closed { wanted: "end" }))
        ));
    }

    #[test]
    fn a_code_from_the_future_means_failed() {
        assert_eq!(ErrorCode::from("not-invented-yet"), ErrorCode::Failed);
        assert_eq!(ErrorCode::from("not-found"), ErrorCode::NotFound);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_received(
            path in any::<Vec<u8>>(),
            nick in "\\PC{0,40}",
            body in proptest::collection::vec(any::<u8>(), 0..20_000),
        ) {
            let messages = [Message::Get { path: path.into() }, Message::Left { nick: nick.into(), room: None, is_lost: false }];
            let mut bytes = Vec::new();
            let sender = Sender::new(&mut bytes);
            for message in &messages {
                sender.send(message, &body).unwrap();
            }
            drop(sender);
            let mut receiver = Receiver::new(&bytes[..], &[]);
            for message in messages {
                prop_assert_eq!(receiver.recv().unwrap(), Some(message));
                prop_assert_eq!(&receiver.body(BODY_LEN_MAX).unwrap(), &body);
            }
            prop_assert_eq!(receiver.recv().unwrap(), None);
        }

        #[test]
        fn any_bytes_at_all_end_in_an_error_or_an_end(bytes in any::<Vec<u8>>()) {
            drop(receive_all(&bytes[..]));
        }
    }
}
