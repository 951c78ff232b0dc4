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

pub mod records;
pub mod resume;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps};

use self::records::{PartRecord, Records, Writing};
use self::resume::{Check, Leftover};
use crate::fs::digest::{BLOCK_LEN, ChainingValue, Digest};
use crate::wire::message::{Attributes, Total};

/// Files move in pieces of so many bytes. It is the write that profits: a larger one is given larger
/// folios in the page cache, and 1 MiB took a third less of a receiver's time than 256 KiB.
pub const PIECE_LEN: usize = 1024 * 1024;
/// Longest file name of Linux' file systems, in bytes.
const NAME_LEN_MAX: usize = 255;
/// What the temporary name adds: two dots, eight digits, `.part`.
const TEMPORARY_LEN: usize = 15;
/// Names tried before giving up; each has 32 random bits.
const ATTEMPTS_MAX: usize = 16;

/// A part that is as long is on record at once, in bytes: a record takes as long as a tenth of them. Of a shorter one
/// nothing is kept after a crash.
const RECORDED_LEN: u64 = 4 * 1024 * 1024;

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
struct PartsState {
    token: String,
    /// Parts that are neither a file yet nor removed nor kept.
    open: usize,
    /// Whether any part may be on record: else none is looked for when a file gets its name.
    has_kept: bool,
    /// `None` until the first part is made.
    writing: Option<Writing>,
}

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
    /// The beginning that was there, as long as it is being hashed.
    check: Option<Check>,
    /// Values of that beginning, once it was hashed.
    beginning: Vec<ChainingValue>,
    is_over: bool,
}

/// What arrived is not what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{got_size} bytes with digest {got} arrived, {sent_size} bytes with digest {sent} were sent")]
struct DigestMismatch {
    got_size: u64,
    got: String,
    sent_size: u64,
    sent: String,
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

