//! Directories below another one: each is opened in the one above it, and the latest are kept open.
//!
//! A path is never looked up as a whole, so a deep directory costs an open for each directory above it. A walk
//! through a tree mostly stays near the last place, and finds the nearest directory open already.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

use crate::fs::{Error, ErrorKind, Result};

/// Directories inside one another that a copy, a mirror and a removal go down.
pub const DEPTH_MAX: usize = 512;
/// Directories that one tree keeps open.
pub const DIRS_OPEN_MAX: usize = 128;

/// Directories whose modes are changed at the same time to remove what is in them.
pub const EASED_MAX: usize = 100_000;

/// What the owner of a directory needs in it: to read, write and search it.
const OWNERS_MODE: u32 = 0o700;

/// An open directory.
#[derive(Debug, Clone)]
pub struct OpenDir {
    /// The directory.
    pub dir: Arc<Dir>,
    /// Made just now: there is nothing in it to compare with.
    pub is_new: bool,
}

/// The directories that are open, by their path.
#[derive(Debug)]
pub struct Below {
    open_max: usize,
    open: HashMap<Vec<u8>, (u64, OpenDir)>,
    /// Counts look-ups: the directory that was used longest ago makes room.
    clock: u64,
}

impl Default for Below {
    fn default() -> Self {
        Self::holding(DIRS_OPEN_MAX)
    }
}

impl Below {
    /// Keeps at most this many directories open.
    pub fn holding(open_max: usize) -> Self {
        Self { open_max, open: HashMap::new(), clock: 0 }
    }

    /// The directory `path` below `base`; `open_in` opens one part of a name.
    ///
    /// # Errors
    /// It is not there, or `open_in` refuses a part of it.
    pub fn at(
        &mut self,
        base: &Arc<Dir>,
        path: &[u8],
        open_in: impl Fn(&Dir, &OsStr) -> Result<Dir>,
    ) -> Result<OpenDir> {
        let mut known = path.len();
        let mut here = loop {
            if let Some(open) = path.get(..known).and_then(|path| self.get(path)) {
                break open;
            }
            if known == 0 {
                break OpenDir { dir: Arc::clone(base), is_new: false };
            }
            known = above(path, known);
        };
        while known < path.len() {
            let start = if known == 0 { 0 } else { known + 1 };
            let rest = path.get(start..).unwrap_or_default();
            let end = start + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let name = OsStr::from_bytes(path.get(start..end).unwrap_or_default());
            let opened = match open_in(&here.dir, name) {
                // What others need more than this tree is given back.
                Err(error) if is_out_of_descriptors(&error) && !self.open.is_empty() => {
                    self.open.clear();
                    open_in(&here.dir, name)
                }
                opened => opened,
            };
            here = OpenDir { dir: Arc::new(opened?), is_new: false };
            known = end;
            self.keep(path.get(..known).unwrap_or_default(), here.clone());
        }
        Ok(here)
    }

    fn get(&mut self, path: &[u8]) -> Option<OpenDir> {
        self.clock += 1;
        let (used, open) = self.open.get_mut(path)?;
        *used = self.clock;
        Some(open.clone())
    }

    /// Keeps a directory open that is `path`.
    pub fn keep(&mut self, path: &[u8], open: OpenDir) {
        while self.open.len() >= self.open_max {
            let oldest = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            let Some(oldest) = oldest else { break };
            self.open.remove(&oldest);
        }
        self.clock += 1;
        self.open.insert(path.to_vec(), (self.clock, open));
    }

    /// Forgets a directory that is removed; what was in it was forgotten before.
    pub fn forget(&mut self, path: &[u8]) {
        self.open.remove(path);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}

fn is_out_of_descriptors(error: &Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
}

/// Where the path of the directory above ends.
fn above(path: &[u8], end: usize) -> usize {
    path.iter().take(end).rposition(|byte| *byte == b'/').unwrap_or(0)
}

/// The directory and the name.
pub fn split(path: &[u8]) -> (&[u8], &OsStr) {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (dir, name) = at.map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]));
    (dir, OsStr::from_bytes(name))
}

