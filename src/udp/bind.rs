//! What a server listens on: one socket for every address that was asked for.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Endpoint, Socket, local};
use crate::net::Address;

/// How often a free port is looked for that is free on all addresses at once.
const PORT_TRIES_MAX: u32 = 16;

/// A server's address could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has it.
    #[error("{address}: another program is receiving there already")]
    Taken {
        /// What was asked for.
        address: String,
    },
    /// The address belongs to some other machine, or to none.
    #[error("{address}: this machine does not have this address")]
    NotOurs {
        /// What was asked for.
        address: String,
    },
    /// Anything else.
    #[error("{address}: cannot receive there")]
    Failed {
        /// What was asked for.
        address: String,
        /// What the operating system said.
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

/// Binds `address`: a name to all it stands for, `0.0.0.0` and `[::]` to one socket for each of this
/// machine's addresses of that family, so that replies leave from the address that was asked.
///
/// # Errors
/// [`BindError`], for the first address that could not be had.
pub fn bind(address: &Address, default_port: u16) -> Result<Bound, BindError> {
    let found = Endpoint::resolve(address, default_port).map_err(|error| BindError::new(&address, error))?;
    let mut bound = Bound::default();
    for endpoint in found {
        match endpoint {
            Endpoint::Ip(mut wildcard) if endpoint.is_wildcard() => {
                let addresses = local::addresses(wildcard).map_err(|error| BindError::new(&wildcard, error))?;
                let sockets = bind_some(&addresses)?;
                if let Some(Ok(Endpoint::Ip(first))) = sockets.first().map(Socket::local) {
                    wildcard.set_port(first.port());
                    bound.wildcards.push(wildcard);
                }
                bound.sockets.extend(sockets);
            }
            _ => bound.sockets.push(Socket::bind(&endpoint).map_err(|error| BindError::new(&endpoint, error))?),
        }
    }
    Ok(bound)
}

/// What was bound, and what may come later.
#[derive(Debug, Default)]
pub struct Bound {
    /// A socket for each address.
    pub sockets: Vec<Socket>,
    /// `0.0.0.0` and `[::]`, with the port of their sockets: of these addresses may come later, see [`bind_new`].
    pub wildcards: Vec<SocketAddr>,
}

/// Binds the addresses of `wildcard` that this machine has by now and that are not `known`. Those that cannot be bound, since they
/// are gone again or taken, are left for the next time.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn bind_new(wildcard: SocketAddr, known: &[Endpoint]) -> io::Result<Vec<(Endpoint, Socket)>> {
    let found = local::addresses(wildcard)?.into_iter().map(Endpoint::Ip).filter(|address| !known.contains(address));
    Ok(found.filter_map(|address| Some((address.clone(), Socket::bind(&address).ok()?))).collect())
}

/// Binds both loopback addresses at one port; a machine without IPv6 gets the one it has.
///
/// # Errors
/// As [`bind`].
pub fn bind_loopback(port: u16) -> Result<Vec<Socket>, BindError> {
    bind_some(&[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
}

/// Binds those of `addresses` that exist, all at the same port, even where that is "any free one".
fn bind_some(addresses: &[SocketAddr]) -> Result<Vec<Socket>, BindError> {
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

fn bind_once(addresses: &[SocketAddr]) -> Result<Vec<Socket>, BindError> {
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
        match Socket::bind(&at).map_err(|error| BindError::new(&at, error)) {
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
        BindError::Taken { .. } => false,
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
        // What is known is not bound again; what was forgotten is.
        assert!(bind_new(bound.wildcards[0], &own).unwrap().is_empty());
        drop(bound.sockets);
        let wildcard = bound.wildcards[0];
        let again = bind_new(wildcard, &own[1..]).unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].0, own[0]);
    }
}
