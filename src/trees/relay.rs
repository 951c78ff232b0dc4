//! From one machine to another through this one: the source is a server, the target is another, and we pass on what
//! they say to each other. Nothing is written here.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::asked::Asked;
use super::body::{Wanted, lines, read_line};
use super::filter::Filter;
use super::hear::{Word, bad_want, words_of};
use super::pack::Unpacker;
use super::source::RECORD_LEN;
use super::{BODY_LEN_MAX, Deed, Entry, Event, Pull, Push, Watch};
use crate::line::{Line, LineReceiver, LineSender};
use crate::wire::conn::out_of_turn;
use crate::wire::error::{Error, ErrorCode, Refusal, Result};
use crate::wire::frame;
use crate::wire::message::{Kind, Message, Packed};

/// An event on its way to whoever watches, on another thread.
enum Seen {
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
    Did(Deed, Vec<u8>, u64),
    Unchanged(u64),
}

/// An entry that was listed: path, size, whether it is a file.
type Known = (Vec<u8>, u64, bool);

/// What both directions know.
struct Shared {
    /// Entries that are not settled yet.
    entries: Mutex<HashMap<u32, Known>>,
    /// How many there were.
    listed: AtomicU32,
    source_has_end: AtomicBool,
    target_has_end: AtomicBool,
    /// What may come.
    asked: Asked,
}

/// Pulls from one server and pushes to another; `filter` is the selection of both.
///
/// # Errors
/// One of them refused the whole (both lines are in step), or a line failed.
pub fn relay(
    from: &mut Line,
    to: &mut Line,
    (pull, path, push): (&Pull, &[u8], &Push),
    filter: Filter,
    watch: Watch<'_>,
) -> Result<()> {
    let body = |request: serde_json::Result<Vec<u8>>| request.map_err(|error| Error::ours("JSON")(error.into()));
    from.receiver().begin_turn();
    to.receiver().begin_turn();
    from.sender().send(&Message::Pull, &body(serde_json::to_vec(pull))?)?;
    to.sender().send(&Message::Push { path: path.into() }, &body(serde_json::to_vec(push))?)?;
    let controls = (from.control().clone(), to.control().clone());
    let (from_source, to_source) = from.halves()?;
    let (from_target, to_target) = to.halves()?;
    let shared = Shared {
        entries: Mutex::default(),
        listed: AtomicU32::new(0),
        source_has_end: AtomicBool::new(false),
        target_has_end: AtomicBool::new(false),
        asked: Asked::of(pull, filter),
    };
    let (says, seen) = channel();
    thread::scope(|scope| {
        let (shared, controls, says_too) = (&shared, &controls, says.clone());
        let give_up = move |why: &Error| {
            if matches!(why, Error::LineLost(_) | Error::PeerMisbehaved(_)) {
                // Whoever waits for the other one would wait for ever.
                controls.0.stop();
                controls.1.stop();
            } else {
                drop(end(&shared.source_has_end, to_source));
                drop(end(&shared.target_has_end, to_target));
            }
        };
        let files = scope.spawn(move || pass_files(from_source, to_target, shared, &says).inspect_err(give_up));
        let wishes = scope.spawn(move || pass_wishes(from_target, to_source, shared, &says_too).inspect_err(give_up));
        let mut watched = Ok(());
        for seen in seen {
            if watched.is_ok() {
                watched = seen.tell(watch).inspect_err(give_up);
            }
        }
        let broken = |_| Err(Error::ours("relay")(std::io::Error::other("a thread broke off")));
        let (files, wishes) = (files.join().unwrap_or_else(broken), wishes.join().unwrap_or_else(broken));
        // A line that was lost ended the other one too.
        match (files, wishes) {
            (Err(lost @ Error::LineLost(_)), Ok(()) | Err(Error::LineLost(_))) => Err(lost),
            (Err(why), Ok(()) | Err(Error::LineLost(_))) | (_, Err(why)) => Err(why),
            (Ok(()), Ok(())) => watched,
        }
    })
}

/// Says `end`, once; nothing follows it.
fn end(is_said: &AtomicBool, sender: &LineSender) -> Result<()> {
    if is_said.swap(true, Ordering::AcqRel) { Ok(()) } else { sender.send(&Message::End { total: None }, &[]) }
}

