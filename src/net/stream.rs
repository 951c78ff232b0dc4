//! The duplex stream under a line, whatever it is made of, and its two halves.
//!
//! The halves live on different threads and need no lock between them: the kernel's sockets are
//! duplex. Whatever encrypts later goes in here, behind the same two halves.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::{SockRef, TcpKeepalive};

/// Silence after which the kernel asks whether the other end still lives.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Time between two such questions; three without an answer end the line, 60 s after the last byte.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// At most so many bytes are read and dropped before a socket is closed: what a sender in mid-file has
/// on its way...
const LINGER_LEN_MAX: usize = 4 * 1024 * 1024;
/// ...and for at most so long: closing with unread bytes resets the connection, and the other end
/// would lose the last error that was sent to it.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// A connected socket.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected stream, not yet split.
#[derive(Debug)]
pub struct Stream {
    socket: Arc<Socket>,
}

/// Who is at the other end of a stream, as far as the network says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// One IPv4 address, or one IPv6 network of 64 bits: what one customer of a provider has.
    Network(IpAddr),
    /// This machine, over a Unix socket.
    Local,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket: Arc::new(Socket::Tcp(socket)) }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self { socket: Arc::new(Socket::Unix(socket)) }
    }
}

impl Stream {
    /// Sets what every line of ours has: no Nagle delay, keepalive, and a limit on how long the
    /// other end may take nothing at all of what is sent to it (`None`: for ever).
    ///
    /// # Errors
    /// The socket is already gone.
    pub fn tune(&self, stall_timeout: Option<Duration>) -> io::Result<()> {
        match &*self.socket {
            Socket::Tcp(socket) => {
                socket.set_nodelay(true)?;
                let keepalive = TcpKeepalive::new()
                    .with_time(KEEPALIVE_AFTER)
                    .with_interval(KEEPALIVE_INTERVAL)
                    .with_retries(KEEPALIVE_PROBES);
                let options = SockRef::from(socket);
                options.set_tcp_keepalive(&keepalive)?;
                // Covers both a peer that died with data under way and one whose window stays shut.
                options.set_tcp_user_timeout(stall_timeout)
            }
            Socket::Unix(socket) => socket.set_write_timeout(stall_timeout),
        }
    }

    /// The two halves, for two threads.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        let timeout = Cell::new(self.socket.read_timeout());
        (ReadHalf { socket: Arc::clone(&self.socket), timeout }, WriteHalf { socket: self.socket })
    }

    /// A handle that outlives the halves' owners, to stop them from outside.
    pub fn control(&self) -> Control {
        Control { socket: Arc::clone(&self.socket) }
    }

    /// This end's address (getsockname).
    pub fn local_address(&self) -> String {
        self.socket.local_address()
    }

    /// The other end's address (getpeername).
    pub fn peer_address(&self) -> String {
        self.socket.peer_address()
    }

    /// Whom caps count this stream for.
    pub fn origin(&self) -> Origin {
        match &*self.socket {
            Socket::Unix(_) => Origin::Local,
            Socket::Tcp(socket) => socket.peer_addr().map_or(Origin::Local, |peer| origin_of(peer.ip())),
        }
    }

    /// Reads once, for at most `wait`; `None` if nothing came in that time, 0 bytes is the end.
    ///
    /// # Errors
    /// The socket failed.
    pub fn read_within(&self, dest: &mut [u8], wait: Option<Duration>) -> io::Result<Option<usize>> {
        if !readable(self.socket.as_fd(), wait)? {
            return Ok(None);
        }
        (&*self.socket).read(dest).map(Some)
    }

    /// Writes what fits without waiting and shuts the sending half down: a word to somebody who is
    /// turned away.
    pub fn send_last_word(&self, word: &[u8]) {
        if self.try_write(&[IoSlice::new(word)]).is_ok() {
            self.socket.shutdown(Shutdown::Write);
        }
    }

    /// How long a read may wait; `None`: for ever.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Says that nothing more will come, then reads and drops, within bounds, what the other end
    /// still sends, so that it can read our last word: closing with unread bytes would reset the
    /// connection.
    pub fn linger_after_end(&self) {
        self.socket.shutdown(Shutdown::Write);
        self.socket.linger();
    }

    /// Reads and drops what has come, without waiting; `false` at the end of the stream.
    pub fn drain(&self) -> bool {
        let mut waste = [0; 4096];
        let mut dropped = 0;
        // Within bounds: who never stops sending would keep the caller here for ever.
        while dropped < LINGER_LEN_MAX && readable(self.socket.as_fd(), Some(Duration::ZERO)).unwrap_or(false) {
            match (&*self.socket).read(&mut waste) {
                Ok(0) | Err(_) => return false,
                Ok(len) => dropped += len,
            }
        }
        true
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(slices)
    }
}

