//! A file on its way in: a temporary name beside the target, a digest made as the bytes come, and
//! the final name only for what is whole.
//!
//! All receivers use it, on the client and on the server. Whatever goes wrong before the rename, the old file
//! is as it was.
//!
//! The temporary name follows from the target's, so that the next attempt finds what this one leaves:
//! `.NAME.1a2b3c4d.part`, beside it from 16 MiB on a [`journal`]. Whoever writes a part holds its lock. A part that
//! is locked, or that is not surely ours, is left alone, and another name is taken, which nobody takes up again.

pub mod journal;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, OnceLock};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps};

use self::journal::{Journal, Known};
use crate::digest::Digest;
use crate::wire::message::{Attributes, Total};

/// Files move in pieces of so many bytes. It is the write that profits: a larger one is given larger
/// folios in the page cache, and 1 MiB took a third less of a receiver's time than 256 KiB.
pub const PIECE_LEN: usize = 1024 * 1024;
/// Longest file name of Linux' file systems, in bytes.
const NAME_LEN_MAX: usize = 255;
/// What the temporary names add at most: two dots, eight digits, `.journal`.
const TEMPORARY_LEN: usize = 18;
/// Names tried before giving up; each but the first has 32 random bits.
const ATTEMPTS_MAX: usize = 16;
/// So much is written between two moments at which all of it is on the disk, in bytes.
const CHECKPOINT_LEN: u64 = 256 * 1024 * 1024;
/// What is left of a part is read in pieces of so many bytes.
const READ_LEN: usize = 1024 * 1024;

/// A file that is arriving.
#[derive(Debug)]
pub struct Part {
    dir: Arc<Dir>,
    names: Names,
    target: OsString,
    file: File,
    digest: Digest,
    is_new: bool,
    /// Whether what has come is worth keeping for the next attempt, should this one fail.
    is_kept: bool,
    /// Where a part that is kept says what it holds.
    journal: Option<Journal>,
    /// Where the last checkpoint was, in bytes; `None`: there are none.
    synced: Option<u64>,
    /// What an earlier attempt had on the disk, in bytes.
    synced_before: u64,
    is_over: bool,
}

/// What a part and its journal are called.
#[derive(Debug)]
struct Names {
    part: OsString,
    /// A name that follows from the target's can be found again, and has a journal.
    journal: Option<OsString>,
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

impl Part {
    /// Begins a file that is to become `target` in `dir`; one that fails leaves nothing behind.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn create(dir: Arc<Dir>, target: &OsStr, attributes: &Attributes) -> io::Result<Self> {
        let mut part = Self::open(dir, target, attributes)?;
        part.cut(0)?;
        part.remove_journal();
        part.is_kept = false;
        Ok(part)
    }

