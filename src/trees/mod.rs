//! Trees: files and directories, as many as there are, in one turn that never waits for one of them.
//!
//! ```text
//! source                                   target
//! list (entries)  ------------------->     compares them with what is there
//! list (is_last)  ------------------->
//!                 <-------------------     want (which, and from which byte on)
//! small, large + data + whole  ------>     writes them under temporary names
//!                 <-------------------     kept (renamed, and on the disk), a batch at a time
//! end             ------------------->
//!                 <-------------------     end
//! ```
//!
//! `pull` makes the server the source and `push` the target; the halves are the same code on either side.
//! Listing, wanting, sending and keeping go on at the same time. The source reads while it writes, on a thread of
//! its own, so that the two can never wait for each other's full pipe. [`walk`] finds what there is,
//! [`source`] sends it ([`large`] what is resumed), [`target`] takes it
//! to a [`place`], [`batch`] makes it last, [`mirror`] removes what is not in it; [`filter`] and [`glob`] say what is meant. [`relay`] passes on what two servers say.

pub mod asked;
pub mod batch;
pub mod filter;
pub mod glob;
pub mod large;
pub mod mirror;
pub mod place;
pub mod relay;
pub mod source;
pub mod target;
pub mod walk;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use self::filter::{Filter, Selection};
use self::place::{Place, Shape};
use self::source::Source;
use self::target::Target;
use self::walk::{How, Named, Walk};
use crate::dir::Kind;
use crate::line::Line;
use crate::root::{Root, refusal};
use crate::session::Session;
use crate::wire::conn::out_of_turn;
use crate::wire::error::{Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::wire::message::Message;

/// A file of at most so many bytes goes whole into a `small` frame; a larger one is resumed.
pub const SMALL_LEN_MAX: u64 = 128 * 1024;
/// A `small` frame leaves when it has so many bytes.
pub const SMALL_FRAME_LEN: usize = 256 * 1024;
/// Longest body of `list`, `want`, `small` or `kept` that is taken, in bytes.
pub const BODY_LEN_MAX: u32 = 1024 * 1024;
/// Longest body of `pull` and `push`: paths and patterns, in bytes.
pub const REQUEST_LEN_MAX: u32 = 1024 * 1024;
/// Entries that a source has listed and neither sent nor heard to be unwanted: what a long line holds
/// at 100 ms and 160,000 files a second.
pub const OUTSTANDING_MAX: usize = 16 * 1024;

/// What a `pull` asks for: the body of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Paths, or patterns with `*`, `?` and `[]`; a directory whose path ends with a slash means what is in it.
    pub paths: Vec<PathText>,
    /// Directories too, with all that is in them.
    #[serde(default)]
    pub recursive: bool,
    /// What a symlink points to instead of the symlink, as far as that is in the tree.
    #[serde(default)]
    pub follow: bool,
    /// What of it is meant.
    #[serde(flatten)]
    pub selection: Selection,
    /// At most so many bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bwlimit: Option<u64>,
}

/// How a `push` is to be taken: the body of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// One source was named: if it is a file, `path` may be its new name.
    pub single: bool,
    /// A tree comes: `path` is made if it is missing.
    #[serde(default)]
    pub recursive: bool,
    /// How to write.
    #[serde(flatten)]
    pub keeping: Keeping,
    /// What of it is meant: in a mirror, what is left out stays.
    #[serde(flatten)]
    pub selection: Selection,
}

/// How a target writes.
#[expect(clippy::struct_excessive_bools, reason = "switches, each on its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// Modes and times are the source's.
    pub preserve: bool,
    /// What is confirmed survives a power cut.
    pub sync: bool,
    /// What an earlier attempt left is gone on with.
    pub resume: bool,
    /// What is there is compared by its digest, and not by its time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub checksum: bool,
    /// Nothing is done, and what would be is said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// What the source does not have is removed...
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete: bool,
    /// ... even if that is more than half.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A path in JSON: itself where it is UTF-8, base64 where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathText {
    /// UTF-8.
    Plain(String),
    /// Anything else.
    Encoded {
        /// Base64 (RFC 4648, 4).
        b64: String,
    },
}

