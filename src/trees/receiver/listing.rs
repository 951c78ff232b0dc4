//! The listing: each entry is counted, compared and answered.

use std::io::Write;

use super::mirroring::Space;
use super::{ReceiverStep, bad_list, over_limit, too_large};
use crate::error::{ErrorCode, Refusal, Result};
use crate::trees::body::lines;
use crate::trees::first::{Earlier, FIRST_WINS};
use crate::trees::{Change, OUTSTANDING_MAX, TreeEntry, TreeEvent};
use crate::wire::message::{EntryKind, Message};

/// Most entries of one listing.
pub const TREE_ENTRIES_MAX: u32 = 50_000_000;
/// Most bytes of one listing: that number of entries with paths of usual length.
pub const TREE_LISTING_LEN_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Most memory that a mirror keeps of a listing, in bytes: about five million names.
pub const MIRROR_LEN_MAX: usize = 512 * 1024 * 1024;

/// How far the listing is.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The number of the next entry, which is how many came.
    next: u32,
    /// Bytes so far.
    len: u64,
    /// Whether the last list came.
    is_complete: bool,
}

impl Listing {
    /// A list of `len` bytes came.
    ///
    /// # Errors
    /// The listing is complete already, or too long.
    fn begin_list(&mut self, len: usize) -> Result<()> {
        if self.is_complete {
            return Err(bad_list("it comes after the last one"));
        }
        self.len = self.len.saturating_add(len as u64);
        if self.len > TREE_LISTING_LEN_MAX {
            let text = format!("the listing is over {} GiB; copy the tree in parts", TREE_LISTING_LEN_MAX >> 30);
            return Err(over_limit(text));
        }
        Ok(())
    }

    /// The number of the entry that comes now.
    ///
    /// # Errors
    /// There are too many.
    fn number(&mut self) -> Result<u32> {
        let number = self.next;
        if number >= TREE_ENTRIES_MAX {
            return Err(over_limit(format!("the tree has over {TREE_ENTRIES_MAX} entries; copy it in parts")));
        }
        self.next = number + 1;
        Ok(number)
    }

