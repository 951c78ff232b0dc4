//! Sockets, and no messages: how a connection's bytes get from here to there.
//!
//! [`address`] is what people write, [`dial`] the client's way in. [`service`] accepts and stops for any protocol,
//! over what [`listen`] binds: [`gate`] is its limits, [`door`] where connections beyond them are told why, [`budget`]
//! what strangers may write to the log, [`open`] which connections are open. [`stream`] is the duplex stream over a
//! [`socket`], under [`tls`] or plain, [`halves`] what it is split into, [`control`] what stops it from outside. [`route`] tells by which
//! address others reach this machine.

pub mod address;
pub mod budget;
pub mod control;
pub mod dial;
pub mod door;
pub mod gate;
pub mod halves;
pub mod listen;
pub mod open;
pub mod origin;
pub mod route;
pub mod service;
pub mod socket;
pub mod stream;
pub mod tls;

pub use address::Address;
pub use stream::Stream;
