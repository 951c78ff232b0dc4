//! The record of one detached command, in a file of its own, kept as long as its output.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::trust::home::{Home, HomeError};
use crate::wire::message::Outcome;

/// The file's name, below the command's directory.
const FILE: &str = "job.json";
/// The lock file, which the server that runs the command holds.
const LOCK: &str = "running";

/// The state of a detached command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It runs.
    Running,
    /// It exited with a code.
    Exited,
    /// A signal ended it.
    Killed,
    /// Its timeout was over.
    TimedOut,
    /// Its server ended before it did.
    Lost,
}

/// A job's record. On the wire and with `--list-jobs --json` it is one line of JSON, without the fields that only the
/// server needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub job: String,
    /// Its state.
    pub state: JobState,
    /// Its exit code; `None`: it did not exit with a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it; `None`: none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The command, as it was sent.
    pub command: String,
    /// Its working directory, relative to the server's root.
    pub cwd: String,
    /// When it began (RFC 3339).
    pub began: String,
    /// When it ended (RFC 3339); `None`: it still runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Its owner; not on the wire, since only the owner can ask for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// The marker by which its processes can be found; not on the wire.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub marker: String,
}

impl JobRecord {
    /// Reads the record in `home`; `None`: there is none, or it cannot be read.
    pub fn load(home: &Home) -> Option<Self> {
        // Anything but a file (a pipe, say) might block the read.
        let is_file = fs::symlink_metadata(home.join(FILE)).is_ok_and(|metadata| metadata.is_file());
        serde_json::from_slice(&is_file.then(|| home.read(FILE).ok()).flatten()??).ok()
    }

    /// Writes the record, replacing the file as a whole.
    ///
    /// # Errors
    /// The disk refused.
    pub fn save(&self, home: &Home) -> Result<(), HomeError> {
        // JSON of strings and numbers cannot fail.
        home.replace(FILE, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// Records how it ended.
    pub fn end(&mut self, outcome: &Outcome<'_>, now: String) {
        self.ended = Some(now);
        self.state = match outcome {
            Outcome::Exited(code) => {
                self.exit_code = Some(*code);
                JobState::Exited
            }
            Outcome::Killed(signal) => {
                self.signal = Some(signal.clone().into_owned());
                JobState::Killed
            }
            Outcome::TimedOut => JobState::TimedOut,
            Outcome::CouldNotStart { .. } | Outcome::Lost { .. } => JobState::Lost,
        };
    }

    /// How it ended; `None`: not yet.
    pub fn outcome(&self) -> Option<Outcome<'static>> {
        Some(match self.state {
            JobState::Running => return None,
            JobState::Exited => Outcome::Exited(self.exit_code.unwrap_or(-1)),
            JobState::Killed => Outcome::Killed(self.signal.clone().unwrap_or_default().into()),
            JobState::TimedOut => Outcome::TimedOut,
            JobState::Lost => Outcome::Lost { why: format!("{}: its server ended before it did", self.job).into() },
        })
    }

    /// The record as it is sent to its owner.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.owner.clear();
        self.marker.clear();
        self
    }
}

/// Takes the lock of the command in `dir`; `None`: a server holds it.
pub fn try_lock(dir: &Path) -> Option<File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK)).ok()?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}
