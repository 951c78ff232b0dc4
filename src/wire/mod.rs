//! Bytes to words and back, over anything that reads and writes.
//!
//! No socket, file, clock, thread or log is named in here: a test feeds these types from a slice,
//! a byte at a time, cut short or with a bit flipped, and sees what a server would see.
//!
//! In reading order: [`message`] declares every word of the protocol, each once; [`header`] is the JSON that carries it
//! and [`path`] a path in JSON; [`frame`] is the only byte arithmetic; [`channel`] the two halves that carry typed
//! messages; [`detect`] what the first bytes of a connection say, and [`http_shape`] what a web page could have sent.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod channel;
mod declare;
pub mod detect;
mod fields;
pub mod frame;
pub mod header;
pub mod http_shape;
pub mod message;
pub mod path;
pub mod service;

pub use channel::{Receiver, Sender};
pub use message::Message;
