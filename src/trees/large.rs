//! A large file on its way out: read, hashed, and compared with what the target has of it already.
//!
//! What the target has may be much, and whoever goes on has waited long enough: new bytes flow at once, while
//! the old ones are read here on a second thread. If they are not the same, the file begins anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use blake3::hazmat::ChainingValue;

use crate::digest::{BLOCK_LEN, Digest};
use crate::net::listen::STACK_LEN;
use crate::wire::message::Total;

/// What the checking thread reads at once, in bytes.
const READ_LEN: usize = 256 * 1024;

/// What the target has of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its first bytes, so many...
    pub offset: u64,
    /// ... with this digest, in hexadecimal.
    pub blake3: String,
}

/// A large file that is being read.
#[derive(Debug)]
pub struct Large<'f> {
    file: &'f File,
    size: u64,
    digest: Digest,
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
        let Some(Offer { offset, blake3 }) = offer else {
            return Ok(Some(Self { file, size, digest: Digest::default(), part: None, checking: None }));
        };
        let behind = Digest::blocks_behind(offset);
        let mut large = Self {
            file,
            size: offset,
            digest: Digest::after(vec![ChainingValue::default(); behind]),
            part: None,
            checking: None,
        };
        // What is behind the last whole block is little.
        while !large.read(piece)?.is_empty() {}
        if !large.is_at_the_end() {
            return Ok(None);
        }
        large.size = size;
        large.part = Some(Part { blake3, digest: large.digest.clone() });
        if behind == 0 {
            return Ok(large.is_the_same_file()?.then_some(large));
        }
        let builder = thread::Builder::new().name("check".into()).stack_size(STACK_LEN);
        large.checking = Some(builder.spawn_scoped(scope, move || first_blocks(file, behind, is_over))?);
        Ok(Some(large))
    }

    /// The next piece of it; nothing at its end, wherever that is by now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read<'p>(&mut self, piece: &'p mut [u8]) -> io::Result<&'p [u8]> {
        let left = usize::try_from(self.size.saturating_sub(self.digest.len())).unwrap_or(usize::MAX);
        let wanted = left.min(piece.len());
        let len = loop {
            match self.file.read_at(piece.get_mut(..wanted).unwrap_or_default(), self.digest.len()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let read = piece.get(..len).unwrap_or_default();
        self.digest.update(read);
        Ok(read)
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
        match file.read_at(&mut piece, digest.len()) {
            Ok(0) => break,
            Ok(read) => digest.update(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // One byte more closes the last of them.
    digest.update(&[0]);
    Ok(digest.blocks().get(..count.min(digest.blocks().len())).unwrap_or_default().to_vec())
}
