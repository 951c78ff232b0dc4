//! The half of an exchange that gets the files: compares what is listed with what is there, says what it wants,
//! writes that, and says what it has.

mod content;
mod mirroring;
mod ranges;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use self::content::Current;
use self::mirroring::Space;
use self::ranges::Ranges;
use crate::error::{ConnectionLost, Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::fs::below::split;
use crate::fs::part::resume::Leftover;
use crate::memory::{Budget, ENTRY_COST};
use crate::trees::batch::{Batch, Committed};
use crate::trees::body::{KeptLine, Stretch, Wanted, lines, write_line};
use crate::trees::delta::{self, CHUNKS_OUT_MAX, Cut, Delta, chunks_of};
use crate::trees::destination::{Destination, There};
use crate::trees::event::{StopHandle, stopped};
use crate::trees::filter::Filter;
use crate::trees::first::{Earlier, FIRST_WINS, MeetGroups};
use crate::trees::mirror;
use crate::trees::pack::Unpacker;
use crate::trees::requested::Requested;
use crate::trees::shard::Last;
use crate::trees::{BODY_LEN_MAX, Change, OUTSTANDING_MAX, OnEvent, Pull, SMALL_LEN_MAX, TreeEntry, TreeEvent};
use crate::wire::channel::{Receiver, Sender, unexpected};
use crate::wire::message::{EntryKind, Message, Total};

/// Parts of earlier attempts that are kept open until their turn has come.
const PARTS_OPEN_MAX: usize = 64;
/// The source is told what is wanted before more than so many bytes are read to tell it what is here.
const SCANNED_MAX: u64 = 64 * 1024 * 1024;
/// So many bytes say how fast a connection is.
const TELLING_LEN: u64 = 16 * 1024 * 1024;
/// What the part of an earlier attempt takes in memory, in bytes.
const PART_COST: usize = 4 * 1024;
/// Directories of one tree whose mode and time are set at its end.
const DIRS_MAX: usize = 1_000_000;
/// Bytes in the paths of those directories.
const DIRS_LEN_MAX: usize = 64 * 1024 * 1024;

/// Directories that could not be made, of which that is known.
const LOST_DIRS_MAX: usize = 10_000;
/// Entries of one listing.
pub const TREE_ENTRIES_MAX: u32 = 50_000_000;
/// Bytes of one listing: what so many entries have with paths of usual length.
pub const TREE_LISTING_LEN_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// What a mirror keeps of a listing, in bytes: about five million names.
pub const MIRROR_LEN_MAX: usize = 512 * 1024 * 1024;

/// Bytes that are kept of files with several names: their paths...
const NAMES_LEN_MAX: usize = 128 * 1024 * 1024;
/// ... and what each of them takes besides.
const NAME_LEN: usize = 64;

/// The target's half of an exchange.
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
#[derive(Debug)]
pub struct TreeReceiver {
    place: Destination,
    filter: Filter,
    /// What is known of entries counts here.
    budget: Budget,
    /// What may come; `None`: anything.
    asked: Option<Requested>,
    /// What came from other machines before.
    groups: Option<Arc<MeetGroups>>,
    /// Another connection does what is done when all is there...
    helps: bool,
    /// ... or this one, after those.
    last: Option<Last>,
    /// The next entry's number.
    next: u32,
    /// Bytes of the listing so far.
    listing_len: u64,
    is_all_listed: bool,
    expected: HashMap<u32, Expected>,
    parts_open: usize,
    /// Whether of a changed file only what changed is to come; `Auto` until the connection is known.
    delta: Delta,
    /// Bytes of `chunks` about files that are expected.
    chunks_out: usize,
    /// Bytes that were read to tell what is here, since the source was last told what is wanted.
    scanned: u64,
    current: Option<Current>,
    batch: Batch,
    /// Files that have other names too, by their entry.
    heads: HashMap<u32, Vec<u8>>,
    /// The others: entry, path, and the entry of the file.
    names: Vec<(u32, Vec<u8>, u32)>,
    /// Bytes that both take.
    names_len: usize,
    /// What the source has, for a mirror.
    listed: Option<mirror::SentPaths>,
    /// Whether anything failed, on either side.
    has_failed: bool,
    /// Whether anything was made or removed that is no file.
    has_made: bool,
    /// Directories that could not be made: what is in them fails with them, and is not told one by one.
    lost_dirs: HashSet<Vec<u8>>,
    /// Directories whose mode and time are to be set.
    listed_dirs: Vec<(Vec<u8>, u32, i64)>,
    /// Bytes in their paths.
    listed_dirs_len: usize,
    wanted: Ranges,
    kept: Vec<u8>,
    /// The connection takes nothing more; what has come over it counts all the same.
    is_mute: bool,
    /// What a frame's body is read into.
    buffer: Vec<u8>,
    unpacker: Unpacker,
    has_ended: bool,
}

/// A file that was asked for.
#[derive(Debug)]
struct Expected {
    path: Vec<u8>,
    mode: u32,
    part: Option<Box<Leftover>>,
    /// Something of another kind stands in its place, and goes when the file is whole.
    clears: bool,
    /// Of a file that may be the same: what was listed.
    entry: Option<TreeEntry>,
    /// Bytes of the `chunks` that told what is there of another version; 0: nothing was told.
    chunks_len: usize,
}

impl Expected {
    /// Bytes that it takes.
    fn memory(&self) -> usize {
        let copies = if self.entry.is_some() { 2 } else { 1 };
        copies * (self.path.len() + 2 * ENTRY_COST) + if self.part.is_some() { PART_COST } else { 0 }
    }
}

impl TreeReceiver {
    /// Takes trees to `place`; what `filter` leaves out stays as it is in a mirror.
    pub fn new(place: Destination, filter: Filter) -> Self {
        let keeping = place.keeping;
        Self {
            place,
            filter,
            budget: Budget::own(),
            asked: None,
            groups: None,
            helps: false,
            last: None,
            next: 0,
            listing_len: 0,
            is_all_listed: false,
            expected: HashMap::new(),
            parts_open: 0,
            delta: keeping.delta,
            chunks_out: 0,
            scanned: 0,
            current: None,
            batch: Batch::new(keeping.sync),
            heads: HashMap::new(),
            names: Vec::new(),
            names_len: 0,
            listed: keeping.delete.then(mirror::SentPaths::default),
            lost_dirs: HashSet::new(),
            listed_dirs: Vec::new(),
            listed_dirs_len: 0,
            has_failed: false,
            has_made: false,
            wanted: Ranges::default(),
            kept: Vec::new(),
            is_mute: false,
            buffer: Vec::new(),
            unpacker: Unpacker::default(),
            has_ended: false,
        }
    }

    /// The same for a request with this budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        let listed = self.listed.map(|listed| listed.within(budget.clone()));
        Self { budget, listed, ..self }
    }

    /// Takes nothing but what `pull` requests.
    #[must_use]
    pub fn only(self, pull: &Pull) -> Self {
        Self { asked: Some(Requested::of(pull, self.filter.clone())), ..self }
    }

    /// Leaves what came from other machines before as it is.
    #[must_use]
    pub fn behind(self, groups: Option<Arc<MeetGroups>>) -> Self {
        Self { groups, ..self }
    }

    /// Chooses how changed files come, where that was left open: over a connection within one machine whole.
    pub fn over(&mut self, is_to_this_machine: bool) {
        if self.delta == Delta::Auto && is_to_this_machine {
            self.delta = Delta::Never;
        }
    }

    /// What takes its time ends with the connection.
    pub fn heed(&mut self, stop: Arc<dyn StopHandle>) {
        self.place.heed(stop);
    }

    /// Leaves to another connection what is done when all is there.
    #[must_use]
    pub fn helping(self) -> Self {
        Self { helps: true, ..self }
    }

    /// Waits for those who help before it does what is done when all is there.
    #[must_use]
    pub fn after(self, last: Option<Last>) -> Self {
        Self { last, ..self }
    }

    /// Whether this side has said its last word in the exchange.
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// A file's bytes came so fast; where all of a file comes in less time than it takes to cut it, it does.
    fn has_come(&mut self, bytes: u64, time: Duration) {
        let is_fast = || u128::from(bytes) * 1_000_000 / time.as_micros().max(1) > u128::from(delta::FAST);
        if self.delta == Delta::Auto && bytes >= TELLING_LEN && is_fast() {
            self.delta = Delta::Never;
        }
    }

    /// The whole exchange. What is whole when it fails is kept, and of the rest what has come.
    ///
    /// # Errors
    /// The place cannot be written, the disk is full, the source refused or gave up, the watcher wants no more, or the
    /// connection failed.
    pub fn run<R: Read, W: Write>(
        &mut self,
        receiver: &mut Receiver<R>,
        sender: &Sender<W>,
        watch: OnEvent<'_>,
    ) -> Result<()> {
        let mut exchange = ReceiverStep { target: self, sender, watch };
        let ended = exchange.take_all(receiver);
        if let Err(why) = &ended {
            // The source hears of it too, where it still can: on a full disk its count is to be what is there.
            let can_hear = matches!(why, Error::Refused(_) | Error::Ours { .. }) && !exchange.target.has_ended;
            let said = exchange.commit().and_then(|()| if can_hear { exchange.send_kept() } else { Ok(()) });
            if let Err(error) = said {
                tracing::debug!(%error, "what was whole could not be confirmed any more");
            }
        }
        ended
    }
}

