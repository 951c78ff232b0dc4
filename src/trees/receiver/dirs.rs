//! Directories: made as they are listed, given their modes and times when nothing more is made in them.

use std::collections::HashSet;
use std::io::{self, Write};

use super::{ReceiverStep, over_limit};
use crate::error::{ErrorCode, Refusal, Result};
use crate::memory::{Budget, ENTRY_COST};
use crate::trees::{TreeEntry, TreeEvent};
use crate::wire::message::EntryKind;

/// Most directories of one tree whose mode and time are set at its end.
const DIRS_MAX: usize = 1_000_000;
/// Most bytes in the paths of those directories.
const DIRS_LEN_MAX: usize = 64 * 1024 * 1024;
/// Most directories that are noted as not made.
const LOST_DIRS_MAX: usize = 10_000;

/// The directories of a tree.
#[derive(Debug)]
pub(super) struct Dirs {
    /// Those that could not be made: what is in them fails with them, and is not reported one by one.
    lost: HashSet<Vec<u8>>,
    /// Those whose mode and time are to be set.
    made: Vec<MadeDir>,
    /// Bytes in the paths of those.
    made_len: usize,
    budget: Budget,
}

/// A directory whose mode and time are to be set.
#[derive(Debug)]
struct MadeDir {
    path: Vec<u8>,
    mode: u32,
    mtime_ns: i64,
}

impl Dirs {
    /// None; what is kept of them counts for `budget`.
    pub(super) fn within(budget: Budget) -> Self {
        Self { lost: HashSet::new(), made: Vec::new(), made_len: 0, budget }
    }

    /// Notes that something could not be made, if it is a directory.
    pub(super) fn lose(&mut self, path: &[u8], kind: EntryKind) {
        // Beyond the limit each entry is reported with its own error.
        if kind == EntryKind::Dir && self.lost.len() < LOST_DIRS_MAX {
            self.lost.insert(path.to_vec());
        }
    }

    /// Whether a directory above `path` could not be made.
    pub(super) fn is_in_lost(&self, path: &[u8]) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        !self.lost.is_empty() && slashes.filter_map(|(at, _)| path.get(..at)).any(|above| self.lost.contains(above))
    }

    /// Notes a directory whose mode and time are to be set.
    fn add(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<()> {
        if self.made.len() >= DIRS_MAX {
            return Err(io::Error::other(format!("over {DIRS_MAX} directories in one tree; send it in parts")));
        }
        let held = path.len() + ENTRY_COST;
        self.budget.take(held).map_err(|over| io::Error::other(format!("the directories: {over}")))?;
        self.made_len += path.len();
        self.made.push(MadeDir { path: path.to_vec(), mode: entry.mode, mtime_ns: entry.mtime_ns });
        Ok(())
    }

    /// Whether their paths are within the limit.
    ///
    /// # Errors
    /// They are not.
    pub(super) fn check_len(&self) -> Result<()> {
        if self.made_len <= DIRS_LEN_MAX {
            return Ok(());
        }
        let limit = DIRS_LEN_MAX >> 20;
        Err(over_limit(format!("the paths of its directories are over {limit} MiB; copy it in parts")))
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    /// Makes a directory that is listed; `false`: it was there.
    pub(super) fn make_dir(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<bool> {
        if path.is_empty() {
            return Ok(false);
        }
        let is_new = self.tree.destination.make_dir(path, entry.mode)?;
        if self.tree.destination.options.preserve {
            self.tree.dirs.add(path, entry)?;
        }
        Ok(is_new)
    }

    pub(super) fn fail_with_dir(&mut self, number: u32, path: &[u8], kind: EntryKind) -> Result<()> {
        self.tree.kept.note_failure();
        // Each connection lists the directories, and the first one counts them.
        if self.tree.is_secondary && kind == EntryKind::Dir {
            return Ok(());
        }
        let text = format!("{}: the directory above it could not be made", self.tree.destination.shown(path));
        let why = Refusal::new(ErrorCode::Failed, text);
        (self.watch)(TreeEvent::FailedWithDir { path, why: &why })?;
        self.tree.kept.add_failure(number, &why, true)
    }

    /// Modes and times of directories, now that nothing more is made in them.
    pub(super) fn finish_dirs(&mut self) -> Result<()> {
        let made = std::mem::take(&mut self.tree.dirs.made);
        if self.tree.destination.options.dry_run {
            return Ok(());
        }
        for MadeDir { path, mode, mtime_ns } in made.into_iter().rev() {
            if let Err(error) = self.tree.destination.finish_dir(&path, mode, mtime_ns) {
                let why = self.tree.destination.explained(&path, &error);
                self.fail(u32::MAX, &path, &why)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_lost_directory_is_lost_too() {
        let mut dirs = Dirs::within(Budget::own());
        dirs.lose(b"a/b", EntryKind::Dir);
        dirs.lose(b"file", EntryKind::File);
        for (path, is_lost) in
            [("a/b/c", true), ("a/b/c/d", true), ("a/bc/d", false), ("a/b", false), ("file/x", false)]
        {
            assert_eq!(dirs.is_in_lost(path.as_bytes()), is_lost, "{path}");
        }
    }

    #[test]
    fn the_paths_of_directories_have_a_limit() {
        let mut dirs = Dirs::within(Budget::own());
        dirs.check_len().unwrap();
        dirs.made_len = DIRS_LEN_MAX + 1;
        assert!(dirs.check_len().unwrap_err().to_string().contains("over 64 MiB"));
    }
}
