//! The body of a message: how it is delimited, and chunks both ways (RFC 9112, 6 and 7).

use std::io::{self, Read, Write};

use super::field::is_tchar;
use super::head::HEAD_LEN_MAX;
use super::incoming::Incoming;

/// How the body of a message is delimited (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// It has this many bytes.
    Known(u64),
    /// It comes in chunks, each with its length.
    Chunked,
    /// It ends with the connection; only the body of an answer.
    ToEnd,
}

/// Longest line with the length of a chunk, in bytes.
const CHUNK_LINE_LEN_MAX: usize = 256;

/// A body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before the body did.
    #[error("the connection ended {0} bytes before the end of the body")]
    Short(u64),
    /// The connection ended in the middle of the chunks.
    #[error("the connection ended before the last chunk of the body")]
    NoLastChunk,
    /// A chunk is malformed (RFC 9112, 7.1).
    #[error("the chunks of the body are malformed: {0}")]
    Chunk(&'static str),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Io(error) => error,
            BodyError::Short(_) | BodyError::NoLastChunk => Self::new(io::ErrorKind::UnexpectedEof, error),
            BodyError::Chunk(_) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Where the reading of a body stands. It borrows its source for each call.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// Bytes of the body so far.
    received: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This many bytes are left.
    Left(u64),
    /// The line with a chunk's length comes next.
    ChunkLine,
    /// This many bytes of the chunk are left; at least one.
    Chunk(u64),
    /// The line end behind a chunk comes next.
    ChunkEnd,
    /// Trailers come next, with as many bytes at most.
    Trailers(usize),
    ToEnd,
    Over,
}

impl BodyReader {
    /// At the beginning of a body.
    pub const fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Known(0) => State::Over,
            BodyLength::Known(len) => State::Left(len),
            BodyLength::Chunked => State::ChunkLine,
            BodyLength::ToEnd => State::ToEnd,
        };
        Self { state, received: 0 }
    }

    /// Whether the whole body was read.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Bytes that are left; `None`: unknown.
    pub const fn left(&self) -> Option<u64> {
        match self.state {
            State::Over => Some(0),
            State::Left(left) => Some(left),
            State::ChunkLine | State::Chunk(_) | State::ChunkEnd | State::Trailers(_) | State::ToEnd => None,
        }
    }

    /// Bytes of the body that were read.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Reads the next bytes of the body; 0 is its end. Never more than the body has.
    ///
    /// # Errors
    /// [`BodyError`]; the connection is out of step then.
    pub fn read<R: Read>(&mut self, incoming: &mut Incoming<R>, dest: &mut [u8]) -> Result<usize, BodyError> {
        loop {
            match self.state {
                State::Over => return Ok(0),
                State::Left(left) => {
                    let read = read_at_most(incoming, dest, left)?;
                    if read == 0 && !dest.is_empty() {
                        return Err(BodyError::Short(left));
                    }
                    self.state = if read as u64 == left { State::Over } else { State::Left(left - read as u64) };
                    return Ok(self.counted(read));
                }
                State::ToEnd => {
                    let read = read_at_most(incoming, dest, u64::MAX)?;
                    if read == 0 && !dest.is_empty() {
                        self.state = State::Over;
                    }
                    return Ok(self.counted(read));
                }
                State::Chunk(left) => {
                    let read = read_at_most(incoming, dest, left)?;
                    if read == 0 && !dest.is_empty() {
                        return Err(BodyError::NoLastChunk);
                    }
                    self.state = if read as u64 == left { State::ChunkEnd } else { State::Chunk(left - read as u64) };
                    return Ok(self.counted(read));
                }
                State::ChunkLine | State::ChunkEnd | State::Trailers(_) => self.next_line(incoming)?,
            }
        }
    }

    /// Reads the line that comes next between chunks, or behind the last.
    fn next_line<R: Read>(&mut self, incoming: &mut Incoming<R>) -> Result<(), BodyError> {
        let limit = match self.state {
            State::Trailers(left) => left,
            _ => CHUNK_LINE_LEN_MAX,
        };
        let len = loop {
            if let Some(len) = line_len(incoming.buffered(), limit)? {
                break len;
            }
            if incoming.fill()? == 0 {
                return Err(BodyError::NoLastChunk);
            }
        };
        let line = incoming.buffered().get(..len).unwrap_or_default();
        self.state = match self.state {
            State::ChunkEnd if line.is_empty() => State::ChunkLine,
            State::ChunkEnd => return Err(BodyError::Chunk("a chunk is longer than it says")),
            State::ChunkLine => match chunk_len(line)? {
                0 => State::Trailers(HEAD_LEN_MAX),
                len => State::Chunk(len),
            },
            State::Trailers(_) if line.is_empty() => State::Over,
            // A reader that does not wait for the empty line would take it for the next request.
            State::Trailers(_) if !is_field(line) => {
                return Err(BodyError::Chunk("a trailer is not name, colon and value"));
            }
            // RFC 9112, 7.1.2: trailers are dropped, whatever they say.
            State::Trailers(left) => State::Trailers(left.saturating_sub(len + 2)),
            other => other,
        };
        incoming.consume(len + 2);
        Ok(())
    }

    const fn counted(&mut self, read: usize) -> usize {
        self.received += read as u64;
        read
    }
}

