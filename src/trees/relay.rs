//! From one machine to another through this one: the sender is a server, the receiver is another, and this side
//! passes on their frames. Nothing is written here.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, channel};
use std::thread;

use super::body::{Wanted, lines, read_line};
use super::filter::Filter;
use super::pack::Unpacker;
use super::replies::{KeptWord, bad_want, words_of};
use super::requested::Requested;
use super::sender::RECORD_LEN;
use super::{BODY_LEN_MAX, Change, OnEvent, Pull, Push, TreeEntry, TreeEvent};
use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::wire::channel::{Receiver, Sender, unexpected};
use crate::wire::frame;
use crate::wire::message::{EntryKind, Message, Packed};

/// An event on its way to the thread that calls `watch`.
enum RelayedEvent {
    Placed(Vec<u8>, Option<Vec<u8>>),
    Listed(u64),
    ListedAll,
    Skipped(Vec<u8>, String, bool),
    Begins(Vec<u8>, u64, u64),
    Moved(u64),
    Skims(u64),
    Reuses(u64),
    Saves(u64),
    Grew(Vec<u8>),
    Done(Vec<u8>, u64),
    Failed(Vec<u8>, Refusal),
    FailedWithDir(Vec<u8>, Refusal),
    Did(Change, Vec<u8>, u64),
    Unchanged(u64),
}

/// An entry that was listed: path, size, whether it is a file.
type ListedEntry = (Vec<u8>, u64, bool);

/// What both directions share.
struct RelayState {
    /// Entries that are not settled yet.
    entries: Mutex<HashMap<u32, ListedEntry>>,
    /// How many entries were listed.
    listed: AtomicU32,
    sender_has_end: AtomicBool,
    receiver_has_end: AtomicBool,
    /// What the client requested: nothing else is passed on.
    requested: Requested,
}

/// Pulls from one server and pushes to another; `filter` is the selection of both.
///
/// # Errors
/// One of them refused the whole (both connections are in step), or a connection failed.
pub fn relay(
    from: &mut Connection,
    to: &mut Connection,
    (pull, path, push): (&Pull, &[u8], &Push),
    filter: Filter,
    watch: OnEvent<'_>,
) -> Result<()> {
    let body = |request: serde_json::Result<Vec<u8>>| request.map_err(|error| Error::ours("JSON")(error.into()));
    from.receiver().begin_exchange();
    to.receiver().begin_exchange();
    from.sender().send(&Message::Pull, &body(serde_json::to_vec(pull))?)?;
    to.sender().send(&Message::Push { path: path.into() }, &body(serde_json::to_vec(push))?)?;
    let controls = (from.control().clone(), to.control().clone());
    let (from_sender, to_sender) = from.halves()?;
    let (from_receiver, to_receiver) = to.halves()?;
    let shared = RelayState {
        entries: Mutex::default(),
        listed: AtomicU32::new(0),
        sender_has_end: AtomicBool::new(false),
        receiver_has_end: AtomicBool::new(false),
        requested: Requested::of(pull, filter),
    };
    let (events, seen) = channel();
    thread::scope(|scope| {
        let (shared, controls, events_back) = (&shared, &controls, events.clone());
        let give_up = move |why: &Error| {
            if matches!(why, Error::ConnectionLost(_) | Error::PeerMisbehaved(_)) {
                // The other direction could otherwise wait without end.
                controls.0.stop();
                controls.1.stop();
            } else {
                drop(end(&shared.sender_has_end, to_sender));
                drop(end(&shared.receiver_has_end, to_receiver));
            }
        };
        let files = scope.spawn(move || pass_files(from_sender, to_receiver, shared, &events).inspect_err(give_up));
        let wishes =
            scope.spawn(move || pass_wishes(from_receiver, to_sender, shared, &events_back).inspect_err(give_up));
        let mut watched = Ok(());
        for seen in seen {
            if watched.is_ok() {
                watched = seen.tell(watch).inspect_err(give_up);
            }
        }
        let broken = |_| Err(Error::ours("relay")(std::io::Error::other("a thread broke off")));
        let (files, wishes) = (files.join().unwrap_or_else(broken), wishes.join().unwrap_or_else(broken));
        // When one connection is lost, the other one is ended too.
        match (files, wishes) {
            (Err(lost @ Error::ConnectionLost(_)), Ok(()) | Err(Error::ConnectionLost(_))) => Err(lost),
            (Err(why), Ok(()) | Err(Error::ConnectionLost(_))) | (_, Err(why)) => Err(why),
            (Ok(()), Ok(())) => watched,
        }
    })
}

/// Sends `end` once; nothing follows it.
fn end<W: Write>(is_said: &AtomicBool, sender: &Sender<W>) -> Result<()> {
    if is_said.swap(true, Ordering::AcqRel) { Ok(()) } else { sender.send(&Message::End { total: None }, &[]) }
}

