//! The client: one connected socket, so that the kernel delivers only the server's datagrams and reports at once when
//! no program receives there.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Arrival, DATAGRAM_LEN_MAX, DatagramSocket, Endpoint, Stop};
use crate::net::Address;

/// A request could not be sent or answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The name has no address.
    #[error("{host}: cannot find this host")]
    Unknown {
        /// The name that was looked up.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// No program receives at this address.
    #[error("{address}: refused; is a datagram server running there, and on this port?")]
    Refused {
        /// The server's address.
        address: String,
    },
    /// There is no route to that address.
    #[error("{address}: cannot be reached")]
    NoWay {
        /// The server's address.
        address: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The datagram is longer than a datagram can be.
    #[error("a datagram of {len} bytes cannot be sent, the limit is {DATAGRAM_LEN_MAX} bytes")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Another error of the operating system.
    #[error("{address}: sending or receiving failed")]
    Failed {
        /// The server's address.
        address: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl ClientError {
    fn new(peer: &Endpoint, source: io::Error) -> Self {
        let address = peer.to_string();
        match source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused { address },
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable => {
                Self::NoWay { address, source }
            }
            _ => Self::Failed { address, source },
        }
    }

    /// Whether the server was never reached.
    pub const fn is_not_connected(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Refused { .. } | Self::NoWay { .. })
    }
}

/// A connected datagram socket, and the name's other addresses in case no program receives at the first.
#[derive(Debug)]
pub struct UdpClient {
    socket: DatagramSocket,
    peer: Endpoint,
    others: VecDeque<Endpoint>,
    /// The addresses that were tried, the present one included.
    tried: Vec<Endpoint>,
    /// The mark on what is sent.
    dscp: Option<u8>,
}

impl UdpClient {
    /// Connects to the first address of `address` to which there is a route. Nothing is sent.
    ///
    /// # Errors
    /// The name is unknown, or there is no route to any of its addresses.
    pub fn open(address: &Address, default_port: u16) -> Result<Self, ClientError> {
        let unknown = |source| ClientError::Unknown { host: address.to_string(), source };
        let mut others: VecDeque<_> = Endpoint::resolve(address, default_port).map_err(unknown)?.into();
        let mut last = unknown(io::Error::other("the name has no address"));
        let mut tried = Vec::new();
        while let Some(peer) = others.pop_front() {
            tried.push(peer.clone());
            match connect(&peer) {
                Ok(socket) => return Ok(Self { socket, peer, others, tried, dscp: None }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The server's address.
    pub const fn peer(&self) -> &Endpoint {
        &self.peer
    }

    /// The client's own address.
    ///
    /// # Errors
    /// The operating system does not report it.
    pub fn local(&self) -> io::Result<Endpoint> {
        self.socket.local()
    }

    /// The file of the client's Unix socket, for a program that must exit without dropping the client; `None`: not a
    /// Unix socket.
    pub fn path(&self) -> Option<&Path> {
        self.socket.path()
    }

    /// Connects to the name's next address; `false` if there is none.
    pub fn next_address(&mut self) -> bool {
        while let Some(peer) = self.others.pop_front() {
            self.tried.push(peer.clone());
            let is_marked = |socket: &DatagramSocket| self.dscp.is_none_or(|dscp| socket.set_dscp(dscp).is_ok());
            if let Some(socket) = connect(&peer).ok().filter(is_marked) {
                (self.socket, self.peer) = (socket, peer);
                return true;
            }
        }
        false
    }

    /// Starts again with the name's first address, for a server that is not running yet. A Unix socket's file may have
    /// been replaced meanwhile.
    pub fn start_over(&mut self) {
        self.others = std::mem::take(&mut self.tried).into();
        // If no address can be connected to, all are tried again the next time.
        self.next_address();
    }

    /// Sends one datagram, which may be empty.
    ///
    /// # Errors
    /// It is too long, or no program receives there. After [`ClientError::Refused`] it has been sent all the same.
    pub fn send(&self, data: &[u8]) -> Result<(), ClientError> {
        if data.len() > DATAGRAM_LEN_MAX {
            return Err(ClientError::TooLong { len: data.len() });
        }
        self.send_only(data)?;
        let refused = self.socket.take_error().and_then(|error| error.map_or(Ok(()), Err));
        refused.map_err(|error| ClientError::new(&self.peer, error))
    }

    /// As [`send`](Self::send), but what becomes of this datagram is reported by the next call, which saves a system
    /// call.
    ///
    /// # Errors
    /// As [`send`](Self::send), of an earlier datagram.
    pub fn send_only(&self, data: &[u8]) -> Result<(), ClientError> {
        let send = || if self.peer.is_group() { self.socket.send_to(data, &self.peer) } else { self.socket.send(data) };
        let sent = match send() {
            // The kernel reports an earlier datagram's refusal, and has not sent this one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => send().and(Err(error)),
            other => other,
        };
        sent.map_err(|error| ClientError::new(&self.peer, error))
    }

    /// Has the kernel say how long ago it received each datagram; returns whether it does.
    pub fn stamp(&mut self) -> bool {
        self.socket.stamp()
    }

    /// Forbids to fragment what is sent: [`DatagramSocket::forbid_fragments`].
    ///
    /// # Errors
    /// The kernel refuses it, or it is a Unix socket.
    pub fn forbid_fragments(&self) -> Result<(), ClientError> {
        self.socket.forbid_fragments().map_err(|error| ClientError::new(&self.peer, error))
    }

    /// Sends what goes to a group through the interface of this name.
    ///
    /// # Errors
    /// There is no such interface, or it cannot multicast.
    pub fn send_through(&self, interface: &str) -> io::Result<()> {
        self.socket.send_through(interface)
    }

    /// Marks what is sent, also on later sockets of this client: [`DatagramSocket::set_dscp`].
    ///
    /// # Errors
    /// The kernel refuses it, or it is a Unix socket.
    pub fn set_dscp(&mut self, dscp: u8) -> io::Result<()> {
        self.dscp = Some(dscp);
        self.socket.set_dscp(dscp)
    }

    /// Waits for a datagram from the server.
    ///
    /// # Errors
    /// No program receives there.
    pub fn receive(
        &self,
        buffer: &mut [u8],
        until: Option<Instant>,
        stop: Option<&Stop>,
    ) -> Result<Arrival, ClientError> {
        self.socket.receive(buffer, until, stop).map_err(|error| ClientError::new(&self.peer, error))
    }

    /// Sends a request and waits for the answer, which is stored in `buffer`; returns its length, or `None` after
    /// `timeout`. If no program receives at this address, the name's next address is tried.
    ///
    /// # Errors
    /// No program receives at any of the addresses.
    pub fn ask(&mut self, data: &[u8], buffer: &mut [u8], timeout: Duration) -> Result<Option<usize>, ClientError> {
        loop {
            let until = Instant::now() + timeout;
            match self.send(data).and_then(|()| self.receive(buffer, Some(until), None)) {
                Ok(Arrival::Datagram { len, .. }) => {
                    self.others.clear();
                    return Ok(Some(len));
                }
                Ok(Arrival::TimedOut | Arrival::Stopped) => return Ok(None),
                Err(ClientError::Refused { .. }) if self.next_address() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn connect(peer: &Endpoint) -> Result<DatagramSocket, ClientError> {
    let failed = |error| ClientError::new(peer, error);
    let socket = DatagramSocket::bind_for(peer).map_err(failed)?;
    // The members of a group answer from their own addresses.
    if !peer.is_group() {
        socket.connect(peer).map_err(failed)?;
    }
    Ok(socket)
}
