//! A file that is whole: synced, and given its name.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cap_std::fs::Metadata;
use rustix::fs::{Mode, OFlags};

use super::naming::{Naming, Published};
use super::{Part, is_named};
use crate::fs::{Error, ErrorKind, Result};

/// A file that is whole, and has everything but its name.
#[derive(Debug)]
pub struct Verified(pub(super) Part);

impl Verified {
    /// Waits until its bytes are on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> Result<()> {
        Ok(rustix::fs::fdatasync(&self.0.file)?)
    }

    /// Whether both are in one directory, as far as that is plain to see.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.dir, &other.0.dir)
    }

    /// The file system that it is on, as the system numbers them.
    ///
    /// # Errors
    /// The disk failed.
    pub fn device(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.0.file)?.st_dev)
    }

    /// Waits until everything that was written to its file system is on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync_file_system(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(&self.0.file)?)
    }

    /// The directory that it is in, opened so that it can be synced: a rename is only on the disk when its
    /// directory is.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.0.dir, ".", flags, Mode::empty())?)
    }

    /// Gives it its name, in place of what has it.
    ///
    /// # Errors
    /// The system refuses; then the target is as it was.
    pub fn rename(self) -> Result<()> {
        self.rename_as(&Naming::default()).map(drop)
    }

    /// Gives it its name, or what `naming` says where that is taken.
    ///
    /// # Errors
    /// The system or `naming` refuses; then the target is as it was.
    pub fn rename_as(mut self, naming: &Naming<'_>) -> Result<Published> {
        let Part { dir, name, target, file, .. } = &self.0;
        // Another file may have got this name meanwhile: it is not to become this one.
        if !is_named(&**dir, name, file)? {
            return Err(Error::new(ErrorKind::Busy, "its temporary name was given to another file"));
        }
        let (name, is_new) = naming.give(dir, name, target)?;
        self.0.is_over = true;
        let is_leftover = self.0.record.is_some() && !self.0.is_upload();
        self.0.forget();
        if !is_leftover {
            self.0.parts.supersede(&self.0.dir, &self.0.target);
        }
        Ok(Published { name, is_new, metadata: Metadata::from_file(&self.0.file)? })
    }
}
