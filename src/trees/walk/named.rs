//! The paths of a request: each names a file or a directory, and is opened when the walk comes to it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;

use super::explained;
use crate::error::{ErrorCode, Refusal};
use crate::fs;
use crate::fs::root::{Root, RootPath};
use crate::memory::{Budget, ENTRY_COST};
use crate::session::{Session, advised};
use crate::trees::filter::Filter;
use crate::trees::glob::{self, means_contents};
use crate::trees::own_root;

/// A path of a request; it is opened when the walk comes to it.
#[derive(Debug)]
pub enum Named {
    /// A path that this machine's user named.
    Own(PathBuf),
    /// A path that a peer named, below a root.
    Below {
        /// The root.
        root: Arc<Root>,
        /// The path.
        path: RootPath,
        /// Whether what is in it is meant, and not the directory.
        contents: bool,
    },
    /// A path that could not be resolved.
    Missing {
        /// The name that it would have been listed by.
        name: Vec<u8>,
        /// Why.
        why: String,
    },
}

/// A directory with all that is in it, or one file.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) ground: Arc<Ground>,
    /// The one file of the directory that is selected; `None`: all of it.
    pub(super) only: Option<OsString>,
    /// Its name at the receiver; empty: what is in it goes into the destination.
    pub(super) name: Vec<u8>,
    /// The directory's name in errors.
    shown: String,
}

/// The directory in which something that was named lies, or which was named itself. Files that were named one by one
/// mostly lie in the same, and there may be more of them than descriptors.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) root: Arc<Root>,
    pub(super) dir: Arc<Dir>,
    /// Counts how many are open.
    _open: Arc<()>,
}

/// Opens what was named.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    last: Option<(PathBuf, Arc<Ground>)>,
    open: Arc<()>,
}

impl Grounds {
    /// The ground at `key`, which `open` opens if it is not the last one's too.
    pub(super) fn at<E>(
        &mut self,
        key: &Path,
        open: impl FnOnce() -> Result<(Arc<Root>, Dir), E>,
    ) -> Result<Arc<Ground>, E> {
        if let Some((last, ground)) = &self.last
            && last == key
        {
            return Ok(Arc::clone(ground));
        }
        let (root, dir) = open()?;
        let ground = Arc::new(Ground { root, dir: Arc::new(dir), _open: Arc::clone(&self.open) });
        self.last = Some((key.to_owned(), Arc::clone(&ground)));
        Ok(ground)
    }

    /// How many are open because something in them was named, and may be wanted.
    pub(super) fn count(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }
}

impl Named {
    /// What a peer named, as its session sees it: a path, or a pattern, whose expansion counts for `budget`, and
    /// stands for no directory that `filter` leaves out.
    pub fn of_session(session: &Session, path: &[u8], filter: &Filter, budget: &Budget) -> Vec<Self> {
        let missing = |why: Refusal| {
            let name = path.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or(path);
            vec![Self::Missing { name: name.to_vec(), why: why.message }]
        };
        let resolved = match session.resolve(path) {
            Ok(resolved) => resolved,
            Err(why) => return missing(why),
        };
        let contents = means_contents(path) || resolved.is_root();
        let below = |path: RootPath, contents| Self::Below { root: Arc::clone(&session.root), path, contents };
        let found = session.root.canonical(&resolved);
        if !glob::is_pattern(path) {
            return match found {
                Ok(_) => vec![below(resolved, contents)],
                Err(why) => missing(advised(path, why.into())),
            };
        }
        // A file whose name looks like a pattern is selected too, and does not hide the pattern's matches.
        let called_so = match found {
            Ok(_) => Some(resolved),
            Err(why) if why.kind() == fs::ErrorKind::NotFound => None,
            Err(why) => return missing(why.into()),
        };
        // As in a shell: with a slash behind it a pattern stands for directories only.
        let is_meant = |path: &RootPath| Some(path) != called_so.as_ref() && (!contents || session.root.is_dir(path));
        match glob::expand(session, path, filter, budget) {
            Ok(matched) => {
                let matched: Vec<RootPath> = matched.into_iter().filter(is_meant).collect();
                called_so.into_iter().chain(matched).map(|path| below(path, contents)).collect()
            }
            Err(why) => called_so.map_or_else(|| missing(advised(path, why)), |path| vec![below(path, contents)]),
        }
    }

    /// Its name at the receiver; `None`: what is in it goes into the destination, or the name is known when it is
    /// opened.
    fn name(&self) -> Option<Vec<u8>> {
        match self {
            Self::Own(path) if means_contents(path.as_os_str().as_bytes()) => None,
            Self::Own(path) => path.file_name().map(|name| name.as_bytes().to_vec()),
            Self::Below { contents: true, .. } => None,
            Self::Below { path, .. } => path.split_last().map(|(_, name)| name.into_vec()),
            Self::Missing { name, .. } => Some(name.clone()),
        }
    }

    /// Bytes of memory that it takes until the walk comes to it.
    pub fn memory(&self) -> usize {
        let len = match self {
            Self::Own(path) => path.as_os_str().len(),
            Self::Below { path, .. } => path.byte_len(),
            Self::Missing { name, why } => name.len() + why.len(),
        };
        len + size_of::<Self>() + ENTRY_COST
    }

    pub(super) fn open(self, recursive: bool, grounds: &mut Grounds) -> Result<Top, (Vec<u8>, String)> {
        match self {
            Self::Own(path) => Top::of_own(&path, recursive, grounds).map_err(|error| {
                let name = path.file_name().unwrap_or(path.as_os_str()).as_bytes().to_vec();
                (name, explained(&path.to_string_lossy(), &error))
            }),
            Self::Below { root, path, contents } => {
                Top::below(root, &path, (contents, recursive), grounds).map_err(|why| {
                    let name = path.split_last().map(|(_, name)| name.into_vec()).unwrap_or_default();
                    (name, why.message)
                })
            }
            Self::Missing { name, why } => Err((name, why)),
        }
    }
}

