//! Where one session makes its parts, and what of them is on record.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::attributes::{Preserved, first_mode, mode_of, umask};
use super::names::{random_token, temporary_name};
use super::records::{Records, Writing};
use super::resume::{Check, Leftover};
use super::{Part, Verified, remove};
use crate::fs::digest::Digest;
use crate::fs::unix::{identity_of, timestamps};
use crate::fs::{Error, ErrorKind, Result};

/// Names tried before giving up; each has 32 random bits.
const ATTEMPTS_MAX: usize = 16;

/// Where a session makes its parts.
#[derive(Debug)]
pub struct Parts {
    /// `None`: there is no home, and nothing is kept.
    records: Option<Arc<Records>>,
    /// The owner of its parts. `None`: a guest, of whom none is kept.
    owner: Option<String>,
    session: Mutex<PartsState>,
}

/// What changes of it.
#[derive(Debug, Default)]
pub(super) struct PartsState {
    token: String,
    /// Parts that are neither a file yet nor removed nor kept.
    pub(super) open: usize,
    /// Whether any part may be on record: else none is looked for when a file gets its name.
    pub(super) has_kept: bool,
    /// `None` until the first part is made.
    writing: Option<Writing>,
}

impl Parts {
    /// Parts of `owner`, on record in `records`.
    pub fn new(records: Option<Arc<Records>>, owner: Option<String>) -> Arc<Self> {
        let has_kept = records.as_ref().is_some_and(|records| records.has_any());
        let session = PartsState { token: random_token(), has_kept, ..PartsState::default() };
        Arc::new(Self { records, owner, session: Mutex::new(session) })
    }

    /// Parts of which none is kept.
    pub fn unrecorded() -> Arc<Self> {
        Self::new(None, None)
    }

    /// The records, and whose parts are made here; `None`: none of these is kept.
    pub fn recorded(&self) -> Option<(&Records, &str)> {
        self.records.as_deref().zip(self.owner.as_deref())
    }

    /// The records; `None`: there is no home, and nothing is kept.
    pub const fn records(&self) -> Option<&Arc<Records>> {
        self.records.as_ref()
    }

