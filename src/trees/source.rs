//! The half of a turn that has the files: lists them, hears which are wanted, and sends those.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use byteorder::{ByteOrder as _, LittleEndian};
use rustix::fs::Stat;

use super::large::{Large, Offer, digest_of};
use super::walk::{self, Found, Opener, Place, Walk, mtime_ns};
use super::{
    BODY_LEN_MAX, Deed, Event, Kept, OUTSTANDING_MAX, SMALL_FRAME_LEN, SMALL_LEN_MAX, Wanted, Watch, lines, not_now,
    read_line,
};
use crate::dir::Kind;
use crate::files::PIECE_LEN;
use crate::line::{LineReceiver, LineSender};
use crate::net::listen::STACK_LEN;
use crate::net::stream::Control;
use crate::wire::error::{Error, ErrorCode, LineLost, Misbehaviour, Refusal, Result};
use crate::wire::message::{Attributes, Message, Stream};

/// A `list` leaves when it has so many bytes.
const LIST_FRAME_LEN: usize = 64 * 1024;
/// What stands before each file in a `small` frame: entry, size, modification time, digest.
pub const RECORD_LEN: usize = 4 + 4 + 8 + 32;
/// A file that changes while it is read is read once more.
const READS_MAX: usize = 2;

/// Entries that are listed ahead while there is something to send.
const AHEAD_WHILE_SENDING: usize = 2 * 1024;

/// Directories that are open because something in them was named: beyond it, what was listed is sent first.
const GROUNDS_OPEN_MAX: usize = 64;

/// What the target has said and this side has not looked at, in bytes: an honest one says little while nothing
/// is sent to it.
const UNHEARD_LEN_MAX: usize = 8 * 1024 * 1024;

/// What holes are hashed as.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

const PIECE: Message<'static> = Message::Data { stream: Stream::Main };

/// What the target said, as the thread that hears it passes it on.
enum Said {
    /// So many more entries were looked at; these of them are wanted.
    Want { count: u32, wanted: Vec<Wanted>, placed: Option<(Vec<u8>, Option<Vec<u8>>)> },
    /// What became of entries.
    Kept(Vec<Word>),
    /// Nothing more comes from it.
    End,
    /// It refuses the whole, or the line failed.
    Broken(Error),
}

/// What the target has said, in order.
struct Heard<'u> {
    said: Receiver<(usize, Said)>,
    /// Bytes of it that nobody has looked at yet.
    unheard: &'u AtomicUsize,
}

impl Heard<'_> {
    fn recv(&self) -> Result<Said, RecvError> {
        self.said.recv().map(|said| self.take(said))
    }

    fn try_recv(&self) -> Result<Said, TryRecvError> {
        self.said.try_recv().map(|said| self.take(said))
    }

    fn take(&self, (len, said): (usize, Said)) -> Said {
        self.unheard.fetch_sub(len, Ordering::Relaxed);
        said
    }
}

/// A line of `kept`.
#[derive(Debug)]
pub(super) enum Word {
    /// So many entries from the first on are safe.
    Safe(u32, u32),
    /// An entry failed.
    Failed(u32, Refusal),
    /// Something else was done, or would be.
    Did(u32, Deed, Vec<u8>, u64),
}

/// A file that the target was told of.
struct Listed {
    path: Vec<u8>,
    size: u64,
    place: Option<Place>,
}

/// A file that the target wants.
struct WantedFile {
    entry: u32,
    path: Vec<u8>,
    size: u64,
    place: Place,
    /// What the target has of it.
    offer: Option<Offer>,
    /// The digest of the file there: it is wanted only if it is another one.
    there: Option<String>,
}

/// The source's half of a turn.
#[expect(missing_debug_implementations, reason = "it watches through a closure")]
pub struct Source<'s> {
    sender: &'s LineSender,
    walk: Walk,
    pace: Option<Pace>,
    watch: Watch<'s>,
    opener: Opener,
    /// The next entry's number.
    next: u32,
    /// Files with several names, by device and inode: the entry of the first.
    heads: HashMap<(u64, u64), u32>,
    is_all_listed: bool,
    /// Entries on which the target has not said anything yet, in order; the last is the next before `next`.
    unanswered: VecDeque<Listed>,
    /// Files that are wanted.
    wanted: VecDeque<WantedFile>,
    /// Entries of which the target has said what becomes of them, before it said that it has looked at them.
    told: BTreeSet<u32>,
    /// Files that were sent, and not yet confirmed.
    sent: BTreeMap<u32, (Vec<u8>, u64)>,
    /// The `small` frame that is being filled.
    small: Vec<u8>,
    /// What a piece of a large file is read into.
    piece: Vec<u8>,
    /// Whether this side has said `end`.
    has_ended: bool,
    /// Whether the target says nothing more.
    is_heard_out: bool,
}

