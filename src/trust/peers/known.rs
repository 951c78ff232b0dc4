//! A server's view of the list: read again whenever the file has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::{FILE, Peers, PeersError, load_text};
use crate::trust::home::Home;

/// A server's list of known peers: the file, read again whenever it has changed.
#[derive(Debug)]
pub struct KnownPeers {
    home: Home,
    read: Mutex<Option<Reading>>,
}

/// The list, or the error if it cannot be read.
pub type PeersState = Result<Arc<Peers>, Arc<PeersError>>;
/// Device and inode, size, and time of the last change: (dev, ino, size, seconds, nanoseconds).
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// One reading of the file.
#[derive(Debug)]
struct Reading {
    stamp: Stamp,
    state: PeersState,
    /// The valid sections of a malformed list.
    rest: Arc<Peers>,
    number: u64,
}

/// The list for connections that are already open.
#[derive(Debug)]
pub struct PeersForOpen {
    /// The peers whose connections may stay open.
    pub peers: Arc<Peers>,
    /// The list's version number; it changes with the list.
    pub number: u64,
    /// Whether the file exists and is valid as a whole.
    pub is_whole: bool,
}

impl KnownPeers {
    /// The peers in `home`.
    pub const fn of(home: Home) -> Self {
        Self { home, read: Mutex::new(None) }
    }

    /// The home they are kept in.
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// The present list, and its version number, which changes with the list.
    pub fn now(&self) -> (PeersState, u64) {
        self.with(|reading| (reading.state.clone(), reading.number))
    }

    /// The list for connections that are already open. If the list is malformed, the peers with a valid section may
    /// stay: a removed peer is disconnected, and the others are not affected by an error elsewhere.
    pub fn inside(&self) -> PeersForOpen {
        self.with(|reading| PeersForOpen {
            peers: reading.state.as_ref().map_or_else(|_| Arc::clone(&reading.rest), Arc::clone),
            number: reading.number,
            is_whole: reading.state.is_ok() && reading.stamp.is_some(),
        })
    }

    fn with<T>(&self, get: impl FnOnce(&Reading) -> T) -> T {
        let stamp = fs::symlink_metadata(self.home.join(FILE)).ok();
        let stamp = stamp.map(|file| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec()));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match &*read {
            Some(reading) if reading.stamp == stamp => return get(reading),
            Some(reading) => reading.number + 1,
            None => 0,
        };
        let text = load_text(&self.home);
        let rest = match &text {
            Ok(Some(text)) => Arc::new(Peers::rest_of(text)),
            Ok(None) | Err(_) => Arc::default(),
        };
        let state = text.and_then(|text| Peers::of_text(&self.home, text)).map(Arc::new).map_err(Arc::new);
        match &state {
            Ok(peers) => tracing::debug!(peers = peers.0.len(), "known peers read"),
            Err(error) => tracing::error!(
                error = with_cause(error),
                "the known peers cannot be read; only the own identity is let in"
            ),
        }
        get(read.insert(Reading { stamp, state, rest, number }))
    }
}

/// The error with its source, the operating system's error.
fn with_cause(error: &PeersError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
