//! Connecting: one deadline over all of a name's addresses, and an error that names what was tried.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::address::Address;
use super::stream::Stream;
use super::tls::HandshakeError;

/// No stream came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("{host}: cannot find this host")]
    Unknown {
        /// The name that was looked up.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No program listens there.
    #[error(
        "{address}: connection refused; is a server running there, on this port, and at an address that other machines reach?"
    )]
    Refused {
        /// The address as it was dialled.
        address: String,
    },
    /// Nothing answered in time.
    #[error("{address}: no answer within {after:?}")]
    TimedOut {
        /// The address as it was dialled.
        address: String,
        /// The limit that ran out.
        after: Duration,
    },
    /// What answers speaks something else.
    #[error(
        "{address}: what answers there does not speak TLS (it began with {began:?}); is it a tcp-server, and its port? tcp:// speaks plain"
    )]
    NotTls {
        /// The address as it was dialled.
        address: String,
        /// The first bytes that came.
        began: String,
    },
    /// No encrypted stream came about.
    #[error("{address}: {source}; is it a tcp-server, and its port?")]
    Handshake {
        /// The address as it was dialled.
        address: String,
        /// Why.
        source: HandshakeError,
    },
    /// Anything else.
    #[error("{address}: cannot connect")]
    Failed {
        /// The address as it was dialled.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Connects to `address`, trying each of its addresses until one answers, all within `timeout`.
///
/// # Errors
/// [`ConnectError`], which says what was dialled.
pub fn dial(address: &Address, timeout: Duration) -> Result<Stream, ConnectError> {
    let stream = match address {
        Address::Unix(path) => {
            Stream::from(UnixStream::connect(path).map_err(|error| failed(address, timeout, error))?)
        }
        Address::Tcp { host, port, .. } => Stream::from(dial_tcp(address, host, port.unwrap_or(0), timeout)?),
    };
    // The client sets no stall limit: a person may leave a pager open over the week-end.
    stream.tune(None, None).map_err(|error| failed(address, timeout, error))?;
    Ok(stream)
}

fn dial_tcp(address: &Address, host: &str, port: u16, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let deadline = Instant::now() + timeout;
    let unknown = |source| ConnectError::Unknown { host: host.to_owned(), source };
    let candidates: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(unknown)?.collect();
    let mut last = None;
    for (tried, candidate) in candidates.iter().enumerate() {
        // Each address gets its share of what is left, so that a dead first one cannot use it all up.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(candidates.len() - tried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(candidate, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => failed(address, timeout, error),
        None => unknown(io::Error::other("the name has no address")),
    })
}

fn failed(address: &Address, after: Duration, source: io::Error) -> ConnectError {
    let address = address.to_string();
    match source.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { address },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::TimedOut { address, after },
        _ => ConnectError::Failed { address, source },
    }
}
