//! HTTP/1.1 (RFC 9110, 9112): the same files for curl, browsers and every other program. A neighbour of
//! [`wire`](crate::wire), not its tenant: both stand on [`net`](crate::net), [`fs`](crate::fs) and
//! [`trust`](crate::trust).
//!
//! ```text
//! socket -> Incoming -> head -> site, credentials -> session -> route -> a handler -> Response -> socket
//!                       body ---------------------------------------------^
//! Url -> client::Request -> socket ~ socket -> Incoming -> client::ResponseHead -> body -> a file, or a stream
//! ```
//!
//! What stands in this folder is pure: bytes and words, no socket, file, clock, thread or log. [`server`] does what a
//! request wants; [`client`] sends one, and keeps what comes.

pub mod archive;
pub mod body;
pub mod client;
pub mod conditions;
pub mod cookie;
pub mod credentials;
pub mod date;
pub mod dav;
pub mod digest_fields;
pub mod field;
pub mod head;
pub mod incoming;
pub mod listing;
pub mod media;
pub mod multipart;
pub mod negotiate;
pub mod page;
pub mod range;
pub mod resumable;
pub mod server;
pub mod site;
pub mod structured;
pub mod target;
pub mod urlencoded;
