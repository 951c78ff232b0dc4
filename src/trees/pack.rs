//! Compression of frames, for both halves: each frame by itself, and with `Auto` only as long as that is faster.
//!
//! What a connection carries shows in how long sending takes once its buffers are full: that is its price of a byte.
//! Packing has a price too, and saves a share that depends on the data. `Auto` compares the two at each frame.

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

use super::BODY_LEN_MAX;
use crate::error::{Misbehaviour, Result};

/// The fastest of zstd's ordinary levels: 480 MB/s, and text becomes a fifth.
const LEVEL: i32 = 1;
/// Shortest frame that is packed, in bytes.
const LEN_MIN: usize = 512;
/// Least factor by which a frame has to get smaller to be sent packed.
const RATIO_MIN: f64 = 1.2;
/// Frames between two tries where the last one did not pay.
const TRIES_APART: u32 = 32;
/// Cost of packing and unpacking together, as a multiple of packing: unpacking costs about half as much.
const BOTH_ENDS: f64 = 1.5;
/// How much the newest frame counts in an average.
const NEWEST: f64 = 0.02;
/// No frame counts as dearer than this, in seconds a byte: a disk that is synced meanwhile is not a slow connection.
const PRICE_MAX: f64 = 50e-9;

/// Whether what is sent is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Where that is faster: what gets smaller, over a connection that is slower than the compression.
    #[default]
    Auto,
    /// What gets smaller.
    Zstd,
    /// Nothing.
    None,
}

/// A recent average, in seconds a byte.
#[derive(Debug, Clone, Copy, Default)]
struct Price(f64);

impl Price {
    fn add(&mut self, took: Duration, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a frame's length")]
        let price = took.as_secs_f64() / bytes.max(1) as f64;
        self.0 += (price.min(PRICE_MAX) - self.0) * NEWEST;
    }
}

/// Packs frames' bodies.
pub struct Packer {
    how: Compress,
    compressor: Option<Compressor<'static>>,
    packed: Vec<u8>,
    sending: Price,
    packing: Price,
    /// By what factor the last frame that was tried got smaller.
    ratio: f64,
    /// Frames until the next try.
    until_next: u32,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("how", &self.how).field("sending", &self.sending).finish_non_exhaustive()
    }
}

impl Packer {
    /// A packer that packs when `how` allows it.
    pub const fn new(how: Compress) -> Self {
        let (sending, packing) = (Price(0.0), Price(0.0));
        // The ratio is unknown before a try; that packing pays is the better guess.
        Self { how, compressor: None, packed: Vec::new(), sending, packing, ratio: 2.0, until_next: 0 }
    }

    /// Packs a body. `None`: it is better sent as it is.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn pack(&mut self, body: &[u8]) -> io::Result<Option<&[u8]>> {
        if self.how == Compress::None || body.len() < LEN_MIN || !self.is_worth_a_try() {
            return Ok(None);
        }
        let compressor = match self.compressor.take() {
            Some(compressor) => compressor,
            None => Compressor::new(LEVEL)?,
        };
        let started = Instant::now();
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(body.len()));
        let len = self.compressor.insert(compressor).compress_to_buffer(body, &mut self.packed)?;
        self.packing.add(started.elapsed(), body.len());
        #[expect(clippy::cast_precision_loss, reason = "a frame's length")]
        let ratio = body.len() as f64 / len.max(1) as f64;
        self.ratio = ratio;
        Ok(Some(self.packed.as_slice()).filter(|_| ratio >= RATIO_MIN))
    }

    /// Notes that sending `bytes` took `took`.
    pub fn sent(&mut self, bytes: usize, took: Duration) {
        self.sending.add(took, bytes);
    }

    fn is_worth_a_try(&mut self) -> bool {
        let is_small_enough = self.ratio >= RATIO_MIN;
        let saves = self.sending.0 * (1.0 - 1.0 / self.ratio.max(RATIO_MIN));
        let pays = is_small_enough && (self.how == Compress::Zstd || saves > self.packing.0 * BOTH_ENDS);
        if pays {
            self.until_next = TRIES_APART;
            return true;
        }
        // What follows may be of another kind, but a connection that takes all at once needs no help.
        let may_pay = self.how == Compress::Zstd || self.sending.0 > self.packing.0 * BOTH_ENDS;
        if !may_pay || self.until_next > 0 {
            self.until_next = self.until_next.saturating_sub(1);
            return false;
        }
        self.until_next = TRIES_APART;
        true
    }
}

