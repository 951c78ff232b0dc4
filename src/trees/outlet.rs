//! The way out of a source: what it sends, below a rate if there is one.

use std::thread;
use std::time::{Duration, Instant};

use crate::files::PIECE_LEN;
use crate::line::LineSender;
use crate::wire::error::Result;
use crate::wire::message::{Message, Stream};

/// What files' bytes go through.
#[derive(Debug)]
pub struct Outlet<'s> {
    /// For what is not files' bytes.
    pub sender: &'s LineSender,
    pace: Option<Pace>,
}

impl<'s> Outlet<'s> {
    /// To the target behind `sender`, at most `rate` bytes a second.
    pub fn new(sender: &'s LineSender, rate: Option<u64>) -> Self {
        Self { sender, pace: rate.map(Pace::new) }
    }

    /// The length of a large file's pieces, in bytes.
    pub fn piece_len(&self) -> usize {
        self.pace.as_ref().map_or(PIECE_LEN, Pace::piece_len)
    }

    /// Sends a piece of a large file.
    ///
    /// # Errors
    /// The line failed.
    pub fn data(&mut self, piece: &[u8]) -> Result<()> {
        self.sender.queue(&Message::Data { stream: Stream::Main }, piece)?;
        self.keep_pace(piece.len());
        Ok(())
    }

    /// Sends small files.
    ///
    /// # Errors
    /// The line failed.
    pub fn small(&mut self, records: &[u8]) -> Result<()> {
        self.sender.send(&Message::Small, records)?;
        self.keep_pace(records.len());
        Ok(())
    }

    fn keep_pace(&mut self, sent: usize) {
        if let Some(pace) = &mut self.pace {
            pace.keep(sent);
        }
    }
}

/// Keeps what is sent below a rate.
#[derive(Debug)]
struct Pace {
    /// Bytes a second.
    rate: u64,
    since: Instant,
    sent: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), since: Instant::now(), sent: 0 }
    }

    /// Pieces are so short that ten of them pass in a second.
    fn piece_len(&self) -> usize {
        usize::try_from(self.rate / 10).unwrap_or(PIECE_LEN).clamp(1024, PIECE_LEN)
    }

    fn keep(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / self.rate);
        thread::sleep(due.saturating_sub(self.since.elapsed()));
    }
}
