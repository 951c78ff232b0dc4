//! By which address other machines reach this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Addresses of documentation (RFC 5737, RFC 3849), which lead nowhere but the way that all others lead.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// The port for discarding (RFC 863); nothing is sent there.
const DISCARD: u16 = 9;

/// This machine's address on the network of its default route. `None`: it has no such route, for IPv6 if `is_v6`.
pub fn own_address(is_v6: bool) -> Option<IpAddr> {
    let elsewhere = ELSEWHERE.into_iter().find(|address| address.is_ipv6() == is_v6)?;
    let own: IpAddr = if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((own, 0)).ok()?;
    // For UDP, this chooses a way and sends nothing.
    socket.connect((elsewhere, DISCARD)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified() && !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_others_could_dial() {
        for is_v6 in [false, true] {
            let own = own_address(is_v6);
            assert!(own.is_none_or(|own| own.is_ipv6() == is_v6 && !own.is_loopback() && !own.is_unspecified()));
        }
    }
}
