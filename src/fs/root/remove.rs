//! Removal, of a directory with all that is in it, however deep.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
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

/// Says whether a removal is still wanted.
pub type GoesOn<'g> = &'g dyn Fn() -> bool;

/// What was to be removed is still there, all of it or a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRemoved {
    /// What of it could not be removed, or not be looked into, and stays with the directories in which it is; `None`:
    /// something stands against the whole removal, and nothing was removed.
    pub member: Option<RootPath>,
    /// Why; of the path that was to be removed.
    pub error: Error,
}

/// Where a removal ended, and why.
#[derive(Debug)]
pub(super) struct Stop {
    /// The path below the parent; empty: something stands against the whole removal.
    at: Vec<u8>,
    pub(super) error: Error,
}

/// What is done with a directory and all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// It is only looked at: whether anything stands against its removal.
    Look {
        /// Whether names that begin with a dot do.
        hides_dots: bool,
    },
    Remove,
}

/// A directory that is removed with all that is in it.
struct Removal<'r> {
    root: &'r Root,
    pass: Pass,
    goes_on: GoesOn<'r>,
    /// The directory in which it is.
    parent: Arc<Dir>,
    is_idle: IsIdle<'r>,
    dirs: Below,
    eased: Eased,
    /// What it is at, below the parent.
    at: Vec<u8>,
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
        self.remove_in(dir, &name, (is_idle, &|| true)).map_err(|stop| stop.error.about(path))
    }

    /// Removes what has the name `path`, with all that is in it, as long as that is wanted.
    ///
    /// # Errors
    /// As [`remove`](Self::remove), with the member at which it ended; it is not wanted any more, and what is left
    /// stays.
    pub fn remove_while(&self, path: &RootPath, how: (IsIdle<'_>, GoesOn<'_>)) -> Result<(), NotRemoved> {
        let opened = self.open_parent(path).map_err(|error| NotRemoved { member: None, error });
        let (dir, name) = opened?;
        self.remove_in(dir, &name, how).map_err(|Stop { at, error }| {
            let above = path.split_last().map(|(above, _)| above);
            let member = above.filter(|_| !at.is_empty()).and_then(|above| above.join(&at).ok());
            NotRemoved { member, error: error.about(path) }
        })
    }

    /// Whether nothing in the directory `path` stands against its removal: nothing that is hidden from all, nothing
    /// that is being written, and with `hides_dots` nothing whose name begins with a dot. `._NAME`, which clients put
    /// beside a file, may go with it.
    ///
    /// # Errors
    /// Something does, or the directory cannot be read.
    pub fn check_removable(&self, path: &RootPath, hides_dots: bool, is_idle: IsIdle<'_>) -> Result<()> {
        let (dir, name) = self.open_parent(path)?;
        let looked = self.go_through(Arc::new(dir), &name, (is_idle, &|| true), Pass::Look { hides_dots });
        looked.map_err(|stop| stop.error.about(path))
    }

    /// Removes the name `name` in `dir`, with all that is in it: all of it is looked at first.
    pub(super) fn remove_in(&self, dir: Dir, name: &OsStr, how: (IsIdle<'_>, GoesOn<'_>)) -> Result<(), Stop> {
        let of_name = |error: io::Error| Stop { at: name.as_bytes().to_vec(), error: error.into() };
        if !dir.symlink_metadata(name).map_err(of_name)?.is_dir() {
            return dir.remove_file(name).map_err(of_name);
        }
        let dir = Arc::new(dir);
        self.go_through(Arc::clone(&dir), name, how, Pass::Look { hides_dots: false })?;
        self.go_through(dir, name, how, Pass::Remove)
    }

    fn go_through(
        &self,
        parent: Arc<Dir>,
        name: &OsStr,
        (is_idle, goes_on): (IsIdle<'_>, GoesOn<'_>),
        pass: Pass,
    ) -> Result<(), Stop> {
        let (dirs, eased) = (Below::default(), Eased::default());
        let mut removal = Removal { root: self, pass, goes_on, parent, is_idle, dirs, eased, at: Vec::new() };
        removal.run(name.to_owned()).map_err(|error| removal.stop(error))
    }
}

/// Removes the directory `name` in `dir`, a directory of this machine's own user, with all that is in it.
///
/// # Errors
/// As [`Root::remove`].
pub(in crate::fs) fn remove_tree(dir: &impl AsFd, name: &OsStr, is_idle: IsIdle<'_>) -> Result<()> {
    let open = || Ok::<_, Error>(Dir::from_std_file(dir.as_fd().try_clone_to_owned()?.into()));
    Root { dir: open()?, hidden: None, guarded: None }
        .remove_in(open()?, name, (is_idle, &|| true))
        .map_err(|stop| stop.error)
}

