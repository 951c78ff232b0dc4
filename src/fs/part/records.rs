//! What the home knows of parts: whose each is, for which file, and where.
//!
//! A name never says that a part is ours: any program may make a file of that name. A part is ours if a record in
//! the home, which no peer can reach, names its device, inode and time of birth. There are two kinds of files here:
//!
//! ```text
//! HEX              one for each part that is kept for another attempt
//! writing-TOKEN    one for each session that writes: in which directories it makes parts called `.*.TOKEN.part`;
//!                  locked while the session lasts, so that an unlocked one was left by a crash
//! ```

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use serde::{Deserialize, Serialize};

use super::names::{is_part_name, random_token};
use super::quota::{Arriving, GUEST_UPLOADS_KEPT_MAX, GUESTS_UPLOADS_KEPT_MAX, is_guest};
use super::upload::UploadRecord;
use super::{is_named, is_own, lock};
use crate::fs::below::read_dir;
use crate::fs::root::{path_of, remove_tree};
use crate::fs::unix::{identity_of, nanoseconds, seconds_since_1970};

/// Parts that are kept at the same time, of all peers; each has a record of some hundred bytes.
pub const PARTS_KEPT_MAX: usize = 10_000;

/// Parts of one owner that are kept at the same time: one peer does not take the room of the others.
pub const PARTS_KEPT_PER_OWNER_MAX: usize = 1_000;

/// How long a part is kept that nothing goes on with, unless the operator says otherwise.
pub const PART_TTL: Duration = Duration::from_hours(7 * 24);

/// The directory of the records, in a home.
pub const PARTS_DIR: &str = "parts";

/// What a record's file begins with until it has its name, and how long that may take.
const ASIDE: &str = ".new-";
const ASIDE_TIME_MAX: Duration = Duration::from_hours(1);

/// What the files of sessions that write begin with.
const WRITING: &str = "writing-";

/// The directory of the records.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    /// What is on its way in, for the quota.
    pub(super) arriving: Mutex<Arriving>,
}

/// A file, as a record knows it: a name may be given to another, this cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// When it was made, in nanoseconds since 1970; 0 where the file system does not keep that. An inode is used
    /// again.
    pub born_ns: i64,
}

impl FileId {
    /// The id of an open file.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of(file: &impl AsFd) -> io::Result<Self> {
        let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
        let has_birth = StatxFlags::from_bits_truncate(found.stx_mask).contains(StatxFlags::BTIME);
        let birth = nanoseconds(found.stx_btime.tv_sec, found.stx_btime.tv_nsec.into());
        let dev = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        Ok(Self { dev, ino: found.stx_ino, born_ns: if has_birth { birth } else { 0 } })
    }
}

/// What is known of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Whose it is.
    pub owner: String,
    /// The part itself.
    #[serde(flatten)]
    pub file: FileId,
    /// The directory in which it is, by device and inode.
    pub dir_dev: u64,
    /// The same.
    pub dir_ino: u64,
    /// The directory's path when the part was written, in base64: it may be of any bytes.
    dir_b64: String,
    /// The part's name there, in base64.
    name_b64: String,
    /// The name of the file that it is to become, in base64.
    target_b64: String,
    /// When the record was made, in seconds since 1970.
    written: u64,
    /// Where the bytes come from, in the words of who fetched them; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// What belongs to an upload; `None`: it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadRecord>,
}

impl PartRecord {
    /// A record of a part `name` of the file `target` in `dir`, which is at `path`.
    ///
    /// # Errors
    /// The directory or the part cannot be looked at.
    pub fn new(owner: &str, dir: &impl AsFd, (name, target): (&OsStr, &OsStr), part: &impl AsFd) -> io::Result<Self> {
        let (dir_dev, dir_ino) = identity_of(dir)?;
        Ok(Self {
            owner: owner.to_owned(),
            file: FileId::of(part)?,
            dir_dev,
            dir_ino,
            dir_b64: BASE64.encode(path_of(dir)?.as_os_str().as_bytes()),
            name_b64: BASE64.encode(name.as_bytes()),
            target_b64: BASE64.encode(target.as_bytes()),
            written: seconds_since_1970(SystemTime::now()),
            source: None,
            upload: None,
        })
    }

