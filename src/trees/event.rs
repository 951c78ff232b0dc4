//! The events of a transfer, and their counts.

use super::body::Change;
use crate::error::{Refusal, Result};

/// An event of a transfer.
#[derive(Debug, Clone, Copy)]
pub enum TreeEvent<'e> {
    /// The destination is known: the directory `path`, or `name` in it.
    Placed {
        /// The directory, as the receiver shows it.
        path: &'e [u8],
        /// The new name of a single file; `None`: entries keep their names.
        name: Option<&'e [u8]>,
    },
    /// A file was listed; its size in bytes.
    Listed(u64),
    /// The listing is complete.
    ListedAll,
    /// A file is the same at the receiver already; its size in bytes.
    Unchanged(u64),
    /// A file begins to be sent, from `offset` on.
    Begins {
        /// Its path in the tree.
        path: &'e [u8],
        /// Its size in bytes.
        size: u64,
        /// Bytes that an earlier attempt has brought.
        offset: u64,
    },
    /// Bytes of files that were sent over the connection.
    Moved(u64),
    /// Bytes of a hole, which are not sent.
    Skims(u64),
    /// Bytes that the receiver took from the file's earlier version.
    Reuses(u64),
    /// Bytes that compression saved.
    Saves(u64),
    /// A file is committed: it has its name at the receiver.
    Done {
        /// Its path in the tree.
        path: &'e [u8],
        /// Its size in bytes.
        size: u64,
    },
    /// An entry failed: the sender cannot send it, or the receiver cannot write it.
    Failed {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e Refusal,
    },
    /// An entry does not come because the directory that it is in failed, which was reported.
    FailedWithDir {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e Refusal,
    },
    /// An entry is skipped, which is no failure.
    Skipped {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
        /// Whether the reason is that an earlier source has an entry of this path.
        has_met: bool,
    },
    /// The receiver changed something else, or in a dry run would change it.
    Did {
        /// The change.
        change: Change,
        /// The path in the tree that it is about.
        path: &'e [u8],
        /// A file's size in bytes.
        size: u64,
    },
    /// Parts of a file's beginning, which an earlier attempt brought, are sent again, for this reason.
    Mends {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
    },
    /// Work goes on that sends nothing: this number of bytes was compared; 0: directories were read.
    Works(u64),
    /// A file became longer while it was read: only its earlier length is copied.
    Grew {
        /// Its path in the tree.
        path: &'e [u8],
    },
    /// A file is sent from its beginning once more, for this reason.
    Again {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
    },
}

/// Called again and again by work that takes its time, with the bytes that were read since. An error ends the work.
pub type Beat<'b> = &'b mut dyn FnMut(u64) -> std::io::Result<()>;

/// The error that ends such work when the connection has ended.
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

/// Called with each event. An error that it returns ends the exchange, and leaves the connection in step.
pub type OnEvent<'w> = &'w mut dyn FnMut(TreeEvent<'_>) -> Result<()>;

/// The counts of a transfer's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that were committed, or in a dry run would be.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes of files that were sent over the connection.
    pub moved: u64,
    /// Bytes of files that the receiver took from earlier versions.
    pub reused: u64,
    /// Bytes that compression saved, of those that were sent.
    pub saved: u64,
    /// Files that were the same already.
    pub unchanged: u64,
    /// Entries that failed.
    pub failed: u64,
    /// Entries that were skipped, which is no failure.
    pub skipped: u64,
    /// Entries that a mirror removed, since the sender does not have them.
    pub removed: u64,
}

impl Tally {
    /// Counts an event. The sums saturate, since a peer may claim any size.
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
