//! Small files, which come whole, several in one frame; and frames that were compressed.

use std::io::{self, Read, Write};

use byteorder::{ByteOrder as _, LittleEndian};

use super::expected::Expected;
use super::{ReceiverStep, bad_small, grow, too_large};
use crate::error::{ErrorCode, Refusal, Result};
use crate::fs::below::split;
use crate::fs::part::Verified;
use crate::trees::batch::Whole;
use crate::trees::sender::RECORD_LEN;
use crate::trees::{BODY_LEN_MAX, Change, TreeEvent};
use crate::wire::channel::Receiver;
use crate::wire::message::Packed;

/// One file of a `small` frame.
#[derive(Debug, PartialEq, Eq)]
struct Record<'r> {
    entry: u32,
    mtime_ns: i64,
    /// BLAKE3 of the bytes.
    digest: &'r [u8],
    bytes: &'r [u8],
}

impl<'r> Record<'r> {
    /// The first record of `rest`, which is behind it then; `None`: there is no more.
    ///
    /// # Errors
    /// It does not end in the frame.
    fn next(rest: &mut &'r [u8]) -> Result<Option<Self>> {
        let Some((head, bytes)) = rest.split_at_checked(RECORD_LEN) else {
            return if rest.is_empty() { Ok(None) } else { Err(bad_small("it does not end with a file")) };
        };
        let (numbers, digest) = head.split_at(RECORD_LEN - 32);
        let (entry, numbers) = numbers.split_at(4);
        let (size, mtime) = numbers.split_at(4);
        let size = usize::try_from(LittleEndian::read_u32(size)).unwrap_or(usize::MAX);
        let Some((bytes, behind)) = bytes.split_at_checked(size) else {
            return Err(bad_small("a file is longer than the frame"));
        };
        *rest = behind;
        let (entry, mtime_ns) = (LittleEndian::read_u32(entry), LittleEndian::read_i64(mtime));
        Ok(Some(Self { entry, mtime_ns, digest, bytes }))
    }
}

impl<W: Write> ReceiverStep<'_, W> {
    pub(super) fn take_small<R: Read>(&mut self, receiver: &mut Receiver<R>) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.tree.buffer);
        grow(&mut buffer, BODY_LEN_MAX as usize);
        let len = receiver.fill_from_body(buffer.get_mut(..BODY_LEN_MAX as usize).unwrap_or_default())?;
        if receiver.fill_from_body(&mut [0])? > 0 {
            return Err(bad_small("small files in a frame over 1 MiB"));
        }
        self.put_records(buffer.get(..len).unwrap_or_default())?;
        self.tree.buffer = buffer;
        Ok(())
    }

    /// A frame that was compressed.
    pub(super) fn take_packed<R: Read>(&mut self, receiver: &mut Receiver<R>, of: Packed, size: u32) -> Result<()> {
        let packed = receiver.body(BODY_LEN_MAX)?;
        let mut bytes = std::mem::take(&mut self.tree.buffer);
        self.tree.unpacker.unpack(&packed, size, &mut bytes)?;
        if of != Packed::List {
            (self.watch)(TreeEvent::Saves(u64::from(size).saturating_sub(packed.len() as u64)))?;
        }
        match of {
            Packed::List => self.take_list(&bytes, false)?,
            Packed::Small => self.put_records(&bytes)?,
            Packed::Data if self.tree.current.is_none() => return Err(bad_small("data came outside a file")),
            Packed::Data => self.write_piece(&bytes)?,
        }
        self.tree.buffer = bytes;
        Ok(())
    }

    fn put_records(&mut self, mut rest: &[u8]) -> Result<()> {
        while let Some(record) = Record::next(&mut rest)? {
            self.put_small(&record)?;
        }
        Ok(())
    }

    fn put_small(&mut self, record: &Record<'_>) -> Result<()> {
        let Record { entry, mtime_ns, digest, bytes } = *record;
        let Expected { path, mode, clears, .. } = self.tree.expected.take(entry)?;
        if blake3::hash(bytes).as_bytes() != digest {
            let text = format!("{}: what arrived is not what was sent", self.tree.destination.shown(&path));
            return self.fail(entry, &path, &Refusal::new(ErrorCode::Digest, text));
        }
        let size = bytes.len() as u64;
        if self.is_too_large(size) {
            // It has grown since it was listed, or the listing lied.
            return self.fail(entry, &path, &too_large(&self.tree.destination.shown(&path), size));
        }
        if self.tree.destination.options.dry_run {
            // It was compared by its digest, and differs.
            return self.tell(entry, Change::Copied, &path, size);
        }
        let attributes = self.tree.destination.attributes(size, Some(mtime_ns), mode);
        (self.watch)(TreeEvent::Begins { path: &path, size, offset: 0 })?;
        (self.watch)(TreeEvent::Moved(size))?;
        let (dir, name) = split(&path);
        let put = |step: &mut Self| -> io::Result<Verified> {
            let dir = step.tree.destination.dir(dir)?;
            Ok(step.tree.destination.parts.whole(dir, name, (&attributes).into(), bytes)?)
        };
        let mut written = put(self);
        if written.as_ref().is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())) {
            // The batch holds descriptors, and its files may as well have their names now.
            self.commit()?;
            written = put(self);
        }
        match written {
            Ok(file) => {
                self.tree.batch.add(Whole { entry, path, size, clears, file });
                if self.tree.batch.is_due() { self.commit() } else { Ok(()) }
            }
            Err(error) => self.fail_or_stop(entry, &path, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(entry: u32, bytes: &[u8]) -> Vec<u8> {
        let len = u32::try_from(bytes.len()).unwrap();
        let digest = blake3::hash(bytes);
        [&entry.to_le_bytes()[..], &len.to_le_bytes(), &(-5_i64).to_le_bytes(), digest.as_bytes(), bytes].concat()
    }

    fn entries(mut rest: &[u8]) -> Result<Vec<(u32, Vec<u8>)>> {
        let mut found = Vec::new();
        while let Some(Record { entry, mtime_ns, bytes, .. }) = Record::next(&mut rest)? {
            assert_eq!(mtime_ns, -5);
            found.push((entry, bytes.to_vec()));
        }
        Ok(found)
    }

    #[test]
    fn records_are_read_one_after_the_other_and_end_with_the_frame() {
        let frame = [record(7, b"seven"), record(8, b""), record(9, b"nine")].concat();
        let want = [(7, b"seven".to_vec()), (8, Vec::new()), (9, b"nine".to_vec())];
        assert_eq!(entries(&frame).unwrap(), want);
        let ends: Vec<usize> = (0..=frame.len()).filter(|cut| entries(&frame[..*cut]).is_ok()).collect();
        assert_eq!(ends, [0, RECORD_LEN + 5, 2 * RECORD_LEN + 5, 3 * RECORD_LEN + 9], "between two files only");
    }
}