/// How reading one file went.
enum Read {
    Whole,
    /// It is another one than when it was begun.
    Changed,
    /// What the target has of it is something else.
    OtherPart,
    /// The target cannot take it.
    Refused,
}

impl<'s> Source<'s> {
    /// Sends what `walk` finds.
    pub fn new(sender: &'s LineSender, walk: Walk, bwlimit: Option<u64>, watch: Watch<'s>) -> Self {
        Self {
            sender,
            walk,
            pace: bwlimit.map(Pace::new),
            watch,
            opener: Opener::default(),
            next: 0,
            heads: HashMap::new(),
            is_all_listed: false,
            unanswered: VecDeque::new(),
            wanted: VecDeque::new(),
            told: BTreeSet::new(),
            sent: BTreeMap::new(),
            small: Vec::new(),
            piece: Vec::new(),
            has_ended: false,
            is_heard_out: false,
        }
    }

    /// The whole turn. The target is heard on a thread of its own: whoever only writes would wait for
    /// ever for a target that only writes.
    ///
    /// # Errors
    /// The target refused the whole or asked to stop, the watcher wants no more, or the line failed.
    pub fn run(mut self, receiver: &mut LineReceiver, control: &Control) -> Result<()> {
        let (says, said) = channel();
        let unheard = &AtomicUsize::new(0);
        let said = Heard { said, unheard };
        thread::scope(|scope| {
            let hearing = thread::Builder::new().name("target".into()).stack_size(STACK_LEN);
            let hearing = hearing.spawn_scoped(scope, move || hear(receiver, &says, unheard));
            if hearing.is_err() {
                return Err(Refusal::new(ErrorCode::Busy, "no thread is left for the transfer; try again later").into());
            }
            let ended = self.turn(&said);
            self.close(ended, &said, control)
        })
    }

    /// Closes the turn on this side, and hears the target out; where the line is of no use any more, ends it.
    fn close(&mut self, ended: Result<()>, said: &Heard<'_>, control: &Control) -> Result<()> {
        match &ended {
            Ok(()) => {}
            Err(Error::LineLost(_)) => control.stop(),
            Err(Error::PeerMisbehaved(how)) => {
                let refusal = Refusal::new(ErrorCode::BadFrame, how.to_string());
                drop(self.sender.refuse(&refusal));
                control.stop();
            }
            Err(Error::Refused(_) | Error::Ours { .. }) => {
                if !self.has_ended {
                    self.sender.send(&Message::End { total: None }, &[])?;
                }
                while !self.is_heard_out {
                    match said.recv() {
                        Ok(Said::End | Said::Broken(Error::Refused(_))) => self.is_heard_out = true,
                        Ok(Said::Broken(lost)) => return Err(lost),
                        Ok(Said::Want { .. } | Said::Kept(_)) => {}
                        Err(_gone) => break,
                    }
                }
            }
        }
        ended
    }

    fn turn(&mut self, said: &Heard<'_>) -> Result<()> {
        loop {
            self.hear_what_came(said)?;
            let ahead = self.unanswered.len() + self.wanted.len();
            // While there is something to send, no more is listed than keeps the target busy.
            let limit = if self.wanted.is_empty() { OUTSTANDING_MAX } else { AHEAD_WHILE_SENDING };
            let is_ahead = ahead >= limit || self.walk.grounds_open() > GROUNDS_OPEN_MAX;
            if !self.is_all_listed && (!is_ahead || self.is_idle()) {
                self.list()?;
            } else if let Some(wanted) = self.wanted.pop_front() {
                self.send_file(wanted, said)?;
            } else {
                self.send_small()?;
                if self.is_all_listed && self.unanswered.is_empty() {
                    break;
                }
                self.hear_next(said)?;
            }
        }
        self.sender.send(&Message::End { total: None }, &[])?;
        self.has_ended = true;
        loop {
            match said.recv() {
                Ok(Said::End) => return Ok(()),
                Ok(other) => self.take_in(other)?,
                Err(_gone) => return Err(LineLost::Closed { wanted: "end" }.into()),
            }
        }
    }