impl PathText {
    /// A path's text.
    pub fn of(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(plain) => Self::Plain(plain.to_owned()),
            Err(_not_utf8) => Self::Encoded { b64: BASE64.encode(path) },
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// It is not base64.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Refusal> {
        match self {
            Self::Plain(plain) => Ok(Cow::Borrowed(plain.as_bytes())),
            Self::Encoded { b64 } => BASE64
                .decode(b64)
                .map(Cow::Owned)
                .map_err(|why| Refusal::new(ErrorCode::BadRequest, format!("a path is not base64: {why}"))),
        }
    }
}

/// One thing in a tree, a line of `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes, from the target's place on; empty is that place itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// Where a symlink points.
    pub target: Option<Vec<u8>>,
    /// The number of an entry that is the same file under another name.
    pub same: Option<u32>,
    /// Whether another entry may be the same file.
    pub has_links: bool,
    /// Why it does not come, if that is a failure.
    pub error: Option<String>,
    /// Why it does not come, if that is none.
    pub skipped: Option<String>,
}

/// An entry as JSON has it.
#[derive(Serialize, Deserialize)]
struct EntryLine<'a> {
    path: Cow<'a, PathText>,
    kind: Kind,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    mtime_ns: i64,
    #[serde(default)]
    mode: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<PathText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    links: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped: Option<Cow<'a, str>>,
}

impl Entry {
    fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        let line = EntryLine {
            path: Cow::Owned(PathText::of(&self.path)),
            kind: self.kind,
            size: self.size,
            mtime_ns: self.mtime_ns,
            mode: self.mode,
            target: self.target.as_deref().map(PathText::of),
            same: self.same,
            links: self.has_links,
            error: self.error.as_deref().map(Cow::Borrowed),
            skipped: self.skipped.as_deref().map(Cow::Borrowed),
        };
        write_line(&line, to)
    }

    fn read(line: &[u8]) -> Result<Self> {
        let line: EntryLine<'_> = read_line(line, "list")?;
        Ok(Self {
            path: name_of(&line.path)?,
            kind: line.kind,
            size: line.size,
            mtime_ns: line.mtime_ns,
            mode: line.mode,
            target: line.target.as_ref().map(name_of).transpose()?,
            same: line.same,
            has_links: line.links,
            error: line.error.map(Cow::into_owned),
            skipped: line.skipped.map(Cow::into_owned),
        })
    }
}

fn name_of(text: &PathText) -> Result<Vec<u8>> {
    let bad = |refusal: Refusal| Misbehaviour::BadBody { what: "list", why: refusal.message };
    Ok(text.bytes().map_err(bad)?.into_owned())
}

/// Entries that are wanted, a line of `want`: so many from `first` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    first: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    count: u32,
    /// Of one entry: so many bytes are there already...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// ... and this is their digest. Without `offset` it is that of the whole file there, which is wanted only if it
    /// is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
}

/// Entries that are safe or failed, a line of `kept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept<'a> {
    first: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    count: u32,
    /// Why the entry could not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    /// Of no entry: what was done, or would be, to which path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    did: Option<Deed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<PathText>,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
}

impl Kept<'_> {
    const fn of(first: u32, count: u32) -> Self {
        Self { first, count, code: None, message: None, did: None, path: None, size: 0 }
    }
}

