//! The outbox: messages that this server has acknowledged, in a file of its home, until the bus has them and a while
//! longer.
//!
//! A line is a checksum, a space and a record. Lines are appended and synced together, as many as have come meanwhile.
//! The first line names the server. A torn last line, which no client was told of, is cut off.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::store::Kept;
use super::record::Record;
use crate::error::{ErrorCode, Refusal};

/// Messages that the bus does not have yet: with one more, messages are refused.
pub const OUTBOX_MESSAGES_MAX: usize = 20_000;
/// Bytes of them.
pub const OUTBOX_LEN_MAX: usize = 16 * 1024 * 1024;
/// Messages that the bus has and that are kept, for a bus that loses what it had; and their bytes.
const PUBLISHED_MESSAGES_MAX: usize = 10_000;
const PUBLISHED_LEN_MAX: usize = 8 * 1024 * 1024;
/// The file is written anew when it is longer than this, and less than half of it is kept.
const FILE_LEN_MAX: u64 = 48 * 1024 * 1024;
/// Hexadecimal digits of a line's checksum.
const CHECKSUM_LEN: usize = 16;
/// How long the writer waits after the disk has refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The operating system reported an error.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("{}: another server that runs uses this home; give each server a home of its own", path.display())]
    Used {
        /// The file.
        path: PathBuf,
    },
    /// A line that is not the last one is not what was written.
    #[error("{}: line {line} is not what was written ({why}); move the file away to begin a new one", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The server's name on the bus.
    server: String,
    /// The number of the first record that may follow.
    first: u64,
}

/// A record in the outbox.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// Its number.
    pub seq: u64,
    /// The record, as JSON.
    pub json: Arc<str>,
}

/// The outbox, as the hub and the bus's threads share it.
#[derive(Debug)]
pub struct Outbox {
    server: String,
    path: PathBuf,
    /// The number of the last record that was there when this process began.
    last_before: u64,
    state: Mutex<OutboxState>,
    changed: Condvar,
    /// Held while the process runs.
    _lock: File,
}

struct OutboxState {
    entries: VecDeque<OutboxEntry>,
    /// Bytes of the records that the bus has, and of those that it has not.
    published_len: usize,
    waiting_len: usize,
    /// The number of the last record; of the last one on the disk; of the last one on the bus.
    last: u64,
    synced: u64,
    published: u64,
    kept: VecDeque<(u64, Kept)>,
    is_failing: bool,
    has_ended: bool,
}

impl std::fmt::Debug for OutboxState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { last, synced, published, .. } = self;
        f.debug_struct("OutboxState")
            .field("last", last)
            .field("synced", synced)
            .field("published", published)
            .finish_non_exhaustive()
    }
}

/// The file, for the one thread that writes it.
#[derive(Debug)]
pub struct OutboxFile {
    file: File,
    /// Bytes of the whole lines.
    len: u64,
    /// Whether there may be more, which are to be cut off.
    is_torn: bool,
}

