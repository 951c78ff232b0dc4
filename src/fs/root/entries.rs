//! What a directory of a root holds, for those who list it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::{Dir, Metadata, MetadataExt as _, ReadDir};

use super::{Root, RootPath, failed};
use crate::fs::Result;
use crate::fs::part::is_part_name;
use crate::fs::unix::mtime_ns;

/// A name in a directory, and what has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, of any bytes.
    pub name: OsString,
    /// What it is; a symlink is not followed.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Where a symlink points, of any bytes; `None`: it is none, or could not be read.
    pub target: Option<OsString>,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symlink.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// The entries of a directory, in the order in which the system has them.
#[derive(Debug)]
pub struct Entries<'r> {
    root: &'r Root,
    path: RootPath,
    dir: Dir,
    /// The name of what is never shown, if that is in it.
    hidden: Option<OsString>,
    read: ReadDir,
}

impl Root {
    /// What is in the directory `path`: without unfinished copies, and without what the root does not show.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir), or it cannot be read.
    pub fn entries(&self, path: &RootPath) -> Result<Entries<'_>> {
        let dir = self.open_dir(path)?;
        let read = dir.entries().map_err(failed(path))?;
        let hidden = self.hidden_name_in(&dir).map_err(failed(path))?;
        Ok(Entries { root: self, path: path.clone(), dir, hidden, read })
    }

    /// What `path` is, without following a symlink at its end; the root itself is no entry.
    ///
    /// # Errors
    /// It does not exist, leads out of the root, or is the root.
    pub fn entry(&self, path: &RootPath) -> Result<Entry> {
        let (dir, name) = self.open_parent(path)?;
        let metadata = dir.symlink_metadata(&name).map_err(failed(path))?;
        Ok(Entry::new(&dir, name, &metadata))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let entry = match self.read.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(failed(&self.path)(error))),
            };
            let name = entry.file_name();
            let is_hidden = self.hidden.as_ref() == Some(&name) || is_part_name(name.as_bytes());
            if is_hidden || self.root.check_name(&self.dir, &name).is_err() {
                continue;
            }
            // One that went away meanwhile is no longer there to list.
            let Ok(metadata) = entry.metadata() else { continue };
            return Some(Ok(Entry::new(&self.dir, name, &metadata)));
        }
    }
}

impl Entry {
    fn new(dir: &Dir, name: OsString, metadata: &Metadata) -> Self {
        let kind = match metadata.file_type() {
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_dir() => FileKind::Dir,
            kind if kind.is_symlink() => FileKind::Link,
            _ => FileKind::Other,
        };
        let target = if kind == FileKind::Link { link_target(dir, &name) } else { None };
        let (size, mode) = (metadata.len(), metadata.mode() & 0o7777);
        Self { name, kind, size, mtime_ns: mtime_ns(metadata), mode, target }
    }
}

fn link_target(dir: &Dir, name: &OsStr) -> Option<OsString> {
    dir.read_link_contents(name).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;
    use crate::fs::ErrorKind;

    #[test]
    fn a_directory_is_listed_as_it_is_without_what_is_kept_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap().guarding(dir.path()).unwrap();
        let odd = OsString::from_vec(b"odd\xff\n".to_vec());
        std::fs::write(dir.path().join(&odd), "12345").unwrap();
        for kept_back in [".profile", ".odd.1a2b3c4d.part", "odd.1a2b3c4d.part"] {
            std::fs::write(dir.path().join(kept_back), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        let time = std::fs::FileTimes::new()
            .set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500));
        std::fs::File::options().write(true).open(dir.path().join(&odd)).unwrap().set_times(time).unwrap();
        let mut entries: Vec<Entry> = root.entries(&RootPath::default()).unwrap().map(Result::unwrap).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<_> = entries.iter().map(|entry| (entry.name.as_bytes(), entry.kind)).collect();
        let want: [(&[u8], FileKind); 4] = [
            (b"link", FileKind::Link),
            (b"odd\xff\n", FileKind::File),
            (b"odd.1a2b3c4d.part", FileKind::File),
            (b"sub", FileKind::Dir),
        ];
        assert_eq!(names.len(), want.len(), "{names:?}");
        assert!(want.iter().all(|want| names.contains(want)), "{names:?}");
        let of = |name: &OsStr| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(of(OsStr::new("link")).target.as_deref(), Some(OsStr::new("/nowhere")));
        assert_eq!((of(&odd).size, of(&odd).mtime_ns, &of(&odd).target), (5, 1_500_000_000, &None));
        let at = |name: &OsStr| RootPath::default().join(name.as_bytes()).unwrap();
        assert_eq!(&root.entry(&at(&odd)).unwrap(), of(&odd));
        assert_eq!(root.entries(&at(&odd)).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(root.entry(&at(OsStr::new(".profile"))).unwrap_err().kind(), ErrorKind::Hidden);
        assert_eq!(root.entry(&RootPath::default()).unwrap_err().kind(), ErrorKind::Permission);
    }
}
