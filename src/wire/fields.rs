//! What messages carry besides plain numbers and texts: each value with the header's fields that it takes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::header::{Group, Header, Text, missing, needed, text};
use crate::error::Refusal;

/// Which of a command's three pipes a `data` frame belongs to; everything else has just one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A file, an echo, stdin or stdout.
    #[default]
    Main,
    /// A command's stderr.
    Stderr,
}

/// What a `packed` frame is, unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packed {
    /// A `list`.
    List,
    /// A `small`.
    Small,
    /// A `data`.
    Data,
}

/// How the body of `exec` is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandForm {
    /// A command string for the server's `sh -c`.
    Shell,
    /// Arguments for `execvp`, each ended by a NUL.
    Argv,
    /// A command string for the login shell of the server's user, or nothing: then it reads commands itself.
    Login,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Across.
    pub columns: u16,
    /// Down.
    pub rows: u16,
}

/// How a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecOptions {
    /// So many `NAME=VALUE` stand before the command in the body, each with a NUL behind it.
    pub variables: u32,
    /// It is ended after so many milliseconds.
    pub timeout_ms: Option<u64>,
    /// When it is ended, or its client is gone: asked first, and killed so many milliseconds later.
    pub kill_after_ms: Option<u64>,
    /// Both outputs are one, in the order in which they were written.
    pub merged: bool,
    /// All its streams are a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// It runs on without its client, and its output is kept.
    pub detached: bool,
    /// After its exit, output of what it has left in the background is passed on until so many milliseconds pass
    /// without any.
    pub linger_ms: Option<u64>,
}

/// A process that has outlived its command and still holds the command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputHolder<'a> {
    /// Its name; empty: it cannot be seen.
    pub name: Cow<'a, str>,
    /// Its number, if it can be seen.
    pub pid: Option<u32>,
    /// The output was closed: the process ends if it writes. Otherwise what it writes is read and thrown away.
    pub is_closed: bool,
}

impl OutputHolder<'_> {
    /// The same, owning its text.
    pub fn into_owned(self) -> OutputHolder<'static> {
        OutputHolder { name: Cow::Owned(self.name.into_owned()), pid: self.pid, is_closed: self.is_closed }
    }
}

/// What of a detached command is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// What it has written and what it will write, and how it ends.
    Follow,
    /// What it has written until now.
    Log,
    /// How it ends.
    Wait,
}

/// What a whole file was, for the receiver to compare with what arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total<'a> {
    /// Bytes sent.
    pub size: u64,
    /// BLAKE3 of those bytes, 64 hexadecimal digits; a client that has no BLAKE3 puts without it.
    pub blake3: Option<Cow<'a, str>>,
}

/// What an entry of a directory or a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symlink, not followed.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// What a file has besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Size in bytes when it was opened; the digest's `end` says what was really sent.
    pub size: u64,
    /// Modification time, nanoseconds since 1970 UTC, if it is to be kept.
    pub mtime_ns: Option<i64>,
    /// Permission bits, `0o777`, if they are to be kept.
    pub mode: Option<u32>,
}

/// How a command ended. The five are never mixed up.
#[expect(missing_docs, reason = "the variant's line says it")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it: `TERM`, `KILL`, ...
    Killed(Cow<'a, str>),
    /// Its time was up, and it was ended.
    TimedOut,
    /// It never ran: 126 found but not executable, 127 not found.
    CouldNotStart { code: i32, why: Cow<'a, str> },
    /// Nobody knows: the server ended before it did.
    Lost { why: Cow<'a, str> },
}

impl Outcome<'_> {
    /// The same, owning its text.
    pub fn into_owned(self) -> Outcome<'static> {
        match self {
            Self::Exited(code) => Outcome::Exited(code),
            Self::Killed(signal) => Outcome::Killed(Cow::Owned(signal.into_owned())),
            Self::TimedOut => Outcome::TimedOut,
            Self::CouldNotStart { code, why } => Outcome::CouldNotStart { code, why: Cow::Owned(why.into_owned()) },
            Self::Lost { why } => Outcome::Lost { why: Cow::Owned(why.into_owned()) },
        }
    }
}

