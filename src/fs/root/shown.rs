//! A directory of a root for those who show what is in it: all names are read first, and each is looked at only when
//! it is shown.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, RawDir, Stat, StatxFlags, StatxTimestamp, makedev};
use rustix::io::Errno;

use super::{FileKind, Root, RootPath};
use crate::fs::below::OpenDir;
use crate::fs::part::is_part_name;
use crate::fs::unix::{identity_of, nanoseconds, stat_ctime_ns, stat_mtime_ns};
use crate::fs::{Error, ErrorKind, Result};

/// Bytes of a directory that are read at a time: some 1,500 names, for one system call.
const READ_LEN: usize = 64 * 1024;

/// An open directory of a root, without what the root does not show.
#[derive(Debug, Clone)]
pub struct ShownDir {
    root: Arc<Root>,
    dir: Arc<Dir>,
}

/// Which state of which directory it is. Two equal ones have the same names, if the later is older than the resolution
/// of the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirState {
    /// Device and inode.
    pub identity: (u64, u64),
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Time of the last change in nanoseconds since 1970 UTC.
    pub ctime_ns: i64,
}

/// What a name in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Device and inode.
    pub identity: (u64, u64),
    /// How many names it has.
    pub links: u64,
}

impl From<&Stat> for Look {
    fn from(stat: &Stat) -> Self {
        Self {
            kind: FileKind::from(FileType::from_raw_mode(stat.st_mode)),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: stat_mtime_ns(stat),
            mode: stat.st_mode & 0o7777,
            identity: (stat.st_dev, stat.st_ino),
            links: stat.st_nlink,
        }
    }
}

impl Look {
    /// What is open.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of(open: &impl AsFd) -> std::io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(open)?))
    }
}

/// What is known of a file or directory, times that only a few want included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    /// What it is.
    pub look: Look,
    /// Time of the last change of content or attributes, in nanoseconds since 1970 UTC.
    pub ctime_ns: i64,
    /// When it was made, in nanoseconds since 1970 UTC; `None`: the file system does not say.
    pub born_ns: Option<i64>,
}

