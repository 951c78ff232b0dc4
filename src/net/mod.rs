//! Sockets, and no messages: how a connection's bytes get from here to there.
//!
//! [`address`] is what people write, [`dial`] the client's way in, [`listen`] the server's, [`gate`] its caps,
//! [`budget`] what strangers may write to the log, [`open`] what is open and how it is stopped, [`stream`] the duplex
//! stream and its halves, over a [`socket`], under [`tls`] or plain.

pub mod address;
pub mod budget;
pub mod dial;
pub mod gate;
pub mod listen;
pub mod open;
pub mod socket;
pub mod stream;
pub mod tls;

pub use address::Address;
pub use stream::Stream;
