//! What is known of a part that is kept for another day: the digest's blocks, and how much of it
//! is surely on the disk.
//!
//! ```text
//! landline part 1 BOOT                 the boot in which it was written
//! block HEX                            one a 16 MiB, as they are full
//! synced BYTES                         so many bytes were on the disk before this line was
//! closed BYTES NANOSECONDS             as it was left: its size and modification time
//! ```
//!
//! A part that is another one than was left has been written to by somebody else: nothing is known of it. One that was never closed,
//! since its writer was killed, is believed. Within one boot all that was written is there, whoever was killed. After another, a disk may hold zeros where bytes were
//! written last: then only what is behind the last `synced` counts.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use blake3::hazmat::ChainingValue;

use crate::digest::{BLOCK_LEN, Digest};

/// The first words of the first line.
const MAGIC: &str = "landline part 1 ";
/// A journal is at most so long, in bytes: that of a file of 16 TiB.
const LEN_MAX: u64 = 80 * 1024 * 1024;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// Blocks written so far.
    blocks: usize,
}

impl Journal {
    /// Begins a journal in an empty `file`, with what is known so far; the first `synced` bytes are on the disk.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn begin(mut file: File, blocks: &[ChainingValue], synced: u64) -> io::Result<Self> {
        file.write_all(format!("{MAGIC}{}\n", boot()).as_bytes())?;
        let mut journal = Self { file, blocks: 0 };
        journal.add(blocks)?;
        if synced > 0 {
            journal.synced(synced)?;
        }
        Ok(journal)
    }

    /// Adds what of these blocks is new.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn add(&mut self, blocks: &[ChainingValue]) -> io::Result<()> {
        let mut lines = Vec::new();
        for block in blocks.get(self.blocks..).unwrap_or_default() {
            writeln!(lines, "block {}", blake3::Hash::from_bytes(*block).to_hex())?;
        }
        self.blocks = blocks.len();
        self.file.write_all(&lines)
    }

    /// Notes that the first `len` bytes are on the disk; they are, before this is.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn synced(&mut self, len: u64) -> io::Result<()> {
        writeln!(self.file, "synced {len}")?;
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

/// Notes what the part is like that is left now.
///
/// # Errors
/// The disk is full or failed.
pub fn close(mut file: File, (len, mtime_ns): (u64, i64)) -> io::Result<()> {
    writeln!(file, "closed {len} {mtime_ns}")
}

/// What a journal that was found says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Blocks whose bytes need not be read again.
    pub blocks: Vec<ChainingValue>,
    /// How much of the part counts; `None`: all of it.
    pub len_max: Option<u64>,
    /// How much of it is surely on the disk.
    pub synced: u64,
}

impl Known {
    /// Reads a journal. Its last line may be torn; what cannot be read ends it.
    pub fn read(file: File, found: (u64, i64)) -> Self {
        let mut text = Vec::new();
        if let Err(error) = io::copy(&mut file.take(LEN_MAX), &mut text) {
            tracing::debug!(%error, "a journal could not be read; its part is looked at anew");
        }
        Self::parse(&String::from_utf8_lossy(&text), &boot(), found)
    }

    fn parse(text: &str, boot: &str, found: (u64, i64)) -> Self {
        let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
        let Some(written_in) = lines.next().and_then(|line| line.strip_prefix(MAGIC)) else {
            // Of a part with no journal at all nothing is known, neither that its end is there.
            return Self { blocks: Vec::new(), len_max: Some(0), synced: 0 };
        };
        let (mut blocks, mut synced, mut closed) = (Vec::new(), 0, None);
        for line in lines {
            closed = None;
            match line.split_once(' ') {
                Some(("closed", how)) => closed = Some(how == format!("{} {}", found.0, found.1)),
                Some(("block", hex)) => match blake3::Hash::from_hex(hex) {
                    Ok(hash) => blocks.push(*hash.as_bytes()),
                    Err(_not_a_hash) => break,
                },
                Some(("synced", len)) => match len.parse() {
                    Ok(len) => synced = len,
                    Err(_not_a_number) => break,
                },
                _ => break,
            }
        }
        if closed == Some(false) {
            return Self::default();
        }
        if written_in == boot && !boot.is_empty() {
            return Self { blocks, len_max: None, synced };
        }
        blocks.truncate(usize::try_from(synced / BLOCK_LEN).unwrap_or(usize::MAX));
        Self { blocks, len_max: Some(synced), synced }
    }

