//! Large files, which come piece by piece.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Instant;

use super::expected::Expected;
use super::{ReceiverStep, bad_small, grow, too_large, works};
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::fs::below::split;
use crate::fs::digest::{BLOCK_LEN, ChainingValue};
use crate::fs::part::resume::Check;
use crate::fs::part::{PIECE_LEN, Part, Verified};
use crate::fs::unix::read_at;
use crate::memory::Taken;
use crate::trees::batch::Whole;
use crate::trees::body::{Stretch, write_line};
use crate::trees::delta::COPY_LEN_MAX;
use crate::trees::large::{HOLE_LEN_MAX, Large};
use crate::trees::{BODY_LEN_MAX, Change, TreeEvent};
use crate::wire::channel::Receiver;
use crate::wire::message::{Attributes, Message, Total};

/// Most stretches of one file that are requested again: they fit into one frame of JSON lines.
const STRETCHES_MAX: usize = 16 * 1024;

/// A large file that is coming.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) entry: u32,
    expected: Expected,
    attributes: Attributes,
    /// `None`: it could not be written, and the rest of it is passed over.
    part: Option<Part>,
    /// Bytes that an earlier attempt had brought.
    offset: u64,
    /// The sender's hash values of these bytes.
    beginning: Vec<ChainingValue>,
    /// The stretches of it that are sent again.
    mend: VecDeque<Stretch>,
    /// The stretch that is coming: offsets of its next byte and of its end.
    stretch: Option<(u64, u64)>,
    /// What came again and is to be hashed.
    mended: Vec<Stretch>,
    /// The version that is there, once something of it was used.
    other: Option<File>,
    began: Instant,
    /// Bytes of it that came over the connection.
    came: u64,
    /// What its beginning and its holes take of the budget.
    held: Taken,
}

impl Current {
    /// The file's path in the tree.
    pub(super) fn path(&self) -> &[u8] {
        &self.expected.path
    }
}

