//! Frames: a 4-byte little-endian length, a JSON header of that length, a body whose length the header announces. All
//! byte arithmetic of the protocol is in this file.
//!
//! ```text
//! +----------------+--------------------------+------------------+
//! | i32 LE, 2..=65535 | {"type":...,"total_size":n} | n bytes, <= 4 MiB |
//! +----------------+--------------------------+------------------+
//! ```
//!
//! The reader does not decode JSON: its caller reads `total_size` out of the header and passes it to
//! [`FrameReader::begin_body`]. Memory is allocated for received bytes, never for announced ones.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{ConnectionLost, Misbehaviour, Result};

/// Size of the length in front of a header, in bytes.
pub const LENGTH_LEN: usize = 4;
/// Shortest header, in bytes: `{}`.
pub const HEADER_LEN_MIN: usize = 2;
/// Longest header, in bytes: its length's upper two bytes are always zero, by which a server tells a frame from a
/// tutorial request.
pub const HEADER_LEN_MAX: usize = 65_535;
/// Longest body, in bytes: longer content is a sequence of `data` frames, so that either end can stop it.
pub const BODY_LEN_MAX: u32 = 4 * 1024 * 1024;
/// Longest header and longest body from a peer that has not sent `hello` yet, in bytes: an unknown peer gets no more
/// memory.
pub const STRANGER_LEN_MAX: usize = 4 * 1024;
/// A body of up to this many bytes is copied behind its header and sent in one write. A longer one is sent in a
/// vectored write, since the copy would cost more than the second slice.
pub const COPY_LEN_MAX: usize = 8 * 1024;
/// Read buffer of an idle connection, in bytes; 1,000 idle connections take 4 MiB.
pub const BUFFER_LEN_IDLE: usize = 4 * 1024;
/// Largest read buffer of a connection while many small frames arrive, in bytes. A longer header may grow it to
/// `LENGTH_LEN + HEADER_LEN_MAX`.
pub const BUFFER_LEN_BUSY: usize = 64 * 1024;

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    /// `start <= end <= buffer.len()`; `buffer[start..end]` was received and is not yet used.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// `header_start <= header_end <= start` until the next read moves the buffer's content.
    header_start: usize,
    header_end: usize,
    /// Bytes of the present body that the caller has not read yet. A cell, because it is set while the caller still
    /// borrows the header.
    body_left: Cell<u32>,
    /// Whether the last read filled the buffer, and its content so far is small frames.
    is_busy: bool,
    received: u64,
    /// Whether the other end has not sent `hello` yet.
    is_stranger: bool,
}

impl<R: Read> FrameReader<R> {
    /// A reader of `inner`, from which `first` was already read (wire detection looks at it).
    pub fn new(inner: R, first: &[u8]) -> Self {
        let mut buffer = vec![0; BUFFER_LEN_IDLE.max(first.len())];
        buffer.iter_mut().zip(first).for_each(|(to, from)| *to = *from);
        let received = u64::try_from(first.len()).unwrap_or(u64::MAX);
        Self {
            inner,
            buffer,
            start: 0,
            end: first.len(),
            header_start: 0,
            header_end: 0,
            body_left: Cell::new(0),
            is_busy: false,
            received,
            is_stranger: false,
        }
    }

    /// Sets whether headers and bodies are limited to [`STRANGER_LEN_MAX`], or only to the limits of a frame.
    pub const fn set_stranger(&mut self, is_stranger: bool) {
        self.is_stranger = is_stranger;
    }

    /// The stream under the frames.
    pub const fn stream(&self) -> &R {
        &self.inner
    }

