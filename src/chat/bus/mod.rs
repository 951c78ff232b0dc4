//! The bus: several servers are one chat, through Redis.
//!
//! ```text
//! say -> Hub -> Outbox (disk) -> ack
//!                  |
//!              publisher -> XADD ~~~ XREAD -> reader -> Hub -> the members of another server
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`record`] | a message as it stands in the outbox and on the bus |
//! | [`outbox`] | what this server has acknowledged, on its disk |
//! | [`link`] | a connection to Redis |
//! | `publisher` | from the outbox to the bus |
//! | `reader` | from the bus to the hub |
//! | [`presence`] | who is at other servers |
//! | `deliver` | from other servers to the members of this one |
//!
//! A server numbers its messages without a gap and publishes them in this order, so that the last number of each server
//! says which ones are here: what is published twice is delivered once.

mod deliver;
pub mod link;
pub mod outbox;
pub mod presence;
mod publisher;
mod reader;
pub mod record;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::clients::ClientOrigin;
use super::event::Event;
use super::hub::{Hub, HubState};
use super::log::Log;
use super::names::Name;
use super::state::{direct_log, now_ms};
use super::store::{Elsewhere, Kept, KeptRoom, LastMessage, Store, StoredEvent};
use crate::error::Refusal;
use crate::net::listen::STACK_LEN;
use crate::trust::home::Home;
use crate::wire::message::Message;
use deliver::Seen;
use link::LinkMaker;
pub use link::{BusError, BusOptions};
use outbox::{Outbox, OutboxError, OutboxFile};
use presence::{Presence, RemoteMembers};
use publisher::Publisher;
use reader::Reader;
use record::{Identity, Record};

/// The outbox, in the home.
pub const OUTBOX_FILE: &str = "bus-outbox";
/// Private messages that are kept for clients that are not here.
const WAITING_MESSAGES: usize = 1_000;
/// How long a server that starts waits for what is on the bus.
const FIRST_TIME: Duration = Duration::from_secs(10);
/// How long a thread of the bus waits before it tries again: at first, and at most.
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// The bus of one server.
#[derive(Debug)]
pub struct Bus {
    shared: Arc<Shared>,
    /// What is written by a thread, once it has begun.
    file: Mutex<Option<(OutboxFile, Vec<Record>)>>,
}

/// What the bus's threads share.
#[derive(Debug)]
struct Shared {
    maker: LinkMaker,
    outbox: Outbox,
    /// Keeps messages beyond this process, too; `None`: nothing does.
    inner: Option<Arc<dyn Store>>,
    seen: Mutex<Seen>,
    elsewhere: RemoteMembers,
    /// Private messages to clients of this server that are not here.
    waiting: Mutex<VecDeque<Record>>,
    status: Mutex<Status>,
}

/// Which halves of the bus are connected.
#[derive(Debug, Default)]
struct Status {
    publishes: bool,
    reads: bool,
    /// What the log and the members were told.
    is_told_up: Option<bool>,
}

/// One half of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Publisher,
    Reader,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publisher => "publishing",
            Self::Reader => "reading",
        })
    }
}

/// The bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its address is none.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

impl Bus {
    /// Opens the outbox in `home`; connects to nothing yet. `inner` keeps messages too: a message is kept when both have
    /// it.
    ///
    /// # Errors
    /// The address is none, or the outbox cannot be used.
    pub fn open(home: &Home, options: &BusOptions, inner: Option<Arc<dyn Store>>) -> Result<Arc<Self>, OpenError> {
        let maker = LinkMaker::new(options)?;
        let (outbox, file, records) = Outbox::open(&home.join(OUTBOX_FILE))?;
        let (seen, elsewhere, waiting, status) = Default::default();
        let shared = Shared { maker, outbox, inner, seen, elsewhere, waiting, status };
        Ok(Arc::new(Self { shared: Arc::new(shared), file: Mutex::new(Some((file, records))) }))
    }

