//! The BLAKE3 digest of something that comes in stretches, also with hours between two of them.
//!
//! The hash function is a tree (the BLAKE3 paper, 2.1): a stretch of 2^n KiB that begins at a multiple of its
//! length is a subtree of it, whose value depends on nothing outside. So what has come is remembered
//! as one value a [`BLOCK_LEN`], and the digest of a file of 361 GB goes on where it was without its
//! being read again. The tree itself is the crate's; here is only which subtrees are joined.
//!
//! One thing differs from BLAKE3. Its chunks are numbered, so zeros have another value at each place, and a hole of a
//! terabyte would take three minutes. Here a whole block of zeros has the value of the first one wherever it is, so
//! that holes cost nothing. A file without such a block, and one of at most a block, has its plain BLAKE3.

use std::sync::OnceLock;

pub use blake3::hazmat::ChainingValue;
use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};

/// What one value stands for, in bytes. A power of two of the tree's chunks; reading so much again takes
/// three milliseconds, and a terabyte has 65,536 of them.
pub const BLOCK_LEN: u64 = 16 * 1024 * 1024;

/// What is read at once to hash a block again, in bytes.
const READ_LEN: usize = 256 * 1024;

/// A digest under way.
#[derive(Debug, Clone)]
pub struct Digest {
    /// Values of the whole blocks that are behind.
    blocks: Vec<ChainingValue>,
    /// The present block, which has at most [`BLOCK_LEN`] bytes: a full one is only left when more
    /// comes, since the last block of all is treated differently.
    present: Block,
    len: u64,
    /// Whether blocks of zeros are treated like all others: then it is BLAKE3 in any case.
    is_plain: bool,
    /// Whether bytes are only counted.
    is_length_only: bool,
}

impl Default for Digest {
    fn default() -> Self {
        Self::after(Vec::new())
    }
}

impl Digest {
    /// The digest of what has these blocks, so far.
    pub fn after(blocks: Vec<ChainingValue>) -> Self {
        let len = len_of(blocks.len());
        Self { blocks, present: block_at(len), len, is_plain: false, is_length_only: false }
    }

    /// No digest, for bytes that are verified otherwise or not at all: they are counted, from `len` on.
    pub fn length_only(len: u64) -> Self {
        Self { len, is_length_only: true, ..Self::default() }
    }

    /// Whether bytes are only counted.
    pub const fn is_length_only(&self) -> bool {
        self.is_length_only
    }

    /// BLAKE3 itself, for those who compute no other: each zero is hashed.
    pub fn plain() -> Self {
        Self { present: Block { is_plain: true, ..block_at(0) }, is_plain: true, ..Self::default() }
    }

    /// How many blocks can be left behind if `len` bytes are there: all but the last, whole or not.
    pub fn blocks_behind(len: u64) -> usize {
        usize::try_from(len.saturating_sub(1) / BLOCK_LEN).unwrap_or(usize::MAX)
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if self.is_length_only {
            self.len += bytes.len() as u64;
            return;
        }
        while !bytes.is_empty() {
            let mut room = len_of(self.blocks.len() + 1) - self.len;
            if room == 0 {
                self.next_block();
                room = BLOCK_LEN;
            }
            let taken = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(taken);
            self.present.update(now);
            self.len += taken as u64;
            bytes = later;
        }
    }

    /// Takes zeros, this many, which need not be in memory. Whole blocks of them cost nothing but their place.
    pub fn update_zeros(&mut self, mut count: u64) {
        if self.is_length_only {
            self.len += count;
            return;
        }
        while count > 0 {
            let mut room = len_of(self.blocks.len() + 1) - self.len;
            if room == 0 {
                self.next_block();
                room = BLOCK_LEN;
            }
            let taken = room.min(count);
            self.present.update_zeros(taken);
            self.len += taken;
            count -= taken;
        }
    }

    /// The present block is full, and more comes.
    fn next_block(&mut self) {
        self.blocks.push(self.present.finalize_non_root());
        self.present = Block { is_plain: self.is_plain, ..block_at(self.len) };
    }

    /// Bytes so far.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has come yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values of the blocks that are behind.
    pub fn blocks(&self) -> &[ChainingValue] {
        &self.blocks
    }

    /// The value of the block that is not behind yet: of what has come of it.
    pub fn present_value(&self) -> ChainingValue {
        self.present.finalize_non_root()
    }

