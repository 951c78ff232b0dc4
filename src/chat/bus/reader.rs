//! From the bus to the hub.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::hub::HubState;
use super::link::{BusError, Link, Position, StreamEntry};
use super::record::Record;
use super::{Half, Shared, keep_trying};

/// Servers whose last number is remembered. Messages of others are not delivered.
const SERVERS_MAX: usize = 10_000;
/// How long the reader waits for a message, before it looks whether it is still wanted.
const WAIT_TIME: Duration = Duration::from_secs(1);
/// Longest name of a server, in bytes.
const SERVER_LEN_MAX: usize = 64;

/// The thread that reads.
pub(super) struct Reader {
    shared: Arc<Shared>,
    hub: Weak<HubState>,
    /// How far the stream was read.
    position: Position,
    /// The number of the last message of each server.
    last: HashMap<String, u64>,
    /// Told when the stream was read to its end, or could not be; `None`: that is over.
    first: Option<Sender<()>>,
    /// Where the stream ended when it was read first; `None`: it was not yet.
    past: Option<Position>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, hub: Weak<HubState>, first: Sender<()>) -> Self {
        let position = Position::default();
        Self { shared, hub, position, last: HashMap::new(), first: Some(first), past: None }
    }

    /// Reads until the hub is gone.
    pub(super) fn run(mut self) {
        let hub = Weak::clone(&self.hub);
        keep_trying(&hub, |connected| {
            let read = self.read(connected);
            if let (Err(error), Some(hub)) = (&read, self.hub.upgrade()) {
                self.shared.set_status(Half::Reader, Err(error), &hub);
            }
            self.end_first();
            read
        });
    }

    /// Reads over one connection.
    fn read(&mut self, connected: &dyn Fn()) -> Result<(), BusError> {
        // The maker is borrowed by the link while this reader changes.
        let shared = Arc::clone(&self.shared);
        let mut link = shared.maker.connect()?;
        let end = link.end()?;
        if end < self.position {
            // The bus has lost messages, and new ones may stand before those that were read. What is here is known by
            // its number.
            tracing::warn!(was = %self.position, is = %end, "the bus has lost messages; it is read from its beginning");
            self.position = Position::default();
        }
        let past = *self.past.get_or_insert(end);
        self.read_up_to(&mut link, past)?;
        self.end_first();
        if let Some(hub) = self.hub.upgrade() {
            self.shared.set_status(Half::Reader, Ok(()), &hub);
        }
        connected();
        while self.hub.strong_count() > 0 {
            for entry in &link.read(self.position, WAIT_TIME)? {
                self.take(entry);
            }
        }
        Ok(())
    }

    /// Reads what stood on the bus when this server began.
    fn read_up_to(&mut self, link: &mut Link<'_>, end: Position) -> Result<(), BusError> {
        while self.position < end && self.hub.strong_count() > 0 {
            let entries = link.read(self.position, WAIT_TIME)?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                self.take(entry);
            }
        }
        Ok(())
    }

    fn end_first(&mut self) {
        if let Some(first) = self.first.take() {
            // The server may wait no longer.
            if first.send(()).is_err() {
                tracing::debug!("the server did not wait for the bus");
            }
        }
    }

    fn take(&mut self, entry: &StreamEntry) {
        self.position = entry.position;
        let (Some(server), Some(json)) = (&entry.server, &entry.json) else {
            tracing::warn!(at = %entry.position, "an entry on the bus is no message of a server; it is left out");
            return;
        };
        let record = match Record::parse(json) {
            Ok(record) if server.len() <= SERVER_LEN_MAX => record,
            Ok(_) => return,
            Err(why) => {
                tracing::warn!(at = %entry.position, server, why, "a message on the bus is left out");
                return;
            }
        };
        let is_past = self.past.is_some_and(|past| entry.position <= past);
        if !self.is_next(server, record.seq) {
            return;
        }
        let outbox = &self.shared.outbox;
        if server == outbox.server() && record.seq > outbox.last_before() {
            // Its members have it.
            return;
        }
        let Some(hub) = self.hub.upgrade() else { return };
        let shared = &self.shared;
        if let Some(receiver) = &record.receiver {
            if receiver.server == outbox.server()
                && !hub.deliver_direct(&record, shared.inner.as_deref(), || shared.is_new(record.identity()))
            {
                shared.wait_for_receiver(record);
            }
            return;
        }
        hub.deliver(&record, is_past, shared.inner.as_deref(), || {
            let identity = record.identity();
            let is_sure = identity.is_sure;
            // What has no number is only known again where it was read before: from the history.
            shared.is_new(identity) || !is_sure && !is_past
        });
    }

    /// Whether a server's message with this number is not here yet. A gap is told.
    fn is_next(&mut self, server: &str, seq: u64) -> bool {
        let Some(last) = self.last.get_mut(server) else {
            if self.last.len() >= SERVERS_MAX {
                tracing::warn!(server, "a server beyond {SERVERS_MAX}, which is the limit: its messages are left out");
                return false;
            }
            self.last.insert(server.to_owned(), seq);
            return true;
        };
        if seq <= *last {
            return false;
        }
        let missing = seq - *last - 1;
        *last = seq;
        if missing > 0 {
            tracing::warn!(server, missing, "the bus no longer has messages that this server has missed");
            if let Some(hub) = self.hub.upgrade() {
                hub.tell_gap();
            }
        }
        true
    }
}