    /// Begins a file that is to become `target` in `dir`; one that fails leaves nothing behind.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn create(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, preserved: Preserved) -> Result<Part> {
        let mode = first_mode(mode_of(&dir, target, preserved));
        let mut part = self.make(dir, target, mode)?;
        // Who puts a file may have BLAKE3 and nothing else.
        part.digest = Digest::plain();
        Ok(part)
    }

    /// As [`create`](Self::create); if it fails, what has come is kept for the owner's next attempt.
    ///
    /// # Errors
    /// As there.
    pub fn create_kept(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, preserved: Preserved) -> Result<Part> {
        let mut part = self.create(dir, target, preserved)?;
        part.digest = Digest::default();
        part.keep();
        Ok(part)
    }

    /// As [`create`](Self::create), without a digest: who sends it has none of this kind. If it fails, what has come
    /// is kept for the owner's next attempt, which hashes it.
    ///
    /// # Errors
    /// As there.
    pub fn create_counted(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, preserved: Preserved) -> Result<Part> {
        let mode = first_mode(mode_of(&dir, target, preserved));
        let mut part = self.make(dir, target, mode)?;
        part.keep();
        Ok(part)
    }

    /// A file that is to become `target` in `dir`, all of it at once: `bytes`, whose digest was compared.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn whole(
        self: &Arc<Self>,
        dir: Arc<Dir>,
        target: &OsStr,
        preserved: Preserved,
        bytes: &[u8],
    ) -> Result<Verified> {
        // Of many small files each system call counts: most modes can be had with the file.
        let mode = mode_of(&dir, target, preserved);
        let at_once = mode.filter(|mode| mode & umask() == 0 && mode & 0o600 == 0o600);
        let mut part = self.make(dir, target, at_once.unwrap_or(first_mode(mode)))?;
        part.file.write_all(bytes)?;
        part.set(mode.filter(|_| at_once.is_none()), preserved.mtime_ns)?;
        Ok(Verified(part))
    }

    /// What an earlier attempt of the same owner has left of `target`, if it has left anything.
    pub fn find(&self, dir: &Arc<Dir>, target: &OsStr) -> Option<Leftover> {
        let (records, owner) = self.recorded()?;
        let record = records.find(owner, identity_of(&**dir).ok()?, target)?;
        Leftover::open(Arc::clone(dir), record)
    }

    /// Whether `name` in `dir` is a part on record that nothing holds, by any owner.
    pub fn is_idle(&self, dir: &Dir, name: &OsStr) -> bool {
        self.records.as_ref().is_some_and(|records| records.has_idle(dir, name))
    }

    /// As [`create_kept`](Self::create_kept), for bytes that are verified otherwise or not at all: no digest is made of
    /// them. What has come is kept if `source` says where it comes from.
    ///
    /// # Errors
    /// As there.
    pub fn create_unhashed(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, source: Option<String>) -> Result<Part> {
        let mut part = self.create_kept(dir, target, Preserved::default())?;
        part.digest = Digest::length_only(0);
        part.set_source(source);
        Ok(part)
    }

    /// Goes on with what an earlier attempt left: what is there is hashed on a thread of its own.
    ///
    /// # Errors
    /// The disk failed, or no thread is left.
    pub fn resume(self: &Arc<Self>, leftover: Leftover) -> io::Result<Part> {
        let (digest, check) = Check::begin(&leftover.file, leftover.len)?;
        self.go_on(leftover, digest, Some(check))
    }

    /// As [`resume`](Self::resume), for bytes of which no digest is made: what is there is believed, unless the caller
    /// compares it.
    ///
    /// # Errors
    /// The disk failed.
    pub fn resume_unhashed(self: &Arc<Self>, leftover: Leftover) -> io::Result<Part> {
        let digest = Digest::length_only(leftover.len);
        self.go_on(leftover, digest, None)
    }

    fn go_on(self: &Arc<Self>, leftover: Leftover, digest: Digest, check: Option<Check>) -> io::Result<Part> {
        let Leftover { dir, record, file, len } = leftover;
        let mut part = Part {
            parts: Arc::clone(self),
            name: record.name(),
            target: record.target(),
            dir,
            file,
            digest,
            is_kept: true,
            source: record.source().map(str::to_owned),
            record: Some(record),
            check,
            beginning: Vec::new(),
            is_over: false,
        };
        self.session().open += 1;
        io::Seek::seek(&mut part.file, io::SeekFrom::Start(len))?;
        Ok(part)
    }

    /// Makes a directory under a temporary name beside `target`, in which something is made whole. It counts as open
    /// until [`close_one`](Self::close_one): what a crash leaves is swept, with all that is in it.
    pub(in crate::fs) fn make_staging(&self, dir: &Dir, target: &OsStr) -> Result<OsString> {
        let (name, ()) =
            self.with_name(dir, target, |name| rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)))?;
        Ok(name)
    }

    pub(super) fn make(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, mode: u32) -> Result<Part> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (name, file) =
            self.with_name(&dir, target, |name| rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(mode)))?;
        Ok(Part {
            parts: Arc::clone(self),
            dir,
            name,
            target: target.to_owned(),
            file: file.into(),
            digest: Digest::length_only(0),
            is_kept: false,
            record: None,
            source: None,
            check: None,
            beginning: Vec::new(),
            is_over: false,
        })
    }

    /// Makes something under a temporary name beside `target`, and counts it as open.
    fn with_name<T>(
        &self,
        dir: &impl AsFd,
        target: &OsStr,
        make: impl Fn(&OsStr) -> Result<T, rustix::io::Errno>,
    ) -> Result<(OsString, T)> {
        let mut session = self.session();
        for _ in 0..ATTEMPTS_MAX {
            if let Some(records) = &self.records {
                note(&mut session, records, dir);
            }
            let name = temporary_name(target, &session.token);
            match make(&name) {
                Ok(made) => {
                    session.open += 1;
                    return Ok((name, made));
                }
                Err(rustix::io::Errno::EXIST) => {
                    session.token = random_token();
                    if let Some(writing) = &mut session.writing {
                        writing.forget_dirs();
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::new(ErrorKind::TooMany, "no free temporary name beside the target"))
    }

    pub(super) fn session(&self) -> MutexGuard<'_, PartsState> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file has its name: what an earlier attempt left of it is of no use any more.
    pub(super) fn supersede(&self, dir: &Dir, target: &OsStr) {
        if !self.session().has_kept {
            return;
        }
        let Some((records, owner)) = self.recorded() else { return };
        let left = identity_of(dir).ok().and_then(|dir| records.find(owner, dir, target));
        if let Some(left) = left {
            records.remove_part(&left);
        }
    }

    /// One part less is open.
    pub(in crate::fs) fn close_one(&self) {
        let mut session = self.session();
        session.open = session.open.saturating_sub(1);
        if session.open == 0
            && let Some(writing) = &mut session.writing
        {
            writing.clear();
        }
    }

    /// Makes a symlink `target` in `dir` that leads to `to`, in place of a file or symlink, at once.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn put_symlink(&self, dir: &Dir, target: &OsStr, to: &OsStr, mtime_ns: Option<i64>) -> Result<()> {
        let (name, ()) = self.with_name(dir, target, |name| rustix::fs::symlinkat(to, dir, name))?;
        let timed = mtime_ns
            .map(|mtime_ns| rustix::fs::utimensat(dir, &name, &timestamps(mtime_ns), AtFlags::SYMLINK_NOFOLLOW));
        let put = timed.unwrap_or(Ok(())).and_then(|()| rustix::fs::renameat(dir, &name, dir, target));
        self.put(dir, &name, put)
    }

    /// Makes `to` in `to_dir` another name of the file `from` in `from_dir`, in place of another file, at once.
    ///
    /// # Errors
    /// The two are on different file systems, which may have no hard links either, or the system refuses.
    pub fn put_hard_link(&self, (from_dir, from): (&Dir, &OsStr), (to_dir, to): (&Dir, &OsStr)) -> Result<()> {
        let link = |name: &OsStr| rustix::fs::linkat(from_dir, from, to_dir, name, AtFlags::empty());
        let (name, ()) = self.with_name(to_dir, to, link)?;
        let put = rustix::fs::renameat(to_dir, &name, to_dir, to);
        if put.is_ok() {
            // Two names of one file: then renaming does nothing (rename(2)).
            remove(to_dir, &name);
        }
        self.put(to_dir, &name, put)
    }

    fn put(&self, dir: &Dir, name: &OsStr, put: Result<(), rustix::io::Errno>) -> Result<()> {
        if put.is_err() {
            remove(dir, name);
        }
        self.close_one();
        Ok(put?)
    }
}

/// Notes where parts are made. Without a note what a crash leaves stays; that is no reason to take no files.
fn note(session: &mut PartsState, records: &Records, dir: &impl AsFd) {
    let noted = match &mut session.writing {
        Some(writing) => writing.note(dir, &session.token),
        None => Writing::begin(records).and_then(|mut writing| {
            writing.note(dir, &session.token)?;
            session.writing = Some(writing);
            Ok(())
        }),
    };
    if let Err(error) = noted {
        tracing::debug!(%error, "where parts are made could not be noted");
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::*;
    use crate::fs::digest::BLOCK_LEN;
    use crate::fs::part::records::PARTS_DIR;
    use crate::fs::part::tests::{PLAIN, names, opened, total};
    use crate::fs::part::{Checksum, is_part_name};

    const TARGET: &str = "target";

    /// Parts of `owner`, on record in `home`.
    fn recorded(home: &tempfile::TempDir, owner: &str) -> Arc<Parts> {
        let records = Records::open(home.path().join(PARTS_DIR)).unwrap();
        Parts::new(Some(Arc::new(records)), Some(owner.into()))
    }

    /// Writes the beginning of a target and leaves it.
    fn leave(parts: &Arc<Parts>, dir: &tempfile::TempDir, bytes: &[u8]) {
        let mut part = parts.create_kept(opened(dir), OsStr::new(TARGET), PLAIN).unwrap();
        part.write(bytes).unwrap();
    }

    fn found(parts: &Arc<Parts>, dir: &tempfile::TempDir) -> Option<Part> {
        parts.find(&opened(dir), OsStr::new(TARGET)).map(|left| parts.resume(left).unwrap())
    }

    fn records_in(home: &tempfile::TempDir) -> usize {
        std::fs::read_dir(home.path().join(PARTS_DIR)).unwrap().count()
    }

    #[test]
    fn what_is_not_hashed_is_known_again_by_what_is_said_of_its_source() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let parts = recorded(&home, "ann");
        let left = || parts.find(&opened(&dir), OsStr::new(TARGET));
        let make = |source: Option<&str>| {
            parts.create_unhashed(opened(&dir), OsStr::new(TARGET), source.map(str::to_owned)).unwrap()
        };
        let mut nameless = make(None);
        nameless.write(b"hello").unwrap();
        drop(nameless);
        assert!(left().is_none() && names(&dir).is_empty(), "nothing is kept of what has no source");
        let mut first = make(Some("one"));
        first.write(b"hel").unwrap();
        drop(first);
        assert_eq!(left().unwrap().source(), Some("one"));
        let mut second = parts.resume_unhashed(left().unwrap()).unwrap();
        assert_eq!(second.size(), 3);
        second.set_source(Some("two".into()));
        second.write(b"lo").unwrap();
        drop(second);
        let found = left().unwrap();
        assert_eq!((found.source(), found.len()), (Some("two"), 5));
        drop(found);
        // It has no digest that could be compared with one.
        let third = parts.resume_unhashed(left().unwrap()).unwrap();
        assert!(third.verify(total(b"hello"), PLAIN).is_err());
        let mut fourth = make(Some("one"));
        fourth.write(b"hi").unwrap();
        fourth.clear().unwrap();
        assert_eq!(fourth.size(), 0);
        fourth.write(b"hello").unwrap();
        fourth.publish(Checksum { size: 5, blake3: None }, PLAIN).unwrap();
        drop(parts);
        assert_eq!((names(&dir), records_in(&home)), (vec![TARGET.into()], 0));
        assert_eq!(std::fs::read(dir.path().join(TARGET)).unwrap(), b"hello");
    }

    #[test]
    fn the_next_attempt_goes_on_where_the_last_one_ended() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bytes: Vec<u8> = (0..40_000_000_u32).map(|at| (at >> 7).to_le_bytes()[0]).collect();
        for stop in [1, 16 << 20, (16 << 20) + 1, 33 << 20, 40_000_000] {
            leave(&recorded(&home, "ann"), &dir, &bytes[..stop]);
            let parts = recorded(&home, "ann");
            let mut second = found(&parts, &dir).unwrap();
            assert_eq!(second.size(), stop as u64);
            // Meanwhile the same file comes over another connection, and neither disturbs the other.
            assert!(found(&recorded(&home, "ann"), &dir).is_none());
            let mut other = parts.create_kept(opened(&dir), OsStr::new(TARGET), PLAIN).unwrap();
            other.write(b"other").unwrap();
            second.write(&bytes[stop..]).unwrap();
            other.publish(total(b"other"), PLAIN).unwrap();
            second.publish(total(&bytes), PLAIN).unwrap();
            drop(parts);
            assert_eq!((names(&dir), records_in(&home)), (vec![TARGET.into()], 0));
            assert!(std::fs::read(dir.path().join(TARGET)).unwrap() == bytes);
        }
    }

    #[test]
    fn a_part_is_its_owners_alone_and_only_while_it_is_the_same_file() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ann, bob) = (recorded(&home, "ann"), recorded(&home, "bob"));
        leave(&ann, &dir, b"hello");
        assert!(found(&bob, &dir).is_none());
        assert!(found(&Parts::unrecorded(), &dir).is_none());
        // Of a guest nothing is kept.
        let records = Records::open(home.path().join(PARTS_DIR)).unwrap();
        leave(&Parts::new(Some(Arc::new(records)), None), &dir, b"guest");
        let [part] = &names(&dir)[..] else { panic!("one part: {:?}", names(&dir)) };
        let path = dir.path().join(part);
        assert!(is_part_name(part.as_bytes()));
        assert_eq!(found(&ann, &dir).map(|part| part.size()), Some(5));
        // Another file under its name is not it: neither a copy of it, nor a link to another file.
        let other = dir.path().join("other");
        std::fs::write(&other, "hello").unwrap();
        let link: fn(&Path, &Path) -> io::Result<()> =
            |other, part| std::fs::remove_file(part).and_then(|()| std::os::unix::fs::symlink(other, part));
        let copy: fn(&Path, &Path) -> io::Result<()> = |other, part| std::fs::rename(other, part);
        for forge in [copy, link] {
            std::fs::write(&other, "hello").unwrap();
            forge(&other, &path).unwrap();
            assert!(found(&ann, &dir).is_none());
        }
        leave(&ann, &dir, b"new");
        assert_eq!(found(&ann, &dir).map(|part| part.size()), Some(3));
    }

    #[test]
    fn what_is_old_or_left_by_a_crash_is_removed_and_nothing_else() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let records = || Records::open(home.path().join(PARTS_DIR)).unwrap();
        let ann = recorded(&home, "ann");
        leave(&ann, &dir, b"kept");
        let foreign = dir.path().join(".x.12345678.part");
        std::fs::write(&foreign, "foreign").unwrap();
        // A crash: neither the part nor the note of the session is removed.
        let notes = || -> std::collections::BTreeSet<_> {
            let notes = std::fs::read_dir(home.path().join(PARTS_DIR)).unwrap();
            let notes = notes.map(|entry| entry.unwrap().path());
            notes.filter(|path| path.to_string_lossy().contains("writing-")).collect()
        };
        let before = notes();
        let crashed = recorded(&home, "ann");
        let part = crashed.create(opened(&dir), OsStr::new("lost"), PLAIN).unwrap();
        let lost = dir.path().join(&part.name);
        let staging = dir.path().join(crashed.make_staging(&opened(&dir), OsStr::new("tree")).unwrap());
        std::fs::create_dir_all(staging.join("tree/deep")).unwrap();
        records().sweep(Some(std::time::Duration::from_mins(1)), None);
        assert!(lost.exists() && staging.exists(), "the session is still there");
        let note = notes().difference(&before).next().unwrap().clone();
        let text = std::fs::read(&note).unwrap();
        drop(part);
        crashed.close_one();
        drop(crashed);
        std::fs::write(&lost, "lost").unwrap();
        std::fs::write(&note, text).unwrap();
        records().sweep(Some(std::time::Duration::from_mins(1)), None);
        assert!(!lost.exists() && !staging.exists() && !note.exists() && foreign.exists());
        assert!(found(&ann, &dir).is_some(), "it is not old");
        let held = found(&ann, &dir);
        let day = std::time::Duration::from_hours(24);
        let tomorrow = std::time::SystemTime::now() + day * 2;
        records().sweep_at(Some(day), None, tomorrow);
        assert_eq!(names(&dir).len(), 2, "it is held");
        drop(held);
        records().sweep_at(Some(day), Some("bob"), tomorrow);
        records().sweep_at(None, None, tomorrow);
        assert_eq!(names(&dir).len(), 2, "it is another owner's, or kept without limit");
        records().sweep_at(Some(day), None, tomorrow);
        assert_eq!(names(&dir), [".x.12345678.part"]);
    }

    #[test]
    fn what_was_lost_of_a_beginning_is_found_and_mended() {
        use std::os::unix::fs::FileExt as _;
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let block = usize::try_from(BLOCK_LEN).unwrap();
        let bytes: Vec<u8> = (0..3 * block + 99).map(|at| (at >> 9).to_le_bytes()[0] | 1).collect();
        let stop = 2 * block + 7;
        leave(&recorded(&home, "ann"), &dir, &bytes[..stop]);
        let path = dir.path().join(&names(&dir)[0]);
        let file = File::options().write(true).open(path).unwrap();
        // Zeros where bytes were: in the first block, and in the last, which is not whole.
        file.write_all_at(&[0; 4096], 5).unwrap();
        file.write_all_at(&[0; 3], (2 * block) as u64).unwrap();
        let parts = recorded(&home, "ann");
        let mut part = found(&parts, &dir).unwrap();
        part.write(&bytes[stop..]).unwrap();
        assert!(!part.is_as_sent(total(&bytes)).unwrap());
        let right = tempfile::tempfile().unwrap();
        right.write_all_at(&bytes, 0).unwrap();
        let values = Check::begin(&right, stop as u64).unwrap().1.wait().unwrap();
        let stretches = part.bad_stretches(&values);
        assert_eq!(stretches, [(0, BLOCK_LEN), (2 * BLOCK_LEN, BLOCK_LEN)]);
        for (offset, size) in stretches {
            let at = usize::try_from(offset).unwrap();
            part.mend(&bytes[at..at + usize::try_from(size).unwrap()], offset).unwrap();
            part.hash_again((offset, size)).unwrap();
        }
        part.publish(total(&bytes), PLAIN).unwrap();
        assert!(std::fs::read(dir.path().join(TARGET)).unwrap() == bytes);
    }
}
