//! What is removed, and what stands in the way of something else.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType};

use super::{Destination, kind_of};
use crate::fs::below::{self, split};
use crate::fs::part::is_part_name;
use crate::wire::message::EntryKind;

/// What stands where something of another kind is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A directory, with what is in it.
    Dir,
    /// A file or symlink that the new thing replaces at once.
    Replaced,
    /// Something else that has to be removed first.
    Single,
}

impl Destination {
    /// The names in a directory of the tree, each with whether it is a directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names_in(&mut self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, bool)>> {
        self.check()?;
        let dir = self.dir(path)?;
        let mut names = below::names_in(&dir)?;
        names.retain(|(name, _)| self.root.check_name(&*dir, OsStr::from_bytes(name)).is_ok());
        Ok(names)
    }

    /// The same for a directory that is to be removed: its mode does not keep its owner out.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names_to_remove(&mut self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, bool)>> {
        let (above, name) = split(path);
        if self.options.dry_run {
            return match self.names_in(path) {
                // What is in it could only be seen after its mode was changed.
                Err(error) if below::is_forbidden(&error) => Ok(Vec::new()),
                names => names,
            };
        }
        let dir = self.dir(above)?;
        let base = self.base_dir()?;
        if self.eased.ease_in(&base, path, (&dir, name))? {
            self.dirs.forget(path);
        }
        self.names_in(path)
    }

    /// What stands where something of this kind is to be; `None`: nothing that would have to go.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn obstacle(&mut self, path: &[u8], kind: EntryKind) -> io::Result<Option<Obstacle>> {
        let dir = self.dir(split(path).0)?;
        let Some(stat) = self.find_at(&dir, path)? else { return Ok(None) };
        Ok(match (kind_of(&stat), kind) {
            (FileType::Directory, EntryKind::Dir)
            | (FileType::RegularFile, EntryKind::File)
            | (FileType::Symlink, EntryKind::Link)
            | (_, EntryKind::Other) => None,
            (FileType::Directory, _) => Some(Obstacle::Dir),
            (FileType::RegularFile, EntryKind::Link) | (FileType::Symlink, EntryKind::File) => Some(Obstacle::Replaced),
            _ => Some(Obstacle::Single),
        })
    }

    /// Notes that something would be removed, with all that is in it, if this were no dry run.
    pub fn would_remove(&mut self, path: &[u8]) {
        self.gone.insert(path.to_vec());
    }

    /// Whether this is another transfer's unfinished copy, or only named like one: it is never removed.
    pub fn is_kept(&mut self, path: &[u8]) -> bool {
        let (above, name) = split(path);
        is_part_name(name.as_bytes()) && !self.dir(above).is_ok_and(|dir| self.parts.is_idle(&dir, name))
    }

    /// Removes a file, or a directory in which nothing is.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&mut self, path: &[u8], is_dir: bool) -> io::Result<()> {
        let (above, name) = split(path);
        let dir = self.dir(above)?;
        self.root.check_name(&*dir, name)?;
        self.dirs.forget(path);
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&*dir, name, flags).map_err(io::Error::from) {
            Err(error) if below::is_forbidden(&error) => {
                let base = self.base_dir()?;
                if !self.eased.ease(&base, above, &*dir)? {
                    return Err(error);
                }
                rustix::fs::unlinkat(&*dir, name, flags)?;
            }
            removed => removed?,
        }
        self.eased.forget(path);
        Ok(())
    }

    /// Gives directories that were made usable, and are still there, the modes that they had.
    pub fn restore_modes(&mut self) {
        self.eased.restore();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use std::sync::Arc;

    use super::super::Shape;
    use super::*;
    use crate::fs::root::{Root, RootPath};
    use crate::trees::delta::Delta;
    use crate::trees::{TreeEntry, WriteOptions};

    #[test]
    fn a_mirror_that_ends_early_leaves_modes_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("closed/in")).unwrap();
        for name in ["closed/file", "closed/in/file"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        for (name, mode) in [("closed/in", 0o000), ("closed", 0o500)] {
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let (preserve, sync, resume, checksum, dry_run) = (false, false, false, false, false);
        let (delta, delete, force) = (Delta::Never, true, true);
        let options = WriteOptions { preserve, sync, resume, checksum, delta, dry_run, delete, force };
        let shape = Shape { goes_into: true, is_made: false };
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let mut destination = Destination::new(root, RootPath::default(), shape, options);
        let (path, kind, (target, same, error, skipped)) = (Vec::new(), EntryKind::Dir, (None, None, None, None));
        let (has_links, has_met, size, mtime_ns, mode) = (false, false, 0, 0, 0o755);
        destination
            .settle(&TreeEntry { path, kind, size, mtime_ns, mode, target, same, has_links, error, skipped, has_met })
            .unwrap();
        assert_eq!(destination.names_to_remove(b"closed").unwrap().len(), 2);
        assert_eq!(destination.names_to_remove(b"closed/in").unwrap().len(), 1);
        destination.remove(b"closed/in/file", false).unwrap();
        let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode("closed"), mode("closed/in")], [0o700, 0o700]);
        drop(destination);
        assert_eq!(mode("closed"), 0o500);
        std::fs::set_permissions(dir.path().join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(mode("closed/in"), 0);
    }
}
