//! The audit log: who did what to which path or command, and how it ended. One JSON object per line, in a file that
//! only the server's user may read. It never contains stdin, nor the values of environment variables.
//!
//! When the file is full, it is renamed to `FILE.1`, the former `FILE.1` to `FILE.2`, and so on: [`GENERATIONS_MAX`] of
//! them are kept. Refusals of guests are not recorded. Refusals of peers and requests of guests are recorded up to a
//! number in each interval, and the rest is counted. So a peer cannot push records out of the log by flooding it with
//! refusals, nor a guest the records of peers.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::printable::{AUDITED_LEN_MAX, LOGGED_LEN_MAX, cut, json_line};
use crate::trust::Peer;
use crate::trust::home::{HomeError, check_private_file};
use crate::trust::identity::Fingerprint;

/// Longest file of the log, in bytes: about a quarter of a million requests.
pub const AUDIT_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Number of full files that are kept besides the current one.
pub const GENERATIONS_MAX: u32 = 8;

/// An open audit log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    len_max: u64,
    open: Mutex<AuditFile>,
}

#[derive(Debug)]
struct AuditFile {
    file: File,
    /// When an error of the audit log was last reported in the server's log; `None`: never.
    complained: Option<Instant>,
}

/// A guest's `kind`.
const GUEST: &str = "guest";
/// A token's `kind`.
const TOKEN: &str = "token";
const SESSION: &str = "session";
/// Shortest time between two such reports.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

/// One record of the audit log.
#[derive(Debug, Default, Serialize)]
pub struct AuditRecord<'r> {
    /// `began` (a command is about to run), `ended` (a request, whatever it was), or `summed` (a count of refusals, or
    /// of requests of guests).
    pub event: &'r str,
    /// The connection's number in the server's log.
    pub connection: u64,
    /// `own`, `known`, `token`, `session` or `guest`.
    pub kind: &'r str,
    /// The name of a known peer or of a token; `None` for others.
    pub name: Option<&'r str>,
    /// The key that the peer proved; `None`: it has none.
    pub fingerprint: Option<String>,
    /// The peer's address.
    pub address: &'r str,
    /// The request: a verb of the protocol.
    pub verb: &'r str,
    /// The working directory, below the root.
    pub cwd: &'r str,
    /// The path, the command or the room, as it was sent; shortened, with its length, if it is very long.
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

impl<'r> AuditRecord<'r> {
    /// The count of a known peer's refusals that have no record of their own.
    pub fn summed(name: &'r str, key: &Fingerprint, outcome: &'r str) -> Self {
        let fingerprint = Some(key.to_string());
        Self { event: "summed", kind: "known", name: Some(name), fingerprint, outcome, ..Self::default() }
    }

    /// The count of a token's refusals that have no record of their own.
    pub fn summed_of_token(name: &'r str, outcome: &'r str) -> Self {
        Self { event: "summed", kind: TOKEN, name: Some(name), outcome, ..Self::default() }
    }

    /// The count of requests of guests from `address` that have no record of their own.
    pub fn summed_of_guests(address: &'r str, outcome: &'r str) -> Self {
        Self { event: "summed", kind: GUEST, address, outcome, ..Self::default() }
    }

    /// Shortens texts to the longest that the audit log keeps; a guest's texts as in the server's log.
    fn cut(&self) -> Shortened<'_> {
        let limit = if self.kind == GUEST { LOGGED_LEN_MAX } else { AUDITED_LEN_MAX };
        let [address, cwd, about, outcome] =
            [self.address, self.cwd, self.about, self.outcome].map(|text| cut(text, limit));
        Shortened { address, cwd, about, outcome }
    }
}

struct Shortened<'r> {
    address: std::borrow::Cow<'r, str>,
    cwd: std::borrow::Cow<'r, str>,
    about: std::borrow::Cow<'r, str>,
    outcome: std::borrow::Cow<'r, str>,
}

#[derive(Serialize)]
struct Stamped<'r> {
    time: String,
    #[serde(flatten)]
    record: AuditRecord<'r>,
}