    /// The same, with a word on where its bytes come from.
    #[must_use]
    pub fn from_source(self, source: Option<String>) -> Self {
        Self { source, ..self }
    }

    /// Where its bytes come from; `None`: not known.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The directory's path when the part was written.
    pub fn dir(&self) -> PathBuf {
        PathBuf::from(decoded(&self.dir_b64))
    }

    /// The part's name.
    pub fn name(&self) -> OsString {
        decoded(&self.name_b64)
    }

    /// The name of the file that it is to become.
    pub fn target(&self) -> OsString {
        decoded(&self.target_b64)
    }

    /// Bytes that there are of it; 0 if it is not there.
    pub fn len(&self) -> u64 {
        fs::symlink_metadata(self.dir().join(self.name())).map_or(0, |found| found.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn key(&self) -> String {
        if let Some(upload) = &self.upload {
            return upload.key.clone();
        }
        key(&self.owner, (self.dir_dev, self.dir_ino), &self.target())
    }

    /// Opens the part, if it is there and nothing else holds it; locked then.
    fn open_idle(&self) -> Option<(OwnedFd, OwnedFd)> {
        let dir = open_dir(&self.dir()).ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, self.name(), flags, Mode::empty()).ok()?;
        let is_this = FileId::of(&file).is_ok_and(|found| found == self.file);
        (is_this && is_own(&file).unwrap_or(false) && lock(&file)).then_some((dir, file))
    }
}

impl Records {
    /// The records in the directory `path`, which is made if it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self { path, arriving: Mutex::default() })
    }

    /// The record of a part of `target` in the directory `dir`, if `owner` has one.
    pub fn find(&self, owner: &str, dir: (u64, u64), target: &OsStr) -> Option<PartRecord> {
        let record = self.read(&key(owner, dir, target))?;
        // The key is a digest, and what counts is in the record.
        let is_it = record.owner == owner && (record.dir_dev, record.dir_ino) == dir && record.target() == target;
        is_it.then_some(record)
    }

    /// The record of this key.
    pub(super) fn of_key(&self, key: &str) -> Option<PartRecord> {
        self.read(key)
    }

