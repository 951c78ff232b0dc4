//! A client of the tutorials' servers.
//!
//! These servers crash on unexpected input. So a request is one write, never empty, never longer than they read, and
//! never sent before the last reply has arrived. Everything is read before the connection is closed: a reset would end
//! nine of the nineteen servers.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::error::{ErrorCode, Refusal, Result};
use crate::net::Stream;
use crate::net::stream::Control;
use crate::tutorial::codec::{Patient, REQUEST_LEN_MAX, ReplyEnd, Waits, Wire, read_reply};

/// Before closing, how long to wait for more of an unread reply.
const LAST_READ_WAIT: Duration = Duration::from_millis(200);
/// The same limit for the whole reply: a server that never stops sending is disconnected.
const LAST_READ_TIME_MAX: Duration = Duration::from_secs(2);

/// A connection to one of the tutorials' servers.
#[derive(Debug)]
pub struct TutorialConnection {
    stream: Stream,
    wire: Wire,
    waits: Waits,
}

impl TutorialConnection {
    /// A connection over `stream`. Nothing is sent: these servers must not be probed.
    pub const fn new(stream: Stream, wire: Wire, waits: Waits) -> Self {
        Self { stream, wire, waits }
    }

    /// The handle that stops this connection from another thread.
    pub fn control(&self) -> Control {
        self.stream.control()
    }

    /// On `raw`, where a reply ends with silence: reads what has arrived since the last reply. It is the rest of that
    /// reply, and is passed to `sink` before the next request. Returns the number of bytes.
    ///
    /// # Errors
    /// The connection failed, or `sink` did.
    pub fn drain(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let mut bytes = 0;
        let mut piece = [0; 4096];
        let deadline = Instant::now() + LAST_READ_TIME_MAX;
        while self.wire == Wire::Raw && Instant::now() < deadline {
            match self.stream.read_within(&mut piece, Some(Duration::ZERO))? {
                // The end of the stream is reported when the next reply is read.
                None | Some(0) => break,
                Some(len) => {
                    sink(piece.get(..len).unwrap_or_default())?;
                    bytes += len as u64;
                }
            }
        }
        Ok(bytes)
    }

    /// Sends one request.
    ///
    /// # Errors
    /// It is empty or longer than these servers read at once, or the connection failed.
    pub fn say(&mut self, request: &[u8]) -> Result<()> {
        if request.is_empty() {
            let text = "an empty request cannot be sent: on TCP nothing would arrive, and both sides would wait";
            return Err(Refusal::new(ErrorCode::BadRequest, text).into());
        }
        if request.len() > REQUEST_LEN_MAX {
            let text = format!(
                "request of {} bytes is over the limit of {REQUEST_LEN_MAX} bytes that the tutorials' servers read at once",
                request.len()
            );
            return Err(Refusal::new(ErrorCode::BadRequest, text).into());
        }
        Ok(self.stream.write_all(request)?)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection failed or ended inside the reply, or `sink` failed.
    pub fn hear(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<ReplyEnd> {
        read_reply(self.wire, &mut self.stream, self.waits, sink)
    }

    /// Shuts down sending and reads the last reply, for servers that send it after the end of the stream. It is not
    /// done automatically: half of the other servers never close then.
    ///
    /// # Errors
    /// The connection failed, or `sink` did.
    pub fn say_bye(mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<ReplyEnd> {
        self.stream.control().stop_writing();
        let waits = Waits { reply: self.waits.reply, idle: self.waits.idle };
        read_reply(Wire::Raw, &mut self.stream, waits, sink)
    }

    /// Closes the connection, after reading what is still in flight.
    pub fn close(self) {
        drop(self);
    }
}

/// Also after an error on this side: closing with unread bytes would reset the connection.
impl Drop for TutorialConnection {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_READ_TIME_MAX;
        let mut waste = [0; 4096];
        let mut has_more = true;
        while has_more && Instant::now() < deadline {
            has_more = matches!(self.stream.read_within(&mut waste, Some(LAST_READ_WAIT)), Ok(Some(1..)));
        }
    }
}

impl Patient for Stream {
    fn wait_at_most(&mut self, time: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(time)
    }
}
