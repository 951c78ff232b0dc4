//! The body of a request, as its handler reads it from the connection.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::HeaderMap;

use super::exchange::RequestBody;
use super::send::send_interim;
use crate::http::body::{BodyError, BodyLength, BodyReader};
use crate::http::head::Version;
use crate::http::incoming::Incoming;
use crate::net::stream::{Control, ReadHalf, WriteHalf};

/// How long a body may take before its rate counts.
const BODY_GRACE: Duration = Duration::from_secs(30);
/// The least rate of a body, on the whole, in bytes a second: a slow client is served, one that trickles is not.
pub const BODY_RATE_MIN: u64 = 512;

/// A body on its connection.
pub(super) struct ConnectionBody<'b> {
    pub(super) incoming: &'b mut Incoming<ReadHalf>,
    pub(super) out: &'b mut WriteHalf,
    pub(super) reader: BodyReader,
    pub(super) length: BodyLength,
    pub(super) version: Version,
    /// Whether the client still waits for `100 Continue`.
    pub(super) awaits_continue: bool,
    /// When its first byte was waited for; `None`: it was not yet.
    pub(super) started: Option<Instant>,
}

impl ConnectionBody<'_> {
    /// Reads the next bytes; see [`BodyReader::read`].
    ///
    /// # Errors
    /// [`BodyError`].
    fn next(&mut self, dest: &mut [u8]) -> Result<usize, BodyError> {
        if std::mem::take(&mut self.awaits_continue) && !self.reader.is_over() {
            send_interim(self.out, StatusCode::CONTINUE, &HeaderMap::new())?;
        }
        let started = *self.started.get_or_insert_with(Instant::now);
        let earned = Duration::from_secs(self.reader.received() / BODY_RATE_MIN);
        self.incoming.source().set_deadline(Some(started + BODY_GRACE + earned));
        let read = self.reader.read(self.incoming, dest);
        self.incoming.source().set_deadline(None);
        read
    }

    /// Reads and drops what is left, if that is no more than `limit` bytes; whether the connection is in step behind
    /// it.
    pub(super) fn drop_rest(&mut self, limit: u64) -> bool {
        if self.reader.left().is_none_or(|left| left > limit) || self.awaits_continue && !self.reader.is_over() {
            return false;
        }
        let mut piece = [0; 4096];
        loop {
            match self.next(&mut piece) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Read for ConnectionBody<'_> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        Ok(self.next(dest)?)
    }
}

impl RequestBody for ConnectionBody<'_> {
    fn length(&self) -> BodyLength {
        self.length
    }

    fn control(&self) -> Option<Control> {
        Some(self.incoming.source().control())
    }

    fn send_interim(&mut self, status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
        if self.version == Version::Http10 { Ok(()) } else { send_interim(self.out, status, headers) }
    }
}