impl Shared {
    /// The end of `count` entries from `first` on, which the target speaks of: no more than it was told of.
    fn listed_up_to(&self, first: u32, count: u32) -> Result<u32> {
        let end = first.saturating_add(count);
        if end > self.listed.load(Ordering::Relaxed) {
            return Err(bad_want("it is about entries that were not listed"));
        }
        Ok(end)
    }

    fn take(&self, entry: u32) -> Option<Known> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry)
    }

    fn get(&self, entry: u32) -> Option<Known> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&entry).cloned()
    }
}

/// What the source says, to the target.
fn pass_files(from: &mut LineReceiver, to: &LineSender, shared: &Shared, says: &Sender<Seen>) -> Result<()> {
    let mut json = Vec::new();
    let (mut unpacker, mut unpacked) = (Unpacker::default(), Vec::new());
    loop {
        let message = from
            .recv_request(&mut json)?
            .ok_or(crate::wire::error::LineLost::Closed { wanted: "list, small, large or end" })?;
        let body = from.body(frame::BODY_LEN_MAX)?;
        match &message {
            Message::Packed { of, size } => {
                unpacker.unpack(&body, *size, &mut unpacked)?;
                if *of != Packed::List {
                    tell(says, Seen::Saves(u64::from(*size).saturating_sub(body.len() as u64)));
                }
                match of {
                    Packed::List => note_entries(&unpacked, shared, says)?,
                    Packed::Small => tell(says, Seen::Moved(small_len(&unpacked))),
                    Packed::Data => tell(says, Seen::Moved(u64::from(*size))),
                }
            }
            Message::List { is_last } => {
                note_entries(&body, shared, says)?;
                if *is_last {
                    tell(says, Seen::ListedAll);
                }
            }
            Message::Small => tell(says, Seen::Moved(small_len(&body))),
            Message::Data { .. } => tell(says, Seen::Moved(body.len() as u64)),
            Message::Large { entry, offset, attributes } => {
                let path = shared.get(*entry).map(|(path, ..)| path).unwrap_or_default();
                tell(says, Seen::Begins(path, attributes.size, *offset));
            }
            Message::Same { entry } => {
                if let Some((_, size, _)) = shared.take(*entry) {
                    tell(says, Seen::Unchanged(size));
                }
            }
            Message::Grew { entry } => {
                if let Some((path, ..)) = shared.get(*entry) {
                    tell(says, Seen::Grew(path));
                }
            }
            // The target's own refusal, which was told when it came.
            Message::Lost { entry, code: ErrorCode::Stopped, .. } => drop(shared.take(*entry)),
            Message::Lost { entry, code, message } => {
                let path = shared.take(*entry).map(|(path, ..)| path).unwrap_or_default();
                tell(says, Seen::Failed(path, Refusal::new(*code, message.as_ref())));
            }
            Message::Hole { size } => tell(says, Seen::Skims(*size)),
            Message::Copy { size, .. } => tell(says, Seen::Reuses(*size)),
            Message::Blocks | Message::Piece { .. } | Message::Whole { .. } => {}
            Message::End { .. } => return end(&shared.target_has_end, to),
            Message::Error { code, message } => return Err(Refusal::new(*code, message.as_ref()).into()),
            other => return Err(out_of_turn(other, "list, small, large or end")),
        }
        to.send_unless(&shared.target_has_end, &message, &body)?;
    }
}

fn note_entries(body: &[u8], shared: &Shared, says: &Sender<Seen>) -> Result<()> {
    for line in lines(body) {
        let entry = Entry::read(line)?;
        if entry.error.is_none() && !shared.asked.holds(&entry) {
            let text = format!("{}: was not asked for", String::from_utf8_lossy(&entry.path));
            return Err(Refusal::new(ErrorCode::BadName, text).into());
        }
        note_entry(entry, shared, says);
    }
    Ok(())
}

fn note_entry(entry: Entry, shared: &Shared, says: &Sender<Seen>) {
    let is_file = entry.kind == Kind::File && entry.same.is_none() && entry.error.is_none() && entry.skipped.is_none();
    if let Some(why) = entry.error {
        tell(says, Seen::Failed(entry.path.clone(), Refusal::new(ErrorCode::Failed, why)));
    } else if let Some(why) = entry.skipped {
        tell(says, Seen::Skipped(entry.path.clone(), why, entry.has_met));
    } else if is_file {
        tell(says, Seen::Listed(entry.size));
    }
    let mut entries = shared.entries.lock().unwrap_or_else(PoisonError::into_inner);
    entries.insert(shared.listed.fetch_add(1, Ordering::Relaxed), (entry.path, entry.size, is_file));
}

