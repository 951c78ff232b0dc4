//! Files that a walk has found, opened later: when they are sent.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::joined;
use super::named::{Ground, Top};
use crate::fs::below::Below;

/// Most directories that are kept open for the files in them.
const DIRS_AT_HAND: usize = 64;

/// Where a file is, so that it can be opened later.
#[derive(Debug, Clone)]
pub struct FileRef {
    pub(super) top: Arc<Top>,
    /// The directory, from the top's on.
    pub(super) dir: Arc<[u8]>,
    pub(super) name: OsString,
    pub(super) follow: bool,
}

impl FileRef {
    /// The file's name in errors.
    pub fn shown(&self) -> String {
        self.top.shown(&self.path())
    }

    /// The path from the top's directory on.
    pub(super) fn path(&self) -> Vec<u8> {
        joined(&self.dir, &self.name)
    }

    pub(super) fn followed_stat(&self) -> io::Result<Stat> {
        // With O_PATH nothing is opened that could make us wait, and openat2(2) takes no O_NONBLOCK beside it.
        let Ground { root, dir, .. } = &*self.top.ground;
        Ok(rustix::fs::fstat(&root.open_in(dir, Path::new(OsStr::from_bytes(&self.path())), OFlags::PATH)?)?)
    }

    pub(super) fn followed_dir(&self) -> io::Result<Dir> {
        let Ground { root, dir, .. } = &*self.top.ground;
        let dir = root.open_dir_at(dir, Path::new(OsStr::from_bytes(&self.path())))?;
        let metadata = dir.dir_metadata()?;
        self.top.ground.root.check_shows(|| Ok((metadata.dev(), metadata.ino())))?;
        Ok(dir)
    }
}

/// Opens the files that a walk has found; the directories of the last ones are kept at hand, since the next is mostly
/// in one of them, or not far from it.
#[derive(Debug)]
pub struct Opener {
    top: Option<Arc<Top>>,
    dirs: Below,
}

impl Default for Opener {
    fn default() -> Self {
        Self { top: None, dirs: Below::holding(DIRS_AT_HAND) }
    }
}

impl Opener {
    /// Opens a file for reading. Returns its present status too.
    ///
    /// # Errors
    /// It is gone, cannot be read, or is no file any more.
    pub fn open(&mut self, file: &FileRef) -> io::Result<(File, Stat)> {
        let opened: OwnedFd = if file.follow {
            let Ground { root, dir, .. } = &*file.top.ground;
            root.open_in(dir, Path::new(OsStr::from_bytes(&file.path())), OFlags::NONBLOCK)?.into_std().into()
        } else {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let dir = self.dir(file)?;
            file.top.ground.root.check_name(&*dir, &file.name)?;
            rustix::fs::openat(&*dir, &file.name, flags, Mode::empty())?
        };
        let stat = rustix::fs::fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("is no file any more"));
        }
        // With one name only it is where it was found, which is shown.
        if stat.st_nlink != 1 || file.follow {
            file.top.ground.root.check_shows(|| Ok((stat.st_dev, stat.st_ino)))?;
        }
        Ok((opened.into(), stat))
    }

    fn dir(&mut self, file: &FileRef) -> io::Result<Arc<Dir>> {
        let ground = &file.top.ground;
        if self.top.as_ref().is_none_or(|top| !Arc::ptr_eq(top, &file.top)) {
            self.dirs.clear();
            self.top = Some(Arc::clone(&file.top));
        }
        Ok(self.dirs.at(&ground.dir, &file.dir, |dir, name| ground.root.open_dir_in(dir, name))?.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Named, Step, Walk, WalkOptions};
    use super::*;
    use crate::trees::filter::{Filter, Selection};

    #[test]
    fn what_became_something_else_meanwhile_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["file", "link", "pipe"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let filter = Filter::new(&Selection::default()).unwrap();
        let mut named = dir.path().as_os_str().to_owned();
        named.push("/");
        let how = WalkOptions { recursive: true, follow: false };
        let mut walk = Walk::new(vec![Named::Own(named.into())], how, filter);
        let mut found = Vec::new();
        while let Step::Found(one) = walk.step(std::time::Instant::now()) {
            found.extend(one.file);
        }
        std::fs::remove_file(dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        std::fs::remove_file(dir.path().join("pipe")).unwrap();
        std::fs::create_dir(dir.path().join("pipe")).unwrap();
        let mut opener = Opener::default();
        let opened: Vec<bool> = found.iter().map(|file| opener.open(file).is_ok()).collect();
        assert_eq!(opened, [true, false, false], "the file, a symlink by now, a directory by now");
        assert_eq!(opener.open(&found[2]).unwrap_err().to_string(), "is no file any more");
    }
}
