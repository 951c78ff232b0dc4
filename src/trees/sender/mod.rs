//! The half of an exchange that has the files: it lists them, reads which are wanted, and sends those.

mod send;

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::memory::{Budget, Buffer, ENTRY_COST, Over};
use crate::net::listen::STACK_LEN;
use crate::trees::body::{Stretch, Wanted};
use crate::trees::data::DataWriter;
use crate::trees::delta::{CHUNKS_OUT_MAX, Known};
use crate::trees::event::StopHandle;
use crate::trees::replies::{KeptWord, Replies, Reply, bad_chunks, bad_want, read_replies};
use crate::trees::shard::{Shard, WaitGroup};
use crate::trees::walk::{self, FileRef, Found, Opener, Step, Walk};
use crate::trees::{OUTSTANDING_MAX, OnEvent, TreeEvent, TreeUpload};
use crate::wire::channel::{Receiver, Sender};
use crate::wire::message::{EntryKind, Message};

/// Length at which a `list` is sent, in bytes...
const LIST_FRAME_LEN: usize = 64 * 1024;
/// ... or the time after which it is sent, if all that is found is left out.
const LIST_TIME: Duration = Duration::from_millis(50);
/// Length of what is before each file in a `small` frame, in bytes: entry, size, modification time, digest.
pub const RECORD_LEN: usize = 4 + 4 + 8 + 32;
/// Most entries that are listed ahead while there is something to send.
const AHEAD_WHILE_SENDING: usize = 2 * 1024;

/// Most bytes of `chunks` that are kept of the receiver's earlier versions: twice what it sends at once.
const KNOWN_LEN_MAX: usize = 2 * CHUNKS_OUT_MAX;

/// Most bytes of paths of listed entries that the receiver has not answered; then the sender waits for it.
const AHEAD_LEN_MAX: usize = 16 * 1024 * 1024;

/// Most directories that are open because something in them was named; beyond it, what was listed is sent first.
const GROUNDS_OPEN_MAX: usize = 64;

/// An entry that was listed; `file` is `None` if it is no file to send.
struct ListedFile {
    path: Vec<u8>,
    size: u64,
    file: Option<FileRef>,
}

/// A file that the receiver wants.
struct WantedFile {
    entry: u32,
    path: Vec<u8>,
    size: u64,
    file: FileRef,
    /// Bytes of it that the receiver has from an earlier attempt.
    offset: u64,
    /// The digest of the receiver's file: it is wanted only if its own differs. `None`: it is wanted anyway.
    there: Option<String>,
    /// The chunks of the receiver's earlier version; `None`: unknown.
    known: Option<Known>,
}

/// The sender's half of an exchange.
#[expect(missing_debug_implementations, reason = "it watches through a closure")]
pub struct TreeSender<'s, W> {
    out: DataWriter<'s, W>,
    walk: Walk,
    /// The budget that what is kept of files under way counts for.
    budget: Budget,
    shard: Option<Shard>,
    wait_group: Option<WaitGroup>,
    watch: OnEvent<'s>,
    opener: Opener,
    /// The next entry's number.
    next: u32,
    /// Files with several names, by device and inode: the entry of the first.
    heads: HashMap<(u64, u64), u32>,
    is_all_listed: bool,
    /// Entries that the receiver has not answered yet, in order; the last one's number is `next - 1`.
    unanswered: VecDeque<ListedFile>,
    /// Bytes of memory that the unanswered and the wanted entries take.
    ahead_len: usize,
    /// Files that are wanted.
    wanted: VecDeque<WantedFile>,
    /// The chunks of the receiver's earlier versions of files that it will want, by entry.
    known: HashMap<u32, Known>,
    /// Bytes of the `chunks` that are still of use.
    known_len: usize,
    /// Entries whose outcome the receiver has sent before its `want` counted them.
    told: BTreeSet<u32>,
    /// Files that were sent, and not yet confirmed.
    sent: BTreeMap<u32, (Vec<u8>, u64)>,
    /// The stretches that the receiver wants again of a file whose beginning it had; `None`: none now.
    mend: Option<(u32, Vec<Stretch>)>,
    /// The `small` frame that is being filled.
    small: Vec<u8>,
    /// What a piece of a large file is read into.
    piece: Buffer,
    /// Whether this side has sent `end`.
    has_ended: bool,
    /// Whether the receiver has sent its last reply.
    has_last_reply: bool,
}

