//! Where a body goes: a file that gets its name when it is whole, or a stream that cannot be taken back.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::digest::Hasher;
use super::error::{Error, Result};
use super::response::ResponseHead;
use crate::fs::part::{Checksum, Part, Parts, Preserved, Target};

/// What is read of a file at once to hash it, in bytes.
const READ_LEN: usize = 256 * 1024;

/// Where a body goes.
pub trait Store {
    /// Bytes that are there.
    fn size(&self) -> u64;

    /// Sees the head of the response whose body will come.
    ///
    /// # Errors
    /// There is no place for it.
    fn meet(&mut self, _head: &ResponseHead) -> Result<()> {
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The disk, or who reads the stream, failed.
    fn take(&mut self, piece: &[u8]) -> Result<()>;

    /// Begins anew; `source` says where the bytes come from now, for the next run (`None`: it cannot go on with them).
    ///
    /// # Errors
    /// The disk failed, or bytes are out that cannot be taken back.
    fn begin(&mut self, source: Option<String>) -> Result<()>;

    /// Hands what is there to `hasher`.
    ///
    /// # Errors
    /// The disk failed, or the bytes are out.
    fn hash(&self, hasher: &mut Hasher) -> Result<()>;

    /// What is there is of no use to anyone.
    fn spoil(&mut self);

    /// Whether a piece is worth waiting for until it is full.
    fn wants_full_pieces(&self) -> bool;
}

/// A file on its way in.
#[derive(Debug)]
pub struct FileStore {
    part: Part,
    path: String,
}

impl FileStore {
    /// A new file that is to be `path`.
    ///
    /// # Errors
    /// Its directory is missing or cannot be written, or something else is there.
    pub fn create(parts: &Arc<Parts>, path: &Path, target: Target) -> Result<Self> {
        let path = path.to_string_lossy().into_owned();
        let Target { dir, name } = target;
        let part = parts.create_unhashed(dir, &name, None);
        let part = part.map_err(|error| Error::ours(path.clone())(error.into()))?;
        Ok(Self { part, path })
    }

    /// Goes on with what an earlier run has left of `path`, and what that run said of its source; `None`: it has left
    /// nothing that can be gone on with.
    ///
    /// # Errors
    /// The disk failed.
    pub fn left(parts: &Arc<Parts>, path: &Path, target: &Target) -> Result<Option<(Self, String)>> {
        let Some(left) = parts.find(&target.dir, &target.name) else { return Ok(None) };
        let Some(source) = left.source().map(str::to_owned) else { return Ok(None) };
        let path = path.to_string_lossy().into_owned();
        let part = parts.resume_unhashed(left).map_err(Error::ours(path.clone()))?;
        Ok(Some((Self { part, path }, source)))
    }

    fn ours(&self) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::ours(self.path.clone())
    }

    /// Puts bytes at their place in a file of which the length was set.
    ///
    /// # Errors
    /// The disk failed.
    pub fn put_at(&self, piece: &[u8], at: u64) -> Result<()> {
        self.part.mend(piece, at).map_err(self.ours())
    }

    /// Sets the length of a new file, whose bytes come in any order.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn set_len(&mut self, len: u64) -> Result<()> {
        let missing = len.saturating_sub(self.part.size());
        self.part.skip(missing).map_err(self.ours())
    }

    /// Gives it its name. Once this returns it survives a power cut, unless it is not to be synced.
    ///
    /// # Errors
    /// The disk failed; the old file is as it was.
    pub fn publish(self, is_synced: bool) -> Result<()> {
        let (path, size) = (self.path, self.part.size());
        let (sent, preserved) = (Checksum { size, blake3: None }, Preserved::default());
        let published = if is_synced {
            self.part.publish(sent, preserved)
        } else {
            self.part.verify(sent, preserved).and_then(crate::fs::part::Verified::rename)
        };
        published.map_err(|error| Error::ours(path)(error.into()))
    }
}

impl Store for FileStore {
    fn size(&self) -> u64 {
        self.part.size()
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.part.write(piece).map_err(self.ours())
    }

    fn begin(&mut self, source: Option<String>) -> Result<()> {
        if self.part.size() > 0 {
            self.part.clear().map_err(self.ours())?;
        }
        self.part.set_source(source);
        Ok(())
    }

    fn hash(&self, hasher: &mut Hasher) -> Result<()> {
        let mut piece = vec![0; READ_LEN];
        let (mut at, size) = (0, self.part.size());
        while at < size && !hasher.is_idle() {
            let read = self.part.read_at(&mut piece, at).map_err(self.ours())?;
            if read == 0 {
                return Err(self.ours()(io::ErrorKind::UnexpectedEof.into()));
            }
            hasher.update(piece.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(())
    }

    fn spoil(&mut self) {
        self.part.set_source(None);
    }

    fn wants_full_pieces(&self) -> bool {
        true
    }
}

/// A stream.
pub struct StreamStore<'s> {
    to: &'s mut dyn Write,
    name: &'static str,
    size: u64,
}

impl std::fmt::Debug for StreamStore<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamStore").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

impl<'s> StreamStore<'s> {
    /// All goes to `to`, which errors call `name`.
    pub fn new(to: &'s mut dyn Write, name: &'static str) -> Self {
        Self { to, name, size: 0 }
    }

    fn is_out(&self, why: &str) -> Error {
        Error::Unexpected(format!("{why}, and {} bytes are out already", self.size))
    }
}

impl Store for StreamStore<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.to.write_all(piece).map_err(Error::ours(self.name))?;
        self.size += piece.len() as u64;
        Ok(())
    }

    fn begin(&mut self, _source: Option<String>) -> Result<()> {
        if self.size == 0 { Ok(()) } else { Err(self.is_out("the body begins anew")) }
    }

    fn hash(&self, hasher: &mut Hasher) -> Result<()> {
        if self.size == 0 || hasher.is_idle() { Ok(()) } else { Err(self.is_out("a digest came late")) }
    }

    fn spoil(&mut self) {}

    fn wants_full_pieces(&self) -> bool {
        false
    }
}
