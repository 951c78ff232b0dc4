//! What keeps messages beyond this process: the interface between the hub and it.

use std::fmt;
use std::sync::Arc;

use super::clients::ClientOrigin;
use super::event::Event;
use super::events::WhoRow;
use super::log::Log;
use super::names::Name;
use crate::error::{ErrorCode, Refusal};
use crate::wire::message::{Message, SayFields};

/// Called once, when a message is kept and the client may be told so.
pub type Kept = Box<dyn FnOnce() + Send>;

/// A message on its way to the store.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The room, as it is shown; for a private message: the nick of who gets it.
    pub room: Arc<str>,
    /// For a private message: the client that gets it. `None`: it is not known again, or it is no private message.
    pub receiver: Option<ClientOrigin>,
    /// Its number in the room.
    pub seq: u64,
    /// The message: `say` with all its fields, or `topic`.
    pub event: Arc<Event>,
}

impl StoredEvent {
    /// Whether it is a private message.
    pub fn is_direct(&self) -> bool {
        matches!(self.event.message(), Message::Say { fields: SayFields { to: Some(_), .. } })
    }
}

/// The last message of a client, so that it is not taken twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMessage {
    /// The client.
    pub origin: ClientOrigin,
    /// The client's number of the message.
    pub id: u64,
    /// Its number in the room.
    pub seq: Option<u64>,
    /// When it arrived, milliseconds since 1970 UTC.
    pub time_ms: u64,
}

impl LastMessage {
    /// What this message says of its client; `None`: it has no number.
    pub fn of(message: &Message<'_>) -> Option<Self> {
        let Message::Say { fields: SayFields { origin: Some(origin), id: Some(id), seq, time_ms, .. } } = message
        else {
            return None;
        };
        let origin = ClientOrigin::of_kept(origin)?;
        Some(Self { origin, id: *id, seq: *seq, time_ms: time_ms.unwrap_or_default() })
    }
}

/// A room as it was kept.
#[derive(Debug)]
pub struct KeptRoom {
    /// Its messages.
    pub log: Log,
    /// Its topic.
    pub topic: Option<Arc<Event>>,
}

impl KeptRoom {
    /// A room whose first message has the number behind `last`.
    pub fn empty(last: u64) -> Self {
        Self { log: Log::new(last), topic: None }
    }
}

/// A member of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The server's name.
    pub server: String,
    /// Who it is.
    pub who: WhoRow,
    /// Its client; `None`: it is not known again.
    pub origin: Option<ClientOrigin>,
}

/// Keeps messages. Its methods are called while the hub's lock is held, and must not wait for a disk or a network.
pub trait Store: fmt::Debug + Send + Sync {
    /// Takes a message; `kept` is called when it will not be lost any more.
    ///
    /// # Errors
    /// There is no room for more: the message is not delivered.
    fn keep(&self, stored: StoredEvent, kept: Kept) -> Result<(), Refusal>;

    /// Calls `kept` when all that [`keep`](Self::keep) took so far will not be lost any more.
    fn after_all(&self, kept: Kept);

    /// What is kept of a room that gets its first member; `None`: nothing.
    fn load(&self, room: &str) -> Option<KeptRoom>;

    /// Takes back what [`load`](Self::load) gave, and what was added to it, when the room's last member has gone.
    fn put_back(&self, room: &str, kept: KeptRoom);

    /// The private messages of a client that comes back; `None`: there are none.
    fn load_direct(&self, origin: &ClientOrigin) -> Option<Log>;

    /// Takes the private messages of a client that has been away for too long, as
    /// [`put_back`](Self::put_back) takes a room.
    fn put_back_direct(&self, origin: &ClientOrigin, log: Log);

    /// The last message of each client.
    fn last_messages(&self) -> Vec<LastMessage>;

    /// The member of another server with this nick, or with one that looks like it; `None`: there is none.
    fn elsewhere(&self, _nick: &Name) -> Option<Elsewhere> {
        None
    }

    /// The nicks of members of other servers that are in this room.
    fn names_elsewhere(&self, _room: &Name) -> Vec<String> {
        Vec::new()
    }

    /// As [`keep`](Self::keep), for a private message to a member of this other server.
    ///
    /// # Errors
    /// There is no room for more, or there are no other servers.
    fn keep_elsewhere(&self, _server: &str, stored: StoredEvent, _kept: Kept) -> Result<(), Refusal> {
        Err(Refusal::new(ErrorCode::NotFound, format!("{} is not here", stored.room)))
    }
}
