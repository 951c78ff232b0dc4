//! Multicast groups: one datagram reaches all machines that have joined.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::str::FromStr;

use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

/// A group, and the interface on which its datagrams are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    ip: IpAddr,
    /// The interface's name; `None`: the one that the routes prefer.
    interface: Option<String>,
    port: Option<u16>,
}

/// The text names no multicast group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no multicast group; write it like 239.1.2.3, 239.1.2.3%eth0:7000 or [ff15::1%eth0]:7000")]
pub struct NoGroup(String);

impl FromStr for Group {
    type Err = NoGroup;

    fn from_str(text: &str) -> Result<Self, NoGroup> {
        let wrong = || NoGroup(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) };
                (host, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let (ip, interface) = match host.split_once('%') {
            Some((_, "")) => return Err(wrong()),
            Some((ip, interface)) => (ip, Some(interface.to_owned())),
            None => (host, None),
        };
        let ip: IpAddr = ip.parse().ok().filter(IpAddr::is_multicast).ok_or_else(wrong)?;
        let port = port.map(str::parse).transpose().ok().ok_or_else(wrong)?;
        Ok(Self { ip, interface, port })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)?;
        self.interface.iter().try_for_each(|interface| write!(f, "%{interface}"))
    }
}

impl Group {
    /// A socket that receives what is sent to the group; on `default_port` if the group names none. Other programs of
    /// this machine may receive it too.
    ///
    /// # Errors
    /// There is no such interface, it cannot multicast, or the port is taken.
    pub(super) fn join(&self, default_port: u16) -> io::Result<UdpSocket> {
        let port = self.port.unwrap_or(default_port);
        let domain = if self.ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        let index = self.interface.as_deref().map_or(Ok(0), |name| interface_index(&socket, name))?;
        socket.set_reuse_address(true)?;
        match self.ip {
            IpAddr::V4(ip) => {
                socket.bind(&SocketAddr::from((ip, port)).into())?;
                // Else it would also receive what another program has joined, on another interface.
                socket.set_multicast_all_v4(false)?;
                socket.join_multicast_v4_n(&ip, &InterfaceIndexOrAddress::Index(index))?;
            }
            IpAddr::V6(ip) => {
                socket.bind(&SocketAddr::from(SocketAddrV6::new(ip, port, 0, index)).into())?;
                socket.set_multicast_all_v6(false)?;
                socket.join_multicast_v6(&ip, index)?;
            }
        }
        Ok(socket.into())
    }
}

/// Sends what goes to a group through the interface of this name.
///
/// # Errors
/// There is no such interface, or it cannot multicast.
pub(super) fn send_through(socket: &UdpSocket, interface: &str) -> io::Result<()> {
    let index = interface_index(socket, interface)?;
    if socket.local_addr()?.is_ipv4() {
        let ours = &Ipv4Addr::UNSPECIFIED;
        Ok(sockopt::set_ip_multicast_if_with_ifindex(socket, &Ipv4Addr::UNSPECIFIED, ours, index)?)
    } else {
        SockRef::from(socket).set_multicast_if_v6(index)
    }
}

fn interface_index(socket: impl std::os::fd::AsFd, name: &str) -> io::Result<u32> {
    name_to_index(socket, name).map_err(|error| match error {
        rustix::io::Errno::NODEV => {
            io::Error::new(io::ErrorKind::NotFound, format!("this machine has no interface {name:?}"))
        }
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_with_interface_and_port() {
        let group = |ip: &str, interface: Option<&str>, port| {
            Ok(Group { ip: ip.parse().unwrap(), interface: interface.map(str::to_owned), port })
        };
        for (text, want) in [
            ("239.1.2.3", group("239.1.2.3", None, None)),
            ("239.1.2.3:7000", group("239.1.2.3", None, Some(7000))),
            ("239.1.2.3%eth0:7000", group("239.1.2.3", Some("eth0"), Some(7000))),
            ("ff15::1%eth0", group("ff15::1", Some("eth0"), None)),
            ("[ff15::1%eth0]:7000", group("ff15::1", Some("eth0"), Some(7000))),
            ("[ff15::1]", group("ff15::1", None, None)),
        ] {
            assert_eq!(text.parse::<Group>(), want, "{text}");
        }
        for wrong in ["", "192.0.2.1", "239.1.2.3%", "239.1.2.3:x", "[ff15::1", "[ff15::1]7", "::1", "239.1.2.3:70000"]
        {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
        let missing: Group = "239.1.2.3%no-such-interface".parse().unwrap();
        assert_eq!(missing.join(0).unwrap_err().to_string(), "this machine has no interface \"no-such-interface\"");
    }
}
