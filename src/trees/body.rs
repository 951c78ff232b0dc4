//! The bodies that are JSON: one object in a request, and one line an entry in the frames that follow it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::delta::Delta;
use super::filter::Selection;
use super::pack::Compress;
use super::shard::Shard;
use crate::error::{Error, Misbehaviour, Refusal, Result};
use crate::wire::message::EntryKind;
pub use crate::wire::path::PathText;

/// The body of a `pull` request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Paths, or patterns with `*`, `?` and `[]`; a directory whose path ends with a slash means what is in it.
    pub paths: Vec<PathText>,
    /// Whether directories come too, with all that is in them.
    #[serde(default)]
    pub recursive: bool,
    /// Whether a symlink's target comes instead of the symlink, as far as it is in the tree.
    #[serde(default)]
    pub follow: bool,
    /// Which entries are selected.
    #[serde(flatten)]
    pub selection: Selection,
    /// Most bytes a second; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bwlimit: Option<u64>,
    /// Whether the frames are compressed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compress: Compress,
    /// The part of the tree that goes over this connection; `None`: all of it.
    #[serde(rename = "share", default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// The body of a `push` request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Whether one source was named: if it is a file, `path` may be its new name.
    pub single: bool,
    /// Whether a tree is sent: `path` is made if it is missing.
    #[serde(default)]
    pub recursive: bool,
    /// Whether another connection gives directories their modes and times, when this one has ended.
    #[serde(rename = "helps", default, skip_serializing_if = "is_default")]
    pub is_secondary: bool,
    /// How to write.
    #[serde(flatten)]
    pub options: WriteOptions,
    /// Which entries are selected. In a mirror, what is left out stays.
    #[serde(flatten)]
    pub selection: Selection,
}

/// How a receiver writes.
#[expect(clippy::struct_excessive_bools, reason = "switches, each on its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    /// Whether files get the sender's modes and times.
    pub preserve: bool,
    /// Whether a file is on the disk before it is confirmed, so that it survives a power cut.
    pub sync: bool,
    /// Whether the partial files of an earlier attempt are resumed.
    pub resume: bool,
    /// Whether files are compared by their digests, and not by their times.
    #[serde(default, skip_serializing_if = "is_false")]
    pub checksum: bool,
    /// Whether only the changed parts of a changed file are sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delta: Delta,
    /// Whether nothing is written, and only reported what would be.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Whether entries that the sender does not have are removed...
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete: bool,
    /// ... even if that is more than half.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

impl Default for WriteOptions {
    /// Modes and times are kept, confirmed files are on the disk, and interrupted files are resumed.
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

/// An entry of a tree: one line of `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its path below the receiver's destination; empty: the destination itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// A symlink's target; `None`: it is no symlink.
    pub target: Option<Vec<u8>>,
    /// The number of an earlier entry that is the same file under another name; `None`: there is none.
    pub same: Option<u32>,
    /// Whether a later entry may be the same file under another name.
    pub has_links: bool,
    /// Why it is not sent, if that is a failure; `None`: it has not failed.
    pub error: Option<String>,
    /// Why it is not sent, if that is no failure; `None`: it is not skipped.
    pub skipped: Option<String>,
    /// Whether it is skipped because an earlier source has an entry of this path.
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

#[cfg(test)]
impl TreeEntry {
    /// An entry without anything special, for tests.
    pub(crate) fn plain(path: &str, kind: EntryKind) -> Self {
        let (target, same, error, skipped) = (None, None, None, None);
        let path = path.as_bytes().to_vec();
        let (size, mtime_ns, mode) = (1, 0, 0o644);
        Self { path, kind, size, mtime_ns, mode, target, same, has_links: false, error, skipped, has_met: false }
    }
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

/// Entries that are wanted: one line of `want`, for `count` entries from `first` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) first: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) count: u32,
    /// Of one entry: how many of its first bytes an earlier attempt has left; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    /// Of one entry: the digest of the receiver's file; the sender's is wanted only if its digest differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blake3: Option<String>,
    /// Of one entry: whether the chunks of the receiver's version were sent in `chunks`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) chunks: bool,
}

impl Wanted {
    /// One entry, all of it.
    pub(super) const fn plain(entry: u32) -> Self {
        Self { first: entry, count: 1, offset: None, blake3: None, chunks: false }
    }
}

/// A stretch of a file that is to be sent again: one line of `mend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stretch {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// How long it is, in bytes.
    pub(super) size: u64,
}

/// Entries that are safe or failed: one line of `kept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptLine<'a> {
    pub(super) first: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) count: u32,
    /// Why the entry failed; `None`: it is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Cow<'a, str>>,
    /// Whether it failed because the directory that it lies in failed, which was reported.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) with_dir: bool,
    /// A change to `path` that is no entry's commit, or in a dry run would be made; `None`: no such change.
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

/// A change that a receiver makes beside committing files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A file would be written; reported in a dry run only.
    Copied,
    /// A directory would be made; reported in a dry run only.
    Made,
    /// A symlink would be made, reported in a dry run only, or a file gets another name.
    Linked,
    /// An entry that the sender does not have is removed.
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
