//! The two halves of a line: typed messages over any stream.
//!
//! A [`Receiver`] belongs to one thread. A [`Sender`] can be cloned: its lock is the line's send
//! lock, which only the senders of this one line ever wait for.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{LineLost, Misbehaviour, Refusal, Result};
use super::frame::{FrameReader, FrameWriter};
use super::message::{Header, Message};

/// Receives messages, one at a time; what its caller leaves of a body is skipped.
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

    /// Waits for the next message. `None` is a clean end of the line.
    ///
    /// # Errors
    /// [`Error::Refused`](super::Error::Refused) for an unknown type or a missing field: the line
    /// is still in step. Everything else ends the line.
    pub fn recv(&mut self) -> Result<Option<Message<'_>>> {
        if !self.frames.next_header()? {
            return Ok(None);
        }
        let header = Header::parse(self.frames.header())?;
        self.frames.begin_body(header.total_size())?;
        let message = header.message()?;
        self.peer_ended |= matches!(message, Message::End { .. });
        Ok(Some(message))
    }

    /// As [`recv`](Self::recv), with the header copied to `json`, so that the message does not
    /// borrow the line: a request is looked at while its conversation goes on.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_request<'j>(&mut self, json: &'j mut Vec<u8>) -> Result<Option<Message<'j>>> {
        if !self.frames.next_header()? {
            return Ok(None);
        }
        json.clear();
        json.extend_from_slice(self.frames.header());
        let header = Header::parse(json)?;
        self.frames.begin_body(header.total_size())?;
        let message = header.message()?;
        self.peer_ended |= matches!(message, Message::End { .. });
        Ok(Some(message))
    }

    /// Waits for a message where the line may not end: `wanted` names what was to come.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`LineLost::Closed`].
    pub fn expect(&mut self, wanted: &'static str) -> Result<Message<'_>> {
        self.recv()?.ok_or_else(|| LineLost::Closed { wanted }.into())
    }

    /// Reads some of the present message's body; 0 is its end.
    ///
    /// # Errors
    /// The line ended inside the body, or the socket failed.
    pub fn read_body(&mut self, dest: &mut [u8]) -> Result<usize> {
        self.frames.read_body(dest)
    }

    /// Fills `dest` from the present body, or up to its end; returns how much.
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

    /// The whole present body, if it is at most `limit` bytes long. Memory grows with what comes.
    ///
    /// # Errors
    /// The body is longer than `limit` (it will be skipped), or as [`read_body`](Self::read_body).
    pub fn body(&mut self, limit: u32) -> Result<Vec<u8>> {
        let announced = self.frames.body_left();
        if announced > limit {
            return Err(Misbehaviour::BodyTooLarge { announced: announced.into(), limit }.into());
        }
        let mut body = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match self.frames.read_body(&mut piece)? {
                0 => return Ok(body),
                came => body.extend_from_slice(piece.get(..came).unwrap_or_default()),
            }
        }
    }

    /// The present body as text.
    ///
    /// # Errors
    /// It is longer than `limit` or not UTF-8, or as [`read_body`](Self::read_body).
    pub fn body_text(&mut self, limit: u32) -> Result<String> {
        String::from_utf8(self.body(limit)?)
            .map_err(|error| Misbehaviour::BadBody { what: "text", why: error.to_string() }.into())
    }

    /// Whether the other side has said `end` since [`begin_turn`](Self::begin_turn).
    pub const fn peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Starts a turn: the other side has not ended it yet.
    pub fn begin_turn(&mut self) {
        self.peer_ended = false;
        self.frames.rest();
    }

    /// Discards what the other side still sends for this turn, up to its `end`.
    ///
    /// # Errors
    /// The line ended or failed first.
    pub fn discard_turn(&mut self) -> Result<()> {
        while !self.peer_ended {
            match self.recv() {
                Ok(Some(_)) | Err(super::Error::Refused(_)) => {}
                Ok(None) => return Err(LineLost::Closed { wanted: "end" }.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The stream under the messages.
    pub const fn stream(&self) -> &R {
        self.frames.stream()
    }

    /// Bytes of messages that have come and were not looked at yet.
    pub fn buffered(&self) -> usize {
        self.frames.buffered()
    }

    /// Bytes of messages taken so far: received and looked at.
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

    /// Sends a message with a body (which may be empty), and whatever waited before it.
    ///
    /// # Errors
    /// The socket failed, or the header would be longer than a header may be.
    pub fn send(&self, message: &Message<'_>, body: &[u8]) -> Result<()> {
        let mut frames = self.lock();
        frames.queue(|json| message.write_header(body.len(), json), body)?;
        Ok(frames.flush()?)
    }

    /// Queues a message behind those that wait, for the next [`send`](Self::send) or
    /// [`flush`](Self::flush) to take along.
    ///
    /// # Errors
    /// As [`send`](Self::send): a long body is sent at once.
    pub fn queue(&self, message: &Message<'_>, body: &[u8]) -> Result<()> {
        Ok(self.lock().queue(|json| message.write_header(body.len(), json), body)?)
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// The socket failed.
    pub fn flush(&self) -> Result<()> {
        Ok(self.lock().flush()?)
    }

    /// Sends bytes that are whole frames, or the rest of one that somebody else began.
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

    /// The frames' writer, for the one who knows how to write whole frames past it.
    pub fn lock(&self) -> MutexGuard<'_, FrameWriter<W>> {
        // A sender that panicked in mid-frame has ended its line's thread; its lock is as good as any.
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

/// The error for a message that has no place here.
pub fn out_of_turn(got: &Message<'_>, wanted: &'static str) -> super::Error {
    Misbehaviour::OutOfTurn { got: got.name().to_owned(), wanted }.into()
}