impl std::fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit {code}"),
            Self::Killed(signal) => write!(f, "killed by {signal}"),
            Self::TimedOut => write!(f, "timed out"),
            Self::CouldNotStart { why, .. } => write!(f, "could not start: {why}"),
            Self::Lost { why } => write!(f, "lost: {why}"),
        }
    }
}

impl<'a> Group<'a> for TerminalSize {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.columns = Some(self.columns);
        h.rows = Some(self.rows);
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        size_of(h).ok_or_else(|| missing(kind, "columns or rows"))
    }
}

const fn size_of(h: &Header<'_>) -> Option<TerminalSize> {
    match (h.columns, h.rows) {
        (Some(columns), Some(rows)) => Some(TerminalSize { columns, rows }),
        _ => None,
    }
}

impl<'a> Group<'a> for ExecOptions {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        let Self { variables, timeout_ms, kill_after_ms, merged, ref terminal, detached, linger_ms } = *self;
        (h.variables, h.timeout_ms, h.kill_after_ms) = (variables, timeout_ms, kill_after_ms);
        (h.merged, h.detached, h.linger_ms) = (merged, detached, linger_ms);
        if let Some(size) = terminal {
            size.fill(h);
        }
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let Header { variables, timeout_ms, kill_after_ms, merged, detached, linger_ms, .. } = *h;
        Ok(Self { variables, timeout_ms, kill_after_ms, merged, terminal: size_of(h), detached, linger_ms })
    }
}

impl<'a> Group<'a> for Option<OutputHolder<'a>> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        if let Some(holder) = self {
            h.held_by = text(&holder.name);
            h.held_pid = holder.pid;
            h.held_closed = holder.is_closed;
        }
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let Some(Text(name)) = h.held_by.take() else { return Ok(None) };
        Ok(Some(OutputHolder { name, pid: h.held_pid, is_closed: h.held_closed }))
    }
}

impl<'a> Group<'a> for Total<'a> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.size = Some(self.size);
        h.blake3 = self.blake3.as_deref().and_then(text);
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        <Option<Self> as Group<'a>>::take(h, kind)?.ok_or_else(|| missing(kind, "size"))
    }
}

impl<'a> Group<'a> for Option<Total<'a>> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        if let Some(total) = self {
            total.fill(h);
        }
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let blake3 = h.blake3.take().map(|text| text.0);
        Ok(h.size.map(|size| Total { size, blake3 }))
    }
}

impl<'a> Group<'a> for Attributes {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.size = Some(self.size);
        h.mtime_ns = self.mtime_ns;
        h.mode = self.mode;
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        let size = needed(h.size, kind, "size")?;
        Ok(Self { size, mtime_ns: h.mtime_ns, mode: h.mode })
    }
}

impl<'a> Group<'a> for Outcome<'a> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        match self {
            Self::Exited(code) => h.exit_code = Some(*code),
            Self::Killed(signal) => h.signal = text(signal),
            Self::TimedOut => h.timed_out = true,
            Self::CouldNotStart { code, why } => {
                h.exit_code = Some(*code);
                h.message = text(why);
            }
            Self::Lost { why } => h.message = text(why),
        }
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        if h.timed_out {
            return Ok(Self::TimedOut);
        }
        Ok(match (h.exit_code, h.signal.take(), h.message.take()) {
            (Some(code), None, None) => Self::Exited(code),
            (None, Some(signal), None) => Self::Killed(signal.0),
            (Some(code), None, Some(why)) => Self::CouldNotStart { code, why: why.0 },
            (None, None, Some(why)) => Self::Lost { why: why.0 },
            _ => return Err(missing(kind, "exit_code or signal")),
        })
    }
}
