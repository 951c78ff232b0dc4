//! Confirmations: files that have their names, failures, and other changes.

use std::io::{self, Write};

use super::ReceiverStep;
use crate::error::{ConnectionLost, Refusal, Result};
use crate::trees::batch::Committed;
use crate::trees::body::{KeptLine, write_line};
use crate::trees::{BODY_LEN_MAX, Change, PathText, TreeEvent};
use crate::wire::message::Message;

/// Lines of `kept` that were not sent yet.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    lines: Vec<u8>,
    /// Entries that are safe and not in a line yet: the first, and how many.
    open: Option<(u32, u32)>,
    /// Whether anything failed, on either side.
    has_failed: bool,
}

impl Confirmations {
    /// Whether anything failed so far.
    pub(super) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Notes a failure that the sender knows of.
    pub(super) const fn note_failure(&mut self) {
        self.has_failed = true;
    }

    /// An entry failed, or with `with_dir` the directory that it is in.
    pub(super) fn add_failure(&mut self, entry: u32, why: &Refusal, with_dir: bool) -> Result<()> {
        self.has_failed = true;
        let (code, message) = (Some(why.code.as_str().into()), Some(why.message.as_str().into()));
        write_line(&KeptLine { code, message, with_dir, ..KeptLine::of(entry, 1) }, &mut self.lines)
    }

    /// Something was done, or would be.
    fn add_change(&mut self, entry: u32, change: Change, path: &[u8], size: u64) -> Result<()> {
        let (did, path) = (Some(change), Some(PathText::of(path)));
        write_line(&KeptLine { did, path, size, ..KeptLine::of(entry, 1) }, &mut self.lines)
    }

    /// An entry is safe; neighbours share a line.
    fn add_safe(&mut self, entry: u32) -> Result<()> {
        if let Some((first, count)) = &mut self.open
            && first.saturating_add(*count) == entry
        {
            *count += 1;
            return Ok(());
        }
        self.close()?;
        self.open = Some((entry, 1));
        Ok(())
    }

    /// No neighbours of the last safe entry follow.
    fn close(&mut self) -> Result<()> {
        let Some((first, count)) = self.open.take() else { return Ok(()) };
        write_line(&KeptLine::of(first, count), &mut self.lines)
    }

    /// All lines so far, as bodies of at most `len_max` bytes.
    fn take(&mut self, len_max: usize) -> Vec<Vec<u8>> {
        let lines = std::mem::take(&mut self.lines);
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        // A line is far shorter than a frame's limit, but their sum may not be.
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match bodies.last_mut() {
                Some(body) if body.len() + line.len() <= len_max => body.extend_from_slice(line),
                _ => bodies.push(line.to_vec()),
            }
        }
        bodies
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    /// Notes that one entry failed, and goes on with the others, except on a full disk.
    pub(super) fn fail_or_stop(&mut self, entry: u32, path: &[u8], error: &io::Error) -> Result<()> {
        if self.tree.destination.is_stopped() {
            return Err(ConnectionLost::Closed { wanted: "the rest of the tree" }.into());
        }
        let why = self.tree.destination.explained(path, error);
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let text = format!("{}; what came is kept: make room and run the same command again", why.message);
            return Err(Refusal::new(why.code, text).into());
        }
        self.fail(entry, path, &why)
    }

    /// One entry failed.
    pub(super) fn fail(&mut self, entry: u32, path: &[u8], why: &Refusal) -> Result<()> {
        self.tree.kept.note_failure();
        (self.watch)(TreeEvent::Failed { path, why })?;
        self.tree.kept.add_failure(entry, why, false)
    }

    /// Reports a change that was made, or in a dry run would be.
    pub(super) fn tell(&mut self, entry: u32, change: Change, path: &[u8], size: u64) -> Result<()> {
        (self.watch)(TreeEvent::Did { change, path, size })?;
        self.tree.kept.add_change(entry, change, path, size)
    }

    /// Gives complete files their names.
    pub(super) fn commit(&mut self) -> Result<()> {
        for Committed { entry, path, size, result } in self.put_in_place()? {
            if let Err(error) = result {
                let why = self.tree.destination.explained(&path, &error);
                self.fail(entry, &path, &why)?;
                continue;
            }
            (self.watch)(TreeEvent::Done { path: &path, size })?;
            self.tree.kept.add_safe(entry)?;
        }
        self.tree.kept.close()
    }

    /// Sends what was confirmed since the last time.
    pub(super) fn send_kept(&mut self) -> Result<()> {
        let mut bodies = self.tree.kept.take(BODY_LEN_MAX as usize);
        let Some(last) = bodies.pop().filter(|_| !self.tree.is_mute) else { return Ok(()) };
        for body in bodies {
            let queued = self.sender.queue(&Message::Kept, &body);
            self.as_far_as_it_goes(queued)?;
        }
        let sent = self.sender.send(&Message::Kept, &last);
        self.as_far_as_it_goes(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::trees::replies::{KeptWord, words_of};

    #[test]
    fn neighbours_share_a_line() {
        let mut kept = Confirmations::default();
        for entry in [3, 4, 5, 9, 8, u32::MAX] {
            kept.add_safe(entry).unwrap();
        }
        kept.close().unwrap();
        let [body] = &kept.take(1000)[..] else { panic!("one body") };
        let range = |word| match word {
            KeptWord::Safe(first, count) => (first, count),
            word => panic!("{word:?}"),
        };
        let ranges: Vec<_> = words_of(body).unwrap().into_iter().map(range).collect();
        assert_eq!(ranges, [(3, 3), (9, 1), (8, 1), (u32::MAX, 1)]);
        assert!(!kept.has_failed() && kept.take(1000).is_empty());
    }

    #[test]
    fn failures_and_changes_are_lines_too_and_no_body_is_too_long() {
        let mut kept = Confirmations::default();
        kept.add_failure(1, &Refusal::new(ErrorCode::Failed, "no"), true).unwrap();
        kept.add_change(2, Change::Removed, b"path", 0).unwrap();
        assert!(kept.has_failed());
        let bodies = kept.take(60);
        assert_eq!(bodies.len(), 2, "each as long as it may be");
        assert!(matches!(words_of(&bodies[0]).unwrap()[..], [KeptWord::FailedWithDir(1, _)]));
        assert!(matches!(words_of(&bodies[1]).unwrap()[..], [KeptWord::Did(2, Change::Removed, ..)]));
    }
}