impl Current {
    fn new(
        (entry, expected): (u32, Expected),
        (attributes, offset): (Attributes, u64),
        part: Option<Part>,
        held: Taken,
    ) -> Self {
        Self {
            entry,
            expected,
            attributes,
            part,
            offset,
            beginning: Vec::new(),
            mend: VecDeque::new(),
            stretch: None,
            mended: Vec::new(),
            other: None,
            began: Instant::now(),
            came: 0,
            held,
        }
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    pub(super) fn begin_large(&mut self, entry: u32, offset: u64, sent: Attributes) -> Result<()> {
        let (mut expected, part) = match self.tree.current.take() {
            Some(Current { entry: same, expected, part, .. }) if same == entry => {
                (self.watch)(TreeEvent::Again { path: &expected.path, why: "it changed while it was read" })?;
                (expected, part)
            }
            Some(_) => return Err(bad_small("a large file came inside another")),
            None => (self.tree.expected.take(entry)?, None),
        };
        let attributes = self.tree.destination.attributes(sent.size, sent.mtime_ns, expected.mode);
        let mut held = Taken::of(&self.tree.budget);
        if self.tree.destination.options.dry_run {
            self.tell(entry, Change::Copied, &expected.path, sent.size)?;
            self.tree.current = Some(Current::new((entry, expected), (attributes, 0), None, held));
            return Ok(());
        }
        if self.is_too_large(sent.size) {
            let why = too_large(&self.tree.destination.shown(&expected.path), sent.size);
            self.fail(entry, &expected.path, &why)?;
            self.tree.current = Some(Current::new((entry, expected), (attributes, 0), None, held));
            return Ok(());
        }
        let (dir, name) = split(&expected.path);
        held.take(Check::memory_of(offset)).map_err(|over| over.refusal("the beginning of a file"))?;
        let destination = &mut self.tree.destination;
        let begun = match (part, expected.part.take()) {
            (Some(mut part), _) if offset == 0 => part.clear().map(|()| part),
            (None, Some(leftover)) if offset == leftover.len() => destination.parts.resume(*leftover),
            (None, _) if offset == 0 => destination
                .dir(dir)
                .and_then(|dir| Ok(destination.parts.create_kept(dir, name, (&attributes).into())?)),
            _ => return Err(bad_small("a large file begins where none of it was offered")),
        };
        (self.watch)(TreeEvent::Begins { path: &expected.path, size: sent.size, offset })?;
        let part = match begun {
            Ok(part) => Some(part),
            Err(error) => {
                self.fail_or_stop(entry, &expected.path, &error)?;
                None
            }
        };
        self.tree.current = Some(Current::new((entry, expected), (attributes, offset), part, held));
        Ok(())
    }

    pub(super) fn take_piece<R: Read>(&mut self, receiver: &mut Receiver<R>) -> Result<()> {
        if self.tree.current.is_none() {
            return Err(bad_small("data came outside a file"));
        }
        let mut buffer = std::mem::take(&mut self.tree.buffer);
        grow(&mut buffer, PIECE_LEN);
        let mut broken = None;
        while broken.is_none() {
            let mut len = 0;
            // What came before a cut counts too.
            while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
                match receiver.read_body(rest) {
                    Ok(0) => break,
                    Ok(came) => len += came,
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
            let Some(bytes) = buffer.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            self.write_piece(bytes)?;
        }
        self.tree.buffer = buffer;
        broken.map_or(Ok(()), Err)
    }

    pub(super) fn write_piece(&mut self, bytes: &[u8]) -> Result<()> {
        (self.watch)(TreeEvent::Moved(bytes.len() as u64))?;
        let Some(current) = &mut self.tree.current else { return Ok(()) };
        current.came += bytes.len() as u64;
        let Some(part) = &mut current.part else { return Ok(()) };
        let written = match &mut current.stretch {
            Some((at, end)) if end.saturating_sub(*at) < bytes.len() as u64 => {
                return Err(bad_small("a stretch of a file is longer than it was declared"));
            }
            Some((at, _)) => part.mend(bytes, *at).inspect(|()| *at += bytes.len() as u64),
            None if part.size().saturating_add(bytes.len() as u64) > current.attributes.size => {
                return Err(bad_small("a large file is longer than it was declared"));
            }
            None => part.write(bytes),
        };
        let Err(error) = written else { return Ok(()) };
        let (entry, path) = (current.entry, current.expected.path.clone());
        current.part = None;
        self.fail_or_stop(entry, &path, &error)
    }

    pub(super) fn take_hole(&mut self, size: u64) -> Result<()> {
        let Some(current) = &mut self.tree.current else { return Err(bad_small("a hole came outside a file")) };
        if size > HOLE_LEN_MAX {
            return Err(bad_small("a hole is longer than holes are"));
        }
        (self.watch)(TreeEvent::Skims(size))?;
        let Some(part) = &mut current.part else { return Ok(()) };
        if part.size().saturating_add(size) > current.attributes.size {
            return Err(bad_small("a large file is longer than it was declared"));
        }
        current.held.take(Large::memory_of(size)).map_err(|over| over.refusal("the holes of a file"))?;
        let Err(error) = part.skip(size) else { return Ok(()) };
        let (entry, path) = (current.entry, current.expected.path.clone());
        current.part = None;
        self.fail_or_stop(entry, &path, &error)
    }

    /// Takes bytes from the version that is there.
    pub(super) fn take_copy(&mut self, offset: u64, size: u64) -> Result<()> {
        let Some(current) = &mut self.tree.current else { return Err(bad_small("a copy came outside a file")) };
        if current.expected.chunks_len == 0 {
            return Err(bad_small("a copy is of a file of which nothing was told"));
        }
        if size > COPY_LEN_MAX {
            return Err(bad_small("a copy is longer than copies are"));
        }
        (self.watch)(TreeEvent::Reuses(size))?;
        let Some(part) = &mut current.part else { return Ok(()) };
        if part.size().saturating_add(size) > current.attributes.size {
            return Err(bad_small("a large file is longer than it was declared"));
        }
        let mut buffer = std::mem::take(&mut self.tree.buffer);
        grow(&mut buffer, PIECE_LEN);
        let opened = match current.other.take() {
            Some(file) => Ok(file),
            None => self.tree.destination.other_version(&current.expected.path).and_then(|other| {
                other.map(|(file, _)| file).ok_or_else(|| io::Error::other("what its parts are taken from is gone"))
            }),
        };
        let copied = opened.and_then(|file| {
            copy(&file, (offset, size), part, &mut buffer)?;
            current.other = Some(file);
            Ok(())
        });
        self.tree.buffer = buffer;
        let Err(error) = copied else { return Ok(()) };
        let (entry, path) = (current.entry, current.expected.path.clone());
        current.part = None;
        self.fail_or_stop(entry, &path, &error)
    }

    /// The sender's values of a beginning that was there.
    pub(super) fn take_blocks<R: Read>(&mut self, receiver: &mut Receiver<R>) -> Result<()> {
        let body = receiver.body(BODY_LEN_MAX)?;
        let Some(current) = &mut self.tree.current else { return Err(bad_small("blocks came outside a file")) };
        let (values, rest) = body.as_chunks::<{ blake3::OUT_LEN }>();
        let len_max = usize::try_from(current.offset.div_ceil(BLOCK_LEN)).unwrap_or(usize::MAX);
        if !rest.is_empty() || current.beginning.len() + values.len() > len_max {
            return Err(bad_small("there are more blocks than the beginning has that was here"));
        }
        current.beginning.extend_from_slice(values);
        Ok(())
    }

    /// Takes a stretch of a beginning that differed and is sent again.
    pub(super) fn begin_stretch(&mut self, stretch: Stretch) -> Result<()> {
        let Some(current) = &mut self.tree.current else { return Err(bad_small("a piece came outside a file")) };
        if current.stretch.is_some_and(|(at, end)| at != end) || current.mend.pop_front() != Some(stretch) {
            return Err(bad_small("a piece came that was not asked for, or before the last one was whole"));
        }
        current.stretch = Some((stretch.offset, stretch.offset + stretch.size));
        current.mended.push(stretch);
        Ok(())
    }

    pub(super) fn end_large(&mut self, total: &Total<'_>) -> Result<()> {
        let Some(mut current) = self.tree.current.take() else {
            return Err(bad_small("the end of a large file came outside one"));
        };
        if !current.mend.is_empty() || current.stretch.is_some_and(|(at, end)| at != end) {
            return Err(bad_small("a large file ended before all that was asked for again has come"));
        }
        // It failed before, and that was reported.
        let Some(mut part) = current.part.take() else { return Ok(()) };
        self.tree.comparing.has_come(current.came, current.began.elapsed());
        let (is_first, mended) = (current.stretch.is_none(), std::mem::take(&mut current.mended));
        let (watch, stop) = (&mut *self.watch, self.tree.destination.stop_handle());
        part.wait_for_beginning(&mut |bytes| works(watch, stop.as_deref(), bytes))
            .map_err(Error::ours("the beginning of a file"))?;
        let mut hashed = mended.iter().map(|stretch| part.hash_again((stretch.offset, stretch.size)));
        let as_sent = hashed.try_for_each(|hashed| hashed);
        let as_sent = as_sent.and_then(|()| part.is_as_sent(total.into()));
        if current.offset > 0 && is_first && matches!(as_sent, Ok(false)) && part.size() == total.size {
            let stretches = part.bad_stretches(&current.beginning);
            if !stretches.is_empty() && !current.beginning.is_empty() {
                current.part = Some(part);
                return self.ask_again(current, stretches);
            }
        }
        let (size, is_resumed) = (part.size(), current.offset > 0);
        let verified = as_sent.and_then(|_| Ok(part.verify(total.into(), (&current.attributes).into())?));
        self.finish_large(current, verified, size)?;
        // The sender waits for it.
        if is_resumed { self.commit() } else { Ok(()) }
    }

    /// Requests the stretches of a beginning that differ from the sender's.
    fn ask_again(&mut self, mut current: Current, stretches: Vec<(u64, u64)>) -> Result<()> {
        let stretches = stretches.into_iter().map(|(offset, size)| Stretch { offset, size });
        // A connection is short, and what does not fit into one frame is requested by the next attempt.
        current.mend = stretches.take(STRETCHES_MAX).collect();
        let mut body = Vec::new();
        for stretch in &current.mend {
            write_line(stretch, &mut body)?;
        }
        let wanted = current.mend.iter().map(|stretch| stretch.size).sum::<u64>();
        let why = format!("{wanted} bytes that an earlier attempt brought are not the same any more");
        (self.watch)(TreeEvent::Mends { path: &current.expected.path, why: &why })?;
        let sent = self.sender.send(&Message::Mend { entry: current.entry }, &body);
        self.tree.current = Some(current);
        sent
    }

    fn finish_large(&mut self, current: Current, verified: io::Result<Verified>, size: u64) -> Result<()> {
        let Current { entry, expected: Expected { path, clears, .. }, other, .. } = current;
        match verified {
            Ok(file) => self.tree.batch.add(Whole { entry, path, size, clears, file }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData && other.is_some() => {
                let text = "what is here changed while parts of it were used; run it again";
                let why = Refusal::new(ErrorCode::Digest, format!("{}: {text}", self.tree.destination.shown(&path)));
                self.fail(entry, &path, &why)?;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = Refusal::new(ErrorCode::Digest, format!("{}: {error}", self.tree.destination.shown(&path)));
                self.fail(entry, &path, &why)?;
            }
            Err(error) => self.fail_or_stop(entry, &path, &error)?,
        }
        Ok(())
    }

    /// The sender could not send a file; what came of it is kept.
    pub(super) fn take_loss(&mut self, entry: u32, why: &Refusal) -> Result<()> {
        let path = match self.tree.current.take() {
            Some(current) if current.entry == entry => current.expected.path,
            Some(_) => return Err(bad_small("a file was lost inside another")),
            None => self.tree.expected.take(entry)?.path,
        };
        // A failure of this side, which the sender was told of and answers.
        if why.code == ErrorCode::Stopped {
            return Ok(());
        }
        self.tree.kept.note_failure();
        (self.watch)(TreeEvent::Failed { path: &path, why })
    }
}

/// Copies a stretch of a file that is there.
fn copy(from: &File, (mut offset, mut size): (u64, u64), to: &mut Part, buffer: &mut [u8]) -> io::Result<()> {
    while size > 0 {
        let wanted = usize::try_from(size).unwrap_or(usize::MAX).min(PIECE_LEN);
        match read_at(from, buffer.get_mut(..wanted).unwrap_or_default(), offset)? {
            0 => return Err(io::Error::other("what its parts are taken from became shorter; run it again")),
            read => {
                to.write(buffer.get(..read).unwrap_or_default())?;
                (offset, size) = (offset + read as u64, size - read as u64);
            }
        }
    }
    Ok(())
}
