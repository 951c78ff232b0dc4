//! A large file on its way out: read, hashed, and compared with what the target has of it already.
//!
//! What the target has may be much, and whoever goes on has waited long enough: new bytes flow at once, while
//! the old ones are read here on a second thread. If they are not the same, the file begins anew.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use blake3::hazmat::ChainingValue;
use rustix::fs::SeekFrom;

use crate::digest::{BLOCK_LEN, Digest};
use crate::net::listen::STACK_LEN;
use crate::part::read_at;
use crate::wire::message::Total;

/// What the checking thread reads at once, in bytes.
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

/// What the target has of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its first bytes, so many...
    pub offset: u64,
    /// ... with this digest, in hexadecimal.
    pub blake3: String,
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
    part: Option<Part>,
    checking: Option<ScopedJoinHandle<'f, io::Result<Vec<ChainingValue>>>>,
}

/// What the target has of it, until that was compared.
#[derive(Debug)]
struct Part {
    blake3: String,
    /// Ours of the same bytes; its first blocks are filled in when they were read.
    digest: Digest,
}

impl<'f> Large<'f> {
    /// Begins to read a file of `size` bytes behind what the target has. `None`: what it has is of another file, as
    /// far as that can be seen at once. The checking thread lives in `scope`, until `is_over`.
    ///
    /// # Errors
    /// The file cannot be read, or no thread is left.
    pub fn begin(
        scope: &'f Scope<'f, '_>,
        (file, size): (&'f File, u64),
        offer: Option<Offer>,
        is_over: &'f AtomicBool,
        piece: &mut [u8],
    ) -> io::Result<Option<Self>> {
        // What takes less room than it is long has holes (stat(2)).
        let is_sparse =
            rustix::fs::fstat(file).is_ok_and(|stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < size);
        let Some(Offer { offset, blake3 }) = offer else {
            let digest = Digest::default();
            return Ok(Some(Self { file, size, digest, is_sparse, data_until: 0, part: None, checking: None }));
        };
        let behind = Digest::blocks_behind(offset);
        let mut large = Self {
            file,
            size: offset,
            digest: Digest::after(vec![ChainingValue::default(); behind]),
            is_sparse: false,
            data_until: 0,
            part: None,
            checking: None,
        };
        // What is behind the last whole block is little.
        while !large.read(piece)?.is_empty() {}
        if !large.is_at_the_end() {
            return Ok(None);
        }
        (large.size, large.is_sparse) = (size, is_sparse);
        large.part = Some(Part { blake3, digest: large.digest.clone() });
        if behind == 0 {
            return Ok(large.is_the_same_file()?.then_some(large));
        }
        let builder = thread::Builder::new().name("check".into()).stack_size(STACK_LEN);
        large.checking = Some(builder.spawn_scoped(scope, move || first_blocks(file, behind, is_over))?);
        Ok(Some(large))
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

    /// Whether [`is_the_same_file`](Self::is_the_same_file) would know by now.
    pub fn is_checked_by_now(&self) -> bool {
        self.checking.as_ref().is_some_and(ScopedJoinHandle::is_finished)
    }

    /// Whether what the target has is the beginning of this file; waits until that is known.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_the_same_file(&mut self) -> io::Result<bool> {
        let Some(mut part) = self.part.take() else { return Ok(true) };
        if let Some(checking) = self.checking.take() {
            let blocks =
                checking.join().unwrap_or_else(|_| Err(io::Error::other("the check of the part broke off")))?;
            part.digest.fill_in(&blocks);
            self.digest.fill_in(&blocks);
        }
        Ok(part.digest.finalize().to_hex().as_str() == part.blake3)
    }
}

/// The values of a file's first `count` blocks.
fn first_blocks(file: &File, count: usize, is_over: &AtomicBool) -> io::Result<Vec<ChainingValue>> {
    let len = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(BLOCK_LEN);
    let mut digest = Digest::default();
    let mut piece = vec![0; READ_LEN];
    while digest.len() < len && !is_over.load(Ordering::Relaxed) {
        match read_at(file, &mut piece, digest.len())? {
            0 => break,
            read => digest.update(piece.get(..read).unwrap_or_default()),
        }
    }
    // One byte more closes the last of them.
    digest.update(&[0]);
    Ok(digest.blocks().get(..count.min(digest.blocks().len())).unwrap_or_default().to_vec())
}
