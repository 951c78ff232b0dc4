//! Every word of the protocol, on one screen, and the flat header that carries it.
//!
//! PROTOCOL.md specifies the same for somebody who writes a client in another language; a test
//! holds this file to its hex dumps, both ways.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Misbehaviour, Refusal, Result};

/// The version of the protocol that this library speaks, in `hello`.
pub const VERSION: u32 = 1;

/// One message. Bodies travel beside it; the comment says what the body is where there is one.
#[expect(
    missing_docs,
    reason = "the variant's line says it all; a line a field would push the protocol off its screen"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Both ways, first on a connection. The server's names the verbs that this peer may use.
    Hello { version: u32, program: Cow<'a, str>, verbs: Vec<Cow<'a, str>> },
    /// A refusal, or a notice inside an exchange.
    Error { code: ErrorCode, message: Cow<'a, str> },
    /// Done; `path` is where, if the request left that open.
    Ok { path: Option<Cow<'a, [u8]>> },
    /// A piece of something long. Body: the piece.
    Data { stream: Channel },
    /// No more stdin will come; the exchange goes on.
    Eof,
    /// The receiver of stdin has room for so many bytes more.
    Credit { bytes: u32 },
    /// This side has said all it had to say in this exchange. A file's carries its size and digest.
    End { total: Option<Total<'a>> },

    /// Introduce me, who am called this; the answer too. Body: a SPAKE2 message.
    Pair { name: Cow<'a, str> },
    /// This end knows the code. From the server: so many guesses are left if this one was wrong. Body: a MAC.
    Confirm { guesses_left: Option<u32> },

    /// Return the body, or with `streamed` every `data` until `end`. Body: anything.
    Echo { streamed: bool },

    /// Enter a room under a nick.
    Chat { room: Cow<'a, str>, nick: Cow<'a, str> },
    /// Said in the room; the server adds who. Body: UTF-8 text.
    Say { nick: Option<Cow<'a, str>> },
    /// Somebody (the first one: you) entered.
    Joined { room: Cow<'a, str>, nick: Cow<'a, str> },
    /// Somebody left.
    Left { nick: Cow<'a, str> },
    /// Call me something else.
    Nick { nick: Cow<'a, str> },
    /// Somebody is called something else.
    Renamed { nick: Cow<'a, str>, to: Cow<'a, str> },
    /// Who is here? The answer's body: nicks, one a line.
    Names,
    /// So many messages were dropped because this end reads too slowly.
    Dropped { count: u64 },

    /// Run a command. Body: variables, then the shell's command string, or the arguments; each with a NUL behind it,
    /// except the string.
    /// `modes` are those of its client's terminal.
    Exec {
        form: CommandForm,
        path: Option<Cow<'a, [u8]>>,
        place: Option<Cow<'a, str>>,
        terms: ExecOptions,
        modes: Option<Cow<'a, [u8]>>,
    },
    /// Send this signal to the command's process group.
    Signal { signal: Cow<'a, str> },
    /// The terminal of whoever sits before it has another size now.
    Window(TerminalSize),
    /// How the command ended, where it ran, and what of it still holds its output.
    Outcome { outcome: Outcome<'a>, path: Option<Cow<'a, [u8]>>, held: Option<OutputHolder<'a>> },
    /// The detached command has begun, and is called this.
    Job { job: Cow<'a, str> },
    /// Which detached commands are there? The answer: `data` of JSON lines, then `end`.
    Jobs,
    /// Send me what a detached command writes, and how it ends.
    Attach { job: Cow<'a, str>, watch: AttachMode, tail: Option<u64> },
    /// Send a detached command this signal, or end it and all that it has started.
    Kill { job: Cow<'a, str>, signal: Option<Cow<'a, str>> },

    /// Make or change a place, or ask where it is. Body: `NAME=VALUE` sets a variable there, `NAME` takes it away;
    /// each with a NUL behind it.
    Place { place: Cow<'a, str>, path: Option<Cow<'a, [u8]>>, ttl_ms: Option<u64>, variables: u32 },
    /// Which places are there? The answer: `data` of JSON lines, then `end`.
    Places,

    /// Move the session's working directory.
    Cd { path: Cow<'a, [u8]> },
    /// Where does the session stand?
    Pwd,
    /// Here.
    Cwd { path: Cow<'a, [u8]> },
    /// List a directory, or name one file. The answer: `data` of JSON lines, then `end`.
    Ls { path: Cow<'a, [u8]> },
    /// Make a directory.
    Mkdir { path: Cow<'a, [u8]>, parents: bool },
    /// Remove a file, or with `recursive` a tree.
    Rm { path: Cow<'a, [u8]>, recursive: bool },
    /// Rename.
    Mv { path: Cow<'a, [u8]>, to: Cow<'a, [u8]> },

    /// Which unfinished copies of mine are below this directory? With `clean`, remove those that nothing holds. The
    /// answer: `data` of JSON lines, then `end`.
    Parts { path: Cow<'a, [u8]>, clean: bool },

    /// Send me this file: `file`, `data`, `end`.
    Get { path: Cow<'a, [u8]> },
    /// The file that follows.
    File(Attributes),
    /// Take this file; `data` and `end` follow at once. `name` is used if `path` is a directory.
    Put { path: Cow<'a, [u8]>, name: Cow<'a, [u8]>, attributes: Attributes },

    /// Send me these trees: you are the source. Body: which, as JSON.
    Pull,
    /// Take these trees to `path`: you are the target. Body: how, as JSON.
    Push { path: Cow<'a, [u8]> },
    /// From the source: what there is. Body: an entry a line, numbered as they come over all lists.
    List { is_last: bool },
    /// From the target: `count` more entries were looked at, and these are wanted. Body: JSON lines.
    /// The first says where it all goes: into `path`, or as `name` in there.
    Want { count: u32, path: Option<Cow<'a, [u8]>>, name: Option<Cow<'a, [u8]>> },
    /// From the target, before the `want` that says so: what it has of another version of a file. Body: lengths and
    /// ids of chunks.
    Chunks { entry: u32, average: u32 },
    /// Small files, whole. Body: records.
    Small,
    /// One large file, from `offset` on: `data`, then `whole`.
    Large { entry: u32, offset: u64, attributes: Attributes },
    /// A `list` (not the last one), `small` or `data`, its body zstd's. Body: a zstd frame of `size` bytes.
    Packed { of: Packed, size: u32 },
    /// Of a large file: so many zeros that take no room where it comes from.
    Hole { size: u64 },
    /// Of a large file: so many bytes that the other version there has from `offset` on.
    Copy { offset: u64, size: u64 },
    /// Of a large file that does not begin at 0: the values of that beginning, one a block of 16 MiB, for the target to
    /// compare. Body: 32 bytes each.
    Blocks,
    /// From the target: of a large file that has ended, these stretches of the beginning are not what the source has.
    /// Body: JSON lines.
    Mend { entry: u32 },
    /// Of a large file that is mended: `data` of `size` bytes follow, which belong at `offset`.
    Piece { offset: u64, size: u64 },
    /// The large file has ended.
    Whole { total: Total<'a> },
    /// A file whose digest the target asked about is the same there.
    Same { entry: u32 },
    /// A wanted file grew while it was read: what comes of it is its beginning, as long as it was said to be. Before
    /// its `small` or `whole`.
    Grew { entry: u32 },
    /// A wanted file does not come, or not any further.
    Lost { entry: u32, code: ErrorCode, message: Cow<'a, str> },
    /// From the target: what it has safely, and what it could not take. Body: JSON lines.
    Kept,
}

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

/// On which terms a command runs.
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

impl Message<'_> {
    /// The verbs and answers by name, in this file's order, for tables and documents.
    pub const NAMES: &'static [&'static str] = &[
        "hello", "error", "ok", "data", "eof", "credit", "end", "pair", "confirm", "echo", "chat", "say", "joined",
        "left", "nick", "renamed", "names", "dropped", "exec", "signal", "window", "outcome", "job", "jobs", "attach",
        "kill", "place", "places", "cd", "pwd", "cwd", "ls", "mkdir", "rm", "mv", "parts", "get", "file", "put",
        "pull", "push", "list", "want", "chunks", "small", "large", "packed", "hole", "copy", "grew", "blocks", "mend",
        "piece", "whole", "same", "lost", "kept",
    ];

    /// The word on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Error { .. } => "error",
            Self::Ok { .. } => "ok",
            Self::Data { .. } => "data",
            Self::Eof => "eof",
            Self::Credit { .. } => "credit",
            Self::End { .. } => "end",
            Self::Pair { .. } => "pair",
            Self::Confirm { .. } => "confirm",
            Self::Echo { .. } => "echo",
            Self::Chat { .. } => "chat",
            Self::Say { .. } => "say",
            Self::Joined { .. } => "joined",
            Self::Left { .. } => "left",
            Self::Nick { .. } => "nick",
            Self::Renamed { .. } => "renamed",
            Self::Names => "names",
            Self::Dropped { .. } => "dropped",
            Self::Exec { .. } => "exec",
            Self::Signal { .. } => "signal",
            Self::Window(_) => "window",
            Self::Outcome { .. } => "outcome",
            Self::Job { .. } => "job",
            Self::Jobs => "jobs",
            Self::Attach { .. } => "attach",
            Self::Kill { .. } => "kill",
            Self::Place { .. } => "place",
            Self::Places => "places",
            Self::Cd { .. } => "cd",
            Self::Pwd => "pwd",
            Self::Cwd { .. } => "cwd",
            Self::Ls { .. } => "ls",
            Self::Mkdir { .. } => "mkdir",
            Self::Rm { .. } => "rm",
            Self::Mv { .. } => "mv",
            Self::Parts { .. } => "parts",
            Self::Get { .. } => "get",
            Self::File(_) => "file",
            Self::Put { .. } => "put",
            Self::Pull => "pull",
            Self::Push { .. } => "push",
            Self::List { .. } => "list",
            Self::Want { .. } => "want",
            Self::Chunks { .. } => "chunks",
            Self::Small => "small",
            Self::Large { .. } => "large",
            Self::Packed { .. } => "packed",
            Self::Hole { .. } => "hole",
            Self::Copy { .. } => "copy",
            Self::Blocks => "blocks",
            Self::Mend { .. } => "mend",
            Self::Piece { .. } => "piece",
            Self::Whole { .. } => "whole",
            Self::Same { .. } => "same",
            Self::Grew { .. } => "grew",
            Self::Lost { .. } => "lost",
            Self::Kept => "kept",
        }
    }

    /// Whether the client goes on speaking after this request until it says `end`.
    pub const fn opens_duplex_exchange(&self) -> bool {
        matches!(
            self,
            Self::Echo { streamed: true }
                | Self::Chat { .. }
                | Self::Exec { .. }
                | Self::Attach { .. }
                | Self::Put { .. }
                | Self::Pull
                | Self::Push { .. }
        )
    }

    /// Appends the JSON header of this message with a body of `total_size` bytes.
    ///
    /// # Errors
    /// Never for messages of this library: JSON of strings and numbers cannot fail.
    pub fn write_header(&self, total_size: usize, to: &mut Vec<u8>) -> io::Result<()> {
        let mut header = self.header();
        header.total_size = u64::try_from(total_size).unwrap_or(u64::MAX);
        serde_json::to_writer(to, &header).map_err(io::Error::from)
    }

    #[expect(clippy::too_many_lines, reason = "a few lines a message")]
    fn header(&self) -> Header<'_> {
        let mut h = Header { kind: Cow::Borrowed(self.name()), ..Header::default() };
        match self {
            Self::Hello { version, program, verbs } => {
                h.version = Some(*version);
                h.program = text(program);
                h.verbs = verbs.iter().map(|verb| Text(Cow::Borrowed(verb))).collect();
            }
            Self::Error { code, message } => {
                h.code = text(code.as_str());
                h.message = text(message);
            }
            Self::Ok { path } => (h.path, h.path_b64) = path.as_deref().map_or((None, None), name),
            Self::Data { stream } => h.stream = *stream,
            Self::Credit { bytes } => h.bytes = Some(*bytes),
            Self::End { total: Some(total) } | Self::Whole { total } => {
                h.size = Some(total.size);
                h.blake3 = total.blake3.as_deref().and_then(text);
            }
            Self::Pair { name } => h.name = text(name),
            Self::Confirm { guesses_left } => h.guesses_left = *guesses_left,
            Self::Echo { streamed } => h.streamed = *streamed,
            Self::Chat { room, nick } | Self::Joined { room, nick } => {
                h.room = text(room);
                h.nick = text(nick);
            }
            Self::Say { nick } => h.nick = nick.as_deref().and_then(text),
            Self::Left { nick } | Self::Nick { nick } => h.nick = text(nick),
            Self::Renamed { nick, to } => {
                h.nick = text(nick);
                h.to = text(to);
            }
            Self::Dropped { count } => h.count = Some(*count),
            Self::Same { entry } | Self::Grew { entry } | Self::Mend { entry } => h.entry = Some(*entry),
            Self::Hole { size } => h.size = Some(*size),
            Self::Exec { form, path, place, terms, modes } => {
                h.form = Some(*form);
                h.place = place.as_deref().and_then(text);
                h.detached = terms.detached;
                h.variables = terms.variables;
                h.timeout_ms = terms.timeout_ms;
                h.kill_after_ms = terms.kill_after_ms;
                h.merged = terms.merged;
                h.linger_ms = terms.linger_ms;
                terms.terminal.inspect(|size| size.fill(&mut h));
                h.modes = modes.as_ref().map(|modes| Text(Cow::Owned(BASE64.encode(modes))));
                (h.path, h.path_b64) = path.as_deref().map_or((None, None), name);
            }
            Self::Signal { signal } => h.signal = text(signal),
            Self::Window(size) => size.fill(&mut h),
            Self::Outcome { outcome, path, held } => {
                outcome.fill(&mut h);
                h.held_by = held.as_ref().and_then(|held| text(&held.name));
                h.held_pid = held.as_ref().and_then(|held| held.pid);
                h.held_closed = held.as_ref().is_some_and(|held| held.is_closed);
                (h.path, h.path_b64) = path.as_deref().map_or((None, None), name);
            }
            Self::Job { job } => h.job = text(job),
            Self::Attach { job, watch, tail } => {
                h.job = text(job);
                h.watch = Some(*watch);
                h.tail = *tail;
            }
            Self::Kill { job, signal } => {
                h.job = text(job);
                h.signal = signal.as_deref().and_then(text);
            }
            Self::Place { place, path, ttl_ms, variables } => {
                h.place = text(place);
                (h.path, h.path_b64) = path.as_deref().map_or((None, None), name);
                h.ttl_ms = *ttl_ms;
                h.variables = *variables;
            }
            Self::Cd { path } | Self::Cwd { path } | Self::Ls { path } | Self::Get { path } => {
                (h.path, h.path_b64) = name(path);
            }
            Self::Mkdir { path, parents } => {
                (h.path, h.path_b64) = name(path);
                h.parents = *parents;
            }
            Self::Parts { path, clean } => {
                (h.path, h.path_b64) = name(path);
                h.clean = *clean;
            }
            Self::Rm { path, recursive } => {
                (h.path, h.path_b64) = name(path);
                h.recursive = *recursive;
            }
            Self::Mv { path, to } => {
                (h.path, h.path_b64) = name(path);
                (h.to, h.to_b64) = name(to);
            }
            Self::File(attributes) => attributes.fill(&mut h),
            Self::Put { path, name: own_name, attributes } => {
                (h.path, h.path_b64) = name(path);
                (h.name, h.name_b64) = name(own_name);
                attributes.fill(&mut h);
            }
            Self::Push { .. }
            | Self::List { .. }
            | Self::Want { .. }
            | Self::Chunks { .. }
            | Self::Large { .. }
            | Self::Packed { .. }
            | Self::Copy { .. }
            | Self::Piece { .. }
            | Self::Lost { .. } => self.fill_of_trees(&mut h),
            Self::End { total: None }
            | Self::Eof
            | Self::Names
            | Self::Pwd
            | Self::Jobs
            | Self::Places
            | Self::Pull
            | Self::Small
            | Self::Blocks
            | Self::Kept => {}
        }
        h
    }

    /// The fields of what trees are moved with.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others have theirs above")]
    fn fill_of_trees<'h>(&'h self, h: &mut Header<'h>) {
        match self {
            Self::Push { path } => (h.path, h.path_b64) = name(path),
            Self::List { is_last } => h.last = *is_last,
            Self::Want { count, path, name: own_name } => {
                h.count = Some((*count).into());
                (h.path, h.path_b64) = path.as_deref().map_or((None, None), name);
                (h.name, h.name_b64) = own_name.as_deref().map_or((None, None), name);
            }
            Self::Chunks { entry, average } => {
                h.entry = Some(*entry);
                h.average = Some(*average);
            }
            Self::Large { entry, offset, attributes } => {
                h.entry = Some(*entry);
                h.offset = *offset;
                attributes.fill(h);
            }
            Self::Packed { of, size } => {
                h.of = Some(*of);
                h.size = Some((*size).into());
            }
            Self::Copy { offset, size } | Self::Piece { offset, size } => {
                h.offset = *offset;
                h.size = Some(*size);
            }
            Self::Lost { entry, code, message } => {
                h.entry = Some(*entry);
                h.code = text(code.as_str());
                h.message = text(message);
            }
            _ => {}
        }
    }
}

impl Outcome<'_> {
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

impl TerminalSize {
    const fn fill(self, h: &mut Header<'_>) {
        h.columns = Some(self.columns);
        h.rows = Some(self.rows);
    }
}

impl Attributes {
    const fn fill(&self, h: &mut Header<'_>) {
        h.size = Some(self.size);
        h.mtime_ns = self.mtime_ns;
        h.mode = self.mode;
    }
}

/// The JSON object as it stands on the wire: flat, so that a `data` header decodes in a tenth of a
/// microsecond, and with borrowed text (`Cow`, because JSON may escape).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "a field of JSON each")]
pub struct Header<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_default")]
    total_size: u64,
    #[serde(skip_serializing_if = "is_default")]
    stream: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    program: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    verbs: Vec<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    code: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<Text<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    streamed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guesses_left: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    room: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    nick: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<CommandForm>,
    #[serde(skip_serializing_if = "is_default")]
    variables: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kill_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    merged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    linger_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u16>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    modes: Option<Text<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    detached: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    place: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    job: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<AttachMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    timed_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    signal: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    held_by: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_pid: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    held_closed: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path_b64: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    to: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    to_b64: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    name_b64: Option<Text<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    parents: bool,
    #[serde(skip_serializing_if = "is_default")]
    recursive: bool,
    #[serde(skip_serializing_if = "is_default")]
    clean: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    blake3: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<Packed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    offset: u64,
    #[serde(skip_serializing_if = "is_default")]
    last: bool,
}

/// serde borrows inside `Cow`, but not inside `Option<Cow>`; hence the name for it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Header<'a> {
    /// Reads a header's JSON.
    ///
    /// # Errors
    /// It is not JSON, or a known field has the wrong type: then `total_size` cannot be trusted either.
    pub fn parse(json: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| Misbehaviour::BadHeader(error.to_string()).into())
    }

    /// Bytes of body that follow, as announced.
    pub const fn total_size(&self) -> u64 {
        self.total_size
    }

    /// The typed view of this header.
    ///
    /// # Errors
    /// The type is unknown, or a field that it needs is missing. The connection is still in step:
    /// the body's length is known, so this is a refusal and not a misbehaviour.
    pub fn message(self) -> Result<Message<'a>, Refusal> {
        Fields { kind: self.kind.clone(), h: self }.message()
    }
}

/// A header on its way to becoming a message; knows the type's name for the error text.
struct Fields<'a> {
    kind: Cow<'a, str>,
    h: Header<'a>,
}

impl<'a> Fields<'a> {
    #[expect(clippy::too_many_lines, reason = "a line a message")]
    fn message(mut self) -> Result<Message<'a>, Refusal> {
        Ok(match self.kind.as_ref() {
            "data" => Message::Data { stream: self.h.stream },
            "hello" => Message::Hello {
                version: self.need(self.h.version, "version")?,
                program: self.h.program.take().map(|text| text.0).unwrap_or_default(),
                verbs: std::mem::take(&mut self.h.verbs).into_iter().map(|verb| verb.0).collect(),
            },
            "error" => Message::Error { code: ErrorCode::from(self.code()?.as_ref()), message: self.explanation() },
            "ok" => Message::Ok { path: self.optional_path()? },
            "eof" => Message::Eof,
            "credit" => Message::Credit { bytes: self.need(self.h.bytes, "bytes")? },
            "end" => Message::End { total: self.total() },
            "pair" => Message::Pair { name: take(&mut self.h.name, &self.kind, "name")? },
            "confirm" => Message::Confirm { guesses_left: self.h.guesses_left },
            "echo" => Message::Echo { streamed: self.h.streamed },
            "chat" => Message::Chat { room: self.room()?, nick: self.nick()? },
            "say" => Message::Say { nick: self.h.nick.take().map(|text| text.0) },
            "joined" => Message::Joined { room: self.room()?, nick: self.nick()? },
            "left" => Message::Left { nick: self.nick()? },
            "nick" => Message::Nick { nick: self.nick()? },
            "renamed" => Message::Renamed { nick: self.nick()?, to: take(&mut self.h.to, &self.kind, "to")? },
            "names" => Message::Names,
            "dropped" => Message::Dropped { count: self.need(self.h.count, "count")? },
            "exec" => Message::Exec {
                form: self.need(self.h.form, "form")?,
                path: self.optional_path()?,
                place: self.h.place.take().map(|place| place.0),
                modes: bytes(None, self.h.modes.take(), "modes")?,
                terms: self.terms(),
            },
            "signal" => Message::Signal { signal: take(&mut self.h.signal, &self.kind, "signal")? },
            "window" => Message::Window(self.size().ok_or_else(|| missing(&self.kind, "columns or rows"))?),
            "outcome" => Message::Outcome { path: self.optional_path()?, held: self.held(), outcome: self.outcome()? },
            "job" => Message::Job { job: self.job()? },
            "jobs" => Message::Jobs,
            "attach" => {
                Message::Attach { job: self.job()?, watch: self.need(self.h.watch, "watch")?, tail: self.h.tail }
            }
            "kill" => Message::Kill { job: self.job()?, signal: self.h.signal.take().map(|signal| signal.0) },
            "place" => Message::Place {
                place: take(&mut self.h.place, &self.kind, "place")?,
                path: self.optional_path()?,
                ttl_ms: self.h.ttl_ms,
                variables: self.h.variables,
            },
            "places" => Message::Places,
            "cd" => Message::Cd { path: self.path()? },
            "pwd" => Message::Pwd,
            "cwd" => Message::Cwd { path: self.path()? },
            "ls" => Message::Ls { path: self.path()? },
            "mkdir" => Message::Mkdir { path: self.path()?, parents: self.h.parents },
            "rm" => Message::Rm { path: self.path()?, recursive: self.h.recursive },
            "mv" => Message::Mv { path: self.path()?, to: self.to()? },
            "parts" => Message::Parts { path: self.path()?, clean: self.h.clean },
            "get" => Message::Get { path: self.path()? },
            "file" => Message::File(self.attributes()?),
            "put" => Message::Put { path: self.path()?, name: self.own_name()?, attributes: self.attributes()? },
            "pull" => Message::Pull,
            "push" => Message::Push { path: self.path()? },
            "list" => Message::List { is_last: self.h.last },
            "want" => Message::Want {
                count: self.small_count()?,
                path: self.optional_path()?,
                name: bytes(self.h.name.take(), self.h.name_b64.take(), "name_b64")?,
            },
            "chunks" => Message::Chunks {
                entry: self.need(self.h.entry, "entry")?,
                average: self.need(self.h.average, "average")?,
            },
            "small" => Message::Small,
            "large" => Message::Large {
                entry: self.need(self.h.entry, "entry")?,
                offset: self.h.offset,
                attributes: self.attributes()?,
            },
            "hole" => Message::Hole { size: self.need(self.h.size, "size")? },
            "packed" => Message::Packed { of: self.need(self.h.of, "of")?, size: self.short_size()? },
            "copy" => Message::Copy { offset: self.h.offset, size: self.need(self.h.size, "size")? },
            "blocks" => Message::Blocks,
            "mend" => Message::Mend { entry: self.need(self.h.entry, "entry")? },
            "piece" => Message::Piece { offset: self.h.offset, size: self.need(self.h.size, "size")? },
            "whole" => Message::Whole { total: self.total().ok_or_else(|| missing(&self.kind, "size"))? },
            "grew" => Message::Grew { entry: self.need(self.h.entry, "entry")? },
            "same" => Message::Same { entry: self.need(self.h.entry, "entry")? },
            "lost" => Message::Lost {
                entry: self.need(self.h.entry, "entry")?,
                code: ErrorCode::from(self.code()?.as_ref()),
                message: self.explanation(),
            },
            "kept" => Message::Kept,
            unknown => {
                return Err(Refusal::new(
                    ErrorCode::UnknownType,
                    format!("message type {unknown:?} is not known here"),
                ));
            }
        })
    }

    fn need<T>(&self, field: Option<T>, name: &str) -> Result<T, Refusal> {
        field.ok_or_else(|| missing(&self.kind, name))
    }

    fn small_count(&self) -> Result<u32, Refusal> {
        let count = self.need(self.h.count, "count")?;
        u32::try_from(count).map_err(|_too_many| missing(&self.kind, "count below 2^32"))
    }

    fn short_size(&self) -> Result<u32, Refusal> {
        let size = self.need(self.h.size, "size")?;
        u32::try_from(size).map_err(|_too_long| missing(&self.kind, "size below 2^32"))
    }

    fn code(&mut self) -> Result<Cow<'a, str>, Refusal> {
        take(&mut self.h.code, &self.kind, "code")
    }

    fn explanation(&mut self) -> Cow<'a, str> {
        self.h.message.take().map(|text| text.0).unwrap_or_default()
    }

    fn job(&mut self) -> Result<Cow<'a, str>, Refusal> {
        take(&mut self.h.job, &self.kind, "job")
    }

    fn room(&mut self) -> Result<Cow<'a, str>, Refusal> {
        take(&mut self.h.room, &self.kind, "room")
    }

    fn nick(&mut self) -> Result<Cow<'a, str>, Refusal> {
        take(&mut self.h.nick, &self.kind, "nick")
    }

    fn optional_path(&mut self) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        bytes(self.h.path.take(), self.h.path_b64.take(), "path_b64")
    }

    fn path(&mut self) -> Result<Cow<'a, [u8]>, Refusal> {
        self.optional_path()?.ok_or_else(|| missing(&self.kind, "path"))
    }

    fn to(&mut self) -> Result<Cow<'a, [u8]>, Refusal> {
        bytes(self.h.to.take(), self.h.to_b64.take(), "to_b64")?.ok_or_else(|| missing(&self.kind, "to"))
    }

    fn own_name(&mut self) -> Result<Cow<'a, [u8]>, Refusal> {
        bytes(self.h.name.take(), self.h.name_b64.take(), "name_b64")?.ok_or_else(|| missing(&self.kind, "name"))
    }

    fn total(&mut self) -> Option<Total<'a>> {
        self.h.size.map(|size| Total { size, blake3: self.h.blake3.take().map(|blake3| blake3.0) })
    }

    const fn terms(&self) -> ExecOptions {
        let Header { variables, timeout_ms, kill_after_ms, merged, detached, linger_ms, .. } = self.h;
        ExecOptions { variables, timeout_ms, kill_after_ms, merged, terminal: self.size(), detached, linger_ms }
    }

    fn held(&mut self) -> Option<OutputHolder<'a>> {
        let name = self.h.held_by.take()?.0;
        Some(OutputHolder { name, pid: self.h.held_pid, is_closed: self.h.held_closed })
    }

    const fn size(&self) -> Option<TerminalSize> {
        match (self.h.columns, self.h.rows) {
            (Some(columns), Some(rows)) => Some(TerminalSize { columns, rows }),
            _ => None,
        }
    }

    fn outcome(&mut self) -> Result<Outcome<'a>, Refusal> {
        if self.h.timed_out {
            return Ok(Outcome::TimedOut);
        }
        Ok(match (self.h.exit_code, self.h.signal.take(), self.h.message.take()) {
            (Some(code), None, None) => Outcome::Exited(code),
            (None, Some(signal), None) => Outcome::Killed(signal.0),
            (Some(code), None, Some(why)) => Outcome::CouldNotStart { code, why: why.0 },
            (None, None, Some(why)) => Outcome::Lost { why: why.0 },
            _ => return Err(missing(&self.kind, "exit_code or signal")),
        })
    }

    fn attributes(&self) -> Result<Attributes, Refusal> {
        let size = self.need(self.h.size, "size")?;
        Ok(Attributes { size, mtime_ns: self.h.mtime_ns, mode: self.h.mode })
    }
}