    /// Whether nothing is under way that would have to end first.
    fn is_idle(&self) -> bool {
        self.unanswered.is_empty() && self.wanted.is_empty()
    }

    fn hear_what_came(&mut self, said: &Heard<'_>) -> Result<()> {
        loop {
            match said.try_recv() {
                Ok(said) => self.take_in(said)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(LineLost::Closed { wanted: "want" }.into()),
            }
        }
    }

    fn hear_next(&mut self, said: &Heard<'_>) -> Result<()> {
        match said.recv() {
            Ok(said) => self.take_in(said),
            Err(_gone) => Err(LineLost::Closed { wanted: "want" }.into()),
        }
    }

    fn take_in(&mut self, said: Said) -> Result<()> {
        match said {
            Said::Want { count, wanted, placed } => {
                if let Some((path, name)) = placed {
                    (self.watch)(Event::Placed { path: &path, name: name.as_deref() })?;
                }
                self.take_want(count, wanted)
            }
            Said::Kept(words) => words.into_iter().try_for_each(|word| match word {
                Word::Safe(first, count) => self.take_safe(first, count),
                Word::Failed(entry, why) => self.take_failed(entry, &why),
                Word::Did(entry, deed, path, size) => {
                    self.told.insert(entry);
                    (self.watch)(Event::Did { deed, path: &path, size })
                }
            }),
            Said::End => {
                self.is_heard_out = true;
                Err(Refusal::new(ErrorCode::Stopped, "stopped by the receiver").into())
            }
            Said::Broken(error) => {
                self.is_heard_out = true;
                Err(error)
            }
        }
    }

    fn take_want(&mut self, count: u32, wanted: Vec<Wanted>) -> Result<()> {
        let mut wanted = wanted.into_iter().peekable();
        for _ in 0..count {
            let entry = self.next - u32::try_from(self.unanswered.len()).unwrap_or(u32::MAX);
            let listed =
                self.unanswered.pop_front().ok_or_else(|| bad_want("it is about entries that were not listed"))?;
            let Listed { path, size, place } = listed;
            // What lies behind is never met, and remains: see below.
            let is_in = |range: &Wanted| range.first <= entry && entry - range.first < range.count;
            if let Some(range) = wanted.peek_mut().filter(|range| is_in(range)) {
                let (offer, there) = match (range.offset, range.blake3.take()) {
                    (Some(offset), Some(blake3)) => (Some(Offer { offset, blake3 }), None),
                    (_, there) => (None, there),
                };
                let place = place.ok_or_else(|| bad_want("it asks for what is no file"))?;
                self.wanted.push_back(WantedFile { entry, path, size, place, offer, there });
            } else if place.is_some() && !self.told.remove(&entry) {
                (self.watch)(Event::Unchanged(size))?;
            }
            if wanted
                .peek()
                .is_some_and(|range| is_in(range) && range.first.saturating_add(range.count) <= entry.saturating_add(1))
            {
                wanted.next();
            }
        }
        if wanted.next().is_some() {
            return Err(bad_want("its ranges are not in order"));
        }
        Ok(())
    }

    fn take_failed(&mut self, entry: u32, why: &Refusal) -> Result<()> {
        let answered = self.next - u32::try_from(self.unanswered.len()).unwrap_or(u32::MAX);
        let waiting = entry.checked_sub(answered).and_then(|at| self.unanswered.get(usize::try_from(at).ok()?));
        if let Some(listed) = waiting {
            self.told.insert(entry);
            return (self.watch)(Event::Failed { path: &listed.path, why });
        }
        let path = self.sent.remove(&entry).map(|(path, _)| path).unwrap_or_default();
        (self.watch)(Event::Failed { path: &path, why })
    }

    fn take_safe(&mut self, first: u32, count: u32) -> Result<()> {
        let end = first.saturating_add(count);
        while let Some((entry, (path, size))) = self.sent.range(first..end).next().map(|(entry, sent)| (*entry, sent)) {
            (self.watch)(Event::Done { path, size: *size })?;
            self.sent.remove(&entry);
        }
        Ok(())
    }

