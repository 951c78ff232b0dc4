//! When the kernel received a datagram: the time that a program takes to wake up is then no part of a measurement.
//!
//! The only file that names nix's sockets, whose control messages are safe.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

/// Has the kernel stamp what `socket` receives (`SO_TIMESTAMPNS`, socket(7)).
///
/// # Errors
/// The kernel cannot.
pub(super) fn enable(socket: &UdpSocket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
}

/// A datagram as a stamped socket receives it.
#[derive(Debug)]
pub(super) struct Stamped {
    /// Its length in bytes.
    pub(super) len: usize,
    /// The sender's address.
    pub(super) from: SocketAddr,
    /// How long ago the kernel received it; `None`: there is no stamp, or the clock was set meanwhile.
    pub(super) age: Option<Duration>,
}

/// Receives a datagram and its stamp, without waiting if `socket` does not block.
///
/// # Errors
/// As `recv_from`.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Stamped> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let came = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let stamp = came.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    let age = stamp.and_then(|stamp| SystemTime::UNIX_EPOCH.elapsed().ok()?.checked_sub(stamp));
    let from = came.address.as_ref().and_then(socket_addr).map_or_else(|| socket.peer_addr(), Ok)?;
    Ok(Stamped { len: came.bytes, from, age })
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into());
    v4().or_else(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_when_and_from_where_a_datagram_came() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(server) = UdpSocket::bind((host, 0)) else { continue };
            enable(&server).unwrap();
            let client = UdpSocket::bind((host, 0)).unwrap();
            client.connect(server.local_addr().unwrap()).unwrap();
            client.send(b"hello").unwrap();
            let mut buffer = [0; 10];
            let came = receive(&server, &mut buffer).unwrap();
            assert_eq!((&buffer[..came.len], came.from), (b"hello".as_slice(), client.local_addr().unwrap()));
            assert!(came.age.is_some(), "{host}");
        }
    }
}