impl Read for Stream {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        (&*self.socket).read(dest)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// IPv6 hosts are handed 64 bits to choose addresses from, so they are counted by the other 64
/// (RFC 4291, 2.5.4); an IPv4 address that came in over an IPv6 socket is itself.
fn origin_of(address: IpAddr) -> Origin {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Origin::Network(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        v4 @ IpAddr::V4(_) => Origin::Network(v4),
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct ReadHalf {
    socket: Arc<Socket>,
    /// The timeout that the socket has, so that setting it again costs no system call.
    timeout: Cell<Option<Duration>>,
}

impl ReadHalf {
    /// How long a read may wait; `None`: for ever.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        if self.timeout.get() == timeout {
            return Ok(());
        }
        self.timeout.set(timeout);
        self.socket.set_read_timeout(timeout)
    }

    /// Whether a read would find something (bytes or the end) without waiting.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn ready(&self) -> io::Result<bool> {
        readable(self.socket.as_fd(), Some(Duration::ZERO))
    }
}

impl Read for ReadHalf {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        (&*self.socket).read(dest)
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match &*self.socket {
            Socket::Tcp(socket) => (&mut &*socket).read_vectored(slices),
            Socket::Unix(socket) => (&mut &*socket).read_vectored(slices),
        }
    }
}

/// The sending half. A clone is a second handle on the same socket: whoever holds both decides who
/// writes, frame by frame.
#[derive(Debug, Clone)]
pub struct WriteHalf {
    socket: Arc<Socket>,
}

impl WriteHalf {
    /// Writes what the socket takes at once; `WouldBlock` if that is nothing.
    ///
    /// # Errors
    /// `WouldBlock`, or the socket failed.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(slices)
    }

    /// Closes a line: says that nothing more will come, then reads and drops, within bounds, what
    /// the other end still sent, so that it can read our last word before the connection is gone.
    pub fn close(&self) {
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
        (&*self.socket).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &*self.socket {
            Socket::Tcp(socket) => (&mut &*socket).write_vectored(slices),
            Socket::Unix(socket) => (&mut &*socket).write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stops a stream from another thread.
#[derive(Debug, Clone)]
pub struct Control {
    socket: Arc<Socket>,
}

impl Control {
    /// Ends reading: a blocked read returns, what had already come can still be read.
    pub fn stop_reading(&self) {
        self.socket.shutdown(Shutdown::Read);
    }

    /// Says that nothing more will be sent; what was sent is still delivered.
    pub fn stop_writing(&self) {
        self.socket.shutdown(Shutdown::Write);
    }

    /// Ends both directions: blocked reads and writes return.
    pub fn stop(&self) {
        self.socket.shutdown(Shutdown::Both);
    }
}

impl Socket {
    /// A socket that is gone already has nothing left to shut down, so its error says nothing new.
    fn shutdown(&self, how: Shutdown) {
        let result = match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        };
        drop(result);
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        // Zero would mean "for ever" to the kernel, and is refused by std.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(timeout),
            Self::Unix(socket) => socket.set_read_timeout(timeout),
        }
    }

    fn read_timeout(&self) -> Option<Duration> {
        match self {
            Self::Tcp(socket) => socket.read_timeout().unwrap_or_default(),
            Self::Unix(socket) => socket.read_timeout().unwrap_or_default(),
        }
    }

    fn linger(&self) {
        let mut socket = self;
        let deadline = Instant::now() + LINGER_TIME_MAX;
        let mut waste = [0; 4096];
        let mut dropped = 0;
        while dropped < LINGER_LEN_MAX {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !readable(self.as_fd(), Some(left)).unwrap_or(false) {
                break;
            }
            match socket.read(&mut waste) {
                Ok(0) | Err(_) => break,
                Ok(len) => dropped += len,
            }
        }
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(self.as_fd(), slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn local_address(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.local_addr().map_or_else(|_| "?".into(), |address| address.to_string()),
            Self::Unix(socket) => socket.local_addr().map_or_else(|_| "unix:?".into(), |address| unix_name(&address)),
        }
    }

    fn peer_address(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map_or_else(|_| "?".into(), |address| address.to_string()),
            Self::Unix(socket) => socket.peer_addr().map_or_else(|_| "unix:?".into(), |address| unix_name(&address)),
        }
    }
}

fn unix_name(address: &std::os::unix::net::SocketAddr) -> String {
    // A client's end is usually unnamed. One that has a name chose it, and must not write our log with it.
    let shown = |path: &std::path::Path| format!("unix:{}", path.to_string_lossy().escape_debug());
    address.as_pathname().map_or_else(|| "unix:".into(), shown)
}

impl Read for &Socket {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).read(dest),
            Socket::Unix(socket) => (&mut &*socket).read(dest),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).write(bytes),
            Socket::Unix(socket) => (&mut &*socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Waits until a read would return; `None` waits for ever.
fn readable(socket: BorrowedFd<'_>, wait: Option<Duration>) -> io::Result<bool> {
    let deadline = wait.map(|wait| Instant::now() + wait);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
        match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], timeout.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
