//! landline: programs with which machines talk to each other, and the library that they share.
//!
//! ```
//! use landline::{Client, Home, Root, Server};
//!
//! # let temporary = tempfile::tempdir()?;
//! # let path = temporary.path().join("home");
//! let home = Home::open(Some(&path))?;
//! let server = Server::new(home.clone(), Root::open(".".as_ref())?).listen("127.0.0.1:0")?;
//! // Encrypted, and the server's key is the one that this home knows: its own.
//! let mut client = Client::connect(&home, server.address())?;
//! assert_eq!(client.echo(b"hello")?, b"hello");
//! assert_eq!(client.run("echo $((6 * 7))")?.stdout, b"42\n");
//! client.close();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client`] and [`Server`] are the two doors; [`Connector`](client::Connector) and
//! [`ServerBuilder`](server::ServerBuilder) have what can be chosen. An [`Error`] says whose move is next.
//!
//! For Linux; blocking calls and threads, no runtime. A program that wants the library alone takes it with
//! `default-features = false`.
//!
//! # Inside
//!
//! ```text
//! bin -> cli -> call_x -> connection -> stream -> socket
//! socket -> listen -> stream -> connection -> verbs -> serve_x -> root | process | room -> reply
//! ```
//!
//! In reading order: [`echo`] is the smallest conversation, both halves on one page; [`wire`] declares its messages and
//! has the bytes, [`connection`](mod@connection) carries them over [`net`]; [`trust`] says which peer is at the other
//! end, and [`pair`] introduces two machines. [`dir`], [`files`], [`trees`], [`exec`] and [`chat`] are the other
//! conversations; [`fs`] is what keeps files safe. [`client`] and [`server`] put it together. [`tutorial`] has the
//! tutorials' wires, [`udp`] datagrams, [`audit`] the record of requests, [`printable`] what a terminal or a log shows of
//! a stranger's text. `cli`, behind the feature of that name, is for our own programs and the only part that prints.

pub mod audit;
pub mod chat;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod connection;
pub mod dir;
pub mod echo;
pub mod error;
pub mod exec;
pub mod files;
pub mod fs;
pub mod histogram;
pub mod http;
pub mod memory;
pub mod net;
pub mod pair;
pub mod printable;
pub mod remote;
pub mod server;
pub mod session;
pub mod slots;
pub mod text;
pub mod trees;
pub mod trust;
pub mod tutorial;
pub mod udp;
pub mod wire;

pub use client::{Client, ConnectError};
pub use error::{Error, Result};
pub use fs::root::Root;
pub use server::Server;
pub use trust::home::Home;
pub use wire::message::Outcome;