    /// What is known of a part that has `len` bytes: how many of them count, and their digest as far as
    /// it is known; what is behind that is to be read.
    pub fn of(mut self, len: u64) -> (u64, Digest) {
        let len = self.len_max.map_or(len, |max| max.min(len));
        self.blocks.truncate(Digest::blocks_behind(len));
        (len, Digest::after(self.blocks))
    }
}

/// This boot of this machine; empty where the system does not say.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(byte: u8) -> String {
        blake3::Hash::from_bytes([byte; 32]).to_hex().to_string()
    }

    #[test]
    fn what_was_written_is_read_again() {
        let (mut written, read) = {
            let file = tempfile::NamedTempFile::new().unwrap();
            (Journal::begin(file.reopen().unwrap(), &[[1; 32]], 0).unwrap(), file.reopen().unwrap())
        };
        written.add(&[[1; 32], [2; 32]]).unwrap();
        written.synced(BLOCK_LEN).unwrap();
        assert_eq!(
            Known::read(read, (0, 0)),
            Known { blocks: vec![[1; 32], [2; 32]], len_max: None, synced: BLOCK_LEN }
        );
    }

    #[test]
    fn after_another_boot_only_what_was_synced_counts() {
        let text = format!("{MAGIC}one\nblock {}\nblock {}\nsynced {}\nblock {}\n", hex(1), hex(2), BLOCK_LEN, hex(3));
        let known = Known::parse(&text, "one", (0, 0));
        assert_eq!((known.blocks.len(), known.len_max), (3, None));
        let known = Known::parse(&text, "two", (0, 0));
        assert_eq!((known.blocks, known.len_max), (vec![[1; 32]], Some(BLOCK_LEN)));
        // A system that does not say which boot it is says nothing.
        assert_eq!(Known::parse(&text.replace(" one", " "), "", (0, 0)).len_max, Some(BLOCK_LEN));
        assert_eq!(Known::parse(&format!("{MAGIC}one\nblock {}\n", hex(1)), "two", (0, 0)).of(99).0, 0);
    }

    #[test]
    fn what_is_torn_or_foreign_ends_it() {
        let begun = format!("{MAGIC}one\nblock {}\n", hex(1));
        for end in ["block 12", &format!("block {}", hex(2)), "blob\nblock 3\n", "synced x\n", "\n"] {
            let known = Known::parse(&format!("{begun}{end}"), "one", (0, 0));
            assert_eq!(known.blocks.len(), 1, "{end:?}");
        }
        for foreign in ["", "hello\n", "landline part 2 one\n"] {
            assert_eq!(Known::parse(foreign, "one", (0, 0)).len_max, Some(0), "{foreign:?}");
        }
    }

    #[test]
    fn a_part_that_somebody_else_has_written_to_is_unknown() {
        let left = format!("{MAGIC}one\nblock {}\nclosed 99 7\n", hex(1));
        let known = |text: &str, found| Known::parse(text, "one", found).blocks.len();
        assert_eq!(known(&left, (99, 7)), 1);
        assert_eq!((known(&left, (99, 8)), known(&left, (98, 7))), (0, 0));
        // Gone on with since, and then killed.
        assert_eq!(known(&format!("{left}block {}\n", hex(2)), (200, 9)), 2);
    }

    #[test]
    fn no_more_blocks_are_believed_than_the_part_has() {
        let text = format!("{MAGIC}one\nblock {}\nblock {}\n", hex(1), hex(2));
        let (len, digest) = Known::parse(&text, "one", (0, 0)).of(BLOCK_LEN + 1);
        assert_eq!((len, digest.len()), (BLOCK_LEN + 1, BLOCK_LEN));
        let (len, digest) = Known::parse(&text, "one", (0, 0)).of(BLOCK_LEN);
        assert_eq!((len, digest.len()), (BLOCK_LEN, 0));
    }
}