fn missing(kind: &str, field: &str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, format!("{kind}: field {field:?} is missing"))
}

fn take<'a>(field: &mut Option<Text<'a>>, kind: &str, name: &str) -> Result<Cow<'a, str>, Refusal> {
    field.take().map(|text| text.0).ok_or_else(|| missing(kind, name))
}

fn bytes<'a>(
    plain: Option<Text<'a>>,
    encoded: Option<Text<'a>>,
    field: &str,
) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
    match (plain, encoded) {
        (Some(Text(Cow::Borrowed(plain))), _) => Ok(Some(Cow::Borrowed(plain.as_bytes()))),
        (Some(Text(Cow::Owned(plain))), _) => Ok(Some(Cow::Owned(plain.into_bytes()))),
        (None, Some(encoded)) => BASE64
            .decode(encoded.0.as_bytes())
            .map(|name| Some(Cow::Owned(name)))
            .map_err(|why| Refusal::new(ErrorCode::BadRequest, format!("field {field:?} is not base64: {why}"))),
        (None, None) => Ok(None),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every field of the header is optional")]
fn text(text: &str) -> Option<Text<'_>> {
    Some(Text(Cow::Borrowed(text)))
}

/// A file name as JSON: itself where it is UTF-8, base64 where it is not.
fn name(bytes: &[u8]) -> (Option<Text<'_>>, Option<Text<'_>>) {
    match std::str::from_utf8(bytes) {
        Ok(plain) => (text(plain), None),
        Err(_) => (None, Some(Text(Cow::Owned(BASE64.encode(bytes))))),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
