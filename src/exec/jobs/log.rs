//! The output of a detached command: files of bounded length, of which the oldest is deleted when there are too many.
//!
//! A file's name is the number of bytes of output before it. The file is a sequence of records: the stream (one byte),
//! the length (four bytes, little endian), the bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::exec::PIECE_LEN;
use crate::trust::home::remove_file;
use crate::wire::message::Channel;

/// Longest file in bytes, record headers included, so that a command that writes a byte at a time takes no more space.
pub const FILE_LEN_MAX: u64 = 8 * 1024 * 1024;
/// Files that are kept of one command: the last 56 to 64 MiB of its output.
pub const FILES_MAX: usize = 8;
const NAME_PREFIX: &str = "output-";
const HEAD_LEN: u64 = 5;

/// The start positions of all files of a log, in order.
fn files(dir: &Path) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in dir.read_dir()? {
        let name = entry?.file_name();
        starts.extend(name.to_str().and_then(|name| name.strip_prefix(NAME_PREFIX)?.parse::<u64>().ok()));
    }
    starts.sort_unstable();
    Ok(starts)
}

fn path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{NAME_PREFIX}{start}"))
}

/// Bytes on the disk of the log in `dir`, as far as they can be told.
pub fn len(dir: &Path) -> u64 {
    let lens = files(dir).unwrap_or_default().into_iter().filter_map(|start| path(dir, start).metadata().ok());
    lens.map(|metadata| metadata.len()).sum()
}

/// Writes a log.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    file: File,
    /// Bytes of output in all.
    written: u64,
    /// Length of the current file in bytes.
    file_len: u64,
}

impl LogWriter {
    /// A log in `dir`, which has none yet.
    ///
    /// # Errors
    /// The disk refused.
    pub fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: make(dir, 0)?, dir: dir.to_owned(), written: 0, file_len: 0 })
    }

    /// Appends a piece, and deletes the oldest file if there are too many.
    ///
    /// # Errors
    /// The disk refused; the log ends with the piece before.
    pub fn append(&mut self, stream: Channel, bytes: &[u8]) -> io::Result<()> {
        if self.file_len >= FILE_LEN_MAX {
            self.file = make(&self.dir, self.written)?;
            self.file_len = 0;
            let starts = files(&self.dir)?;
            for old in starts.iter().take(starts.len().saturating_sub(FILES_MAX)) {
                remove_file(&path(&self.dir, *old))?;
            }
        }
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(bytes.len() + 5);
        record.push(u8::from(stream == Channel::Stderr));
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(bytes);
        self.file.write_all(&record)?;
        self.written += u64::from(len);
        self.file_len += HEAD_LEN + u64::from(len);
        Ok(())
    }
}

fn make(dir: &Path, start: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path(dir, start))
}

/// Reads a log from its oldest byte on, also while it is being written.
#[derive(Debug, Clone)]
pub struct LogReader {
    dir: PathBuf,
    file: Option<std::sync::Arc<File>>,
    /// Position of the current file's first byte.
    start: u64,
    offset: u64,
    /// Position of the next record, in bytes of output.
    position: u64,
    /// Bytes that were deleted before they were read; the caller that reports them resets this.
    pub forgotten: u64,
}

