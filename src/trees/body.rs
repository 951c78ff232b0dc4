//! What the bodies say that are JSON: one object in a request, and a line an entry in what follows it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::delta::Delta;
use super::filter::Selection;
use super::pack::Compress;
use super::shard::Shard;
use crate::error::{Error, Misbehaviour, Refusal, Result};
use crate::wire::message::EntryKind;
pub use crate::wire::path::PathText;

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
    /// Compressed or not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compress: Compress,
    /// This part of them, if there are several connections.
    #[serde(rename = "share", default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// How a `push` is to be taken: the body of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// One source was named: if it is a file, `path` may be its new name.
    pub single: bool,
    /// A tree comes: `path` is made if it is missing.
    #[serde(default)]
    pub recursive: bool,
    /// Another connection gives directories their modes and times, when all is in them.
    #[serde(rename = "helps", default, skip_serializing_if = "is_default")]
    pub is_secondary: bool,
    /// How to write.
    #[serde(flatten)]
    pub options: WriteOptions,
    /// What of it is meant: in a mirror, what is left out stays.
    #[serde(flatten)]
    pub selection: Selection,
}

/// How a target writes.
#[expect(clippy::struct_excessive_bools, reason = "switches, each on its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    /// Modes and times are the source's.
    pub preserve: bool,
    /// What is confirmed survives a power cut.
    pub sync: bool,
    /// What an earlier attempt left is gone on with.
    pub resume: bool,
    /// What is there is compared by its digest, and not by its time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub checksum: bool,
    /// Whether of a changed file only what changed is to come.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delta: Delta,
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

impl Default for WriteOptions {
    /// Modes and times are kept, what is confirmed is on the disk, and interrupted files are gone on with.
    fn default() -> Self {
        Self {
            preserve: true,
            sync: true,
            resume: true,
            checksum: false,
            delta: Delta::default(),
            dry_run: false,
            delete: false,
            force: false,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// One thing in a tree, a line of `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Where it goes, from the target's place on; empty is that place itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
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
    /// The reason is that an earlier source has something of this path.
    pub has_met: bool,
}

/// An entry as JSON has it.
#[derive(Serialize, Deserialize)]
struct EntryLine<'a> {
    path: PathText,
    kind: EntryKind,
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
    #[serde(default, skip_serializing_if = "is_false")]
    met: bool,
}

impl TreeEntry {
    pub(super) fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        let line = EntryLine {
            path: PathText::of(&self.path),
            kind: self.kind,
            size: self.size,
            mtime_ns: self.mtime_ns,
            mode: self.mode,
            target: self.target.as_deref().map(PathText::of),
            same: self.same,
            links: self.has_links,
            error: self.error.as_deref().map(Cow::Borrowed),
            skipped: self.skipped.as_deref().map(Cow::Borrowed),
            met: self.has_met,
        };
        write_line(&line, to)
    }

    pub(super) fn read(line: &[u8]) -> Result<Self> {
        let line: EntryLine<'_> = read_line(line, "list")?;
        Ok(Self {
            path: name_of(line.path, "list")?,
            kind: line.kind,
            size: line.size,
            mtime_ns: line.mtime_ns,
            mode: line.mode,
            target: line.target.map(|target| name_of(target, "list")).transpose()?,
            same: line.same,
            has_links: line.links,
            error: line.error.map(Cow::into_owned),
            skipped: line.skipped.map(Cow::into_owned),
            has_met: line.met,
        })
    }
}

/// A path in the body of a `what`.
pub(super) fn name_of(text: PathText, what: &'static str) -> Result<Vec<u8>> {
    match text {
        PathText::Plain(plain) => Ok(plain.into_bytes()),
        encoded @ PathText::Encoded { .. } => {
            let bad = |refusal: Refusal| Misbehaviour::BadBody { what, why: refusal.message };
            Ok(encoded.bytes().map_err(bad)?.into_owned())
        }
    }
}

/// Entries that are wanted, a line of `want`: so many from `first` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) first: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) count: u32,
    /// Of one entry: its first bytes are there already, this many, from an earlier attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    /// Of one entry: the digest of the whole file there, which is wanted only if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blake3: Option<String>,
    /// Of one entry: what is there of another version was told in `chunks`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) chunks: bool,
}

impl Wanted {
    /// One entry, all of it.
    pub(super) const fn plain(entry: u32) -> Self {
        Self { first: entry, count: 1, offset: None, blake3: None, chunks: false }
    }
}

/// A stretch of a file, a line of `mend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stretch {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// How long it is, in bytes.
    pub(super) size: u64,
}

/// Entries that are safe or failed, a line of `kept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptLine<'a> {
    pub(super) first: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) count: u32,
    /// Why the entry could not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Cow<'a, str>>,
    /// It failed with the directory that it lies in, of which that was said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) with_dir: bool,
    /// Of no entry: what was done, or would be, to which path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) did: Option<Change>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathText>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) size: u64,
}

impl KeptLine<'_> {
    pub(super) const fn of(first: u32, count: u32) -> Self {
        Self { first, count, code: None, message: None, with_dir: false, did: None, path: None, size: 0 }
    }
}

/// What a target does beside taking files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
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

pub(super) fn write_line(line: &impl Serialize, to: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(&mut *to, line).map_err(|error| Error::ours("JSON")(error.into()))?;
    to.push(b'\n');
    Ok(())
}

pub(super) fn read_line<'l, T: Deserialize<'l>>(line: &'l [u8], what: &'static str) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| Misbehaviour::BadBody { what, why: error.to_string() }.into())
}

pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
