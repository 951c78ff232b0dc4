//! Bytes to words and back, over anything that reads and writes.
//!
//! No socket, file, clock, thread or log is named in here: a test feeds these types from a slice,
//! a byte at a time, cut short or with a bit flipped, and sees what a server would see.
//!
//! In reading order: [`message`] is every word of the protocol, [`frame`] the only byte arithmetic, [`conn`] the two
//! halves that carry typed messages, [`detect`] the first bytes of a connection, [`http_shape`] what a web page could
//! have sent, [`error`] what can go wrong by whose move is next, and [`tutorial`] the other wires.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod channel;
pub mod detect;
pub mod frame;
pub mod http_shape;
pub mod message;

pub use channel::{Receiver, Sender};
pub use message::Message;
