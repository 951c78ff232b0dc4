//! The duplex stream under a connection, whatever it is made of, until it is split into its two halves.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::halves::{self, Encrypted};
use super::origin::{Origin, origin_of};
use super::socket::{LINGER_LEN_MAX, Socket};
use super::tls::{Credentials, HandshakeError, Incoming, KeyCheck, ServerTls, Tls, WebClient, handshake};

pub use super::control::{Control, WeakControl};
pub use super::halves::{ReadHalf, WriteHalf};

/// Silence after which the kernel asks whether the other end still lives.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Such questions without an answer that end the connection.
const KEEPALIVE_PROBES: u32 = 3;

/// A connected stream, not yet split.
#[derive(Debug)]
pub struct Stream {
    socket: Arc<Socket>,
    encrypted: Option<Encrypted>,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket: Arc::new(Socket::Tcp(socket)), encrypted: None }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self { socket: Arc::new(Socket::Unix(socket)), encrypted: None }
    }
}

impl Stream {
    /// Sets what every connection of ours has: no Nagle delay, a limit on how long the other end may take
    /// nothing at all of what is sent to it (`None`: without limit), and keepalive, so that one that died is
    /// noticed within `notice_within` even if neither end says anything (`None`: within a minute).
    ///
    /// # Errors
    /// The socket is already gone.
    pub fn tune(&self, stall_timeout: Option<Duration>, notice_within: Option<Duration>) -> io::Result<()> {
        match &*self.socket {
            Socket::Tcp(socket) => {
                socket.set_nodelay(true)?;
                // Half of the time is silence, the rest are questions; the kernel counts whole seconds.
                let half = notice_within.map_or(KEEPALIVE_AFTER, |within| (within / 2).min(KEEPALIVE_AFTER));
                let keepalive = TcpKeepalive::new()
                    .with_time(half.max(Duration::from_secs(1)))
                    .with_interval((half / KEEPALIVE_PROBES).max(Duration::from_secs(1)))
                    .with_retries(KEEPALIVE_PROBES);
                let options = SockRef::from(socket);
                options.set_tcp_keepalive(&keepalive)?;
                // Covers both a peer that died with data under way and one whose window stays shut. It
                // also overrides the number of keepalive's questions (tcp(7)), so it is no longer than
                // what those are to take.
                let limit = match (stall_timeout, notice_within) {
                    (Some(stall), Some(within)) => Some(stall.min(within)),
                    (stall, _) => stall,
                };
                options.set_tcp_user_timeout(limit)
            }
            Socket::Unix(socket) => socket.set_write_timeout(stall_timeout),
        }
    }

    /// The two halves, for two threads.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        halves::split(self.socket, self.encrypted)
    }

    /// The server's side of a TLS handshake, of which `first` was already read, within `limit` in all.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub fn accept_tls(self, first: &[u8], server: &ServerTls, limit: Duration) -> Result<Self, HandshakeError> {
        let shaken = handshake::accept(&self.socket, first, server, limit)?;
        Ok(self.encrypted(shaken))
    }

    /// The client's side of a TLS handshake of our own protocol, within `limit` in all; `verdict` judges the server's
    /// key before anything of ours but the `ClientHello` is sent.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub fn connect_tls(self, own: &Credentials, verdict: KeyCheck, limit: Duration) -> Result<Self, HandshakeError> {
        let shaken = handshake::connect(&self.socket, own, verdict, limit)?;
        Ok(self.encrypted(shaken))
    }

    /// The client's side of a TLS handshake with a server of the web, called `host`: a name or an IP address. Within
    /// `limit` in all.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub fn connect_web(self, host: &str, web: &WebClient, limit: Duration) -> Result<Self, HandshakeError> {
        let shaken = handshake::connect_web(&self.socket, host, web, limit)?;
        Ok(self.encrypted(shaken))
    }

    fn encrypted(self, (tls, incoming): (Tls, Incoming)) -> Self {
        Self { encrypted: Some(Encrypted { tls: Arc::new(tls), incoming }), ..self }
    }

    /// The encrypted stream's shared state; `None` on a plain one.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.encrypted.as_ref().map(|encrypted| &encrypted.tls)
    }

    /// Whether the other end is an address of this machine: loopback, or the one that this end has too.
    pub fn is_to_this_machine(&self) -> bool {
        self.socket.is_to_this_machine()
    }

    /// Whether this end's address is one that only this machine can reach.
    pub fn is_at_loopback(&self) -> bool {
        self.socket.is_at_loopback()
    }

    /// The user at the other end of a Unix socket (`SO_PEERCRED`: unix(7)); `None` over a network, or
    /// where the kernel does not say.
    pub fn peer_user(&self) -> Option<u32> {
        match &*self.socket {
            Socket::Tcp(_) => None,
            Socket::Unix(socket) => {
                rustix::net::sockopt::socket_peercred(socket).ok().map(|credentials| credentials.uid.as_raw())
            }
        }
    }

    /// A handle that outlives the halves' owners, to stop them from outside.
    pub fn control(&self) -> Control {
        Control::of(Arc::clone(&self.socket))
    }

    /// This end's address (getsockname).
    pub fn local_address(&self) -> String {
        self.socket.local_address()
    }

    /// The other end's address (getpeername).
    pub fn peer_address(&self) -> String {
        self.socket.peer_address()
    }

    /// This end's IP address; `None`: a Unix socket.
    pub fn local_ip(&self) -> Option<IpAddr> {
        match &*self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok().map(|address| address.ip().to_canonical()),
            Socket::Unix(_) => None,
        }
    }

    /// The other end's IP address; `None`: a Unix socket.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match &*self.socket {
            Socket::Tcp(socket) => socket.peer_addr().ok().map(|address| address.ip().to_canonical()),
            Socket::Unix(_) => None,
        }
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
        if !self.socket.readable(wait)? {
            return Ok(None);
        }
        (&*self.socket).read(dest).map(Some)
    }

    /// Writes what fits without waiting and shuts the sending half down: a word to a client that is
    /// turned away.
    pub fn send_last_word(&self, word: &[u8]) {
        if self.try_write(&[IoSlice::new(word)]).is_ok() {
            self.socket.shutdown(Shutdown::Write);
        }
    }

    /// How long a read may wait; `None`: without limit.
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
        // Within bounds: a client that never stops sending would keep the caller here without end.
        while dropped < LINGER_LEN_MAX && self.socket.readable(Some(Duration::ZERO)).unwrap_or(false) {
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
