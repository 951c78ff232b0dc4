//! The two halves of a stream.
//!
//! They live on different threads. Plain, they need no lock between them: the kernel's sockets
//! are duplex. Encrypted, they share what [`tls`](super::tls) locks, never while a socket sleeps.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::control::Control;
use super::socket::Socket;
use super::tls::{Incoming, Tls};

/// What encryption adds to a stream: the state that its halves share, and what its receiver has.
#[derive(Debug)]
pub(super) struct Encrypted {
    pub(super) tls: Arc<Tls>,
    pub(super) incoming: Incoming,
}

/// The halves of a stream over `socket`.
pub(super) fn split(socket: Arc<Socket>, encrypted: Option<Encrypted>) -> (ReadHalf, WriteHalf) {
    let timeout = Cell::new(socket.read_timeout());
    let written = Arc::new(AtomicUsize::new(0));
    let tls = encrypted.as_ref().map(|encrypted| Arc::clone(&encrypted.tls));
    let read = ReadHalf {
        socket: Arc::clone(&socket),
        timeout,
        wanted: Cell::new(None),
        stall: Cell::new(None),
        written: Arc::clone(&written),
        deadline: Cell::new(None),
        decrypter: RefCell::new(encrypted),
    };
    (read, WriteHalf { socket, tls, written })
}

/// The receiving half.
#[derive(Debug)]
pub struct ReadHalf {
    socket: Arc<Socket>,
    /// The timeout that the socket has, so that setting it again costs no system call.
    timeout: Cell<Option<Duration>>,
    /// How long a read may wait, as its owner has said.
    wanted: Cell<Option<Duration>>,
    /// How long nothing may move in either direction.
    stall: Cell<Option<Duration>>,
    /// Counts the bytes that the sending half has written.
    written: Arc<AtomicUsize>,
    /// When everything that is now waited for must have come, however it trickles in.
    deadline: Cell<Option<Instant>>,
    decrypter: RefCell<Option<Encrypted>>,
}

impl ReadHalf {
    /// A handle to stop both halves from outside.
    pub fn control(&self) -> Control {
        Control::of(Arc::clone(&self.socket))
    }

    /// How long a read may wait; `None`: without limit.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.wanted.set(timeout);
        let timeout = timeout.or(self.stall.get());
        if self.timeout.get() == timeout {
            return Ok(());
        }
        self.timeout.set(timeout);
        self.socket.set_read_timeout(timeout)
    }

    /// How long nothing may move, neither in nor out, where no other limit is set (`None`: without limit): a server
    /// that still answers TCP and says nothing is noticed then.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_stall(&self, limit: Option<Duration>) -> io::Result<()> {
        self.stall.set(limit);
        self.socket.set_write_timeout(limit)?;
        self.set_timeout(self.wanted.get())
    }

    /// Whether a read that timed out is to wait on: what is written moves.
    fn is_moving(&self, error: &io::Error, written: usize) -> bool {
        is_timeout(error) && self.wanted.get().is_none() && self.written.load(Ordering::Relaxed) != written
    }

    /// When reading ends, whatever comes by then: for those who send a byte now and then. `None`: never.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Whether a read would find something (bytes or the end) without waiting.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn ready(&self) -> io::Result<bool> {
        match &mut *self.decrypter.borrow_mut() {
            Some(Encrypted { tls, incoming }) => tls.ready(&self.socket, incoming),
            None => self.socket.readable(Some(Duration::ZERO)),
        }
    }
}