fn read_at_most<R: Read>(incoming: &mut Incoming<R>, dest: &mut [u8], most: u64) -> io::Result<usize> {
    let len = usize::try_from(most).unwrap_or(usize::MAX).min(dest.len());
    loop {
        match incoming.read(dest.get_mut(..len).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Length of the line that `bytes` begin with, without its CR LF; `None`: it is not whole yet.
fn line_len(bytes: &[u8], limit: usize) -> Result<Option<usize>, BodyError> {
    let bytes = bytes.get(..limit.saturating_add(2)).unwrap_or(bytes);
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(at) => match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Ok(Some(at)),
            // Further behind, the line is too long, whatever follows.
            (Some(b'\r'), None) if at <= limit => Ok(None),
            (Some(b'\r'), None) => Err(BodyError::Chunk("a line is too long")),
            _ => Err(BodyError::Chunk("a line ends with CR or LF alone")),
        },
        None if bytes.len() > limit => Err(BodyError::Chunk("a line is too long")),
        None => Ok(None),
    }
}

/// Whether a line is a name, a colon and a value (RFC 9112, 5).
fn is_field(line: &[u8]) -> bool {
    let mut halves = line.splitn(2, |byte| *byte == b':');
    let (Some(name), Some(value)) = (halves.next(), halves.next()) else { return false };
    let is_value = value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    !name.is_empty() && name.iter().all(|byte| is_tchar(*byte)) && is_value
}

/// `1*HEXDIG`, then extensions that nothing here understands (RFC 9112, 7.1.1). A blank before the semicolon, which the
/// standard puts up with, is refused.
fn chunk_len(line: &[u8]) -> Result<u64, BodyError> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    // 15 digits: 60 bits, so nothing overflows.
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BodyError::Chunk("a chunk's length is no hexadecimal number"));
    }
    if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(BodyError::Chunk("a chunk's extension has a control character"));
    }
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_invalid| BodyError::Chunk("a chunk's length is no hexadecimal number"))
}

/// Writes a body in chunks. What is written is gathered into chunks of up to [`CHUNK_LEN`].
#[derive(Debug)]
pub struct ChunkWriter<W> {
    to: W,
    /// Room for the length in front, then the chunk.
    buffer: Vec<u8>,
}

/// Length of a chunk that we write, in bytes.
pub const CHUNK_LEN: usize = 64 * 1024;
/// Room for `10000\r\n`.
const FRONT_LEN: usize = 7;

impl<W: Write> ChunkWriter<W> {
    /// A body that is written to `to`.
    pub fn new(to: W) -> Self {
        Self { to, buffer: vec![b'0'; FRONT_LEN] }
    }

    /// Ends the body: without this, the other end sees that it is not whole.
    ///
    /// # Errors
    /// It could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.write_chunk(b"0\r\n\r\n")
    }

    fn write_chunk(&mut self, after: &[u8]) -> io::Result<()> {
        let len = self.buffer.len().saturating_sub(FRONT_LEN);
        if len > 0 {
            let front = format!("{len:05x}\r\n");
            if let Some(place) = self.buffer.get_mut(..FRONT_LEN) {
                place.copy_from_slice(front.as_bytes());
            }
            self.buffer.extend_from_slice(b"\r\n");
            self.buffer.extend_from_slice(after);
            self.to.write_all(&self.buffer)?;
        } else {
            self.to.write_all(after)?;
        }
        self.buffer.truncate(FRONT_LEN);
        Ok(())
    }
}

