//! What a mirror removes, and when: room for what is of another kind as it comes, all else at the end.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{ReceiverStep, TreeReceiver};
use crate::error::{ConnectionLost, ErrorCode, Refusal, Result};
use crate::trees::Change;
use crate::trees::batch::Committed;
use crate::trees::mirror::{Cleared, RemovalPlan, too_much};
use crate::wire::message::EntryKind;

/// Whether there is room for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// As far as the mirror goes, there is.
    Free,
    /// There will be, when the file is whole.
    WhenWhole,
    /// What is there stays, which was reported.
    None,
}

impl<W: Write> ReceiverStep<'_, W> {
    /// In a mirror, makes room for an entry where something of another kind stands; for a file that is still to come
    /// only if `at_once`.
    pub(super) fn make_room(&mut self, number: u32, path: &[u8], kind: EntryKind, at_once: bool) -> Result<Space> {
        let TreeReceiver { destination, filter, listed, .. } = &mut *self.tree;
        let options = destination.options;
        let Some(listed) = listed else { return Ok(Space::Free) };
        // What cannot be read fails again, and is reported, when the entry is taken.
        let Ok(Some(obstacle)) = destination.obstacle(path, kind) else { return Ok(Space::Free) };
        let planned = listed.room((&mut *destination, filter), path, obstacle, options.force);
        destination.restore_modes();
        let remove = match planned {
            Ok(Ok(remove)) => remove,
            Ok(Err(why)) => {
                let why = Refusal::new(ErrorCode::Exists, format!("{}: {why}", destination.shown(path)));
                self.fail(number, path, &why)?;
                return Ok(Space::None);
            }
            Err(error) => {
                self.fail_or_stop(number, path, &error)?;
                return Ok(Space::None);
            }
        };
        if options.dry_run {
            destination.would_remove(path);
            self.tell_removed(&remove)?;
            return Ok(Space::Free);
        }
        if kind == EntryKind::File && !at_once {
            return Ok(Space::WhenWhole);
        }
        let Cleared { gone, result } = listed.clear((destination, filter), path, obstacle);
        self.tell_removed(&gone)?;
        match result {
            Ok(()) => Ok(Space::Free),
            Err(error) => self.fail_or_stop(number, path, &error).map(|()| Space::None),
        }
    }

    fn tell_removed(&mut self, paths: &[Vec<u8>]) -> Result<()> {
        self.tree.has_made |= !paths.is_empty();
        paths.iter().try_for_each(|path| self.tell(u32::MAX, Change::Removed, path, 0))
    }

    /// Gives complete files their names, and reports what was removed for that.
    pub(super) fn put_in_place(&mut self) -> Result<Vec<Committed>> {
        let TreeReceiver { destination, filter, listed, batch, .. } = &mut *self.tree;
        let mut cleared = HashMap::new();
        let mut clear = |path: &[u8]| {
            let (Some(listed), Some(obstacle)) = (&mut *listed, destination.obstacle(path, EntryKind::File)?) else {
                return Ok(());
            };
            let Cleared { gone, result } = listed.clear((&mut *destination, filter), path, obstacle);
            cleared.insert(path.to_vec(), gone);
            result
        };
        let fates = batch.commit(&mut clear);
        for fate in &fates {
            if let Some(gone) = cleared.remove(&fate.path) {
                self.tell_removed(&gone)?;
            }
        }
        Ok(fates)
    }

    /// Removes what the sender does not have, if that was requested and is safe.
    pub(super) fn mirror(&mut self) -> Result<()> {
        let mirrored = self.remove_unlisted();
        self.tree.destination.restore_modes();
        mirrored
    }

    fn remove_unlisted(&mut self) -> Result<()> {
        let Some(listed) = self.tree.listed.take() else { return Ok(()) };
        let options = self.tree.destination.options;
        if self.tree.kept.has_failed() {
            let text =
                "nothing is removed as long as something fails: what could not be read is missing in the listing too";
            return self.fail(u32::MAX, &[], &Refusal::new(ErrorCode::Failed, text));
        }
        let TreeReceiver { destination, filter, .. } = &mut *self.tree;
        let planned = listed.plan(destination, filter);
        let RemovalPlan { remove, stays } = match planned {
            Ok(plan) => plan,
            Err(error) => {
                if destination.is_stopped() {
                    return Err(ConnectionLost::Closed { wanted: "the end of the tree" }.into());
                }
                let why = destination.explained(&[], &error);
                return self.fail(u32::MAX, &[], &why);
            }
        };
        // What had to go for something of another kind counts too.
        let removed = remove.len() + listed.made_room();
        if !remove.is_empty() && removed > stays && !options.force {
            let text = too_much(removed, removed + stays);
            return self.fail(u32::MAX, &[], &Refusal::new(ErrorCode::Failed, text));
        }
        for (path, is_dir) in remove {
            if self.tree.destination.is_stopped() {
                return Err(ConnectionLost::Closed { wanted: "the end of the tree" }.into());
            }
            let removed: io::Result<()> =
                if options.dry_run { Ok(()) } else { self.tree.destination.remove(&path, is_dir) };
            match removed {
                Ok(()) => self.tell_removed(&[path])?,
                Err(error) => {
                    let why = self.tree.destination.explained(&path, &error);
                    self.fail(u32::MAX, &path, &why)?;
                }
            }
        }
        Ok(())
    }
}