impl LogReader {
    /// The log in `dir`.
    ///
    /// # Errors
    /// There is none that could be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut reader = Self { dir: dir.to_owned(), file: None, start: 0, offset: 0, position: 0, forgotten: 0 };
        if let Some((start, oldest)) = reader.find_next()? {
            reader.go_to(start, oldest);
        }
        Ok(reader)
    }

    /// The next piece; `None`: there is none yet.
    ///
    /// # Errors
    /// The disk refused, or the file is malformed.
    pub fn read(&mut self) -> io::Result<Option<(Channel, Vec<u8>)>> {
        loop {
            if let Some(record) = self.record()? {
                return Ok(Some(record));
            }
            let Some((start, next)) = self.find_next()? else { return Ok(None) };
            // What was written here after the look at it and before the next file began: now nothing more comes here.
            if let Some(record) = self.record()? {
                return Ok(Some(record));
            }
            self.go_to(start, next);
        }
    }

    /// Skips to the last `lines` lines.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn pass_to_tail(&mut self, lines: u64) -> io::Result<Vec<(Channel, Vec<u8>)>> {
        let mut ahead = self.clone();
        let (mut ends, mut last) = (0_u64, b'\n');
        while let Some((_, bytes)) = ahead.read()? {
            ends += count_ends(&bytes);
            last = bytes.last().copied().unwrap_or(last);
        }
        // An unfinished last line of text counts too.
        let mut to_pass = (ends + u64::from(last != b'\n')).saturating_sub(lines);
        let until = ahead.position;
        let mut rest = Vec::new();
        while to_pass > 0 && self.position < until {
            let Some((stream, mut bytes)) = self.read()? else { break };
            let here = count_ends(&bytes);
            if here < to_pass {
                to_pass -= here;
                continue;
            }
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
            let cut =
                usize::try_from(to_pass).ok().and_then(|nth| ends.into_iter().nth(nth - 1)).unwrap_or(bytes.len());
            rest.push((stream, bytes.split_off(cut)));
            to_pass = 0;
        }
        self.forgotten = 0;
        Ok(rest)
    }

    /// The next record of the current file; `None`: it is not complete yet.
    fn record(&mut self) -> io::Result<Option<(Channel, Vec<u8>)>> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut head = [0; 5];
        if !read_whole(file, &mut head, self.offset)? {
            return Ok(None);
        }
        let [kind, a, b, c, d] = head;
        let len = u32::from_le_bytes([a, b, c, d]);
        if kind > 1 || len as usize > PIECE_LEN {
            return Err(io::Error::other("is no log of ours any more"));
        }
        let mut bytes = vec![0; len as usize];
        if !read_whole(file, &mut bytes, self.offset + HEAD_LEN)? {
            return Ok(None);
        }
        self.offset += HEAD_LEN + u64::from(len);
        self.position += u64::from(len);
        Ok(Some((if kind == 1 { Channel::Stderr } else { Channel::Main }, bytes)))
    }

    /// The next file, if there is one, and what stands before it.
    fn find_next(&self) -> io::Result<Option<(u64, File)>> {
        let is_first = self.file.is_none();
        for start in files(&self.dir)?.into_iter().filter(|start| is_first || *start > self.start) {
            match File::open(path(&self.dir, start)) {
                Ok(file) => return Ok(Some((start, file))),
                // It was the oldest one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Continues in another file; counts the bytes that are missing in between.
    fn go_to(&mut self, start: u64, file: File) {
        self.forgotten += start.saturating_sub(self.position);
        self.file = Some(file.into());
        (self.start, self.offset, self.position) = (start, 0, start);
    }
}

fn count_ends(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').skip(1).count() as u64
}

/// Whether the whole buffer could be read: the writer may be in the middle of a record.
fn read_whole(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reader: &mut LogReader) -> String {
        let mut text = String::new();
        while let Some((stream, bytes)) = reader.read().unwrap() {
            text += if stream == Channel::Main { "o:" } else { "e:" };
            text += std::str::from_utf8(&bytes).unwrap();
        }
        text
    }

    #[test]
    fn what_was_kept_is_read_in_its_order_also_while_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::create(dir.path()).unwrap();
        let mut reader = LogReader::open(dir.path()).unwrap();
        assert!(reader.read().unwrap().is_none());
        writer.append(Channel::Main, b"one\n").unwrap();
        writer.append(Channel::Stderr, b"two\n").unwrap();
        assert_eq!(text(&mut reader), "o:one\ne:two\n");
        writer.append(Channel::Main, b"three\n").unwrap();
        assert_eq!(text(&mut reader), "o:three\n");
    }

    #[test]
    fn the_last_lines_are_found_whatever_pieces_they_came_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::create(dir.path()).unwrap();
        for (stream, piece) in [(Channel::Main, "a\nb\nc"), (Channel::Main, "\nd\n"), (Channel::Stderr, "e\nf")] {
            writer.append(stream, piece.as_bytes()).unwrap();
        }
        for (lines, want) in [
            (0, ""),
            (1, "f"),
            (2, "e\nf"),
            (3, "d\ne\nf"),
            (4, "c\nd\ne\nf"),
            (6, "a\nb\nc\nd\ne\nf"),
            (99, "a\nb\nc\nd\ne\nf"),
        ] {
            let mut reader = LogReader::open(dir.path()).unwrap();
            let mut shown: Vec<u8> =
                reader.pass_to_tail(lines).unwrap().into_iter().flat_map(|(_, bytes)| bytes).collect();
            while let Some((_, bytes)) = reader.read().unwrap() {
                shown.extend(bytes);
            }
            assert_eq!(String::from_utf8(shown).unwrap(), want, "{lines}");
        }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_a_reader_knows_what_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::create(dir.path()).unwrap();
        let mut slow = LogReader::open(dir.path()).unwrap();
        let piece = vec![b'x'; PIECE_LEN];
        let pieces = 2 * FILES_MAX as u64 * FILE_LEN_MAX / PIECE_LEN as u64;
        for _ in 0..pieces {
            writer.append(Channel::Main, &piece).unwrap();
        }
        let on_disk: u64 = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= FILES_MAX as u64 * FILE_LEN_MAX + 1024 * 1024, "{on_disk}");
        let mut seen = 0;
        while let Some((_, bytes)) = slow.read().unwrap() {
            seen += bytes.len() as u64;
        }
        assert_eq!(seen + slow.forgotten, pieces * PIECE_LEN as u64);
        assert!(slow.forgotten > 0);
    }

    #[test]
    fn a_reader_at_the_end_misses_nothing_where_one_file_ends_and_the_next_begins() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::create(dir.path()).unwrap();
        let mut reader = LogReader::open(dir.path()).unwrap();
        let (read, is_read) = std::sync::mpsc::channel();
        let whole = vec![b'x'; PIECE_LEN];
        let pieces = FILE_LEN_MAX / PIECE_LEN as u64;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..30 {
                    for _ in 1..pieces {
                        writer.append(Channel::Main, &whole).unwrap();
                    }
                    // The reader has reached the end and looks again, when the file's last record and the next file's
                    // first are written at once.
                    is_read.recv().unwrap();
                    writer.append(Channel::Main, &whole).unwrap();
                    writer.append(Channel::Main, b"!").unwrap();
                }
            });
            // Dropped if the test fails, or the writer would never end.
            let read = read;
            let mut seen = 0;
            for _ in 0..30 {
                let mut told = false;
                let until = seen + pieces * PIECE_LEN as u64 + 1;
                while seen < until {
                    seen += reader.read().unwrap().map_or(0, |(_, bytes)| bytes.len() as u64);
                    if !told && seen + PIECE_LEN as u64 + 1 >= until {
                        read.send(()).unwrap();
                        told = true;
                    }
                    assert_eq!(reader.forgotten, 0);
                }
            }
        });
    }

    #[test]
    fn a_byte_at_a_time_fills_no_more_than_a_flood() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::create(dir.path()).unwrap();
        writer.file_len = FILE_LEN_MAX - 3;
        for _ in 0..3 {
            writer.append(Channel::Main, b"x").unwrap();
        }
        assert_eq!(files(dir.path()).unwrap(), [0, 1]);
        assert_eq!(std::fs::read(path(dir.path(), 1)).unwrap().len() as u64, 2 * (HEAD_LEN + 1));
    }

    #[test]
    fn a_torn_or_foreign_file_is_an_end_or_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::create(dir.path()).unwrap();
        writer.append(Channel::Main, b"whole").unwrap();
        let whole = std::fs::read(path(dir.path(), 0)).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(path(dir.path(), 0), &whole[..cut]).unwrap();
            assert!(LogReader::open(dir.path()).unwrap().read().unwrap().is_none(), "{cut}");
        }
        std::fs::write(path(dir.path(), 0), b"\x01\xff\xff\xff\xffmuch").unwrap();
        assert!(LogReader::open(dir.path()).unwrap().read().is_err());
    }
}
