//! Datagrams: every one is a message of its own. It arrives whole, or twice, or late, or not at all.
//!
//! This room shares nothing with [`wire`](crate::wire) on purpose: there is no stream here, so there
//! is nothing to frame. In reading order: [`endpoint`] is one end's address, [`socket`] the socket of
//! either family, [`stop`] what wakes who waits on one, [`bind`] what a server listens on
//! ([`local`] lists this machine's addresses), [`serve`] the answering loop, [`guard`] what keeps its
//! replies from being used against others, [`client`] the asking
//! side, [`ping`] its measuring walk ([`probe`] the datagrams it sends, [`tally`] what it
//! has learnt), [`codec`] the characters in a datagram.

pub mod bind;
pub mod client;
pub mod codec;
pub mod endpoint;
pub mod guard;
pub mod local;
mod own_path;
pub mod ping;
pub mod probe;
pub mod serve;
pub mod socket;
pub mod stop;
pub mod tally;

pub use client::{ClientError, UdpClient};
pub use codec::Codec;
pub use endpoint::Endpoint;
pub use socket::{Arrival, DatagramSocket};
pub use stop::Stop;

/// The largest payload we send, in bytes: 65,535 less the headers of IPv4 (20) and UDP (8).
/// IPv6 would carry 20 bytes more; one number for all is worth more than those.
pub const DATAGRAM_LEN_MAX: usize = 65_507;

/// The largest payload we take, in bytes: what a 16-bit length can say, so that nothing is cut off.
pub const RECEIVE_LEN_MAX: usize = 65_535;

/// Where a received datagram goes: one byte longer than the longest, so that a longer one (only a
/// Unix socket can bring it) is noticed instead of being taken for a whole.
pub fn receive_buffer() -> Vec<u8> {
    vec![0; RECEIVE_LEN_MAX + 1]
}