/// What a target does beside taking files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// A file comes; said in a dry run only.
    Copied,
    /// A directory is made; said in a dry run only.
    Made,
    /// A symlink is made, which is said in a dry run only, or a file gets another name.
    Linked,
    /// Something is removed that the source does not have.
    Removed,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(size: &u64) -> bool {
    *size == 0
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_one(count: &u32) -> bool {
    *count == 1
}

fn write_line(line: &impl Serialize, to: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(&mut *to, line).map_err(|error| Error::ours("JSON")(error.into()))?;
    to.push(b'\n');
    Ok(())
}

fn read_line<'l, T: Deserialize<'l>>(line: &'l [u8], what: &'static str) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| Misbehaviour::BadBody { what, why: error.to_string() }.into())
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What happens while a tree moves, for whoever watches.
#[derive(Debug, Clone, Copy)]
pub enum Event<'e> {
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
    /// Something does not come, and that is no failure.
    Skipped {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
    },
    /// The target did something else, or in a dry run would do it.
    Did {
        /// What.
        deed: Deed,
        /// To which path in the tree.
        path: &'e [u8],
        /// A file's size in bytes.
        size: u64,
    },
    /// A file begins once more, for this reason.
    Again {
        /// Its path in the tree.
        path: &'e [u8],
        /// Why.
        why: &'e str,
    },
}

/// Whoever watches. An error of theirs ends the turn, and leaves the line in step.
pub type Watch<'w> = &'w mut dyn FnMut(Event<'_>) -> Result<()>;

/// How a turn went, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that are where they belong now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of files that moved over the line.
    pub moved: u64,
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
    /// Counts an event.
    pub const fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Done { size, .. } | Event::Did { deed: Deed::Copied, size, .. } => {
                self.files += 1;
                self.bytes += *size;
            }
            Event::Moved(bytes) => self.moved += *bytes,
            Event::Unchanged(_) => self.unchanged += 1,
            Event::Failed { .. } => self.failed += 1,
            Event::Skipped { .. } => self.skipped += 1,
            Event::Did { deed: Deed::Removed, .. } => self.removed += 1,
            _ => {}
        }
    }
}

/// Threads that a server's source needs beside its line's own: one that reads, one that checks a part.
const SOURCE_THREADS: usize = 2;

/// Serves `pull`.
///
/// # Errors
/// A refusal for the client, or the line failed.
pub fn serve_pull(line: &mut Line, session: &mut Session) -> Result<()> {
    let body = line.receiver().body(REQUEST_LEN_MAX)?;
    let pull: Pull = serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(ErrorCode::BadRequest, format!("pull: the body cannot be read: {error}")))?;
    let filter = Filter::new(&pull.selection)?;
    let mut tops = Vec::new();
    for path in &pull.paths {
        let path = path.bytes()?;
        about(session, &path);
        tops.extend(Named::of_session(session, &path));
    }
    let _threads =
        session.gate.take_threads(SOURCE_THREADS).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
    let mut tally = Tally::default();
    let walk = Walk::new(tops, How { recursive: pull.recursive, follow: pull.follow }, filter);
    let sent = send(line, walk, pull.bwlimit, &mut |event| {
        tally.count(&event);
        Ok(())
    });
    session.report.outcome = Some(tally.to_string());
    match sent {
        // The turn is closed on both sides already.
        Err(why @ (Error::Refused(_) | Error::Ours { .. })) => {
            session.report.outcome = Some(format!("{tally}; {}", why.with_cause()));
            Ok(())
        }
        sent => sent,
    }
}

/// Serves `push`.
///
/// # Errors
/// A refusal for the client, or the line failed.
pub fn serve_push(line: &mut Line, session: &mut Session, path: &[u8]) -> Result<()> {
    let body = line.receiver().body(REQUEST_LEN_MAX)?;
    let push: Push = serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(ErrorCode::BadRequest, format!("push: the body cannot be read: {error}")))?;
    let place = session.resolve(path)?;
    let goes_into = path.is_empty() || path.ends_with(b"/") || !push.single;
    let shape = Shape { goes_into, is_made: push.recursive };
    let place = Place::new(Arc::clone(&session.root), place, shape, push.keeping);
    let mut target = Target::new(place, Filter::new(&push.selection)?);
    let mut tally = Tally::default();
    let received = receive(line, &mut target, &mut |event| {
        tally.count(&event);
        Ok(())
    });
    session.report.outcome = Some(tally.to_string());
    match received {
        // The sender gave up: the turn is closed on both sides already.
        Err(Error::Refused(why)) if target.has_ended() => {
            session.report.outcome = Some(format!("{tally}; {why}"));
            Ok(())
        }
        Err(Error::Ours { object, source }) => Err(refusal(&object, &source).into()),
        received => received,
    }
}

