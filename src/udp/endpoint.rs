//! One end of an exchange of datagrams: an IP address and port, or a Unix socket's name.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;

use crate::net::Address;

/// Where a datagram comes from or goes to.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A UDP address and port.
    Ip(SocketAddr),
    /// A Unix datagram socket: a path, an abstract name, or no name at all.
    Unix(UnixAddr),
}

impl Endpoint {
    /// The Unix socket at `path`.
    ///
    /// # Errors
    /// The path is longer than the 107 bytes that a socket's address holds, or contains a NUL.
    pub fn at_path(path: &Path) -> io::Result<Self> {
        UnixAddr::from_pathname(path).map(Self::Unix)
    }

    /// All addresses of `address`, in the resolver's order, with `default_port` where it names no port.
    ///
    /// # Errors
    /// The name is unknown, or a Unix path is invalid.
    pub fn resolve(address: &Address, default_port: u16) -> io::Result<Vec<Self>> {
        match address {
            Address::Unix(path) => Ok(vec![Self::at_path(path)?]),
            Address::Tcp { host, port, .. } => {
                let found = (host.as_str(), port.unwrap_or(default_port)).to_socket_addrs()?;
                Ok(found.map(Self::Ip).collect())
            }
        }
    }

    /// Whether an answer can be sent to this address: a Unix client without a name, or UDP's port 0, cannot be
    /// answered.
    pub fn can_be_answered(&self) -> bool {
        match self {
            Self::Ip(address) => address.port() != 0,
            Self::Unix(address) => !address.is_unnamed(),
        }
    }

    /// Whether this is a multicast group or the broadcast address of all networks: more than one machine's address.
    pub fn is_group(&self) -> bool {
        self.ip().is_some_and(|address| match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        })
    }

    /// Whether this means every address of the machine.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Ip(address) if address.ip().is_unspecified())
    }

    /// Whether a socket bound here can send to `other`.
    pub fn can_reach(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(ours), Self::Ip(theirs)) => ours.is_ipv4() == theirs.is_ipv4(),
            (Self::Unix(_), Self::Unix(_)) => true,
            (Self::Ip(_), Self::Unix(_)) | (Self::Unix(_), Self::Ip(_)) => false,
        }
    }

    /// The IP address and port; `None`: a Unix socket.
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // The flow label and the scope id do not distinguish endpoints.
            (Self::Ip(one), Self::Ip(two)) => (one.ip(), one.port()) == (two.ip(), two.port()),
            (Self::Unix(one), Self::Unix(two)) => {
                !one.is_unnamed() && (one.as_pathname(), abstract_name(one)) == (two.as_pathname(), abstract_name(two))
            }
            (Self::Ip(_), Self::Unix(_)) | (Self::Unix(_), Self::Ip(_)) => false,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(address) => match (address.as_pathname(), abstract_name(address)) {
                (Some(path), _) => write!(f, "unix:{}", path.display()),
                (None, Some(name)) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
                (None, None) => f.write_str("a Unix socket without an address"),
            },
        }
    }
}

impl From<(IpAddr, u16)> for Endpoint {
    fn from(address: (IpAddr, u16)) -> Self {
        Self::Ip(address.into())
    }
}

fn abstract_name(address: &UnixAddr) -> Option<&[u8]> {
    use std::os::linux::net::SocketAddrExt as _;
    address.as_abstract_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_compared() {
        let path = Endpoint::at_path(Path::new("/run/echo.sock")).unwrap();
        assert_eq!(path.to_string(), "unix:/run/echo.sock");
        assert_eq!(path, path.clone());
        let nobody = Endpoint::Unix(UnixAddr::from_pathname("").unwrap());
        assert!(!nobody.can_be_answered());
        assert_ne!(nobody, nobody.clone(), "two sockets without a name are not the same one");
        let udp = Endpoint::Ip("[::1]:7".parse().unwrap());
        assert_eq!(udp.to_string(), "[::1]:7");
        assert!(!udp.can_reach(&path) && !udp.can_reach(&Endpoint::Ip("1.2.3.4:5".parse().unwrap())));
        assert!(!Endpoint::Ip("1.2.3.4:0".parse().unwrap()).can_be_answered());
        for (address, want) in [
            ("239.1.2.3:7", true),
            ("[ff02::1]:7", true),
            ("255.255.255.255:7", true),
            ("[::ffff:224.0.0.1]:7", true),
            ("192.0.2.1:7", false),
            ("[fe80::1]:7", false),
        ] {
            assert_eq!(Endpoint::Ip(address.parse().unwrap()).is_group(), want, "{address}");
        }
    }

    #[test]
    fn an_address_without_a_port_gets_the_default() {
        let found = Endpoint::resolve(&"127.0.0.1".parse().unwrap(), 5263).unwrap();
        assert_eq!(found, [Endpoint::Ip("127.0.0.1:5263".parse().unwrap())]);
        let found = Endpoint::resolve(&"[::1]:7000".parse().unwrap(), 5263).unwrap();
        assert_eq!(found, [Endpoint::Ip("[::1]:7000".parse().unwrap())]);
    }
}