impl Removal<'_> {
    /// Goes through the directory without following a symlink. Not cap-std's `remove_dir_all`: it goes down by
    /// recursion, and a peer that may `mv` can build a tree that is deeper than a connection's stack.
    fn run(&mut self, name: OsString) -> Result<()> {
        let names = self.enter(name.as_bytes())?;
        // What is below the parent on the way down, and what of it is still there.
        let mut levels = vec![(name.into_vec(), names.into_iter())];
        while let Some((here, names)) = levels.last_mut() {
            self.at.clone_from(here);
            let dir = self.dir(here)?;
            let Some((name, is_dir)) = names.next() else {
                let Some((here, _)) = levels.pop() else { break };
                drop(dir);
                if self.pass != Pass::Remove {
                    continue;
                }
                let (above, name) = split(&here);
                unlink(&*self.dir(above)?, name, AtFlags::REMOVEDIR).map_err(came_in)?;
                self.eased.forget(&here);
                continue;
            };
            if !(self.goes_on)() {
                return Err(Error::new(ErrorKind::Busy, "its removal was ended; what is left of it stays"));
            }
            if is_part_name(&name) && !(self.is_idle)(&dir, OsStr::from_bytes(&name)) {
                return Err(holds_a_part(&name));
            }
            if self.pass == (Pass::Look { hides_dots: true }) && name.starts_with(b".") && !name.starts_with(b"._") {
                let why = "holds what is not shown here, and would go with it; look at it on the server's machine";
                return Err(Error::new(ErrorKind::NotEmpty, why));
            }
            let inner = [here.as_slice(), b"/", &name].concat();
            if !is_dir {
                self.root.check_name(&*dir, OsStr::from_bytes(&name))?;
                if self.pass != Pass::Remove {
                    continue;
                }
                self.at = inner;
                unlink(&dir, OsStr::from_bytes(&name), AtFlags::empty())?;
                continue;
            }
            if levels.len() >= DEPTH_MAX {
                let why = format!("is over {DEPTH_MAX} directories deep; remove the inner ones first");
                return Err(Error::new(ErrorKind::TooMany, why));
            }
            let names = self.enter(&inner)?;
            levels.push((inner, names.into_iter()));
        }
        Ok(())
    }

    /// That it ends here.
    fn stop(&mut self, error: Error) -> Stop {
        let mut at = std::mem::take(&mut self.at);
        if self.pass != Pass::Remove && error.raw_os_error().is_none() {
            // It was looked for what stands against all of it.
            at.clear();
        } else if error.kind() == ErrorKind::Hidden {
            // A hidden name is not told.
            at = split(&at).0.to_vec();
        }
        Stop { at, error }
    }

    /// The directory `at` below the parent.
    fn dir(&mut self, at: &[u8]) -> Result<Arc<Dir>> {
        let root = self.root;
        Ok(self.dirs.at(&self.parent, at, |dir, name| root.open_dir_in(dir, name))?.dir)
    }

    /// The names in a directory that is to be removed, `at` below the parent, also if its mode keeps its owner out.
    fn enter(&mut self, at: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        self.at = at.to_vec();
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

/// A directory whose names were all removed is not empty.
fn came_in(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::DirectoryNotEmpty {
        return Error::new(ErrorKind::NotEmpty, "something came into it while it was removed; remove it again");
    }
    error.into()
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

    /// RFC 4918, 9.6.1: of a tree that cannot go as a whole, the member is told that stays.
    #[test]
    fn a_removal_that_ends_in_its_middle_tells_where() {
        use std::cell::Cell;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let part = |tree: &str| {
            std::fs::create_dir_all(path(tree).join("a/b")).unwrap();
            std::fs::write(path(tree).join("a/b/.x.1a2b3c4d.part"), "").unwrap();
        };
        let root = Root::open(dir.path()).unwrap();
        let told = |tree: &str, is_idle: IsIdle<'_>, goes_on: GoesOn<'_>| {
            let not_removed = root.remove_while(&at(tree), (is_idle, goes_on)).unwrap_err();
            assert_eq!(not_removed.error.object(), tree);
            (not_removed.member.map(|member| member.to_string()), not_removed.error.kind())
        };
        part("in/one");
        assert_eq!(told("/in/one", &|_, _| false, &|| true), (None, ErrorKind::Busy), "nothing was removed");
        // It is written to again, once the first of it is gone.
        let looks = Cell::new(0);
        let is_first = || looks.replace(looks.get() + 1) == 0;
        let is_idle: IsIdle<'_> = &|_, _| is_first();
        assert_eq!(told("/in/one", is_idle, &|| true), (Some("/in/one/a/b".into()), ErrorKind::Busy));
        part("two");
        looks.set(0);
        let comes_in: IsIdle<'_> = &|_, _| {
            if !is_first() {
                std::fs::write(path("two/a/new"), "").unwrap();
            }
            true
        };
        assert_eq!(told("/two", comes_in, &|| true), (Some("/two/a".into()), ErrorKind::NotEmpty));
        part("three");
        let steps = Cell::new(0);
        let goes_on: GoesOn<'_> = &|| steps.replace(steps.get() + 1) < 4;
        assert_eq!(told("/three", &|_, _| true, goes_on), (Some("/three/a".into()), ErrorKind::Busy));
        assert_eq!(told("/none", &|_, _| true, &|| true), (Some("/none".into()), ErrorKind::NotFound));
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