    /// Lists what is next.
    fn list(&mut self) -> Result<()> {
        let mut body = Vec::new();
        while body.len() < LIST_FRAME_LEN && (body.is_empty() || self.walk.grounds_open() <= GROUNDS_OPEN_MAX) {
            let Some(Found { mut entry, place, inode }) = self.walk.next() else {
                self.is_all_listed = true;
                break;
            };
            if let Some(inode) = inode {
                match self.heads.entry(inode) {
                    Slot::Occupied(head) => entry.same = Some(*head.get()),
                    Slot::Vacant(slot) => {
                        slot.insert(self.next);
                        entry.has_links = true;
                    }
                }
            }
            entry.write(&mut body)?;
            self.next = self.next.checked_add(1).ok_or_else(too_many)?;
            match (&entry.error, &entry.skipped) {
                (Some(why), _) => {
                    let why = Refusal::new(ErrorCode::Failed, why.as_str());
                    (self.watch)(Event::Failed { path: &entry.path, why: &why })?;
                }
                (None, Some(why)) => (self.watch)(Event::Skipped { path: &entry.path, why })?,
                (None, None) if entry.kind == Kind::File && entry.same.is_none() => {
                    (self.watch)(Event::Listed(entry.size))?;
                }
                (None, None) => {}
            }
            let place = place.filter(|_| entry.same.is_none());
            self.unanswered.push_back(Listed { path: entry.path, size: entry.size, place });
        }
        if self.is_all_listed {
            (self.watch)(Event::ListedAll)?;
        }
        self.sender.send(&Message::List { is_last: self.is_all_listed }, &body)
    }

    fn send_file(&mut self, wanted: WantedFile, said: &Heard<'_>) -> Result<()> {
        let WantedFile { entry, path, size, place, mut offer, mut there } = wanted;
        // It is opened as late as possible, and what it is then counts.
        let (mut reads, mut is_large) = (0, false);
        self.sent.insert(entry, (path.clone(), size));
        loop {
            let (file, stat) = match self.opener.open(&place) {
                Ok(opened) => opened,
                Err(error) => return self.lose(entry, &path, &explained(&place, &error)),
            };
            let size_now = u64::try_from(stat.st_size).unwrap_or(0);
            if let Some(there) = there.take() {
                match digest_of(&file) {
                    Ok(digest) if digest.finalize().to_hex().as_str() == there => return self.pass_over(entry, size),
                    Ok(_) => {}
                    Err(error) => return self.lose(entry, &path, &explained(&place, &error)),
                }
            }
            let opened = Opened { entry, path: &path, file: &file, stat: &stat };
            let read = if size_now <= SMALL_LEN_MAX && offer.is_none() && !is_large {
                self.add_small(&opened)
            } else {
                self.send_small()?;
                is_large = true;
                self.send_large(&opened, offer.take().filter(|offer| offer.offset <= size_now), said)
            };
            let why = match read {
                Ok(Read::Whole) => {
                    if let Some((_, size)) = self.sent.get_mut(&entry) {
                        *size = size_now;
                    }
                    return if self.small.len() >= SMALL_FRAME_LEN { self.send_small() } else { Ok(()) };
                }
                Ok(Read::Refused) => {
                    let lost = Message::Lost { entry, code: ErrorCode::Stopped, message: "refused".into() };
                    return self.sender.queue(&lost, &[]);
                }
                Ok(Read::Changed) if reads + 1 == READS_MAX => {
                    let text = format!("{}: keeps changing while it is read; send it again later", place.shown());
                    return self.lose(entry, &path, &Refusal::new(ErrorCode::Failed, text));
                }
                Ok(Read::Changed) => {
                    reads += 1;
                    "it changed while it was read"
                }
                Ok(Read::OtherPart) => "what an earlier attempt left is of another file",
                Err(Error::Ours { source, .. }) => return self.lose(entry, &path, &explained(&place, &source)),
                Err(error) => return Err(error),
            };
            (self.watch)(Event::Again { path: &path, why })?;
        }
    }

    /// The target has it, as its digest shows.
    fn pass_over(&mut self, entry: u32, size: u64) -> Result<()> {
        self.send_small()?;
        self.sent.remove(&entry);
        (self.watch)(Event::Unchanged(size))?;
        self.sender.queue(&Message::Same { entry }, &[])
    }