/// Unpacks frames' bodies.
#[derive(Default)]
pub struct Unpacker {
    decompressor: Option<Decompressor<'static>>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// Unpacks a body that is `size` bytes long then, into `to`.
    ///
    /// # Errors
    /// It is no zstd frame (RFC 8878), or another size comes out of it.
    pub fn unpack(&mut self, packed: &[u8], size: u32, to: &mut Vec<u8>) -> Result<()> {
        let bad = |why: String| Misbehaviour::BadBody { what: "packed", why };
        if size > BODY_LEN_MAX {
            return Err(bad(format!("{size} bytes come out of it; {BODY_LEN_MAX} is the most")).into());
        }
        let decompressor = match self.decompressor.take() {
            Some(decompressor) => decompressor,
            None => Decompressor::new().map_err(|error| bad(error.to_string()))?,
        };
        to.clear();
        to.reserve(size as usize);
        let unpacked = self.decompressor.insert(decompressor).decompress_to_buffer(packed, to);
        let len = unpacked.map_err(|error| bad(error.to_string()))?;
        if len != size as usize {
            return Err(bad(format!("{len} bytes come out of it instead of {size}")).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        b"the quick brown fox jumps over the lazy dog; ".iter().copied().cycle().take(len).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let (mut packer, mut unpacker, mut out) = (Packer::new(Compress::Zstd), Unpacker::default(), Vec::new());
        for len in [LEN_MIN, 4096, 256 * 1024, BODY_LEN_MAX as usize] {
            let body = text(len);
            let packed = packer.pack(&body).unwrap().unwrap();
            assert!(packed.len() * 5 < len);
            unpacker.unpack(packed, u32::try_from(len).unwrap(), &mut out).unwrap();
            assert!(out == body);
            for wrong in [0, 1, len - 1, len + 1] {
                assert!(unpacker.unpack(packed, u32::try_from(wrong).unwrap(), &mut out).is_err(), "{wrong} of {len}");
            }
            for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
                assert!(unpacker.unpack(&packed[..cut], u32::try_from(len).unwrap(), &mut out).is_err(), "{cut}");
            }
        }
        assert!(unpacker.unpack(&noise(1000), 1000, &mut out).is_err());
        assert!(unpacker.unpack(&[], u32::MAX, &mut out).is_err());
    }

    #[test]
    fn what_gets_no_smaller_goes_as_it_is() {
        let mut packer = Packer::new(Compress::Zstd);
        assert!(packer.pack(&noise(100_000)).unwrap().is_none());
        assert!(packer.pack(&text(LEN_MIN - 1)).unwrap().is_none());
        // It is noticed again when the kind changes.
        let tries = (0..=TRIES_APART).filter(|_| packer.pack(&text(100_000)).unwrap().is_some()).count();
        assert_eq!(tries, 1);
        assert!(packer.pack(&text(100_000)).unwrap().is_some());
        assert!(Packer::new(Compress::None).pack(&text(100_000)).unwrap().is_none());
    }

    #[test]
    fn a_slow_connection_makes_it_pay_and_a_fast_one_does_not() {
        let mut packer = Packer::new(Compress::Auto);
        let frame = text(256 * 1024);
        assert!(packer.pack(&frame).unwrap().is_none(), "the connection is not known yet");
        // A megabyte a second: whatever the machine, packing is faster.
        for _ in 0..10 {
            packer.sent(frame.len(), Duration::from_millis(250));
        }
        assert!(packer.pack(&frame).unwrap().is_some());
        // All at once: packing takes longer.
        for _ in 0..1000 {
            packer.sent(frame.len(), Duration::ZERO);
        }
        assert!((0..100).all(|_| packer.pack(&frame).unwrap().is_none()));
    }
}
