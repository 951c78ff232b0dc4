//! Sends an answer: its head and the beginning of its body in one write, large files without a copy.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::http::header::{self, HeaderMap, HeaderName};
use ::http::{Method, StatusCode};

use super::problem::is_timeout;
use super::response::{BodyWriter, FileSlice, Piece, Response, ResponseBody};
use super::state::{HttpState, SEND_BUFFER_LEN};
use crate::http::body::ChunkWriter;
use crate::http::date;
use crate::http::head::Version;
use crate::net::stream::WriteHalf;

/// Of the head in a buffer, so that a file's beginning fits beside it.
const HEAD_ROOM: usize = 2 * 1024;
/// A part of a file that is not longer goes through our memory, in the same write as the head: that costs less than to
/// have the kernel send it. In bytes.
const COPIED_LEN_MAX: u64 = 4 * 1024;
/// A file is sent by the kernel in steps of this size, in bytes.
const FILE_STEP_LEN: usize = 512 * 1024;
/// A file is read in pieces of this size where its bytes are to be encrypted.
const ENCRYPTED_STEP_LEN: usize = 256 * 1024;

/// How long a client may take nothing of an answer before it is looked at again.
pub(super) const SEND_STALL: Duration = Duration::from_mins(2);
/// The least rate at which a client takes an answer that holds memory or files while it is made, in bytes a second, on
/// the whole and after two minutes.
pub const SEND_RATE_MIN: u64 = 512;

/// What an answer is for.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    /// The method of the request.
    pub(super) method: Method,
    /// The version of the request.
    pub(super) version: Version,
    /// Whether the connection stays open behind it.
    pub(super) is_persistent: bool,
}

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Bytes of the body.
    pub(super) len: u64,
    /// Whether the connection can be used for another request.
    pub(super) is_persistent: bool,
}

/// An answer that was not sent to its end.
#[derive(Debug)]
pub(super) struct BrokenOff {
    /// Bytes of the body that the socket has taken.
    pub(super) len: u64,
    /// Why.
    pub(super) error: io::Error,
}

/// Sends `response`.
///
/// # Errors
/// The connection failed, or the body could not be made to its end: it is to be closed.
pub(super) fn send(
    state: &HttpState,
    out: &mut WriteHalf,
    answered: &Answered,
    response: Response,
) -> Result<Sent, BrokenOff> {
    let (mut buffer, mut head_len, before) = (state.lend(), 0, out.written_len());
    let sent = send_with((&mut buffer, &mut head_len), out, answered, response);
    state.take_back(buffer);
    sent.map_err(|error| {
        let written = out.written_len().wrapping_sub(before);
        BrokenOff { len: written.saturating_sub(head_len) as u64, error }
    })
}

fn send_with(
    (buffer, head_len): (&mut Vec<u8>, &mut usize),
    out: &mut WriteHalf,
    answered: &Answered,
    response: Response,
) -> io::Result<Sent> {
    let may_have_body = response.may_have_body(&answered.method);
    let Response { status, headers, body } = response;
    let len = body.len();
    let has_body = may_have_body && answered.method != Method::HEAD;
    // A client of HTTP/1.0 knows no chunks: there the end of the connection is that of the body.
    let ends_with_connection = may_have_body && len.is_none() && answered.version == Version::Http10;
    let is_persistent = answered.is_persistent && !ends_with_connection;
    write_status(buffer, status);
    write_headers(buffer, &headers);
    buffer.extend_from_slice(b"date: ");
    write_date(buffer);
    match len {
        Some(len) if may_have_body => write!(buffer, "\r\ncontent-length: {len}")?,
        None if may_have_body && !ends_with_connection => buffer.extend_from_slice(b"\r\ntransfer-encoding: chunked"),
        _ => {}
    }
    match (is_persistent, answered.version) {
        _ if status == StatusCode::SWITCHING_PROTOCOLS => buffer.extend_from_slice(b"\r\nconnection: upgrade"),
        (false, _) => buffer.extend_from_slice(b"\r\nconnection: close"),
        (true, Version::Http10) => buffer.extend_from_slice(b"\r\nconnection: keep-alive"),
        (true, Version::Http11) => {}
    }
    buffer.extend_from_slice(b"\r\n\r\n");
    *head_len = buffer.len();
    if !has_body {
        out.write_all(buffer)?;
        return Ok(Sent { len: 0, is_persistent });
    }
    let len = match body {
        ResponseBody::Empty => out.write_all(buffer).map(|()| 0)?,
        ResponseBody::Bytes(bytes) => {
            write_both(out, buffer, &bytes)?;
            bytes.len() as u64
        }
        ResponseBody::File(slice) => send_file(buffer, out, &slice)?,
        ResponseBody::Pieces { file, pieces, end } => send_pieces(buffer, out, &file, (&pieces, &end))?,
        ResponseBody::Stream { len, write } => {
            let counted = &mut Counted { to: out, head: buffer, len: 0, began: Instant::now(), taken: 0 };
            if len.is_some() || ends_with_connection {
                let mut whole = Whole(io::BufWriter::with_capacity(SEND_BUFFER_LEN, &mut *counted));
                write(&mut whole)?;
                whole.flush()?;
            } else {
                let mut chunks = ChunkWriter::new(&mut *counted);
                write(&mut chunks)?;
                chunks.finish()?;
            }
            counted.flush()?;
            if let Some(len) = len.filter(|len| *len != counted.len) {
                return Err(io::Error::other(format!(
                    "a body of {} bytes was made where {len} were announced",
                    counted.len
                )));
            }
            counted.len
        }
    };
    Ok(Sent { len, is_persistent })
}