impl Details {
    /// What is open.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of(open: &impl AsFd) -> Result<Self> {
        Self::at(open, OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    /// The file or directory that has this name in `dir`; a symlink is not followed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of_name(dir: &impl AsFd, name: &OsStr) -> Result<Self> {
        Self::at(dir, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn at(dir: &impl AsFd, name: &OsStr, flags: AtFlags) -> Result<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let found = rustix::fs::statx(dir, name, flags, wanted)?;
        let ns = |time: &StatxTimestamp| nanoseconds(time.tv_sec, i64::from(time.tv_nsec));
        let is_born = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        Ok(Self {
            look: Look {
                kind: FileKind::from(FileType::from_raw_mode(found.stx_mode.into())),
                size: found.stx_size,
                mtime_ns: ns(&found.stx_mtime),
                mode: u32::from(found.stx_mode) & 0o7777,
                identity: (makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
                links: found.stx_nlink.into(),
            },
            ctime_ns: ns(&found.stx_ctime),
            born_ns: is_born.then(|| ns(&found.stx_btime)),
        })
    }
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

impl Root {
    /// All that is known of `path`; of a symlink, of what it leads to.
    ///
    /// # Errors
    /// It does not exist, leads out of the root, or is hidden.
    pub fn details(&self, path: &RootPath) -> Result<Details> {
        // With O_PATH nothing is opened that could make us wait.
        let found = self.open_in(&self.dir, path.as_path(), OFlags::PATH).and_then(|open| Details::of(&open));
        let found = found.map_err(|error| error.about(path))?;
        self.check_shows(|| Ok(found.look.identity)).map_err(|error| error.about(path))?;
        Ok(found)
    }
}

impl ShownDir {
    /// The directory `path` of `root`.
    ///
    /// # Errors
    /// As [`Root::open_dir`].
    pub fn open(root: &Arc<Root>, path: &RootPath) -> Result<Self> {
        Ok(Self { root: Arc::clone(root), dir: Arc::new(root.open_dir(path)?) })
    }

    /// A directory of `root` that is open already.
    pub fn of(root: &Arc<Root>, open: OpenDir) -> Self {
        Self { root: Arc::clone(root), dir: open.dir }
    }

    /// The same for those who keep directories open.
    pub fn opened(&self) -> OpenDir {
        OpenDir { dir: Arc::clone(&self.dir), is_new: false }
    }

    /// Its present state.
    ///
    /// # Errors
    /// The system refuses.
    pub fn state(&self) -> Result<DirState> {
        let stat = rustix::fs::fstat(&*self.dir)?;
        Ok(DirState {
            identity: (stat.st_dev, stat.st_ino),
            mtime_ns: stat_mtime_ns(&stat),
            ctime_ns: stat_ctime_ns(&stat),
        })
    }

    /// Its own entry, but for the name.
    ///
    /// # Errors
    /// The system refuses.
    pub fn itself(&self) -> Result<Look> {
        Ok(Look::of(&self.dir)?)
    }

    /// Calls `found` with each name and its kind, in the system's order, until it fails: without unfinished copies, and
    /// without what the root does not show.
    ///
    /// # Errors
    /// It cannot be read, or what `found` says.
    pub fn for_each_name<E: From<Error>>(
        &self,
        mut found: impl FnMut(&[u8], FileKind) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let failed = |error: Errno| E::from(Error::from(error));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&*self.dir, ".", flags, Mode::empty()).map_err(failed)?;
        let hidden = self.root.hidden_name_in(&*self.dir).map_err(Error::from)?;
        let mut buffer: Vec<u8> = Vec::with_capacity(READ_LEN);
        let mut read = RawDir::new(open, buffer.spare_capacity_mut());
        while let Some(entry) = read.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || is_part_name(name) {
                continue;
            }
            let name_os = OsStr::from_bytes(name);
            if hidden.as_deref() == Some(name_os) || self.root.check_name(&*self.dir, name_os).is_err() {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say it here. What is gone by now is not in it.
                FileType::Unknown => match self.look(name_os)? {
                    Some(look) => look.kind,
                    None => continue,
                },
                kind => FileKind::from(kind),
            };
            found(name, kind)?;
        }
        Ok(())
    }

    /// What `name` in it is, a symlink not followed; `None`: it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn look(&self, name: &OsStr) -> Result<Option<Look>> {
        match rustix::fs::statat(&*self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Look::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same with all that is known; `None`: it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn details(&self, name: &OsStr) -> Result<Option<Details>> {
        match Details::at(&*self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(details) => Ok(Some(details)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Device and inode of another directory of the same root; `None`: it is not there, or not shown.
    pub fn identity_of(&self, path: &RootPath) -> Option<(u64, u64)> {
        identity_of(&self.root.open_dir(path).ok()?).ok()
    }

    /// All that is known of the directory itself.
    ///
    /// # Errors
    /// The system refuses.
    pub fn own_details(&self) -> Result<Details> {
        Details::of(&self.dir)
    }

    /// As [`look`](Self::look), of a name that a stranger may have chosen; `None` also if it is not shown.
    ///
    /// # Errors
    /// The system refuses.
    pub fn look_shown(&self, name: &OsStr) -> Result<Option<Look>> {
        let is_plain = !name.is_empty() && !matches!(name.as_bytes(), b"." | b"..") && !name.as_bytes().contains(&b'/');
        if !is_plain || is_part_name(name.as_bytes()) || self.root.check_name(&*self.dir, name).is_err() {
            return Ok(None);
        }
        let Some(look) = self.look(name)? else { return Ok(None) };
        Ok(self.root.check_shows(|| Ok(look.identity)).is_ok().then_some(look))
    }

    /// What is at the end of the symlink `name` in it, which is `path` in the root; `None`: nothing that is shown.
    pub fn follow(&self, path: &RootPath, name: &OsStr) -> Option<Look> {
        self.follow_to(path, name, |open| Ok(Look::of(open)?)).filter(|look| self.shows(look))
    }

    /// The same with all that is known.
    pub fn follow_to_details(&self, path: &RootPath, name: &OsStr) -> Option<Details> {
        self.follow_to(path, name, Details::of).filter(|details| self.shows(&details.look))
    }

    /// The directory at the end of the symlink `name` in it; `None`: it is none, or not shown.
    pub fn follow_to_dir(&self, path: &RootPath, name: &OsStr) -> Option<Dir> {
        self.root.open_dir(&path.join(name.as_bytes()).ok()?).ok()
    }

    fn follow_to<T>(&self, path: &RootPath, name: &OsStr, look: impl Fn(&cap_std::fs::File) -> Result<T>) -> Option<T> {
        let path = path.join(name.as_bytes()).ok()?;
        // With O_PATH nothing is opened that could make us wait.
        let open = self.root.open_in(&self.root.dir, path.as_path(), OFlags::PATH).ok()?;
        look(&open).ok()
    }

    fn shows(&self, look: &Look) -> bool {
        self.root.check_shows(|| Ok(look.identity)).is_ok()
    }

    /// Where the symlink `name` in it points, of any bytes.
    ///
    /// # Errors
    /// It is gone, or no symlink any more.
    pub fn link_target(&self, name: &OsStr) -> Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&*self.dir, name, Vec::new())?.into_bytes())
    }

    /// Whether this process may read the file `name` in it.
    pub fn may_read(&self, name: &OsStr) -> bool {
        rustix::fs::accessat(&*self.dir, name, Access::READ_OK, AtFlags::EACCESS).is_ok()
    }

    /// The directory `name` in it, which is no symlink.
    ///
    /// # Errors
    /// As [`Root::open_dir_in`].
    pub fn open_dir(&self, name: &OsStr) -> Result<Self> {
        Ok(Self { root: Arc::clone(&self.root), dir: Arc::new(self.root.open_dir_in(&self.dir, name)?) })
    }

    /// Opens the file `name` in it, which is no symlink, for reading.
    ///
    /// # Errors
    /// It is gone, cannot be read, is hidden, or is no file any more.
    pub fn open_file(&self, name: &OsStr) -> Result<(File, Look)> {
        self.root.check_name(&*self.dir, name)?;
        // Without NONBLOCK a fifo would hold this thread until something writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&*self.dir, name, flags, Mode::empty())?;
        let look = Look::of(&open)?;
        if look.kind != FileKind::File {
            return Err(Error::new(ErrorKind::NotAFile, "is no file any more"));
        }
        // With one name only it is where it was found, which is shown.
        if look.links != 1 {
            self.root.check_shows(|| Ok(look.identity))?;
        }
        Ok((open.into(), look))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_root_shows_and_links_lead_no_further_than_it() {
        let home = tempfile::tempdir().unwrap();
        for file in ["a", ".profile", ".a.1a2b3c4d.part", "sub/.deep"] {
            let path = home.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "12345").unwrap();
        }
        let links = [("to-a", "a"), ("up", "sub/../a"), ("out", "/etc"), ("kept-back", ".profile"), ("gone", "none")];
        for (name, target) in links {
            std::os::unix::fs::symlink(target, home.path().join(name)).unwrap();
        }
        let root = Arc::new(Root::open(home.path()).unwrap().guarding(home.path()).unwrap());
        let at = |path: &str| RootPath::default().join(path.as_bytes()).unwrap();
        let names = |dir: &ShownDir| {
            let mut names = Vec::new();
            let found = |name: &[u8], kind| {
                names.push((String::from_utf8(name.to_vec()).unwrap(), kind));
                Ok::<(), Error>(())
            };
            dir.for_each_name(found).unwrap();
            names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            names
        };
        let dir = ShownDir::open(&root, &at("/")).unwrap();
        let want = ["a", "gone", "kept-back", "out", "sub", "to-a", "up"];
        assert_eq!(names(&dir).iter().map(|(name, _)| name).collect::<Vec<_>>(), want);
        let led = |name: &str| dir.follow(&at("/"), OsStr::new(name)).map(|look| (look.kind, look.size));
        for (name, leads) in [("to-a", true), ("up", true), ("out", false), ("kept-back", false), ("gone", false)] {
            assert_eq!(led(name), leads.then_some((FileKind::File, 5)), "{name}");
        }
        assert_eq!(dir.link_target(OsStr::new("kept-back")).unwrap(), b".profile");
        assert_eq!(dir.look(OsStr::new("to-a")).unwrap().unwrap().kind, FileKind::Link);
        assert_eq!(dir.look(OsStr::new("none")).unwrap(), None);
        for (name, is_shown) in
            [("a", true), ("sub", true), ("out", true), (".profile", false), (".a.1a2b3c4d.part", false), ("..", false)]
        {
            assert_eq!(dir.look_shown(OsStr::new(name)).unwrap().is_some(), is_shown, "{name}");
        }
        for name in ["", ".", "sub/.deep", "none", "/etc"] {
            assert_eq!(dir.look_shown(OsStr::new(name)).unwrap(), None, "{name}");
        }
        assert!(dir.open_file(OsStr::new("a")).is_ok() && dir.may_read(OsStr::new("a")));
        for (name, kind) in [(".profile", ErrorKind::Hidden), ("sub", ErrorKind::NotAFile)] {
            assert_eq!(dir.open_file(OsStr::new(name)).unwrap_err().kind(), kind, "{name}");
        }
        assert!(dir.open_file(OsStr::new("to-a")).is_err(), "no symlink is followed");
        let sub = dir.open_dir(OsStr::new("sub")).unwrap();
        assert_eq!(names(&sub), [(".deep".to_owned(), FileKind::File)], "elsewhere a dot is no secret");
        let before = sub.state().unwrap();
        assert_eq!(sub.state().unwrap(), before);
        std::fs::write(home.path().join("sub/new"), "").unwrap();
        assert_eq!(sub.itself().unwrap().kind, FileKind::Dir);
    }
}