    /// Writes a record; `false`: there is no room for it, or another part of the same file is on record, and there.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn write(&self, record: &PartRecord) -> io::Result<bool> {
        let key = record.key();
        match self.read(&key) {
            Some(other) if other.file != record.file && other.is_there() => return Ok(false),
            None if !self.has_room(&record.owner) => return Ok(false),
            _ => {}
        }
        let aside = self.path.join(format!("{ASIDE}{}", random_token()));
        let json = serde_json::to_vec(record).map_err(io::Error::from)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        // What the sender of an upload was told holds after a power cut, too.
        let sync = |file: &dyn AsFd| if record.upload.is_some() { rustix::fs::fsync(file) } else { Ok(()) };
        let written = file.write_all(&json).and_then(|()| Ok(sync(&file)?)).and_then(|()| {
            fs::rename(&aside, self.path.join(key))?;
            Ok(sync(&open_dir(&self.path)?)?)
        });
        if written.is_err() {
            remove(&aside);
        }
        written.map(|()| true)
    }

    /// Whether one more part of `owner` may be kept.
    fn has_room(&self, owner: &str) -> bool {
        let (most, most_of_guests) = if is_guest(owner) {
            (GUEST_UPLOADS_KEPT_MAX, GUESTS_UPLOADS_KEPT_MAX)
        } else {
            (PARTS_KEPT_PER_OWNER_MAX, usize::MAX)
        };
        if self.record_names().count() < most {
            return true;
        }
        let all = self.all();
        let count = |is_counted: &dyn Fn(&str) -> bool| all.iter().filter(|record| is_counted(&record.owner)).count();
        all.len() < PARTS_KEPT_MAX && count(&|one| one == owner) < most && count(&is_guest) < most_of_guests
    }

    /// Forgets a part that has become its file, or was removed.
    pub fn forget(&self, record: &PartRecord) {
        let key = record.key();
        if self.read(&key).is_some_and(|found| found.file == record.file) {
            remove(&self.path.join(key));
        }
    }

    /// Whether there is any record.
    pub(super) fn has_any(&self) -> bool {
        self.record_names().next().is_some()
    }

    /// Whether `name` in `dir` is a part on record that nothing holds.
    pub(super) fn has_idle(&self, dir: &impl AsFd, name: &OsStr) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return false };
        let is_recorded = |id| self.all().iter().any(|record| record.file == id);
        FileId::of(&file).is_ok_and(is_recorded) && is_own(&file).unwrap_or(false) && lock(&file)
    }

    /// All records.
    pub fn all(&self) -> Vec<PartRecord> {
        self.record_names().filter_map(|name| self.read(&name)).collect()
    }

    /// Removes what a crash has left, and parts of `owner` (`None`: of all) that nothing has gone on with for longer
    /// than `ttl` (`None`: however long). What is held is left alone, and so is what is not surely the part on
    /// record.
    pub fn sweep(&self, ttl: Option<Duration>, owner: Option<&str>) {
        self.sweep_at(ttl, owner, SystemTime::now());
    }

    /// The same, as if it were `now`.
    pub(super) fn sweep_at(&self, ttl: Option<Duration>, owner: Option<&str>, now: SystemTime) {
        for name in self.names().iter().filter(|name| name.starts_with(WRITING)) {
            if let Err(error) = self.sweep_writing(&self.path.join(name)) {
                tracing::debug!(%error, name, "what a session left could not be removed");
            }
        }
        for name in self.names().iter().filter(|name| name.starts_with(ASIDE)) {
            // One that is being written is renamed within a moment.
            let path = self.path.join(name);
            let is_old = fs::metadata(&path)
                .and_then(|found| found.modified())
                .is_ok_and(|made| now.duration_since(made).is_ok_and(|age| age > ASIDE_TIME_MAX));
            if is_old {
                remove(&path);
            }
        }
        let Some(ttl) = ttl else { return };
        let now = seconds_since_1970(now);
        let is_due = |record: &&PartRecord| {
            now.saturating_sub(record.last_written()) > ttl.as_secs() && owner.is_none_or(|owner| record.owner == owner)
        };
        for record in self.all().iter().filter(is_due) {
            if record.is_there() && !self.remove_part(record) {
                continue;
            }
            self.forget(record);
        }
    }

    /// Removes a part that nothing holds, with its record; whether it was removed.
    pub fn remove_part(&self, record: &PartRecord) -> bool {
        let Some((dir, _locked)) = record.open_idle() else { return false };
        let is_removed = rustix::fs::unlinkat(&dir, record.name(), AtFlags::empty()).is_ok();
        if is_removed {
            self.forget(record);
        }
        is_removed
    }

    /// Removes the parts of a session that ended in a crash.
    fn sweep_writing(&self, log: &Path) -> io::Result<()> {
        // Locked until it is removed.
        let file = File::open(log)?;
        if !lock(&file) {
            return Ok(());
        }
        let mut is_swept = true;
        let kept: HashSet<(u64, u64)> = self.all().iter().map(|record| (record.file.dev, record.file.ino)).collect();
        for line in io::BufReader::new(&file).lines() {
            let line = line?;
            let Some((token, dir)) = line.split_once(' ') else { continue };
            // One that is gone has nothing of it; one that cannot be read now is looked at again later.
            is_swept &= match open_dir(Path::new(&decoded(dir))) {
                Ok(dir) => remove_all_left(self, &dir, token, &kept).is_ok(),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        }
        if is_swept { fs::remove_file(log) } else { Ok(()) }
    }

    fn record_names(&self) -> impl Iterator<Item = String> {
        self.names().into_iter().filter(|name| !name.starts_with('.') && !name.starts_with(WRITING))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    fn read(&self, name: &str) -> Option<PartRecord> {
        serde_json::from_slice(&fs::read(self.path.join(name)).ok()?).ok()
    }
}

impl PartRecord {
    /// When the part was last written to, in seconds since 1970: as its file says, or when the record was made if
    /// that is later or the file is not there.
    pub fn last_written(&self) -> u64 {
        let found = fs::symlink_metadata(self.dir().join(self.name())).and_then(|found| found.modified());
        found.map_or(self.written, |time| seconds_since_1970(time).max(self.written))
    }

    /// Whether the part is where it was written, held or not.
    pub fn is_there(&self) -> bool {
        let found = open_dir(&self.dir()).and_then(|dir| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            FileId::of(&rustix::fs::openat(&dir, self.name(), flags, Mode::empty())?)
        });
        found.is_ok_and(|found| found == self.file)
    }

    /// Whether something writes to the part at the moment.
    pub fn is_held(&self) -> bool {
        self.is_there() && self.open_idle().is_none()
    }
}

