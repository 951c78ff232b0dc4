//! This machine's own addresses, as the kernel lists them under `/proc/net`.
//!
//! Safe Rust cannot make the socket calls for this. The list is needed because a socket bound to "every address"
//! answers from the address that the route prefers, and a client that sent to another one drops the answer. One socket
//! for each address answers from the address that the request was sent to.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Every local address of `wildcard`'s family, with its port; only those of interfaces that are up.
///
/// # Errors
/// The kernel's list cannot be read; a machine without IPv6 has an empty one.
pub fn addresses(wildcard: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    let port = wildcard.port();
    let mut found = match wildcard.ip() {
        IpAddr::V4(_) => read("/proc/net/fib_trie", |lines| v4(lines, port))?,
        IpAddr::V6(_) => match read("/proc/net/if_inet6", |lines| v6(lines, port)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        },
    };
    found.sort();
    found.dedup();
    Ok(found)
}

type Lines<'a> = &'a mut dyn Iterator<Item = String>;

fn read(path: &str, parse: impl FnOnce(Lines<'_>) -> Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let mut failed = None;
    let lines = BufReader::new(File::open(path)?).lines();
    let mut lines = lines.map_while(|line| line.map_err(|error| failed = Some(error)).ok());
    let found = parse(&mut lines);
    drop(lines);
    failed.map_or(Ok(found), Err)
}

/// The routing table's leaves: `|-- 127.0.0.1` and, on a line below it, `/32 host LOCAL`.
fn v4(lines: Lines<'_>, port: u16) -> Vec<SocketAddr> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in lines {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.map(|leaf| SocketAddr::from((leaf, port))));
        }
    }
    found
}

/// The address may not be used yet: duplicate address detection is running (RFC 4862, 5.4).
const TENTATIVE: u8 = 0x40;
/// The address is taken by another machine.
const DUPLICATE: u8 = 0x08;
/// The link-local scope: the address is only valid with its interface.
const LINK_SCOPE: u8 = 0x20;

/// `fe80…0001 04 40 20 80 eth0`: address, interface's number, prefix length, scope and flags in hexadecimal.
fn v6(lines: Lines<'_>, port: u16) -> Vec<SocketAddr> {
    lines.filter_map(|line| v6_line(&line, port)).collect()
}

fn v6_line(line: &str, port: u16) -> Option<SocketAddr> {
    let mut fields = line.split_whitespace();
    let address = Ipv6Addr::from_bits(u128::from_str_radix(fields.next()?, 16).ok()?);
    let interface = u32::from_str_radix(fields.next()?, 16).ok()?;
    let mut byte = || u8::from_str_radix(fields.next()?, 16).ok();
    let (_prefix, scope, flags) = (byte()?, byte()?, byte()?);
    if flags & (TENTATIVE | DUPLICATE) != 0 {
        return None;
    }
    let scope_id = if scope == LINK_SCOPE { interface } else { 0 };
    Some(SocketAddrV6::new(address, port, 0, scope_id).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> impl Iterator<Item = String> {
        text.lines().map(str::to_owned)
    }

    #[test]
    fn only_hosts_that_are_local_are_taken_from_the_routing_table() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                     +-- 127.0.0.0/8 2 0 2\n           |-- 127.0.0.0\n              /8 host LOCAL\n           \
                     |-- 127.0.0.1\n              /32 host LOCAL\n        |-- 127.255.255.255\n           \
                     /32 link BROADCAST\n           |-- 192.0.2.2\n              /24 link UNICAST\n              \
                     /32 host LOCAL\n";
        let want: [SocketAddr; 2] = ["127.0.0.1:7".parse().unwrap(), "192.0.2.2:7".parse().unwrap()];
        assert_eq!(v4(&mut lines(table), 7), want);
    }

    #[test]
    fn link_local_addresses_keep_their_interface() {
        let table = "fe8000000000000000fc00fffe000001 0a 40 20 80     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n\
                     fd000000000000000000000000000002 04 40 00 c0     eth0\n\
                     nonsense\n";
        let want: [SocketAddr; 2] = ["[fe80::fc:ff:fe00:1%10]:7".parse().unwrap(), "[::1]:7".parse().unwrap()];
        assert_eq!(v6(&mut lines(table), 7), want);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let found = addresses("0.0.0.0:9".parse().unwrap()).unwrap();
        assert!(found.contains(&"127.0.0.1:9".parse().unwrap()), "{found:?}");
    }
}
