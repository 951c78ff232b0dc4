//! Sending one file: a small one in the frame that is being filled, a large one piece by piece.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

use byteorder::{ByteOrder as _, LittleEndian};
use rustix::fs::Stat;

use super::{RECORD_LEN, TreeSender, WantedFile, entry_memory, explained};
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::fs::digest::ChainingValue;
use crate::fs::part::resume::Check;
use crate::fs::unix::{read_at, stat_mtime_ns};
use crate::memory::{Budget, Buffer};
use crate::trees::body::Stretch;
use crate::trees::delta::{Changes, Known, Pieces};
use crate::trees::event::{Beat, stopped};
use crate::trees::large::{Large, Piece, begins_with, digest_of};
use crate::trees::replies::{Replies, bad_want};
use crate::trees::{SMALL_FRAME_LEN, SMALL_LEN_MAX, TreeEvent};
use crate::wire::message::{Attributes, Message};

/// Most times that a file is read that changes while it is read.
const READS_MAX: usize = 2;
/// Most times that the beginning at a receiver is mended: it does not change in between.
const MENDS_MAX: usize = 2;
/// Most hash values of blocks in one `blocks`.
const BLOCKS_MAX: usize = 16 * 1024;

/// How reading one file went.
enum Read {
    Whole,
    /// It changed since it was begun.
    Changed,
    /// The receiver cannot take it.
    Refused,
}

