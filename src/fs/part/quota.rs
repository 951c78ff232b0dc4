//! How many bytes of one owner may be unfinished at the same time: those on their way in, and those that wait to be
//! gone on with. One sender does not take the room of the others.
//!
//! An owner is a text: what [`Owner`](crate::trust::Owner) says of a key, or `guest ADDRESS` for those who have none.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::records::{FileId, PartRecord, Records};
use crate::fs::{Error, ErrorKind, Result};

/// Unfinished bytes of one known peer.
pub const UNFINISHED_LEN_MAX: u64 = 1024 * 1024 * 1024 * 1024;
/// Unfinished bytes of the guests of one address.
pub const GUEST_UNFINISHED_LEN_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Unfinished bytes of all guests together.
pub const GUESTS_UNFINISHED_LEN_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Uploads of the guests of one address that are kept at the same time.
pub const GUEST_UPLOADS_KEPT_MAX: usize = 100;
/// Uploads of all guests together that are kept at the same time.
pub const GUESTS_UPLOADS_KEPT_MAX: usize = 1_000;

/// What the text of an owner that has no key begins with.
pub const GUEST: &str = "guest ";

/// Whether this is an owner that has no key.
pub fn is_guest(owner: &str) -> bool {
    owner.starts_with(GUEST)
}

/// How much may be unfinished, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Of the owner.
    pub len: u64,
    /// Of all guests together, if the owner is one.
    pub guests_len: u64,
}

impl Quota {
    /// The quota of everyone but the own user, who has none.
    pub const fn of(is_guest: bool) -> Self {
        let len = if is_guest { GUEST_UNFINISHED_LEN_MAX } else { UNFINISHED_LEN_MAX };
        Self { len, guests_len: GUESTS_UNFINISHED_LEN_MAX }
    }

    /// No limit.
    pub const NONE: Self = Self { len: u64::MAX, guests_len: u64::MAX };
}

/// What is on its way in.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    next_id: u64,
    shares: HashMap<u64, Arrival>,
}

#[derive(Debug)]
struct Arrival {
    owner: String,
    len: u64,
    /// The part, if it is on record: it is counted here.
    file: Option<FileId>,
}

/// The share of one file that is arriving; given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    records: Arc<Records>,
    id: u64,
    owner: String,
    quota: Quota,
    /// Unfinished bytes that wait: of the owner, and of all guests.
    kept: (u64, u64),
    len: u64,
}

impl Share {
    /// Takes a share of `len` bytes; `part` is what the file goes on with. What waits is counted if `counts_kept`,
    /// which reads all records.
    ///
    /// # Errors
    /// It would be more than the quota.
    pub fn take(
        records: &Arc<Records>,
        owner: &str,
        quota: Quota,
        (len, part, counts_kept): (u64, Option<&PartRecord>, bool),
    ) -> Result<Self> {
        let file = part.map(|record| record.file);
        let id = {
            let mut arriving = records.arriving();
            arriving.next_id += 1;
            let id = arriving.next_id;
            arriving.shares.insert(id, Arrival { owner: owner.to_owned(), len: 0, file });
            id
        };
        let mut share = Self { records: Arc::clone(records), id, owner: owner.to_owned(), quota, kept: (0, 0), len: 0 };
        if counts_kept && quota != Quota::NONE {
            share.kept = records.kept_len(owner);
        }
        share.grow_to(len)?;
        Ok(share)
    }

    /// The file has, or is to have, this many bytes.
    ///
    /// # Errors
    /// It would be more than the quota; the share stays as it was.
    pub fn grow_to(&mut self, len: u64) -> Result<()> {
        if len <= self.len {
            return Ok(());
        }
        let mut arriving = self.records.arriving();
        let others = |is_counted: &dyn Fn(&Arrival) -> bool| {
            let others = arriving.shares.iter().filter(|(id, share)| **id != self.id && is_counted(share));
            others.fold(0_u64, |sum, (_, share)| sum.saturating_add(share.len))
        };
        let of_owner = others(&|share| share.owner == self.owner).saturating_add(self.kept.0).saturating_add(len);
        if of_owner > self.quota.len {
            return Err(beyond(of_owner, "the unfinished uploads of this sender", self.quota.len));
        }
        if is_guest(&self.owner) {
            let of_guests = others(&|share| is_guest(&share.owner)).saturating_add(self.kept.1).saturating_add(len);
            if of_guests > self.quota.guests_len {
                return Err(beyond(of_guests, "the unfinished uploads of all guests", self.quota.guests_len));
            }
        }
        if let Some(share) = arriving.shares.get_mut(&self.id) {
            share.len = len;
        }
        self.len = len;
        Ok(())
    }