impl RelayState {
    /// The end of the `count` entries from `first` on that a reply is about. An error if they were not all listed.
    fn listed_up_to(&self, first: u32, count: u32) -> Result<u32> {
        let end = first.saturating_add(count);
        if end > self.listed.load(Ordering::Relaxed) {
            return Err(bad_want("it is about entries that were not listed"));
        }
        Ok(end)
    }

    fn take(&self, entry: u32) -> Option<ListedEntry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry)
    }

    fn get(&self, entry: u32) -> Option<ListedEntry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&entry).cloned()
    }
}

/// Passes the sender's frames on to the receiver.
fn pass_files<R: Read, W: Write>(
    from: &mut Receiver<R>,
    to: &Sender<W>,
    shared: &RelayState,
    events: &mpsc::Sender<RelayedEvent>,
) -> Result<()> {
    let mut json = Vec::new();
    let (mut unpacker, mut unpacked) = (Unpacker::default(), Vec::new());
    loop {
        let message = from
            .recv_request(&mut json)?
            .ok_or(crate::error::ConnectionLost::Closed { wanted: "list, small, large or end" })?;
        let body = from.body(frame::BODY_LEN_MAX)?;
        match &message {
            Message::Packed { of, size } => {
                unpacker.unpack(&body, *size, &mut unpacked)?;
                if *of != Packed::List {
                    tell(events, RelayedEvent::Saves(u64::from(*size).saturating_sub(body.len() as u64)));
                }
                match of {
                    Packed::List => note_entries(&unpacked, shared, events)?,
                    Packed::Small => tell(events, RelayedEvent::Moved(small_len(&unpacked))),
                    Packed::Data => tell(events, RelayedEvent::Moved(u64::from(*size))),
                }
            }
            Message::List { is_last } => {
                note_entries(&body, shared, events)?;
                if *is_last {
                    tell(events, RelayedEvent::ListedAll);
                }
            }
            Message::Small => tell(events, RelayedEvent::Moved(small_len(&body))),
            Message::Data { .. } => tell(events, RelayedEvent::Moved(body.len() as u64)),
            Message::Large { entry, offset, attributes } => {
                let path = shared.get(*entry).map(|(path, ..)| path).unwrap_or_default();
                tell(events, RelayedEvent::Begins(path, attributes.size, *offset));
            }
            Message::Same { entry } => {
                if let Some((_, size, _)) = shared.take(*entry) {
                    tell(events, RelayedEvent::Unchanged(size));
                }
            }
            Message::Grew { entry } => {
                if let Some((path, ..)) = shared.get(*entry) {
                    tell(events, RelayedEvent::Grew(path));
                }
            }
            // The receiver's own refusal, which was reported when it came.
            Message::Lost { entry, code: ErrorCode::Stopped, .. } => drop(shared.take(*entry)),
            Message::Lost { entry, code, message } => {
                let path = shared.take(*entry).map(|(path, ..)| path).unwrap_or_default();
                tell(events, RelayedEvent::Failed(path, Refusal::new(*code, message.as_ref())));
            }
            Message::Hole { size } => tell(events, RelayedEvent::Skims(*size)),
            Message::Copy { size, .. } => tell(events, RelayedEvent::Reuses(*size)),
            Message::Blocks | Message::Piece { .. } | Message::Whole { .. } => {}
            Message::End { .. } => return end(&shared.receiver_has_end, to),
            Message::Error { code, message } => return Err(Refusal::new(*code, message.as_ref()).into()),
            other => return Err(unexpected(other, "list, small, large or end")),
        }
        to.send_unless(&shared.receiver_has_end, &message, &body)?;
    }
}

fn note_entries(body: &[u8], shared: &RelayState, events: &mpsc::Sender<RelayedEvent>) -> Result<()> {
    for line in lines(body) {
        let entry = TreeEntry::read(line)?;
        if entry.error.is_none() && !shared.requested.holds(&entry) {
            let text = format!("{}: was not asked for", String::from_utf8_lossy(&entry.path));
            return Err(Refusal::new(ErrorCode::BadName, text).into());
        }
        note_entry(entry, shared, events);
    }
    Ok(())
}

fn note_entry(entry: TreeEntry, shared: &RelayState, events: &mpsc::Sender<RelayedEvent>) {
    let is_file =
        entry.kind == EntryKind::File && entry.same.is_none() && entry.error.is_none() && entry.skipped.is_none();
    if let Some(why) = entry.error {
        tell(events, RelayedEvent::Failed(entry.path.clone(), Refusal::new(ErrorCode::Failed, why)));
    } else if let Some(why) = entry.skipped {
        tell(events, RelayedEvent::Skipped(entry.path.clone(), why, entry.has_met));
    } else if is_file {
        tell(events, RelayedEvent::Listed(entry.size));
    }
    let mut entries = shared.entries.lock().unwrap_or_else(PoisonError::into_inner);
    entries.insert(shared.listed.fetch_add(1, Ordering::Relaxed), (entry.path, entry.size, is_file));
}