    /// Bytes received so far, buffered ones included.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were received and not used yet.
    pub fn buffered(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Bytes of the present frame's body that were not read yet.
    pub fn body_left(&self) -> u32 {
        self.body_left.get()
    }

    /// Skips the rest of the last body, then waits for the next [`header`](Self::header). `false` is a clean end: the
    /// stream closed between two frames.
    ///
    /// # Errors
    /// A length outside the limits, a header that is no object, an end inside a frame, a socket error.
    pub fn next_header(&mut self) -> Result<bool> {
        self.skip_body()?;
        if self.buffered() == 0 && self.fill(1)? == 0 {
            return Ok(false);
        }
        self.need(LENGTH_LEN)?;
        let announced = LittleEndian::read_i32(self.unused());
        let len = usize::try_from(announced)
            .ok()
            .filter(|len| (HEADER_LEN_MIN..=HEADER_LEN_MAX).contains(len))
            .ok_or(Misbehaviour::HeaderLength(announced))?;
        self.check_stranger("header", u64::try_from(len).unwrap_or(u64::MAX))?;
        self.take(LENGTH_LEN);
        if self.buffered() == 0 && self.fill(1)? == 0 {
            return Err(ConnectionLost::InsideFrame { missing: u64::try_from(len).unwrap_or(u64::MAX) }.into());
        }
        if let Some(&first) = self.unused().first().filter(|&&byte| byte != b'{') {
            return Err(Misbehaviour::NotAnObject(first).into());
        }
        self.need(len)?;
        self.header_start = self.start;
        self.take(len);
        self.header_end = self.start;
        Ok(true)
    }

    /// The JSON that [`next_header`](Self::next_header) found; valid until the next read.
    pub fn header(&self) -> &[u8] {
        self.buffer.get(self.header_start..self.header_end).unwrap_or_default()
    }

    /// Sets the length of the body of the header just read. It takes `&self` so that the header may still be borrowed.
    ///
    /// # Errors
    /// `total_size` is over [`BODY_LEN_MAX`].
    pub fn begin_body(&self, total_size: u64) -> Result<()> {
        self.check_stranger("body", total_size)?;
        match u32::try_from(total_size) {
            Ok(len) if len <= BODY_LEN_MAX => {
                self.body_left.set(len);
                Ok(())
            }
            _ => Err(Misbehaviour::BodyTooLarge { announced: total_size, limit: BODY_LEN_MAX }.into()),
        }
    }

    fn check_stranger(&self, part: &'static str, announced: u64) -> Result<()> {
        let limit = u64::try_from(STRANGER_LEN_MAX).unwrap_or(u64::MAX);
        if self.is_stranger && announced > limit {
            return Err(Misbehaviour::TooMuchTooSoon { part, announced, limit }.into());
        }
        Ok(())
    }

    /// Reads some of the present body into `dest`; 0 means that the body is at its end.
    ///
    /// A large body is read directly into its destination; the bytes behind it (the next header) are read into the
    /// buffer by the same call.
    ///
    /// # Errors
    /// The stream ended inside the body, or the socket failed.
    pub fn read_body(&mut self, dest: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.body_left.get()).unwrap_or(usize::MAX).min(dest.len());
        let Some(dest) = dest.get_mut(..left).filter(|dest| !dest.is_empty()) else { return Ok(0) };
        let taken = if self.buffered() > 0 { self.copy_out(dest) } else { self.read_past_buffer(dest)? };
        let taken_of_body = u32::try_from(taken).unwrap_or(u32::MAX);
        self.body_left.set(self.body_left.get().saturating_sub(taken_of_body));
        Ok(taken)
    }

    /// Reads and discards the rest of the present body.
    ///
    /// # Errors
    /// As [`read_body`](Self::read_body).
    pub fn skip_body(&mut self) -> Result<()> {
        if self.body_left.get() == 0 {
            return Ok(());
        }
        let mut waste = [0; 2048];
        while self.body_left.get() > 0 {
            self.read_body(&mut waste)?;
        }
        Ok(())
    }

    /// Releases the memory that a busy exchange took. For use between exchanges.
    pub fn rest(&mut self) {
        self.is_busy = false;
        if self.buffered() == 0 && self.buffer.len() > BUFFER_LEN_IDLE {
            self.buffer = vec![0; BUFFER_LEN_IDLE];
            self.start = 0;
            self.end = 0;
        }
    }

