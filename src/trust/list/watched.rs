//! A server's view of the list: read again whenever the file has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Entry, List, ListError, load_text};
use crate::trust::home::Home;

/// A server's list: the file, read again whenever it has changed.
#[derive(Debug)]
pub struct Watched<E> {
    home: Home,
    read: Mutex<Option<Reading<E>>>,
}

/// The list, or the error if it cannot be read.
pub type ListState<E> = Result<Arc<List<E>>, Arc<ListError>>;
/// Device and inode, size, and time of the last change: (dev, ino, size, seconds, nanoseconds).
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// One reading of the file.
#[derive(Debug)]
struct Reading<E> {
    stamp: Stamp,
    state: ListState<E>,
    /// The valid sections of a malformed list.
    rest: Arc<List<E>>,
    version: u64,
}

/// The list for connections that are already open.
#[derive(Debug)]
pub struct ListForOpen<E> {
    /// The entries whose connections may stay open.
    pub list: Arc<List<E>>,
    /// The list's version; it changes with the list.
    pub version: u64,
    /// Whether the file exists and is valid as a whole.
    pub is_whole: bool,
}

impl<E: Entry> Watched<E> {
    /// The list in `home`.
    pub const fn of(home: Home) -> Self {
        Self { home, read: Mutex::new(None) }
    }

    /// The home it is kept in.
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// The present list, and its version, which changes with the list.
    pub fn now(&self) -> (ListState<E>, u64) {
        self.with(|reading| (reading.state.clone(), reading.version))
    }

    /// The list for connections that are already open. If the list is malformed, the entries with a valid section may
    /// stay: the connections of a removed entry end, and the others are not affected by an error elsewhere.
    pub fn inside(&self) -> ListForOpen<E> {
        self.with(|reading| ListForOpen {
            list: reading.state.as_ref().map_or_else(|_| Arc::clone(&reading.rest), Arc::clone),
            version: reading.version,
            is_whole: reading.state.is_ok() && reading.stamp.is_some(),
        })
    }

    fn with<T>(&self, get: impl FnOnce(&Reading<E>) -> T) -> T {
        let stamp = fs::symlink_metadata(self.home.join(E::FILE)).ok();
        let stamp = stamp.map(|file| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec()));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let version = match &*read {
            Some(reading) if reading.stamp == stamp => return get(reading),
            Some(reading) => reading.version + 1,
            None => 0,
        };
        let text = load_text::<E>(&self.home);
        let rest = match &text {
            Ok(Some(text)) => Arc::new(List::rest_of(text)),
            Ok(None) | Err(_) => Arc::default(),
        };
        let state = text.and_then(|text| List::of_text(&self.home, text)).map(Arc::new).map_err(Arc::new);
        match &state {
            Ok(list) => tracing::debug!(entries = list.0.len(), "{} read", E::WORDS.all),
            Err(error) => tracing::error!(
                error = with_cause(error),
                "the {} cannot be read; {}",
                E::WORDS.all,
                E::WORDS.unreadable
            ),
        }
        get(read.insert(Reading { stamp, state, rest, version }))
    }
}

/// The error with its source, the operating system's error.
fn with_cause(error: &ListError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
