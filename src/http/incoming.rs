//! A buffered source of bytes: what came behind a head stays for its body, and what came behind that for the next
//! request (pipelining: RFC 9112, 9.3.2).

use std::io::{self, Read};

/// How much is read at a time while a head is awaited, in bytes.
const STEP_LEN: usize = 8 * 1024;

/// A source, and the bytes of it that are not used yet.
#[derive(Debug)]
pub struct Incoming<R> {
    source: R,
    buffer: Vec<u8>,
    /// `0 <= start <= buffer.len()`: the bytes before it are used.
    start: usize,
}

impl<R> Incoming<R> {
    /// `first` was already read from the source.
    pub const fn new(source: R, first: Vec<u8>) -> Self {
        Self { source, buffer: first, start: 0 }
    }

    /// The bytes that have come and are not used yet.
    pub fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The first `len` of them are used.
    pub fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.buffer.len());
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    /// The source.
    pub const fn source(&self) -> &R {
        &self.source
    }

    /// The source, and the bytes that have come from it and are not used yet.
    pub fn take(&mut self) -> (&mut R, Vec<u8>) {
        let mut first = std::mem::take(&mut self.buffer);
        first.drain(..std::mem::take(&mut self.start));
        (&mut self.source, first)
    }

    /// Gives memory back: for a connection that waits.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > STEP_LEN {
            self.buffer = Vec::new();
        }
    }
}

impl<R: Read> Incoming<R> {
    /// Reads more behind what is buffered; 0 is the end of the source.
    ///
    /// # Errors
    /// The source failed.
    pub fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let len = self.buffer.len();
        self.buffer.resize(len + STEP_LEN, 0);
        let read = loop {
            match self.source.read(self.buffer.get_mut(len..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(len + read.as_ref().map_or(0, |read| *read));
        read
    }
}

/// What is buffered comes first; then a large read goes straight to its destination.
impl<R: Read> Read for Incoming<R> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        let buffered = self.buffered();
        if buffered.is_empty() {
            return self.source.read(dest);
        }
        let len = buffered.len().min(dest.len());
        if let (Some(to), Some(from)) = (dest.get_mut(..len), buffered.get(..len)) {
            to.copy_from_slice(from);
        }
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_behind_stays() {
        let mut incoming = Incoming::new(&b"defgh"[..], b"abc".to_vec());
        incoming.consume(1);
        assert_eq!(incoming.buffered(), b"bc");
        assert_eq!(incoming.fill().unwrap(), 5);
        assert_eq!(incoming.buffered(), b"bcdefgh");
        let mut two = [0; 2];
        assert_eq!(incoming.read(&mut two).unwrap(), 2);
        assert_eq!((&two, incoming.buffered()), (b"bc", &b"defgh"[..]));
        incoming.consume(100);
        assert_eq!((incoming.fill().unwrap(), incoming.buffered()), (0, &b""[..]));
    }
}
