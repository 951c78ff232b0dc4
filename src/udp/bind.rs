//! The sockets of a server: one for every requested address.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::group::Group;
use super::{DatagramSocket, Endpoint, local};
use crate::net::Address;

/// Attempts to find a port that is free on all addresses at once.
const PORT_TRIES_MAX: u32 = 16;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program is bound to it.
    #[error("{address}: another program is receiving there already")]
    Taken {
        /// The requested address.
        address: String,
    },
    /// The address is not one of this machine's.
    #[error("{address}: this machine does not have this address")]
    NotOurs {
        /// The requested address.
        address: String,
    },
    /// There is no route to the group, so the kernel knows no interface for it.
    #[error("{group}: no interface leads to this group; name one behind it, as in {group}%eth0")]
    NoInterface {
        /// The group.
        group: String,
    },
    /// Another error of the operating system.
    #[error("{address}: cannot receive there")]
    Failed {
        /// The requested address.
        address: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: &dyn fmt::Display, source: io::Error) -> Self {
        let address = address.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { address },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { address },
            _ => Self::Failed { address, source },
        }
    }
}

/// Binds `address`. A name is bound to all its addresses; `0.0.0.0` and `[::]` to one socket for each of this machine's
/// addresses of that family, so that a reply is sent from the address that the request was sent to.
///
/// # Errors
/// [`BindError`], for the first address that could not be bound.
pub fn bind(address: &Address, default_port: u16) -> Result<Bound, BindError> {
    let found = Endpoint::resolve(address, default_port).map_err(|error| BindError::new(&address, error))?;
    let mut bound = Bound::default();
    for endpoint in found {
        match endpoint {
            Endpoint::Ip(mut wildcard) if endpoint.is_wildcard() => {
                let addresses = local::addresses(wildcard).map_err(|error| BindError::new(&wildcard, error))?;
                let sockets = bind_some(&addresses)?;
                if let Some(Ok(Endpoint::Ip(first))) = sockets.first().map(DatagramSocket::local) {
                    wildcard.set_port(first.port());
                    bound.wildcards.push(wildcard);
                }
                bound.sockets.extend(sockets);
            }
            _ => bound.sockets.push(DatagramSocket::bind(&endpoint).map_err(|error| BindError::new(&endpoint, error))?),
        }
    }
    Ok(bound)
}

/// Joins `group`, at `default_port` if it names none.
///
/// # Errors
/// [`BindError`].
pub fn join(group: &Group, default_port: u16) -> Result<DatagramSocket, BindError> {
    DatagramSocket::join(group, default_port).map_err(|error| match error.raw_os_error() {
        // The kernel's word for an interface that it could not choose.
        Some(code) if code == rustix::io::Errno::NODEV.raw_os_error() => {
            BindError::NoInterface { group: group.to_string() }
        }
        _ => BindError::new(group, error),
    })
}

/// The bound sockets, and the wildcard addresses to watch.
#[derive(Debug, Default)]
pub struct Bound {
    /// A socket for each address.
    pub sockets: Vec<DatagramSocket>,
    /// `0.0.0.0` and `[::]`, with the port of their sockets. Addresses of this machine may be added and removed later,
    /// see [`WildcardWatch`].
    pub wildcards: Vec<SocketAddr>,
}

/// How many checks in a row an address must be missing before its socket is closed. An address that returns sooner
/// keeps its socket.
const ABSENCES_MAX: u32 = 60;

/// Watches the addresses that are served for wildcards, as they are added and removed.
#[derive(Debug, Default)]
pub struct WildcardWatch {
    /// The missing addresses, and for how many checks in a row; each count is below [`ABSENCES_MAX`].
    absent: Vec<(Endpoint, u32)>,
}

/// The changes of a wildcard's addresses.
#[derive(Debug, Default)]
pub struct WildcardChange {
    /// New addresses, with their bound sockets.
    pub new: Vec<(Endpoint, DatagramSocket)>,
    /// Known addresses that have been missing for many checks in a row.
    pub gone: Vec<Endpoint>,
}

impl WildcardWatch {
    /// Binds the addresses of `wildcard` that this machine has now and that are not `known`, and returns those of
    /// `known` that it no longer has. Addresses that cannot be bound, because they are gone again or taken, are tried
    /// again at the next check.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn look(&mut self, wildcard: SocketAddr, known: &[Endpoint]) -> io::Result<WildcardChange> {
        let found: Vec<_> = local::addresses(wildcard)?.into_iter().map(Endpoint::Ip).collect();
        let gone = self.gone(wildcard, &found, known);
        let new = found.into_iter().filter(|address| !known.contains(address));
        let new = new.filter_map(|address| Some((address.clone(), DatagramSocket::bind(&address).ok()?))).collect();
        Ok(WildcardChange { new, gone })
    }

    fn gone(&mut self, wildcard: SocketAddr, found: &[Endpoint], known: &[Endpoint]) -> Vec<Endpoint> {
        let is_of = |address: &Endpoint| {
            // A group has a socket of its own, and is no machine's address.
            let is_like = |ip: SocketAddr| ip.port() == wildcard.port() && ip.is_ipv4() == wildcard.is_ipv4();
            address.ip().is_some_and(is_like) && !address.is_group()
        };
        self.absent.retain(|(address, _)| !found.contains(address));
        let mut gone = Vec::new();
        for address in known.iter().filter(|address| is_of(address) && !found.contains(address)) {
            match self.absent.iter_mut().find(|(absent, _)| absent == address) {
                Some((_, times)) if *times + 1 >= ABSENCES_MAX => gone.push(address.clone()),
                Some((_, times)) => *times += 1,
                None => self.absent.push((address.clone(), 1)),
            }
        }
        self.absent.retain(|(address, _)| !gone.contains(address));
        gone
    }
}