    /// Hashes block number `index` again, of which `read` gives the bytes from an offset on.
    ///
    /// # Errors
    /// They cannot be read, or are fewer than have come.
    pub fn replace(
        &mut self,
        index: usize,
        mut read: impl FnMut(&mut [u8], u64) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        let (mut at, end) = (len_of(index), len_of(index.saturating_add(1)).min(self.len));
        let mut hasher = block_at(at);
        let mut piece = vec![0; READ_LEN];
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(READ_LEN).min(READ_LEN);
            match read(piece.get_mut(..wanted).unwrap_or_default(), at)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                len => {
                    hasher.update(piece.get(..len).unwrap_or_default());
                    at += len as u64;
                }
            }
        }
        if let Some(block) = self.blocks.get_mut(index) {
            *block = hasher.finalize_non_root();
        } else if index == self.blocks.len() {
            self.present = hasher;
        }
        Ok(())
    }

    /// Puts in the values of the first blocks, which were computed elsewhere meanwhile.
    pub fn fill_in(&mut self, first: &[ChainingValue]) {
        for (block, value) in self.blocks.iter_mut().zip(first) {
            *block = *value;
        }
    }

    /// The digest of all bytes so far, the same as of those bytes in one piece.
    pub fn finalize(&self) -> Hash {
        if self.blocks.is_empty() {
            return self.present.finalize();
        }
        let mut leaves = self.blocks.clone();
        leaves.push(self.present.finalize_non_root());
        let (left, right) = leaves.split_at(left_len(leaves.len()));
        merge_subtrees_root(&joined(left), &joined(right), Mode::Hash)
    }
}

