//! A file on its way in: a temporary name beside the target, a digest made as the bytes come, and
//! the final name only for what is whole.
//!
//! All receivers use it, on the client and on the server. Whatever goes wrong before the rename, the old file
//! is as it was.
//!
//! A temporary name is `.NAME.1a2b3c4d.part`, with a token of the session's; [`root`](crate::fs::root) reserves such
//! names, so that no peer makes, reads or moves a file of that name. [`records`] in the home say which parts are ours
//! and whose; only those are gone on with, and only by their owner. What is there of one that is gone on with was not
//! hashed in this run: [`resume`] hashes it while new bytes come.
//!
//! An [`upload`] is a part that its sender names by a token, with all that belongs to it on record from its beginning.
//! [`naming`] says what happens if the final name is taken, [`quota`] how much of one owner may be unfinished.

mod attributes;
mod names;
pub mod naming;
mod parts;
pub mod quota;
pub mod records;
pub mod resume;
mod target;
pub mod upload;
mod verified;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode};
use rustix::io::Errno;

use self::attributes::mode_of;
use self::naming::{Naming, Published};
use self::records::PartRecord;
use self::resume::Check;
use crate::fs::digest::{BLOCK_LEN, ChainingValue, Digest};
use crate::fs::unix::{read_at, timestamps};
use crate::fs::{Error, ErrorKind, Result};

pub use self::attributes::Preserved;
pub use self::names::is_part_name;
pub use self::parts::Parts;
pub use self::target::Target;
pub use self::verified::Verified;

/// Files move in pieces of this size, in bytes. It is the write that profits: a larger one is given larger
/// folios in the page cache, and 1 MiB took a third less of a receiver's time than 256 KiB.
pub const PIECE_LEN: usize = 1024 * 1024;
/// A part that is as long is on record at once, in bytes: a record takes as long as a tenth of them. Of a shorter one
/// nothing is kept after a crash.
const RECORDED_LEN: u64 = 4 * 1024 * 1024;

/// A file that is arriving.
#[derive(Debug)]
pub struct Part {
    parts: Arc<Parts>,
    dir: Arc<Dir>,
    name: OsString,
    target: OsString,
    file: File,
    digest: Digest,
    /// Whether what has come is worth keeping for the next attempt, should this one fail.
    is_kept: bool,
    /// What the home says of it, once it does.
    record: Option<PartRecord>,
    /// Where its bytes come from, in the words of who fetches them; `None`: the next attempt need not know.
    source: Option<String>,
    /// The beginning that was there, as long as it is being hashed.
    check: Option<Check>,
    /// Values of that beginning, once it was hashed.
    beginning: Vec<ChainingValue>,
    is_over: bool,
}

/// Length and digest of a whole file, as its sender has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum<'a> {
    /// Bytes.
    pub size: u64,
    /// Its BLAKE3, 64 hexadecimal digits; `None`: the sender has none, and the length alone is compared.
    pub blake3: Option<&'a str>,
}