    /// Begins a file that is to become `target` in `dir`; one that fails leaves nothing behind.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn create(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, attributes: &Attributes) -> io::Result<Part> {
        let mode = first_mode(mode_of(&dir, target, attributes));
        let mut part = self.make(dir, target, mode)?;
        // Who puts a file may have BLAKE3 and nothing else.
        part.digest = Digest::plain();
        Ok(part)
    }

    /// As [`create`](Self::create); if it fails, what has come is kept for the owner's next attempt.
    ///
    /// # Errors
    /// As there.
    pub fn create_kept(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, attributes: &Attributes) -> io::Result<Part> {
        let mut part = self.create(dir, target, attributes)?;
        part.digest = Digest::default();
        part.is_kept = self.recorded().is_some();
        if part.is_kept {
            // Whoever removes what is old must see that it is held.
            lock(&part.file);
        }
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
        attributes: &Attributes,
        bytes: &[u8],
    ) -> io::Result<Verified> {
        // Of many small files each system call counts: most modes can be had with the file.
        let mode = mode_of(&dir, target, attributes);
        let at_once = mode.filter(|mode| mode & umask() == 0 && mode & 0o600 == 0o600);
        let mut part = self.make(dir, target, at_once.unwrap_or(first_mode(mode)))?;
        part.file.write_all(bytes)?;
        part.set(mode.filter(|_| at_once.is_none()), attributes)?;
        Ok(Verified(part))
    }

    /// What an earlier attempt of the same owner has left of `target`, if it has left anything.
    pub fn find(&self, dir: &Arc<Dir>, target: &OsStr) -> Option<Leftover> {
        let (records, owner) = self.recorded()?;
        let record = records.find(owner, records::id_of_dir(&**dir).ok()?, target)?;
        Leftover::open(Arc::clone(dir), record)
    }

    /// Whether `name` in `dir` is a part on record that nothing holds, whoever its owner is.
    pub fn is_idle(&self, dir: &Dir, name: &OsStr) -> bool {
        self.records.as_ref().is_some_and(|records| records.has_idle(dir, name))
    }

    /// Goes on with what an earlier attempt left: what is there is hashed on a thread of its own.
    ///
    /// # Errors
    /// The disk failed, or no thread is left.
    pub fn resume(self: &Arc<Self>, leftover: Leftover) -> io::Result<Part> {
        let Leftover { dir, record, file, len } = leftover;
        let (digest, check) = Check::begin(&file, len)?;
        let mut part = Part {
            parts: Arc::clone(self),
            name: record.name(),
            target: record.target(),
            dir,
            file,
            digest,
            is_kept: true,
            record: Some(record),
            check: Some(check),
            beginning: Vec::new(),
            is_over: false,
        };
        self.session().open += 1;
        io::Seek::seek(&mut part.file, io::SeekFrom::Start(len))?;
        Ok(part)
    }

    fn make(self: &Arc<Self>, dir: Arc<Dir>, target: &OsStr, mode: u32) -> io::Result<Part> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (name, file) =
            self.with_name(&dir, target, |name| rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(mode)))?;
        Ok(Part {
            parts: Arc::clone(self),
            dir,
            name,
            target: target.to_owned(),
            file: file.into(),
            digest: Digest::default(),
            is_kept: false,
            record: None,
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
    ) -> io::Result<(OsString, T)> {
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
        Err(io::Error::other("no free temporary name beside the target"))
    }

    fn session(&self) -> MutexGuard<'_, PartsState> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file has its name: what an earlier attempt left of it is of no use any more.
    fn supersede(&self, dir: &Dir, target: &OsStr) {
        if !self.session().has_kept {
            return;
        }
        let Some((records, owner)) = self.recorded() else { return };
        let left = records::id_of_dir(dir).ok().and_then(|dir| records.find(owner, dir, target));
        if let Some(left) = left {
            records.remove_part(&left);
        }
    }

    /// One part less is open.
    fn close_one(&self) {
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
    pub fn put_symlink(&self, dir: &Dir, target: &OsStr, to: &OsStr, mtime_ns: Option<i64>) -> io::Result<()> {
        let (name, ()) = self.with_name(dir, target, |name| rustix::fs::symlinkat(to, dir, name))?;
        let timed =
            mtime_ns.map(|mtime_ns| rustix::fs::utimensat(dir, &name, &times(mtime_ns), AtFlags::SYMLINK_NOFOLLOW));
        let put = timed.unwrap_or(Ok(())).and_then(|()| rustix::fs::renameat(dir, &name, dir, target));
        self.put(dir, &name, put)
    }

    /// Makes `to` in `to_dir` another name of the file `from` in `from_dir`, in place of another file, at once.
    ///
    /// # Errors
    /// The two are on different file systems, which may have no hard links either, or the system refuses.
    pub fn put_hard_link(&self, (from_dir, from): (&Dir, &OsStr), (to_dir, to): (&Dir, &OsStr)) -> io::Result<()> {
        let link = |name: &OsStr| rustix::fs::linkat(from_dir, from, to_dir, name, AtFlags::empty());
        let (name, ()) = self.with_name(to_dir, to, link)?;
        let put = rustix::fs::renameat(to_dir, &name, to_dir, to);
        if put.is_ok() {
            // Two names of one file: then renaming does nothing (rename(2)).
            remove(to_dir, &name);
        }
        self.put(to_dir, &name, put)
    }

    fn put(&self, dir: &Dir, name: &OsStr, put: Result<(), rustix::io::Errno>) -> io::Result<()> {
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

    /// So many zeros come next, and take no room.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn skip(&mut self, zeros: u64) -> io::Result<()> {
        use io::Seek as _;
        let end = self.size().saturating_add(zeros);
        self.file.set_len(end)?;
        self.file.seek(io::SeekFrom::Start(end))?;
        self.digest.update_zeros(zeros);
        self.note();
        Ok(())
    }

    /// What is long enough to be worth it is on record before a crash.
    fn note(&mut self) {
        if self.is_kept && self.record.is_none() && self.size() >= RECORDED_LEN && !self.put_on_record() {
            self.is_kept = false;
        }
    }

    /// Writes the record; whether there is one now.
    fn put_on_record(&mut self) -> bool {
        let Some((records, owner)) = self.parts.recorded() else { return false };
        let written = PartRecord::new(owner, &*self.dir, (&self.name, &self.target), &self.file)
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
            && let Some((records, _)) = self.parts.recorded()
        {
            records.forget(&record);
        }
    }

    /// Begins anew: what was there is of no use.
    ///
    /// # Errors
    /// The disk failed.
    pub fn clear(&mut self) -> io::Result<()> {
        use io::Seek as _;
        (self.check, self.beginning, self.digest) = (None, Vec::new(), Digest::default());
        self.file.set_len(0)?;
        self.file.seek(io::SeekFrom::Start(0)).map(drop)
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
    pub fn is_as_sent(&mut self, sent: &Total<'_>) -> io::Result<bool> {
        if let Some(check) = self.check.take() {
            self.beginning = check.wait()?;
            // The last one is of a block of which more has come.
            self.digest.fill_in(self.beginning.split_last().map_or(&[], |(_, whole)| whole));
        }
        let got = || self.digest.finalize().to_hex();
        Ok(self.size() == sent.size && sent.blake3.as_ref().is_none_or(|sent| got().as_str() == sent))
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
        std::os::unix::fs::FileExt::write_all_at(&self.file, piece, at)
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
    pub fn verify(mut self, sent: &Total<'_>, attributes: &Attributes) -> io::Result<Verified> {
        if !self.is_as_sent(sent)? {
            self.is_kept = false;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                DigestMismatch {
                    got_size: self.size(),
                    got: self.digest.finalize().to_hex().to_string(),
                    sent_size: sent.size,
                    sent: sent.blake3.as_deref().unwrap_or("unknown").to_owned(),
                },
            ));
        }
        self.set(mode_of(&self.dir, &self.target, attributes), attributes)?;
        Ok(Verified(self))
    }

    fn set(&self, mode: Option<u32>, attributes: &Attributes) -> io::Result<()> {
        if let Some(mode) = mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        }
        if let Some(mtime_ns) = attributes.mtime_ns {
            rustix::fs::futimens(&self.file, &times(mtime_ns))?;
        }
        Ok(())
    }

    /// Gives the file its final name, if what came is what was sent. When this returns, the file survives a
    /// power cut.
    ///
    /// # Errors
    /// The digest differs, or the disk failed. The target is untouched, unless it was the very last
    /// step, the directory's sync, that failed: then the new file is there, and may not survive a power cut.
    pub fn publish(self, sent: &Total<'_>, attributes: &Attributes) -> io::Result<()> {
        let verified = self.verify(sent, attributes)?;
        verified.sync()?;
        // The directory may have been opened as a mere path (O_PATH), which cannot be synced; what can
        // fail is done before the rename.
        let directory = verified.directory()?;
        verified.rename()?;
        Ok(rustix::fs::fsync(&directory)?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It reads the file.
        self.check = None;
        // What a disk that is full took of the last piece counts too: the next attempt hashes it.
        let has_come = || self.file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let stays = self.is_over || (self.is_kept && has_come() && self.put_on_record());
        if !stays {
            self.forget();
            remove(&self.dir, &self.name);
        }
        self.parts.close_one();
    }
}

/// A file that is whole, and has everything but its name.
#[derive(Debug)]
pub struct Verified(Part);

impl Verified {
    /// Waits until its bytes are on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0.file)?)
    }

    /// Whether both are in one directory, as far as that is plain to see.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.dir, &other.0.dir)
    }

    /// The file system that it is on, as the system numbers them.
    ///
    /// # Errors
    /// The disk failed.
    pub fn device(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.0.file)?.st_dev)
    }

    /// Waits until everything that was written to its file system is on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0.file)?)
    }

    /// The directory that it is in, opened so that it can be synced: a rename is only on the disk when its
    /// directory is.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.0.dir, ".", flags, Mode::empty())?)
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// The system refuses; then the target is as it was.
    pub fn rename(mut self) -> io::Result<()> {
        let Part { dir, name, target, file, .. } = &self.0;
        // Another file may have got this name meanwhile: it is not to become this one.
        if !is_named(&**dir, name, file)? {
            return Err(io::Error::other("its temporary name was given to another file"));
        }
        rustix::fs::renameat(&**dir, name, &**dir, target)?;
        self.0.is_over = true;
        if self.0.record.is_some() {
            self.0.forget();
        } else {
            self.0.parts.supersede(&self.0.dir, &self.0.target);
        }
        Ok(())
    }
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

