//! Datagrams: every one is a message of its own. It arrives whole, or twice, or late, or not at all.
//!
//! This module shares nothing with [`wire`](crate::wire) on purpose: there is no stream here, so there is nothing to
//! frame. In reading order: [`endpoint`] is one end's address, [`socket`] the socket of either family (`stamp` reads
//! when the kernel received a datagram), [`stop`] ends
//! the wait on a socket, [`bind`] makes a server's sockets ([`local`] lists this machine's addresses, [`group`] joins multicast groups), [`serve`] is the
//! server's loop, [`guard`] keeps its replies from being abused, [`flows`] counts the probes of each client, [`client`]
//! sends requests, [`ping`] measures ([`probe`] is the datagram it sends, [`tally`] counts the answers, [`sequence`] says
//! what is out of order, [`pmtu`] finds the largest packet and [`sweep`] the highest rate), [`codec`] is the encoding of a datagram's characters.

pub mod bind;
pub mod client;
pub mod codec;
pub mod endpoint;
pub mod flows;
pub mod group;
pub mod guard;
pub mod local;
mod own_path;
pub mod ping;
pub mod pmtu;
pub mod probe;
pub mod sequence;
pub mod serve;
pub mod socket;
mod stamp;
pub mod stop;
pub mod sweep;
pub mod tally;

pub use client::{ClientError, UdpClient};
pub use codec::Codec;
pub use endpoint::Endpoint;
pub use socket::{Arrival, DatagramSocket};
pub use stop::Stop;

/// The largest payload that is sent, in bytes: 65,535 less the headers of IPv4 (20) and UDP (8). IPv6 would permit 20
/// bytes more; one limit for both is simpler.
pub const DATAGRAM_LEN_MAX: usize = 65_507;

/// The largest payload that is received, in bytes: the largest 16-bit length, so that nothing is cut off.
pub const RECEIVE_LEN_MAX: usize = 65_535;

/// A buffer for a received datagram: one byte longer than the limit, so that a longer datagram (possible only on a Unix
/// socket) is noticed instead of being taken for a complete one.
pub fn receive_buffer() -> Vec<u8> {
    vec![0; RECEIVE_LEN_MAX + 1]
}
