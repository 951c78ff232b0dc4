//! The values in messages besides plain numbers and texts, each with the fields of the header that it takes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The stream that a `data` frame belongs to: a command has stdout and stderr, everything else has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A file, an echo, stdin or stdout.
    #[default]
    Main,
    /// A command's stderr.
    Stderr,
}

/// The type of a `packed` frame after it is decompressed.
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

/// The format of the body of `exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandForm {
    /// A command string for the server's `sh -c`.
    Shell,
    /// Arguments for `execvp`, each ended by a NUL.
    Argv,
    /// A command string for the login shell of the server's user. Empty: an interactive login shell.
    Login,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Number of rows.
    pub rows: u16,
}

/// How a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecOptions {
    /// Number of variables: `NAME=VALUE` each, ended by a NUL, before the command in the body.
    pub variables: u32,
    /// Milliseconds after which the command is ended; `None`: no timeout.
    pub timeout_ms: Option<u64>,
    /// Milliseconds between SIGTERM and SIGKILL, when it is ended or its client is gone; `None`: the server's default.
    pub kill_after_ms: Option<u64>,
    /// Whether both outputs are one stream, in the order in which they were written.
    pub merged: bool,
    /// The size of the terminal that all its streams are connected to; `None`: no terminal.
    pub terminal: Option<TerminalSize>,
    /// Whether it runs on without its client, and its output is kept.
    pub detached: bool,
    /// Milliseconds that the output of its background processes may be silent after its exit, before it is no longer
    /// passed on; `None`: the server's default.
    pub linger_ms: Option<u64>,
}

/// What a client that enters a chat wants to hear of the past, and how it is known again after its connection was lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatOptions<'a> {
    /// A secret of this client, 16 to 64 visible ASCII characters: who enters with it again goes on where it was. `None`:
    /// the client is not known again.
    pub client: Option<Cow<'a, str>>,
    /// The number of past messages that are wanted; `None`: none.
    pub history: Option<u32>,
    /// The number of the last message in the room that the client has; `None`: it was not there before.
    pub after: Option<u64>,
    /// The number of the last private message that the client has; `None`: as in `after`.
    pub direct_after: Option<u64>,
}

/// All that goes along with the text of one message in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SayFields<'a> {
    /// The room; `None`: the room that the client entered first, or a private message.
    pub room: Option<Cow<'a, str>>,
    /// From the server: who sent it.
    pub nick: Option<Cow<'a, str>>,
    /// For a private message: who gets it. `None`: all in the room.
    pub to: Option<Cow<'a, str>>,
    /// The sender's number of the message, each greater than the one before; `None`: no acknowledgement is wanted.
    pub id: Option<u64>,
    /// From the server: the sender's client, under a name that tells nothing of its secret. With `id` it makes a message
    /// unique.
    pub origin: Option<Cow<'a, str>>,
    /// From the server: the message's number in its room.
    pub seq: Option<u64>,
    /// From the server: when it arrived, milliseconds since 1970 UTC.
    pub time_ms: Option<u64>,
    /// Whether the text says what the sender does: `/me`.
    pub is_action: bool,
    /// From the server: whether the sender is a guest.
    pub is_guest: bool,
    /// From the server: whether it was sent before this client entered.
    pub is_past: bool,
}

impl SayFields<'_> {
    /// The same value, with owned text.
    pub fn into_owned(self) -> SayFields<'static> {
        let own = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        SayFields {
            room: own(self.room),
            nick: own(self.nick),
            to: own(self.to),
            id: self.id,
            origin: own(self.origin),
            seq: self.seq,
            time_ms: self.time_ms,
            is_action: self.is_action,
            is_guest: self.is_guest,
            is_past: self.is_past,
        }
    }
}

/// What an operator does with a member of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModerationAct {
    /// Out of the room.
    Kick,
    /// Out of the chat, and not in again.
    Ban,
    /// May enter again.
    Unban,
    /// May not send messages.
    Mute,
    /// May send messages again.
    Unmute,
}

/// A process that has outlived its command and still holds the command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputHolder<'a> {
    /// Its name; empty: unknown, a process of another user.
    pub name: Cow<'a, str>,
    /// Its process id; `None`: unknown, a process of another user.
    pub pid: Option<u32>,
    /// Whether the output was closed: then the process gets SIGPIPE if it writes. Otherwise its output is read and
    /// discarded.
    pub is_closed: bool,
}

impl OutputHolder<'_> {
    /// The same value, with owned text.
    pub fn into_owned(self) -> OutputHolder<'static> {
        OutputHolder { name: Cow::Owned(self.name.into_owned()), pid: self.pid, is_closed: self.is_closed }
    }
}

/// What a client wants of a detached command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// Its output so far, its further output, and its outcome.
    Follow,
    /// Its output so far.
    Log,
    /// Its outcome.
    Wait,
}

/// Size and digest of a whole file, for the receiver to compare with what arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total<'a> {
    /// Bytes sent.
    pub size: u64,
    /// BLAKE3 of those bytes, 64 hexadecimal digits; `None`: from a client without BLAKE3.
    pub blake3: Option<Cow<'a, str>>,
}

/// The kind of an entry of a directory or a tree.
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

/// The attributes of a file, besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Size in bytes when it was opened; the number of bytes sent is in the `end` with the digest.
    pub size: u64,
    /// Modification time, nanoseconds since 1970 UTC; `None`: it is not kept.
    pub mtime_ns: Option<i64>,
    /// Permission bits, `0o777`; `None`: they are not kept.
    pub mode: Option<u32>,
}

/// How a command ended. The five cases are always distinguished.
#[expect(missing_docs, reason = "the variant's line says it")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it: `TERM`, `KILL`, ...
    Killed(Cow<'a, str>),
    /// Its timeout was over, and it was ended.
    TimedOut,
    /// It never ran: 126 found but not executable, 127 not found.
    CouldNotStart { code: i32, why: Cow<'a, str> },
    /// Unknown: the server ended before the command did.
    Lost { why: Cow<'a, str> },
}

impl Outcome<'_> {
    /// The same value, with owned text.
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