/// Whether nobody else has it. A file system without locks does not say; there, two at the same time
/// disturb each other, and the digest notices.
fn lock(file: &impl AsFd) -> bool {
    let locked = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    !matches!(locked, Err(rustix::io::Errno::WOULDBLOCK))
}

/// The permissions that a file is to have: the sender's, or where it says none, those of the file that it replaces.
/// `None`: it replaces none, and gets the system's.
fn mode_of(dir: &Dir, target: &OsStr, attributes: &Attributes) -> Option<u32> {
    let mode = attributes.mode.or_else(|| {
        let stat = rustix::fs::statat(dir, target, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat.st_mode)
    })?;
    Some(mode & 0o777)
}

/// A file that will get a mode of its own is nobody else's to read before it has it.
const fn first_mode(mode: Option<u32>) -> u32 {
    if mode.is_some() { 0o600 } else { 0o666 }
}

/// What the process takes away from the modes of files that it makes. It cannot be asked for without being set
/// (umask(2)), but for here; where that is missing, everything.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
    })
}

fn remove(dir: &Dir, name: &OsStr) {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => tracing::warn!(?name, %error, "a temporary file could not be removed"),
    }
}

/// `.NAME.1a2b3c4d.part`; a long NAME is cut so that the whole is still a legal name.
fn temporary_name(target: &OsStr, token: &str) -> OsString {
    let target = target.as_bytes();
    let kept = target.get(..NAME_LEN_MAX - TEMPORARY_LEN).unwrap_or(target);
    OsString::from_vec([b".", kept, b".", token.as_bytes(), b".part"].concat())
}