impl<W: Write> Write for ChunkWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (FRONT_LEN + CHUNK_LEN).saturating_sub(self.buffer.len());
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() >= FRONT_LEN + CHUNK_LEN {
            self.write_chunk(b"")?;
        }
        Ok(taken.len())
    }

    /// Sends what there is as a chunk.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.len() > FRONT_LEN {
            self.write_chunk(b"")?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(length: BodyLength, bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), String> {
        struct Steps<'b>(&'b [u8], usize);
        impl Read for Steps<'_> {
            fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
                let len = self.1.min(dest.len());
                self.0.read(&mut dest[..len])
            }
        }
        let mut incoming = Incoming::new(Steps(bytes, step), Vec::new());
        let (mut body, mut dest) = (Vec::new(), [0; 7]);
        let mut reader = BodyReader::new(length);
        loop {
            match reader.read(&mut incoming, &mut dest).map_err(|error| error.to_string())? {
                0 => break,
                len => body.extend_from_slice(&dest[..len]),
            }
        }
        assert!(reader.is_over() && reader.received() == body.len() as u64);
        while incoming.fill().unwrap() > 0 {}
        Ok((body, incoming.buffered().to_vec()))
    }

    #[test]
    fn a_body_ends_where_it_is_delimited() {
        for step in [1, 2, 3, 1000] {
            for (length, bytes, body, rest) in [
                (BodyLength::None, "abc", "", "abc"),
                (BodyLength::Known(2), "abc", "ab", "c"),
                (BodyLength::Known(0), "abc", "", "abc"),
                (BodyLength::ToEnd, "abc", "abc", ""),
                (BodyLength::Chunked, "3\r\nabc\r\n0\r\n\r\nd", "abc", "d"),
                (
                    BodyLength::Chunked,
                    "0003;x=\"y z\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nTransfer-Encoding: x\r\n\r\nd",
                    "abc0123456789",
                    "d",
                ),
            ] {
                let got = read(length, bytes.as_bytes(), step);
                assert_eq!(got, Ok((body.into(), rest.into())), "{length:?} {bytes:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_malformed_is_an_error() {
        let whole = b"3;a\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nx: y\r\n\r\n";
        for len in 0..whole.len() {
            assert!(read(BodyLength::Chunked, &whole[..len], 1000).is_err(), "{len}");
        }
        assert!(read(BodyLength::Known(4), b"abc", 1).unwrap_err().contains("1 bytes before"));
        let long = format!("{}\r\n", "0".repeat(300));
        let long_to_its_end = format!("{}\r{}", "0".repeat(CHUNK_LINE_LEN_MAX + 1), "x".repeat(9000));
        for bad in [
            "0x3\r\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "3 ;x\r\nabc\r\n0\r\n\r\n",
            "\r\nabc\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3;\u{1}\r\nabc\r\n0\r\n\r\n",
            "3;\rx\r\nabc\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "0\r\nx : y\r\n\r\n",
            "0\r\nx: y\r\n z\r\n\r\n",
            "0\r\nx: \0\r\n\r\n",
            &long,
            &long_to_its_end,
        ] {
            assert!(read(BodyLength::Chunked, bad.as_bytes(), 1000).unwrap_err().contains("malformed"), "{bad:?}");
        }
        let endless = format!("0\r\n{}", "x: y\r\n".repeat(HEAD_LEN_MAX));
        assert!(read(BodyLength::Chunked, endless.as_bytes(), 1000).is_err(), "trailers without end");
    }

    proptest! {
        #[test]
        fn chunks_are_read_as_they_are_written(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9),
            flush: bool,
        ) {
            let mut bytes = Vec::new();
            let mut writer = ChunkWriter::new(&mut bytes);
            for piece in &pieces {
                writer.write_all(piece).unwrap();
                if flush {
                    writer.flush().unwrap();
                }
            }
            writer.finish().unwrap();
            prop_assert_eq!(read(BodyLength::Chunked, &bytes, 5), Ok((pieces.concat(), Vec::new())));
        }
    }
}
