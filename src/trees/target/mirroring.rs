//! What a mirror removes, and when: room for what is of another kind as it comes, all else at the end.

use std::collections::HashMap;
use std::io;

use super::{Target, Turn};
use crate::trees::Deed;
use crate::trees::batch::Fate;
use crate::trees::mirror::{Cleared, Plan, too_much};
use crate::wire::error::{ErrorCode, LineLost, Refusal, Result};
use crate::wire::message::Kind;

/// Whether there is room for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// As far as the mirror goes, there is.
    Free,
    /// There will be, when the file is whole.
    WhenWhole,
    /// What is there stays, which was said.
    None,
}

impl Turn<'_> {
    /// In a mirror, makes room for an entry where something of another kind stands; for a file that is still to come
    /// only if `at_once`.
    pub(super) fn make_room(&mut self, number: u32, path: &[u8], kind: Kind, at_once: bool) -> Result<Room> {
        let Target { place, filter, listed, .. } = &mut *self.target;
        let keeping = place.keeping;
        let Some(listed) = listed else { return Ok(Room::Free) };
        // What cannot be looked at is met again, and said, when the entry is taken.
        let Ok(Some(obstacle)) = place.obstacle(path, kind) else { return Ok(Room::Free) };
        let planned = listed.room((&mut *place, filter), path, obstacle, keeping.force);
        place.restore_modes();
        let remove = match planned {
            Ok(Ok(remove)) => remove,
            Ok(Err(why)) => {
                let why = Refusal::new(ErrorCode::Exists, format!("{}: {why}", place.shown(path)));
                self.fail(number, path, &why)?;
                return Ok(Room::None);
            }
            Err(error) => {
                self.fail_or_stop(number, path, &error)?;
                return Ok(Room::None);
            }
        };
        if keeping.dry_run {
            place.would_remove(path);
            self.tell_removed(&remove)?;
            return Ok(Room::Free);
        }
        if kind == Kind::File && !at_once {
            return Ok(Room::WhenWhole);
        }
        let Cleared { gone, result } = listed.clear((place, filter), path, obstacle);
        self.tell_removed(&gone)?;
        match result {
            Ok(()) => Ok(Room::Free),
            Err(error) => self.fail_or_stop(number, path, &error).map(|()| Room::None),
        }
    }

    fn tell_removed(&mut self, paths: &[Vec<u8>]) -> Result<()> {
        self.target.has_made |= !paths.is_empty();
        paths.iter().try_for_each(|path| self.tell(u32::MAX, Deed::Removed, path, 0))
    }

    /// Gives the files that are whole their names, and says what had to go for that.
    pub(super) fn put_in_place(&mut self) -> Result<Vec<Fate>> {
        let Target { place, filter, listed, batch, .. } = &mut *self.target;
        let mut cleared = HashMap::new();
        let mut clear = |path: &[u8]| {
            let (Some(listed), Some(obstacle)) = (&mut *listed, place.obstacle(path, Kind::File)?) else {
                return Ok(());
            };
            let Cleared { gone, result } = listed.clear((&mut *place, filter), path, obstacle);
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

    /// Removes what the source does not have, if that is asked for, and is safe.
    pub(super) fn mirror(&mut self) -> Result<()> {
        let mirrored = self.remove_unlisted();
        self.target.place.restore_modes();
        mirrored
    }

    fn remove_unlisted(&mut self) -> Result<()> {
        let Some(listed) = self.target.listed.take() else { return Ok(()) };
        let keeping = self.target.place.keeping;
        if self.target.has_failed {
            let text =
                "nothing is removed as long as something fails: what could not be read is missing in the listing too";
            return self.fail(u32::MAX, &[], &Refusal::new(ErrorCode::Failed, text));
        }
        let Target { place, filter, .. } = &mut *self.target;
        let planned = listed.plan(place, filter);
        let Plan { remove, stays } = match planned {
            Ok(plan) => plan,
            Err(error) => {
                if place.is_stopped() {
                    return Err(LineLost::Closed { wanted: "the end of the tree" }.into());
                }
                let why = place.explained(&[], &error);
                return self.fail(u32::MAX, &[], &why);
            }
        };
        // What had to go for something of another kind counts too.
        let removed = remove.len() + listed.made_room();
        if !remove.is_empty() && removed > stays && !keeping.force {
            let text = too_much(removed, removed + stays);
            return self.fail(u32::MAX, &[], &Refusal::new(ErrorCode::Failed, text));
        }
        for (path, is_dir) in remove {
            if self.target.place.is_stopped() {
                return Err(LineLost::Closed { wanted: "the end of the tree" }.into());
            }
            let removed: io::Result<()> =
                if keeping.dry_run { Ok(()) } else { self.target.place.remove(&path, is_dir) };
            match removed {
                Ok(()) => self.tell_removed(&[path])?,
                Err(error) => {
                    let why = self.target.place.explained(&path, &error);
                    self.fail(u32::MAX, &path, &why)?;
                }
            }
        }
        Ok(())
    }
}