    /// A file that is to become `target` in `dir`, all of it at once: `bytes`, whose digest was compared.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn whole(dir: Arc<Dir>, target: &OsStr, attributes: &Attributes, bytes: &[u8]) -> io::Result<Verified> {
        // Of many small files each system call counts: most modes can be had with the file, and it is taken up
        // again if its owner may read and write it.
        let mode = mode_of(&dir, target, attributes);
        let at_once = mode.filter(|mode| mode & umask() == 0 && mode & 0o600 == 0o600);
        let mut part = Self::open_with(dir, target, at_once.unwrap_or(first_mode(mode)))?;
        part.cut(0)?;
        part.is_kept = false;
        part.file.write_all(bytes)?;
        part.set(mode.filter(|_| at_once.is_none() || !part.is_new), attributes)?;
        Ok(Verified(part))
    }

    /// What an earlier attempt has left of `target`, if it has left anything.
    ///
    /// # Errors
    /// The disk failed.
    pub fn find(dir: &Arc<Dir>, target: &OsStr, attributes: &Attributes) -> io::Result<Option<Self>> {
        match rustix::fs::statat(&**dir, &Names::of(target, true).part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_size > 0 => Self::open(Arc::clone(dir), target, attributes).map(Some),
            _ => Ok(None),
        }
    }

    /// Begins a file that is to become `target` in `dir`, or goes on with what an earlier attempt left
    /// of it: [`size`](Self::size) says how much that is, and [`so_far`](Self::so_far) what. If it fails,
    /// it leaves what it has for the next attempt.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn open(dir: Arc<Dir>, target: &OsStr, attributes: &Attributes) -> io::Result<Self> {
        let mode = first_mode(mode_of(&dir, target, attributes));
        Self::open_with(dir, target, mode)
    }

    fn open_with(dir: Arc<Dir>, target: &OsStr, mode: u32) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(mode);
        for attempt in 0..ATTEMPTS_MAX {
            let names = Names::of(target, attempt == 0);
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let (file, is_new) = match rustix::fs::openat(&dir, &names.part, flags, mode) {
                // Before it was locked somebody may have taken it over, and given it its final name.
                Ok(file) if lock(&file) && is_named(&dir, &names.part, &file)? => (file, true),
                Err(rustix::io::Errno::EXIST) if attempt == 0 => match left_over(&dir, &names.part)? {
                    Some(file) => (file, false),
                    None => continue,
                },
                // Somebody has this name, or saw the file before it was locked and has taken it over.
                Ok(_) | Err(rustix::io::Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut part = Self {
                dir,
                names,
                target: target.to_owned(),
                file: file.into(),
                digest: Digest::default(),
                is_new,
                is_kept: attempt == 0,
                journal: None,
                synced: Some(0),
                synced_before: 0,
                is_over: false,
            };
            if !is_new {
                part.take_up()?;
            }
            return Ok(part);
        }
        Err(io::Error::other("no free temporary name beside the target"))
    }

    /// Finds out what an earlier attempt has left.
    fn take_up(&mut self) -> io::Result<()> {
        let known = match self.open_journal(OFlags::RDONLY) {
            Ok(file) => Known::read(file, self.found()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(_) => Known { len_max: Some(0), ..Known::default() },
        };
        self.synced_before = known.synced;
        let (len, mut digest) = known.of(self.file.metadata()?.len());
        let mut at = digest.len();
        let mut piece = vec![0; READ_LEN];
        while at < len {
            let wanted = usize::try_from(len - at).unwrap_or(READ_LEN).min(READ_LEN);
            let read = read_at(&self.file, piece.get_mut(..wanted).unwrap_or_default(), at)?;
            if read == 0 {
                break;
            }
            digest.update(piece.get(..read).unwrap_or_default());
            at += read as u64;
        }
        self.digest = digest;
        if at == 0 {
            self.remove_journal();
        }
        self.cut_to(at)
    }

    /// The part's size and modification time.
    fn found(&self) -> io::Result<(u64, i64)> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = self.file.metadata()?;
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok((metadata.len(), mtime_ns))
    }

    /// Forgets what came behind the first `size` bytes, of which there are at least as many: 0, or all.
    ///
    /// # Errors
    /// The disk failed.
    pub fn cut(&mut self, size: u64) -> io::Result<()> {
        if size == self.digest.len() {
            return Ok(());
        }
        self.remove_journal();
        self.digest = Digest::default();
        self.cut_to(0)
    }

    /// Before anything that it does not describe is there.
    fn remove_journal(&mut self) {
        (self.journal, self.synced_before) = (None, 0);
        if let Some(name) = &self.names.journal {
            remove(&self.dir, name);
        }
    }

    fn cut_to(&mut self, size: u64) -> io::Result<()> {
        use io::Seek as _;
        self.file.set_len(size)?;
        self.synced = self.synced.map(|_| size);
        self.file.seek(io::SeekFrom::Start(size)).map(drop)
    }

    /// Leaves the disk to the kernel: no checkpoints, and after another boot nothing of it counts.
    pub const fn without_sync(&mut self) {
        self.synced = None;
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        let behind = self.digest.blocks().len();
        self.digest.update(piece);
        if self.is_kept && self.digest.blocks().len() > behind { self.note() } else { Ok(()) }
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
        let behind = self.digest.blocks().len();
        self.digest.update_zeros(zeros);
        if self.is_kept && self.digest.blocks().len() > behind { self.note() } else { Ok(()) }
    }

    /// Writes into the journal what is new, and now and then that it is on the disk.
    fn note(&mut self) -> io::Result<()> {
        let blocks = self.digest.blocks();
        if let Some(journal) = &mut self.journal {
            journal.add(blocks)?;
        } else {
            let file = self.open_journal(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
            self.journal = Some(Journal::begin(file, blocks, self.synced_before)?);
        }
        let len = self.digest.len();
        if let (Some(synced), Some(journal)) = (&mut self.synced, &mut self.journal)
            && len - *synced >= CHECKPOINT_LEN
        {
            rustix::fs::fdatasync(&self.file)?;
            journal.synced(len)?;
            *synced = len;
        }
        Ok(())
    }

    fn close_journal(&self) -> io::Result<()> {
        journal::close(self.open_journal(OFlags::WRONLY | OFlags::APPEND)?, self.found()?)
    }

    fn open_journal(&self, flags: OFlags) -> io::Result<File> {
        let name = self.names.journal.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))?;
        if is_own(&file)? { Ok(file.into()) } else { Err(io::Error::other("a journal that is not ours")) }
    }

    /// Bytes that have come, those of an earlier attempt included.
    pub const fn size(&self) -> u64 {
        self.digest.len()
    }

    /// The digest of what has come, in hexadecimal.
    pub fn so_far(&self) -> String {
        self.digest.finalize().to_hex().to_string()
    }

    /// Leaves nothing behind, should it fail: what has come is no use to another attempt.
    pub const fn discard(&mut self) {
        self.is_kept = false;
    }

    /// Compares what came with what was sent, as far as the sender said that, and sets the attributes. What
    /// is left to do is [`Verified`]'s.
    ///
    /// # Errors
    /// The digest differs, or the disk failed. The target is untouched.
    pub fn verify(mut self, sent: &Total<'_>, attributes: &Attributes) -> io::Result<Verified> {
        let got = self.digest.finalize().to_hex();
        if self.size() != sent.size || sent.blake3.as_ref().is_some_and(|sent| got.as_str() != sent) {
            self.is_kept = false;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                DigestMismatch {
                    got_size: self.size(),
                    got: got.to_string(),
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
        // What a disk that is full took of the last piece counts too: the next attempt reads it.
        let has_come = || self.file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        if self.is_over {
            return;
        }
        if self.is_kept && has_come() {
            if !self.digest.blocks().is_empty()
                && let Err(error) = self.close_journal()
            {
                tracing::debug!(%error, "a part is left whose journal is not closed");
            }
            return;
        }
        self.remove_journal();
        remove(&self.dir, &self.names.part);
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
        if !self.0.digest.blocks().is_empty() {
            self.0.remove_journal();
        }
        let Part { dir, names, target, file, .. } = &self.0;
        // Another file may have got this name meanwhile: it is not to become this one.
        if !is_named(dir, &names.part, file)? {
            return Err(io::Error::other("its temporary name was taken by somebody else"));
        }
        rustix::fs::renameat(&**dir, &names.part, &**dir, target)?;
        self.0.is_over = true;
        Ok(())
    }
}

/// Makes a symlink `target` in `dir` that leads to `to`, in place of a file or symlink, at once.
///
/// # Errors
/// The directory cannot be written, or the disk is full.
pub fn put_symlink(dir: &Dir, target: &OsStr, to: &OsStr, mtime_ns: Option<i64>) -> io::Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let name = Names::of(target, false).part;
        match rustix::fs::symlinkat(to, dir, &name) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        }
        let timed =
            mtime_ns.map(|mtime_ns| rustix::fs::utimensat(dir, &name, &times(mtime_ns), AtFlags::SYMLINK_NOFOLLOW));
        let put = timed.unwrap_or(Ok(())).and_then(|()| rustix::fs::renameat(dir, &name, dir, target));
        if put.is_err() {
            remove(dir, &name);
        }
        return Ok(put?);
    }
    Err(io::Error::other("no free temporary name beside the target"))
}