    fn unused(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn take(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
    }

    fn copy_out(&mut self, dest: &mut [u8]) -> usize {
        let len = self.buffered().min(dest.len());
        if let (Some(to), Some(from)) = (dest.get_mut(..len), self.unused().get(..len)) {
            to.copy_from_slice(from);
        }
        self.take(len);
        len
    }

    fn read_past_buffer(&mut self, dest: &mut [u8]) -> Result<usize> {
        self.start = 0;
        self.end = 0;
        self.is_busy = false;
        let wanted = dest.len();
        // Enough for the next header; more of the next long body would only be copied twice.
        let tail = self.buffer.len().min(BUFFER_LEN_IDLE);
        let tail = self.buffer.get_mut(..tail).unwrap_or_default();
        let mut slices = [IoSliceMut::new(dest), IoSliceMut::new(tail)];
        let came = retry(|| self.inner.read_vectored(&mut slices))?;
        if came == 0 {
            return Err(ConnectionLost::InsideFrame { missing: u64::from(self.body_left.get()) }.into());
        }
        self.count(came);
        self.end = came.saturating_sub(wanted);
        Ok(came.min(wanted))
    }

    /// Makes `len` bytes available; the error has the number of missing bytes.
    fn need(&mut self, len: usize) -> Result<()> {
        while self.buffered() < len {
            let missing = len.saturating_sub(self.buffered());
            if self.fill(len)? == 0 {
                let missing = u64::try_from(missing).unwrap_or(u64::MAX);
                return Err(ConnectionLost::InsideFrame { missing }.into());
            }
        }
        Ok(())
    }

    /// One read into the buffer, for a caller that needs `len` contiguous bytes.
    fn fill(&mut self, len: usize) -> Result<usize> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.start.saturating_add(len) > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.buffered();
            self.start = 0;
        }
        let is_worth_more = self.is_busy && self.buffer.len() < BUFFER_LEN_BUSY;
        if self.end == self.buffer.len() || is_worth_more {
            // Only a full buffer is doubled: memory grows with the bytes received, not with the announced length.
            let grown = self.buffer.len().saturating_mul(2);
            self.buffer.resize(grown, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let asked = room.len();
        let came = retry(|| self.inner.read(room))?;
        self.count(came);
        self.end = self.end.saturating_add(came);
        self.is_busy = came == asked;
        Ok(came)
    }

    fn count(&mut self, came: usize) {
        self.received = self.received.saturating_add(u64::try_from(came).unwrap_or(u64::MAX));
    }
}

/// Writes frames to a stream, several small ones in one write.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    /// Whole frames that wait for the next write.
    waiting: Vec<u8>,
    sent: u64,
    /// Whether a write has failed, perhaps in the middle of a frame: nothing that follows would be understood.
    is_broken: bool,
}

impl<W: Write> FrameWriter<W> {
    /// A writer to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner, waiting: Vec::new(), sent: 0, is_broken: false }
    }

    /// The stream under the frames. Bytes written past this writer must be whole frames.
    pub const fn stream_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// The stream under the frames.
    pub const fn stream(&self) -> &W {
        &self.inner
    }

    /// Bytes sent so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Counts bytes that were written through [`stream_mut`](Self::stream_mut).
    pub fn count_sent(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }

    /// Queues a frame; `header` appends its JSON to the buffer it is given. Nothing is sent before
    /// [`flush`](Self::flush), unless the body is long.
    ///
    /// # Errors
    /// The header is longer than [`HEADER_LEN_MAX`] (nothing was queued), or the socket failed.
    pub fn queue(&mut self, header: impl FnOnce(&mut Vec<u8>) -> io::Result<()>, body: &[u8]) -> io::Result<()> {
        let from = self.waiting.len();
        self.waiting.extend_from_slice(&[0; LENGTH_LEN]);
        if let Err(error) = header(&mut self.waiting).and_then(|()| self.patch_length(from)) {
            self.waiting.truncate(from);
            return Err(error);
        }
        if body.len() <= COPY_LEN_MAX {
            self.waiting.extend_from_slice(body);
            if self.waiting.len() < BUFFER_LEN_BUSY {
                return Ok(());
            }
            return self.flush();
        }
        self.check_unbroken()?;
        let result = write_both(&mut self.inner, &self.waiting, body);
        self.is_broken = result.is_err();
        let len = self.waiting.len().saturating_add(body.len());
        self.count_sent(len);
        self.waiting.clear();
        result
    }

    /// Sends all queued frames.
    ///
    /// # Errors
    /// The socket failed.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.check_unbroken()?;
        let result = self.inner.write_all(&self.waiting);
        self.is_broken = result.is_err();
        self.count_sent(self.waiting.len());
        self.waiting.clear();
        self.waiting.shrink_to(COPY_LEN_MAX);
        result
    }

    fn check_unbroken(&self) -> io::Result<()> {
        if self.is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn patch_length(&mut self, from: usize) -> io::Result<()> {
        let len = self.waiting.len().saturating_sub(from).saturating_sub(LENGTH_LEN);
        if len > HEADER_LEN_MAX {
            let text = format!("frame header of {len} bytes is over the limit of {HEADER_LEN_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let length = i32::try_from(len).unwrap_or(i32::MAX);
        if let Some(place) = self.waiting.get_mut(from..from.saturating_add(LENGTH_LEN)) {
            LittleEndian::write_i32(place, length);
        }
        Ok(())
    }
}

/// Writes two slices as if they were one, in one system call where the socket accepts it.
fn write_both(stream: &mut impl Write, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(head), IoSlice::new(body)];
    let mut left: &mut [IoSlice<'_>] = &mut slices;
    while !left.is_empty() {
        match stream.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => IoSlice::advance_slices(&mut left, len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A read with a time limit returns `Interrupted` when a signal arrives (signal(7)): try again.
fn retry(mut read: impl FnMut() -> io::Result<usize>) -> Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Ok(result?),
        }
    }
}
