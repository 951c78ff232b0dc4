//! A large file that is sent: read and hashed.
//!
//! The receiver may have a part of it from an earlier attempt. New bytes are sent at once, while both sides hash the
//! old ones on a second thread each.

use std::fs::File;
use std::io;

use rustix::fs::SeekFrom;

use crate::fs::digest::{BLOCK_LEN, ChainingValue, Digest};
use crate::fs::part::resume::{Check, hash_up_to};
use crate::fs::unix::read_at;
use crate::trees::event::Beat;
use crate::wire::message::Total;

/// Longest hole that is sent at once, in bytes. It costs what its ends in two blocks do, however long it is.
pub const HOLE_LEN_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// The next piece of a file.
#[derive(Debug)]
pub enum Piece<'p> {
    /// Bytes.
    Data(&'p [u8]),
    /// Zeros of a hole; how many.
    Hole(u64),
    /// Bytes of the receiver's earlier version.
    Copy {
        /// Where they begin there, in bytes.
        offset: u64,
        /// How many bytes.
        size: u64,
    },
    /// Nothing more.
    End,
}

/// The digest of a whole file, read from its beginning. Holes are not read.
///
/// # Errors
/// It cannot be read, or `beat` ended it.
pub fn digest_of(file: &File, beat: Beat<'_>) -> io::Result<Digest> {
    let len = file.metadata()?.len();
    digest_of_first(file, len, beat)
}

/// The digest of the first `len` bytes of a file, or of all of it if it is shorter.
fn digest_of_first(file: &File, len: u64, beat: Beat<'_>) -> io::Result<Digest> {
    let mut digest = Digest::default();
    match hash_up_to(&mut digest, file, len, beat) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(digest),
        hashed => hashed.map(|()| digest),
    }
}

/// Whether the first `len` bytes of a file have this digest, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn begins_with(file: &File, len: u64, blake3: &str, beat: Beat<'_>) -> io::Result<bool> {
    let digest = digest_of_first(file, len, beat)?;
    Ok(digest.len() == len && digest.finalize().to_hex().as_str() == blake3)
}

/// A large file that is being read.
#[derive(Debug)]
pub struct Large<'f> {
    file: &'f File,
    size: u64,
    digest: Digest,
    /// Whether it has holes, which are not sent.
    is_sparse: bool,
    /// Offset up to which it is known to have no hole, in bytes.
    data_until: u64,
    /// The hashing of what is before the offset; `None`: there is none, or its values were returned.
    check: Option<Check>,
}