    /// Starts the bus's threads for this hub, and waits a while for what is on the bus. Without a bus the server begins
    /// alone.
    ///
    /// # Errors
    /// A thread could not start.
    pub fn start(&self, hub: &Hub) -> io::Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((file, records)) = file else { return Ok(()) };
        hub.state.note_own(&records);
        let shared = &self.shared;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).stack_size(STACK_LEN).spawn(run)
        };
        let writing = Arc::clone(shared);
        spawn("bus-outbox", Box::new(move || writing.outbox.write(file)))?;
        let publisher = Publisher { shared: Arc::clone(shared), hub: Arc::downgrade(&hub.state) };
        spawn("bus-publish", Box::new(move || publisher.run()))?;
        let presence = Presence { shared: Arc::clone(shared), hub: Arc::downgrade(&hub.state) };
        spawn("bus-presence", Box::new(move || presence.run()))?;
        let (first, is_first_over) = channel();
        let reader = Reader::new(Arc::clone(shared), Arc::downgrade(&hub.state), first);
        spawn("bus-read", Box::new(move || reader.run()))?;
        if is_first_over.recv_timeout(FIRST_TIME).is_err() {
            tracing::warn!(after = ?FIRST_TIME, "the bus is still being read; clients are let in");
        }
        Ok(())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.shared.outbox.end();
    }
}

impl Store for Bus {
    fn keep(&self, stored: StoredEvent, kept: Kept) -> Result<(), Refusal> {
        let Shared { outbox, inner, .. } = &*self.shared;
        let Some(record) = Record::of(&stored, 0) else {
            // A private message to a member of this server.
            match inner {
                Some(inner) => return inner.keep(stored, kept),
                None => kept(),
            }
            return Ok(());
        };
        self.shared.outbox.check()?;
        let kept = match inner {
            Some(inner) => {
                let [first, second] = both(kept);
                inner.keep(stored, first)?;
                second
            }
            None => kept,
        };
        self.shared.is_new(record.identity());
        outbox.add(|seq| Record { seq, ..record }.to_json(), kept);
        Ok(())
    }

    fn after_all(&self, kept: Kept) {
        let Shared { outbox, inner, .. } = &*self.shared;
        match inner {
            Some(inner) => {
                let [first, second] = both(kept);
                inner.after_all(first);
                outbox.after_all(second);
            }
            None => outbox.after_all(kept),
        }
    }

    fn load(&self, room: &str) -> Option<KeptRoom> {
        let kept = self.shared.inner.as_ref()?.load(room)?;
        // What is kept stands on the bus, too, when a server begins.
        for event in kept.log.last_of(usize::MAX) {
            let stored = StoredEvent { room: room.into(), receiver: None, seq: 0, event };
            if let Some(record) = Record::of(&stored, 0) {
                self.shared.is_new(record.identity());
            }
        }
        Some(kept)
    }

    fn put_back(&self, room: &str, kept: KeptRoom) {
        if let Some(inner) = &self.shared.inner {
            inner.put_back(room, kept);
        }
    }

    fn load_direct(&self, origin: &ClientOrigin) -> Option<Log> {
        let kept = self.shared.inner.as_ref().and_then(|inner| inner.load_direct(origin));
        let waiting = self.shared.take_waiting(origin);
        if waiting.is_empty() {
            return kept;
        }
        let mut log = kept.unwrap_or_else(|| direct_log(now_ms() * 1_000));
        let known: HashSet<(Option<String>, Option<u64>)> =
            log.last_of(usize::MAX).iter().map(|e| sender_of(e)).collect();
        for record in waiting.iter().filter(|record| !known.contains(&(record.origin.clone(), record.id))) {
            let seq = log.next();
            log.push(seq, deliver::direct_event(record, &record.room, seq));
        }
        Some(log)
    }

    fn put_back_direct(&self, origin: &ClientOrigin, log: Log) {
        if let Some(inner) = &self.shared.inner {
            inner.put_back_direct(origin, log);
        }
    }

    fn last_messages(&self) -> Vec<LastMessage> {
        self.shared.inner.as_ref().map(|inner| inner.last_messages()).unwrap_or_default()
    }

    fn elsewhere(&self, nick: &Name) -> Option<Elsewhere> {
        self.shared.elsewhere.find(nick)
    }

