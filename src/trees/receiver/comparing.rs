//! Comparing: a listed file with the one that is there, and what is wanted of it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::expected::Expected;
use super::large::Current;
use super::ranges::Ranges;
use super::{ReceiverStep, TreeReceiver, bad_small, works};
use crate::error::Result;
use crate::fs::below::split;
use crate::fs::part::resume::Leftover;
use crate::trees::body::Wanted;
use crate::trees::delta::{self, Cut, Delta, chunks_of};
use crate::trees::destination::There;
use crate::trees::{Change, SMALL_LEN_MAX, TreeEntry, TreeEvent};
use crate::wire::message::Message;

/// Most bytes that are read to compare files before a `want` is sent.
const SCANNED_MAX: u64 = 64 * 1024 * 1024;
/// Bytes after which a connection's speed is known.
const TELLING_LEN: u64 = 16 * 1024 * 1024;

/// What is known of the comparison so far.
#[derive(Debug)]
pub(super) struct Comparing {
    /// Whether only the changed parts of a changed file are sent; `Auto` until the connection's speed is known.
    delta: Delta,
    /// Bytes that were read to compare files since the last `want` was sent.
    scanned: u64,
    /// The next `want`.
    pub(super) wanted: Ranges,
}

impl Comparing {
    /// Nothing was compared yet.
    pub(super) fn new(delta: Delta) -> Self {
        Self { delta, scanned: 0, wanted: Ranges::default() }
    }

    /// Chooses how changed files come, where that was left open: over a connection within one machine whole.
    pub(super) fn over(&mut self, is_to_this_machine: bool) {
        if self.delta == Delta::Auto && is_to_this_machine {
            self.delta = Delta::Never;
        }
    }

    /// Notes how fast a file's bytes came: over a connection that is faster than cutting, files come whole.
    pub(super) fn has_come(&mut self, bytes: u64, time: Duration) {
        let is_fast = || u128::from(bytes) * 1_000_000 / time.as_micros().max(1) > u128::from(delta::FAST);
        if self.delta == Delta::Auto && bytes >= TELLING_LEN && is_fast() {
            self.delta = Delta::Never;
        }
    }

    /// Whether a `want` is due.
    pub(super) const fn is_long(&self) -> bool {
        self.scanned >= SCANNED_MAX
    }

    /// Notes that a `want` is sent.
    pub(super) const fn answered(&mut self) {
        self.scanned = 0;
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    pub(super) fn look_at_file(&mut self, number: u32, path: Vec<u8>, entry: &TreeEntry, clears: bool) -> Result<()> {
        (self.watch)(TreeEvent::Listed(entry.size))?;
        let there = if clears {
            self.tree.destination.dir(split(&path).0).map(|dir| There::Other(Some(dir)))
        } else {
            self.compare(&path, entry)
        };
        let part = match there {
            Ok(There::Same) => return (self.watch)(TreeEvent::Unchanged(entry.size)),
            Ok(There::Other(_)) if self.tree.destination.options.dry_run => {
                return self.tell(number, Change::Copied, &path, entry.size);
            }
            Ok(There::Unknown(digest)) => {
                self.tree.comparing.scanned += entry.size;
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
                    let offset = Some(part.len());
                    self.tree.comparing.wanted.add_with(&Wanted { offset, chunks, ..Wanted::plain(number) })?;
                } else if chunks {
                    self.tree.comparing.wanted.add_with(&Wanted { chunks, ..Wanted::plain(number) })?;
                } else {
                    self.tree.comparing.wanted.add(number)?;
                }
                let part = part.map(Box::new);
                self.tree
                    .expected
                    .add(number, Expected { path, mode: entry.mode, part, clears, entry: None, chunks_len })
            }
            Err(error) => self.fail_or_stop(number, &path, &error),
        }
    }

