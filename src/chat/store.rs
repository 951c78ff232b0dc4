//! What keeps messages beyond this process: the interface between the hub and it.

use std::fmt;
use std::sync::Arc;

use super::event::Event;
use super::log::Log;
use crate::error::Refusal;

/// Called once, when a message is kept and the client may be told so.
pub type Kept = Box<dyn FnOnce() + Send>;

/// A message on its way to the store.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The room, as it is shown; for a private message: the nick of who gets it.
    pub room: Arc<str>,
    /// Its number in the room.
    pub seq: u64,
    /// The message: `say` with all its fields, or `topic`.
    pub event: Arc<Event>,
}

/// A room as it was kept.
#[derive(Debug)]
pub struct KeptRoom {
    /// Its messages.
    pub log: Log,
    /// Its topic.
    pub topic: Option<Arc<Event>>,
}

/// Keeps messages. Its methods are called while the hub's lock is held, and must not wait for a disk or a network.
pub trait Store: fmt::Debug + Send + Sync {
    /// Takes a message; `kept` is called when it will not be lost any more.
    ///
    /// # Errors
    /// There is no room for more: the message is not delivered.
    fn keep(&self, stored: StoredEvent, kept: Kept) -> Result<(), Refusal>;

    /// What is kept of a room; `None`: nothing.
    fn load(&self, room: &str) -> Option<KeptRoom>;
}
