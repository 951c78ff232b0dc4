//! The client: a URL becomes a body that is whole, over our own sockets.
//!
//! ```text
//! Url -> Proxies -> dial -> TLS -> Request -> socket ~~~ socket -> Incoming -> ResponseHead -> BodyReader -> decoder
//!  ^                                                                              |                            |
//!  +---------------------------------- Redirects <--------------------------------+          Part, or a stream <+
//! ```
//!
//! Nothing here prints: an [`Observer`] sees each line of the exchange, and what moves.

pub mod coding;
pub mod connection;
pub mod content;
pub mod digest;
pub mod download;
pub mod error;
pub mod exchange;
pub mod follow;
pub mod names;
pub mod parallel;
pub mod proxy;
pub mod redirect;
pub mod request;
pub mod response;
pub mod retry;
pub mod store;
pub mod upload;
pub mod url;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use connection::{ConnectOptions, Connection, Deadline};
pub use error::{Error, Result};
pub use exchange::Response;
pub use request::Request;
pub use url::{Origin, Url};

use crate::net::stream::Control;

/// What an observer is told.
#[derive(Debug, Clone, Copy)]
pub enum Event<'e> {
    /// Something that a person may want to know.
    Remark(&'e str),
    /// Something that a person should know: it starts over, it is tried again.
    Notice(&'e str),
    /// A line that was sent, secrets hidden.
    Sent(&'e [u8]),
    /// A line that came, secrets hidden.
    Received(&'e [u8]),
    /// A body begins.
    Begins {
        /// Its length in all; `None`: unknown.
        size: Option<u64>,
        /// Bytes of it that were there before.
        there: u64,
    },
    /// Bytes of a body have moved.
    Moved(u64),
}

/// Watches a client, and may end it.
pub trait Observer: Sync {
    /// Something has happened.
    fn event(&self, event: Event<'_>);

    /// A connection was opened, which this ends.
    fn connected(&self, control: &Control);

    /// Waits before another attempt; `false`: there is to be none.
    fn pause(&self, wait: Duration) -> bool;

    /// Whether the caller wants it to end.
    fn is_interrupted(&self) -> bool;
}

/// A client with its settings, and a connection that waits for its next request.
#[derive(Debug)]
pub struct Client {
    /// How to connect.
    pub connect: Arc<ConnectOptions>,
    idle: Mutex<Option<(Origin, Connection)>>,
}

impl Client {
    /// A client that connects so.
    pub fn new(connect: ConnectOptions) -> Self {
        Self::sharing(Arc::new(connect))
    }

    /// A client with the settings of another one, and connections of its own.
    pub const fn sharing(connect: Arc<ConnectOptions>) -> Self {
        Self { connect, idle: Mutex::new(None) }
    }

    /// The idle connection to `origin`, if it still lives.
    fn take_idle(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, connection) = idle.take_if(|(own, _)| own == origin)?;
        (!connection.has_news()).then_some(connection)
    }

    fn keep_idle(&self, origin: Origin, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        *idle = Some((origin, connection));
    }
}