    fn names_elsewhere(&self, room: &Name) -> Vec<String> {
        self.shared.elsewhere.names_in(room)
    }

    fn keep_elsewhere(&self, server: &str, stored: StoredEvent, kept: Kept) -> Result<(), Refusal> {
        let Some(record) = Record::of_direct(&stored, server) else { return Ok(()) };
        self.shared.outbox.check()?;
        self.shared.is_new(record.identity());
        self.shared.outbox.add(|seq| Record { seq, ..record }.to_json(), kept);
        Ok(())
    }
}

impl Shared {
    /// Notes a message; whether it is new.
    fn is_new(&self, identity: Identity) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(identity)
    }

    /// Keeps a private message for a client that is not here; the oldest gives way.
    fn wait_for_receiver(&self, record: Record) {
        if record.receiver.as_ref().is_none_or(|receiver| receiver.origin.is_none()) {
            tracing::info!("a private message of another server came when its receiver had left");
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(record);
        if waiting.len() > WAITING_MESSAGES {
            waiting.pop_front();
        }
    }

    fn take_waiting(&self, origin: &ClientOrigin) -> Vec<Record> {
        let is_for = |record: &Record| {
            record.receiver.as_ref().and_then(|receiver| receiver.origin.as_deref()) == Some(origin.as_str())
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *waiting).into_iter().partition::<VecDeque<_>, _>(is_for);
        *waiting = left;
        taken.into()
    }

    /// One half is connected, or is no longer, or could not be.
    fn set_status(&self, half: Half, connected: Result<(), &BusError>, hub: &HubState) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let is_up = connected.is_ok();
        let slot = if half == Half::Publisher { &mut status.publishes } else { &mut status.reads };
        *slot = is_up;
        let is_all_up = status.publishes && status.reads;
        if is_up != is_all_up || status.is_told_up == Some(is_all_up) {
            return;
        }
        let before = status.is_told_up.replace(is_all_up);
        drop(status);
        let bus = self.maker.shown();
        match connected {
            Ok(()) => tracing::info!(bus, server = self.outbox.server(), "joined the other servers through the bus"),
            Err(error) => tracing::warn!(bus, %error, "the bus is away ({half}); this server goes on alone"),
        }
        match (before, is_all_up) {
            (Some(_), true) => hub.tell_notice("bus-joined", "this server has joined the other servers again"),
            (Some(_), false) => hub.tell_notice(
                "bus-lost",
                "this server has lost the other servers: messages reach its own members now, and all others when it joins \
                 them again",
            ),
            (None, _) => {}
        }
    }
}

/// The sender's origin and its number of a message.
fn sender_of(event: &Event) -> (Option<String>, Option<u64>) {
    match event.message() {
        Message::Say { fields } => (fields.origin.clone().map(std::borrow::Cow::into_owned), fields.id),
        _ => (None, None),
    }
}

/// Two that call `kept` when both were called.
fn both(kept: Kept) -> [Kept; 2] {
    let (kept, is_half) = (Mutex::new(Some(kept)), AtomicBool::new(false));
    let shared = Arc::new((kept, is_half));
    std::array::from_fn(|_| {
        let shared = Arc::clone(&shared);
        let call: Kept = Box::new(move || {
            let (kept, is_half) = &*shared;
            if !is_half.swap(true, Ordering::AcqRel) {
                return;
            }
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(kept) = kept {
                kept();
            }
        });
        call
    })
}

/// Runs `once` again and again, with a pause that grows while it fails at once, until the hub is gone.
fn keep_trying(hub: &Weak<HubState>, mut once: impl FnMut(&dyn Fn()) -> Result<(), BusError>) {
    use std::cell::Cell;
    let pause = Cell::new(BACK_OFF_FIRST);
    while hub.strong_count() > 0 {
        // What was connected begins anew with the shortest pause.
        let connected = || pause.set(BACK_OFF_FIRST);
        if once(&connected).is_ok() {
            continue;
        }
        thread::sleep(pause.get());
        pause.set((pause.get() * 2).min(BACK_OFF_MAX));
    }
}
