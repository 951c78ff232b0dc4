//! The address that a host's name means, and the key that is expected there.

use std::net::IpAddr;

use super::error::ConnectError;
use crate::net::Address;
use crate::net::address::DEFAULT_PORT;
use crate::trust::home::Home;
use crate::trust::hosts;
use crate::trust::identity::Fingerprint;
use crate::trust::peers::Peers;

/// The port for a host that names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whether it was chosen for this host: then it overrides the port on record for a name. Otherwise it is only used
    /// where there is no record.
    pub is_chosen: bool,
}

impl Default for Port {
    /// Port 5263, used where no other is on record.
    fn default() -> Self {
        Self { number: DEFAULT_PORT, is_chosen: false }
    }
}

/// The server that a host's name means.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// Its address, with a port.
    pub address: Address,
    /// The peer whose key is expected there: its name here, and the key. `None`: no key is on record.
    pub pin: Option<(String, Fingerprint)>,
}

impl Dialled {
    /// `HOST:PORT`, under which a server is recorded.
    pub fn recorded_address(&self) -> String {
        self.address.clone().encrypted().to_string()
    }

    /// The name for this server if the user chooses none: `host` as it was written, with the port if it is not the
    /// default port. The name that the server gives itself is not used.
    pub fn name_for(&self, host: &Address) -> String {
        let Address::Tcp { host: written, .. } = host else { return String::new() };
        let name = match written.parse::<IpAddr>() {
            // A peer's name may not contain colons.
            Ok(IpAddr::V6(_)) => format!("ip6-{}", written.replace(':', "-")),
            Ok(IpAddr::V4(_)) | Err(_) => written.clone(),
        };
        match self.address.port() {
            Some(port) if port != DEFAULT_PORT => format!("{name}-{port}"),
            _ => name,
        }
    }
}

/// Finds out which server `host` means: a name from `config.toml`, a known peer's name, or an address.
///
/// # Errors
/// A file in the home is broken, or a known peer was never dialled and has no address.
pub fn resolve(home: &Home, host: &Address, port: Port) -> Result<Dialled, ConnectError> {
    let Address::Tcp { host: name, port: written, .. } = host else {
        return Ok(Dialled { address: host.clone(), pin: None });
    };
    let chosen = &written.or(port.is_chosen.then_some(port.number));
    let peers = Peers::load(home)?;
    let configured = hosts::look_up(home, name)?;
    // A peer that was never dialled and was not named here has no address; and another port of its address may be
    // another server.
    let is_elsewhere = |address: &str| {
        let known = address.parse().ok().and_then(|address: Address| address.port());
        chosen.is_some_and(|port| known.is_some_and(|known| known != port))
    };
    // A name that a machine chose itself is not dialled: it may mean another machine to the user.
    let by_name =
        peers.by_name(name).filter(|peer| !peer.is_self_named).filter(|peer| match (&peer.address, &peer.from) {
            (Some(address), _) => !is_elsewhere(address),
            (None, from) => configured.is_some() || from.is_some(),
        });
    let address = match (&configured, by_name) {
        (Some(address), _) => address.clone(),
        (None, Some(peer)) => {
            let known = peer.address.as_ref().or(peer.from.as_ref());
            let known = known.ok_or_else(|| ConnectError::NoAddress { name: name.clone() })?;
            known.parse().map_err(|source| ConnectError::BadRecord { name: name.clone(), source })?
        }
        (None, None) => host.clone(),
    };
    let address = match (address, chosen) {
        (Address::Tcp { host, scheme, .. }, Some(port)) => Address::Tcp { host, port: Some(*port), scheme },
        (address, _) => address,
    };
    let address = if host.is_plain() { address.plain() } else { address };
    let address = address.with_default_port(port.number);
    let dialled = Dialled { address, pin: None };
    let pinned = by_name.or_else(|| peers.by_address(&dialled.recorded_address()));
    let pin = pinned.map(|peer| (peer.name.clone(), peer.fingerprint));
    Ok(Dialled { pin, ..dialled })
}

/// The names of machines that are known here: those of `config.toml` and of known peers that can be dialled.
pub fn known_names(home: &Home) -> Vec<String> {
    // These names only serve as hints: errors are ignored.
    let mut names = hosts::names(home).unwrap_or_default();
    if let Ok(peers) = Peers::load(home) {
        let dialled = peers.iter().filter(|peer| peer.address.is_some() || peer.from.is_some());
        names.extend(dialled.map(|peer| peer.name.clone()));
    }
    names.sort_unstable();
    names.dedup();
    names
}