impl<'s, W: Write> TreeSender<'s, W> {
    pub(super) fn send_file(&mut self, wanted: WantedFile, replies: &Replies<'_>) -> Result<()> {
        let WantedFile { entry, path, size, file, mut offset, mut there, known } = wanted;
        self.ahead_len -= entry_memory(&path);
        self.known_len -= known.as_ref().map_or(0, |known| known.told_len);
        let known = KnownHere { budget: self.budget.clone(), known };
        // It is opened as late as possible, and what it is then counts.
        let (mut reads, mut is_large) = (0, false);
        self.sent.insert(entry, (path.clone(), size));
        loop {
            let (open_file, stat) = match self.opener.open(&file) {
                Ok(opened) => opened,
                Err(error) => return self.lose(entry, &path, &explained(&file, &error)),
            };
            let size_now = u64::try_from(stat.st_size).unwrap_or(0);
            if let Some(there) = there.take() {
                let here = digest_of(&open_file, &mut self.beat());
                match here {
                    Ok(digest) if digest.finalize().to_hex().as_str() == there => return self.pass_over(entry, size),
                    Ok(_) => {}
                    Err(error) => return self.lose(entry, &path, &explained(&file, &error)),
                }
            }
            if size_now == 0 && read_at(&open_file, &mut [0], 0).is_ok_and(|read| read > 0) {
                let text = format!(
                    "{}: says that it is empty, and is not, as in /proc; pipe it: cat FILE | fput - HOST:PATH",
                    file.shown()
                );
                return self.lose(entry, &path, &Refusal::new(ErrorCode::Failed, text));
            }
            let opened = Opened { entry, path: &path, file: &open_file, stat: &stat };
            let read = if size_now <= SMALL_LEN_MAX && offset == 0 && !is_large {
                self.add_small(&opened)
            } else {
                self.send_small()?;
                is_large = true;
                let offset = Some(std::mem::take(&mut offset)).filter(|offset| *offset <= size_now);
                self.send_large(&opened, (offset.unwrap_or(0), known.known.as_ref()), replies)
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
                    return self.out.sender.queue(&lost, &[]);
                }
                Ok(Read::Changed) if reads + 1 == READS_MAX => {
                    let text = format!("{}: keeps changing while it is read; send it again later", file.shown());
                    return self.lose(entry, &path, &Refusal::new(ErrorCode::Failed, text));
                }
                Ok(Read::Changed) => {
                    reads += 1;
                    "it changed while it was read"
                }
                Err(Error::Ours { source, .. }) => return self.lose(entry, &path, &explained(&file, &source)),
                Err(error) => return Err(error),
            };
            (self.watch)(TreeEvent::Again { path: &path, why })?;
        }
    }

    /// For long work: reports that it goes on, and ends it when the receiver is gone.
    fn beat(&mut self) -> impl FnMut(u64) -> io::Result<()> + use<'_, 's, W> {
        let (peer_done, watch) = (self.out.peer_done(), &mut self.watch);
        move |bytes| {
            if peer_done.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            watch(TreeEvent::Works(bytes)).map_err(io::Error::other)
        }
    }

    /// The receiver has it, as its digest shows.
    fn pass_over(&mut self, entry: u32, size: u64) -> Result<()> {
        self.send_small()?;
        self.forget(entry);
        (self.watch)(TreeEvent::Unchanged(size))?;
        self.out.sender.queue(&Message::Same { entry }, &[])
    }

    fn lose(&mut self, entry: u32, path: &[u8], why: &Refusal) -> Result<()> {
        if self.out.peer_done().load(Ordering::Relaxed) {
            // The exchange has ended, and its replies tell why.
            return Ok(());
        }
        self.send_small()?;
        self.forget(entry);
        (self.watch)(TreeEvent::Failed { path, why })?;
        self.out.sender.queue(&Message::Lost { entry, code: why.code, message: why.message.as_str().into() }, &[])
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
        let digest = blake3::hash(bytes);
        let now = match read {
            Ok(true) => state_of(opened, &digest.to_hex(), &mut |_| Ok(())),
            Ok(false) => Ok(State::Changed),
            Err(error) => Err(error),
        };
        let has_grown = match now {
            Ok(State::Same) => false,
            Ok(State::Grown) => true,
            Ok(State::Changed) | Err(_) => {
                self.small.truncate(start);
                return now.map(|_| Read::Changed).map_err(ours);
            }
        };
        let (entry_at, rest) = head.split_at_mut(4);
        let (size_at, rest) = rest.split_at_mut(4);
        let (mtime_at, digest_at) = rest.split_at_mut(8);
        LittleEndian::write_u32(entry_at, entry);
        LittleEndian::write_u32(size_at, u32::try_from(size).unwrap_or(u32::MAX));
        LittleEndian::write_i64(mtime_at, stat_mtime_ns(stat));
        digest_at.copy_from_slice(digest.as_bytes());
        let moved = bytes.len() as u64;
        if has_grown {
            self.say_that_it_grew(opened)?;
        }
        (self.watch)(TreeEvent::Begins { path, size: moved, offset: 0 })?;
        (self.watch)(TreeEvent::Moved(moved))?;
        Ok(Read::Whole)
    }

    /// Before the end of the file, which is reported as it was.
    fn say_that_it_grew(&mut self, opened: &Opened<'_>) -> Result<()> {
        (self.watch)(TreeEvent::Grew { path: opened.path })?;
        self.out.sender.queue(&Message::Grew { entry: opened.entry }, &[])
    }

    pub(super) fn send_small(&mut self) -> Result<()> {
        if !self.small.is_empty() {
            let saved = self.out.small(&self.small)?;
            (self.watch)(TreeEvent::Saves(saved))?;
            self.small.clear();
        }
        Ok(())
    }

    /// Sends a large file, from where the receiver's partial file ends, if it has one.
    fn send_large(
        &mut self,
        opened: &Opened<'_>,
        (offset, known): (u64, Option<&Known>),
        replies: &Replies<'_>,
    ) -> Result<Read> {
        let Opened { entry, path, file, stat } = *opened;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.piece.is_empty() {
            self.piece = Buffer::of(self.out.piece_len()).map_err(ours)?;
        }
        // The values of its blocks: of one that is mostly holes they are more than all else.
        let held = Large::memory_of(size).saturating_add(Check::memory_of(offset));
        self.take_memory(held)?;
        let mut large = match Large::begin((file, size), offset) {
            Ok(large) => large,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Read::Changed),
            Err(error) => return Err(ours(error)),
        };
        (self.watch)(TreeEvent::Begins { path, size, offset })?;
        let attributes = Attributes { size, mtime_ns: Some(stat_mtime_ns(stat)), mode: Some(stat.st_mode & 0o777) };
        self.out.sender.queue(&Message::Large { entry, offset, attributes }, &[])?;
        // Where there is no memory for finding what changed, all of it goes.
        let cutting = known.map_or(0, |known| known.cut().memory());
        let known = known.filter(|_| self.budget.take(cutting).is_ok());
        let mut pieces = match known {
            Some(known) => Pieces::Changes(Changes::new(known, self.out.piece_len())),
            None => Pieces::All(std::mem::take(&mut self.piece)),
        };
        let sent = self.send_pieces(opened, &mut large, &mut pieces, replies);
        self.budget.give_back(known.map_or(0, |_| cutting) + held);
        if let Pieces::All(piece) = pieces {
            self.piece = piece;
        }
        match sent {
            Ok(Read::Whole) if offset > 0 => self.mend(opened, &large, replies),
            sent => sent,
        }
    }

    fn send_pieces(
        &mut self,
        opened: &Opened<'_>,
        large: &mut Large<'_>,
        pieces: &mut Pieces<'_>,
        replies: &Replies<'_>,
    ) -> Result<Read> {
        loop {
            match pieces.next(large).map_err(ours)? {
                Piece::Data(bytes) => {
                    let saved = self.out.data(bytes)?;
                    (self.watch)(TreeEvent::Moved(bytes.len() as u64))?;
                    (self.watch)(TreeEvent::Saves(saved))?;
                }
                Piece::Hole(size) => {
                    self.out.sender.queue(&Message::Hole { size }, &[])?;
                    (self.watch)(TreeEvent::Skims(size))?;
                }
                Piece::Copy { offset, size } => {
                    self.out.sender.queue(&Message::Copy { offset, size }, &[])?;
                    (self.watch)(TreeEvent::Reuses(size))?;
                }
                Piece::End => break,
            }
            self.take_waiting_replies(replies)?;
            if !self.sent.contains_key(&opened.entry) {
                return Ok(Read::Refused);
            }
            self.tell_beginning(large, false)?;
        }
        if !large.is_at_the_end() {
            return Ok(Read::Changed);
        }
        large.wait_for_beginning(&mut self.beat()).map_err(ours)?;
        self.tell_beginning(large, true)?;
        let total = large.total();
        let state = state_of(opened, total.blake3.as_deref().unwrap_or_default(), &mut self.beat());
        match state.map_err(ours)? {
            State::Same => {}
            State::Grown => self.say_that_it_grew(opened)?,
            State::Changed => return Ok(Read::Changed),
        }
        self.out.sender.queue(&Message::Whole { total }, &[])?;
        Ok(Read::Whole)
    }

    /// Sends the hash values of the beginning that the receiver has, once they are known.
    fn tell_beginning(&mut self, large: &mut Large<'_>, waits: bool) -> Result<()> {
        let values: Vec<ChainingValue> = large.beginning(waits).map_err(ours)?.unwrap_or_default();
        values.chunks(BLOCKS_MAX).try_for_each(|some| self.out.sender.queue(&Message::Blocks, some.as_flattened()))
    }

    /// Waits until the receiver has compared a file whose beginning it had, and sends again what differs.
    fn mend(&mut self, opened: &Opened<'_>, large: &Large<'_>, replies: &Replies<'_>) -> Result<Read> {
        self.out.sender.flush()?;
        let mut mends = 0;
        while self.sent.contains_key(&opened.entry) {
            let Some(stretches) = self.mend.take_if(|(entry, _)| *entry == opened.entry) else {
                self.take_next_reply(replies)?;
                continue;
            };
            mends += 1;
            if mends > MENDS_MAX {
                return Err(bad_want("it asks for the same stretches of a file again and again"));
            }
            let wanted: u64 = stretches.1.iter().fold(0, |sum, stretch| sum.saturating_add(stretch.size));
            let why = format!("{wanted} bytes that an earlier attempt brought are not the same any more");
            (self.watch)(TreeEvent::Mends { path: opened.path, why: &why })?;
            for stretch in stretches.1 {
                if !self.send_stretch(opened, stretch, replies)? {
                    return Ok(Read::Changed);
                }
            }
            let total = large.total();
            let state = state_of(opened, total.blake3.as_deref().unwrap_or_default(), &mut self.beat());
            if matches!(state.map_err(ours)?, State::Changed) {
                return Ok(Read::Changed);
            }
            self.out.sender.send(&Message::Whole { total }, &[])?;
        }
        Ok(Read::Whole)
    }

    /// Sends a stretch of a file; `false`: it is not there.
    fn send_stretch(&mut self, opened: &Opened<'_>, stretch: Stretch, replies: &Replies<'_>) -> Result<bool> {
        let Stretch { offset, size } = stretch;
        self.out.sender.queue(&Message::Piece { offset, size }, &[])?;
        let (mut at, end) = (offset, offset.saturating_add(size));
        let mut piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            piece = Buffer::of(self.out.piece_len()).map_err(ours)?;
        }
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
            let read = read_at(opened.file, piece.get_mut(..wanted).unwrap_or_default(), at).map_err(ours)?;
            if read == 0 {
                return Ok(false);
            }
            let saved = self.out.data(piece.get(..read).unwrap_or_default())?;
            (self.watch)(TreeEvent::Moved(read as u64))?;
            (self.watch)(TreeEvent::Saves(saved))?;
            self.take_waiting_replies(replies)?;
            at += read as u64;
        }
        self.piece = piece;
        Ok(true)
    }
}