/// In the log, several paths stand behind one another, as far as there is room.
fn about(session: &mut Session, path: &[u8]) {
    const ABOUT_LEN_MAX: usize = 4096;
    let about = &mut session.report.about;
    if about.len() < ABOUT_LEN_MAX {
        if !about.is_empty() {
            about.push(' ');
        }
        about.push_str(&String::from_utf8_lossy(path));
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, bytes, unchanged, failed, .. } = self;
        write!(f, "{files} files, {bytes} bytes, {unchanged} unchanged, {failed} failed")
    }
}

/// Pulls trees into `target`.
///
/// # Errors
/// The server refused the whole, this machine could not store it (the line is in step in both cases), or the line
/// failed. What happens to one file is an event.
pub fn call_pull(line: &mut Line, pull: &Pull, target: Target, watch: Watch<'_>) -> Result<()> {
    let mut target = target.only(asked::Asked::of(pull));
    let body = serde_json::to_vec(pull).map_err(|error| Error::ours("JSON")(error.into()))?;
    line.receiver().begin_turn();
    line.sender().send(&Message::Pull, &body)?;
    match receive(line, &mut target, watch) {
        Err(why @ (Error::Ours { .. } | Error::Refused(_))) if !target.has_ended() => give_up(line, why),
        received => received,
    }
}

/// Pushes what `walk` finds to `path`.
///
/// # Errors
/// The server refused the whole, the watcher did not want it (the line is in step in both cases), or the line failed.
/// What happens to one file is an event.
pub fn call_push(line: &mut Line, path: &[u8], push: &Push, sending: Sending, watch: Watch<'_>) -> Result<()> {
    let body = serde_json::to_vec(push).map_err(|error| Error::ours("JSON")(error.into()))?;
    line.receiver().begin_turn();
    line.sender().send(&Message::Push { path: path.into() }, &body)?;
    send(line, sending.walk, sending.bwlimit, watch)
}

/// What a client sends.
#[derive(Debug)]
pub struct Sending {
    /// Finds it.
    pub walk: Walk,
    /// At most so many bytes a second.
    pub bwlimit: Option<u64>,
}

fn send(line: &mut Line, walk: Walk, bwlimit: Option<u64>, watch: Watch<'_>) -> Result<()> {
    let control = line.control().clone();
    let (receiver, sender) = line.halves()?;
    Source::new(sender, walk, bwlimit, watch).run(receiver, &control)
}

fn receive(line: &mut Line, target: &mut Target, watch: Watch<'_>) -> Result<()> {
    let (receiver, sender) = line.halves()?;
    target.run(receiver, sender, watch)
}

/// A client's target that gives up says so, and reads on until the server has heard.
fn give_up(line: &mut Line, why: Error) -> Result<()> {
    line.sender().send(&Message::End { total: None }, &[])?;
    while !line.receiver().peer_ended() {
        match line.receiver().expect("end") {
            Ok(Message::Error { .. }) => break,
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(lost) => return Err(lost),
        }
    }
    Err(why)
}

/// The error for a message that has no place in this turn.
fn not_now(message: &Message<'_>, wanted: &'static str) -> Error {
    out_of_turn(message, wanted)
}

/// The root of a tree that a client sends or takes: its user's own directory.
///
/// # Errors
/// It does not exist, or is no directory.
pub fn own_root(path: &std::path::Path) -> std::io::Result<Arc<Root>> {
    Root::open(path).map(Arc::new)
}
