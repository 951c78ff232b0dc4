//! A connected socket of either kind, and what both can do. No lock is in here: the kernel's sockets
//! are duplex.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// Bytes that are read and dropped before a socket is closed, at most: what a sender in mid-file has
/// on its way...
pub const LINGER_LEN_MAX: usize = 4 * 1024 * 1024;
/// ...and the time that it may take, at most: closing with unread bytes resets the connection, and the other end
/// would lose the last error that was sent to it.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// Over a network, or loopback.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

impl Socket {
    /// Shuts one direction down, or both. A socket that is gone already has nothing left to shut down, so its error
    /// says nothing new.
    pub fn shutdown(&self, how: Shutdown) {
        let result = match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        };
        drop(result);
    }

    /// How long a read may wait; `None`: without limit.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        // Zero would mean "without limit" to the kernel, and is refused by std.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(timeout),
            Self::Unix(socket) => socket.set_read_timeout(timeout),
        }
    }

    /// How long a write may wait for the other end to take anything; `None`: without limit.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(socket) => socket.set_write_timeout(timeout),
            Self::Unix(socket) => socket.set_write_timeout(timeout),
        }
    }

    /// The limit that is set.
    pub fn read_timeout(&self) -> Option<Duration> {
        match self {
            Self::Tcp(socket) => socket.read_timeout().unwrap_or_default(),
            Self::Unix(socket) => socket.read_timeout().unwrap_or_default(),
        }
    }

    /// Reads and drops, within bounds, what the other end still sends.
    pub fn linger(&self) {
        let mut socket = self;
        let deadline = Instant::now() + LINGER_TIME_MAX;
        let mut waste = [0; 4096];
        let mut dropped = 0;
        while dropped < LINGER_LEN_MAX {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.readable(Some(left)).unwrap_or(false) {
                break;
            }
            match socket.read(&mut waste) {
                Ok(0) | Err(_) => break,
                Ok(len) => dropped += len,
            }
        }
    }

    /// Writes what the socket takes at once.
    ///
    /// # Errors
    /// `WouldBlock`, or the socket failed.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(self.as_fd(), slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    /// Writes some bytes, behind which more come at once: the kernel may wait for those, so that small bytes leave with
    /// them (`MSG_MORE`).
    ///
    /// # Errors
    /// The socket failed.
    pub fn write_with_more(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.as_fd(), bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
    }

    /// This end's address (getsockname).
    pub fn local_address(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.local_addr().map_or_else(|_| "?".into(), |address| address.to_string()),
            Self::Unix(socket) => socket.local_addr().map_or_else(|_| "unix:?".into(), |address| unix_name(&address)),
        }
    }

    /// The other end's address (getpeername).
    pub fn peer_address(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map_or_else(|_| "?".into(), |address| address.to_string()),
            Self::Unix(socket) => socket.peer_addr().map_or_else(|_| "unix:?".into(), |address| unix_name(&address)),
        }
    }

    /// Whether the other end is an address of this machine: loopback, or the one that this end has too.
    pub fn is_to_this_machine(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(socket) => match (socket.local_addr(), socket.peer_addr()) {
                (Ok(local), Ok(peer)) => {
                    let (local, peer) = (local.ip().to_canonical(), peer.ip().to_canonical());
                    peer.is_loopback() || local == peer
                }
                _ => false,
            },
        }
    }

    /// Whether this end's address is one that only this machine can reach.
    pub fn is_at_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(socket) => socket.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback()),
        }
    }

    /// Waits until a read would return; `None` waits without limit.
    ///
    /// # Errors
    /// The socket cannot be waited for.
    pub fn readable(&self, wait: Option<Duration>) -> io::Result<bool> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
            match poll(&mut [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)], timeout.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Socket {
    /// Whether both directions are closed: this end has shut them down, or the connection was reset.
    pub fn is_shut(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::empty())];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::HUP | PollFlags::ERR;
        poll(&mut polled, Some(&now)).is_ok() && polled.iter().any(|polled| polled.revents().intersects(gone))
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

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).read_vectored(slices),
            Socket::Unix(socket) => (&mut &*socket).read_vectored(slices),
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

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &*socket).write_vectored(slices),
            Socket::Unix(socket) => (&mut &*socket).write_vectored(slices),
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