impl Part {
    /// Takes the next piece.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.digest.update(piece);
        self.note();
        Ok(())
    }

    /// Zeros that come next, and take no room: this many.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn skip(&mut self, zeros: u64) -> io::Result<()> {
        let end = self.size().saturating_add(zeros);
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        self.digest.update_zeros(zeros);
        self.note();
        Ok(())
    }

    /// Takes up to `len` bytes of `source` from where this part ends, by the kernel alone: some file systems share the
    /// blocks of both then. How many there were; 0: no more. Only for a part of which no digest is made.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn copy_from(&mut self, source: &File, len: usize) -> io::Result<u64> {
        debug_assert!(self.digest.is_length_only(), "its bytes are not seen");
        let mut offset = self.size();
        let taken = match rustix::fs::copy_file_range(source, Some(&mut offset), &self.file, None, len) {
            Ok(taken) => taken as u64,
            // Between two file systems, or on one that has no such call.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let mut piece = vec![0; len.min(PIECE_LEN)];
                let read = read_at(source, &mut piece, self.size())?;
                self.file.write_all(piece.get(..read).unwrap_or_default())?;
                read as u64
            }
            Err(error) => return Err(error.into()),
        };
        // They are counted.
        self.digest.update_zeros(taken);
        Ok(taken)
    }

    /// What has come is kept for the next attempt, if its owner can have one.
    fn keep(&mut self) {
        self.is_kept = self.parts.recorded().is_some();
        if self.is_kept {
            // A sweep that removes what is old must see that it is held.
            lock(&self.file);
        }
    }

    /// What is long enough to be worth it is on record before a crash.
    fn note(&mut self) {
        self.sync_step();
        if self.is_kept && self.record.is_none() && self.size() >= RECORDED_LEN && !self.put_on_record() {
            self.is_kept = false;
        }
    }

    /// Writes the record; whether there is one now.
    fn put_on_record(&mut self) -> bool {
        if self.is_upload() {
            return self.sync_upload();
        }
        let Some((records, owner)) = self.parts.recorded() else { return false };
        let written = PartRecord::new(owner, &*self.dir, (&self.name, &self.target), &self.file)
            .map(|record| record.from_source(self.source.clone()))
            .and_then(|record| Ok(records.write(&record)?.then_some(record)));
        match written {
            Ok(record) => {
                self.record = record;
                self.parts.session().has_kept = true;
            }
            Err(error) => {
                tracing::debug!(%error, "a part could not be put on record");
                self.record = None;
            }
        }
        self.record.is_some()
    }

    fn forget(&mut self) {
        if let Some(record) = self.record.take()
            && let Some(records) = self.parts.records()
        {
            records.forget(&record);
        }
    }

    /// Says where its bytes come from, for the next attempt; `None`: nothing of it is kept for that.
    pub fn set_source(&mut self, source: Option<String>) {
        self.is_kept = source.is_some() && self.parts.recorded().is_some();
        self.source = source;
        // One that is on record already is found with what is said now.
        if self.record.is_some() {
            self.forget();
        }
        self.note();
    }

    /// Reads what is there from `offset` on; 0 bytes are the end.
    ///
    /// # Errors
    /// The disk failed.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, offset)
    }

    /// Begins anew: what was there is of no use.
    ///
    /// # Errors
    /// The disk failed.
    pub fn clear(&mut self) -> io::Result<()> {
        let is_length_only = self.digest.is_length_only();
        self.digest = if is_length_only { Digest::length_only(0) } else { Digest::default() };
        (self.check, self.beginning) = (None, Vec::new());
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Bytes that have come, those of an earlier attempt included.
    pub const fn size(&self) -> u64 {
        self.digest.len()
    }

    /// Waits until the beginning that was there is hashed; `beat` is called meanwhile, and may end it.
    ///
    /// # Errors
    /// `beat` ended it.
    pub fn wait_for_beginning(&self, beat: &mut dyn FnMut(u64) -> io::Result<()>) -> io::Result<()> {
        self.check.as_ref().map_or(Ok(()), |check| check.wait_with(beat))
    }

    /// Whether it has the digest of what was sent. Waits until the beginning that was there is hashed.
    ///
    /// # Errors
    /// The disk failed.
    pub fn is_as_sent(&mut self, sent: Checksum<'_>) -> io::Result<bool> {
        if let Some(check) = self.check.take() {
            self.beginning = check.wait()?;
            // The last one is of a block of which more has come.
            self.digest.fill_in(self.beginning.split_last().map_or(&[], |(_, whole)| whole));
        }
        let is_same = |sent: &str| !self.digest.is_length_only() && self.digest.finalize().to_hex().as_str() == sent;
        Ok(self.size() == sent.size && sent.blake3.is_none_or(is_same))
    }

    /// Which stretches of the beginning that was there are not what the sender has, as its values of that beginning
    /// say: where they begin, and how long they are.
    pub fn bad_stretches(&self, sent: &[ChainingValue]) -> Vec<(u64, u64)> {
        resume::bad_stretches(&self.beginning, sent, self.size())
    }

    /// Puts bytes in the place of others that were there.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn mend(&self, piece: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(piece, at)
    }

    /// Hashes a stretch again that was mended.
    ///
    /// # Errors
    /// The disk failed.
    pub fn hash_again(&mut self, (offset, size): (u64, u64)) -> io::Result<()> {
        let first = usize::try_from(offset / BLOCK_LEN).unwrap_or(usize::MAX);
        let last = usize::try_from(offset.saturating_add(size).saturating_sub(1) / BLOCK_LEN).unwrap_or(usize::MAX);
        for index in first..=last {
            self.digest.replace(index, |piece, at| read_at(&self.file, piece, at))?;
        }
        Ok(())
    }

    /// Compares what came with what was sent, as far as the sender said that, and sets the attributes. What
    /// is left to do is [`Verified`]'s.
    ///
    /// # Errors
    /// The digest differs, or the disk failed. The target is untouched.
    pub fn verify(mut self, sent: Checksum<'_>, preserved: Preserved) -> Result<Verified> {
        if !self.is_as_sent(sent)? {
            self.is_kept = false;
            let (got_size, Checksum { size, blake3 }) = (self.size(), sent);
            let of = |digest: Option<&str>| digest.map_or(String::new(), |digest| format!(" with digest {digest}"));
            let got = (!self.digest.is_length_only()).then(|| self.digest.finalize().to_hex().to_string());
            let why = format!("{got_size} bytes{} arrived, {size} bytes{} were sent", of(got.as_deref()), of(blake3));
            return Err(Error::new(ErrorKind::Digest, why));
        }
        self.set(mode_of(&self.dir, &self.target, preserved), preserved.mtime_ns)?;
        Ok(Verified(self))
    }

    fn set(&self, mode: Option<u32>, mtime_ns: Option<i64>) -> io::Result<()> {
        if let Some(mode) = mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        }
        if let Some(mtime_ns) = mtime_ns {
            rustix::fs::futimens(&self.file, &timestamps(mtime_ns))?;
        }
        Ok(())
    }

    /// Gives the file its final name, if what came is what was sent. When this returns, the file survives a
    /// power cut.
    ///
    /// # Errors
    /// The digest differs, or the disk failed. The target is untouched, unless it was the very last
    /// step, the directory's sync, that failed: then the new file is there, and may not survive a power cut.
    pub fn publish(self, sent: Checksum<'_>, preserved: Preserved) -> Result<()> {
        self.publish_as(sent, preserved, &Naming::default()).map(drop)
    }

    /// The same, for a name that may be taken: what it is called now, and what it has become.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), or the name is taken and `naming` has no other.
    pub fn publish_as(self, sent: Checksum<'_>, preserved: Preserved, naming: &Naming<'_>) -> Result<Published> {
        let verified = self.verify(sent, preserved)?;
        verified.sync()?;
        // The directory may have been opened as a mere path (O_PATH), which cannot be synced; what can
        // fail is done before the rename.
        let directory = verified.directory()?;
        let published = verified.rename_as(naming)?;
        rustix::fs::fsync(&directory)?;
        Ok(published)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It reads the file.
        self.check = None;
        // What a disk that is full took of the last piece counts too: the next attempt hashes it.
        let has_come = || self.file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let stays = self.is_over || self.is_kept && (self.is_upload() || has_come()) && self.put_on_record();
        if !stays {
            self.forget();
            remove(&self.dir, &self.name);
        }
        self.parts.close_one();
    }
}