    fn lose(&mut self, entry: u32, path: &[u8], why: &Refusal) -> Result<()> {
        self.send_small()?;
        self.sent.remove(&entry);
        (self.watch)(Event::Failed { path, why })?;
        self.sender.queue(&Message::Lost { entry, code: why.code, message: why.message.as_str().into() }, &[])
    }

    /// Reads a small file into the frame that is being filled.
    fn add_small(&mut self, opened: &Opened<'_>) -> Result<Read> {
        let Opened { entry, path, file, stat } = *opened;
        let size = usize::try_from(stat.st_size).unwrap_or(0);
        let start = self.small.len();
        self.small.resize(start + RECORD_LEN + size, 0);
        let (_, record) = self.small.split_at_mut(start);
        let (head, bytes) = record.split_at_mut(RECORD_LEN);
        let read = read_whole(file, bytes);
        let is_same = || rustix::fs::fstat(file).is_ok_and(|now| is_same(stat, &now));
        if !matches!(read, Ok(true)) || !is_same() {
            self.small.truncate(start);
            return read.map(|_| Read::Changed).map_err(ours);
        }
        let (entry_at, rest) = head.split_at_mut(4);
        let (size_at, rest) = rest.split_at_mut(4);
        let (mtime_at, digest_at) = rest.split_at_mut(8);
        LittleEndian::write_u32(entry_at, entry);
        LittleEndian::write_u32(size_at, u32::try_from(size).unwrap_or(u32::MAX));
        LittleEndian::write_i64(mtime_at, mtime_ns(stat));
        digest_at.copy_from_slice(blake3::hash(bytes).as_bytes());
        let moved = bytes.len() as u64;
        (self.watch)(Event::Begins { path, size: moved, offset: 0 })?;
        (self.watch)(Event::Moved(moved))?;
        Ok(Read::Whole)
    }

    fn send_small(&mut self) -> Result<()> {
        if !self.small.is_empty() {
            self.sender.send(&Message::Small, &self.small)?;
            if let Some(pace) = &mut self.pace {
                pace.keep(self.small.len());
            }
            self.small.clear();
        }
        Ok(())
    }

    /// Sends a large file, from where the target's part ends, if it has one and that is of this file.
    fn send_large(&mut self, opened: &Opened<'_>, offer: Option<Offer>, said: &Heard<'_>) -> Result<Read> {
        let Opened { entry, path, file, stat } = *opened;
        let offset = offer.as_ref().map_or(0, |offer| offer.offset);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.piece.is_empty() {
            self.piece = vec![0; self.pace.as_ref().map_or(PIECE_LEN, Pace::piece_len)];
        }
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let begun = Large::begin(scope, (file, size), offer, &is_over, &mut self.piece);
            let Some(mut large) = begun.map_err(ours)? else { return Ok(Read::OtherPart) };
            (self.watch)(Event::Begins { path, size, offset })?;
            let attributes = Attributes { size, mtime_ns: Some(mtime_ns(stat)), mode: Some(stat.st_mode & 0o777) };
            self.sender.queue(&Message::Large { entry, offset, attributes }, &[])?;
            let sent = self.send_pieces(opened, &mut large, said);
            is_over.store(true, Ordering::Relaxed);
            sent
        })
    }

    fn send_pieces(&mut self, opened: &Opened<'_>, large: &mut Large<'_>, said: &Heard<'_>) -> Result<Read> {
        loop {
            let hole = large.skip(&ZEROS).map_err(ours)?;
            if hole > 0 {
                self.sender.queue(&Message::Hole { size: hole }, &[])?;
                (self.watch)(Event::Skims(hole))?;
                self.hear_what_came(said)?;
                if !self.sent.contains_key(&opened.entry) {
                    return Ok(Read::Refused);
                }
                continue;
            }
            let piece = large.read(&mut self.piece).map_err(ours)?;
            if piece.is_empty() {
                break;
            }
            self.sender.queue(&PIECE, piece)?;
            if let Some(pace) = &mut self.pace {
                pace.keep(piece.len());
            }
            (self.watch)(Event::Moved(piece.len() as u64))?;
            self.hear_what_came(said)?;
            if !self.sent.contains_key(&opened.entry) {
                return Ok(Read::Refused);
            }
            if large.is_checked_by_now() && !large.is_the_same_file().map_err(ours)? {
                return Ok(Read::OtherPart);
            }
        }
        let now = rustix::fs::fstat(opened.file).map_err(|error| ours(error.into()))?;
        if !large.is_at_the_end() || !is_same(opened.stat, &now) {
            return Ok(Read::Changed);
        }
        if !large.is_the_same_file().map_err(ours)? {
            return Ok(Read::OtherPart);
        }
        self.sender.queue(&Message::Whole { total: large.total() }, &[])?;
        Ok(Read::Whole)
    }
}

