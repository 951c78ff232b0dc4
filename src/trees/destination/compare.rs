//! A listed file, compared with what is there under its name.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{FileType, Mode, Stat};

use super::{Destination, in_the_way, kind_of, looked_at};
use crate::fs::below::{OpenDir, split};
use crate::fs::unix::{stat_ctime_ns, stat_mtime_ns, timestamps};
use crate::trees::TreeEntry;
use crate::trees::event::Beat;
use crate::trees::large::digest_of;
use crate::trees::times::FileTimes;

/// What is there under a file's name.
#[derive(Debug)]
pub enum There {
    /// The same file.
    Same,
    /// A file of the same size, with this digest in hexadecimal.
    Unknown(String),
    /// Nothing, another file, or one that has to be compared closer; the directory that it is in, if there is one.
    Other(Option<Arc<Dir>>),
}

impl Destination {
    /// Compares a listed file with what is there.
    ///
    /// # Errors
    /// Something else is in its way, or cannot be looked at.
    pub fn compare(&mut self, path: &[u8], entry: &TreeEntry, beat: Beat<'_>) -> io::Result<There> {
        let (dir, name) = split(path);
        let opened = match self.open(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.options.dry_run => {
                return Ok(There::Other(None));
            }
            opened => opened?,
        };
        let OpenDir { dir, is_new } = opened;
        if is_new {
            return Ok(There::Other(None));
        }
        let Some(stat) = self.find_at(&dir, path)? else { return Ok(There::Other(Some(dir))) };
        match kind_of(&stat) {
            FileType::RegularFile if self.options.checksum && u64::try_from(stat.st_size) == Ok(entry.size) => {
                Ok(There::Unknown(digest_of(&self.open_file(&dir, name)?, beat)?.finalize().to_hex().to_string()))
            }
            FileType::RegularFile if !self.is_blind && self.is_same(&dir, &stat, entry) => {
                let is_mode_other = stat.st_mode & 0o777 != entry.mode & 0o777;
                if self.options.preserve && is_mode_other && !self.options.dry_run {
                    match self.set_mode(&dir, name, entry.mode) {
                        // What its owner may not even read is put in place anew.
                        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error()) => {
                            return Ok(There::Other(None));
                        }
                        set => set?,
                    }
                }
                Ok(There::Same)
            }
            FileType::RegularFile | FileType::Symlink => Ok(There::Other(Some(dir))),
            FileType::Directory => Err(in_the_way("is a directory here; remove it first")),
            // A rename would put a file in a pipe's or a device's place.
            _ => Err(in_the_way("is neither a file nor a directory; only files are replaced")),
        }
    }

    fn set_mode(&self, dir: &Dir, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(self.open_file(dir, name)?, Mode::from_raw_mode(mode & 0o777))?)
    }

    /// The file that is there under this name, and its length in bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn other_version(&mut self, path: &[u8]) -> io::Result<Option<(std::fs::File, u64)>> {
        let (dir, name) = split(path);
        let dir = self.dir(dir)?;
        let is_file = |stat: Stat| kind_of(&stat) == FileType::RegularFile;
        if !looked_at(&dir, name)?.is_some_and(is_file) {
            return Ok(None);
        }
        let file = self.open_file(&dir, name)?;
        let len = file.metadata()?.len();
        Ok(Some((file, len)))
    }

    /// Gives a file that is there the mode and time of the sender's file.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_attributes(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<()> {
        if !self.options.preserve || self.options.dry_run {
            return Ok(());
        }
        let (dir, name) = split(path);
        let dir = self.dir(dir)?;
        let file = self.open_file(&dir, name)?;
        rustix::fs::futimens(&file, &timestamps(entry.mtime_ns))?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode & 0o777))?)
    }

    /// Whether what is there is the listed file, as far as size and time tell.
    fn is_same(&self, dir: &Dir, there: &Stat, entry: &TreeEntry) -> bool {
        if u64::try_from(there.st_size).unwrap_or(0) != entry.size {
            return false;
        }
        let mtime_ns = stat_mtime_ns(there);
        // Where times are not kept, what is there is as new as its last transfer.
        let is_exact = if self.options.preserve { mtime_ns == entry.mtime_ns } else { mtime_ns >= entry.mtime_ns };
        is_exact || {
            let kept = FileTimes { mtime_ns, ctime_ns: stat_ctime_ns(there), may_be_fat: may_be_fat(dir) };
            if self.options.preserve { kept.is(entry.mtime_ns) } else { kept.is_since(entry.mtime_ns) }
        }
    }
}

/// Whether a directory is on FAT, or on a server's disk that may be (`linux/magic.h`).
fn may_be_fat(dir: &Dir) -> bool {
    const FAT: i64 = 0x4d44;
    const SERVERS: [i64; 4] = [0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997];
    // A magic number has 32 bits, whatever its sign is here.
    let found = rustix::fs::fstatfs(dir).map(|found| found.f_type & 0xffff_ffff);
    found.is_ok_and(|magic| magic == FAT || SERVERS.contains(&magic))
}
