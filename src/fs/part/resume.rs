//! A part that is gone on with: what is there is hashed on a thread of its own, while new bytes come behind it.
//!
//! Nothing that was hashed in an earlier run is believed: bytes that were written then may be lost (a disk that was
//! pulled out, a power cut), or another program may have written others. At the end the sender's digest of the whole
//! is compared. Where it differs, the values of the beginning, one a block of 16 MiB, say which stretches are to be
//! sent again.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, SeekFrom};

use super::records::{FileId, PartRecord};
use super::{is_own, lock};
use crate::fs::digest::{BLOCK_LEN, ChainingValue, Digest};
use crate::fs::unix::read_at;

/// What the hashing thread reads at once, in bytes.
const READ_LEN: usize = 256 * 1024;
/// How often it is seen whether the hashing thread is done, by those who wait for it: a signal is heard as soon.
const STEP: Duration = Duration::from_millis(20);
/// Lists of a beginning's values that are held at once: in two digests, on their way, and the other end's.
const LISTS: usize = 4;

/// What an earlier attempt left, locked.
#[derive(Debug)]
pub struct Leftover {
    pub(super) dir: Arc<Dir>,
    pub(super) record: PartRecord,
    pub(super) file: File,
    pub(super) len: u64,
}

impl Leftover {
    /// Opens the part of a record in its directory; `None`: it is not there any more, is held, or is another file.
    pub(super) fn open(dir: Arc<Dir>, record: PartRecord) -> Option<Self> {
        let (file, len) = open_part(&dir, &record)?;
        (len > 0).then_some(Self { dir, record, file, len })
    }

    /// How much there is, in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Where its bytes come from, in the words of who fetched them; `None`: not known.
    pub fn source(&self) -> Option<&str> {
        self.record.source()
    }

    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Opens the part of a record in its directory, locked, with its length; `None`: it is not there any more, is held,
/// or is another file.
pub(super) fn open_part(dir: &Dir, record: &PartRecord) -> Option<(File, u64)> {
    let name = record.name();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |flags| rustix::fs::openat(dir, &name, flags, Mode::empty());
    let is_this =
        |file: &OwnedFd| FileId::of(file).is_ok_and(|found| found == record.file) && is_own(file).unwrap_or(false);
    let file = match open(flags | OFlags::RDWR) {
        Ok(file) => file,
        // It had its final mode already, in which its owner may not write.
        Err(rustix::io::Errno::ACCESS) => {
            // Locked first: one that is about to get its name keeps its mode.
            let read = open(flags | OFlags::RDONLY).ok().filter(is_this).filter(lock)?;
            rustix::fs::fchmod(&read, Mode::from_raw_mode(0o600)).ok()?;
            // The lock is this opening's, and goes with it.
            drop(read);
            open(flags | OFlags::RDWR).ok()?
        }
        Err(_) => return None,
    };
    if !lock(&file) || !is_this(&file) {
        return None;
    }
    let file = File::from(file);
    let len = file.metadata().ok()?.len();
    Some((file, len))
}

/// The beginning of a file that is being hashed.
#[derive(Debug)]
pub struct Check {
    /// `None`: it is all behind.
    blocks: Option<JoinHandle<io::Result<Vec<ChainingValue>>>>,
    /// The value of what is behind the last whole block.
    rest: ChainingValue,
    is_over: Arc<AtomicBool>,
}

impl Check {
    /// Begins to hash the first `len` bytes; returns the digest of them too, in which the values of the whole blocks
    /// are still missing.
    ///
    /// # Errors
    /// It cannot be read, is shorter, or no thread is left.
    pub fn begin(file: &File, len: u64) -> io::Result<(Digest, Self)> {
        let count = Digest::blocks_behind(len);
        let mut digest = Digest::after(vec![ChainingValue::default(); count]);
        let file = reopened(file)?;
        // What is behind the last whole block is little.
        hash_up_to(&mut digest, &file, len, &mut |_| Ok(()))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let blocks = if count == 0 {
            None
        } else {
            let is_over = Arc::clone(&is_over);
            let hash = move || first_blocks(&file, count, &is_over);
            Some(thread::Builder::new().name("check".into()).spawn(hash)?)
        };
        let rest = digest.present_value();
        Ok((digest, Self { blocks, rest, is_over }))
    }

