//! What is known of one detached command, in a file of its own, for as long as its output is kept.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::trust::home::{Home, HomeError};
use crate::wire::message::Outcome;

/// Where it stands, below the command's directory.
const FILE: &str = "job.json";
/// Who runs the command holds this one.
const LOCK: &str = "running";

/// Where a detached command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It runs.
    Running,
    /// It exited with a code.
    Exited,
    /// A signal ended it.
    Killed,
    /// Its time was up.
    TimedOut,
    /// Its server ended before it did.
    Lost,
}

/// The note, and a line of JSON on the wire and with `--list-jobs --json`; there without what is only the server's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What it is called.
    pub job: String,
    /// Where it is.
    pub state: JobState,
    /// Its exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// What runs, as it was sent.
    pub command: String,
    /// Where, under the server's root.
    pub cwd: String,
    /// When it began (RFC 3339).
    pub began: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Whose it is; not on the wire, since it is whoever asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// What its processes can be found by; not on the wire.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub marker: String,
}

impl JobRecord {
    /// Reads the one in `home`; `None`: there is none that can be read.
    pub fn load(home: &Home) -> Option<Self> {
        // Whatever else could stand there (a pipe) might never be read to its end.
        let is_file = fs::symlink_metadata(home.join(FILE)).is_ok_and(|metadata| metadata.is_file());
        serde_json::from_slice(&is_file.then(|| home.read(FILE).ok()).flatten()??).ok()
    }

    /// Writes it, whole.
    ///
    /// # Errors
    /// The disk refused.
    pub fn save(&self, home: &Home) -> Result<(), HomeError> {
        // JSON of strings and numbers cannot fail.
        home.replace(FILE, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// Puts down how it ended.
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

    /// As it is told to its owner.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.owner.clear();
        self.marker.clear();
        self
    }
}

/// Takes the lock of whoever runs the command in `dir`; `None`: somebody does.
pub fn try_lock(dir: &Path) -> Option<File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK)).ok()?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}