    fn compare(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<There> {
        let (watch, stop) = (&mut *self.watch, self.tree.destination.stop_handle());
        let mut beat = |bytes| works(watch, stop.as_deref(), bytes);
        self.tree.destination.compare(path, entry, &mut beat)
    }

    /// Requests a file unless the sender's has this digest too.
    fn ask(&mut self, number: u32, path: Vec<u8>, entry: &TreeEntry, digest: String) -> Result<()> {
        let chunks_len = self.tell_chunks(number, &path, entry)?;
        let (blake3, chunks) = (Some(digest), chunks_len > 0);
        self.tree.comparing.wanted.add_with(&Wanted { blake3, chunks, ..Wanted::plain(number) })?;
        let entry = Some(entry.clone());
        let mode = entry.as_ref().map_or(0, |entry| entry.mode);
        self.tree.expected.add(number, Expected { path, mode, part: None, clears: false, entry, chunks_len })
    }

    /// Sends the chunks of a file's earlier version. Returns how many bytes of `chunks` that took.
    fn tell_chunks(&mut self, entry: u32, path: &[u8], listed: &TreeEntry) -> Result<usize> {
        let TreeReceiver { destination, comparing, expected, is_mute, budget, .. } = &mut *self.tree;
        if comparing.delta == Delta::Never
            || listed.size < delta::LEN_MIN
            || !expected.has_room_for_chunks()
            || destination.options.dry_run
            || *is_mute
        {
            return Ok(0);
        }
        // What cannot be read is of no use here, and does not hinder the copy.
        let Ok(Some((file, len))) = destination.other_version(path) else { return Ok(0) };
        if len < delta::LEN_MIN {
            return Ok(0);
        }
        let cut = Cut::for_len(len.max(listed.size));
        if budget.take(cut.memory()).is_err() {
            return Ok(0);
        }
        let (watch, stop) = (&mut *self.watch, destination.stop_handle());
        let records = chunks_of(&file, len, cut, &mut |bytes| works(watch, stop.as_deref(), bytes));
        budget.give_back(cut.memory());
        let Ok(records) = records else { return Ok(0) };
        comparing.scanned += len;
        let sent = self.sender.queue(&Message::Chunks { entry, average: cut.average() }, &records);
        self.as_far_as_it_goes(sent)?;
        Ok(records.len())
    }

    /// The sender's file has the digest: only its time and mode may differ.
    pub(super) fn take_same(&mut self, number: u32) -> Result<()> {
        let Expected { path, entry, .. } = self.tree.expected.take(number)?;
        let entry = entry.ok_or_else(|| bad_small("a file is the same that was not compared"))?;
        match self.tree.destination.set_attributes(&path, &entry) {
            Ok(()) => (self.watch)(TreeEvent::Unchanged(entry.size)),
            Err(error) => self.fail_or_stop(number, &path, &error),
        }
    }

    /// The sender sends a file's beginning only: it grew while it was read.
    pub(super) fn take_growth(&mut self, number: u32) -> Result<()> {
        let TreeReceiver { expected, current, .. } = &*self.tree;
        let coming = current.as_ref().filter(|current| current.entry == number).map(Current::path);
        let path = coming.or_else(|| expected.path_of(number));
        let path = path.ok_or_else(|| bad_small("a file grew that was not wanted"))?.to_vec();
        (self.watch)(TreeEvent::Grew { path: &path })
    }

    /// The partial file that an earlier attempt has left.
    fn find_part(&self, dir: &Arc<cap_std::fs::Dir>, path: &[u8], entry: &TreeEntry) -> Option<Leftover> {
        let TreeReceiver { destination, expected, .. } = &*self.tree;
        if entry.size <= SMALL_LEN_MAX || !destination.options.resume || !expected.has_room_for_part() {
            return None;
        }
        destination.parts.find(dir, split(path).1).filter(|part| (1..=entry.size).contains(&part.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_looked_for_until_the_connection_shows_to_be_fast() {
        let auto = || Comparing::new(Delta::Auto);
        let mut comparing = auto();
        comparing.over(false);
        comparing.has_come(TELLING_LEN, Duration::from_secs(1));
        comparing.has_come(TELLING_LEN - 1, Duration::from_nanos(1));
        assert_eq!(comparing.delta, Delta::Auto, "slow, or too little to tell");
        comparing.has_come(TELLING_LEN, Duration::from_millis(1));
        assert_eq!(comparing.delta, Delta::Never);
        let mut comparing = auto();
        comparing.over(true);
        assert_eq!(comparing.delta, Delta::Never);
        let mut always = Comparing::new(Delta::Always);
        always.over(true);
        always.has_come(TELLING_LEN, Duration::from_millis(1));
        assert_eq!(always.delta, Delta::Always);
    }

    #[test]
    fn the_sender_hears_in_between_what_is_wanted() {
        let mut comparing = Comparing::new(Delta::Auto);
        comparing.scanned = SCANNED_MAX;
        assert!(comparing.is_long());
        comparing.answered();
        assert!(!comparing.is_long());
    }
}
