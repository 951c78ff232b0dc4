//! A client of the tutorials' servers.
//!
//! They die of what they do not expect, so: one write a request, never empty, never longer than they
//! read, never the next before the reply is here; and everything is read before the connection is closed,
//! for a reset would end nine of their nineteen servers.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::error::{ErrorCode, Refusal, Result};
use crate::net::Stream;
use crate::net::stream::Control;
use crate::tutorial::codec::{Patient, REQUEST_LEN_MAX, ReplyEnd, Waits, Wire, read_reply};

/// Before closing, a reply that nobody waited for is given so long to arrive.
const LAST_READ_WAIT: Duration = Duration::from_millis(200);
/// ...and all of it together so long: a server that never stops sending is left all the same.
const LAST_READ_TIME_MAX: Duration = Duration::from_secs(2);

/// A connection to one of the tutorials' servers.
#[derive(Debug)]
pub struct TutorialConnection {
    stream: Stream,
    wire: Wire,
    waits: Waits,
}

impl TutorialConnection {
    /// A connection over `stream`, on which nothing is said yet: these servers must not be probed.
    pub const fn new(stream: Stream, wire: Wire, waits: Waits) -> Self {
        Self { stream, wire, waits }
    }

    /// The handle that stops this connection from another thread.
    pub fn control(&self) -> Control {
        self.stream.control()
    }

    /// What has come since the last reply ended, on `raw`, where its end is silence: it is the rest of that one, and
    /// goes to `sink` before anything else is asked. Returns how many bytes.
    ///
    /// # Errors
    /// The connection failed, or `sink` did.
    pub fn drain(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let mut bytes = 0;
        let mut piece = [0; 4096];
        let deadline = Instant::now() + LAST_READ_TIME_MAX;
        while self.wire == Wire::Raw && Instant::now() < deadline {
            match self.stream.read_within(&mut piece, Some(Duration::ZERO))? {
                // An end is met by whoever reads the next reply.
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
    /// It is empty or longer than their servers read at once, or the connection failed.
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

    /// Says that nothing more will come and reads the last word: for servers that wait for that end
    /// to say theirs (half of the others never close then, so it is not done by itself).
    ///
    /// # Errors
    /// The connection failed, or `sink` did.
    pub fn say_bye(mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<ReplyEnd> {
        self.stream.control().stop_writing();
        let waits = Waits { reply: self.waits.reply, idle: self.waits.idle };
        read_reply(Wire::Raw, &mut self.stream, waits, sink)
    }

    /// Closes the connection, having read what was still on its way.
    pub fn close(self) {
        drop(self);
    }
}

/// However the connection is left, by an error of ours too: unread bytes would reset the connection.
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