/// An answer before the answer (RFC 9110, 15.2).
///
/// # Errors
/// The connection failed.
pub(super) fn send_interim(out: &mut WriteHalf, status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
    let mut head = Vec::new();
    write_status(&mut head, status);
    write_headers(&mut head, headers);
    head.extend_from_slice(b"\r\n");
    out.write_all(&head)
}

fn write_status(buffer: &mut Vec<u8>, status: StatusCode) {
    let reason = match status.as_u16() {
        104 => "Upload Resumption Supported",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    buffer.extend_from_slice(b"HTTP/1.1 ");
    buffer.extend_from_slice(status.as_str().as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(reason.as_bytes());
    buffer.extend_from_slice(b"\r\n");
}

/// The headers that say how an answer is sent: nothing but this file has a word on them.
pub const OWN_HEADERS: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::DATE];

fn write_headers(buffer: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if OWN_HEADERS.contains(name) {
            continue;
        }
        buffer.extend_from_slice(name.as_str().as_bytes());
        buffer.extend_from_slice(b": ");
        buffer.extend_from_slice(value.as_bytes());
        buffer.extend_from_slice(b"\r\n");
    }
}

/// The present time (RFC 9110, 6.6.1), formatted once a second and thread.
fn write_date(buffer: &mut Vec<u8>) {
    use std::cell::RefCell;
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(at, text)| {
        if *at != seconds || text.is_empty() {
            (*at, *text) = (seconds, date::format(seconds));
        }
        buffer.extend_from_slice(text.as_bytes());
    });
}

/// Writes both, in one system call where the kernel takes them.
fn write_both(out: &mut WriteHalf, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut written = out.write_vectored(&[io::IoSlice::new(head), io::IoSlice::new(body)])?;
    if written < head.len() {
        out.write_all(head.get(written..).unwrap_or_default())?;
        written = head.len();
    }
    out.write_all(body.get(written - head.len()..).unwrap_or_default())
}

/// Sends a part of a file behind what is in `buffer`.
fn send_file(buffer: &mut Vec<u8>, out: &mut WriteHalf, slice: &FileSlice) -> io::Result<u64> {
    let FileSlice { file, offset, len } = slice;
    if out.is_plain() && *len > COPIED_LEN_MAX {
        out.send_front(buffer)?;
        send_rest(out, file, *offset, *len)?;
        return Ok(*len);
    }
    let front = buffer.len();
    let room = SEND_BUFFER_LEN.saturating_sub(front.max(HEAD_ROOM));
    let first = usize::try_from(*len).unwrap_or(usize::MAX).min(room);
    buffer.resize(front + first, 0);
    read_exact_at(file, buffer.get_mut(front..).unwrap_or_default(), *offset)?;
    out.write_all(buffer)?;
    let sent = first as u64;
    send_rest(out, file, offset + sent, len - sent)?;
    Ok(*len)
}

fn send_pieces(
    buffer: &mut Vec<u8>,
    out: &mut WriteHalf,
    file: &File,
    (pieces, end): (&[Piece], &[u8]),
) -> io::Result<u64> {
    let mut sent = 0;
    for Piece { front, offset, len } in pieces {
        buffer.extend_from_slice(front);
        let small = usize::try_from(*len).unwrap_or(usize::MAX);
        if buffer.len().saturating_add(small) <= SEND_BUFFER_LEN {
            let at = buffer.len();
            buffer.resize(at + small, 0);
            read_exact_at(file, buffer.get_mut(at..).unwrap_or_default(), *offset)?;
        } else {
            out.write_all(buffer)?;
            buffer.clear();
            send_rest(out, file, *offset, *len)?;
        }
        sent += front.len() as u64 + len;
    }
    buffer.extend_from_slice(end);
    out.write_all(buffer)?;
    Ok(sent + end.len() as u64)
}

