//! Names that cannot climb: from a stranger's string to a path below a root.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use crate::fs::part::is_part_name;
use crate::fs::{Error, ErrorKind, Result};

/// Longest path that is looked at, in bytes: Linux' `PATH_MAX`.
pub const PATH_LEN_MAX: usize = 4_096;

/// A path below the root: no `..`, no NUL, no empty part; empty is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct RootPath(Vec<u8>);

impl RootPath {
    /// `path` seen from here; one that begins with a slash is seen from the root.
    ///
    /// `..` takes the last part of the *name* away, as a shell's `cd` does.
    ///
    /// # Errors
    /// It climbs above the root, is too long, or holds a NUL.
    pub fn join(&self, path: &[u8]) -> Result<Self> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        if path.contains(&0) {
            return Err(Error::new(ErrorKind::BadName, "a path cannot hold a NUL").about(&format!("{:?}", shown())));
        }
        let mut parts: Vec<&[u8]> = if path.starts_with(b"/") { Vec::new() } else { self.parts().collect() };
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Err(Error::new(ErrorKind::OutsideRoot, "leads above the root").about(&shown()));
                    }
                }
                name if is_part_name(name) => return Err(reserved().about(&shown())),
                name => parts.push(name),
            }
        }
        let joined = parts.join(&b'/');
        if joined.len() > PATH_LEN_MAX {
            let why = format!("path of {} bytes is over the limit of {PATH_LEN_MAX} bytes", joined.len());
            return Err(Error::new(ErrorKind::BadName, why));
        }
        Ok(Self(joined))
    }

    /// The path with a slash in front, which stands for the root.
    pub fn to_absolute(&self) -> Vec<u8> {
        let mut path = vec![b'/'];
        path.extend_from_slice(&self.0);
        path
    }

    /// Whether a name in it begins with a dot.
    pub fn has_hidden_name(&self) -> bool {
        self.parts().any(|name| name.starts_with(b"."))
    }

    /// The path up to the first name in it that begins with a dot.
    #[must_use]
    pub fn shown(&self) -> Self {
        let parts: Vec<_> = self.parts().take_while(|name| !name.starts_with(b".")).collect();
        Self(parts.join(&b'/'))
    }

    /// Its length in bytes.
    pub const fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the root itself.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory part and the last name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, OsString)> {
        let name = self.parts().next_back().filter(|name| !name.is_empty())?;
        let parent = self.0.len() - name.len();
        let parent = self.0.get(..parent.saturating_sub(1)).unwrap_or_default().to_vec();
        Some((Self(parent), OsString::from_vec(name.to_vec())))
    }

    /// The first `count` of `parts`.
    pub(super) fn of_first(parts: &[&[u8]], count: usize) -> Self {
        Self(parts.get(..count).unwrap_or(parts).join(&b'/'))
    }

    pub(super) fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    pub(super) fn as_path(&self) -> &Path {
        if self.0.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }
}

/// The refusal of a name that is reserved for unfinished copies.
pub(super) fn reserved() -> Error {
    let why = "names like .NAME.1a2b3c4d.part are kept for unfinished copies; choose another";
    Error::new(ErrorKind::ReservedName, why)
}

impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn paths_are_resolved_from_where_one_stands() {
        for (cwd, path, want) in [
            ("/", "a/b", "/a/b"),
            ("/a", "b", "/a/b"),
            ("/a", "/b", "/b"),
            ("/a/b", "..", "/a"),
            ("/a/b", "../../c//./d/", "/c/d"),
            ("/a", ".", "/a"),
            ("/a", "", "/a"),
            ("/a", "/", "/"),
        ] {
            assert_eq!(at(cwd).join(path.as_bytes()).unwrap().to_string(), want, "{cwd} {path}");
        }
    }

    #[test]
    fn climbing_above_the_root_is_refused() {
        for (cwd, path) in [("/", ".."), ("/a", "../.."), ("/", "a/../../etc"), ("/a/b", "/..")] {
            assert_eq!(at(cwd).join(path.as_bytes()).unwrap_err().kind(), ErrorKind::OutsideRoot, "{cwd} {path}");
        }
        assert_eq!(at("/").join(b"a\0b").unwrap_err().kind(), ErrorKind::BadName);
        assert_eq!(at("/").join(&[b'a'; 5000]).unwrap_err().kind(), ErrorKind::BadName);
    }

    #[test]
    fn a_path_splits_into_its_directory_and_its_name() {
        assert_eq!(at("/").split_last(), None);
        assert_eq!(at("/a").split_last(), Some((at("/"), "a".into())));
        assert_eq!(at("/a/b c").split_last(), Some((at("/a"), "b c".into())));
    }

    proptest! {
        #[test]
        fn no_path_ever_climbs(cwd in "(/[a-z.]{1,3}){0,4}", path in any::<Vec<u8>>()) {
            let Ok(cwd) = RootPath::default().join(cwd.as_bytes()) else { return Ok(()) };
            if let Ok(joined) = cwd.join(&path) {
                prop_assert!(joined.parts().all(|part| part != b".." && part != b"." && !part.contains(&0)));
                prop_assert_eq!(RootPath::default().join(&joined.to_absolute()).unwrap(), joined);
            }
        }

        #[test]
        fn names_of_any_bytes_survive(name in proptest::collection::vec(1_u8..=255, 1..200)) {
            prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
            let path = RootPath::default().join(&name).unwrap();
            prop_assert_eq!(path.split_last().unwrap().1.into_vec(), name);
        }
    }
}