/// Keeps what is sent below a rate.
#[derive(Debug)]
struct Pace {
    /// Bytes a second.
    rate: u64,
    since: Instant,
    sent: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), since: Instant::now(), sent: 0 }
    }

    /// Pieces are so short that ten of them pass in a second.
    fn piece_len(&self) -> usize {
        usize::try_from(self.rate / 10).unwrap_or(PIECE_LEN).clamp(1024, PIECE_LEN)
    }

    fn keep(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / self.rate);
        thread::sleep(due.saturating_sub(self.since.elapsed()));
    }
}

/// A file that is being sent.
#[derive(Clone, Copy)]
struct Opened<'o> {
    entry: u32,
    path: &'o [u8],
    file: &'o File,
    stat: &'o Stat,
}

/// A file's error, until its name is known.
fn ours(error: io::Error) -> Error {
    Error::ours("")(error)
}

/// Fills `bytes` from the file's beginning; `false`: it is shorter, or longer.
fn read_whole(file: &File, bytes: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => return Ok(false),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether nobody has written in between, as far as the system says.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    of(before) == of(now)
}

/// Hears what the target says until it says `end` or fails, and passes it on.
fn hear(receiver: &mut LineReceiver, says: &Sender<(usize, Said)>, unheard: &AtomicUsize) {
    loop {
        let (len, mut said) = hear_one(receiver).unwrap_or_else(|error| (0, Said::Broken(error)));
        if unheard.fetch_add(len, Ordering::Relaxed) + len > UNHEARD_LEN_MAX {
            said = Said::Broken(bad_want("the target says more and more and takes nothing"));
        }
        let is_last = matches!(said, Said::End | Said::Broken(_));
        if says.send((len, said)).is_err() || is_last {
            return;
        }
    }
}

fn hear_one(receiver: &mut LineReceiver) -> Result<(usize, Said)> {
    match receiver.expect("want, kept or end")? {
        Message::Want { count, path, name } => {
            let placed = path.map(|path| (path.into_owned(), name.map(std::borrow::Cow::into_owned)));
            let body = receiver.body(BODY_LEN_MAX)?;
            let wanted = lines(&body).map(|line| read_line(line, "want")).collect::<Result<_>>()?;
            Ok((body.len(), Said::Want { count, wanted, placed }))
        }
        Message::Kept => {
            let body = receiver.body(BODY_LEN_MAX)?;
            Ok((body.len(), Said::Kept(words_of(&body)?)))
        }
        Message::End { .. } => Ok((0, Said::End)),
        Message::Error { code, message } => Err(Refusal::new(code, message).into()),
        other => Err(not_now(&other, "want, kept or end")),
    }
}

/// The lines of a `kept`.
pub(super) fn words_of(body: &[u8]) -> Result<Vec<Word>> {
    let words = lines(body).map(|line| {
        let Kept { first, count, code, message, did, path, size } = read_line(line, "kept")?;
        if let (Some(deed), Some(path)) = (did, path) {
            return Ok(Word::Did(first, deed, super::name_of(&path)?, size));
        }
        let why = code.map(|code| Refusal::new(ErrorCode::from(&*code), message.unwrap_or_default()));
        Ok(why.map_or(Word::Safe(first, count), |why| Word::Failed(first, why)))
    });
    words.collect()
}

fn explained(place: &Place, error: &io::Error) -> Refusal {
    let code = Refusal::from_io("", error).code;
    Refusal::new(code, walk::explained(&place.shown(), error))
}

fn bad_want(why: &str) -> Error {
    Misbehaviour::BadBody { what: "want", why: why.to_owned() }.into()
}

fn too_many() -> Error {
    Refusal::new(ErrorCode::Failed, "over 4,294,967,295 entries; send them in several trees").into()
}