impl Read for ReadHalf {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(dest)])
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let this = &*self;
        let mut socket = &*this.socket;
        let mut read = |slices: &mut [IoSliceMut<'_>]| loop {
            let written = this.written.load(Ordering::Relaxed);
            let waited = wait_before(socket, this.deadline.get());
            // One buffer is the usual case, and recv(2) costs less than readv(2).
            let read = waited.and_then(|()| match &mut *slices {
                [one] => socket.read(one),
                several => socket.read_vectored(several),
            });
            match read {
                Err(error) if this.is_moving(&error, written) => {}
                read => return read,
            }
        };
        match &mut *this.decrypter.borrow_mut() {
            Some(Encrypted { tls, incoming }) => {
                tls.read(&this.socket, incoming, slices, &mut |dest| read(&mut [IoSliceMut::new(dest)]))
            }
            None => read(slices),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn wait_before(socket: &Socket, deadline: Option<Instant>) -> io::Result<()> {
    let Some(deadline) = deadline else { return Ok(()) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || !socket.readable(Some(left))? { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

/// The sending half. A clone is a second handle on the same socket: the owner of both decides who
/// writes, frame by frame.
#[derive(Debug, Clone)]
pub struct WriteHalf {
    socket: Arc<Socket>,
    tls: Option<Arc<Tls>>,
    /// Counts the bytes that were written, for the receiving half too.
    written: Arc<AtomicUsize>,
}

impl WriteHalf {
    /// Writes what the socket takes at once; `WouldBlock` if that is nothing. An encrypted stream may
    /// take more than its socket does: see [`has_unsent`](Self::has_unsent).
    ///
    /// # Errors
    /// `WouldBlock`, or the socket failed.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.tls {
            Some(tls) => tls.try_write(&self.socket, slices),
            None => self.socket.try_write(slices),
        }
    }

    /// Whether something that [`try_write`](Self::try_write) took has not left yet.
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Sends what [`try_write`](Self::try_write) left, as far as the socket takes it at once.
    ///
    /// # Errors
    /// `WouldBlock` if something is still left, or the socket failed.
    pub fn try_flush(&self) -> io::Result<()> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.try_write(&self.socket, &[]).map(drop))
    }

    /// The bytes that were written so far without [`try_write`](Self::try_write), before encryption. The count begins
    /// again at 0 when it is full.
    pub fn written_len(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether what is written goes to the socket as it is.
    pub const fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Sends at most `len` bytes of `file` from `offset`, which moves on: the kernel copies them (sendfile(2)). Only a
    /// [plain](Self::is_plain) stream can. 0: the file has no more.
    ///
    /// # Errors
    /// The socket or the file failed.
    pub fn send_file(&self, file: &impl AsFd, offset: &mut u64, len: usize) -> io::Result<usize> {
        let sent = rustix::fs::sendfile(&*self.socket, file, Some(offset), len)?;
        self.written.fetch_add(sent, Ordering::Relaxed);
        Ok(sent)
    }

    /// Writes all of `front`, behind which a [file](Self::send_file) is sent: they leave together. Only a
    /// [plain](Self::is_plain) stream can.
    ///
    /// # Errors
    /// The socket failed.
    pub fn send_front(&self, mut front: &[u8]) -> io::Result<()> {
        while !front.is_empty() {
            match self.socket.write_with_more(front) {
                Ok(len) => {
                    self.written.fetch_add(len, Ordering::Relaxed);
                    front = front.get(len..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says farewell without waiting, for a connection that ends in the middle of things.
    pub fn abandon(&self) {
        if let Some(tls) = &self.tls {
            tls.abandon(&self.socket);
        }
    }

    /// Closes a connection: says that nothing more will come, then reads and drops, within bounds, what
    /// the other end still sent, so that it can read our last word before the connection is gone.
    pub fn close(&self) {
        if let Some(tls) = &self.tls {
            tls.close(&self.socket);
        }
        self.socket.shutdown(Shutdown::Write);
        self.socket.linger();
    }
}

impl AsFd for WriteHalf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Write for WriteHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match &self.tls {
            Some(tls) => tls.write(&self.socket, slices),
            // As for reading.
            None => match slices {
                [one] => (&*self.socket).write(one),
                several => (&*self.socket).write_vectored(several),
            },
        };
        self.written.fetch_add(*written.as_ref().unwrap_or(&0), Ordering::Relaxed);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