impl Top {
    /// What a person named on this machine. A symlink that was named is followed.
    fn of_own(path: &Path, recursive: bool, grounds: &mut Grounds) -> io::Result<Self> {
        let found = path.canonicalize()?;
        let kind = std::fs::metadata(&found)?.file_type();
        let shown = path.to_string_lossy();
        let open = |path: &Path| Ok::<_, io::Error>((own_root(path)?, Root::open_own_dir(path)?));
        if kind.is_dir() {
            if !recursive {
                return Err(io::Error::other("is a directory; to send it with all that is in it: -r"));
            }
            let ground = grounds.at(&found, || open(&found))?;
            let shown = shown.trim_end_matches('/').to_owned();
            return Ok(Self { ground, only: None, name: name_over_there(path, &found), shown });
        }
        if !kind.is_file() {
            return Err(io::Error::other("is neither a file nor a directory"));
        }
        let (above, name) = (found.parent().unwrap_or(Path::new("/")), found.file_name().unwrap_or_default());
        let typed = path.file_name().unwrap_or(name).as_bytes().to_vec();
        let above_typed = path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let ground = grounds.at(above, || open(above))?;
        Ok(Self { ground, only: Some(name.to_owned()), name: typed, shown: above_typed })
    }

    fn below(
        root: Arc<Root>,
        path: &RootPath,
        (contents, recursive): (bool, bool),
        grounds: &mut Grounds,
    ) -> Result<Self, Refusal> {
        let (above, typed) = path.split_last().unwrap_or_default();
        let found = root.canonical(path)?;
        let key = |path: &RootPath| PathBuf::from(OsString::from_vec(path.to_absolute()));
        if root.is_dir(&found) {
            if !recursive {
                let text = format!("{path}: is a directory; to fetch it with all that is in it: -r");
                return Err(Refusal::new(ErrorCode::IsADirectory, text));
            }
            let ground = grounds.at(&key(&found), || root.open_dir(&found).map(|dir| (root, dir)))?;
            let name = if contents { Vec::new() } else { typed.into_vec() };
            return Ok(Self { ground, only: None, name, shown: path.to_string() });
        }
        let (parent, only) = found.split_last().unwrap_or_default();
        let ground = grounds.at(&key(&parent), || root.open_dir(&parent).map(|dir| (root, dir)))?;
        let kind = ground
            .dir
            .symlink_metadata(&only)
            .map_err(|error| Refusal::from_io(&path.to_string(), &error))?
            .file_type();
        if !kind.is_file() {
            return Err(Refusal::new(ErrorCode::NotAFile, format!("{path}: is neither a file nor a directory")));
        }
        Ok(Self { ground, only: Some(only), name: typed.into_vec(), shown: above.to_string() })
    }

    /// The name of an entry in errors.
    pub(super) fn shown(&self, path: &[u8]) -> String {
        // A single file may have been reached by another name than its own.
        let path = if self.only.is_some() { &self.name } else { path };
        let path = String::from_utf8_lossy(path);
        match self.shown.as_str() {
            "" => path.into_owned(),
            above if path.is_empty() => above.to_owned(),
            above => format!("{}/{path}", above.trim_end_matches('/')),
        }
    }
}

/// A slash at the end, or a name that is none, means what is in a directory, and not the directory.
fn name_over_there(path: &Path, found: &Path) -> Vec<u8> {
    let typed = path.as_os_str().as_bytes();
    if means_contents(typed) {
        return Vec::new();
    }
    // `..` is some directory, which has a name.
    let name = path.file_name().or_else(|| found.file_name()).unwrap_or_default();
    name.as_bytes().to_vec()
}

/// Whether two of them may have something of the same name.
pub(super) fn may_meet(tops: &[Named]) -> bool {
    let mut names = HashSet::new();
    // What is in a directory may be called as any other.
    tops.len() > 1 && !tops.iter().all(|top| top.name().is_some_and(|name| names.insert(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_means_what_is_in_a_directory() {
        let named = |path: &str| name_over_there(Path::new(path), Path::new("/home/ann/real"));
        for (path, name) in [("dir", "dir"), ("a/dir", "dir"), ("dir/", ""), ("dir/.", ""), (".", ""), ("..", "real")] {
            assert_eq!(named(path), name.as_bytes(), "{path}");
        }
    }

    #[test]
    fn only_what_may_have_the_same_name_can_meet() {
        let own = |paths: &[&str]| paths.iter().map(|path| Named::Own(path.into())).collect::<Vec<_>>();
        for (paths, meet) in [
            (&["a", "b"][..], false),
            (&["a"], false),
            (&["a/"], false),
            (&["x/a", "y/a"], true),
            (&["a", "b/"], true),
            (&["a", ".."], true),
        ] {
            assert_eq!(may_meet(&own(paths)), meet, "{paths:?}");
        }
    }

    #[test]
    fn what_is_in_one_directory_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut grounds = Grounds::default();
        let tops: Vec<Top> = ["a", "b"]
            .map(|name| {
                std::fs::write(dir.path().join(name), "x").unwrap();
                Named::Own(dir.path().join(name)).open(false, &mut grounds).unwrap()
            })
            .into();
        assert_eq!((grounds.count(), tops[1].shown(b"")), (1, dir.path().join("b").to_string_lossy().into_owned()));
        drop(tops);
        let (name, why) = Named::Own(dir.path().to_owned()).open(false, &mut grounds).unwrap_err();
        assert!(dir.path().as_os_str().as_bytes().ends_with(&name) && why.contains("is a directory"), "{why}");
    }
}