    /// The file is on record now: it is counted here, and not among those that wait.
    pub fn is_of(&self, record: &PartRecord) {
        if let Some(share) = self.records.arriving().shares.get_mut(&self.id) {
            share.file = Some(record.file);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.records.arriving().shares.remove(&self.id);
    }
}

fn beyond(len: u64, what: &str, most: u64) -> Error {
    let why = format!("{what} would be {len} bytes, over the limit of {most}; finish or cancel one, or wait");
    Error::new(ErrorKind::NoSpace, why)
}

impl Records {
    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that wait to be gone on with and are not arriving: of this owner, and of all guests.
    fn kept_len(&self, owner: &str) -> (u64, u64) {
        let all = self.all();
        let arriving = self.arriving();
        let waits = |record: &&PartRecord| !arriving.shares.values().any(|share| share.file == Some(record.file));
        all.iter().filter(waits).fold((0, 0), |(of_owner, of_guests): (u64, u64), record| {
            let len = |is_counted: bool| if is_counted { record.len() } else { 0 };
            (
                of_owner.saturating_add(len(record.owner == owner)),
                of_guests.saturating_add(len(is_guest(&record.owner))),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::fs::part::records::PARTS_DIR;
    use crate::fs::part::tests::{PLAIN, opened};
    use crate::fs::part::upload::NewUpload;
    use crate::fs::part::{Part, Parts};

    const QUOTA: Quota = Quota { len: 10, guests_len: 15 };

    fn records(home: &tempfile::TempDir) -> Arc<Records> {
        Arc::new(Records::open(home.path().join(PARTS_DIR)).unwrap())
    }

    fn take(records: &Arc<Records>, owner: &str, len: u64) -> Result<Share> {
        Share::take(records, owner, QUOTA, (len, None, true))
    }

    fn upload(records: &Arc<Records>, dir: &tempfile::TempDir, owner: &str, name: &str) -> Part {
        let parts = Parts::new(Some(Arc::clone(records)), None);
        let new = NewUpload { owner, length: None, finish_conditions: "" };
        parts.create_upload(opened(dir), OsStr::new(name), PLAIN, &new).unwrap().1
    }

    #[test]
    fn what_arrives_and_what_waits_is_counted_together_and_once() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let records = records(&home);
        let mut one = take(&records, "ann", 6).unwrap();
        assert!(take(&records, "ann", 5).is_err());
        take(&records, "bob", 10).unwrap();
        one.grow_to(10).unwrap();
        let over = one.grow_to(11).unwrap_err();
        assert!(over.kind() == ErrorKind::NoSpace && over.why().contains("11 bytes, over the limit of 10"), "{over}");
        drop(one);
        let mut part = upload(&records, &dir, "ann", "a");
        part.write(b"1234567").unwrap();
        let share = take(&records, "ann", 0).unwrap();
        drop(share);
        let share = Share::take(&records, "ann", QUOTA, (10, part.record.as_ref(), true)).unwrap();
        drop(share);
        drop(part);
        assert!(take(&records, "ann", 4).is_err());
        take(&records, "ann", 3).unwrap();
        Share::take(&records, "ann", Quota::NONE, (u64::MAX, None, true)).unwrap();
    }

    #[test]
    fn guests_share_a_quota_beside_their_own() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let records = records(&home);
        let _one = take(&records, "guest 192.0.2.1", 10).unwrap();
        assert!(take(&records, "guest 192.0.2.2", 6).is_err());
        take(&records, "guest 192.0.2.2", 5).unwrap();
        take(&records, "ann", 10).unwrap();
        for at in 0..GUEST_UPLOADS_KEPT_MAX {
            drop(upload(&records, &dir, "guest 192.0.2.1", &at.to_string()));
        }
        let parts = Parts::new(Some(Arc::clone(&records)), None);
        let begin = |owner| {
            let new = NewUpload { owner, length: None, finish_conditions: "" };
            parts.create_upload(opened(&dir), OsStr::new("x"), PLAIN, &new).map(drop)
        };
        assert_eq!(begin("guest 192.0.2.1").unwrap_err().kind(), ErrorKind::TooMany);
        begin("guest 192.0.2.2").unwrap();
        begin("ann").unwrap();
    }
}
