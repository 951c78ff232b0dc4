//! Sources that meet: of several that have something of the same name the first wins, in every form and every time.
//!
//! Directories come together, with the first one's mode and time; of everything else what comes later is passed over.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Mutex, PoisonError};

use super::TreeEntry;
use crate::memory::{Budget, ENTRY_COST, Over};
use crate::wire::message::EntryKind;

/// Why an entry of a later source is skipped.
pub const FIRST_WINS: &str = "an earlier source has it too, and the first wins";
/// Most paths kept of sources that a later one may meet, of all machines together: about 60 bytes each.
pub const MET_MAX: usize = 1_000_000;

/// What an earlier source has under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// A directory: its mode, and its time in nanoseconds since 1970.
    Dir(u32, i64),
    /// Anything else.
    Other,
}

/// There is no room for more paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyPaths {
    /// There are too many.
    #[error("over {MET_MAX} paths of sources that may meet")]
    Paths,
    /// The request holds too much.
    #[error("the paths of sources that may meet: {0}")]
    Memory(#[from] Over),
}

/// The paths of earlier sources, by half of their digest.
#[derive(Debug, Default)]
pub struct FirstSource {
    seen: HashMap<[u8; 16], Earlier>,
    /// The budget that the paths count for.
    budget: Budget,
}

impl FirstSource {
    /// What an earlier source has under this path; `None`: nothing.
    pub fn earlier(&self, path: &[u8]) -> Option<Earlier> {
        if self.seen.is_empty() { None } else { self.seen.get(&key(path)).copied() }
    }

    /// The same, counted for this budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Notes an entry that is sent.
    ///
    /// # Errors
    /// There is no room for more.
    pub fn note(&mut self, entry: &TreeEntry) -> Result<(), TooManyPaths> {
        self.note_beside(0, entry, MET_MAX)
    }

    /// The same where `others` paths are kept elsewhere, and `max` are allowed in all.
    fn note_beside(&mut self, others: usize, entry: &TreeEntry, max: usize) -> Result<(), TooManyPaths> {
        let is_full = others + self.seen.len() >= max;
        let Slot::Vacant(slot) = self.seen.entry(key(&entry.path)) else { return Ok(()) };
        if is_full {
            return Err(TooManyPaths::Paths);
        }
        self.budget.take(ENTRY_COST)?;
        let is_dir = entry.kind == EntryKind::Dir && entry.error.is_none() && entry.skipped.is_none();
        slot.insert(if is_dir { Earlier::Dir(entry.mode, entry.mtime_ns) } else { Earlier::Other });
        Ok(())
    }
}

/// The paths of downloads from one machine after the other to one destination, where they may meet too.
#[derive(Debug, Default)]
pub struct MeetGroups(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    earlier: FirstSource,
    now: FirstSource,
}

impl MeetGroups {
    /// Makes the machine that was read last an earlier source for the next one.
    pub fn next(&self) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What counts for them stays counted: the two share the budget.
        let now = std::mem::take(&mut both.now.seen);
        if both.earlier.seen.is_empty() {
            both.earlier.seen = now;
        } else {
            for (key, earlier) in now {
                both.earlier.seen.entry(key).or_insert(earlier);
            }
        }
    }

    /// What an earlier machine had under `entry`'s path, or a file in place of a directory above it; if nothing, it
    /// is noted.
    ///
    /// # Errors
    /// There is no room for more.
    pub(super) fn meet(&self, entry: &TreeEntry) -> Result<Option<Earlier>, TooManyPaths> {
        self.meet_within(entry, MET_MAX)
    }

    fn meet_within(&self, entry: &TreeEntry, max: usize) -> Result<Option<Earlier>, TooManyPaths> {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slashes = entry.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.filter_map(|(at, _)| entry.path.get(..at));
        if above.any(|dir| both.earlier.earlier(dir) == Some(Earlier::Other)) {
            return Ok(Some(Earlier::Other));
        }
        if let Some(earlier) = both.earlier.earlier(&entry.path) {
            return Ok(Some(earlier));
        }
        let others = both.earlier.seen.len();
        both.now.note_beside(others, entry, max).map(|()| None)
    }
}

fn key(path: &[u8]) -> [u8; 16] {
    blake3::hash(path).as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> TreeEntry {
        TreeEntry::plain(path, EntryKind::File)
    }

    #[test]
    fn the_paths_of_all_machines_count_together() {
        let groups = MeetGroups::default();
        let mut fits = 0;
        for machine in 0..10 {
            for file in 0..3 {
                let met = groups.meet_within(&entry(&format!("{machine}/{file}")), 10);
                fits += usize::from(met == Ok(None));
                assert_eq!(met.is_err(), machine * 3 + file >= 10, "{machine} {file}");
            }
            groups.next();
        }
        assert_eq!(fits, 10);
        assert_eq!(groups.meet_within(&entry("0/0"), 10), Ok(Some(Earlier::Other)), "what was there is known still");
    }

    #[test]
    fn what_is_kept_of_earlier_sources_counts_for_the_request() {
        let pool = crate::memory::Pools::<u8>::default().of(1);
        let mut first = FirstSource::default().within(pool.budget());
        for file in 0..100 {
            first.note(&entry(&file.to_string())).unwrap();
            first.note(&entry(&file.to_string())).unwrap();
        }
        assert_eq!(pool.held(), 100 * ENTRY_COST);
        drop(first);
        assert_eq!(pool.held(), 0);
    }
}