/// Eight random hexadecimal digits.
fn random_token() -> String {
    format!("{:08x}", RandomState::new().hash_one(0_u8) & 0xffff_ffff)
}

/// Reads what is there from `offset` on; 0 bytes are the end. A signal is no reason to stop.
///
/// # Errors
/// The disk failed.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match std::os::unix::fs::FileExt::read_at(file, buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// A modification time for the system; the time of the last access stays as it is.
pub fn times(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::root::is_part_name;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    fn names(dir: &tempfile::TempDir) -> Vec<OsString> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    fn opened(dir: &tempfile::TempDir) -> Arc<Dir> {
        Arc::new(crate::fs::root::Root::open_own_dir(dir.path()).unwrap())
    }

    fn part(dir: &tempfile::TempDir, attributes: &Attributes) -> Part {
        Parts::unrecorded().create(opened(dir), OsStr::new("target"), attributes).unwrap()
    }

    const PLAIN: Attributes = Attributes { size: 0, mtime_ns: None, mode: None };

    #[test]
    fn what_is_whole_gets_its_name_mode_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let attributes = Attributes { size: 5, mtime_ns: Some(1_700_000_000_123_456_789), mode: Some(0o100_750) };
        let mut part = part(&dir, &attributes);
        part.write(b"hello").unwrap();
        let blake3 = blake3::hash(b"hello").to_hex().to_string();
        part.publish(&Total { size: 5, blake3: Some(blake3.into()) }, &attributes).unwrap();
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
            let mut part = part(&dir, &PLAIN);
            part.write(bytes).unwrap();
            let total = Total { size: 5, blake3: Some(blake3.as_str().into()) };
            assert_eq!(part.publish(&total, &PLAIN).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let mut short = part(&dir, &PLAIN);
        short.write(b"hell").unwrap();
        let size_only = Total { size: 5, blake3: None };
        assert_eq!(short.publish(&size_only, &PLAIN).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(part(&dir, &PLAIN));
        assert_eq!(names(&dir), ["target"]);
        assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), b"old");
    }

    fn total(bytes: &[u8]) -> Total<'static> {
        Total { size: bytes.len() as u64, blake3: Some(blake3::hash(bytes).to_hex().to_string().into()) }
    }

    /// Parts of `owner`, on record in `home`.
    fn recorded(home: &tempfile::TempDir, owner: &str) -> Arc<Parts> {
        let records = Records::open(home.path().join(records::PARTS_DIR)).unwrap();
        Parts::new(Some(Arc::new(records)), Some(owner.into()))
    }

    const TARGET: &str = "target";

    /// Writes the beginning of a target and leaves it.
    fn leave(parts: &Arc<Parts>, dir: &tempfile::TempDir, bytes: &[u8]) {
        let mut part = parts.create_kept(opened(dir), OsStr::new(TARGET), &PLAIN).unwrap();
        part.write(bytes).unwrap();
    }

    fn found(parts: &Arc<Parts>, dir: &tempfile::TempDir) -> Option<Part> {
        parts.find(&opened(dir), OsStr::new(TARGET)).map(|left| parts.resume(left).unwrap())
    }

    fn records_in(home: &tempfile::TempDir) -> usize {
        std::fs::read_dir(home.path().join(records::PARTS_DIR)).unwrap().count()
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
            let mut other = parts.create_kept(opened(&dir), OsStr::new(TARGET), &PLAIN).unwrap();
            other.write(b"other").unwrap();
            second.write(&bytes[stop..]).unwrap();
            other.publish(&total(b"other"), &PLAIN).unwrap();
            second.publish(&total(&bytes), &PLAIN).unwrap();
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
        let records = Records::open(home.path().join(records::PARTS_DIR)).unwrap();
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
    fn without_a_mode_a_file_keeps_that_of_the_one_it_replaces() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        let set = |mode| std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for kept in [0o600, 0o640, 0o666, 0o777, 0o400, 0o4755] {
            std::fs::write(&target, "old").unwrap();
            set(kept);
            let begun = part(&dir, &PLAIN);
            let name = begun.name.clone();
            assert_eq!(mode(&dir.path().join(name)) & 0o077, 0, "nobody else reads it before it is in place");
            begun.publish(&total(b""), &PLAIN).unwrap();
            assert_eq!(mode(&target), kept & 0o777);
            Parts::unrecorded().whole(opened(&dir), OsStr::new("target"), &PLAIN, b"new").unwrap().rename().unwrap();
            assert_eq!(mode(&target), kept & 0o777);
            std::fs::remove_file(&target).unwrap();
        }
        // A symlink has no mode to keep, and what it leads to is another file.
        let other = dir.path().join("other");
        std::fs::write(&other, "other").unwrap();
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&other, &target).unwrap();
        part(&dir, &PLAIN).publish(&total(b""), &PLAIN).unwrap();
        assert_eq!(mode(&target), 0o666 & !umask());
    }

    #[test]
    fn what_is_old_or_left_by_a_crash_is_removed_and_nothing_else() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let records = || Records::open(home.path().join(records::PARTS_DIR)).unwrap();
        let ann = recorded(&home, "ann");
        leave(&ann, &dir, b"kept");
        let foreign = dir.path().join(".x.12345678.part");
        std::fs::write(&foreign, "foreign").unwrap();
        // A crash: neither the part nor the note of the session is removed.
        let notes = || -> std::collections::BTreeSet<_> {
            let notes = std::fs::read_dir(home.path().join(records::PARTS_DIR)).unwrap();
            let notes = notes.map(|entry| entry.unwrap().path());
            notes.filter(|path| path.to_string_lossy().contains("writing-")).collect()
        };
        let before = notes();
        let crashed = recorded(&home, "ann");
        let part = crashed.create(opened(&dir), OsStr::new("lost"), &PLAIN).unwrap();
        let lost = dir.path().join(&part.name);
        records().sweep(Some(std::time::Duration::from_mins(1)), None);
        assert!(lost.exists(), "the session is still there");
        let note = notes().difference(&before).next().unwrap().clone();
        let text = std::fs::read(&note).unwrap();
        drop(part);
        drop(crashed);
        std::fs::write(&lost, "lost").unwrap();
        std::fs::write(&note, text).unwrap();
        records().sweep(Some(std::time::Duration::from_mins(1)), None);
        assert!(!lost.exists() && !note.exists() && foreign.exists());
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
        assert!(!part.is_as_sent(&total(&bytes)).unwrap());
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
        part.publish(&total(&bytes), &PLAIN).unwrap();
        assert!(std::fs::read(dir.path().join(TARGET)).unwrap() == bytes);
    }

    #[test]
    fn a_name_of_any_length_has_its_own_temporary_one() {
        for len in [1, 239, 240, 241, 255] {
            let name = temporary_name(OsStr::from_bytes(&vec![b'x'; len]), &random_token());
            assert!(name.len() <= NAME_LEN_MAX && is_part_name(name.as_bytes()), "{len}");
        }
        for other in
            [".part", "..12345678.part", ".x.1234567.part", ".x.1234567G.part", "x.12345678.part", ".x.12345678"]
        {
            assert!(!is_part_name(other.as_bytes()), "{other}");
        }
    }
}