impl Outbox {
    /// Opens the outbox at `path`, or makes it; what is there is yet to be published.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(path: &Path) -> Result<(Self, OutboxFile, Vec<Record>), OutboxError> {
        let failed = |source| OutboxError::Io { path: path.to_owned(), source };
        let lock = open_file(&path.with_extension("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OutboxError::Used { path: path.to_owned() },
            TryLockError::Error(error) => failed(error),
        })?;
        let mut file = open_file(path).map_err(failed)?;
        let bytes = fs::read(path).map_err(failed)?;
        let broken = |(line, why)| OutboxError::Broken { path: path.to_owned(), line, why };
        let read = read_lines(&bytes).map_err(broken)?;
        let (head, mut len) = (read.head, read.len);
        if len < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - len, "the outbox: a torn last line was cut off");
        }
        file.set_len(len as u64).map_err(failed)?;
        let head = if let Some(head) = head {
            head
        } else {
            let head = Head { server: new_server_name().map_err(failed)?, first: 1 };
            let line = line_of(&serde_json::to_string(&head).unwrap_or_default());
            len = line.len();
            file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            sync_directory(path).map_err(failed)?;
            head
        };
        let last = read.entries.last().map_or(head.first.saturating_sub(1), |(record, _)| record.seq);
        let waiting_len = read.entries.iter().map(|(_, json)| json.len()).sum();
        let (mut records, mut entries) = (Vec::new(), VecDeque::new());
        for (record, json) in read.entries {
            entries.push_back(OutboxEntry { seq: record.seq, json });
            records.push(record);
        }
        let state = OutboxState {
            entries,
            published_len: 0,
            waiting_len,
            last,
            synced: last,
            published: head.first.saturating_sub(1),
            kept: VecDeque::new(),
            is_failing: false,
            has_ended: false,
        };
        let outbox = Self {
            server: head.server,
            path: path.to_owned(),
            last_before: last,
            state: Mutex::new(state),
            changed: Condvar::new(),
            _lock: lock,
        };
        Ok((outbox, OutboxFile { file, len: len as u64, is_torn: false }, records))
    }

    /// The server's name on the bus.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The number of the last record that was there when this process began.
    pub const fn last_before(&self) -> u64 {
        self.last_before
    }

    /// Whether there is room for one more record.
    ///
    /// # Errors
    /// The outbox is full, or cannot be written.
    pub fn check(&self) -> Result<(), Refusal> {
        let state = self.lock();
        let waiting = usize::try_from(state.last - state.published).unwrap_or(usize::MAX);
        if waiting >= OUTBOX_MESSAGES_MAX || state.waiting_len >= OUTBOX_LEN_MAX {
            let text = format!(
                "the bus to the other servers is away, and {waiting} messages of {} bytes wait for it, which is the limit; \
                 try again later",
                state.waiting_len
            );
            return Err(Refusal::new(ErrorCode::Busy, text));
        }
        if state.is_failing {
            let text = "this server cannot write its outbox; try again later, or tell its operator";
            return Err(Refusal::new(ErrorCode::NoSpace, text));
        }
        Ok(())
    }

    /// Adds a record, which `make` makes with its number; `kept` is called when it is on the disk. Does not wait. The
    /// caller has [checked](Self::check) that there is room.
    pub fn add(&self, make: impl FnOnce(u64) -> String, kept: Kept) {
        let mut state = self.lock();
        state.last += 1;
        let seq = state.last;
        let json: Arc<str> = make(seq).into();
        state.waiting_len += json.len();
        state.entries.push_back(OutboxEntry { seq, json });
        state.kept.push_back((seq, kept));
        drop(state);
        self.changed.notify_all();
    }

    /// Calls `kept` when all that was added so far is on the disk.
    pub fn after_all(&self, kept: Kept) {
        let mut state = self.lock();
        if state.synced < state.last {
            let last = state.last;
            state.kept.push_back((last, kept));
            return;
        }
        drop(state);
        kept();
    }

    /// Records on the disk that the bus does not have, at most `count` of at most `len` bytes and at least one; waits
    /// up to `time` for the first.
    pub fn unpublished(&self, count: usize, len: usize, time: Duration) -> Vec<OutboxEntry> {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        while state.synced <= state.published && !state.has_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (published, synced) = (state.published, state.synced);
        let from = state.entries.partition_point(|entry| entry.seq <= published);
        let mut found: Vec<OutboxEntry> = Vec::new();
        let mut found_len = 0;
        for entry in state.entries.iter().skip(from).take_while(|entry| entry.seq <= synced).take(count) {
            found_len += entry.json.len();
            if !found.is_empty() && found_len > len {
                break;
            }
            found.push(entry.clone());
        }
        found
    }

    /// The bus has all records up to this one; with `None` it has none.
    ///
    /// # Errors
    /// It has more than there are: the outbox is an older copy.
    pub fn set_published(&self, seq: Option<u64>) -> Result<(), String> {
        let mut state = self.lock();
        let published = seq.unwrap_or(0);
        if published > state.last {
            return Err(format!(
                "the bus has message {published} of this server, and {} ends at {}: it is an older copy; move it away to \
                 begin a new one",
                self.path.display(),
                state.last
            ));
        }
        let first = state.entries.front().map_or(state.last + 1, |entry| entry.seq);
        state.published = published.max(first - 1);
        state.count_len();
        state.forget_old();
        Ok(())
    }

    /// Ends the thread that writes.
    pub fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Writes what is added, until the outbox is [ended](Self::end).
    pub fn write(&self, mut file: OutboxFile) {
        loop {
            let Some((last, bytes)) = self.unwritten() else { return };
            match file.append(&bytes) {
                Ok(()) => self.set_synced(last),
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "the outbox cannot be written; messages are refused");
                    let mut state = self.lock();
                    state.is_failing = true;
                    let (state, _) =
                        self.changed.wait_timeout(state, RETRY_INTERVAL).unwrap_or_else(PoisonError::into_inner);
                    drop(state);
                }
            }
            if let Err(error) = self.shorten(&mut file) {
                tracing::warn!(path = %self.path.display(), %error, "the outbox could not be shortened");
            }
        }
    }

    /// The lines to be written, and the number of the last one; `None`: the outbox has ended.
    fn unwritten(&self) -> Option<(u64, Vec<u8>)> {
        let mut state = self.lock();
        while state.synced == state.last && !state.has_ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.has_ended && state.synced == state.last {
            return None;
        }
        let synced = state.synced;
        let from = state.entries.partition_point(|entry| entry.seq <= synced);
        let entries: Vec<OutboxEntry> = state.entries.iter().skip(from).cloned().collect();
        drop(state);
        let lines: String = entries.iter().map(|entry| line_of(&entry.json)).collect();
        Some((entries.last()?.seq, lines.into_bytes()))
    }

    fn set_synced(&self, last: u64) {
        let mut state = self.lock();
        state.synced = last;
        state.is_failing = false;
        let count = state.kept.partition_point(|(seq, _)| *seq <= last);
        let kept: Vec<(u64, Kept)> = state.kept.drain(..count).collect();
        drop(state);
        self.changed.notify_all();
        for (_, kept) in kept {
            kept();
        }
    }

    /// Writes the file anew if it is mostly what is no longer kept.
    fn shorten(&self, file: &mut OutboxFile) -> io::Result<()> {
        let state = self.lock();
        let kept_len = (state.published_len + state.waiting_len) as u64;
        if file.len < FILE_LEN_MAX || kept_len > file.len / 2 {
            return Ok(());
        }
        let synced = state.synced;
        let entries: Vec<OutboxEntry> = state.entries.iter().filter(|entry| entry.seq <= synced).cloned().collect();
        drop(state);
        let first = entries.first().map_or(synced + 1, |entry| entry.seq);
        let head = Head { server: self.server.clone(), first };
        let mut lines = line_of(&serde_json::to_string(&head).unwrap_or_default());
        lines.extend(entries.iter().map(|entry| line_of(&entry.json)));
        let aside = self.path.with_extension("new");
        let mut new = open_file(&aside)?;
        new.set_len(0)?;
        new.write_all(lines.as_bytes())?;
        new.sync_all()?;
        fs::rename(&aside, &self.path)?;
        *file = OutboxFile { file: new, len: lines.len() as u64, is_torn: false };
        sync_directory(&self.path)
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutboxState {
    fn count_len(&mut self) {
        let published = self.published;
        let at = self.entries.partition_point(|entry| entry.seq <= published);
        self.published_len = self.entries.iter().take(at).map(|entry| entry.json.len()).sum();
        self.waiting_len = self.entries.iter().skip(at).map(|entry| entry.json.len()).sum();
    }

    fn forget_old(&mut self) {
        let published = self.published;
        let mut count = self.entries.partition_point(|entry| entry.seq <= published);
        while count > PUBLISHED_MESSAGES_MAX || count > 0 && self.published_len > PUBLISHED_LEN_MAX {
            self.published_len -= self.entries.pop_front().map_or(0, |entry| entry.json.len());
            count -= 1;
        }
    }
}

impl OutboxFile {
    /// Appends whole lines and syncs them. After an error they are not there, or are cut off before the next ones.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.len)?;
        }
        self.is_torn = true;
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.is_torn = false;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

struct ReadLines {
    head: Option<Head>,
    entries: Vec<(Record, Arc<str>)>,
    /// Bytes of the whole lines.
    len: usize,
}

/// # Errors
/// The number of a line that is not what was written, and why.
fn read_lines(bytes: &[u8]) -> Result<ReadLines, (usize, String)> {
    let mut read = ReadLines { head: None, entries: Vec::new(), len: 0 };
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_last = read.len + line.len() == bytes.len();
        if let Err(why) = read.take(line) {
            // A line that a crash has cut, or of which the disk has not got all.
            if is_last {
                return Ok(read);
            }
            return Err((at + 1, why));
        }
        read.len += line.len();
    }
    Ok(read)
}

