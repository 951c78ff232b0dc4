//! How a sender's frames go out: below a rate if there is one, and compressed where that is faster.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::pack::{Compress, Packer};
use crate::error::{Error, Result};
use crate::fs::part::PIECE_LEN;
use crate::wire::channel::Sender;
use crate::wire::message::{Channel, Message, Packed};

/// Writes listings and files' bytes to a connection.
#[derive(Debug)]
pub struct DataWriter<'s, W> {
    /// For messages that are never compressed.
    pub sender: &'s Sender<W>,
    pace: Option<Pace>,
    /// Whether the peer has ended the exchange or is gone: then no rate is kept any more.
    peer_done: Arc<AtomicBool>,
    packer: Packer,
}

/// Rate limit and compression of a sender.
#[derive(Debug, Clone, Copy, Default)]
pub struct DataOptions {
    /// Most bytes a second; `None`: no limit.
    pub bwlimit: Option<u64>,
    /// Whether the frames are compressed.
    pub compress: Compress,
}

impl DataOptions {
    /// The same options, for a connection within one machine if `is_to_this_machine`: there `Auto` does not compress,
    /// unless a rate holds the connection back.
    #[must_use]
    pub fn over(self, is_to_this_machine: bool) -> Self {
        let is_fast = is_to_this_machine && self.bwlimit.is_none() && self.compress == Compress::Auto;
        if is_fast { Self { compress: Compress::None, ..self } } else { self }
    }
}

impl<'s, W: Write> DataWriter<'s, W> {
    /// Writes to the receiver behind `sender`.
    pub fn new(sender: &'s Sender<W>, out: DataOptions) -> Self {
        let pace = out.bwlimit.map(Pace::new);
        Self { sender, pace, peer_done: Arc::default(), packer: Packer::new(out.compress) }
    }

    /// A flag that the thread which reads replies sets when the peer has ended the exchange or is gone.
    pub fn peer_done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.peer_done)
    }

    /// The length of a large file's pieces, in bytes.
    pub fn piece_len(&self) -> usize {
        self.pace.as_ref().map_or(PIECE_LEN, Pace::piece_len)
    }

    /// Sends a piece of a large file. Returns how many bytes compression saved.
    ///
    /// # Errors
    /// The connection failed.
    pub fn data(&mut self, piece: &[u8]) -> Result<u64> {
        self.send(&Message::Data { stream: Channel::Main }, Packed::Data, piece)
    }

    /// Sends the records of small files. Returns how many bytes compression saved.
    ///
    /// # Errors
    /// The connection failed.
    pub fn small(&mut self, records: &[u8]) -> Result<u64> {
        let saved = self.send(&Message::Small, Packed::Small, records)?;
        self.sender.flush()?;
        Ok(saved)
    }

    /// Sends the lines of entries; `is_last`: no more follow.
    ///
    /// # Errors
    /// The connection failed.
    pub fn list(&mut self, entries: &[u8], is_last: bool) -> Result<()> {
        if is_last {
            return self.sender.send(&Message::List { is_last }, entries);
        }
        self.send(&Message::List { is_last }, Packed::List, entries)?;
        self.sender.flush()
    }

    fn send(&mut self, message: &Message<'_>, of: Packed, body: &[u8]) -> Result<u64> {
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let packed = self.packer.pack(body).map_err(Error::ours("compression"))?;
        let len = packed.map_or(body.len(), <[u8]>::len);
        let started = Instant::now();
        match packed {
            Some(packed) => self.sender.queue(&Message::Packed { of, size }, packed)?,
            None => self.sender.queue(message, body)?,
        }
        self.keep_pace(len);
        self.packer.sent(len, started.elapsed());
        Ok((body.len() - len) as u64)
    }

    fn keep_pace(&mut self, sent: usize) {
        if let Some(pace) = &mut self.pace {
            pace.keep(sent, &self.peer_done);
        }
    }
}

/// Longest sleep of a sender that keeps a rate: at a low rate a frame takes minutes, and the peer may end meanwhile.
const STEP: Duration = Duration::from_millis(50);

/// Longest pause in sending that may be made up for by sending faster than the rate.
const CREDIT_MAX: Duration = Duration::from_secs(1);

/// Keeps a sender below a rate.
#[derive(Debug)]
pub struct Pace {
    /// The rate in bytes a second.
    rate: u64,
    since: Instant,
    sent: u64,
}

impl Pace {
    /// A pace of `rate` bytes a second.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), since: Instant::now(), sent: 0 }
    }

    /// The length of pieces of which ten pass in a second, in bytes.
    fn piece_len(&self) -> usize {
        usize::try_from(self.rate / 10).unwrap_or(PIECE_LEN).clamp(1024, PIECE_LEN)
    }

    /// Counts `bytes` as sent, and waits until more may be sent or `peer_done` is set.
    pub fn keep(&mut self, bytes: usize, peer_done: &AtomicBool) {
        self.sent += bytes as u64;
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / self.rate);
        // A sender that was held up may not make up for all of it at once.
        if let Some(late) = self.since.elapsed().checked_sub(due + CREDIT_MAX) {
            self.since += late;
        }
        while !peer_done.load(Ordering::Relaxed) {
            let left = due.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(STEP));
        }
    }
}
