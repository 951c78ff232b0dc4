//! For which address a stream counts, in limits, penalties and logs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The other end of a stream, as far as the network says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// One IPv4 address, or one IPv6 network of 64 bits: what one customer of a provider has.
    Network(IpAddr),
    /// This machine, over a Unix socket.
    Local,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(IpAddr::V4(address)) => address.fmt(f),
            Self::Network(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Local => f.write_str("this machine"),
        }
    }
}

/// IPv6 hosts are handed 64 bits to choose addresses from, so they are counted by the other 64
/// (RFC 4291, 2.5.4); an IPv4 address that came in over an IPv6 socket is itself.
pub fn origin_of(address: IpAddr) -> Origin {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Origin::Network(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        v4 @ IpAddr::V4(_) => Origin::Network(v4),
    }
}