/// Directories that their owner may use for a while, by their path below one directory. They get back the modes that
/// they had when this is dropped, however the work on them ended.
#[derive(Debug, Default)]
pub struct Eased {
    base: Option<Arc<Dir>>,
    /// A directory stands before what is in it.
    before: BTreeMap<Vec<u8>, ModeBefore>,
}

/// What a directory was before.
#[derive(Debug, Clone, Copy)]
struct ModeBefore {
    id: (u64, u64),
    mode: u32,
}

impl Eased {
    /// Lets the owner of `dir`, which is `path` below `base`, read, write and search it; `false`: nothing was to be
    /// changed, or it is another user's.
    ///
    /// # Errors
    /// The system refuses, or there are too many.
    pub fn ease(&mut self, base: &Arc<Dir>, path: &[u8], dir: &impl AsFd) -> Result<bool> {
        let stat = rustix::fs::fstat(dir)?;
        let mode = stat.st_mode & 0o7777;
        if !keeps_owner_out(&stat) {
            return Ok(false);
        }
        if self.before.len() >= EASED_MAX {
            let why = format!("over {EASED_MAX} directories here keep their owner out; let the owner in first (chmod)");
            return Err(Error::new(ErrorKind::TooMany, why));
        }
        set_mode(dir, mode | OWNERS_MODE)?;
        self.base.get_or_insert_with(|| Arc::clone(base));
        self.before.entry(path.to_vec()).or_insert(ModeBefore { id: (stat.st_dev, stat.st_ino), mode });
        Ok(true)
    }

    /// The same for the directory `name` in `dir`, which its mode may not let anybody open.
    ///
    /// # Errors
    /// It is no directory, the system refuses, or there are too many.
    pub fn ease_in(&mut self, base: &Arc<Dir>, path: &[u8], (dir, name): (&Dir, &OsStr)) -> Result<bool> {
        let opened = open_path(dir, name)?;
        self.ease(base, path, &opened)
    }

    /// Forgets a directory that is removed.
    pub fn forget(&mut self, path: &[u8]) {
        self.before.remove(path);
    }

    /// Gives those that are still there the modes that they had.
    pub fn restore(&mut self) {
        let Some(base) = self.base.take() else { return };
        let mut dirs = Below::default();
        // What is in a directory comes first: its mode may keep its owner out again.
        for (path, ModeBefore { id, mode }) in std::mem::take(&mut self.before).into_iter().rev() {
            let restored = dirs.at(&base, &path, |dir, name| Ok(open_path(dir, name)?)).and_then(|open| {
                let stat = rustix::fs::fstat(&*open.dir)?;
                // Another one of the same name has its own mode.
                if (stat.st_dev, stat.st_ino) == id { Ok(set_mode(&*open.dir, mode)?) } else { Ok(()) }
            });
            match restored {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    tracing::warn!(%error, "a directory stays usable to its owner, as its mode was not");
                }
                _ => {}
            }
        }
    }
}

impl Drop for Eased {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Whether the mode of a directory that is ours keeps us out of some use of it.
pub fn keeps_owner_out(stat: &Stat) -> bool {
    stat.st_mode & OWNERS_MODE != OWNERS_MODE && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// The directory `name` in `dir` as a mere path (`O_PATH`), which no mode of its own forbids; a symlink is none.
///
/// # Errors
/// It is no directory, or the system refuses.
pub fn open_path(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir::from_std_file(rustix::fs::openat(dir, name, flags, Mode::empty())?.into()))
}

/// Whether the mode of something forbids it, which its owner may change.
pub fn is_forbidden(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error())
}

/// Sets the mode of something that may be open as a mere path (`O_PATH`), which fchmod(2) refuses.
///
/// # Errors
/// It is another user's, or there is no `/proc`.
pub fn set_mode(open: &impl AsFd, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", open.as_fd().as_raw_fd());
    Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?)
}

/// Reads a directory that may have been opened as a mere path (`O_PATH`), in which nothing can be read: each name but
/// `.` and `..`, with what the file system says that it is.
///
/// # Errors
/// It cannot be read.
pub fn read_dir(dir: &impl AsFd) -> io::Result<impl Iterator<Item = io::Result<(CString, FileType)>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = rustix::fs::Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => Some(Ok((entry.file_name().to_owned(), entry.file_type()))),
        Err(error) => Some(Err(error.into())),
    }))
}