    /// Whether the last list came.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    pub(super) fn take_list(&mut self, body: &[u8], is_last: bool) -> Result<()> {
        self.tree.listing.begin_list(body.len())?;
        let mut count = 0;
        for line in lines(body) {
            let entry = TreeEntry::read(line)?;
            if !self.tree.destination.is_settled() {
                let (path, name) = self.tree.destination.settle(&entry)?;
                (self.watch)(TreeEvent::Placed { path: &path, name: name.as_deref() })?;
                let placed = Message::Want { count: 0, path: Some(path.into()), name: name.map(Into::into) };
                self.sender.queue(&placed, &[])?;
            }
            let number = self.tree.listing.number()?;
            count += 1;
            self.look_at(number, &entry)?;
            if self.tree.comparing.is_long() {
                self.answer(std::mem::take(&mut count))?;
            }
            if self.tree.expected.len() > 4 * OUTSTANDING_MAX {
                return Err(bad_list("the sender lists more and more without sending what is wanted"));
            }
            self.tree.dirs.check_len()?;
        }
        if is_last {
            self.tree.listing.is_complete = true;
            (self.watch)(TreeEvent::ListedAll)?;
        }
        self.answer(count)
    }

    /// Sends which of the next `count` entries are wanted.
    fn answer(&mut self, count: u32) -> Result<()> {
        self.tree.comparing.answered();
        // What failed first: what is not wanted and did not fail is the same here.
        self.send_kept()?;
        let body = self.tree.comparing.wanted.take()?;
        let sent = self.sender.send(&Message::Want { count, path: None, name: None }, &body);
        self.as_far_as_it_goes(sent)
    }

    fn look_at(&mut self, number: u32, entry: &TreeEntry) -> Result<()> {
        let is_dir = entry.kind == EntryKind::Dir && entry.error.is_none() && entry.skipped.is_none();
        let added = self.tree.listed.as_mut().map(|listed| listed.add(&entry.path, is_dir)).transpose();
        let is_first = added.map_err(|over| over.refusal("the listing"))?.unwrap_or(false);
        if self.tree.listed.as_ref().is_some_and(|listed| listed.kept_len() > MIRROR_LEN_MAX) {
            let limit = MIRROR_LEN_MAX >> 20;
            let text = format!("the tree has more names than are kept for a mirror ({limit} MiB); mirror it in parts");
            return Err(over_limit(text));
        }
        if self.does_not_come(number, entry)? {
            return Ok(());
        }
        let met = self.tree.groups.as_ref().map_or(Ok(None), |groups| groups.meet(entry));
        let entry = match met {
            Ok(None) => entry,
            // Together with what is there, as it is there.
            Ok(Some(Earlier::Dir(mode, mtime_ns))) if entry.kind == EntryKind::Dir => {
                &TreeEntry { mtime_ns, mode, ..entry.clone() }
            }
            Ok(Some(_)) => {
                return (self.watch)(TreeEvent::Skipped { path: &entry.path, why: FIRST_WINS, has_met: true });
            }
            Err(full) => return Err(over_limit(format!("{full}; copy them one after the other"))),
        };
        let path = match self.tree.destination.path_of(entry, number == 0) {
            Ok(path) => path,
            Err(why) => return self.fail(number, &entry.path, &why),
        };
        if self.tree.dirs.is_in_lost(&path) {
            return self.fail_with_dir(number, &path, entry.kind);
        }
        if let Some(head) = entry.same {
            return self.list_name(number, path, head);
        }
        if entry.has_links && entry.kind == EntryKind::File {
            self.tree.names.add_head(number, &path);
        }
        // What comes twice in one listing is not to remove what it brought itself.
        let room = if is_first { self.make_room(number, &path, entry.kind, false)? } else { Space::Free };
        if room == Space::None {
            self.tree.dirs.lose(&path, entry.kind);
            return Ok(());
        }
        let (made, change) = match entry.kind {
            EntryKind::File => return self.look_at_file(number, path, entry, room == Space::WhenWhole),
            EntryKind::Dir => (self.make_dir(&path, entry), Change::Made),
            EntryKind::Link => (self.tree.destination.make_link(&path, entry), Change::Linked),
            EntryKind::Other => return Ok(()),
        };
        match made {
            Ok(is_new) if is_new && self.tree.destination.options.dry_run => self.tell(number, change, &path, 0),
            Ok(is_new) => {
                self.tree.has_made |= is_new;
                Ok(())
            }
            // Each connection lists it and fails the same way; the first one reports it.
            Err(_) if self.tree.is_secondary => {
                self.tree.dirs.lose(&path, entry.kind);
                self.tree.kept.note_failure();
                Ok(())
            }
            Err(error) => {
                self.tree.dirs.lose(&path, entry.kind);
                self.fail_or_stop(number, &path, &error)
            }
        }
    }

    /// Whether the entry does not come: the sender cannot send it, or it was not requested. That is reported.
    fn does_not_come(&mut self, number: u32, entry: &TreeEntry) -> Result<bool> {
        if let Some(why) = &entry.error {
            let why = Refusal::new(ErrorCode::Failed, why.as_str());
            self.tree.kept.note_failure();
            return (self.watch)(TreeEvent::Failed { path: &entry.path, why: &why }).map(|()| true);
        }
        if self.tree.requested.as_ref().is_some_and(|requested| !requested.holds(entry)) {
            let why = format!("{}: was not asked for", String::from_utf8_lossy(&entry.path));
            return self.fail(number, &entry.path, &Refusal::new(ErrorCode::BadName, why)).map(|()| true);
        }
        if entry.kind == EntryKind::File && entry.skipped.is_none() && self.is_too_large(entry.size) {
            let why = too_large(&String::from_utf8_lossy(&entry.path), entry.size);
            return self.fail(number, &entry.path, &why).map(|()| true);
        }
        if let Some(why) = &entry.skipped {
            return (self.watch)(TreeEvent::Skipped { path: &entry.path, why, has_met: entry.has_met }).map(|()| true);
        }
        Ok(false)
    }

    /// Whether a file of `size` bytes is larger than what was requested.
    pub(super) fn is_too_large(&self, size: u64) -> bool {
        self.tree.requested.as_ref().is_some_and(|requested| !requested.is_small_enough(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_numbered_until_the_last_list() {
        let mut listing = Listing::default();
        listing.begin_list(100).unwrap();
        assert_eq!([listing.number().unwrap(), listing.number().unwrap()], [0, 1]);
        listing.begin_list(0).unwrap();
        listing.is_complete = true;
        assert!(listing.begin_list(1).unwrap_err().to_string().contains("after the last one"));
    }

    #[test]
    fn a_listing_without_end_is_refused() {
        let mut listing = Listing { next: TREE_ENTRIES_MAX - 1, ..Listing::default() };
        assert_eq!(listing.number().unwrap(), TREE_ENTRIES_MAX - 1);
        assert!(listing.number().unwrap_err().to_string().contains("over 50000000 entries"));
        let mut listing = Listing { len: TREE_LISTING_LEN_MAX - 1, ..Listing::default() };
        listing.begin_list(1).unwrap();
        assert!(listing.begin_list(1).unwrap_err().to_string().contains("over 8 GiB"));
    }
}