    /// Whether [`wait`](Self::wait) would return at once.
    pub fn is_done(&self) -> bool {
        self.blocks.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is done; `beat` is called meanwhile, and may end it.
    ///
    /// # Errors
    /// `beat` ended it.
    pub fn wait_with(&self, beat: &mut dyn FnMut(u64) -> io::Result<()>) -> io::Result<()> {
        while !self.is_done() {
            beat(0)?;
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// Memory that a beginning of this length takes while it is compared, in bytes.
    pub fn memory_of(len: u64) -> usize {
        let blocks = usize::try_from(len / BLOCK_LEN).unwrap_or(usize::MAX);
        blocks.saturating_mul(LISTS * size_of::<ChainingValue>())
    }

    /// The values of the whole blocks, and last that of what is behind them.
    ///
    /// # Errors
    /// It cannot be read, or became shorter.
    pub fn wait(mut self) -> io::Result<Vec<ChainingValue>> {
        let mut values = match self.blocks.take() {
            Some(blocks) => blocks.join().unwrap_or_else(|_| Err(io::Error::other("the hashing thread broke off")))?,
            None => Vec::new(),
        };
        values.push(self.rest);
        Ok(values)
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The values of a file's first `count` blocks.
fn first_blocks(file: &File, count: usize, is_over: &AtomicBool) -> io::Result<Vec<ChainingValue>> {
    let len = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(BLOCK_LEN);
    let mut digest = Digest::default();
    hash_up_to(&mut digest, file, len, &mut |_| {
        if is_over.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    })?;
    let mut values = digest.blocks().to_vec();
    values.push(digest.present_value());
    Ok(values)
}

/// Hashes a file up to `len`, from where the digest is. Holes are not read: the descriptor's position moves. `beat` is
/// called with the bytes of each step, and may end it.
///
/// # Errors
/// It cannot be read, is shorter (`UnexpectedEof`), or `beat` ended it.
pub fn hash_up_to(
    digest: &mut Digest,
    file: &File,
    len: u64,
    beat: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; READ_LEN];
    let mut data_until = 0;
    while digest.len() < len {
        let at = digest.len();
        if at >= data_until {
            // Where the file system has no such call, all of it is data.
            let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => file.metadata()?.len(),
                Err(_no_such_call) => at,
            };
            if data > at {
                digest.update_zeros(data.min(len) - at);
                beat(0)?;
                continue;
            }
            data_until = rustix::fs::seek(file, SeekFrom::Hole(at)).map_or(len, |hole| hole.max(at + 1));
        }
        let wanted = usize::try_from(len.min(data_until) - at).unwrap_or(READ_LEN).min(READ_LEN);
        match read_at(file, piece.get_mut(..wanted).unwrap_or_default(), at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                digest.update(piece.get(..read).unwrap_or_default());
                beat(read as u64)?;
            }
        }
    }
    Ok(())
}

/// The same file through a descriptor of its own, whose position moves by itself.
fn reopened(file: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd as _;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where two beginnings differ, as their values say, one a block: offset and length of each stretch, of at most
/// `size` bytes in all. What one of the two says nothing of is different.
pub fn bad_stretches(own: &[ChainingValue], sent: &[ChainingValue], size: u64) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for (index, value) in own.iter().enumerate() {
        if sent.get(index) == Some(value) {
            continue;
        }
        let offset = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(BLOCK_LEN);
        let len = BLOCK_LEN.min(size.saturating_sub(offset));
        match stretches.last_mut() {
            Some((first, so_far)) if *first + *so_far == offset => *so_far += len,
            _ => stretches.push((offset, len)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_in_runs() {
        let value = |byte: u8| [byte; 32];
        let own: Vec<_> = (1..=5).map(value).collect();
        let mut sent = own.clone();
        assert_eq!(bad_stretches(&own, &sent, 5 * BLOCK_LEN), []);
        (sent[1], sent[2], sent[4]) = (value(9), value(9), value(9));
        let size = 4 * BLOCK_LEN + 7;
        assert_eq!(bad_stretches(&own, &sent, size), [(BLOCK_LEN, 2 * BLOCK_LEN), (4 * BLOCK_LEN, 7)]);
        assert_eq!(bad_stretches(&own, &[], size), [(0, size)]);
    }

    /// Nothing of it is read, or the test would take minutes; and the writer's position stays.
    #[test]
    fn a_beginning_that_is_a_hole_is_not_read() {
        use std::io::Seek as _;
        let mut file = tempfile::NamedTempFile::new().unwrap().into_file();
        file.set_len(1 << 40).unwrap();
        file.seek(io::SeekFrom::Start(5)).unwrap();
        let (mut digest, check) = Check::begin(&file, 1 << 40).unwrap();
        digest.fill_in(check.wait().unwrap().split_last().unwrap().1);
        let mut want = Digest::default();
        want.update_zeros(1 << 40);
        assert_eq!(digest.finalize(), want.finalize());
        assert_eq!(file.stream_position().unwrap(), 5);
    }

    #[test]
    fn a_beginning_is_hashed_while_more_comes() {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        let bytes: Vec<u8> = (0..2 * block + 99).map(|at| (at >> 7).to_le_bytes()[0]).collect();
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        for len in [1, block - 1, block, block + 1, 2 * block, 2 * block + 5] {
            let (mut digest, check) = Check::begin(&file, len as u64).unwrap();
            digest.update(&bytes[len..]);
            let values = check.wait().unwrap();
            assert_eq!(values.len(), len.div_ceil(block), "{len}");
            digest.fill_in(values.split_last().unwrap().1);
            assert_eq!(digest.finalize(), blake3::hash(&bytes), "{len}");
        }
        assert!(Check::begin(&file, bytes.len() as u64 + 1).is_err());
    }
}