/// What the target says, to the source.
fn pass_wishes(from: &mut LineReceiver, to: &LineSender, shared: &Shared, says: &Sender<Seen>) -> Result<()> {
    let mut json = Vec::new();
    let mut answered = 0_u32;
    loop {
        let message = from
            .recv_request(&mut json)?
            .ok_or(crate::wire::error::LineLost::Closed { wanted: "want, kept or end" })?;
        let body = from.body(BODY_LEN_MAX)?;
        match &message {
            Message::Want { count, path, name } => {
                if let Some(path) = path {
                    tell(says, Seen::Placed(path.to_vec(), name.as_ref().map(|name| name.to_vec())));
                }
                let wanted = lines(&body).map(|line| read_line(line, "want")).collect::<Result<Vec<Wanted>>>()?;
                let end = shared.listed_up_to(answered, *count)?;
                for entry in answered..end {
                    let is_wanted =
                        |range: &Wanted| (range.first..range.first.saturating_add(range.count)).contains(&entry);
                    if !wanted.iter().any(is_wanted)
                        && let Some((_, size, true)) = shared.take(entry)
                    {
                        tell(says, Seen::Unchanged(size));
                    }
                }
                answered = end;
            }
            Message::Chunks { .. } | Message::Mend { .. } => {}
            Message::Kept => words_of(&body)?.into_iter().try_for_each(|word| note_word(word, shared, says))?,
            Message::End { .. } => return end(&shared.source_has_end, to),
            Message::Error { code, message } => return Err(Refusal::new(*code, message.as_ref()).into()),
            other => return Err(out_of_turn(other, "want, kept or end")),
        }
        to.send_unless(&shared.source_has_end, &message, &body)?;
    }
}

fn note_word(word: Word, shared: &Shared, says: &Sender<Seen>) -> Result<()> {
    match word {
        Word::Safe(first, count) => {
            for entry in first..shared.listed_up_to(first, count)? {
                if let Some((path, size, _)) = shared.take(entry) {
                    tell(says, Seen::Done(path, size));
                }
            }
        }
        Word::Failed(entry, why) => {
            let path = shared.take(entry).map(|(path, ..)| path).unwrap_or_default();
            tell(says, Seen::Failed(path, why));
        }
        Word::FailedWithDir(entry, why) => {
            let path = shared.take(entry).map(|(path, ..)| path).unwrap_or_default();
            tell(says, Seen::FailedWithDir(path, why));
        }
        Word::Did(entry, deed, path, size) => {
            shared.take(entry);
            tell(says, Seen::Did(deed, path, size));
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

/// Nobody may be watching any more.
fn tell(says: &Sender<Seen>, seen: Seen) {
    drop(says.send(seen));
}

impl Seen {
    fn tell(self, watch: Watch<'_>) -> Result<()> {
        match self {
            Self::Placed(path, name) => watch(Event::Placed { path: &path, name: name.as_deref() }),
            Self::Listed(size) => watch(Event::Listed(size)),
            Self::ListedAll => watch(Event::ListedAll),
            Self::Skipped(path, why, has_met) => watch(Event::Skipped { path: &path, why: &why, has_met }),
            Self::Begins(path, size, offset) => watch(Event::Begins { path: &path, size, offset }),
            Self::Moved(bytes) => watch(Event::Moved(bytes)),
            Self::Skims(bytes) => watch(Event::Skims(bytes)),
            Self::Reuses(bytes) => watch(Event::Reuses(bytes)),
            Self::Saves(bytes) => watch(Event::Saves(bytes)),
            Self::Grew(path) => watch(Event::Grew { path: &path }),
            Self::Done(path, size) => watch(Event::Done { path: &path, size }),
            Self::Failed(path, why) => watch(Event::Failed { path: &path, why: &why }),
            Self::FailedWithDir(path, why) => watch(Event::FailedWithDir { path: &path, why: &why }),
            Self::Did(deed, path, size) => watch(Event::Did { deed, path: &path, size }),
            Self::Unchanged(size) => watch(Event::Unchanged(size)),
        }
    }
}
