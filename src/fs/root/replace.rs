//! What is made whole aside gets its name at once, and what it replaces is removed behind that: at no moment is the name
//! free, and what a crash leaves aside is of no more use.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::{Root, RootPath, failed};
use crate::fs::part::naming::rename_to_free;
use crate::fs::part::{Parts, temporary_name_of};
use crate::fs::{Error, Result};

/// A directory beside a name, in which its successor is made. No peer sees it: it is called as parts are. When this is
/// dropped, it is removed with all that is in it.
#[derive(Debug)]
pub struct Staging {
    root: Arc<Root>,
    parts: Arc<Parts>,
    /// The directory in which the name is.
    above: Dir,
    /// The name that the successor is to have, and has in the staging already.
    name: OsString,
    /// The staging's own name in the directory above.
    own_name: OsString,
    inside: Root,
}

impl Root {
    /// Makes a staging for `path`.
    ///
    /// # Errors
    /// As [`rename`](Self::rename), or the disk is full.
    pub fn stage(self: &Arc<Self>, path: &RootPath, parts: &Arc<Parts>) -> Result<Staging> {
        let (above, name) = self.open_movable(path)?;
        let own_name = parts.make_staging(&above, &name).map_err(|error| error.about(path))?;
        let opened = self.open_dir_in(&above, &own_name);
        let inside = match opened {
            Ok(dir) => self.within(dir),
            Err(error) => {
                if let Err(error) = rustix::fs::unlinkat(&above, &own_name, AtFlags::REMOVEDIR) {
                    tracing::debug!(name = ?own_name, %error, "a staging could not be removed");
                }
                parts.close_one();
                return Err(error.about(path));
            }
        };
        Ok(Staging { root: Arc::clone(self), parts: Arc::clone(parts), above, name, own_name, inside })
    }
}

impl Staging {
    /// The directory as a root.
    pub const fn inside(&self) -> &Root {
        &self.inside
    }

    /// The path of the successor in it.
    ///
    /// # Errors
    /// The name is no part of a path.
    pub fn path(&self) -> Result<RootPath> {
        use std::os::unix::ffi::OsStrExt as _;
        RootPath::default().join(self.name.as_bytes())
    }

    /// Gives what was made its name; with `replaces` in place of what has it.
    ///
    /// # Errors
    /// The name is taken and nothing is to be replaced, or the system refuses.
    pub fn publish(self, replaces: bool) -> Result<()> {
        let made = (&self.inside.dir, self.name.as_os_str());
        self.give(made, replaces).map_err(Error::from)
    }

    /// Gives what is `from` in the root that name, in place of what has it.
    ///
    /// # Errors
    /// As [`rename`](Root::rename).
    pub fn replace_by(self, from: &RootPath) -> Result<()> {
        let (from_dir, from_name) = self.root.open_movable(from)?;
        self.give((&from_dir, &from_name), true).map_err(|error| failed(from)(error.into()))
    }

    fn give(&self, (from_dir, from): (&Dir, &OsStr), replaces: bool) -> Result<(), Errno> {
        if !replaces {
            return rename_to_free((from_dir, from), (&self.above, &self.name));
        }
        let exchange = || rustix::fs::renameat_with(from_dir, from, &self.above, &self.name, RenameFlags::EXCHANGE);
        match exchange() {
            Ok(()) if std::ptr::eq(from_dir, &raw const self.inside.dir) => Ok(()),
            // What was replaced has the other's old name.
            Ok(()) => rename_to_free((from_dir, from), (&self.inside.dir, &self.name)).inspect_err(|_| {
                if let Err(error) = exchange() {
                    tracing::warn!(now = ?from, %error, "what was replaced has the name of its successor");
                }
            }),
            // Nothing has the name any more, or the other is gone.
            Err(Errno::NOENT) => rename_to_free((from_dir, from), (&self.above, &self.name)),
            // Some file systems cannot exchange two names, NFS among them.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.give_in_steps((from_dir, from)),
            Err(error) => Err(error),
        }
    }