fn len_of(blocks: usize) -> u64 {
    u64::try_from(blocks).unwrap_or(u64::MAX).saturating_mul(BLOCK_LEN)
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A block under way. As long as it is all zeros, they are only counted.
#[derive(Debug, Clone)]
struct Block {
    hasher: Hasher,
    /// Zeros at its beginning that the hasher has not got.
    zeros: u64,
    /// Whether anything else has come.
    has_more: bool,
    is_plain: bool,
}

fn block_at(offset: u64) -> Block {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    Block { hasher, zeros: 0, has_more: false, is_plain: false }
}

impl Block {
    fn update(&mut self, bytes: &[u8]) {
        if !self.has_more && bytes.chunks(ZEROS.len()).all(|piece| ZEROS.starts_with(piece)) {
            self.zeros += bytes.len() as u64;
            return;
        }
        if !self.has_more {
            hash_zeros(&mut self.hasher, self.zeros);
            self.has_more = true;
        }
        self.hasher.update(bytes);
    }

    fn update_zeros(&mut self, count: u64) {
        if self.has_more {
            hash_zeros(&mut self.hasher, count);
        } else {
            self.zeros += count;
        }
    }

    /// Its hasher, with all that has come.
    fn whole(&self) -> Hasher {
        let mut hasher = self.hasher.clone();
        if !self.has_more {
            hash_zeros(&mut hasher, self.zeros);
        }
        hasher
    }

    fn finalize_non_root(&self) -> ChainingValue {
        if !self.has_more && !self.is_plain && self.zeros == BLOCK_LEN {
            return zero_block();
        }
        self.whole().finalize_non_root()
    }

    fn finalize(&self) -> Hash {
        self.whole().finalize()
    }
}

fn hash_zeros(hasher: &mut Hasher, mut count: u64) {
    while count > 0 {
        let now = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(ZEROS.get(..now).unwrap_or_default());
        count -= now as u64;
    }
}

/// The value of a block of zeros: the one that the first block of a file has.
fn zero_block() -> ChainingValue {
    static VALUE: OnceLock<ChainingValue> = OnceLock::new();
    *VALUE.get_or_init(|| {
        let mut hasher = Hasher::new();
        hash_zeros(&mut hasher, BLOCK_LEN);
        hasher.finalize_non_root()
    })
}

/// The left subtree is the largest power of two that leaves something for the right one.
const fn left_len(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

/// As deep as the logarithm of the number of blocks.
fn joined(leaves: &[ChainingValue]) -> ChainingValue {
    match leaves {
        [] => ChainingValue::default(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(left_len(leaves.len()));
            merge_subtrees_non_root(&joined(left), &joined(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretches_make_the_digest_of_the_whole() {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        let all: Vec<u8> = (0..3 * block + 5).map(|at| (at ^ (at >> 9)).to_le_bytes()[0]).collect();
        let lens = [0, 1, block - 1, block, block + 1, 2 * block, 2 * block + 1, 3 * block, 3 * block + 5];
        for len in lens {
            let (all, want) = (&all[..len], blake3::hash(&all[..len]));
            let mut digest = Digest::default();
            all.chunks(777_777).for_each(|piece| digest.update(piece));
            assert_eq!((digest.finalize(), digest.len()), (want, len as u64), "{len}");
            // Stopped here, and taken up from its blocks alone.
            for stop in lens.into_iter().filter(|stop| *stop <= len) {
                let mut first = Digest::default();
                first.update(&all[..stop]);
                assert_eq!(first.blocks().len(), Digest::blocks_behind(stop as u64), "{stop}");
                let mut again = Digest::after(first.blocks().to_vec());
                again.update(&all[usize::try_from(again.len()).unwrap()..]);
                assert_eq!(again.finalize(), want, "{stop} of {len}");
            }
        }
    }

    /// By the definition in PROTOCOL.md: what BLAKE3 makes of each block, but for those of zeros.
    fn by_definition(all: &[u8]) -> Hash {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        let values: Vec<ChainingValue> = all
            .chunks(block)
            .enumerate()
            .map(|(at, bytes)| {
                let is_zero = bytes.len() == block && bytes.iter().all(|byte| *byte == 0);
                let mut hasher = Hasher::new();
                hasher.set_input_offset(if is_zero { 0 } else { (at * block) as u64 });
                hasher.update(bytes).finalize_non_root()
            })
            .collect();
        let (left, right) = values.split_at(left_len(values.len()));
        merge_subtrees_root(&joined(left), &joined(right), Mode::Hash)
    }

    #[test]
    fn zeros_count_the_same_however_they_come() {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        // Zeros before, between, inside and behind; and what only looks like a block of them.
        for data in [
            &[][..],
            &[0],
            &[block - 1],
            &[block],
            &[2 * block - 1],
            &[3 * block + 7],
            &[0, block, 2 * block, 3 * block],
            &[block / 2, 3 * block + block / 2],
        ] {
            for len in [2 * block, 4 * block, 4 * block + 9] {
                let mut all = vec![0; len];
                data.iter().filter(|at| **at < len).for_each(|at| all[*at] = 7);
                let want = by_definition(&all);
                let (mut bytes, mut mixed) = (Digest::default(), Digest::default());
                all.chunks(777_777).for_each(|piece| bytes.update(piece));
                for piece in all.chunks(3_333_333) {
                    let is_zero = piece.iter().all(|byte| *byte == 0);
                    if is_zero { mixed.update_zeros(piece.len() as u64) } else { mixed.update(piece) }
                }
                assert_eq!((bytes.finalize(), mixed.finalize()), (want, want), "{data:?} of {len}");
                let mut plain = Digest::plain();
                all.chunks(777_777).for_each(|piece| plain.update(piece));
                assert_eq!(plain.finalize(), blake3::hash(&all), "{data:?} of {len}");
            }
        }
        // A file without a whole block of zeros has its plain BLAKE3.
        let mut all = vec![0; 3 * block];
        for at in [5, block + 5, 2 * block + 5] {
            all[at] = 7;
        }
        let mut digest = Digest::default();
        digest.update(&all);
        assert_eq!(digest.finalize(), blake3::hash(&all));
        let mut small = Digest::default();
        small.update_zeros(BLOCK_LEN);
        assert_eq!(small.finalize(), blake3::hash(&vec![0; block]));
    }

    #[test]
    fn a_hole_costs_nothing() {
        // Hashed at memory's speed it would take an hour.
        let mut digest = Digest::default();
        digest.update(b"first");
        digest.update_zeros(16 << 40);
        digest.update(b"last");
        assert_eq!(digest.len(), (16 << 40) + 9);
        assert_eq!(digest.blocks().len() as u64, (16 << 40) / BLOCK_LEN);
        let (first, again) = (digest.finalize(), digest.clone().finalize());
        assert_eq!(first, again);
    }

    #[test]
    fn the_first_blocks_can_be_told_later() {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        let all = vec![7; 2 * block + 9];
        let mut whole = Digest::default();
        whole.update(&all);
        let mut later = Digest::after(vec![ChainingValue::default(); 1]);
        later.update(&all[block..]);
        assert_ne!(later.finalize(), whole.finalize());
        later.fill_in(&whole.blocks()[..1]);
        assert_eq!(later.finalize(), whole.finalize());
    }

    #[test]
    fn a_block_can_be_hashed_again() {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        for len in [9, block, 2 * block, 2 * block + 9] {
            let right: Vec<u8> = (0..len).map(|at| (at >> 9).to_le_bytes()[0]).collect();
            for index in 0..len.div_ceil(block) {
                let mut wrong = right.clone();
                wrong[index * block] ^= 1;
                let mut digest = Digest::default();
                digest.update(&wrong);
                let read = |piece: &mut [u8], at: u64| {
                    let at = usize::try_from(at).unwrap();
                    let len = piece.len().min(77_777);
                    piece[..len].copy_from_slice(&right[at..at + len]);
                    Ok(len)
                };
                digest.replace(index, read).unwrap();
                assert_eq!(digest.finalize(), blake3::hash(&right), "{index} of {len}");
                assert!(digest.replace(index, |_, _| Ok(0)).is_err());
            }
        }
    }
}
