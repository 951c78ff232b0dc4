//! landline: programs with which machines talk to each other, and the library that they share.
//!
//! ```text
//! bin -> cli -> call_x -> connection -> stream -> socket
//! socket -> listen -> stream -> connection -> serve -> serve_x -> root | process | room -> reply
//! ```
//!
//! In reading order: [`echo`] is the smallest conversation, both halves on one page; [`wire`] has its words and
//! bytes, [`line`](mod@line) carries them over [`net`]; [`trust`] says who is at the other end, and [`pair`]
//! introduces two machines; [`serve`] is the table of requests and [`server`] puts a server together. [`files`],
//! [`dir`], [`exec`] and [`chat`] are the other conversations, [`root`] and [`part`] what keeps files safe, [`bare`]
//! the tutorials' wires, [`udp`] datagrams, [`audit`] the record of who did what, [`printable`] what a reader of
//! either sees of it. [`cli`] is for our own programs and the only part that prints.
//!
//! ```
//! use std::time::Duration;
//! use landline::trust::{home::Home, identity::Identity};
//! use landline::{echo, limits::CommandCaps, connection::Connection, net, root::Root, server, wire};
//! use landline::trust::{Services, policy::Power};
//!
//! // A server on a free port, whose guests (a plain connection makes one) may only echo...
//! # let temporary = tempfile::tempdir()?;
//! # let path = temporary.path().join("home");
//! let home = Home::open(Some(&path))?;
//! let config = server::Config {
//!     identity: Identity::of(&home)?,
//!     home,
//!     is_for_pairing_only: false,
//!     root: Root::open(".".as_ref())?,
//!     guest: "echo".parse::<Services>()?,
//!     caps: net::gate::Caps::of_this_machine(64),
//!     command_caps: CommandCaps::default(),
//!     power: Power::User,
//!     idle_timeout: Some(Duration::from_secs(60)),
//!     stall_timeout: None,
//!     tutorial: None,
//!     part_ttl: None,
//!     audit: None,
//! };
//! let server = server::Server::new(config)?;
//! let listeners = net::listen::Listener::bind(&"127.0.0.1:0".parse()?)?;
//! let address = listeners[0].local().parse()?;
//! std::thread::scope(|scope| {
//!     let accepting = scope.spawn(|| server::accept_on_all(&server, &listeners));
//!     // ...and a client.
//!     let stream = net::dial::dial(&address, Duration::from_secs(5))?;
//!     let mut connection = Connection::open(stream, "example")?;
//!     assert_eq!(echo::call_echo(&mut connection, b"hello")?, b"hello");
//!     assert!(landline::dir::call_pwd(&mut connection).is_err(), "not granted");
//!     connection.close();
//!     server.stop(&listeners, Duration::from_secs(1), &|| false);
//!     drop(accepting.join());
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