/// Binds both loopback addresses at one port; a machine without IPv6 only its IPv4 address.
///
/// # Errors
/// As [`bind`].
pub fn bind_loopback(port: u16) -> Result<Vec<DatagramSocket>, BindError> {
    bind_some(&[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
}

/// Binds those of `addresses` that exist, all at the same port, also if that is 0 (any free port).
fn bind_some(addresses: &[SocketAddr]) -> Result<Vec<DatagramSocket>, BindError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_once(addresses) {
            // Port 0: what was free on the first address was taken on a later one.
            Err(BindError::Taken { .. }) if tries < PORT_TRIES_MAX && addresses.iter().all(|a| a.port() == 0) => {}
            other => return other,
        }
    }
}

fn bind_once(addresses: &[SocketAddr]) -> Result<Vec<DatagramSocket>, BindError> {
    let mut sockets = Vec::new();
    let mut port = None;
    let mut missing = None;
    for address in addresses {
        let at = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
        let at = Endpoint::Ip(match (at, address) {
            (SocketAddr::V6(mut at), SocketAddr::V6(address)) => {
                at.set_scope_id(address.scope_id());
                at.into()
            }
            (at, _) => at,
        });
        match DatagramSocket::bind(&at).map_err(|error| BindError::new(&at, error)) {
            Ok(socket) => {
                let bound = socket.local().map_err(|error| BindError::new(&at, error))?;
                port = bound.ip().map(|bound| bound.port());
                sockets.push(socket);
            }
            Err(error) if does_not_exist(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

fn does_not_exist(error: &BindError) -> bool {
    match error {
        BindError::NotOurs { .. } => true,
        BindError::Failed { source, .. } => {
            source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
        }
        BindError::Taken { .. } | BindError::NoInterface { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loopback_addresses_share_a_port_and_a_taken_one_is_said() {
        let sockets = bind_loopback(0).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local().unwrap().ip().unwrap().port()).collect();
        assert!(!ports.is_empty() && ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");

        let error = bind(&"127.0.0.1".parse().unwrap(), ports[0]).unwrap_err();
        assert_eq!(error.to_string(), format!("127.0.0.1:{}: another program is receiving there already", ports[0]));
        let error = bind(&"192.0.2.200:0".parse().unwrap(), 0).unwrap_err();
        assert!(matches!(error, BindError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn a_wildcard_becomes_a_socket_for_every_address() {
        let bound = bind(&"0.0.0.0:0".parse().unwrap(), 0).unwrap();
        assert!(!bound.sockets.is_empty());
        let own: Vec<Endpoint> = bound.sockets.iter().map(|socket| socket.local().unwrap()).collect();
        assert!(own.iter().all(|address| !address.is_wildcard()));
        // A known address is not bound again; one that is not known is.
        let (wildcard, mut watch) = (bound.wildcards[0], WildcardWatch::default());
        assert!(watch.look(wildcard, &own).unwrap().new.is_empty());
        drop(bound.sockets);
        let again = watch.look(wildcard, &own[1..]).unwrap();
        assert_eq!(again.new.len(), 1);
        assert_eq!(again.new[0].0, own[0]);
    }

    #[test]
    fn an_address_is_gone_once_it_was_missing_for_long() {
        let ip = |text: &str| Endpoint::Ip(text.parse().unwrap());
        let wildcard = "0.0.0.0:7000".parse().unwrap();
        let found = [ip("127.0.0.1:7000")];
        // The last ones are served for another reason.
        let [lost, back] = ["10.0.0.1:7000", "10.0.0.2:7000"].map(ip);
        let [other_port, other_family] = ["10.0.0.1:7001", "[fd00::1]:7000"].map(ip);
        let group = ip("239.1.2.3:7000");
        let known = [found[0].clone(), lost.clone(), back.clone(), other_port, other_family, group];
        let mut watch = WildcardWatch::default();
        for times in 1..ABSENCES_MAX {
            let with_back = [found[0].clone(), back.clone()];
            let found = if times == ABSENCES_MAX / 2 { &with_back[..] } else { &found };
            assert_eq!(watch.gone(wildcard, found, &known), [], "{times}");
        }
        assert_eq!(watch.gone(wildcard, &found, &known), [lost]);
        assert_eq!(watch.absent.len(), 1);
    }
}
