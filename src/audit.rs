//! The audit log: who did what to which path or command, and how it ended. One JSON object a line, in
//! a file that only the server's user may read. It never holds what went through stdin, nor the values
//! of environment variables.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::trust::Peer;
use crate::trust::home::{HomeError, check_private_file};

/// An open audit log.
#[derive(Debug)]
pub struct Audit {
    file: Mutex<File>,
}

/// One line of it.
#[derive(Debug, Serialize)]
pub struct Record<'r> {
    /// `began` (a command is about to run), `ended` (a request, whatever it was), or `refused` (a line
    /// that was let in no further).
    pub event: &'r str,
    /// The line's number in the server's log.
    pub line: u64,
    /// `own`, `known` or `guest`.
    pub kind: &'r str,
    /// A known peer's name.
    pub name: Option<&'r str>,
    /// The key that the other end proved.
    pub fingerprint: Option<String>,
    /// Where it came from.
    pub address: &'r str,
    /// What it asked for: a verb of the protocol.
    pub verb: &'r str,
    /// The directory under the root from which that is meant.
    pub cwd: &'r str,
    /// The path, the command or the room, as it was sent.
    pub about: &'r str,
    /// How it ended.
    pub outcome: &'r str,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// Bytes received for it.
    pub received: u64,
    /// Bytes sent for it.
    pub sent: u64,
}

#[derive(Serialize)]
struct Stamped<'r> {
    time: String,
    #[serde(flatten)]
    record: &'r Record<'r>,
}

impl Audit {
    /// Opens the log at `path` for appending; makes it (0600) if there is none.
    ///
    /// # Errors
    /// Others may read it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        let failed = |source| HomeError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
        check_private_file(path, &file.metadata().map_err(failed)?, 0o600)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends one line. A disk that is full is said in the server's log; requests go on.
    pub fn record(&self, record: &Record<'_>) {
        let stamped = Stamped { time: now(), record };
        let written = serde_json::to_vec(&stamped).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            // One write a line, to a file opened for appending: lines of two servers do not mix.
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!(%error, verb = record.verb, "the audit log could not be written");
        }
    }
}

/// This moment, in UTC (RFC 3339).
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A peer in the audit log's words: its kind, its name, its key.
pub fn parts_of(peer: &Peer) -> (&'static str, Option<&str>, Option<String>) {
    match peer {
        Peer::Own => ("own", None, None),
        Peer::Known { name, fingerprint } => ("known", Some(name), Some(fingerprint.to_string())),
        Peer::Guest { fingerprint, .. } => ("guest", None, fingerprint.as_ref().map(ToString::to_string)),
    }
}
