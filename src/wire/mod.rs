//! Conversion between bytes and messages, over any reader and writer.
//!
//! No socket, file, clock, thread or log is named in here: a test feeds these types from a slice, a byte at a time,
//! truncated or with a flipped bit, and gets what a server would get.
//!
//! In reading order: [`message`] declares every message of the protocol once; [`header`] is its JSON header and
//! [`path`] a path in JSON; [`frame`] has all byte arithmetic; [`channel`] the two halves of a connection, with typed
//! messages; [`detect`] recognises the protocol by a connection's first bytes, and [`http_shape`] requests that a web
//! page could have sent.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod channel;
mod declare;
pub mod detect;
mod fields;
pub mod frame;
mod groups;
pub mod header;
pub mod http_shape;
pub mod message;
pub mod path;
pub mod service;

pub use channel::{Receiver, Sender};
pub use message::Message;
