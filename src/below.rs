//! Directories below another one: each is opened in the one above it, and the latest are kept open.
//!
//! A path is never looked up as a whole, so a deep directory costs an open for each directory above it. Whoever goes
//! through a tree mostly stays near the last place, and finds the nearest directory open already.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

/// Directories inside one another that a copy, a mirror and a removal go down.
pub const DEPTH_MAX: usize = 512;
/// Directories that one tree keeps open.
pub const DIRS_OPEN_MAX: usize = 128;

/// What the owner of a directory needs in it: to read, write and search it.
const OWNERS_MODE: u32 = 0o700;

/// An open directory.
#[derive(Debug, Clone)]
pub struct Open {
    /// The directory.
    pub dir: Arc<Dir>,
    /// Made just now: there is nothing in it to compare with.
    pub is_new: bool,
}

/// The directories that are open, by their path.
#[derive(Debug)]
pub struct Below {
    open_max: usize,
    open: HashMap<Vec<u8>, (u64, Open)>,
    /// Counts look-ups: the directory that was used longest ago makes room.
    clock: u64,
}

impl Default for Below {
    fn default() -> Self {
        Self::holding(DIRS_OPEN_MAX)
    }
}

impl Below {
    /// Keeps at most so many directories open.
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
        open_in: impl Fn(&Dir, &OsStr) -> io::Result<Dir>,
    ) -> io::Result<Open> {
        let mut known = path.len();
        let mut here = loop {
            if let Some(open) = path.get(..known).and_then(|path| self.get(path)) {
                break open;
            }
            if known == 0 {
                break Open { dir: Arc::clone(base), is_new: false };
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
            here = Open { dir: Arc::new(opened?), is_new: false };
            known = end;
            self.keep(path.get(..known).unwrap_or_default(), here.clone());
        }
        Ok(here)
    }

    fn get(&mut self, path: &[u8]) -> Option<Open> {
        self.clock += 1;
        let (used, open) = self.open.get_mut(path)?;
        *used = self.clock;
        Some(open.clone())
    }

    /// Keeps a directory open that is `path`.
    pub fn keep(&mut self, path: &[u8], open: Open) {
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

fn is_out_of_descriptors(error: &io::Error) -> bool {
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

/// Lets the owner of a directory read, write and search it; returns the mode that it had, or `None` if nothing was to
/// be changed, or it is another user's.
///
/// # Errors
/// The system refuses.
pub fn ease(dir: &impl AsFd) -> io::Result<Option<u32>> {
    let stat = rustix::fs::fstat(dir)?;
    let mode = stat.st_mode & 0o7777;
    if mode & OWNERS_MODE == OWNERS_MODE || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    set_mode(dir, mode | OWNERS_MODE)?;
    Ok(Some(mode))
}

/// The same for the directory `name` in `dir`, which its mode may not let anybody open.
///
/// # Errors
/// It is no directory, or the system refuses.
pub fn ease_in(dir: &Dir, name: &OsStr) -> io::Result<Option<u32>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    ease(&rustix::fs::openat(dir, name, flags, Mode::empty())?)
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

/// The names in a directory, each with whether it is one; in the order of their bytes.
///
/// # Errors
/// It cannot be read.
pub fn names_in(dir: &Dir) -> io::Result<Vec<(Vec<u8>, bool)>> {
    // It may have been opened as a mere path (O_PATH), in which nothing can be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // Some file systems do not say it here.
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // What is gone by now is not in it.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        names.push((name.to_bytes().to_vec(), kind == FileType::Directory));
    }
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_way_back_up_a_deep_tree_is_not_opened_from_the_top_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let base = Arc::new(Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).unwrap());
        let depth = 500;
        let paths: Vec<Vec<u8>> = (1..=depth).map(|depth| vec![&b"d"[..]; depth].join(&b'/')).collect();
        let opened = Cell::new(0_usize);
        let open_in = |dir: &Dir, name: &OsStr| {
            opened.set(opened.get() + 1);
            dir.open_dir(name)
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