    /// The same by renaming what is replaced first: to a name that no sweep removes, until its successor is in place.
    fn give_in_steps(&self, from: (&Dir, &OsStr)) -> Result<(), Errno> {
        let aside = temporary_name_of(&self.name);
        rename_to_free((&self.above, &self.name), (&self.above, &aside))?;
        let given = rename_to_free(from, (&self.above, &self.name));
        let kept = if given.is_ok() { &self.inside.dir } else { &self.above };
        if let Err(error) = rename_to_free((&self.above, &aside), (kept, &self.name)) {
            tracing::warn!(was = ?self.name, now = ?aside, %error, "what makes way could not be renamed again");
        }
        given
    }

    fn remove(&self) -> Result<()> {
        let how: (super::IsIdle<'_>, super::GoesOn<'_>) = (&|dir, name| self.parts.is_idle(dir, name), &|| true);
        match self.root.remove_in(self.inside.dir.try_clone()?, &self.name, how) {
            Err(stop) if stop.error.kind() != crate::fs::ErrorKind::NotFound => return Err(stop.error),
            _ => {}
        }
        Ok(rustix::fs::unlinkat(&self.above, &self.own_name, AtFlags::REMOVEDIR)?)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(was = ?self.name, now = ?self.own_name, %error, "what was replaced could not be removed");
        }
        self.parts.close_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ErrorKind;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_successor_has_its_name_at_once_or_never() {
        let dir = tempfile::tempdir().unwrap();
        let (root, parts) = (Arc::new(Root::open(dir.path()).unwrap()), Parts::unrecorded());
        let write = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        let make = |staging: &Staging| {
            staging.inside().make_dir(&at("/a"), false).unwrap();
            staging.inside().make_dir(&at("/a/new"), false).unwrap();
        };
        write("a/deep/er/file");
        let staging = root.stage(&at("/a"), &parts).unwrap();
        make(&staging);
        assert!(
            names(&dir).len() == 2 && crate::fs::part::is_part_name(names(&dir)[0].as_bytes()),
            "{:?}",
            names(&dir)
        );
        assert_eq!(staging.publish(false).unwrap_err().kind(), ErrorKind::Exists, "something has the name");
        assert_eq!((names(&dir), dir.path().join("a/deep").exists()), (vec!["a".to_owned()], true));
        let staging = root.stage(&at("/a"), &parts).unwrap();
        make(&staging);
        staging.publish(true).unwrap();
        assert_eq!((names(&dir), names(&dir).len()), (vec!["a".to_owned()], 1));
        assert!(dir.path().join("a/new").exists() && !dir.path().join("a/deep").exists());
        // A directory by a file, and that by nothing at all.
        write("b");
        root.stage(&at("/a"), &parts).unwrap().replace_by(&at("/b")).unwrap();
        assert_eq!((names(&dir), std::fs::read(dir.path().join("a")).unwrap()), (vec!["a".to_owned()], b"b".to_vec()));
        drop(root.stage(&at("/a"), &parts).unwrap());
        assert!(root.stage(&at("/a"), &parts).unwrap().replace_by(&at("/none")).is_err());
        assert_eq!(names(&dir), ["a"]);
        // What has gone meanwhile is replaced by what comes.
        let staging = root.stage(&at("/a"), &parts).unwrap();
        make(&staging);
        std::fs::remove_file(dir.path().join("a")).unwrap();
        staging.publish(true).unwrap();
        assert!(dir.path().join("a/new").exists());
        assert!(root.stage(&at("/"), &parts).is_err() && root.stage(&at("/none/x"), &parts).is_err());
        assert_eq!(names(&dir), ["a"]);
    }

    #[test]
    fn without_an_exchange_of_names_it_takes_steps() {
        let dir = tempfile::tempdir().unwrap();
        let (root, parts) = (Arc::new(Root::open(dir.path()).unwrap()), Parts::unrecorded());
        std::fs::create_dir_all(dir.path().join("a/old")).unwrap();
        for is_there in [true, false] {
            let staging = root.stage(&at("/a"), &parts).unwrap();
            if is_there {
                staging.inside().make_dir(&at("/a"), false).unwrap();
            }
            let given = staging.give_in_steps((&staging.inside.dir, &staging.name));
            drop(staging);
            assert_eq!((given.is_ok(), names(&dir)), (is_there, vec!["a".to_owned()]));
        }
        assert!(!dir.path().join("a/old").exists());
    }
}
