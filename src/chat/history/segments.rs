//! The files of the history: `chat-N.log`, the oldest with the lowest number. The last one is appended to; when it is
//! full, the next is begun, and the oldest are removed beyond the limits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::line::{Line, decode};

/// The limit of all files is divided among this many.
const SEGMENTS: u64 = 8;
/// Longest line that is read, in bytes: a message's text in JSON, all of it escaped, and its header.
const LINE_LEN_MAX: u64 = 1024 * 1024;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Bytes of all files together.
    pub len: u64,
    /// How old a file's last message may be; `None`: without limit.
    pub age: Option<Duration>,
}

/// The files, of which the last is open.
#[derive(Debug)]
pub struct Segments {
    directory: PathBuf,
    limits: HistoryLimits,
    number: u64,
    file: File,
    len: u64,
}

/// What was read when the files were opened.
#[derive(Debug, Default)]
pub struct ReadBack {
    /// The messages, in their order.
    pub lines: Vec<Line>,
    /// Lines that were damaged and are skipped.
    pub damaged: u64,
    /// Bytes of a last line that was torn, and is removed.
    pub torn: u64,
}

impl Segments {
    /// Opens the files in `directory`, which is made if there is none, and reads them. Only the server's user may read
    /// them.
    ///
    /// # Errors
    /// They cannot be read, made or locked: another server uses them.
    pub fn open(directory: &Path, limits: HistoryLimits) -> io::Result<(Self, ReadBack)> {
        if !directory.exists() {
            fs::DirBuilder::new().recursive(true).create(directory)?;
        }
        let mut numbers = numbers(directory)?;
        numbers.sort_unstable();
        let mut read = ReadBack::default();
        let number = numbers.last().copied().unwrap_or(1);
        for earlier in numbers.iter().filter(|other| **other != number) {
            read_file(&File::open(path(directory, *earlier))?, &mut read)?;
        }
        let file = open(&path(directory, number))?;
        file.try_lock().map_err(|_held| io::Error::other("another server writes this history"))?;
        let torn_before = read.torn;
        let whole = read_file(&file, &mut read)?;
        if read.torn > torn_before {
            file.set_len(whole)?;
        }
        let mut segments = Self { directory: directory.to_owned(), limits, number, file, len: whole };
        segments.file.seek(SeekFrom::Start(whole))?;
        segments.remove_old()?;
        Ok((segments, read))
    }

    /// Appends lines and syncs them: when this returns, they are on the disk, all of them.
    ///
    /// # Errors
    /// The disk is full or broken. What was written of them is taken back, and they can be tried again.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.len > 0 && self.len + lines.len() as u64 > self.limits.len / SEGMENTS {
            self.begin_next()?;
        }
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
            return Err(error);
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    fn begin_next(&mut self) -> io::Result<()> {
        let next = open(&path(&self.directory, self.number + 1))?;
        next.try_lock().map_err(|_held| io::Error::other("another server writes this history"))?;
        File::open(&self.directory)?.sync_all()?;
        (self.file, self.number, self.len) = (next, self.number + 1, 0);
        self.remove_old()
    }

    /// Removes the oldest files beyond the limits; the one that is appended to stays.
    fn remove_old(&self) -> io::Result<()> {
        let mut numbers = numbers(&self.directory)?;
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let mut len = 0;
        for number in numbers.into_iter().filter(|number| *number != self.number) {
            let path = path(&self.directory, number);
            let metadata = fs::metadata(&path)?;
            len += metadata.len();
            let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
            let is_too_old = self.limits.age.is_some_and(|limit| age > limit);
            if is_too_old || len + self.limits.len / SEGMENTS > self.limits.len {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("chat-{number}.log"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let number = |name: &str| name.strip_prefix("chat-")?.strip_suffix(".log")?.parse().ok();
    let entries = fs::read_dir(directory)?.map(|entry| io::Result::Ok(entry?.file_name().to_str().and_then(number)));
    entries.filter_map(Result::transpose).collect()
}

/// Reads a file's lines; returns the length of all that end.
fn read_file(file: &File, read: &mut ReadBack) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut whole = 0;
    loop {
        let mut line = Vec::new();
        let len = reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
        if len == 0 {
            return Ok(whole);
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            // Whatever comes behind it is torn too.
            let rest = io::copy(&mut reader, &mut io::sink())?;
            read.torn += len as u64 + rest;
            return Ok(whole);
        };
        whole += len as u64;
        match decode(text) {
            Some(line) => read.lines.push(line),
            None => read.damaged += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::Event;
    use super::super::line::encode;
    use super::*;
    use crate::wire::message::{Message, SayFields};

    const LIMITS: HistoryLimits = HistoryLimits { len: 8 * 1024, age: None };

    fn line(seq: u64) -> Vec<u8> {
        let fields = SayFields { room: Some("lobby".into()), seq: Some(seq), ..SayFields::default() };
        encode(&Event::of(Message::Say { fields }, b"hi"), None, seq)
    }

    fn seqs(read: &ReadBack) -> Vec<u64> {
        read.lines.iter().map(|line| line.seq).collect()
    }

    #[test]
    fn a_torn_last_line_is_removed_wherever_it_was_torn() {
        for torn in 1..line(3).len() {
            let directory = tempfile::tempdir().unwrap();
            let (mut segments, _) = Segments::open(directory.path(), LIMITS).unwrap();
            segments.append(&[line(1), line(2)].concat()).unwrap();
            drop(segments);
            let mut file = OpenOptions::new().append(true).open(path(directory.path(), 1)).unwrap();
            file.write_all(line(3).get(..torn).unwrap()).unwrap();
            drop(file);
            let (mut segments, read) = Segments::open(directory.path(), LIMITS).unwrap();
            assert_eq!((seqs(&read), read.torn, read.damaged), (vec![1, 2], torn as u64, 0));
            segments.append(&line(3)).unwrap();
            drop(segments);
            assert_eq!(seqs(&Segments::open(directory.path(), LIMITS).unwrap().1), [1, 2, 3]);
        }
    }

    #[test]
    fn a_damaged_line_costs_itself_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (mut segments, _) = Segments::open(directory.path(), LIMITS).unwrap();
        segments.append(&[line(1), b"nonsense\n".to_vec(), line(3)].concat()).unwrap();
        drop(segments);
        let (_, read) = Segments::open(directory.path(), LIMITS).unwrap();
        assert_eq!((seqs(&read), read.damaged, read.torn), (vec![1, 3], 1, 0));
    }

    #[test]
    fn the_files_are_bounded_and_the_newest_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (mut segments, _) = Segments::open(directory.path(), LIMITS).unwrap();
        for seq in 1..=400 {
            segments.append(&line(seq)).unwrap();
        }
        drop(segments);
        let len: u64 =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(len <= LIMITS.len, "{len}");
        let (_, read) = Segments::open(directory.path(), LIMITS).unwrap();
        let first = *seqs(&read).first().unwrap();
        assert_eq!(seqs(&read), (first..=400).collect::<Vec<_>>());
        assert!((2..=350).contains(&first), "{first}");
        let (_, read) =
            Segments::open(directory.path(), HistoryLimits { age: Some(Duration::ZERO), ..LIMITS }).unwrap();
        assert!(seqs(&read).len() >= 10, "read once more before they go");
        assert_eq!(numbers(directory.path()).unwrap().len(), 1);
    }

    #[test]
    fn two_servers_do_not_write_one_history() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Segments::open(directory.path(), LIMITS).unwrap();
        let error = Segments::open(directory.path(), LIMITS).unwrap_err();
        assert!(error.to_string().contains("another server"), "{error}");
    }
}
