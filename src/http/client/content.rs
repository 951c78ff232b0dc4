//! What a request carries: pieces of text and files, one behind the other, that can be sent again from any byte on;
//! or a stream, which can be sent once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::unix::read_at;

/// What is read of a file at once, in bytes.
pub const CONTENT_PIECE_LEN: usize = 256 * 1024;

/// A source that is read once.
type Once = Arc<Mutex<Option<Box<dyn Read + Send>>>>;

/// What a request carries.
#[derive(Clone, Default)]
pub struct Content {
    parts: Vec<Piece>,
}

#[derive(Clone)]
enum Piece {
    Bytes(Arc<[u8]>),
    File { file: Arc<File>, len: u64 },
    Once(Once),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({:?} bytes)", self.len())
    }
}

impl Content {
    /// These bytes.
    pub fn of(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::default().and(bytes)
    }

    /// These bytes behind it.
    #[must_use]
    pub fn and(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.parts.push(Piece::Bytes(bytes.into()));
        self
    }

    /// The first `len` bytes of a file behind it.
    #[must_use]
    pub fn and_file(mut self, file: File, len: u64) -> Self {
        self.parts.push(Piece::File { file: Arc::new(file), len });
        self
    }

    /// All that `source` gives behind it; it cannot be sent a second time.
    #[must_use]
    pub fn and_stream(mut self, source: impl Read + Send + 'static) -> Self {
        self.parts.push(Piece::Once(Arc::new(Mutex::new(Some(Box::new(source))))));
        self
    }

    /// Its length in bytes; `None`: it ends where its source does.
    pub fn len(&self) -> Option<u64> {
        self.parts.iter().map(Piece::len).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether it can be sent again.
    pub fn is_replayable(&self) -> bool {
        self.len().is_some()
    }

    /// Calls `send` with its bytes from `from` on, until it says `false` or all is sent; whether all was sent.
    ///
    /// # Errors
    /// A source cannot be read, or `send` failed. A file that has become shorter is an error: its length was announced.
    pub fn send(
        &self,
        from: u64,
        send: &mut dyn FnMut(&[u8]) -> Result<bool, super::Error>,
    ) -> Result<bool, super::Error> {
        let mut buffer = vec![0; CONTENT_PIECE_LEN];
        let mut skip = from;
        for part in &self.parts {
            let len = part.len();
            if let Some(len) = len.filter(|len| *len <= skip) {
                skip -= len;
                continue;
            }
            if !part.send(skip, &mut buffer, send)? {
                return Ok(false);
            }
            skip = 0;
        }
        Ok(true)
    }
}

impl Piece {
    fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { len, .. } => Some(*len),
            Self::Once(_) => None,
        }
    }

    fn send(
        &self,
        from: u64,
        buffer: &mut [u8],
        send: &mut dyn FnMut(&[u8]) -> Result<bool, super::Error>,
    ) -> Result<bool, super::Error> {
        let failed = || super::Error::ours("what is sent");
        match self {
            Self::Bytes(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                send(bytes.get(from..).unwrap_or_default())
            }
            Self::File { file, len } => {
                let mut at = from;
                while at < *len {
                    let wanted = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
                    let piece = buffer.get_mut(..wanted).unwrap_or_default();
                    let read = read_at(file, piece, at).map_err(failed())?;
                    if read == 0 {
                        let why = format!("has become shorter: {at} bytes instead of {len}");
                        return Err(failed()(io::Error::other(why)));
                    }
                    if !send(piece.get(..read).unwrap_or_default())? {
                        return Ok(false);
                    }
                    at += read as u64;
                }
                Ok(true)
            }
            Self::Once(source) => {
                let taken = source.lock().unwrap_or_else(PoisonError::into_inner).take();
                let again = || io::Error::other("was read already, and cannot be sent a second time");
                let mut source = taken.ok_or_else(again).map_err(failed())?;
                loop {
                    match source.read(buffer) {
                        Ok(0) => return Ok(true),
                        Ok(read) if !send(buffer.get(..read).unwrap_or_default())? => return Ok(false),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(failed()(error)),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(content: &Content, from: u64) -> Vec<u8> {
        let mut all = Vec::new();
        content
            .send(from, &mut |piece| {
                all.extend_from_slice(piece);
                Ok(true)
            })
            .unwrap();
        all
    }

    #[test]
    fn pieces_are_sent_from_any_byte_on() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"file and more").unwrap();
        let content = Content::of(&b"before "[..]).and_file(file, 4).and(&b" after"[..]);
        let whole = b"before file after";
        assert_eq!(content.len(), Some(whole.len() as u64));
        for from in 0..=whole.len() {
            assert_eq!(sent(&content, from as u64), whole[from..], "{from}");
        }
        assert!(!content.send(0, &mut |_| Ok(false)).unwrap());
    }

    #[test]
    fn a_stream_is_sent_once_and_a_short_file_is_an_error() {
        let content = Content::of(&b"a"[..]).and_stream(&b"bc"[..]);
        assert_eq!((content.len(), content.is_replayable()), (None, false));
        assert_eq!(sent(&content, 0), b"abc");
        assert!(content.send(0, &mut |_| Ok(true)).is_err());
        let short = Content::default().and_file(tempfile::tempfile().unwrap(), 5);
        assert!(short.send(0, &mut |_| Ok(true)).unwrap_err().to_string().contains("shorter"));
        assert!(Content::default().is_empty());
    }
}
