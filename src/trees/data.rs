//! The way out of a source: what it sends, below a rate if there is one, and compressed where that is faster.

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

/// What files' bytes go through.
#[derive(Debug)]
pub struct DataWriter<'s, W> {
    /// For what is never packed.
    pub sender: &'s Sender<W>,
    pace: Option<Pace>,
    /// Whether the other end has said its last word, or is gone: then nobody is kept waiting.
    peer_done: Arc<AtomicBool>,
    packer: Packer,
}

/// How much goes out, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct DataOptions {
    /// At most so many bytes a second.
    pub bwlimit: Option<u64>,
    /// Compressed or not.
    pub compress: Compress,
}

impl DataOptions {
    /// The same, where it was left open, for a connection within one machine: nothing is faster than that, unless it
    /// is held back.
    #[must_use]
    pub fn over(self, is_to_this_machine: bool) -> Self {
        let is_fast = is_to_this_machine && self.bwlimit.is_none() && self.compress == Compress::Auto;
        if is_fast { Self { compress: Compress::None, ..self } } else { self }
    }
}

impl<'s, W: Write> DataWriter<'s, W> {
    /// To the target behind `sender`.
    pub fn new(sender: &'s Sender<W>, out: DataOptions) -> Self {
        let pace = out.bwlimit.map(Pace::new);
        Self { sender, pace, peer_done: Arc::default(), packer: Packer::new(out.compress) }
    }

    /// To be set by whoever hears the other end's last word.
    pub fn peer_done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.peer_done)
    }

    /// The length of a large file's pieces, in bytes.
    pub fn piece_len(&self) -> usize {
        self.pace.as_ref().map_or(PIECE_LEN, Pace::piece_len)
    }

    /// Sends a piece of a large file; the bytes that compression saved.
    ///
    /// # Errors
    /// The connection failed.
    pub fn data(&mut self, piece: &[u8]) -> Result<u64> {
        self.send(&Message::Data { stream: Channel::Main }, Packed::Data, piece)
    }

    /// Sends small files; the bytes that compression saved.
    ///
    /// # Errors
    /// The connection failed.
    pub fn small(&mut self, records: &[u8]) -> Result<u64> {
        let saved = self.send(&Message::Small, Packed::Small, records)?;
        self.sender.flush()?;
        Ok(saved)
    }

    /// Sends entries.
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

/// Who waits for their turn looks up so often: at a low rate a frame is worth minutes.
const STEP: Duration = Duration::from_millis(50);

/// So much of a time in which nothing was sent may be made up for.
const CREDIT_MAX: Duration = Duration::from_secs(1);

/// Keeps what is sent below a rate.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second.
    rate: u64,
    since: Instant,
    sent: u64,
}

impl Pace {
    /// So many bytes a second.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), since: Instant::now(), sent: 0 }
    }

    /// Pieces are so short that ten of them pass in a second.
    fn piece_len(&self) -> usize {
        usize::try_from(self.rate / 10).unwrap_or(PIECE_LEN).clamp(1024, PIECE_LEN)
    }

    /// So many bytes were sent: waits until the next may be, or nobody wants them any more.
    pub fn keep(&mut self, bytes: usize, peer_done: &AtomicBool) {
        self.sent += bytes as u64;
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / self.rate);
        // Who was held up may not make up for all of it at once.
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