/// The names in a directory, each with whether it is one; in the order of their bytes.
///
/// # Errors
/// It cannot be read.
pub fn names_in(dir: &Dir) -> io::Result<Vec<(Vec<u8>, bool)>> {
    let mut names = Vec::new();
    for entry in read_dir(dir)? {
        let (name, kind) = entry?;
        // Some file systems do not say it here.
        let kind = match kind {
            FileType::Unknown => match rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // What is gone by now is not in it.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        names.push((name.into_bytes(), kind == FileType::Directory));
    }
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn directories_get_back_their_modes_however_the_work_on_them_ends() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let set = |name: &str, mode| std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
        let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
        std::fs::create_dir_all(path("a/b/c")).unwrap();
        std::fs::create_dir_all(path("other")).unwrap();
        std::fs::create_dir_all(path("open")).unwrap();
        for (name, bits) in [("a/b/c", 0o000), ("a/b", 0o2555), ("a", 0o111), ("other", 0o500), ("open", 0o777)] {
            set(name, bits);
        }
        let base = Arc::new(Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).unwrap());
        let mut eased = Eased::default();
        let mut ease = |name: &str| {
            let (above, last) = split(name.as_bytes());
            let above = base.open_dir(OsStr::from_bytes(if above.is_empty() { b"." } else { above })).unwrap();
            eased.ease_in(&base, name.as_bytes(), (&above, last)).unwrap()
        };
        assert!(["a", "a/b", "a/b/c", "other"].map(&mut ease).iter().all(|eased| *eased));
        assert!(!ease("a/b") && !ease("open"));
        assert_eq!(["a", "a/b", "a/b/c", "other"].map(mode), [0o711, 0o2755, 0o700, 0o700]);
        // Another one is put in its place, and another is gone.
        std::fs::rename(path("other"), path("moved")).unwrap();
        std::fs::create_dir(path("other")).unwrap();
        set("other", 0o750);
        drop(eased);
        assert_eq!(["a", "other", "moved"].map(mode), [0o111, 0o750, 0o700]);
        set("a", 0o700);
        assert_eq!(mode("a/b"), 0o2555);
        set("a/b", 0o700);
        assert_eq!(mode("a/b/c"), 0);
    }

    #[test]
    fn the_way_back_up_a_deep_tree_is_not_opened_from_the_top_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let base = Arc::new(Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).unwrap());
        let depth = 500;
        let paths: Vec<Vec<u8>> = (1..=depth).map(|depth| vec![&b"d"[..]; depth].join(&b'/')).collect();
        let opened = Cell::new(0_usize);
        let open_in = |dir: &Dir, name: &OsStr| {
            opened.set(opened.get() + 1);
            Ok(dir.open_dir(name)?)
        };
        for open_max in [32, DIRS_OPEN_MAX] {
            opened.set(0);
            let mut below = Below::holding(open_max);
            for (at, path) in paths.iter().enumerate() {
                let above = paths.get(at.wrapping_sub(1)).map_or(&[][..], Vec::as_slice);
                let above = below.at(&base, above, open_in).unwrap().dir;
                if open_max == 32 {
                    above.create_dir("d").unwrap();
                }
                below.at(&base, path, open_in).unwrap();
            }
            assert_eq!(opened.get(), depth, "one for each on the way down");
            let end = below.at(&base, paths.last().unwrap(), open_in).unwrap().dir.dir_metadata().unwrap();
            for path in paths.iter().rev() {
                below.at(&base, path, open_in).unwrap();
                assert!(below.open.len() <= open_max);
            }
            assert!(opened.get() <= depth + depth * depth / open_max, "{} for {open_max}", opened.get());
            let again = below.at(&base, paths.last().unwrap(), open_in).unwrap().dir.dir_metadata().unwrap();
            let id = cap_std::fs::MetadataExt::ino;
            assert_eq!(id(&again), id(&end));
        }
    }
}