/// Removes what a session left in a directory.
fn remove_all_left(records: &Records, dir: &OwnedFd, token: &str, kept: &HashSet<(u64, u64)>) -> io::Result<()> {
    let end = format!(".{token}.part");
    for entry in read_dir(dir)? {
        let (name, _) = entry?;
        let name = name.to_bytes();
        if name.ends_with(end.as_bytes()) && is_part_name(name) {
            remove_left(records, dir, OsStr::from_bytes(name), kept);
        }
    }
    Ok(())
}

/// Removes a file, symlink or directory of this user that is not kept. What made it is gone: its note was not locked.
fn remove_left(records: &Records, dir: &OwnedFd, name: &OsStr, kept: &HashSet<(u64, u64)>) {
    let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
    if stat.st_uid != rustix::process::geteuid().as_raw() || kept.contains(&(stat.st_dev, stat.st_ino)) {
        return;
    }
    let removed = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Symlink => {
            rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(crate::fs::Error::from)
        }
        // A copy that was not whole, or what one has replaced.
        FileType::Directory => remove_tree(dir, name, &|dir, name| records.has_idle(dir, name)),
        _ => return,
    };
    if let Err(error) = removed {
        tracing::warn!(%error, ?name, "what a crash left could not be removed");
    }
}

/// In which directories a session makes parts: what a crash leaves is found by it.
#[derive(Debug)]
pub(super) struct Writing {
    path: PathBuf,
    file: OwnedFd,
    /// Directories that were noted, by device and inode.
    dirs: HashSet<(u64, u64)>,
}

impl Writing {
    /// Begins a session's file, locked.
    pub(super) fn begin(records: &Records) -> io::Result<Self> {
        loop {
            let path = records.path.join(format!("{WRITING}{}", random_token()));
            let file: OwnedFd = fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?.into();
            // Between the two a sweep may have taken it for one that a crash left.
            if lock(&file) && is_named(rustix::fs::CWD, path.as_os_str(), &file)? {
                return Ok(Self { path, file, dirs: HashSet::new() });
            }
        }
    }

    /// Notes that parts with this token are made in `dir`; before the first of them is.
    pub(super) fn note(&mut self, dir: &impl AsFd, token: &str) -> io::Result<()> {
        if !self.dirs.insert(identity_of(dir)?) {
            return Ok(());
        }
        let line = format!("{token} {}\n", BASE64.encode(path_of(dir)?.as_os_str().as_bytes()));
        let mut file = File::from(self.file.try_clone()?);
        file.write_all(line.as_bytes())
    }

    /// The token has changed: every directory is to be noted again.
    pub(super) fn forget_dirs(&mut self) {
        self.dirs.clear();
    }

    /// None of the session's parts is left.
    pub(super) fn clear(&mut self) {
        if !self.dirs.is_empty() {
            self.dirs.clear();
            if let Err(error) = rustix::fs::ftruncate(&self.file, 0) {
                tracing::debug!(%error, "the note of what is being written could not be emptied");
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn key(owner: &str, (dev, ino): (u64, u64), target: &OsStr) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(owner.as_bytes()).update(&[0]).update(&dev.to_le_bytes()).update(&ino.to_le_bytes());
    hasher.update(target.as_bytes());
    hasher.finalize().to_hex().as_str().get(..32).unwrap_or_default().to_owned()
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn decoded(text: &str) -> OsString {
    OsString::from_vec(BASE64.decode(text).unwrap_or_default())
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a record of a part could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}