impl<'f> Large<'f> {
    /// Begins to read a file of `size` bytes from `offset` on; the receiver has what is before that.
    ///
    /// # Errors
    /// The file cannot be read or became shorter, or no thread is left.
    pub fn begin((file, size): (&'f File, u64), offset: u64) -> io::Result<Self> {
        // What takes less room than it is long has holes (stat(2)).
        let is_sparse =
            rustix::fs::fstat(file).is_ok_and(|stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < size);
        let (digest, check) = match offset {
            0 => (Digest::default(), None),
            offset => Check::begin(file, offset).map(|(digest, check)| (digest, Some(check)))?,
        };
        Ok(Self { file, size, digest, is_sparse, data_until: 0, check })
    }

    /// The length of the hole that comes next, in bytes, at most `HOLE_LEN_MAX`; 0: data comes next.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn skip(&mut self) -> io::Result<u64> {
        if !self.is_sparse || self.digest.len() < self.data_until || self.is_at_the_end() {
            return Ok(0);
        }
        let at = self.digest.len();
        let data = match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => data.min(self.size),
            // There is no more, if it did not become shorter meanwhile.
            Err(rustix::io::Errno::NXIO) if self.is_as_long_as_it_was() => self.size,
            Err(_no_such_call) => {
                self.is_sparse = false;
                return Ok(0);
            }
        };
        if data == at {
            self.data_until = rustix::fs::seek(self.file, SeekFrom::Hole(at))?;
            return Ok(0);
        }
        let hole = (data - at).min(HOLE_LEN_MAX);
        self.digest.update_zeros(hole);
        Ok(hole)
    }

    /// Bytes of memory that hashing `len` bytes of a file takes, also of a hole: the values of their blocks.
    pub fn memory_of(len: u64) -> usize {
        usize::try_from(len / BLOCK_LEN).unwrap_or(usize::MAX).saturating_mul(size_of::<ChainingValue>())
    }

    /// The next piece of it; nothing at its end, wherever that is by now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read<'p>(&mut self, piece: &'p mut [u8]) -> io::Result<&'p [u8]> {
        let until = if self.is_sparse { self.size.min(self.data_until.max(self.digest.len() + 1)) } else { self.size };
        let left = usize::try_from(until.saturating_sub(self.digest.len())).unwrap_or(usize::MAX);
        let wanted = left.min(piece.len());
        let len = read_at(self.file, piece.get_mut(..wanted).unwrap_or_default(), self.digest.len())?;
        let read = piece.get(..len).unwrap_or_default();
        self.digest.update(read);
        Ok(read)
    }

    /// What comes next, read into `buffer` if it is bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next<'p>(&mut self, buffer: &'p mut [u8]) -> io::Result<Piece<'p>> {
        let hole = self.skip()?;
        if hole > 0 {
            return Ok(Piece::Hole(hole));
        }
        let bytes = self.read(buffer)?;
        Ok(if bytes.is_empty() { Piece::End } else { Piece::Data(bytes) })
    }

    fn is_as_long_as_it_was(&self) -> bool {
        rustix::fs::fstat(self.file).is_ok_and(|stat| u64::try_from(stat.st_size).unwrap_or(0) >= self.size)
    }

    /// Whether all of its size was read.
    pub const fn is_at_the_end(&self) -> bool {
        self.digest.len() == self.size
    }

    /// Its size in bytes and its digest, once all was read.
    pub fn total(&self) -> Total<'static> {
        Total { size: self.size, blake3: Some(self.digest.finalize().to_hex().to_string().into()) }
    }

    /// Waits until the hash values of what is before the offset are known. `beat` is called meanwhile, and may end
    /// it.
    ///
    /// # Errors
    /// `beat` ended it.
    pub fn wait_for_beginning(&self, beat: Beat<'_>) -> io::Result<()> {
        self.check.as_ref().map_or(Ok(()), |check| check.wait_with(beat))
    }

    /// The hash values of what is before the offset, one a block, for the receiver to compare. They are returned
    /// once. `None`: they were returned, or without `waits` they are not known yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn beginning(&mut self, waits: bool) -> io::Result<Option<Vec<ChainingValue>>> {
        let Some(check) = self.check.take_if(|check| waits || check.is_done()) else { return Ok(None) };
        let values = check.wait()?;
        self.digest.fill_in(values.split_last().map_or(&[], |(_, whole)| whole));
        Ok(Some(values))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn holes_are_hashed_without_being_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"in the middle", (1 << 39) + 7).unwrap();
        let mut read = 0;
        let digest = digest_of(&file, &mut |bytes| {
            read += bytes;
            Ok(())
        });
        let mut want = Digest::default();
        want.update_zeros((1 << 39) + 7);
        want.update(b"in the middle");
        want.update_zeros((1 << 40) - want.len());
        let digest = digest.unwrap();
        assert_eq!((digest.len(), digest.finalize()), (1 << 40, want.finalize()));
        assert!(read < 1 << 20, "{read} bytes were read");
        let hex = want.finalize().to_hex();
        assert!(begins_with(&file, 1 << 40, &hex, &mut |_| Ok(())).unwrap());
        assert!(!begins_with(&file, (1 << 40) + 1, &hex, &mut |_| Ok(())).unwrap());
    }

    #[test]
    fn a_closed_connection_waits_for_no_digest() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; 10 * 256 * 1024], 0).unwrap();
        let mut beats = 0;
        let ended = digest_of(&file, &mut |_| {
            beats += 1;
            if beats == 3 { Err(crate::trees::event::stopped()) } else { Ok(()) }
        });
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(beats, 3);
    }
}