impl Audit {
    /// Opens the log at `path` for appending; makes it (0600) if there is none.
    ///
    /// # Errors
    /// Other users may read it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        Self::open_with(path, AUDIT_LEN_MAX)
    }

    fn open_with(path: &Path, len_max: u64) -> Result<Self, HomeError> {
        let failed = |source| HomeError::Io { path: path.to_owned(), source };
        // Absolute, because the path is opened again when the log is rotated.
        let path = std::path::absolute(path).map_err(failed)?;
        let file = open_file(&path).map_err(failed)?;
        check_private_file(&path, &file.metadata().map_err(failed)?, 0o600)?;
        Ok(Self { path, len_max, open: Mutex::new(AuditFile { file, complained: None }) })
    }

    /// Appends one record. An error (a full disk, say) is reported in the server's log; requests are still served.
    pub fn record(&self, record: &AuditRecord<'_>) {
        let Shortened { address, cwd, about, outcome } = &record.cut();
        let fingerprint = record.fingerprint.clone();
        let record = AuditRecord { fingerprint, address, cwd, about, outcome, ..*record };
        let line = json_line(&Stamped { time: now(), record });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let AuditFile { file, complained } = &mut *open;
        let mut complain = |error: &io::Error, what: &str| {
            if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                *complained = Some(Instant::now());
                tracing::error!(%error, path = %self.path.display(), "{what}");
            }
        };
        let written = line.and_then(|line| {
            if file.metadata()?.len().saturating_add(line.len() as u64) > self.len_max {
                // A log that cannot be rotated keeps growing: nothing is lost.
                match self.turn_over() {
                    Ok(new) => *file = new,
                    Err(error) => complain(&error, "the audit log is full and could not be turned over: it grows on"),
                }
            }
            // One write per line, to a file opened for appending: lines of two servers do not mix.
            file.write_all(&line)
        });
        if let Err(error) = written {
            complain(&error, "the audit log could not be written");
        }
    }

    /// Rotates the log: renames each full file, removes the oldest, and begins a new one.
    fn turn_over(&self) -> io::Result<File> {
        // Of two servers that write to it, only one rotates it.
        let locked = open_file(&self.path)?;
        locked.lock()?;
        let is_present = fs::metadata(&self.path)?.ino() == locked.metadata()?.ino();
        if is_present && locked.metadata()?.len() >= self.len_max / 2 {
            for generation in (1..GENERATIONS_MAX).rev() {
                match fs::rename(self.generation(generation), self.generation(generation + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            fs::rename(&self.path, self.generation(1))?;
        }
        open_file(&self.path)
    }

    fn generation(&self, number: u32) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(format!(".{number}"));
        path.into()
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The present time, in UTC (RFC 3339).
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A peer as the audit log names it: its kind, its name, its key.
pub fn parts_of(peer: &Peer) -> (&'static str, Option<&str>, Option<String>) {
    match peer {
        Peer::Own => ("own", None, None),
        Peer::Token { name, is_session: false, .. } => (TOKEN, Some(name), None),
        Peer::Token { name, is_session: true, .. } => (SESSION, Some(name), None),
        Peer::Known { name, fingerprint } => ("known", Some(name), Some(fingerprint.to_string())),
        Peer::Guest { fingerprint, .. } => (GUEST, None, fingerprint.as_ref().map(ToString::to_string)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::printable::KINDS;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_full_log_is_turned_over_and_eight_full_ones_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let audit = Audit::open_with(&path, 2_000).unwrap();
        // Another server that writes to the same log notices.
        let other = Audit::open_with(&path, 2_000).unwrap();
        let mut connection = 0;
        while lines(&audit.generation(GENERATIONS_MAX)).first().is_none_or(|first| first["connection"] == 0) {
            for log in [&audit, &other] {
                log.record(&AuditRecord { event: "ended", connection, ..AuditRecord::default() });
                connection += 1;
            }
        }
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, usize::try_from(GENERATIONS_MAX).unwrap() + 1);
        // The kept records have no gap, and no other user may read them.
        let mut kept = Vec::new();
        for generation in (1..=GENERATIONS_MAX).rev().map(|n| audit.generation(n)).chain([path.clone()]) {
            let metadata = fs::metadata(&generation).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
            assert!(metadata.len() < 2_500, "{}", metadata.len());
            kept.extend(lines(&generation).iter().map(|record| record["connection"].as_u64().unwrap()));
        }
        kept.sort_unstable();
        assert_eq!(kept, (kept[0]..connection).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_that_cannot_be_turned_over_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let audit = Audit::open_with(&path, 500).unwrap();
        // A rename cannot replace a directory that is not empty.
        fs::create_dir_all(audit.generation(GENERATIONS_MAX).join("x")).unwrap();
        fs::create_dir_all(audit.generation(GENERATIONS_MAX - 1).join("x")).unwrap();
        (0..10).for_each(|connection| audit.record(&AuditRecord { connection, ..AuditRecord::default() }));
        assert_eq!(lines(&path).len(), 10);
    }

    #[test]
    fn no_kind_of_character_acts_through_any_field_and_none_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let audit = Audit::open(&path).unwrap();
        for kind in KINDS.iter().chain(&['\n']) {
            let text = &*format!("a{kind}b");
            let [address, cwd, about, outcome, verb, event] = [text; 6];
            audit.record(&AuditRecord {
                address,
                cwd,
                about,
                outcome,
                verb,
                event,
                name: Some(text),
                ..AuditRecord::default()
            });
            let written = fs::read_to_string(&path).unwrap();
            let line = written.lines().last().unwrap();
            assert!(!line.contains(*kind), "{line:?}");
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            for field in ["address", "cwd", "about", "outcome", "verb", "event", "name"] {
                assert_eq!(record[field], text);
            }
        }
        let long = "x".repeat(60_000);
        let before = fs::metadata(&path).unwrap().len();
        audit.record(&AuditRecord { about: &long, outcome: &long, cwd: &long, ..AuditRecord::default() });
        let added = fs::metadata(&path).unwrap().len() - before;
        assert!(added < 3 * AUDITED_LEN_MAX as u64 + 1_000, "{added}");
        assert!(lines(&path).last().unwrap()["about"].as_str().unwrap().ends_with("... (60000 bytes in all)"));
        audit.record(&AuditRecord { kind: GUEST, about: &long, outcome: &long, cwd: &long, ..AuditRecord::default() });
        let added = fs::metadata(&path).unwrap().len() - before - added;
        assert!(added < 3 * LOGGED_LEN_MAX as u64 + 1_000, "{added}");
    }
}