/// The chunks of the receiver's earlier version, while they count for the budget.
struct KnownHere {
    budget: Budget,
    known: Option<Known>,
}

impl Drop for KnownHere {
    fn drop(&mut self) {
        self.budget.give_back(self.known.as_ref().map_or(0, Known::memory));
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
        match read_at(file, rest, filled as u64)? {
            0 => return Ok(false),
            read => filled += read,
        }
    }
    Ok(true)
}

/// What became of a file while it was read.
enum State {
    /// It is what was read.
    Same,
    /// It begins with what was read.
    Grown,
    /// It is another one.
    Changed,
}

/// Compares a file with what was read of it, all that it was when it was opened. Where the system says that it was
/// written, that is read a second time: appending leaves it as it is.
fn state_of(opened: &Opened<'_>, blake3: &str, beat: Beat<'_>) -> io::Result<State> {
    let now = rustix::fs::fstat(opened.file)?;
    if is_same(opened.stat, &now) {
        return Ok(State::Same);
    }
    let size = u64::try_from(opened.stat.st_size).unwrap_or(0);
    if now.st_size < opened.stat.st_size || !begins_with(opened.file, size, blake3, beat)? {
        return Ok(State::Changed);
    }
    Ok(if now.st_size > opened.stat.st_size { State::Grown } else { State::Same })
}

/// Whether nothing was written in between, as far as the system tells.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    of(before) == of(now)
}
