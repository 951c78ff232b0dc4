//! Where a resource is on this machine: the same for all sessions, however little of the root each is shown, and by
//! whatever symlinks a URL leads there.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;

use crate::fs::Result;
use crate::fs::part::is_part_name;
use crate::fs::root::{Details, Root, RootPath, path_of};

/// The path of a resource on this machine, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct Place(Vec<u8>);

/// Which file or directory it is: no other one is the same, not even one that is given the number of one that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Inode {
    /// Device and inode.
    identity: (u64, u64),
    /// When it was made, in nanoseconds since 1970 UTC; `None`: the file system does not say.
    born_ns: Option<i64>,
}

impl From<&Details> for Inode {
    fn from(details: &Details) -> Self {
        Self { identity: details.look.identity, born_ns: details.born_ns }
    }
}

impl Inode {
    #[cfg(test)]
    pub(super) const fn of_test(number: u64) -> Self {
        Self { identity: (1, number), born_ns: None }
    }
}

/// A file or directory where it is.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) inode: Inode,
}

impl Node {
    /// What `path` of a root is; of a symlink what it leads to.
    ///
    /// # Errors
    /// It is not there, or not shown.
    pub(super) fn of(root: &Root, path: &RootPath) -> Result<Self> {
        Ok(Self { place: Spot::of(root, path)?.own, inode: Inode::from(&root.details(path)?) })
    }
}

/// A resource, and the directory that has it as a member.
#[derive(Debug, Clone)]
pub(in super::super) struct Spot {
    /// The resource itself: the directory that a symlink leads to.
    pub(in super::super) own: Place,
    /// The directory in which its name is; `None`: it is the root.
    pub(super) above: Option<Place>,
}

impl Place {
    /// An open directory.
    ///
    /// # Errors
    /// The system does not say where it is.
    pub(super) fn of_dir(dir: &impl AsFd) -> Result<Self> {
        let mut path = path_of(dir)?.into_os_string().into_encoded_bytes();
        if path == b"/" {
            path.clear();
        }
        Ok(Self(path))
    }

    #[cfg(test)]
    pub(super) fn of_test(path: &str) -> Self {
        Self(path.trim_end_matches('/').as_bytes().to_vec())
    }

    /// The member `name` of this directory.
    pub(super) fn child(&self, name: &[u8]) -> Self {
        Self([&self.0, &b"/"[..], name].concat())
    }

    /// Whether this is `other` or lies in it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self == other || self.is_below(other)
    }

    /// Whether this lies in `other`.
    pub(super) fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(other.0.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The directories above it, the nearest first.
    pub(super) fn above(&self) -> impl Iterator<Item = Self> {
        let ends = self.0.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
        ends.map(|(end, _)| Self(self.0.get(..end).unwrap_or_default().to_vec()))
    }

    /// The same below `to` instead of below `from`.
    pub(super) fn moved(&self, from: &Self, to: &Self) -> Self {
        let rest = self.0.strip_prefix(from.0.as_slice()).unwrap_or_default();
        Self([&to.0, rest].concat())
    }

    /// What is in it lies between these two.
    pub(super) fn members(&self) -> std::ops::Range<Self> {
        // The slash and the byte behind it.
        Self([&self.0, &b"/"[..]].concat())..Self([&self.0, &b"0"[..]].concat())
    }

    /// As a path of a session whose root is here; the root itself for what lies beyond.
    pub(super) fn seen_from(&self, root: &Self) -> Vec<u8> {
        match self.0.strip_prefix(root.0.as_slice()) {
            Some(path) if path.starts_with(b"/") => path.to_vec(),
            _ => b"/".to_vec(),
        }
    }

    /// Whether it lies in what was set aside to be removed, or has no place at all any more.
    pub(super) fn is_aside(&self) -> bool {
        self.0.split(|byte| *byte == b'/').any(is_part_name)
    }

    /// Length in bytes.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

impl Spot {
    /// What `path` of a root is, or would be.
    ///
    /// # Errors
    /// Its directory is not there.
    pub(in super::super) fn of(root: &Root, path: &RootPath) -> Result<Self> {
        if path.is_root() {
            return Ok(Self { own: Place::of_dir(&root.open_dir(path)?)?, above: None });
        }
        let (dir, name) = root.open_parent(path)?;
        let above = Place::of_dir(&dir)?;
        let is_link = dir.symlink_metadata(&name).is_ok_and(|found| found.is_symlink());
        let led = if is_link { root.open_dir(path).ok() } else { None };
        let own = match led {
            Some(dir) => Place::of_dir(&dir)?,
            None => above.child(name.as_bytes()),
        };
        Ok(Self { own, above: Some(above) })
    }

    /// The name `path` itself: of a symlink not what it leads to.
    ///
    /// # Errors
    /// Its directory is not there.
    pub(super) fn of_name(root: &Root, path: &RootPath) -> Result<Self> {
        if path.is_root() {
            return Self::of(root, path);
        }
        let (dir, name) = root.open_parent(path)?;
        Self::in_dir(&dir, &name)
    }

    /// The name `name` in an open directory.
    ///
    /// # Errors
    /// The system does not say where that is.
    pub(in super::super) fn in_dir(dir: &impl AsFd, name: &OsStr) -> Result<Self> {
        let above = Place::of_dir(dir)?;
        Ok(Self { own: above.child(name.as_bytes()), above: Some(above) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lie_in_each_other() {
        let at = |path: &str| Place(path.as_bytes().to_vec());
        assert!(at("/a/b").is_below(&at("/a")) && at("/a").is_below(&at("")) && !at("/ab").is_below(&at("/a")));
        assert!(at("/a").is_within(&at("/a")) && !at("/a").is_below(&at("/a")));
        assert_eq!(at("/a/b c").above().collect::<Vec<_>>(), [at("/a"), at("")]);
        assert_eq!(at("/a/b/c").moved(&at("/a/b"), &at("/x")), at("/x/c"));
        assert_eq!(at("/a/b").moved(&at("/a/b"), &at("/x")), at("/x"));
        for (path, is_member) in [("/a/b", true), ("/a/", true), ("/a", false), ("/a0", false), ("/a-", false)] {
            assert_eq!(at("/a").members().contains(&at(path)), is_member, "{path}");
        }
        for (path, root, want) in
            [("/srv/a", "/srv", "/a"), ("/srv", "/srv", "/"), ("/", "/srv", "/"), ("/a", "", "/a")]
        {
            assert_eq!(at(path).seen_from(&at(root)), want.as_bytes(), "{path} from {root}");
        }
    }

    #[test]
    fn one_resource_has_one_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("none", dir.path().join("gone")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let at = |path: &str| RootPath::default().join(path.as_bytes()).unwrap();
        let own = |root: &Root, path: &str| Spot::of(root, &at(path)).unwrap().own;
        assert_eq!(own(&root, "/link/b"), own(&root, "/a/b"));
        assert_eq!(own(&root, "/link"), own(&root, "/a"));
        assert_eq!(Spot::of_name(&root, &at("/link")).unwrap().own.seen_from(&own(&root, "/")), b"/link");
        assert_eq!(own(&root, "/gone").seen_from(&own(&root, "/")), b"/gone");
        let narrow = root.below(&at("/a")).unwrap();
        assert_eq!(own(&narrow, "/b"), own(&root, "/a/b"));
        assert_eq!(own(&narrow, "/"), own(&root, "/a"));
        assert_eq!(Spot::of(&root, &at("/")).unwrap().above, None);
        assert!(Spot::of(&root, &at("/no/such")).is_err());
    }
}
