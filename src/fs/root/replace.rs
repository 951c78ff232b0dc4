//! What is to be replaced is renamed aside first: it comes back if its successor does not come.

use std::ffi::OsString;

use cap_std::fs::Dir;

use super::{IsIdle, Root, RootPath, failed};
use crate::fs::part::naming::rename_to_free;
use crate::fs::part::temporary_name_of;
use crate::fs::{Error, Result};

/// Something that has made way. No peer sees its name, which is one of a part's.
#[derive(Debug)]
pub struct Aside<'r> {
    root: &'r Root,
    dir: Dir,
    /// Its name now.
    name: OsString,
    /// Its name before.
    was: OsString,
}

impl Root {
    /// Renames `path` to a name that no peer sees.
    ///
    /// # Errors
    /// As [`rename`](Self::rename).
    pub fn set_aside(&self, path: &RootPath) -> Result<Aside<'_>> {
        let (dir, was) = self.open_movable(path)?;
        let name = temporary_name_of(&was);
        rename_to_free((&dir, &was), (&dir, &name)).map_err(|error| failed(path)(error.into()))?;
        Ok(Aside { root: self, dir, name, was })
    }
}

impl Aside<'_> {
    /// Gives it its name again.
    ///
    /// # Errors
    /// Something else has the name now.
    pub fn put_back(self) -> Result<()> {
        let Self { dir, name, was, .. } = self;
        rename_to_free((&dir, &name), (&dir, &was)).map_err(|error| {
            let why = format!("its old name could not be given back, and it is called {} now", name.to_string_lossy());
            Error::from(error).about(&format!("{}, {why}", was.to_string_lossy()))
        })
    }

    /// Removes it with all that is in it. What cannot be removed stays under its present name.
    pub fn remove(self, is_idle: IsIdle<'_>) {
        let Self { root, dir, name, was } = self;
        if let Err(error) = root.remove_in(dir, &name, is_idle) {
            tracing::warn!(?was, now = ?name, %error, "what was replaced could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ErrorKind;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn what_makes_way_comes_back_or_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let names = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        std::fs::create_dir_all(dir.path().join("a/deep/er")).unwrap();
        std::fs::write(dir.path().join("a/deep/file"), "x").unwrap();
        let aside = root.set_aside(&at("/a")).unwrap();
        assert!(names().len() == 1 && crate::fs::part::is_part_name(names()[0].as_bytes()), "{:?}", names());
        aside.put_back().unwrap();
        assert_eq!(names(), ["a"]);
        let aside = root.set_aside(&at("/a")).unwrap();
        std::fs::write(dir.path().join("a"), "new").unwrap();
        aside.remove(&|_, _| true);
        assert_eq!(names(), ["a"]);
        let aside = root.set_aside(&at("/a")).unwrap();
        std::fs::write(dir.path().join("a"), "newer").unwrap();
        assert_eq!(aside.put_back().unwrap_err().kind(), ErrorKind::Exists);
        assert!(root.set_aside(&at("/")).is_err() && root.set_aside(&at("/none")).is_err());
    }
}
