//! Files that were requested and did not come yet.

use std::collections::HashMap;

use super::bad_small;
use crate::error::Result;
use crate::fs::part::resume::Leftover;
use crate::memory::{Budget, ENTRY_COST};
use crate::trees::TreeEntry;
use crate::trees::delta::CHUNKS_OUT_MAX;

/// Most partial files of earlier attempts that are kept open until their files come.
const PARTS_OPEN_MAX: usize = 64;
/// Memory that a partial file of an earlier attempt takes, in bytes.
const PART_COST: usize = 4 * 1024;

/// A file that was requested.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) part: Option<Box<Leftover>>,
    /// Whether something of another kind has its name, and is removed when the file is complete.
    pub(super) clears: bool,
    /// The listed entry of a file that may be the same; `None`: it is not.
    pub(super) entry: Option<TreeEntry>,
    /// Bytes of the `chunks` that were sent of its earlier version; 0: none.
    pub(super) chunks_len: usize,
}

impl Expected {
    /// Bytes of memory that it takes.
    fn memory(&self) -> usize {
        let copies = if self.entry.is_some() { 2 } else { 1 };
        copies * (self.path.len() + 2 * ENTRY_COST) + if self.part.is_some() { PART_COST } else { 0 }
    }
}

/// All files that were requested.
#[derive(Debug)]
pub(super) struct Expectations {
    files: HashMap<u32, Expected>,
    /// How many of them have a part.
    parts_open: usize,
    /// Bytes of `chunks` about them.
    chunks_out: usize,
    budget: Budget,
}

impl Expectations {
    /// None; what is kept of them counts for `budget`.
    pub(super) fn within(budget: Budget) -> Self {
        Self { files: HashMap::new(), parts_open: 0, chunks_out: 0, budget }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether one more part may be open.
    pub(super) const fn has_room_for_part(&self) -> bool {
        self.parts_open < PARTS_OPEN_MAX
    }

    /// Whether more chunks may be sent.
    pub(super) const fn has_room_for_chunks(&self) -> bool {
        self.chunks_out < CHUNKS_OUT_MAX
    }

    /// Notes that a file is to come.
    ///
    /// # Errors
    /// The budget is used up.
    pub(super) fn add(&mut self, entry: u32, file: Expected) -> Result<()> {
        self.budget.take(file.memory()).map_err(|over| over.refusal("what was listed and did not come"))?;
        self.parts_open += usize::from(file.part.is_some());
        self.chunks_out += file.chunks_len;
        self.files.insert(entry, file);
        Ok(())
    }

    /// A file comes.
    ///
    /// # Errors
    /// It was not requested, or came already.
    pub(super) fn take(&mut self, entry: u32) -> Result<Expected> {
        let file = self.files.remove(&entry);
        let file = file.ok_or_else(|| bad_small("a file came that was not wanted, or came already"))?;
        self.budget.give_back(file.memory());
        self.parts_open -= usize::from(file.part.is_some());
        self.chunks_out -= file.chunks_len;
        Ok(file)
    }

    /// The path of a file that is to come.
    pub(super) fn path_of(&self, entry: u32) -> Option<&[u8]> {
        self.files.get(&entry).map(|file| &*file.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pools;

    fn file(chunks_len: usize) -> Expected {
        Expected { path: b"path".to_vec(), mode: 0o644, part: None, clears: false, entry: None, chunks_len }
    }

    #[test]
    fn a_file_comes_once_and_only_if_it_was_asked_for() {
        let pool = Pools::<u8>::default().of(1);
        let mut expected = Expectations::within(pool.budget());
        expected.add(7, file(0)).unwrap();
        assert_eq!((expected.len(), expected.path_of(7), expected.path_of(8)), (1, Some(&b"path"[..]), None));
        assert!(pool.held() > 0);
        assert!(expected.take(8).is_err());
        assert_eq!(expected.take(7).unwrap().path, b"path");
        assert!(expected.take(7).is_err());
        assert_eq!((expected.is_empty(), pool.held()), (true, 0));
    }

    #[test]
    fn what_is_told_of_other_versions_has_a_limit_until_their_files_come() {
        let mut expected = Expectations::within(Budget::own());
        expected.add(0, file(CHUNKS_OUT_MAX)).unwrap();
        assert!(!expected.has_room_for_chunks());
        expected.take(0).unwrap();
        assert!(expected.has_room_for_chunks());
    }
}
