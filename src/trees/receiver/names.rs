//! Files with several names: the first one comes, and the others become hard links to it when all is there.

use std::collections::HashMap;
use std::io::{self, Write};

use super::ReceiverStep;
use super::mirroring::Space;
use crate::error::{ErrorCode, Refusal, Result};
use crate::memory::Budget;
use crate::trees::Change;
use crate::wire::message::EntryKind;

/// Most bytes that are kept of files with several names: their paths...
const NAMES_LEN_MAX: usize = 128 * 1024 * 1024;
/// ... and what each of them takes besides.
const NAME_LEN: usize = 64;

/// The names of files that have several.
#[derive(Debug)]
pub(super) struct HardLinks {
    /// Paths of the files that come, by their entries.
    heads: HashMap<u32, Vec<u8>>,
    /// Their other names, in the order of the listing.
    names: Vec<HardLink>,
    /// Bytes that both take.
    len: usize,
    budget: Budget,
}

/// Another name of a file.
#[derive(Debug, PartialEq, Eq)]
struct HardLink {
    entry: u32,
    path: Vec<u8>,
    /// The entry of the file.
    head: u32,
}

impl HardLinks {
    /// None; what is kept of them counts for `budget`.
    pub(super) fn within(budget: Budget) -> Self {
        Self { heads: HashMap::new(), names: Vec::new(), len: 0, budget }
    }

    /// Notes a file that may get other names. Without room for it, those fail.
    pub(super) fn add_head(&mut self, entry: u32, path: &[u8]) {
        if self.take(path) {
            self.heads.insert(entry, path.to_vec());
        }
    }

    /// Notes another name.
    ///
    /// # Errors
    /// There is no room for it: here it is again.
    fn add(&mut self, link: HardLink) -> Result<(), HardLink> {
        if !self.take(&link.path) {
            return Err(link);
        }
        self.names.push(link);
        Ok(())
    }

    fn take(&mut self, path: &[u8]) -> bool {
        let len = self.len + path.len() + NAME_LEN;
        let has_room = len <= NAMES_LEN_MAX && self.budget.take(path.len() + NAME_LEN).is_ok();
        if has_room {
            self.len = len;
        }
        has_room
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    /// Another name of the file `head` is listed.
    pub(super) fn list_name(&mut self, entry: u32, path: Vec<u8>, head: u32) -> Result<()> {
        let Err(HardLink { path, .. }) = self.tree.names.add(HardLink { entry, path, head }) else { return Ok(()) };
        let why = format!("{}: too many hard links in one tree; send it in parts", self.tree.destination.shown(&path));
        self.fail(entry, &path, &Refusal::new(ErrorCode::Failed, why))
    }

    /// Gives files that have several names the others.
    pub(super) fn link_names(&mut self) -> Result<()> {
        for HardLink { entry, path, head } in std::mem::take(&mut self.tree.names.names) {
            let is_dir = self.tree.listed.as_ref().is_some_and(|listed| listed.has_dir(&path));
            if !is_dir && self.make_room(entry, &path, EntryKind::File, true)? == Space::None {
                continue;
            }
            let linked = match self.tree.names.heads.get(&head) {
                Some(head) => self.tree.destination.hard_link(head, &path),
                None => Err(io::Error::other("the file whose other name it is was not listed")),
            };
            match linked {
                Ok(true) => {
                    self.tree.has_made = true;
                    self.tell(entry, Change::Linked, &path, 0)?;
                }
                Ok(false) => {}
                Err(error) => self.fail_or_stop(entry, &path, &error)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pools;

    #[test]
    fn names_are_kept_within_the_budget() {
        let pool = Pools::<u8>::default().of(1);
        let mut links = HardLinks::within(pool.budget());
        links.add_head(0, b"first");
        links.add(HardLink { entry: 1, path: b"second".to_vec(), head: 0 }).unwrap();
        assert_eq!(pool.held(), 2 * NAME_LEN + b"firstsecond".len());
        links.len = NAMES_LEN_MAX;
        links.add(HardLink { entry: 2, path: b"third".to_vec(), head: 0 }).unwrap_err();
        assert_eq!(links.names, [HardLink { entry: 1, path: b"second".to_vec(), head: 0 }]);
    }
}