/// Makes `to` in `to_dir` another name of the file `from` in `from_dir`, in place of another file, at once.
///
/// # Errors
/// The two are on different file systems, which may have no hard links either, or the system refuses.
pub fn put_hard_link((from_dir, from): (&Dir, &OsStr), (to_dir, to): (&Dir, &OsStr)) -> io::Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let name = Names::of(to, false).part;
        match rustix::fs::linkat(from_dir, from, to_dir, &name, AtFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        }
        let put = rustix::fs::renameat(to_dir, &name, to_dir, to);
        if put.is_err() {
            remove(to_dir, &name);
        }
        return Ok(put?);
    }
    Err(io::Error::other("no free temporary name beside the target"))
}

/// Opens what an earlier attempt has left; `None` if somebody is at it, or it is not surely ours.
fn left_over(dir: &Dir, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        // It had its final mode already, in which its owner may not write.
        Err(rustix::io::Errno::ACCESS) => match writable_again(dir, name)? {
            Some(file) => file,
            None => return Ok(None),
        },
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::IO)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    if !lock(&file) || !is_own(&file)? {
        return Ok(None);
    }
    // It may have got its final name before the lock was had: then that is what was opened.
    Ok(is_named(dir, name, &file)?.then_some(file))
}

/// Whether `name` is this file's.
fn is_named(dir: &Dir, name: &OsStr, file: &impl std::os::fd::AsFd) -> io::Result<bool> {
    let (opened, named) = (rustix::fs::fstat(file)?, rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
    Ok(named.is_ok_and(|named| (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)))
}

/// Whether a file of this name would be in the way of another one's part.
pub fn is_temporary(name: &[u8]) -> bool {
    let ended = name.strip_suffix(b".part").or_else(|| name.strip_suffix(b".journal"));
    let Some((kept, digits)) = ended
        .and_then(|ended| ended.strip_prefix(b"."))
        .and_then(|ended| ended.split_last_chunk::<9>())
        .and_then(|(kept, digits)| Some((kept, digits.strip_prefix(b".")?)))
    else {
        return false;
    };
    // The digits of a name that was cut cannot be checked.
    kept.len() == NAME_LEN_MAX - TEMPORARY_LEN
        || blake3::hash(kept).to_hex().as_bytes().get(..8).is_some_and(|right| right == digits)
}

/// Opens a part of ours that is read-only by now; `None` if it is not surely that.
fn writable_again(dir: &Dir, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(read) = rustix::fs::openat(dir, name, flags | OFlags::RDONLY, Mode::empty()) else { return Ok(None) };
    if !lock(&read) || !is_own(&read)? {
        return Ok(None);
    }
    rustix::fs::fchmod(&read, Mode::from_raw_mode(0o600))?;
    // The lock is this opening's, and goes with it.
    Ok(rustix::fs::openat(dir, name, flags | OFlags::RDWR, Mode::empty()).ok())
}

/// A regular file of this user with no other name: writing into it changes nothing else.
fn is_own(file: &OwnedFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw())
}

