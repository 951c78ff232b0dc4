//! What is made: directories, symlinks and hard links.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::{Destination, in_the_way, kind_of, looked_at};
use crate::fs::below::{OpenDir, split};
use crate::fs::part::{Checksum, PIECE_LEN};
use crate::fs::unix::{stat_mtime_ns, timestamps};
use crate::fs::{Error, ErrorKind};
use crate::trees::TreeEntry;

impl Destination {
    /// Makes a directory; `false`: it was there.
    ///
    /// # Errors
    /// Something else is in its way, or the system refuses.
    pub fn make_dir(&mut self, path: &[u8], mode: u32) -> io::Result<bool> {
        let (above, name) = split(path);
        let dry_run = self.options.dry_run;
        let dir = match self.dir(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && dry_run => return Ok(true),
            dir => dir?,
        };
        if dry_run && self.find_at(&dir, path)?.is_none() {
            return Ok(true);
        }
        // Until all is in it, its owner may write, whatever its mode will be.
        let mode = if self.options.preserve { mode & 0o777 | 0o700 } else { 0o777 };
        self.root.check_name(&*dir, name)?;
        let is_new = match rustix::fs::mkdirat(&*dir, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let opened = self.root.open_dir_in(&dir, name).map_err(|error| match error.kind() {
            ErrorKind::NotADirectory => Error::new(ErrorKind::Exists, "is no directory here; remove it first"),
            _ => error,
        })?;
        if self.options.preserve && !dry_run {
            make_writable(&opened)?;
        }
        self.dirs.keep(path, OpenDir { dir: Arc::new(opened), is_new });
        Ok(is_new)
    }

    /// Waits until all that was made here is on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        let Some(dir) = self.base.as_ref().and_then(|base| base.dir.as_ref()) else { return Ok(()) };
        // It may have been opened as a mere path (O_PATH).
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::syncfs(rustix::fs::openat(&**dir, ".", flags, Mode::empty())?)?)
    }

    /// Makes a symlink; `false`: it was there.
    ///
    /// # Errors
    /// Something else is in its way, or the system refuses.
    pub fn make_link(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<bool> {
        let to = entry.target.as_deref().filter(|to| !to.is_empty() && !to.contains(&0));
        let to = OsStr::from_bytes(to.ok_or_else(|| io::Error::other("a symlink to nothing"))?);
        let (above, name) = split(path);
        let dry_run = self.options.dry_run;
        let dir = match self.dir(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && dry_run => return Ok(true),
            dir => dir?,
        };
        if let Some(stat) = self.find_at(&dir, path)? {
            match kind_of(&stat) {
                // For a peer that may not read each is made anew: an equal one must not answer otherwise.
                FileType::Symlink if !self.is_blind => {
                    if rustix::fs::readlinkat(&*dir, name, Vec::new())?.as_bytes() == to.as_bytes() {
                        return Ok(false);
                    }
                }
                FileType::RegularFile | FileType::Symlink => {}
                _ => return Err(in_the_way("is neither a file nor a symlink here; remove it first")),
            }
        }
        if !dry_run {
            self.parts.put_symlink(&dir, name, to, self.attributes(0, Some(entry.mtime_ns), 0).mtime_ns)?;
        }
        Ok(true)
    }

    /// Makes `path` another name of the file `head`; `false`: it is. Where the system has no hard links, it becomes a
    /// copy.
    ///
    /// # Errors
    /// The file is not there, something else is in the way, or the system refuses.
    pub fn hard_link(&mut self, head: &[u8], path: &[u8]) -> io::Result<bool> {
        let ((head_dir, head), (above, name)) = (split(head), split(path));
        let dirs = self.dir(head_dir).and_then(|head_dir| Ok((head_dir, self.dir(above)?)));
        let (head_dir, dir) = match dirs {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.options.dry_run => return Ok(true),
            dirs => dirs?,
        };
        self.root.check_name(&*head_dir, head)?;
        let file = looked_at(&head_dir, head)?.filter(|stat| kind_of(stat) == FileType::RegularFile);
        if file.is_none() && self.options.dry_run {
            return Ok(true);
        }
        let file = file.ok_or_else(|| io::Error::other("the file whose other name it is did not arrive"))?;
        if let Some(stat) = self.find_at(&dir, path)? {
            match kind_of(&stat) {
                // As with symlinks, it is made anew for a peer that may not read.
                FileType::RegularFile if !self.is_blind && (stat.st_dev, stat.st_ino) == (file.st_dev, file.st_ino) => {
                    return Ok(false);
                }
                FileType::RegularFile | FileType::Symlink => {}
                _ => return Err(in_the_way("is no file here; remove it first")),
            }
        }
        if self.options.dry_run {
            return Ok(true);
        }
        match self.parts.put_hard_link((&head_dir, head), (&dir, name)).map_err(io::Error::from) {
            Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::PermissionDenied) => {
                self.copy((&head_dir, head), (dir, name), &file)
            }
            linked => linked,
        }
        .map(|()| true)
    }

    fn copy(&self, (from_dir, from): (&Dir, &OsStr), (dir, name): (Arc<Dir>, &OsStr), stat: &Stat) -> io::Result<()> {
        let mut from = self.open_file(from_dir, from)?;
        let preserved = (&self.attributes(0, Some(stat_mtime_ns(stat)), stat.st_mode)).into();
        let mut copy = self.parts.create(dir, name, preserved)?;
        let mut piece = vec![0; PIECE_LEN];
        loop {
            let len = io::Read::read(&mut from, &mut piece)?;
            if len == 0 {
                let size = copy.size();
                return Ok(copy.publish(Checksum { size, blake3: None }, preserved)?);
            }
            copy.write(piece.get(..len).unwrap_or_default())?;
        }
    }

    /// Sets a directory's mode and time, now that nothing more is made in it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finish_dir(&mut self, path: &[u8], mode: u32, wanted_ns: i64) -> io::Result<()> {
        let dir = self.dir(path)?;
        let stat = rustix::fs::fstat(&*dir)?;
        // The time first: of a directory that may not be entered it could not be set any more.
        if self.is_blind || stat_mtime_ns(&stat) != wanted_ns {
            rustix::fs::utimensat(&*dir, ".", &timestamps(wanted_ns), AtFlags::empty())?;
        }
        if self.is_blind || stat.st_mode & 0o777 != mode & 0o777 {
            // Whether new files in it get its group (set-group-id, which is inherited) is this side's business.
            let mode = mode & 0o777 | stat.st_mode & 0o7000;
            rustix::fs::chmodat(&*dir, ".", Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(())
    }
}

/// Lets the owner write until all is in it; its listed mode is set at the end.
fn make_writable(dir: &Dir) -> io::Result<()> {
    let stat = rustix::fs::fstat(dir)?;
    if stat.st_mode & 0o300 == 0o300 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o300))?)
}
