//! A file on its way in: a temporary name beside the target, a digest made as the bytes come, and
//! the final name only for what is whole.
//!
//! Both receivers use it, `fget` on the client and `put` on the server. Whatever goes wrong before
//! [`Part::publish`] has renamed it, the old file is as it was and the temporary one is removed.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::{Mode, Timespec, Timestamps};

use crate::wire::message::{Attributes, Total};

/// Longest file name of Linux' file systems, in bytes.
const NAME_LEN_MAX: usize = 255;
/// What the temporary name adds: a dot, a dot, eight digits, `.part`.
const TEMPORARY_LEN: usize = 15;
/// Names tried before giving up; each has 32 random bits, so the second try is already rare.
const ATTEMPTS_MAX: usize = 16;

/// A file that is arriving.
#[derive(Debug)]
pub struct Part {
    dir: Dir,
    temporary: OsString,
    target: OsString,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    published: bool,
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
    /// Begins a file that is to become `target` in `dir`.
    ///
    /// # Errors
    /// The directory cannot be written, or the disk is full.
    pub fn create(dir: Dir, target: &OsStr, attributes: &Attributes) -> io::Result<Self> {
        // A file that will get its mode from the sender is nobody else's to read before it has it.
        let mode = if attributes.mode.is_some() { 0o600 } else { 0o666 };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        for _ in 0..ATTEMPTS_MAX {
            let temporary = temporary_name(target);
            match dir.open_with(&temporary, &options) {
                Ok(file) => {
                    let target = target.to_owned();
                    let hasher = blake3::Hasher::new();
                    return Ok(Self { dir, temporary, target, file, hasher, size: 0, published: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no free temporary name beside the target"))
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.hasher.update(piece);
        self.size += piece.len() as u64;
        Ok(())
    }

    /// Bytes that have come.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Gives the file its final name, if what came is what was sent, as far as the sender said that.
    /// When this returns, the file survives a power cut.
    ///
    /// # Errors
    /// The digest differs, or the disk failed. The target is untouched, unless it was the very last
    /// step, the directory's sync, that failed: then the new file is there, and may not survive a power cut.
    pub fn publish(mut self, sent: &Total<'_>, attributes: &Attributes) -> io::Result<()> {
        let got = self.hasher.finalize().to_hex();
        if self.size != sent.size || sent.blake3.as_ref().is_some_and(|sent| got.as_str() != sent) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                DigestMismatch {
                    got_size: self.size,
                    got: got.to_string(),
                    sent_size: sent.size,
                    sent: sent.blake3.as_deref().unwrap_or("unknown").to_owned(),
                },
            ));
        }
        if let Some(mode) = attributes.mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o777))?;
        }
        if let Some(mtime_ns) = attributes.mtime_ns {
            rustix::fs::futimens(&self.file, &times(mtime_ns))?;
        }
        rustix::fs::fdatasync(&self.file)?;
        // A rename is only on the disk when its directory is. The directory may have been opened as a
        // mere path (O_PATH), which cannot be synced; what can fail is done before the rename.
        let directory = self.dir.open(".")?;
        self.dir.rename(&self.temporary, &self.dir, &self.target)?;
        self.published = true;
        Ok(rustix::fs::fsync(&directory)?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.dir.remove_file(&self.temporary)
        {
            tracing::warn!(name = ?self.temporary, %error, "a temporary file could not be removed");
        }
    }
}

/// `.NAME.1a2b3c4d.part`; a long NAME is cut so that the whole is still a legal name.
fn temporary_name(target: &OsStr) -> OsString {
    let kept = target.as_bytes().get(..NAME_LEN_MAX - TEMPORARY_LEN).unwrap_or(target.as_bytes());
    let random = RandomState::new().hash_one(0_u8) & 0xffff_ffff;
    let mut name = b".".to_vec();
    name.extend_from_slice(kept);
    name.extend_from_slice(format!(".{random:08x}.part").as_bytes());
    OsString::from_vec(name)
}

fn times(mtime_ns: i64) -> Timestamps {
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

    fn part(dir: &tempfile::TempDir, attributes: &Attributes) -> Part {
        let opened = crate::root::Root::open_own_dir(dir.path()).unwrap();
        Part::create(opened, OsStr::new("target"), attributes).unwrap()
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

    #[test]
    fn a_name_of_any_length_has_a_temporary_one() {
        for len in [1, 239, 240, 241, 255] {
            let name = temporary_name(OsStr::from_bytes(&vec![b'x'; len]));
            assert!(name.len() <= NAME_LEN_MAX, "{len}");
        }
    }
}
