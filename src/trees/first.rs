//! Sources that meet: of several that have something of the same name the first wins, in every form and every time.
//!
//! Directories come together, with the first one's mode and time; of everything else what comes later is passed over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Entry;
use crate::wire::message::Kind;

/// Why something of a later source does not come.
pub const FIRST_WINS: &str = "an earlier source has it too, and the first wins";
/// Paths that are kept of sources that may meet a later one: about 60 bytes each.
pub const MET_MAX: usize = 1_000_000;

/// What was there first under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// A directory, with its mode and time.
    Dir(u32, i64),
    /// Anything else.
    Other,
}

/// The paths of earlier sources, by half of their digest.
#[derive(Debug, Default)]
pub struct First {
    seen: HashMap<[u8; 16], Earlier>,
}

impl First {
    /// What was there first under this path, if anything was.
    pub fn earlier(&self, path: &[u8]) -> Option<Earlier> {
        if self.seen.is_empty() { None } else { self.seen.get(&key(path)).copied() }
    }

    /// Notes what comes; `false`: there is no room for more.
    #[must_use]
    pub fn note(&mut self, entry: &Entry) -> bool {
        if self.seen.len() >= MET_MAX {
            return false;
        }
        let is_dir = entry.kind == Kind::Dir && entry.error.is_none() && entry.skipped.is_none();
        let earlier = if is_dir { Earlier::Dir(entry.mode, entry.mtime_ns) } else { Earlier::Other };
        self.seen.entry(key(&entry.path)).or_insert(earlier);
        true
    }
}

/// Downloads from one machine after the other into one place, which may meet there too.
#[derive(Debug, Default)]
pub struct Groups(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    earlier: First,
    now: First,
}

impl Groups {
    /// The machine from which all has come is an earlier source for the next.
    pub fn next(&self) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::mem::take(&mut both.now);
        if both.earlier.seen.is_empty() {
            both.earlier = now;
        } else {
            for (key, earlier) in now.seen {
                both.earlier.seen.entry(key).or_insert(earlier);
            }
        }
    }

    /// What an earlier machine had under `entry`'s path, or a file in place of a directory above it; if nothing, it is
    /// noted. `Err`: there is no room for more.
    pub(super) fn meet(&self, entry: &Entry) -> Result<Option<Earlier>, ()> {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slashes = entry.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.filter_map(|(at, _)| entry.path.get(..at));
        if above.any(|dir| both.earlier.earlier(dir) == Some(Earlier::Other)) {
            return Ok(Some(Earlier::Other));
        }
        if let Some(earlier) = both.earlier.earlier(&entry.path) {
            return Ok(Some(earlier));
        }
        if both.now.note(entry) { Ok(None) } else { Err(()) }
    }
}

fn key(path: &[u8]) -> [u8; 16] {
    blake3::hash(path).as_bytes().first_chunk().copied().unwrap_or_default()
}
