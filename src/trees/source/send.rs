//! One file on its way: a small one into the frame that is being filled, a large one piece by piece.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use byteorder::{ByteOrder as _, LittleEndian};
use rustix::fs::Stat;

use super::{RECORD_LEN, Source, WantedFile, explained};
use crate::part::read_at;
use crate::trees::delta::{Changes, Known, Pieces};
use crate::trees::hear::Heard;
use crate::trees::large::{Large, Offer, Piece, digest_of};
use crate::trees::walk::mtime_ns;
use crate::trees::{Event, SMALL_FRAME_LEN, SMALL_LEN_MAX};
use crate::wire::error::{Error, ErrorCode, Refusal, Result};
use crate::wire::message::{Attributes, Message};

/// A file that changes while it is read is read once more.
const READS_MAX: usize = 2;

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

impl Source<'_> {
    pub(super) fn send_file(&mut self, wanted: WantedFile, said: &Heard<'_>) -> Result<()> {
        let WantedFile { entry, path, size, place, mut offer, mut there, known } = wanted;
        self.known_len -= known.as_ref().map_or(0, |known| known.told_len);
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
            if size_now == 0 && read_at(&file, &mut [0], 0).is_ok_and(|read| read > 0) {
                let text = format!(
                    "{}: says that it is empty, and is not, as in /proc; pipe it: cat FILE | fput - HOST:PATH",
                    place.shown()
                );
                return self.lose(entry, &path, &Refusal::new(ErrorCode::Failed, text));
            }
            let opened = Opened { entry, path: &path, file: &file, stat: &stat };
            let read = if size_now <= SMALL_LEN_MAX && offer.is_none() && !is_large {
                self.add_small(&opened)
            } else {
                self.send_small()?;
                is_large = true;
                let offer = offer.take().filter(|offer| offer.offset <= size_now);
                self.send_large(&opened, (offer, known.as_ref()), said)
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
        self.out.sender.queue(&Message::Same { entry }, &[])
    }

    fn lose(&mut self, entry: u32, path: &[u8], why: &Refusal) -> Result<()> {
        self.send_small()?;
        self.sent.remove(&entry);
        (self.watch)(Event::Failed { path, why })?;
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

    pub(super) fn send_small(&mut self) -> Result<()> {
        if !self.small.is_empty() {
            let saved = self.out.small(&self.small)?;
            (self.watch)(Event::Saves(saved))?;
            self.small.clear();
        }
        Ok(())
    }

    /// Sends a large file, from where the target's part ends, if it has one and that is of this file.
    fn send_large(
        &mut self,
        opened: &Opened<'_>,
        (offer, known): (Option<Offer>, Option<&Known>),
        said: &Heard<'_>,
    ) -> Result<Read> {
        let Opened { entry, path, file, stat } = *opened;
        let offset = offer.as_ref().map_or(0, |offer| offer.offset);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.piece.is_empty() {
            self.piece = vec![0; self.out.piece_len()];
        }
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let begun = Large::begin(scope, (file, size), offer, &is_over, &mut self.piece);
            let Some(mut large) = begun.map_err(ours)? else { return Ok(Read::OtherPart) };
            (self.watch)(Event::Begins { path, size, offset })?;
            let attributes = Attributes { size, mtime_ns: Some(mtime_ns(stat)), mode: Some(stat.st_mode & 0o777) };
            self.out.sender.queue(&Message::Large { entry, offset, attributes }, &[])?;
            let mut pieces = match known {
                Some(known) => Pieces::Changes(Changes::new(known, self.out.piece_len())),
                None => Pieces::All(std::mem::take(&mut self.piece)),
            };
            let sent = self.send_pieces(opened, &mut large, &mut pieces, said);
            if let Pieces::All(piece) = pieces {
                self.piece = piece;
            }
            is_over.store(true, Ordering::Relaxed);
            sent
        })
    }

    fn send_pieces(
        &mut self,
        opened: &Opened<'_>,
        large: &mut Large<'_>,
        pieces: &mut Pieces<'_>,
        said: &Heard<'_>,
    ) -> Result<Read> {
        loop {
            match pieces.next(large).map_err(ours)? {
                Piece::Data(bytes) => {
                    let saved = self.out.data(bytes)?;
                    (self.watch)(Event::Moved(bytes.len() as u64))?;
                    (self.watch)(Event::Saves(saved))?;
                }
                Piece::Hole(size) => {
                    self.out.sender.queue(&Message::Hole { size }, &[])?;
                    (self.watch)(Event::Skims(size))?;
                }
                Piece::Copy { offset, size } => {
                    self.out.sender.queue(&Message::Copy { offset, size }, &[])?;
                    (self.watch)(Event::Reuses(size))?;
                }
                Piece::End => break,
            }
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
        self.out.sender.queue(&Message::Whole { total: large.total() }, &[])?;
        Ok(Read::Whole)
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

/// Whether nobody has written in between, as far as the system says.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    of(before) == of(now)
}