impl ReadLines {
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let line = line.strip_suffix(b"\n").ok_or("it has no end")?;
        let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let (checksum, json) = line.split_at_checked(CHECKSUM_LEN).ok_or("it is too short")?;
        let json = json.strip_prefix(' ').ok_or("it has no checksum")?;
        if checksum != checksum_of(json) {
            return Err("its checksum differs".into());
        }
        let Some(head) = &self.head else {
            self.head = Some(serde_json::from_str(json).map_err(|error| error.to_string())?);
            return Ok(());
        };
        let record = Record::parse(json)?;
        let next = self.entries.last().map_or(head.first, |(last, _)| last.seq + 1);
        if record.seq != next {
            return Err(format!("it has the number {}, and {next} comes next", record.seq));
        }
        self.entries.push((record, json.into()));
        Ok(())
    }
}

fn line_of(json: &str) -> String {
    format!("{} {json}\n", checksum_of(json))
}

fn checksum_of(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex().chars().take(CHECKSUM_LEN).collect()
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).append(true).mode(0o600).open(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// A random name, which no other server has.
fn new_server_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(blake3::hash(&bytes).to_hex().chars().take(32).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::record::RecordKind;
    use super::*;

    fn json(seq: u64, text: &str) -> String {
        let (room, nick, text) = ("lobby".into(), "ann".into(), text.into());
        let (id, origin) = (None, None);
        let (kind, time_ms, action, guest, receiver) = (RecordKind::Say, 1, false, true, None);
        Record { seq, kind, room, receiver, nick, id, origin, time_ms, action, guest, text }.to_json()
    }

    /// Adds these texts, and ends the outbox when all are on the disk.
    fn fill(path: &Path, texts: &[&str]) -> Vec<u64> {
        let (outbox, file, _) = Outbox::open(path).unwrap();
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| outbox.write(file));
            for text in texts {
                outbox.check().unwrap();
                let sender = sender.clone();
                outbox.add(|seq| json(seq, text), Box::new(move || sender.send(()).unwrap()));
            }
            outbox.after_all(Box::new(move || sender.send(()).unwrap()));
            (0..=texts.len()).for_each(|_| receiver.recv().unwrap());
            outbox.end();
        });
        outbox.unpublished(1_000, 1_000_000, Duration::ZERO).iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn what_was_kept_is_there_again_and_a_torn_last_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        assert_eq!(fill(&path, &["a", "b", "c"]), [1, 2, 3]);
        let whole = fs::read(&path).unwrap();
        let names: Vec<usize> =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (outbox, _, records) = Outbox::open(&path).unwrap();
            let lines = names.iter().filter(|end| **end < cut).count();
            assert_eq!(records.len(), lines.saturating_sub(1), "{cut}");
            assert_eq!(outbox.last_before(), records.len() as u64);
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(fill(&path, &["d"]), [1, 2, 3], "the third is the new one");
        let (_, _, records) = Outbox::open(&path).unwrap();
        assert_eq!(records.iter().map(|record| record.text.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    }

    #[test]
    fn a_line_that_is_not_what_was_written_is_told_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        fill(&path, &["a", "b"]);
        let whole = fs::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut broken = whole.clone();
        broken[second + 40] ^= 1;
        fs::write(&path, &broken).unwrap();
        let error = Outbox::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 2 is not what was written"), "{error}");
        // A line that is missing.
        let third = whole[second..].iter().position(|byte| *byte == b'\n').unwrap() + 1 + second;
        fs::write(&path, [&whole[..second], &whole[third..], &whole[third..]].concat()).unwrap();
        assert!(Outbox::open(&path).unwrap_err().to_string().contains("comes next"));
    }

    #[test]
    fn a_full_outbox_refuses_and_what_the_bus_has_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let (outbox, file, _) = Outbox::open(&path).unwrap();
        assert!(matches!(Outbox::open(&path), Err(OutboxError::Used { .. })));
        let text = "x".repeat(60_000);
        let mut count = 0;
        while outbox.check().is_ok() {
            outbox.add(|seq| json(seq, &text), Box::new(|| ()));
            count += 1;
        }
        assert!((OUTBOX_LEN_MAX / 61_000..=OUTBOX_LEN_MAX / 60_000 + 1).contains(&count), "{count}");
        assert!(outbox.unpublished(10, 1, Duration::ZERO).is_empty(), "nothing is on the disk yet");
        std::thread::scope(|scope| {
            scope.spawn(|| outbox.write(file));
            assert_eq!(outbox.unpublished(10, 1, Duration::from_mins(1)).len(), 1, "one at least");
            let last = count as u64;
            outbox.set_published(Some(last)).unwrap();
            outbox.check().unwrap();
            assert!(outbox.set_published(Some(last + 1)).unwrap_err().contains("an older copy"));
            // A bus that has lost everything gets again what is kept for it.
            outbox.set_published(None).unwrap();
            let first = outbox.unpublished(1, 1, Duration::from_mins(1))[0].seq;
            assert!(first > 1 && first < last, "{first}");
            outbox.end();
        });
    }
}
