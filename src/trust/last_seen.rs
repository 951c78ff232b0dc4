//! When each known peer and each token was last seen, and from where: a file of its own, so that traffic never rewrites
//! the lists, which people edit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Owner;
use super::home::{Home, HomeError};
use super::time::Moment;

/// The file in the home.
const FILE: &str = "seen.json";
/// Shortest time between two writes of a peer's entry.
const WRITE_INTERVAL: Duration = Duration::from_mins(1);

/// When a peer was last seen, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was last seen (RFC 3339).
    pub at: String,
    /// Its address.
    pub from: String,
}

/// All that were seen, by the text of an [`Owner`]: a peer by its fingerprint.
pub type AllSeen = BTreeMap<String, Seen>;

/// Loads the records. A malformed file counts as none: nothing depends on it.
///
/// # Errors
/// The home cannot be read.
pub fn load(home: &Home) -> Result<AllSeen, HomeError> {
    Ok(home.read(FILE)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Forgets when these were seen: they are taken here no more.
///
/// # Errors
/// The disk refused.
pub fn forget(home: &Home, gone: &[Owner]) -> Result<(), HomeError> {
    if gone.is_empty() {
        return Ok(());
    }
    let _lock = home.lock()?;
    let mut all = load(home)?;
    let before = all.len();
    for owner in gone {
        all.remove(&owner.to_string());
    }
    if all.len() == before {
        return Ok(());
    }
    home.replace(FILE, &serde_json::to_vec_pretty(&all).unwrap_or_default())
}

/// Records when peers connect to one server.
#[derive(Debug, Default)]
pub struct LastSeen {
    written: Mutex<HashMap<Owner, Instant>>,
}

impl LastSeen {
    /// Records that a known peer is connected now, or that a token is used.
    ///
    /// # Errors
    /// The disk refused.
    pub fn note(&self, home: &Home, who: Owner, address: &str) -> Result<(), HomeError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(&who).is_some_and(|at| at.elapsed() < WRITE_INTERVAL) {
            return Ok(());
        }
        written.insert(who, Instant::now());
        drop(written);
        let _lock = home.lock()?;
        let mut all = load(home)?;
        all.insert(who.to_string(), Seen { at: Moment::now().to_string(), from: address.to_owned() });
        home.replace(FILE, &serde_json::to_vec_pretty(&all).unwrap_or_default())
    }
}
