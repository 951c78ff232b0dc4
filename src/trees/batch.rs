//! Files that are complete and wait for their names: many are committed together.
//!
//! A file alone is synced, renamed, and its directory synced. For many that would be the greater part of the time:
//! they are written, then the whole file system is synced once, then they are renamed, then it is synced again. Only
//! then are they confirmed, so what was confirmed survives a power cut.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::fs::part::Verified;

/// Most files in a batch. Each holds a descriptor, whose lock keeps other transfers from the file.
const FILES_MAX: u64 = 1_000;
/// Files that make a commit due where a sync is quick.
const FILES_DUE_MIN: usize = 125;
/// Longest sync that counts as quick.
const SYNC_TIME_MAX: Duration = Duration::from_millis(2);
/// Most bytes in a batch.
const LEN_MAX: u64 = 256 * 1024 * 1024;
/// Up to this number of files, syncing each is cheaper than syncing the file system.
const FEW: usize = 4;
/// Longest time that a complete file waits for its commit.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Files that are complete, and do not have their names yet.
#[derive(Debug)]
pub struct Batch {
    is_synced: bool,
    /// Number of files that makes a commit due: low where a sync is quick, since the peer waits meanwhile.
    files_due: usize,
    files_max: usize,
    files: Vec<Whole>,
    bytes: u64,
    since: Option<Instant>,
}

/// A complete file in the batch.
#[derive(Debug)]
pub struct Whole {
    /// Its entry's number in the listing.
    pub entry: u32,
    /// Its path in the tree.
    pub path: Vec<u8>,
    /// Size in bytes.
    pub size: u64,
    /// Whether something of another kind has its name, and is to be removed first.
    pub clears: bool,
    /// The file itself.
    pub file: Verified,
}

/// The outcome of one file's commit.
#[derive(Debug)]
pub struct Committed {
    /// Its entry's number in the listing.
    pub entry: u32,
    /// Its path in the tree.
    pub path: Vec<u8>,
    /// Size in bytes.
    pub size: u64,
    /// `Ok` if it has its name now, or else why not.
    pub result: io::Result<()>,
}

impl Batch {
    /// An empty batch; `is_synced`: what is committed survives a power cut.
    pub fn new(is_synced: bool) -> Self {
        // A quarter of the descriptors: other connections need some too.
        let quarter = getrlimit(Resource::Nofile).current.map_or(FILES_MAX, |limit| limit / 4);
        let files_max = usize::try_from(quarter.clamp(1, FILES_MAX)).unwrap_or(1);
        Self { is_synced, files_due: FILES_DUE_MIN.min(files_max), files_max, files: Vec::new(), bytes: 0, since: None }
    }

    /// Adds a file.
    pub fn add(&mut self, whole: Whole) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += whole.size;
        self.files.push(whole);
    }

    /// Whether it is time to commit.
    pub fn is_due(&self) -> bool {
        let is_full = self.files.len() >= self.files_due || self.bytes >= LEN_MAX;
        // Without a sync there is nothing to save up for.
        is_full || (!self.is_synced && !self.is_empty()) || self.since.is_some_and(|since| since.elapsed() > WAIT_MAX)
    }

    /// Whether no file waits.
    pub const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Gives all files their names. `clear` removes what has the name of a file that [clears](Whole::clears) it.
    pub fn commit(&mut self, clear: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Vec<Committed> {
        let files = std::mem::take(&mut self.files);
        (self.bytes, self.since) = (0, None);
        let few = files.len() <= FEW;
        let started = Instant::now();
        // What can fail is done before the renames.
        let prepared = if self.is_synced { prepare(&files, few) } else { Ok(Vec::new()) };
        let mut synced_for = started.elapsed();
        let (directories, ready) = prepared.map_or_else(|error| (Vec::new(), Err(error)), |opened| (opened, Ok(())));
        let mut fates = Vec::with_capacity(files.len());
        for Whole { entry, path, size, clears, file } in files {
            let ready = ready.as_ref().map_err(again).copied();
            let ready = ready.and_then(|()| if clears { clear(&path) } else { Ok(()) });
            let result = ready.and_then(|()| Ok(file.rename()?));
            fates.push(Committed { entry, path, size, result });
        }
        let renamed = Instant::now();
        let sync = |directory| if few { rustix::fs::fsync(directory) } else { rustix::fs::syncfs(directory) };
        if let Err(error) = directories.iter().try_for_each(sync) {
            // They have their names, but a power cut may undo that.
            for fate in fates.iter_mut().filter(|fate| fate.result.is_ok()) {
                fate.result = Err(again(&error.into()));
            }
        }
        // Where a sync takes its time, more files share one.
        synced_for += renamed.elapsed();
        self.files_due = if synced_for > SYNC_TIME_MAX { self.files_due * 2 } else { FILES_DUE_MIN };
        self.files_due = self.files_due.min(self.files_max);
        fates
    }
}

/// Brings the files to the disk, and opens what is to be synced after the renames: each directory, or if they are
/// many, one on each file system.
fn prepare(files: &[Whole], few: bool) -> io::Result<Vec<OwnedFd>> {
    let mut directories: Vec<((u64, u64), OwnedFd)> = Vec::new();
    let mut last: Option<&Whole> = None;
    for whole in files {
        if few {
            whole.file.sync()?;
        }
        if last.replace(whole).is_some_and(|last| last.file.is_beside(&whole.file)) {
            continue;
        }
        let device = whole.file.device()?;
        if !few && directories.iter().any(|((known, _), _)| *known == device) {
            continue;
        }
        if !few {
            whole.file.sync_file_system()?;
        }
        let directory = whole.file.directory()?;
        let inode = rustix::fs::fstat(&directory)?.st_ino;
        if !directories.iter().any(|(known, _)| *known == (device, inode)) {
            directories.push(((device, inode), directory));
        }
    }
    Ok(directories.into_iter().map(|(_, directory)| directory).collect())
}

/// The same error once more, for another file.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}