/// Whether nobody else has it. A file system without locks does not say; there, two at the same time
/// disturb each other, and the digest notices.
fn lock(file: &OwnedFd) -> bool {
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

impl Names {
    /// `.NAME.1a2b3c4d.part`; a long NAME is cut so that the whole is still a legal name, and the
    /// digits are those of the whole.
    fn of(target: &OsStr, is_lasting: bool) -> Self {
        let target = target.as_bytes();
        let kept = target.get(..NAME_LEN_MAX - TEMPORARY_LEN).unwrap_or(target);
        let digits = if is_lasting {
            blake3::hash(target).to_hex().as_str().get(..8).unwrap_or_default().to_owned()
        } else {
            format!("{:08x}", RandomState::new().hash_one(0_u8) & 0xffff_ffff)
        };
        let name = |end: &str| {
            let mut name = b".".to_vec();
            name.extend_from_slice(kept);
            name.extend_from_slice(format!(".{digits}.{end}").as_bytes());
            OsString::from_vec(name)
        };
        Self { part: name("part"), journal: is_lasting.then(|| name("journal")) }
    }
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn names(dir: &tempfile::TempDir) -> Vec<OsString> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    fn opened(dir: &tempfile::TempDir) -> Arc<Dir> {
        Arc::new(crate::root::Root::open_own_dir(dir.path()).unwrap())
    }

    fn part(dir: &tempfile::TempDir, attributes: &Attributes) -> Part {
        Part::create(opened(dir), OsStr::new("target"), attributes).unwrap()
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

    #[test]
    fn the_next_attempt_goes_on_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..40_000_000_u32).map(|at| (at >> 7).to_le_bytes()[0]).collect();
        for stop in [1, 16 << 20, (16 << 20) + 1, 33 << 20, 40_000_000] {
            let open = || Part::open(opened(&dir), OsStr::new("target"), &PLAIN).unwrap();
            let mut first = open();
            first.write(&bytes[..stop]).unwrap();
            drop(first);
            let mut second = open();
            assert_eq!(second.size(), stop as u64);
            assert_eq!(second.so_far(), blake3::hash(&bytes[..stop]).to_hex().to_string());
            // Meanwhile somebody else brings the same file, and neither disturbs the other.
            let mut other = open();
            assert_eq!(other.size(), 0);
            other.write(b"other").unwrap();
            second.write(&bytes[stop..]).unwrap();
            other.publish(&total(b"other"), &PLAIN).unwrap();
            second.publish(&total(&bytes), &PLAIN).unwrap();
            assert_eq!(names(&dir), ["target"]);
            assert!(std::fs::read(dir.path().join("target")).unwrap() == bytes);
        }
    }

    #[test]
    fn zeros_behind_the_journal_never_pass_as_what_came() {
        use std::os::unix::fs::FileExt as _;
        let dir = tempfile::tempdir().unwrap();
        let bytes = vec![7; 40 << 20];
        let mut part = Part::open(opened(&dir), OsStr::new("target"), &PLAIN).unwrap();
        part.write(&bytes).unwrap();
        // What the disk had when the power was cut: the journal's lines, and one synced block.
        part.journal.as_mut().unwrap().synced(16 << 20).unwrap();
        drop(part);
        let left = names(&dir);
        let name =
            |end: &str| dir.path().join(left.iter().find(|name| name.as_bytes().ends_with(end.as_bytes())).unwrap());
        let file = File::options().write(true).open(name(".part")).unwrap();
        file.write_all_at(&vec![0; 24 << 20], 16 << 20).unwrap();
        let journal = std::fs::read_to_string(name(".journal")).unwrap();
        // It was not closed either.
        let (_, lines) = journal.split_once('\n').unwrap();
        let (lines, _) = lines.split_once("closed").unwrap();
        std::fs::write(name(".journal"), format!("landline part 1 another-boot\n{lines}")).unwrap();
        let part = Part::open(opened(&dir), OsStr::new("target"), &PLAIN).unwrap();
        assert_eq!(part.size(), 16 << 20);
        assert_eq!(part.so_far(), blake3::hash(&bytes[..16 << 20]).to_hex().to_string());
    }

    #[test]
    fn without_a_mode_a_file_keeps_that_of_the_one_it_replaces() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        let set = |mode| std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for kept in [0o600, 0o640, 0o666, 0o777, 0o400, 0o4755] {
            std::fs::write(&target, "old").unwrap();
            set(kept);
            let begun = part(&dir, &PLAIN);
            let name = begun.names.part.clone();
            assert_eq!(mode(&dir.path().join(name)) & 0o077, 0, "nobody else reads it before it is in place");
            begun.publish(&total(b""), &PLAIN).unwrap();
            assert_eq!(mode(&target), kept & 0o777);
            Part::whole(opened(&dir), OsStr::new("target"), &PLAIN, b"new").unwrap().rename().unwrap();
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
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let names_of = Names::of(OsStr::new("target"), true);
        let trap = dir.path().join(&names_of.part);
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let put = || part(&dir, &PLAIN).publish(&total(b""), &PLAIN).unwrap();
        std::os::unix::fs::symlink(&precious, &trap).unwrap();
        put();
        std::fs::remove_file(&trap).unwrap();
        std::fs::hard_link(&precious, &trap).unwrap();
        put();
        std::fs::remove_file(&trap).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &trap, Mode::from_raw_mode(0o600)).unwrap();
        put();
        std::fs::remove_file(&trap).unwrap();
        std::fs::create_dir(&trap).unwrap();
        put();
        std::fs::remove_dir(&trap).unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        assert_eq!(names(&dir).len(), 2);
    }

    #[test]
    fn a_name_of_any_length_has_its_own_temporary_one() {
        let mut seen = std::collections::HashSet::new();
        for len in [1, 236, 237, 238, 239, 255] {
            for is_lasting in [true, false] {
                let names = Names::of(OsStr::from_bytes(&vec![b'x'; len]), is_lasting);
                assert!(names.part.len() <= NAME_LEN_MAX, "{len}");
                assert!(names.journal.as_ref().is_none_or(|name| name.len() <= NAME_LEN_MAX), "{len}");
                assert!(seen.insert(names.part), "{len}");
            }
        }
    }
}
