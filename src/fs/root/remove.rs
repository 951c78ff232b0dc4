//! Removal, of a directory with all that is in it, however deep.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::AtFlags;

use super::{Root, RootPath, failed};
use crate::fs::below::{self, Below, DEPTH_MAX, Eased, split};
use crate::fs::part::is_part_name;
use crate::fs::unix::identity_of;
use crate::fs::{Error, ErrorKind, Result};

/// Says whether what has such a name is an unfinished copy that nothing writes to: only then it may be removed.
pub type IsIdle<'i> = &'i dyn Fn(&Dir, &OsStr) -> bool;

/// A directory that is removed with all that is in it.
struct Removal<'r> {
    root: &'r Root,
    /// The directory in which it is.
    parent: Arc<Dir>,
    is_idle: IsIdle<'r>,
    dirs: Below,
    eased: Eased,
}

impl Root {
    /// Removes a file or symlink; with `recursive`, a directory and all that is in it.
    ///
    /// # Errors
    /// It does not exist, is a directory and `recursive` is not set, is too deep, or is the root itself.
    pub fn remove(&self, path: &RootPath, recursive: bool, is_idle: IsIdle<'_>) -> Result<()> {
        let (dir, name) = self.open_parent(path)?;
        let is_dir = dir.symlink_metadata(&name).map_err(failed(path))?.is_dir();
        if is_dir && !recursive {
            let why = "is a directory; use -r to remove it";
            return Err(Error::new(ErrorKind::IsADirectory, why).about(path));
        }
        self.remove_in(dir, &name, is_idle).map_err(|error| error.about(path))
    }

    /// Removes the name `name` in `dir`, with all that is in it.
    pub(super) fn remove_in(&self, dir: Dir, name: &OsStr, is_idle: IsIdle<'_>) -> Result<()> {
        if !dir.symlink_metadata(name)?.is_dir() {
            return Ok(dir.remove_file(name)?);
        }
        let (dirs, eased) = (Below::default(), Eased::default());
        Removal { root: self, parent: Arc::new(dir), is_idle, dirs, eased }.run(name.to_owned())
    }
}

impl Removal<'_> {
    /// Goes through the directory without following a symlink. Not cap-std's `remove_dir_all`: it goes down by
    /// recursion, and a peer that may `mv` can build a tree that is deeper than a connection's stack.
    fn run(mut self, name: OsString) -> Result<()> {
        let names = self.enter(name.as_bytes())?;
        // What is below the parent on the way down, and what of it is still there.
        let mut levels = vec![(name.into_vec(), names.into_iter())];
        while let Some((here, names)) = levels.last_mut() {
            let dir = self.dir(here)?;
            let Some((name, is_dir)) = names.next() else {
                let Some((here, _)) = levels.pop() else { break };
                drop(dir);
                let (above, name) = split(&here);
                unlink(&*self.dir(above)?, name, AtFlags::REMOVEDIR)?;
                self.eased.forget(&here);
                continue;
            };
            if is_part_name(&name) && !(self.is_idle)(&dir, OsStr::from_bytes(&name)) {
                return Err(holds_a_part(&name));
            }
            if !is_dir {
                self.root.check_name(&*dir, OsStr::from_bytes(&name))?;
                unlink(&dir, OsStr::from_bytes(&name), AtFlags::empty())?;
                continue;
            }
            let inner = [here.as_slice(), b"/", &name].concat();
            if levels.len() >= DEPTH_MAX {
                let why = format!("is over {DEPTH_MAX} directories deep; remove the inner ones first");
                return Err(Error::new(ErrorKind::TooMany, why));
            }
            let names = self.enter(&inner)?;
            levels.push((inner, names.into_iter()));
        }
        Ok(())
    }

    /// The directory `at` below the parent.
    fn dir(&mut self, at: &[u8]) -> Result<Arc<Dir>> {
        let root = self.root;
        Ok(self.dirs.at(&self.parent, at, |dir, name| root.open_dir_in(dir, name))?.dir)
    }

    /// The names in a directory that is to be removed, `at` below the parent, also if its mode keeps its owner out.
    fn enter(&mut self, at: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        let (above, name) = split(at);
        let above = self.dir(above)?;
        self.root.check_name(&*above, name)?;
        let found = below::open_path(&above, name)?;
        if below::keeps_owner_out(&rustix::fs::fstat(&found)?) {
            self.root.check_shows(|| identity_of(&found))?;
            self.eased.ease(&self.parent, at, &found)?;
        }
        Ok(below::names_in(&*self.dir(at)?)?)
    }
}

/// Removes something in a directory, if it is still there.
fn unlink(dir: &Dir, name: &OsStr, flags: AtFlags) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, flags).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn holds_a_part(name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    let why = format!("holds {name}, an unfinished copy that is being written, or a file that is only called like one");
    Error::new(ErrorKind::Busy, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn a_removal_that_fails_leaves_modes_as_they_were() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("tree/a/b")).unwrap();
        std::fs::write(path("tree/a/.x.1a2b3c4d.part"), "").unwrap();
        std::fs::write(path("tree/a/b/file"), "").unwrap();
        for (name, mode) in [("tree/a/b", 0o500), ("tree/a", 0o555), ("tree", 0o2111)] {
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
        let root = Root::open(dir.path()).unwrap();
        let refused = root.remove(&at("/tree"), true, &|_, _| false).unwrap_err();
        assert!(refused.why().contains("unfinished"), "{refused}");
        assert_eq!([mode("tree"), mode("tree/a")], [0o2111, 0o555]);
        root.remove(&at("/tree"), true, &|_, _| true).unwrap();
        assert!(!path("tree").exists());
    }
}
