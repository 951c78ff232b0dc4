//! A datagram socket of either family, UDP or Unix, and the one way to wait on it.
//!
//! The socket never blocks by itself: [`DatagramSocket::receive`] reads first and then waits in `poll`, so that a
//! deadline or a [`Stop`] can end every wait, and a busy socket costs one system call per datagram.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::group::{Group, send_through};
use super::own_path::OwnPath;
use super::stamp::{self, Stamped};
use super::{Endpoint, Stop};

/// Size of the receive buffer in bytes: datagrams that arrive while it is full are lost silently. The kernel grants at
/// most `net.core.rmem_max` to a program without privileges.
pub const RECEIVE_ROOM: usize = 4 << 20;

/// How long sending waits while the peer's queue is full. This happens only with a Unix peer that does not read.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// A socket that sends and receives datagrams; a Unix socket's file lives as long as it does.
#[derive(Debug)]
pub struct DatagramSocket {
    family: Family,
    path: Option<OwnPath>,
    is_stamped: bool,
}

#[derive(Debug)]
enum Family {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// How a wait for a datagram ended.
#[derive(Debug)]
pub enum Arrival {
    /// A datagram arrived; its bytes are at the start of the buffer. It may be empty.
    Datagram {
        /// Its length in bytes, `0 <= len <= buffer.len()`.
        len: usize,
        /// The sender's address.
        from: Endpoint,
        /// How long ago the kernel received it; `None`: it does not say.
        age: Option<Duration>,
    },
    /// The deadline passed first.
    TimedOut,
    /// The stop was triggered first.
    Stopped,
}

impl DatagramSocket {
    /// A socket at this address. Port 0 is any free port; at a Unix path, only a dead socket is replaced.
    ///
    /// # Errors
    /// The address is taken, is not this machine's, or may not be used.
    pub fn bind(at: &Endpoint) -> io::Result<Self> {
        match at {
            Endpoint::Ip(address) => Self::udp(*address),
            Endpoint::Unix(address) => match address.as_pathname() {
                Some(path) => {
                    OwnPath::make_way(path)?;
                    Self::unix(path)
                }
                None => Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket needs a path")),
            },
        }
    }

    /// A socket at any free address from which `peer` can be reached, and to which it can reply: for a Unix peer, that
    /// is a path in the directory for temporary files.
    ///
    /// # Errors
    /// No port, descriptor or temporary file is left.
    pub fn bind_for(peer: &Endpoint) -> io::Result<Self> {
        match peer {
            Endpoint::Ip(SocketAddr::V4(_)) => Self::udp((Ipv4Addr::UNSPECIFIED, 0).into()),
            Endpoint::Ip(SocketAddr::V6(_)) => Self::udp((Ipv6Addr::UNSPECIFIED, 0).into()),
            Endpoint::Unix(_) => {
                let name = format!("landline-udp-{:016x}.sock", random());
                Self::unix(&std::env::temp_dir().join(name))
            }
        }
    }

    fn udp(at: SocketAddr) -> io::Result<Self> {
        Self::prepared(UdpSocket::bind(at)?)
    }

    fn prepared(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Beyond the kernel's limit only a privileged program gets it.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_ROOM).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_ROOM)?;
        }
        Ok(Self { family: Family::Udp(socket), path: None, is_stamped: false })
    }

    /// A socket that receives what is sent to `group`, at `default_port` if the group names none.
    ///
    /// # Errors
    /// The interface does not exist or cannot multicast, or the port is taken.
    pub fn join(group: &Group, default_port: u16) -> io::Result<Self> {
        Self::prepared(group.join(default_port)?)
    }

    /// Sends what goes to a group through the interface of this name.
    ///
    /// # Errors
    /// There is no such interface, it cannot multicast, or this is a Unix socket.
    pub fn send_through(&self, interface: &str) -> io::Result<()> {
        match &self.family {
            Family::Udp(socket) => send_through(socket, interface),
            Family::Unix(_) => Err(only_on_udp("an interface")),
        }
    }

    fn unix(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        let path = OwnPath::new(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { family: Family::Unix(socket), path: Some(path), is_stamped: false })
    }

    /// Connects to `peer`: only its datagrams are received, and the kernel reports when no program receives there.
    ///
    /// # Errors
    /// There is no route; for a Unix peer also if no program receives there.
    pub fn connect(&self, peer: &Endpoint) -> io::Result<()> {
        match (&self.family, peer) {
            (Family::Udp(socket), Endpoint::Ip(address)) => socket.connect(address),
            (Family::Unix(socket), Endpoint::Unix(address)) => {
                socket.connect_addr(address)?;
                // The server may run as another user and must be able to reply to the socket's file. From now on the
                // kernel rejects datagrams of other senders.
                self.path.as_ref().map_or(Ok(()), OwnPath::let_everybody_write)
            }
            _ => Err(other_family()),
        }
    }

    /// The socket's own address.
    ///
    /// # Errors
    /// The operating system does not report it.
    pub fn local(&self) -> io::Result<Endpoint> {
        match &self.family {
            Family::Udp(socket) => socket.local_addr().map(Endpoint::Ip),
            Family::Unix(socket) => socket.local_addr().map(Endpoint::Unix),
        }
    }

