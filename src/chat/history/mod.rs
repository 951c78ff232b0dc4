//! The history: what was sent in rooms, and to one member, kept in files across restarts.
//!
//! [`mod@line`] is one message, [`segments`] the files. A thread of its own appends what the hub gives it, all that waits
//! at once with one sync, and then says that it is kept. While the disk is full it tries again, and nothing is lost.

pub mod line;
pub mod segments;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clients::ClientOrigin;
use super::event::Event;
use super::log::{Log, shorten};
use super::state::{AWAY_MAX, LOGS_LEN_MAX, ROOMS_MAX, direct_log};
use super::store::{Kept, KeptRoom, LastMessage, Store, StoredEvent};
use crate::error::{ErrorCode, Refusal};
use crate::net::listen::STACK_LEN;
use crate::wire::message::{Message, SayFields};
pub use segments::{HistoryLimits, ReadBack, Segments};

/// Bytes that may wait for the disk before further messages are refused.
pub const WAITING_LEN_MAX: usize = 16 * 1024 * 1024;
/// How long the thread waits before it tries a full or broken disk again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A history that is written.
#[derive(Debug)]
pub struct History {
    shared: Arc<HistoryState>,
    /// `None`: it has ended.
    writing: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct HistoryState {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// What was read and no room has asked for yet, and what empty rooms gave back.
    rooms: Mutex<HashMap<String, KeptRoom>>,
    direct: Mutex<HashMap<String, Log>>,
    last: Mutex<Vec<LastMessage>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    kept: Vec<Kept>,
    /// Why the disk takes nothing now; `None`: it does.
    failure: Option<String>,
    has_ended: bool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("len", &self.lines.len())
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl History {
    /// Reads the history in `directory`, which is made if there is none, and begins to write it.
    ///
    /// # Errors
    /// It cannot be read or written, or another server writes it.
    pub fn open(directory: &Path, limits: HistoryLimits) -> io::Result<Self> {
        let (segments, read) = Segments::open(directory, limits)?;
        let path = directory.display();
        if read.torn > 0 {
            tracing::warn!(%path, bytes = read.torn, "the history's last line was torn, and is removed");
        }
        if read.damaged > 0 {
            tracing::warn!(%path, lines = read.damaged, "damaged lines of the history are skipped");
        }
        let state = HistoryState {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            rooms: Mutex::default(),
            direct: Mutex::default(),
            last: Mutex::default(),
        };
        state.take_in(read);
        let shared = Arc::new(state);
        let writer = Arc::clone(&shared);
        let run = move || writer.write(segments);
        let writing = thread::Builder::new().name("history".into()).stack_size(STACK_LEN).spawn(run)?;
        Ok(Self { shared, writing: Mutex::new(Some(writing)) })
    }
}

impl Store for History {
    fn keep(&self, stored: StoredEvent, kept: Kept) -> Result<(), Refusal> {
        // A private message to a client that cannot come back is not kept: later, its nick could be another's.
        if stored.is_direct() && stored.receiver.is_none() {
            kept();
            return Ok(());
        }
        let receiver = stored.receiver.as_ref().map(ClientOrigin::as_str);
        let line = line::encode(&stored.event, receiver, stored.seq);
        let mut waiting = self.shared.lock();
        if let Some(failure) = &waiting.failure {
            let text = format!("the history cannot be written: {failure}; the message is not sent");
            return Err(Refusal::new(ErrorCode::NoSpace, text));
        }
        if waiting.lines.len() + line.len() > WAITING_LEN_MAX {
            let text = format!("{} bytes wait for the disk already; try again later", waiting.lines.len());
            return Err(Refusal::new(ErrorCode::Busy, text));
        }
        waiting.lines.extend_from_slice(&line);
        waiting.kept.push(kept);
        drop(waiting);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn after_all(&self, kept: Kept) {
        self.shared.lock().kept.push(kept);
        self.shared.wake.notify_one();
    }

    fn load(&self, room: &str) -> Option<KeptRoom> {
        self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner).remove(room)
    }

    fn put_back(&self, room: &str, kept: KeptRoom) {
        let mut rooms = self.shared.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() < ROOMS_MAX {
            rooms.insert(room.to_owned(), kept);
            let mut logs: Vec<&mut Log> = rooms.values_mut().map(|kept| &mut kept.log).collect();
            shorten(&mut logs, LOGS_LEN_MAX);
        }
    }

    fn put_back_direct(&self, origin: &ClientOrigin, log: Log) {
        let mut direct = self.shared.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if !log.is_empty() && direct.len() < AWAY_MAX {
            direct.insert(origin.as_str().to_owned(), log);
            shorten(&mut direct.values_mut().collect::<Vec<_>>(), LOGS_LEN_MAX);
        }
    }

    fn load_direct(&self, origin: &ClientOrigin) -> Option<Log> {
        self.shared.direct.lock().unwrap_or_else(PoisonError::into_inner).remove(origin.as_str())
    }

    fn last_messages(&self) -> Vec<LastMessage> {
        std::mem::take(&mut *self.shared.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for History {
    /// Writes what waits.
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.wake.notify_one();
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(writing.map(JoinHandle::join));
    }
}

impl HistoryState {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what was read where the hub will ask for it.
    fn take_in(&self, read: ReadBack) {
        let lock = |error: PoisonError<_>| error.into_inner();
        let mut rooms = self.rooms.lock().unwrap_or_else(lock);
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last: HashMap<String, LastMessage> = HashMap::new();
        for line in read.lines {
            let event = Event::of(line.message, line.text.as_bytes());
            if let Some(message) = LastMessage::of(event.message()) {
                last.insert(message.origin.as_str().to_owned(), message);
            }
            match (line.receiver, event.message()) {
                (Some(receiver), _) => {
                    let log = direct.entry(receiver).or_insert_with(|| direct_log(line.seq - 1));
                    log.push(line.seq, event);
                }
                (None, Message::Topic { room, .. }) => {
                    let room = rooms.entry(room.to_string()).or_insert_with(|| KeptRoom::empty(line.seq));
                    room.topic = (!event.body().is_empty()).then_some(event);
                }
                (None, Message::Say { fields: SayFields { room: Some(room), .. } }) => {
                    let room = rooms.entry(room.to_string()).or_insert_with(|| KeptRoom::empty(line.seq - 1));
                    room.log.push(line.seq, event);
                }
                (None, _) => {}
            }
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last.into_values().collect();
    }

    fn write(&self, mut segments: Segments) {
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() && waiting.kept.is_empty() && !waiting.has_ended {
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let (lines, kept) = (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.kept));
            if lines.is_empty() && kept.is_empty() {
                return;
            }
            drop(waiting);
            if !lines.is_empty() && !self.append(&mut segments, &lines) {
                return;
            }
            for kept in kept {
                kept();
            }
        }
    }

    /// Appends, and tries again until it works. False: the server ends before that.
    fn append(&self, segments: &mut Segments, lines: &[u8]) -> bool {
        loop {
            let Err(error) = segments.append(lines) else {
                if self.lock().failure.take().is_some() {
                    tracing::info!("the history is written again");
                }
                return true;
            };
            let mut waiting = self.lock();
            if waiting.failure.replace(error.to_string()).is_none() {
                tracing::error!(%error, "the history cannot be written; messages are refused until it can");
            }
            let (waiting, _) = self
                .wake
                .wait_timeout_while(waiting, RETRY_INTERVAL, |waiting| !waiting.has_ended)
                .unwrap_or_else(PoisonError::into_inner);
            if waiting.has_ended {
                tracing::error!(
                    bytes = lines.len(),
                    "messages could not be kept before the end; none was acknowledged"
                );
                return false;
            }
        }
    }
}