/// A target at work.
struct ReceiverStep<'t, W> {
    target: &'t mut TreeReceiver,
    sender: &'t Sender<W>,
    watch: OnEvent<'t>,
}

impl<W: Write> ReceiverStep<'_, W> {
    fn take_all<R: Read>(&mut self, receiver: &mut Receiver<R>) -> Result<()> {
        loop {
            match receiver.expect("list, small, large or end")? {
                Message::List { is_last } => {
                    let body = receiver.body(BODY_LEN_MAX)?;
                    self.take_list(&body, is_last)?;
                }
                Message::Small => self.take_small(receiver)?,
                Message::Packed { of, size } => self.take_packed(receiver, of, size)?,
                Message::Large { entry, offset, attributes } => self.begin_large(entry, offset, attributes)?,
                Message::Data { .. } => self.take_piece(receiver)?,
                Message::Hole { size } => self.take_hole(size)?,
                Message::Copy { offset, size } => self.take_copy(offset, size)?,
                Message::Blocks => self.take_blocks(receiver)?,
                Message::Piece { offset, size } => self.begin_stretch(Stretch { offset, size })?,
                Message::Whole { total: Total { size, blake3 } } => {
                    let total = Total { size, blake3: blake3.map(|blake3| blake3.into_owned().into()) };
                    self.end_large(&total)?;
                }
                Message::Same { entry } => self.take_same(entry)?,
                Message::Grew { entry } => self.take_growth(entry)?,
                Message::Lost { entry, code, message } => {
                    let why = Refusal::new(code, message);
                    self.take_loss(entry, &why)?;
                }
                Message::End { .. } => return self.conclude(),
                Message::Error { code, message } => {
                    let why = Refusal::new(code, message);
                    self.sender.send(&Message::End { total: None }, &[])?;
                    self.target.has_ended = true;
                    return Err(why.into());
                }
                other => return Err(unexpected(&other, "list, small, large or end")),
            }
            if self.target.batch.is_due() {
                self.commit()?;
            }
            self.send_kept()?;
        }
    }

    /// The source has said its last word.
    fn conclude(&mut self) -> Result<()> {
        let TreeReceiver { expected, current, is_all_listed, .. } = &*self.target;
        let is_short = !expected.is_empty() || current.is_some() || !is_all_listed;
        self.commit()?;
        if let Some(last) = self.target.last.take() {
            last.wait();
        }
        if !is_short && !self.target.helps {
            self.link_names()?;
            self.mirror()?;
            self.finish_dirs()?;
        }
        // Directories, symlinks and other names are in no batch.
        let keeping = self.target.place.keeping;
        if self.target.has_made && keeping.sync && !keeping.dry_run {
            self.target.place.sync().map_err(Error::ours("what was made"))?;
        }
        self.send_kept()?;
        self.sender.send(&Message::End { total: None }, &[])?;
        self.target.has_ended = true;
        if is_short {
            return Err(Refusal::new(ErrorCode::Stopped, "the sender gave up before the end").into());
        }
        Ok(())
    }

    pub(super) fn take_list(&mut self, body: &[u8], is_last: bool) -> Result<()> {
        if self.target.is_all_listed {
            return Err(bad_list("it comes after the last one"));
        }
        self.target.listing_len += body.len() as u64;
        if self.target.listing_len > TREE_LISTING_LEN_MAX {
            let text = format!("the listing is over {} GiB; copy the tree in parts", TREE_LISTING_LEN_MAX >> 30);
            return Err(over_limit(text));
        }
        let mut count = 0;
        for line in lines(body) {
            let entry = TreeEntry::read(line)?;
            if !self.target.place.is_settled() {
                let (path, name) = self.target.place.settle(&entry)?;
                (self.watch)(TreeEvent::Placed { path: &path, name: name.as_deref() })?;
                let placed = Message::Want { count: 0, path: Some(path.into()), name: name.map(Into::into) };
                self.sender.queue(&placed, &[])?;
            }
            let number = self.target.next;
            if number >= TREE_ENTRIES_MAX {
                return Err(over_limit(format!("the tree has over {TREE_ENTRIES_MAX} entries; copy it in parts")));
            }
            self.target.next = number + 1;
            count += 1;
            self.look_at(number, &entry)?;
            if self.target.scanned >= SCANNED_MAX {
                self.answer(std::mem::take(&mut count))?;
            }
            if self.target.expected.len() > 4 * OUTSTANDING_MAX {
                return Err(bad_list("the source lists on and on without sending what is wanted"));
            }
            if self.target.listed_dirs_len > DIRS_LEN_MAX {
                let limit = DIRS_LEN_MAX >> 20;
                return Err(over_limit(format!("the paths of its directories are over {limit} MiB; copy it in parts")));
            }
        }
        if is_last {
            self.target.is_all_listed = true;
            (self.watch)(TreeEvent::ListedAll)?;
        }
        self.answer(count)
    }

    /// Says what of the next `count` entries is wanted.
    fn answer(&mut self, count: u32) -> Result<()> {
        self.target.scanned = 0;
        // What failed first: what is not wanted and did not fail is the same here.
        self.send_kept()?;
        let body = self.target.wanted.take()?;
        let sent = self.sender.send(&Message::Want { count, path: None, name: None }, &body);
        self.as_far_as_it_goes(sent)
    }

    /// A connection that was reset has brought more than was read, and that is not to be sent again.
    fn as_far_as_it_goes(&mut self, sent: Result<()>) -> Result<()> {
        match sent {
            Err(Error::ConnectionLost(why)) => {
                tracing::debug!(%why, "nothing can be said any more; what came is kept");
                self.target.is_mute = true;
                Ok(())
            }
            sent => sent,
        }
    }

    fn look_at(&mut self, number: u32, entry: &TreeEntry) -> Result<()> {
        let is_dir = entry.kind == EntryKind::Dir && entry.error.is_none() && entry.skipped.is_none();
        let added = self.target.listed.as_mut().map(|listed| listed.add(&entry.path, is_dir)).transpose();
        let is_first = added.map_err(|over| over.refusal("the listing"))?.unwrap_or(false);
        if self.target.listed.as_ref().is_some_and(|listed| listed.kept_len() > MIRROR_LEN_MAX) {
            let limit = MIRROR_LEN_MAX >> 20;
            let text = format!("the tree has more names than are kept for a mirror ({limit} MiB); mirror it in parts");
            return Err(over_limit(text));
        }
        if self.does_not_come(number, entry)? {
            return Ok(());
        }
        let met = self.target.groups.as_ref().map_or(Ok(None), |groups| groups.meet(entry));
        let entry = match met {
            Ok(None) => entry,
            // Together with what is there, as it is there.
            Ok(Some(Earlier::Dir(mode, mtime_ns))) if entry.kind == EntryKind::Dir => {
                &TreeEntry { mtime_ns, mode, ..entry.clone() }
            }
            Ok(Some(_)) => {
                return (self.watch)(TreeEvent::Skipped { path: &entry.path, why: FIRST_WINS, has_met: true });
            }
            Err(full) => return Err(over_limit(format!("{full}; copy them one after the other"))),
        };
        let path = match self.target.place.path_of(entry, number == 0) {
            Ok(path) => path,
            Err(why) => return self.fail(number, &entry.path, &why),
        };
        if self.is_in_lost_dir(&path) {
            return self.fail_with_dir(number, &path, entry.kind);
        }
        if let Some(head) = entry.same {
            if !self.has_room_for_name(&path) {
                let why =
                    format!("{}: too many hard links in one tree; send it in parts", self.target.place.shown(&path));
                return self.fail(number, &path, &Refusal::new(ErrorCode::Failed, why));
            }
            self.target.names.push((number, path, head));
            return Ok(());
        }
        if entry.has_links && entry.kind == EntryKind::File && self.has_room_for_name(&path) {
            self.target.heads.insert(number, path.clone());
        }
        // What comes twice in one listing is not to remove what it brought itself.
        let room = if is_first { self.make_room(number, &path, entry.kind, false)? } else { Space::Free };
        if room == Space::None {
            self.lose_dir(&path, entry);
            return Ok(());
        }
        let (made, deed) = match entry.kind {
            EntryKind::File => return self.look_at_file(number, path, entry, room == Space::WhenWhole),
            EntryKind::Dir => (self.look_at_dir(&path, entry), Change::Made),
            EntryKind::Link => (self.target.place.make_link(&path, entry), Change::Linked),
            EntryKind::Other => return Ok(()),
        };
        match made {
            Ok(is_new) if is_new && self.target.place.keeping.dry_run => self.tell(number, deed, &path, 0),
            Ok(is_new) => {
                self.target.has_made |= is_new;
                Ok(())
            }
            // Each connection lists it, and meets the same; the first one says so.
            Err(_) if self.target.helps => {
                self.lose_dir(&path, entry);
                self.target.has_failed = true;
                Ok(())
            }
            Err(error) => {
                self.lose_dir(&path, entry);
                self.fail_or_stop(number, &path, &error)
            }
        }
    }

    /// Notes that a directory could not be made.
    fn lose_dir(&mut self, path: &[u8], entry: &TreeEntry) {
        // Beyond it each entry says for itself why it failed.
        if entry.kind == EntryKind::Dir && self.target.lost_dirs.len() < LOST_DIRS_MAX {
            self.target.lost_dirs.insert(path.to_vec());
        }
    }

    fn is_in_lost_dir(&self, path: &[u8]) -> bool {
        let lost = &self.target.lost_dirs;
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        !lost.is_empty() && slashes.filter_map(|(at, _)| path.get(..at)).any(|above| lost.contains(above))
    }

    fn fail_with_dir(&mut self, number: u32, path: &[u8], kind: EntryKind) -> Result<()> {
        self.target.has_failed = true;
        // Each connection lists the directories, and the first one counts them.
        if self.target.helps && kind == EntryKind::Dir {
            return Ok(());
        }
        let text = format!("{}: the directory above it could not be made", self.target.place.shown(path));
        let why = Refusal::new(ErrorCode::Failed, text);
        (self.watch)(TreeEvent::FailedWithDir { path, why: &why })?;
        let (code, message) = (Some(why.code.as_str().into()), Some(why.message.as_str().into()));
        write_line(&KeptLine { code, message, with_dir: true, ..KeptLine::of(number, 1) }, &mut self.target.kept)
    }

    /// Whether the source says that it does not come, or it was not requested; that is told.
    fn does_not_come(&mut self, number: u32, entry: &TreeEntry) -> Result<bool> {
        if let Some(why) = &entry.error {
            let why = Refusal::new(ErrorCode::Failed, why.as_str());
            self.target.has_failed = true;
            return (self.watch)(TreeEvent::Failed { path: &entry.path, why: &why }).map(|()| true);
        }
        if self.target.asked.as_ref().is_some_and(|asked| !asked.holds(entry)) {
            let why = format!("{}: was not asked for", String::from_utf8_lossy(&entry.path));
            return self.fail(number, &entry.path, &Refusal::new(ErrorCode::BadName, why)).map(|()| true);
        }
        if entry.kind == EntryKind::File && entry.skipped.is_none() && self.is_too_large(entry.size) {
            let why = too_large(&String::from_utf8_lossy(&entry.path), entry.size);
            return self.fail(number, &entry.path, &why).map(|()| true);
        }
        if let Some(why) = &entry.skipped {
            return (self.watch)(TreeEvent::Skipped { path: &entry.path, why, has_met: entry.has_met }).map(|()| true);
        }
        Ok(false)
    }

    /// Whether a file of `size` bytes is larger than what was requested.
    fn is_too_large(&self, size: u64) -> bool {
        self.target.asked.as_ref().is_some_and(|asked| !asked.is_small_enough(size))
    }

    /// Whether one more name of a file may be kept until all is there.
    fn has_room_for_name(&mut self, path: &[u8]) -> bool {
        let len = self.target.names_len + path.len() + NAME_LEN;
        let has_room = len <= NAMES_LEN_MAX && self.target.budget.take(path.len() + NAME_LEN).is_ok();
        if has_room {
            self.target.names_len = len;
        }
        has_room
    }

    fn look_at_dir(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<bool> {
        if path.is_empty() {
            return Ok(false);
        }
        let is_new = self.target.place.make_dir(path, entry.mode)?;
        if self.target.place.keeping.preserve {
            if self.target.listed_dirs.len() >= DIRS_MAX {
                return Err(io::Error::other(format!("over {DIRS_MAX} directories in one tree; send it in parts")));
            }
            let held = path.len() + ENTRY_COST;
            self.target.budget.take(held).map_err(|over| io::Error::other(format!("the directories: {over}")))?;
            self.target.listed_dirs_len += path.len();
            self.target.listed_dirs.push((path.to_vec(), entry.mode, entry.mtime_ns));
        }
        Ok(is_new)
    }

    fn look_at_file(&mut self, number: u32, path: Vec<u8>, entry: &TreeEntry, clears: bool) -> Result<()> {
        (self.watch)(TreeEvent::Listed(entry.size))?;
        let there = if clears {
            self.target.place.dir(split(&path).0).map(|dir| There::Other(Some(dir)))
        } else {
            self.compare(&path, entry)
        };
        let part = match there {
            Ok(There::Same) => return (self.watch)(TreeEvent::Unchanged(entry.size)),
            Ok(There::Other(_)) if self.target.place.keeping.dry_run => {
                return self.tell(number, Change::Copied, &path, entry.size);
            }
            Ok(There::Unknown(digest)) => {
                self.target.scanned += entry.size;
                return self.ask(number, path, entry, digest);
            }
            Ok(There::Other(Some(dir))) => Ok(self.find_part(&dir, &path, entry)),
            Ok(There::Other(None)) => Ok(None),
            Err(error) => Err(error),
        };
        match part {
            Ok(part) => {
                let chunks_len = self.tell_chunks(number, &path, entry)?;
                let chunks = chunks_len > 0;
                if let Some(part) = &part {
                    self.target.parts_open += 1;
                    let offset = Some(part.len());
                    self.target.wanted.add_with(&Wanted { offset, chunks, ..Wanted::plain(number) })?;
                } else if chunks {
                    self.target.wanted.add_with(&Wanted { chunks, ..Wanted::plain(number) })?;
                } else {
                    self.target.wanted.add(number)?;
                }
                let part = part.map(Box::new);
                self.await_file(number, Expected { path, mode: entry.mode, part, clears, entry: None, chunks_len })
            }
            Err(error) => self.fail_or_stop(number, &path, &error),
        }
    }

    fn compare(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<There> {
        let (watch, stop) = (&mut *self.watch, self.target.place.stop_handle());
        let mut beat = |bytes| works(watch, stop.as_deref(), bytes);
        self.target.place.compare(path, entry, &mut beat)
    }

    /// Asks the source whether its file has this digest too.
    fn ask(&mut self, number: u32, path: Vec<u8>, entry: &TreeEntry, digest: String) -> Result<()> {
        let chunks_len = self.tell_chunks(number, &path, entry)?;
        let (blake3, chunks) = (Some(digest), chunks_len > 0);
        self.target.wanted.add_with(&Wanted { blake3, chunks, ..Wanted::plain(number) })?;
        let entry = Some(entry.clone());
        let mode = entry.as_ref().map_or(0, |entry| entry.mode);
        self.await_file(number, Expected { path, mode, part: None, clears: false, entry, chunks_len })
    }

    /// Notes that a file is to come.
    fn await_file(&mut self, number: u32, expected: Expected) -> Result<()> {
        self.target.budget.take(expected.memory()).map_err(|over| over.refusal("what was listed and did not come"))?;
        self.target.expected.insert(number, expected);
        Ok(())
    }

    /// Tells what is there of another version of a file; how many bytes that took.
    fn tell_chunks(&mut self, entry: u32, path: &[u8], listed: &TreeEntry) -> Result<usize> {
        let TreeReceiver { place, delta, chunks_out, scanned, is_mute, budget, .. } = &mut *self.target;
        if *delta == Delta::Never
            || listed.size < delta::LEN_MIN
            || *chunks_out >= CHUNKS_OUT_MAX
            || place.keeping.dry_run
            || *is_mute
        {
            return Ok(0);
        }
        // What cannot be read is of no use here, and for the copy no hindrance.
        let Ok(Some((file, len))) = place.other_version(path) else { return Ok(0) };
        if len < delta::LEN_MIN {
            return Ok(0);
        }
        let cut = Cut::for_len(len.max(listed.size));
        if budget.take(cut.memory()).is_err() {
            return Ok(0);
        }
        let (watch, stop) = (&mut *self.watch, place.stop_handle());
        let records = chunks_of(&file, len, cut, &mut |bytes| works(watch, stop.as_deref(), bytes));
        budget.give_back(cut.memory());
        let Ok(records) = records else { return Ok(0) };
        *chunks_out += records.len();
        *scanned += len;
        let sent = self.sender.queue(&Message::Chunks { entry, average: cut.average() }, &records);
        self.as_far_as_it_goes(sent)?;
        Ok(records.len())
    }

    /// It has: only its time and mode may be others.
    fn take_same(&mut self, number: u32) -> Result<()> {
        let Expected { path, entry, .. } = self.expect(number)?;
        let entry = entry.ok_or_else(|| bad_small("a file is the same that nobody asked about"))?;
        match self.target.place.set_attributes(&path, &entry) {
            Ok(()) => (self.watch)(TreeEvent::Unchanged(entry.size)),
            Err(error) => self.fail_or_stop(number, &path, &error),
        }
    }

    /// What comes of a file is its beginning: it grew while it was read.
    fn take_growth(&mut self, number: u32) -> Result<()> {
        let TreeReceiver { expected, current, .. } = &*self.target;
        let coming = current.as_ref().filter(|current| current.entry == number).map(Current::path);
        let path = coming.or_else(|| expected.get(&number).map(|expected| &*expected.path));
        let path = path.ok_or_else(|| bad_small("a file grew that was not wanted"))?.to_vec();
        (self.watch)(TreeEvent::Grew { path: &path })
    }

    /// What an earlier attempt has left of a file.
    fn find_part(&self, dir: &Arc<cap_std::fs::Dir>, path: &[u8], entry: &TreeEntry) -> Option<Leftover> {
        let TreeReceiver { place, parts_open, .. } = &*self.target;
        if entry.size <= SMALL_LEN_MAX || !place.keeping.resume || *parts_open >= PARTS_OPEN_MAX {
            return None;
        }
        place.parts.find(dir, split(path).1).filter(|part| (1..=entry.size).contains(&part.len()))
    }

    /// One entry failed, and the others go on; but not on a disk that is full.
    fn fail_or_stop(&mut self, entry: u32, path: &[u8], error: &io::Error) -> Result<()> {
        if self.target.place.is_stopped() {
            return Err(ConnectionLost::Closed { wanted: "the rest of the tree" }.into());
        }
        let why = self.target.place.explained(path, error);
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let text = format!("{}; what came is kept: make room and run the same command again", why.message);
            return Err(Refusal::new(why.code, text).into());
        }
        self.fail(entry, path, &why)
    }

    fn fail(&mut self, entry: u32, path: &[u8], why: &Refusal) -> Result<()> {
        self.target.has_failed = true;
        (self.watch)(TreeEvent::Failed { path, why })?;
        let (code, message) = (Some(why.code.as_str().into()), Some(why.message.as_str().into()));
        write_line(&KeptLine { code, message, ..KeptLine::of(entry, 1) }, &mut self.target.kept)
    }

    /// Says what was done, or would be.
    fn tell(&mut self, entry: u32, deed: Change, path: &[u8], size: u64) -> Result<()> {
        (self.watch)(TreeEvent::Did { deed, path, size })?;
        let kept =
            KeptLine { did: Some(deed), path: Some(crate::trees::PathText::of(path)), size, ..KeptLine::of(entry, 1) };
        write_line(&kept, &mut self.target.kept)
    }

    /// Gives files that have several names the others.
    fn link_names(&mut self) -> Result<()> {
        for (number, path, head) in std::mem::take(&mut self.target.names) {
            let is_dir = self.target.listed.as_ref().is_some_and(|listed| listed.has_dir(&path));
            if !is_dir && self.make_room(number, &path, EntryKind::File, true)? == Space::None {
                continue;
            }
            let linked = match self.target.heads.get(&head) {
                Some(head) => self.target.place.hard_link(head, &path),
                None => Err(io::Error::other("the file whose other name it is was not listed")),
            };
            match linked {
                Ok(true) => {
                    self.target.has_made = true;
                    self.tell(number, Change::Linked, &path, 0)?;
                }
                Ok(false) => {}
                Err(error) => self.fail_or_stop(number, &path, &error)?,
            }
        }
        Ok(())
    }

    /// Gives what is whole its name.
    fn commit(&mut self) -> Result<()> {
        let mut safe: Option<(u32, u32)> = None;
        for Committed { entry, path, size, result } in self.put_in_place()? {
            if let Err(error) = result {
                let why = self.target.place.explained(&path, &error);
                self.fail(entry, &path, &why)?;
                continue;
            }
            (self.watch)(TreeEvent::Done { path: &path, size })?;
            safe = match safe {
                Some((first, count)) if first.saturating_add(count) == entry => Some((first, count + 1)),
                other => {
                    self.confirm(other)?;
                    Some((entry, 1))
                }
            };
        }
        self.confirm(safe)
    }

    fn confirm(&mut self, safe: Option<(u32, u32)>) -> Result<()> {
        let Some((first, count)) = safe else { return Ok(()) };
        write_line(&KeptLine::of(first, count), &mut self.target.kept)
    }

    fn send_kept(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.target.kept);
        if kept.is_empty() || self.target.is_mute {
            return Ok(());
        }
        // A connection is far shorter than a frame's limit, but their sum may not be.
        let mut body: Vec<u8> = Vec::new();
        for line in kept.split_inclusive(|byte| *byte == b'\n') {
            if body.len() + line.len() > BODY_LEN_MAX as usize {
                let queued = self.sender.queue(&Message::Kept, &body);
                self.as_far_as_it_goes(queued)?;
                body.clear();
            }
            body.extend_from_slice(line);
        }
        let sent = self.sender.send(&Message::Kept, &body);
        self.as_far_as_it_goes(sent)
    }

    /// Modes and times of directories, now that nothing more is made in them.
    fn finish_dirs(&mut self) -> Result<()> {
        let listed = std::mem::take(&mut self.target.listed_dirs);
        if self.target.place.keeping.dry_run {
            return Ok(());
        }
        for (path, mode, mtime_ns) in listed.into_iter().rev() {
            if let Err(error) = self.target.place.finish_dir(&path, mode, mtime_ns) {
                let why = self.target.place.explained(&path, &error);
                self.fail(u32::MAX, &path, &why)?;
            }
        }
        Ok(())
    }
}

fn too_large(shown: &str, size: u64) -> Refusal {
    Refusal::new(ErrorCode::Failed, format!("{shown}: {size} bytes, over the size limit"))
}

/// Work goes on: says so, and ends it with the connection.
fn works(watch: OnEvent<'_>, stop: Option<&dyn StopHandle>, bytes: u64) -> io::Result<()> {
    if stop.is_some_and(StopHandle::is_stopped) {
        return Err(stopped());
    }
    watch(TreeEvent::Works(bytes)).map_err(io::Error::other)
}

/// A limit of this side, which the other one could not know.
fn over_limit(text: String) -> Error {
    Refusal::new(ErrorCode::Failed, text).into()
}

fn bad_list(why: &str) -> Error {
    Misbehaviour::BadBody { what: "list", why: why.to_owned() }.into()
}

fn bad_small(why: &str) -> Error {
    Misbehaviour::BadBody { what: "tree", why: why.to_owned() }.into()
}