/// A temporary name beside `name`, for what is no part but is not to be seen either.
pub(in crate::fs) fn temporary_name_of(name: &OsStr) -> OsString {
    names::temporary_name(name, &names::random_token())
}

/// Whether `name` is this file's.
fn is_named(dir: impl AsFd, name: &OsStr, file: &impl AsFd) -> io::Result<bool> {
    let (opened, named) = (rustix::fs::fstat(file)?, rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
    Ok(named.is_ok_and(|named| (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)))
}

/// A regular file of this user with no other name: writing into it changes nothing else.
fn is_own(file: &impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw())
}

/// Whether no other process has it. A file system without locks does not say; there, two at the same time
/// disturb each other, and the digest notices.
fn lock(file: &impl AsFd) -> bool {
    let locked = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    !matches!(locked, Err(Errno::WOULDBLOCK))
}

fn remove(dir: &Dir, name: &OsStr) {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => tracing::warn!(?name, %error, "a temporary file could not be removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    pub(super) fn names(dir: &tempfile::TempDir) -> Vec<OsString> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    pub(super) fn opened(dir: &tempfile::TempDir) -> Arc<Dir> {
        Arc::new(crate::fs::root::Root::open_own_dir(dir.path()).unwrap())
    }

    fn part(dir: &tempfile::TempDir, preserved: Preserved) -> Part {
        Parts::unrecorded().create(opened(dir), OsStr::new("target"), preserved).unwrap()
    }

    pub(super) const PLAIN: Preserved = Preserved { mtime_ns: None, mode: None };

    #[test]
    fn what_is_whole_gets_its_name_mode_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let preserved = Preserved { mtime_ns: Some(1_700_000_000_123_456_789), mode: Some(0o100_750) };
        let mut part = part(&dir, preserved);
        part.write(b"hello").unwrap();
        let blake3 = blake3::hash(b"hello").to_hex().to_string();
        part.publish(Checksum { size: 5, blake3: Some(&blake3) }, preserved).unwrap();
        assert_eq!(names(&dir), ["target"]);
        let metadata = std::fs::metadata(dir.path().join("target")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o750);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_700_000_000, 123_456_789));
    }

    #[test]
    fn what_is_short_or_false_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("target"), "old").unwrap();
        let blake3 = blake3::hash(b"hello").to_hex().to_string();
        for bytes in [&b"hell"[..], b"hellO", b"hello!"] {
            let mut part = part(&dir, PLAIN);
            part.write(bytes).unwrap();
            let total = Checksum { size: 5, blake3: Some(&blake3) };
            assert_eq!(part.publish(total, PLAIN).unwrap_err().kind(), ErrorKind::Digest);
        }
        let mut short = part(&dir, PLAIN);
        short.write(b"hell").unwrap();
        let size_only = Checksum { size: 5, blake3: None };
        assert_eq!(short.publish(size_only, PLAIN).unwrap_err().kind(), ErrorKind::Digest);
        drop(part(&dir, PLAIN));
        assert_eq!(names(&dir), ["target"]);
        assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), b"old");
    }

    pub(super) fn total(bytes: &[u8]) -> Checksum<'static> {
        let blake3 = blake3::hash(bytes).to_hex().to_string().leak();
        Checksum { size: bytes.len() as u64, blake3: Some(blake3) }
    }

    #[test]
    fn without_a_mode_a_file_keeps_that_of_the_one_it_replaces() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        let set = |mode| std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for kept in [0o600, 0o640, 0o666, 0o777, 0o400, 0o4755] {
            std::fs::write(&target, "old").unwrap();
            set(kept);
            let begun = part(&dir, PLAIN);
            let name = begun.name.clone();
            assert_eq!(mode(&dir.path().join(name)) & 0o077, 0, "nobody else reads it before it is in place");
            begun.publish(total(b""), PLAIN).unwrap();
            assert_eq!(mode(&target), kept & 0o777);
            Parts::unrecorded().whole(opened(&dir), OsStr::new("target"), PLAIN, b"new").unwrap().rename().unwrap();
            assert_eq!(mode(&target), kept & 0o777);
            std::fs::remove_file(&target).unwrap();
        }
        // A symlink has no mode to keep, and what it leads to is another file.
        let other = dir.path().join("other");
        std::fs::write(&other, "other").unwrap();
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&other, &target).unwrap();
        part(&dir, PLAIN).publish(total(b""), PLAIN).unwrap();
        assert_eq!(mode(&target), 0o666 & !attributes::umask());
    }
}