    /// The file of a Unix socket, for a program that must exit without dropping the socket; `None`: there is none.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(OwnPath::as_path)
    }

    /// Waits for the next datagram until `until` or until `stop` is triggered; `None`: without that limit.
    ///
    /// # Errors
    /// The socket failed. On a connected socket, `ConnectionRefused` means that no program received an earlier
    /// datagram; the socket stays usable.
    pub fn receive(&self, buffer: &mut [u8], until: Option<Instant>, stop: Option<&Stop>) -> io::Result<Arrival> {
        loop {
            if stop.is_some_and(Stop::is_triggered) {
                return Ok(Arrival::Stopped);
            }
            match self.receive_now(buffer) {
                Ok(arrival) => return Ok(arrival),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A program that measures at a high rate comes with this often: it saves a system call.
                    if until.is_some_and(|until| until <= Instant::now()) {
                        return Ok(Arrival::TimedOut);
                    }
                    if !self.wait(PollFlags::IN, until, stop)? {
                        return Ok(Arrival::TimedOut);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let (len, from, age) = match &self.family {
            Family::Udp(socket) if self.is_stamped => {
                let Stamped { len, from, age } = stamp::receive(socket, buffer)?;
                (len, Endpoint::Ip(from), age)
            }
            Family::Udp(socket) => socket.recv_from(buffer).map(|(len, from)| (len, Endpoint::Ip(from), None))?,
            Family::Unix(socket) => socket.recv_from(buffer).map(|(len, from)| (len, Endpoint::Unix(from), None))?,
        };
        Ok(Arrival::Datagram { len, from, age })
    }

    /// Has the kernel say how long ago it received each datagram; returns whether it does.
    pub fn stamp(&mut self) -> bool {
        self.is_stamped = matches!(&self.family, Family::Udp(socket) if stamp::enable(socket).is_ok());
        self.is_stamped
    }

    /// Marks what is sent for the network's queues, with a DSCP of 0 to 63 (RFC 2474).
    ///
    /// # Errors
    /// The kernel refuses it, or it is a Unix socket.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        let Family::Udp(socket) = &self.family else { return Err(only_on_udp("a DSCP")) };
        let class = dscp << 2;
        if socket.local_addr()?.is_ipv4() {
            Ok(sockopt::set_ip_tos(socket, class)?)
        } else {
            Ok(sockopt::set_ipv6_tclass(socket, class.into())?)
        }
    }

    /// Forbids to fragment what is sent, and ignores what the kernel has learnt of the path's MTU
    /// (`IP_PMTUDISC_PROBE`, ip(7)).
    ///
    /// # Errors
    /// The kernel refuses it, or it is a Unix socket.
    pub fn forbid_fragments(&self) -> io::Result<()> {
        let Family::Udp(socket) = &self.family else { return Err(only_on_udp("a path's MTU")) };
        if socket.local_addr()?.is_ipv4() {
            Ok(sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::PROBE)?)
        } else {
            Ok(sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::PROBE)?)
        }
    }

    /// Sends to the connected peer, waiting a bounded time while a Unix peer's queue is full.
    ///
    /// # Errors
    /// The datagram is too long, no program receives there, or the queue stayed full.
    pub fn send(&self, data: &[u8]) -> io::Result<()> {
        let until = Instant::now() + SEND_WAIT;
        loop {
            let sent = match &self.family {
                Family::Udp(socket) => socket.send(data),
                Family::Unix(socket) => socket.send(data),
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::OUT, Some(until), None)? {
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    /// Sends to any address without waiting, so that one receiver's full queue does not delay the others.
    ///
    /// # Errors
    /// As [`send`](Self::send); `WouldBlock` is a full queue.
    pub fn send_to(&self, data: &[u8], to: &Endpoint) -> io::Result<()> {
        match (&self.family, to) {
            (Family::Udp(socket), Endpoint::Ip(address)) => socket.send_to(data, address).map(drop),
            (Family::Unix(socket), Endpoint::Unix(address)) => socket.send_to_addr(data, address).map(drop),
            _ => Err(other_family()),
        }
    }

    /// Takes the socket's pending error; `None`: there is none. On loopback, a refusal is pending as soon as the
    /// datagram was sent.
    ///
    /// # Errors
    /// The operating system does not report it.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match &self.family {
            Family::Udp(socket) => socket.take_error(),
            Family::Unix(socket) => socket.take_error(),
        }
    }

    /// Waits until the socket is ready, has an error or a stop is triggered: `true`; `false` at `until`.
    fn wait(&self, ready: PollFlags, until: Option<Instant>, stop: Option<&Stop>) -> io::Result<bool> {
        let socket = PollFd::from_borrowed_fd(self.fd(), ready);
        let mut watched = vec![socket];
        watched.extend(stop.map(|stop| PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let limit = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut watched, limit.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.family {
            Family::Udp(socket) => socket.as_fd(),
            Family::Unix(socket) => socket.as_fd(),
        }
    }
}

/// An unpredictable number, good enough for a name or a session.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn only_on_udp(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("a Unix socket has no network below it, so it does not know {what}"),
    )
}

fn other_family() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a UDP socket cannot send to a Unix one, nor the other way round")
}