impl<'s, W: Write> TreeSender<'s, W> {
    /// A sender of the tree that the upload's walk finds; `watch` is called with each event.
    pub fn new(
        sender: &'s Sender<W>,
        TreeUpload { walk, out, shard, wait_group }: TreeUpload,
        watch: OnEvent<'s>,
    ) -> Self {
        let out = DataWriter::new(sender, out);
        Self {
            budget: walk.budget().clone(),
            walk: walk.until(out.peer_done()),
            out,
            shard,
            wait_group,
            watch,
            opener: Opener::default(),
            next: 0,
            heads: HashMap::new(),
            is_all_listed: false,
            unanswered: VecDeque::new(),
            ahead_len: 0,
            wanted: VecDeque::new(),
            known: HashMap::new(),
            known_len: 0,
            told: BTreeSet::new(),
            sent: BTreeMap::new(),
            mend: None,
            small: Vec::new(),
            piece: Buffer::default(),
            has_ended: false,
            has_last_reply: false,
        }
    }

    /// The whole exchange. A thread of its own reads the replies: two halves that only write would block each other.
    ///
    /// # Errors
    /// The receiver refused the whole or stopped the exchange, `watch` returned an error, or the connection failed.
    pub fn run<R: Read + Send>(mut self, receiver: &mut Receiver<R>, stop: &dyn StopHandle) -> Result<()> {
        let (incoming, replies) = channel();
        let unread = &AtomicUsize::new(0);
        let replies = Replies::new(replies, unread);
        thread::scope(|scope| {
            let reading = thread::Builder::new().name("replies".into()).stack_size(STACK_LEN);
            let peer_done = self.out.peer_done();
            let reading = reading.spawn_scoped(scope, move || {
                read_replies(receiver, &incoming, unread);
                peer_done.store(true, Ordering::Relaxed);
            });
            if reading.is_err() {
                let why = Refusal::new(ErrorCode::Busy, "no thread is left for the transfer; try again later");
                // No thread reads replies: the receiver is told at once, and the connection's owner reads its `end`.
                self.out.sender.refuse(&why)?;
                return Err(why.into());
            }
            let ended = self.exchange(&replies);
            self.close(ended, &replies, stop)
        })
    }

    /// Ends the exchange on this side and reads the receiver's last replies; ends a connection that is of no more
    /// use.
    fn close(&mut self, ended: Result<()>, replies: &Replies<'_>, stop: &dyn StopHandle) -> Result<()> {
        match &ended {
            Ok(()) => {}
            Err(Error::ConnectionLost(_) | Error::NotConnected(_)) => stop.stop(),
            Err(Error::PeerMisbehaved(how)) => {
                let refusal = Refusal::new(ErrorCode::BadFrame, how.to_string());
                drop(self.out.sender.refuse(&refusal));
                stop.stop();
            }
            Err(Error::Refused(_) | Error::Ours { .. }) => {
                if !self.has_ended {
                    self.out.sender.send(&Message::End { total: None }, &[])?;
                }
                while !self.has_last_reply {
                    match replies.recv() {
                        Ok(Reply::End | Reply::Broken(Error::Refused(_))) => self.has_last_reply = true,
                        Ok(Reply::Broken(lost)) => return Err(lost),
                        Ok(Reply::Want { .. } | Reply::Chunks(..) | Reply::Mend(..) | Reply::Kept(_)) => {}
                        Err(_gone) => break,
                    }
                }
            }
        }
        ended
    }

    fn exchange(&mut self, replies: &Replies<'_>) -> Result<()> {
        loop {
            self.take_waiting_replies(replies)?;
            let ahead = self.unanswered.len() + self.wanted.len();
            let is_much = self.ahead_len > AHEAD_LEN_MAX;
            // While there is something to send, no more is listed than keeps the receiver busy.
            let limit = if self.wanted.is_empty() { OUTSTANDING_MAX } else { AHEAD_WHILE_SENDING };
            let is_ahead = ahead >= limit || is_much || self.walk.grounds_open() > GROUNDS_OPEN_MAX;
            if !self.is_all_listed && (!is_ahead || self.is_idle()) {
                self.list()?;
            } else if let Some(wanted) = self.wanted.pop_front() {
                self.send_file(wanted, replies)?;
            } else {
                self.send_small()?;
                if self.is_all_listed && self.unanswered.is_empty() {
                    break;
                }
                self.take_next_reply(replies)?;
            }
        }
        if let Some(group) = self.wait_group.take() {
            group.wait();
        }
        self.out.sender.send(&Message::End { total: None }, &[])?;
        self.has_ended = true;
        loop {
            match replies.recv() {
                Ok(Reply::End) => return Ok(()),
                Ok(other) => self.take_reply(other)?,
                Err(_gone) => return Err(ConnectionLost::Closed { wanted: "end" }.into()),
            }
        }
    }