/// Sends a part of a file: by the kernel alone where nothing is to be encrypted (sendfile).
fn send_rest(out: &mut WriteHalf, file: &File, mut offset: u64, mut left: u64) -> io::Result<()> {
    let steps = |left: u64, most: usize| usize::try_from(left).unwrap_or(usize::MAX).min(most);
    let mut piece = Vec::new();
    while left > 0 {
        let sent = if out.is_plain() {
            match out.send_file(file, &mut offset, steps(left, FILE_STEP_LEN)) {
                // One that takes nothing for long is given up by the connection's own limit.
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_timeout(&error) => continue,
                sent => sent? as u64,
            }
        } else {
            piece.resize(steps(left, ENCRYPTED_STEP_LEN), 0);
            read_exact_at(file, &mut piece, offset)?;
            out.write_all(&piece)?;
            offset += piece.len() as u64;
            piece.len() as u64
        };
        if sent == 0 {
            return Err(became_shorter());
        }
        left -= sent;
    }
    Ok(())
}

fn read_exact_at(file: &File, dest: &mut [u8], offset: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    file.read_exact_at(dest, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => became_shorter(),
        _ => error,
    })
}

/// The body cannot be made as long as its head says: only breaking off shows that.
fn became_shorter() -> io::Error {
    io::Error::other("the file became shorter while it was sent")
}

/// Counts a body, and sends the head with its first bytes.
struct Counted<'c> {
    to: &'c mut WriteHalf,
    head: &'c mut Vec<u8>,
    len: u64,
    began: Instant,
    /// Bytes that the socket has taken, the head included.
    taken: u64,
}

impl Counted<'_> {
    /// Writes all of it, if the client does not take too long.
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.taken += len as u64;
                    bytes = bytes.get(len..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A plain socket has taken none of it; of an encrypted one that is not known.
                Err(error) if is_timeout(&error) && self.to.is_plain() => {}
                Err(error) => return Err(error),
            }
            self.check_rate()?;
        }
        Ok(())
    }

    /// Sends the first `len` bytes of a file: by the kernel alone where nothing is to be encrypted.
    fn send_file(&mut self, file: &File, len: u64) -> io::Result<()> {
        let (mut offset, mut piece) = (0, Vec::new());
        self.flush()?;
        while offset < len {
            let left = usize::try_from(len - offset).unwrap_or(usize::MAX);
            if self.to.is_plain() {
                match self.to.send_file(file, &mut offset, left.min(FILE_STEP_LEN)) {
                    Ok(0) => return Err(became_shorter()),
                    Ok(sent) => self.taken += sent as u64,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted || is_timeout(&error) => {}
                    Err(error) => return Err(error),
                }
                self.check_rate()?;
            } else {
                piece.resize(left.min(ENCRYPTED_STEP_LEN), 0);
                read_exact_at(file, &mut piece, offset)?;
                self.put(&piece)?;
                offset += piece.len() as u64;
            }
        }
        self.len += len;
        Ok(())
    }

    fn check_rate(&self) -> io::Result<()> {
        let elapsed = self.began.elapsed();
        if elapsed > SEND_STALL && self.taken < elapsed.as_secs().saturating_mul(SEND_RATE_MIN) {
            let message = format!("the client took {} bytes in {} s", self.taken, elapsed.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        Ok(())
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            // The first bytes go out with the head: they are copied once, and never again.
            let mut head = std::mem::take(self.head);
            head.extend_from_slice(bytes);
            let put = self.put(&head);
            head.clear();
            *self.head = head;
            put?;
            self.len += bytes.len() as u64;
            return Ok(bytes.len());
        }
        self.put(bytes)?;
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(self.head)?;
        self.head.clear();
        Ok(())
    }
}

/// A body that is not in chunks: small pieces of it are put together.
struct Whole<'w, 'c>(io::BufWriter<&'w mut Counted<'c>>);

impl Write for Whole<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl BodyWriter for Whole<'_, '_> {
    fn send_file(&mut self, file: &File, len: u64) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_mut().send_file(file, len)
    }
}

impl<W: Write> BodyWriter for ChunkWriter<W> {
    fn send_file(&mut self, file: &File, len: u64) -> io::Result<()> {
        let (mut piece, mut offset) = (Vec::new(), 0);
        while offset < len {
            piece.resize(usize::try_from(len - offset).unwrap_or(usize::MAX).min(ENCRYPTED_STEP_LEN), 0);
            read_exact_at(file, &mut piece, offset)?;
            self.write_all(&piece)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
}
