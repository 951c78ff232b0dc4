//! Test bytes that say where they belong: a piece that is misplaced, late or repeated is noticed.

use std::io::{self, Read};

/// Bytes after which they begin again. A prime number, so that a shift by a buffer's length changes them.
const PERIOD: usize = 251;

/// A prepared stretch of the bytes, long enough for pieces of a certain length.
#[derive(Debug)]
pub(super) struct Pattern {
    /// `piece_len + PERIOD` bytes: any piece begins within the first period.
    bytes: Vec<u8>,
    piece_len: usize,
}

impl Pattern {
    /// For pieces of up to `piece_len` bytes.
    pub(super) fn new(piece_len: usize) -> Self {
        let period: Vec<u8> = (0..PERIOD).map(|byte| u8::try_from(byte).unwrap_or(0)).collect();
        let bytes = period.iter().copied().cycle().take(piece_len.saturating_add(PERIOD)).collect();
        Self { bytes, piece_len }
    }

    /// The bytes from `at` on: `len` of them, or as many as a piece may have.
    pub(super) fn piece(&self, at: u64, len: usize) -> &[u8] {
        let from = usize::try_from(at % PERIOD as u64).unwrap_or(0);
        self.bytes.get(from..from + len.min(self.piece_len)).unwrap_or_default()
    }

    /// The first of `bytes`, counted from 0, that is not the one that belongs `at` there; `None`: all are right.
    pub(super) fn first_wrong(&self, at: u64, bytes: &[u8]) -> Option<u64> {
        let mut at = at;
        let mut before = 0_u64;
        for piece in bytes.chunks(self.piece_len.max(1)) {
            let wanted = self.piece(at, piece.len());
            if piece != wanted {
                let right = piece.iter().zip(wanted).take_while(|(came, wanted)| came == wanted).count() as u64;
                return Some(before + right);
            }
            at = at.wrapping_add(piece.len() as u64);
            before += piece.len() as u64;
        }
        None
    }
}

/// Reads `left` of the bytes, from `at` on.
#[derive(Debug)]
pub(super) struct PatternReader<'p> {
    pub(super) pattern: &'p Pattern,
    pub(super) at: u64,
    pub(super) left: u64,
}

impl Read for PatternReader<'_> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        let len = dest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let piece = self.pattern.piece(self.at, len);
        dest.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
        self.at = self.at.wrapping_add(piece.len() as u64);
        self.left -= piece.len() as u64;
        Ok(piece.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_one_after_the_other_differ() {
        let pattern = Pattern::new(16);
        let first: Vec<u8> = pattern.piece(0, 16).to_vec();
        for n in 1..PERIOD as u64 {
            assert_ne!(pattern.piece(n, 16), first, "{n}");
            assert_ne!(pattern.piece(n, 1), pattern.piece(0, 1), "{n}");
        }
        assert_eq!(pattern.piece(0, 100).len(), 16, "no piece is longer than was prepared");
        assert_eq!((pattern.first_wrong(5, &[]), Pattern::new(0).piece(7, 3)), (None, &[][..]));
    }

    proptest! {
        #[test]
        fn what_is_read_is_right_where_it_belongs_and_nowhere_else(
            at in any::<u64>(), len in 1_u64..3000, piece_len in 1_usize..700, flip in any::<prop::sample::Index>(),
        ) {
            let pattern = Pattern::new(piece_len);
            // Its end is not to go round: no run sends 2^64 bytes.
            let at = at / 2;
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            PatternReader { pattern: &pattern, at, left: len }.read_exact(&mut bytes).unwrap();
            prop_assert_eq!(pattern.first_wrong(at, &bytes), None);
            prop_assert_eq!(pattern.first_wrong(at + 1, &bytes), Some(0));
            let flipped = flip.index(bytes.len());
            bytes[flipped] ^= 0x80;
            prop_assert_eq!(pattern.first_wrong(at, &bytes), Some(flipped as u64));
        }
    }
}
