//! How a transfer ended: the result of each file, the summary, and whether a signal ended it.

use serde::Serialize;

/// What became of one file.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FileResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<&'static str>,
    pub(super) from: String,
    pub(super) to: String,
    /// Size in bytes; 0 for a file that failed.
    pub(super) bytes: u64,
    /// Why it failed; `None`: it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Results that `--json` lists. A tree may have more files than one JSON object should: of this many each is listed, of
/// more only the failed ones.
const RESULTS_MAX: usize = 1_000;
/// Bytes of memory for the list. A server that makes every file fail must not fill it.
pub const RESULTS_LEN_MAX: usize = 16 * 1024 * 1024;

/// The files that the summary of `--json` lists.
#[derive(Debug, Default)]
pub(super) struct Results {
    list: Vec<FileResult>,
    /// Bytes that the list takes.
    len: usize,
    /// Failed files for which there was no room.
    pub(super) left_out: u64,
}

impl Results {
    /// Adds a file, if it has to be listed and there is room.
    pub(super) fn add(&mut self, file: FileResult) {
        if file.error.is_none() && self.list.len() >= RESULTS_MAX {
            return;
        }
        let error_len = file.error.as_ref().map_or(0, String::len);
        let len = file.from.len() + file.to.len() + error_len + size_of::<FileResult>();
        if self.len + len > RESULTS_LEN_MAX {
            self.left_out += 1;
        } else {
            self.len += len;
            self.list.push(file);
        }
    }

    /// Number of files in the list.
    pub(super) const fn count(&self) -> usize {
        self.list.len()
    }

    /// Removes the failures that were added after the first `count` files.
    pub(super) fn forget_failures_after(&mut self, count: usize) {
        let mut at = 0..;
        self.list.retain(|file| at.next() < Some(count) || file.error.is_none());
    }

    /// The list.
    pub(super) fn as_slice(&self) -> &[FileResult] {
        &self.list
    }
}

/// The last object of `--json` and `--json-stream`.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<&'s str>,
    pub(super) files: u64,
    pub(super) unchanged: u64,
    pub(super) skipped: u64,
    /// Of the skipped files, those that an earlier source has too.
    pub(super) met: u64,
    pub(super) removed: u64,
    pub(super) failed: u64,
    /// Size of the files that arrived.
    pub(super) bytes: u64,
    /// Bytes of files that went over the connection.
    pub(super) moved: u64,
    /// Bytes of files that were taken from what was there.
    pub(super) reused: u64,
    /// Bytes that compression kept off the connection.
    pub(super) saved: u64,
    pub(super) ms: f64,
    pub(super) exit_code: u8,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) results: &'s [FileResult],
    /// Each --include that selected nothing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) unmatched: &'s [String],
    /// Failed files that are not in `results`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) results_left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What to do after an interruption.
pub const GO_ON: &str = "to go on where it was, run the same command again";

/// How a transfer ended whose output could be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEnd {
    /// It is complete, or its failure was reported.
    Reported,
    /// A signal came.
    Interrupted,
}

impl TransferEnd {
    /// Whether a signal came, so that no other transfer may begin.
    pub const fn is_interrupted(self) -> bool {
        matches!(self, Self::Interrupted)
    }
}
