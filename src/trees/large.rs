//! A large file on its way out: read and hashed.
//!
//! The target may have much of it from an earlier attempt. New bytes flow at once, while both ends hash the old ones on
//! a second thread each.

use std::fs::File;
use std::io;

use rustix::fs::SeekFrom;

use crate::digest::{ChainingValue, Digest};
use crate::part::read_at;
use crate::part::resume::Check;
use crate::wire::message::Total;

/// What is read at once where a whole file is hashed, in bytes.
const READ_LEN: usize = 256 * 1024;

/// Longest hole that is sent at once, in bytes: hashing it takes ten milliseconds, in which nobody hears a signal.
pub const HOLE_LEN_MAX: u64 = 64 * 1024 * 1024;

/// What comes next of a file.
#[derive(Debug)]
pub enum Piece<'p> {
    /// Bytes.
    Data(&'p [u8]),
    /// So many zeros that take no room.
    Hole(u64),
    /// So many bytes of the target's other version, from `offset` on.
    Copy {
        /// Where they are there.
        offset: u64,
        /// How many.
        size: u64,
    },
    /// Nothing more.
    End,
}

/// The digest of a whole file, read from its beginning.
///
/// # Errors
/// It cannot be read.
pub fn digest_of(file: &File) -> io::Result<Digest> {
    let mut digest = Digest::default();
    let mut piece = vec![0; READ_LEN];
    loop {
        match read_at(file, &mut piece, digest.len())? {
            0 => return Ok(digest),
            read => digest.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// A large file that is being read.
#[derive(Debug)]
pub struct Large<'f> {
    file: &'f File,
    size: u64,
    digest: Digest,
    /// Whether parts of it take no room, and are not sent.
    is_sparse: bool,
    /// Up to here it is known to be data.
    data_until: u64,
    /// What is before the offset, as long as it is being hashed.
    check: Option<Check>,
}

impl<'f> Large<'f> {
    /// Begins to read a file of `size` bytes from `offset` on; the target has what is before that.
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

    /// The zeros that come next and take no room, at most so many as a target is given at once.
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

    /// Its size and digest, at its end.
    pub fn total(&self) -> Total<'static> {
        Total { size: self.size, blake3: Some(self.digest.finalize().to_hex().to_string().into()) }
    }

    /// The values of what is before the offset, one a block, for the target to compare; once, when they are known.
    /// Unless `waits`, only if that is now.
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
