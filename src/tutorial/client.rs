//! Several requests to one of the tutorials' servers, one after the other.

use std::fmt;

use crate::error::{ConnectionLost, Error, Result};
use crate::net::Stream;
use crate::tutorial::TutorialConnection;
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};

/// What to do with the next request after one that got no reply in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterNoReply {
    /// Open another connection for it.
    Reconnect,
    /// Send nothing more: the next request may depend on the one that got no reply.
    Stop,
}

/// A client of one of the tutorials' servers. After a request that got no reply in time it closes the connection: a
/// late reply would be taken for the next one's.
pub struct TutorialClient<'c, E> {
    connect: &'c dyn Fn() -> std::result::Result<Stream, E>,
    wire: Wire,
    waits: Waits,
    connection: Option<TutorialConnection>,
    after_no_reply: AfterNoReply,
}

impl<E> fmt::Debug for TutorialClient<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TutorialClient").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Takes a reply piece by piece.
pub type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Result<()>;

impl<'c, E: From<Error>> TutorialClient<'c, E> {
    /// A client that opens its connections with `connect`, the first one at once.
    ///
    /// # Errors
    /// As `connect`.
    pub fn open(
        connect: &'c dyn Fn() -> std::result::Result<Stream, E>,
        wire: Wire,
        waits: Waits,
        after_no_reply: AfterNoReply,
    ) -> std::result::Result<Self, E> {
        let connection = Some(TutorialConnection::new(connect()?, wire, waits));
        Ok(Self { connect, wire, waits, connection, after_no_reply })
    }

    /// Sends a request without waiting for a reply.
    ///
    /// # Errors
    /// It cannot be sent, or the connection was lost.
    pub fn send(&mut self, request: &[u8]) -> std::result::Result<(), E> {
        Ok(self.connection()?.say(request)?)
    }

    /// Gives to `sink` what has come of the last reply since it was taken to be complete. Returns the number of bytes.
    ///
    /// # Errors
    /// The connection was lost and cannot be opened again, or `sink` failed.
    pub fn drain(&mut self, sink: Sink<'_>) -> std::result::Result<u64, E> {
        Ok(self.connection()?.drain(sink)?)
    }

    /// Sends a request and gives its reply to `sink`. Returns how the reply ended.
    ///
    /// # Errors
    /// It cannot be sent, the connection was lost, or `sink` failed.
    pub fn request(&mut self, request: &[u8], sink: Sink<'_>) -> std::result::Result<ReplyEnd, E> {
        let connection = self.connection()?;
        connection.say(request)?;
        let ended = connection.hear(sink)?;
        match ended {
            ReplyEnd::Closed => return Err(Error::from(ConnectionLost::Closed { wanted: "a reply" }).into()),
            ReplyEnd::Nothing => self.connection = None,
            ReplyEnd::Whole | ReplyEnd::Idle | ReplyEnd::SizeGuessed | ReplyEnd::Missing => {}
        }
        Ok(ended)
    }

    /// Whether another request can be sent.
    pub fn is_usable(&self) -> bool {
        self.connection.is_some() || self.after_no_reply == AfterNoReply::Reconnect
    }

    /// What happens after a request without a reply.
    pub const fn after_no_reply(&self) -> AfterNoReply {
        self.after_no_reply
    }

    /// The connection; `None`: the last request got no reply.
    pub fn into_connection(self) -> Option<TutorialConnection> {
        self.connection
    }

    fn connection(&mut self) -> std::result::Result<&mut TutorialConnection, E> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => TutorialConnection::new((self.connect)()?, self.wire, self.waits),
        };
        Ok(self.connection.insert(connection))
    }
}
