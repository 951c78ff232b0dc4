//! What changes a root: directories made, things renamed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::{Dir, MetadataExt as _};

use super::{Root, RootPath, failed};
use crate::fs::part::naming::rename_to_free;
use crate::fs::unix::timestamps;
use crate::fs::{Error, ErrorKind, Result};

impl Root {
    /// Makes a directory, with those above it if `parents`.
    ///
    /// # Errors
    /// It exists, the one above it does not, or it leads out of the root.
    pub fn make_dir(&self, path: &RootPath, parents: bool) -> Result<()> {
        if !parents {
            let (dir, name) = self.open_parent(path)?;
            return dir.create_dir(name).map_err(failed(path));
        }
        let parts: Vec<&[u8]> = path.parts().collect();
        let (mut dir, there) = self.open_deepest(&parts)?;
        for (index, part) in parts.iter().enumerate().skip(there) {
            let name = OsStr::from_bytes(part);
            self.check_name(&dir, name).map_err(|error| error.about(path))?;
            let made = dir.create_dir(name);
            // Another request may have been faster.
            let is_there = made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists);
            if !is_there {
                made.map_err(failed(path))?;
            }
            dir = match self.open_dir_in(&dir, name) {
                Ok(opened) => opened,
                // A symlink, put there a moment ago: followed from the root, as every other.
                Err(_) if is_there => self.open_dir(&RootPath::of_first(&parts, index + 1))?,
                Err(error) => return Err(error.about(path)),
            };
        }
        Ok(())
    }

    /// The deepest directory on the way that `parts` name which is there, and how many parts lead to it. Halving
    /// finds it: to try part by part from the root would walk a path of 2,000 parts 2,000 times.
    fn open_deepest(&self, parts: &[&[u8]]) -> Result<(Dir, usize)> {
        let (mut there, mut missing) = (0, parts.len() + 1);
        let mut deepest = self.open_dir(&RootPath::default())?;
        while missing - there > 1 {
            let middle = there.midpoint(missing);
            match self.open_dir(&RootPath::of_first(parts, middle)) {
                Ok(dir) => (deepest, there) = (dir, middle),
                Err(error) if error.kind() == ErrorKind::NotFound => missing = middle,
                Err(error) => return Err(error),
            }
        }
        Ok((deepest, there))
    }

    /// Renames `from` to `to`, or into `to` if that is a directory; returns where it is now.
    ///
    /// # Errors
    /// Either leads out of the root or is the root itself, or the system refuses.
    pub fn rename(&self, from: &RootPath, to: &RootPath) -> Result<RootPath> {
        let (from_dir, from_name) = self.open_movable(from)?;
        let to = if self.goes_into(to)? { to.join(from_name.as_bytes())? } else { to.clone() };
        let (to_dir, to_name) = self.open_parent(&to)?;
        from_dir.rename(&from_name, &to_dir, &to_name).map_err(failed(from))?;
        Ok(to)
    }

    /// Renames `from` to `to` itself, in place of a file or symlink there if `replaces`; whether nothing was there.
    ///
    /// # Errors
    /// As [`rename`](Self::rename); something is there that is not to be replaced.
    pub fn rename_exactly(&self, from: &RootPath, to: &RootPath, replaces: bool) -> Result<bool> {
        let (from_dir, from_name) = self.open_movable(from)?;
        let (to_dir, to_name) = self.open_parent(to)?;
        let found = to_dir.symlink_metadata(&to_name);
        if found.as_ref().is_ok_and(cap_std::fs::Metadata::is_dir) {
            return Err(Error::new(ErrorKind::Exists, "is a directory, which is not replaced").about(to));
        }
        if replaces && found.is_ok() {
            from_dir.rename(&from_name, &to_dir, &to_name).map_err(failed(from))?;
            return Ok(false);
        }
        rename_to_free((&from_dir, &from_name), (&to_dir, &to_name)).map_err(|error| Error::from(error).about(to))?;
        Ok(true)
    }

    /// Sets the modification time of a file or directory, in nanoseconds since 1970 UTC.
    ///
    /// # Errors
    /// It cannot be opened, or the system refuses.
    pub fn set_modified(&self, path: &RootPath, mtime_ns: i64) -> Result<()> {
        let times = timestamps(mtime_ns);
        let set = match self.open_file(path) {
            Ok((file, _)) => rustix::fs::futimens(&file, &times),
            // It may be open as a mere path (`O_PATH`), which has no times of its own.
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                rustix::fs::utimensat(self.open_dir(path)?, ".", &times, rustix::fs::AtFlags::empty())
            }
            Err(error) => return Err(error),
        };
        set.map_err(|error| failed(path)(error.into()))
    }

    /// The directory and the name of something that may be given another.
    pub(super) fn open_movable(&self, from: &RootPath) -> Result<(Dir, OsString)> {
        let (from_dir, from_name) = self.open_parent(from)?;
        if let Ok(moved) = from_dir.symlink_metadata(&from_name) {
            let found = (moved.dev(), moved.ino());
            self.check_shown(from, found)?;
            // A peer that moves what the home lies in could put another home in its place.
            for (home, what) in [(&self.hidden, "the server keeps its keys"), (&self.guarded, "a home directory lies")]
            {
                if let Some(home) = home
                    && moved.is_dir()
                    && home.lies_in(found).map_err(failed(from))?
                {
                    let why = format!("{what} there or below it, which stays where it is");
                    return Err(Error::new(ErrorKind::Hidden, why).about(from));
                }
            }
        }
        Ok((from_dir, from_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn directories_are_made_from_the_deepest_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let deep = at(&"/x".repeat(2_000));
        let parts: Vec<&[u8]> = deep.parts().collect();
        assert_eq!(root.open_deepest(&parts).unwrap().1, 0);
        root.make_dir(&deep, true).unwrap();
        assert_eq!(root.open_deepest(&parts).unwrap().1, 2_000);
        root.make_dir(&deep, true).unwrap();
        root.make_dir(&at("/x/x/y/z"), true).unwrap();
        root.make_dir(&at("/"), true).unwrap();
        assert!(dir.path().join("x/x/y/z").is_dir());
        assert_eq!(root.make_dir(&deep, false).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(root.make_dir(&at("/no/such"), false).unwrap_err().kind(), ErrorKind::NotFound);

        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(root.make_dir(&at("/file/a/b"), true).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(root.make_dir(&at("/file"), true).unwrap_err().kind(), ErrorKind::NotADirectory);
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        for (target, name) in [("x/x", "inside"), ("..", "outside"), ("nowhere", "dangling")] {
            link(target, name);
        }
        root.make_dir(&at("/inside/made/here"), true).unwrap();
        assert!(dir.path().join("x/x/made/here").is_dir());
        assert_eq!(root.make_dir(&at("/outside/a/b"), true).unwrap_err().kind(), ErrorKind::OutsideRoot);
        assert_eq!(root.make_dir(&at("/dangling/a"), true).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_name_is_given_only_where_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for (name, text) in [("a", "a"), ("b", "b"), ("sub/c", "c")] {
            std::fs::create_dir_all(dir.path().join("sub")).unwrap();
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let kind =
            |from: &str, to: &str, replaces| root.rename_exactly(&at(from), &at(to), replaces).map_err(|e| e.kind());
        assert_eq!(kind("/a", "/b", false), Err(ErrorKind::Exists));
        assert_eq!(kind("/a", "/sub", true), Err(ErrorKind::Exists));
        assert_eq!(kind("/a", "/no/such", true), Err(ErrorKind::NotFound));
        assert_eq!(kind("/no", "/x", true), Err(ErrorKind::NotFound));
        assert_eq!(kind("/a", "/b", true), Ok(false));
        assert_eq!(kind("/b", "/sub/d", false), Ok(true));
        assert_eq!(kind("/sub", "/moved", false), Ok(true));
        assert_eq!(std::fs::read(dir.path().join("moved/d")).unwrap(), b"a");
        assert!(root.rename_exactly(&at("/"), &at("/x"), true).is_err());
    }
}
