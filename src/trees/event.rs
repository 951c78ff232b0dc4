//! What happens while a tree moves, and how it went in numbers.

use super::body::Change;
use crate::error::{Refusal, Result};

/// What happens while a tree moves, for whoever watches.
#[derive(Debug, Clone, Copy)]
pub enum TreeEvent<'e> {
    /// Where it goes: into the directory `path`, or as `name` in there.
    Placed {
        /// The directory, as the target knows it.
        path: &'e [u8],
        /// The new name of a single file.
        name: Option<&'e [u8]>,
    },
    /// A file was listed, of so many bytes.
    Listed(u64),
    /// Nothing more will be listed.
    ListedAll,
    /// A file, of so many bytes, is the same there already.
    Unchanged(u64),
    /// A file begins to move, from `offset` on.
    Begins {
        /// Its path in the tree.
        path: &'e [u8],
        /// Bytes in all.
        size: u64,
        /// Bytes that an earlier attempt has brought.
        offset: u64,
    },
    /// So many bytes of files have moved.
    Moved(u64),
    /// So many bytes of a file are zeros that need not move.
    Skims(u64),
    /// So many bytes of a file were there already, in its last version.
    Reuses(u64),
    /// Compression made what moved shorter by so many bytes.
    Saves(u64),
    /// A file is where it belongs, for good.
    Done {
        /// Its path in the tree.
        path: &'e [u8],
        /// Bytes in all.
        size: u64,
    },
    /// An entry does not come, or could not be taken.
    Failed {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e Refusal,
    },
    /// An entry does not come because the directory that it lies in failed, which was told.
    FailedWithDir {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e Refusal,
    },
    /// Something does not come, and that is no failure.
    Skipped {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
        /// The reason is that an earlier source has something of this path.
        has_met: bool,
    },
    /// The target did something else, or in a dry run would do it.
    Did {
        /// What.
        change: Change,
        /// To which path in the tree.
        path: &'e [u8],
        /// A file's size in bytes.
        size: u64,
    },
    /// Something of a file's beginning, which an earlier attempt brought, comes again, for this reason.
    Mends {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
    },
    /// Something goes on that moves nothing: so many bytes were compared, or (0) directories were looked at.
    Works(u64),
    /// A file became longer while it was read: what is copied is what it was before.
    Grew {
        /// Its path in the tree.
        path: &'e [u8],
    },
    /// A file begins once more, for this reason.
    Again {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
    },
}

/// Called again and again by work that takes its time, with the bytes that were read since. An error ends the work.
pub type Beat<'b> = &'b mut dyn FnMut(u64) -> std::io::Result<()>;

/// The error that ends such work when nobody waits for it any more.
pub fn stopped() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "the connection has ended meanwhile")
}

/// What a transfer needs of the connection under it beside its two streams.
pub trait StopHandle: std::fmt::Debug + Send + Sync {
    /// Whether both directions have ended: work that neither reads nor writes is then of no use.
    fn is_stopped(&self) -> bool;

    /// Ends both directions: blocked reads and writes return.
    fn stop(&self);
}

/// Whoever watches. An error of theirs ends the exchange, and leaves the connection in step.
pub type OnEvent<'w> = &'w mut dyn FnMut(TreeEvent<'_>) -> Result<()>;

/// How an exchange went, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that are where they belong now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of files that moved over the connection.
    pub moved: u64,
    /// Bytes of files that were taken from what was there.
    pub reused: u64,
    /// Bytes of those that moved which compression kept off the connection.
    pub saved: u64,
    /// Files that were the same already.
    pub unchanged: u64,
    /// Entries that failed.
    pub failed: u64,
    /// Things that did not come, and that was no failure.
    pub skipped: u64,
    /// Things that the source does not have, and that were removed.
    pub removed: u64,
}

impl Tally {
    /// Counts an event; what a peer says of sizes may be anything.
    pub const fn count(&mut self, event: &TreeEvent<'_>) {
        match event {
            TreeEvent::Done { size, .. } | TreeEvent::Did { change: Change::Copied, size, .. } => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(*size);
            }
            TreeEvent::Moved(bytes) => self.moved = self.moved.saturating_add(*bytes),
            TreeEvent::Saves(bytes) => self.saved = self.saved.saturating_add(*bytes),
            TreeEvent::Reuses(bytes) => self.reused = self.reused.saturating_add(*bytes),
            TreeEvent::Unchanged(_) => self.unchanged += 1,
            TreeEvent::Failed { .. } | TreeEvent::FailedWithDir { .. } => self.failed += 1,
            TreeEvent::Skipped { .. } => self.skipped += 1,
            TreeEvent::Did { change: Change::Removed, .. } => self.removed += 1,
            _ => {}
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, bytes, unchanged, failed, .. } = self;
        write!(f, "{files} files, {bytes} bytes, {unchanged} unchanged, {failed} failed")
    }
}