/// Passes the receiver's replies on to the sender.
fn pass_wishes<R: Read, W: Write>(
    from: &mut Receiver<R>,
    to: &Sender<W>,
    shared: &RelayState,
    events: &mpsc::Sender<RelayedEvent>,
) -> Result<()> {
    let mut json = Vec::new();
    let mut answered = 0_u32;
    loop {
        let message = from
            .recv_request(&mut json)?
            .ok_or(crate::error::ConnectionLost::Closed { wanted: "want, kept or end" })?;
        let body = from.body(BODY_LEN_MAX)?;
        match &message {
            Message::Want { count, path, name } => {
                if let Some(path) = path {
                    tell(events, RelayedEvent::Placed(path.to_vec(), name.as_ref().map(|name| name.to_vec())));
                }
                let wanted = lines(&body).map(|line| read_line(line, "want")).collect::<Result<Vec<Wanted>>>()?;
                let end = shared.listed_up_to(answered, *count)?;
                for entry in answered..end {
                    let is_wanted =
                        |range: &Wanted| (range.first..range.first.saturating_add(range.count)).contains(&entry);
                    if !wanted.iter().any(is_wanted)
                        && let Some((_, size, true)) = shared.take(entry)
                    {
                        tell(events, RelayedEvent::Unchanged(size));
                    }
                }
                answered = end;
            }
            Message::Chunks { .. } | Message::Mend { .. } => {}
            Message::Kept => words_of(&body)?.into_iter().try_for_each(|word| note_word(word, shared, events))?,
            Message::End { .. } => return end(&shared.sender_has_end, to),
            Message::Error { code, message } => return Err(Refusal::new(*code, message.as_ref()).into()),
            other => return Err(unexpected(other, "want, kept or end")),
        }
        to.send_unless(&shared.sender_has_end, &message, &body)?;
    }
}

fn note_word(word: KeptWord, shared: &RelayState, events: &mpsc::Sender<RelayedEvent>) -> Result<()> {
    match word {
        KeptWord::Safe(first, count) => {
            for entry in first..shared.listed_up_to(first, count)? {
                if let Some((path, size, _)) = shared.take(entry) {
                    tell(events, RelayedEvent::Done(path, size));
                }
            }
        }
        KeptWord::Failed(entry, why) => {
            let path = shared.take(entry).map(|(path, ..)| path).unwrap_or_default();
            tell(events, RelayedEvent::Failed(path, why));
        }
        KeptWord::FailedWithDir(entry, why) => {
            let path = shared.take(entry).map(|(path, ..)| path).unwrap_or_default();
            tell(events, RelayedEvent::FailedWithDir(path, why));
        }
        KeptWord::Did(entry, change, path, size) => {
            shared.take(entry);
            tell(events, RelayedEvent::Did(change, path, size));
        }
    }
    Ok(())
}

/// Bytes of files in a `small` frame.
fn small_len(body: &[u8]) -> u64 {
    let (mut rest, mut len) = (body, 0);
    while let Some((head, behind)) = rest.split_at_checked(RECORD_LEN) {
        let size = head.get(4..8).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
        len += u64::from(size);
        rest = behind.get(usize::try_from(size).unwrap_or(usize::MAX)..).unwrap_or_default();
    }
    len
}

/// The watching thread may have ended.
fn tell(events: &mpsc::Sender<RelayedEvent>, seen: RelayedEvent) {
    drop(events.send(seen));
}

impl RelayedEvent {
    fn tell(self, watch: OnEvent<'_>) -> Result<()> {
        match self {
            Self::Placed(path, name) => watch(TreeEvent::Placed { path: &path, name: name.as_deref() }),
            Self::Listed(size) => watch(TreeEvent::Listed(size)),
            Self::ListedAll => watch(TreeEvent::ListedAll),
            Self::Skipped(path, why, has_met) => watch(TreeEvent::Skipped { path: &path, why: &why, has_met }),
            Self::Begins(path, size, offset) => watch(TreeEvent::Begins { path: &path, size, offset }),
            Self::Moved(bytes) => watch(TreeEvent::Moved(bytes)),
            Self::Skims(bytes) => watch(TreeEvent::Skims(bytes)),
            Self::Reuses(bytes) => watch(TreeEvent::Reuses(bytes)),
            Self::Saves(bytes) => watch(TreeEvent::Saves(bytes)),
            Self::Grew(path) => watch(TreeEvent::Grew { path: &path }),
            Self::Done(path, size) => watch(TreeEvent::Done { path: &path, size }),
            Self::Failed(path, why) => watch(TreeEvent::Failed { path: &path, why: &why }),
            Self::FailedWithDir(path, why) => watch(TreeEvent::FailedWithDir { path: &path, why: &why }),
            Self::Did(change, path, size) => watch(TreeEvent::Did { change, path: &path, size }),
            Self::Unchanged(size) => watch(TreeEvent::Unchanged(size)),
        }
    }
}