    /// Whether nothing is under way that would have to end first.
    fn is_idle(&self) -> bool {
        self.unanswered.is_empty() && self.wanted.is_empty()
    }

    fn take_waiting_replies(&mut self, replies: &Replies<'_>) -> Result<()> {
        loop {
            match replies.try_recv() {
                Ok(reply) => self.take_reply(reply)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(ConnectionLost::Closed { wanted: "want" }.into()),
            }
        }
    }

    fn take_next_reply(&mut self, replies: &Replies<'_>) -> Result<()> {
        match replies.recv() {
            Ok(reply) => self.take_reply(reply),
            Err(_gone) => Err(ConnectionLost::Closed { wanted: "want" }.into()),
        }
    }

    fn take_reply(&mut self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Want { count, wanted, placed } => {
                if let Some((path, name)) = placed {
                    (self.watch)(TreeEvent::Placed { path: &path, name: name.as_deref() })?;
                }
                self.take_want(count, wanted)
            }
            Reply::Chunks(entry, known) => {
                self.take_memory(known.memory())?;
                self.known_len += known.told_len;
                if self.known_len > KNOWN_LEN_MAX || self.known.insert(entry, known).is_some() {
                    return Err(bad_chunks("the receiver sends more chunks than are of use"));
                }
                Ok(())
            }
            Reply::Mend(entry, stretches) => {
                if self.mend.replace((entry, stretches)).is_some() {
                    return Err(bad_want("it wants another file mended before the last one was"));
                }
                Ok(())
            }
            Reply::Kept(words) => words.into_iter().try_for_each(|word| match word {
                KeptWord::Safe(first, count) => self.take_safe(first, count),
                KeptWord::Failed(entry, why) => {
                    self.take_failed(entry, |watch, path| watch(TreeEvent::Failed { path, why: &why }))
                }
                KeptWord::FailedWithDir(entry, why) => {
                    self.take_failed(entry, |watch, path| watch(TreeEvent::FailedWithDir { path, why: &why }))
                }
                KeptWord::Did(entry, change, path, size) => {
                    // In a dry run nothing more is requested; what is kept of it is of no use.
                    self.forget(entry);
                    if self.waiting(entry).is_some() {
                        self.told.insert(entry);
                    }
                    (self.watch)(TreeEvent::Did { change, path: &path, size })
                }
            }),
            Reply::End => {
                self.has_last_reply = true;
                Err(Refusal::new(ErrorCode::Stopped, "stopped by the receiver").into())
            }
            Reply::Broken(error) => {
                self.has_last_reply = true;
                Err(error)
            }
        }
    }

    fn take_want(&mut self, count: u32, wanted: Vec<Wanted>) -> Result<()> {
        let mut wanted = wanted.into_iter().peekable();
        for _ in 0..count {
            let entry = self.first_unanswered();
            let was_told = self.told.remove(&entry);
            let listed =
                self.unanswered.pop_front().ok_or_else(|| bad_want("it is about entries that were not listed"))?;
            let ListedFile { path, size, file } = listed;
            let held = entry_memory(&path);
            // What lies behind is never met, and remains: see below.
            let is_in = |range: &Wanted| range.first <= entry && entry - range.first < range.count;
            if let Some(range) = wanted.peek_mut().filter(|range| is_in(range)) {
                let (offset, there) = (range.offset.unwrap_or(0), range.blake3.take());
                let file = file.ok_or_else(|| bad_want("it asks for what is no file"))?;
                let known = if range.chunks { self.known.remove(&entry) } else { None };
                self.wanted.push_back(WantedFile { entry, path, size, file, offset, there, known });
            } else {
                self.ahead_len -= held;
                self.budget.give_back(held);
                if file.is_some() && !was_told {
                    (self.watch)(TreeEvent::Unchanged(size))?;
                }
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

    /// The number of the first entry that the receiver has not answered yet.
    fn first_unanswered(&self) -> u32 {
        self.next - u32::try_from(self.unanswered.len()).unwrap_or(u32::MAX)
    }

    /// An entry that the receiver has not answered yet.
    fn waiting(&self, entry: u32) -> Option<&ListedFile> {
        let at = entry.checked_sub(self.first_unanswered())?;
        self.unanswered.get(usize::try_from(at).ok()?)
    }

    fn take_failed(&mut self, entry: u32, tell: impl FnOnce(OnEvent<'_>, &[u8]) -> Result<()>) -> Result<()> {
        if let Some(listed) = self.waiting(entry) {
            let path = listed.path.clone();
            self.told.insert(entry);
            return tell(self.watch, &path);
        }
        let path = self.forget(entry).map(|(path, _)| path).unwrap_or_default();
        tell(self.watch, &path)
    }

    fn take_safe(&mut self, first: u32, count: u32) -> Result<()> {
        let end = first.saturating_add(count);
        while let Some(entry) = self.sent.range(first..end).next().map(|(entry, _)| *entry) {
            let Some((path, size)) = self.forget(entry) else { continue };
            (self.watch)(TreeEvent::Done { path: &path, size })?;
        }
        Ok(())
    }

    /// What is known of a file that was sent is of no more use.
    fn forget(&mut self, entry: u32) -> Option<(Vec<u8>, u64)> {
        let sent = self.sent.remove(&entry)?;
        self.budget.give_back(entry_memory(&sent.0));
        Some(sent)
    }

    /// Counts memory that the receiver's replies make grow.
    fn take_memory(&mut self, bytes: usize) -> Result<()> {
        self.budget.take(bytes).map_err(|over| self.give_up(over))
    }

    /// Refuses for lack of memory: the receiver gets a reason, and not just an end.
    fn give_up(&mut self, over: Over) -> Error {
        let why = over.refusal("what was listed and sent, and not confirmed");
        self.has_ended = true;
        self.out.sender.refuse(&why).map_or_else(|lost| lost, |()| why.into())
    }

    /// Lists what is next.
    fn list(&mut self) -> Result<()> {
        let mut body = Vec::new();
        let deadline = Instant::now() + LIST_TIME;
        while body.len() < LIST_FRAME_LEN && (body.is_empty() || self.walk.grounds_open() <= GROUNDS_OPEN_MAX) {
            let Found { mut entry, file, inode } = match self.walk.step(deadline) {
                Step::Found(found) => *found,
                Step::Later => break,
                Step::End => {
                    self.is_all_listed = true;
                    break;
                }
            };
            if !self.shard.is_none_or(|shard| shard.holds(&entry, inode.is_some())) {
                continue;
            }
            let mut is_head = false;
            if let Some(inode) = inode {
                match self.heads.entry(inode) {
                    Slot::Occupied(head) => entry.same = Some(*head.get()),
                    Slot::Vacant(slot) => {
                        slot.insert(self.next);
                        entry.has_links = true;
                        is_head = true;
                    }
                }
            }
            entry.write(&mut body)?;
            self.next = self.next.checked_add(1).ok_or_else(too_many)?;
            match (&entry.error, &entry.skipped) {
                (Some(why), _) => {
                    let why = Refusal::new(ErrorCode::Failed, why.as_str());
                    (self.watch)(TreeEvent::Failed { path: &entry.path, why: &why })?;
                }
                (None, Some(why)) => {
                    (self.watch)(TreeEvent::Skipped { path: &entry.path, why, has_met: entry.has_met })?;
                }
                (None, None) if entry.kind == EntryKind::File && entry.same.is_none() => {
                    (self.watch)(TreeEvent::Listed(entry.size))?;
                }
                (None, None) => {}
            }
            let file = file.filter(|_| entry.same.is_none());
            let held = entry_memory(&entry.path);
            self.ahead_len += held;
            self.take_memory(held + if is_head { ENTRY_COST } else { 0 })?;
            self.unanswered.push_back(ListedFile { path: entry.path, size: entry.size, file });
        }
        if self.is_all_listed {
            (self.watch)(TreeEvent::ListedAll)?;
        }
        if body.is_empty() && !self.is_all_listed {
            // What was read is left out. Replies are read in between.
            return (self.watch)(TreeEvent::Works(0));
        }
        self.out.list(&body, self.is_all_listed)
    }
}

/// Bytes of memory that an entry takes while it is under way: its path, twice, and what is kept of it.
const fn entry_memory(path: &[u8]) -> usize {
    2 * path.len() + 3 * ENTRY_COST
}

fn explained(file: &FileRef, error: &io::Error) -> Refusal {
    let code = Refusal::from_io("", error).code;
    Refusal::new(code, walk::explained(&file.shown(), error))
}

fn too_many() -> Error {
    Refusal::new(ErrorCode::Failed, "over 4,294,967,295 entries; send them in several trees").into()
}
